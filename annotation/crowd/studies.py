"""Studies on crowd platforms: set up here, made known there, and compared with what the platform has."""

import re
import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.db import IntegrityError, transaction
from django.urls import reverse

from annotation.crowd.errors import CrowdError
from annotation.crowd.generic import read_generic
from annotation.crowd.prolific.client import ProlificClient, StudyRead
from annotation.models import ArrivalCheck, CompletionCode, CrowdStudy, Platform, Project

# Nobody reads a 0 for an O; 31^10 codes are not guessed.
CODE_LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
CODE_LENGTH = 10
PLATFORM_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
# The names that the arrival's parameters have by custom, and what Prolific puts in their place.
PROLIFIC_PARAMETERS = ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID")
# Prolific's own limits of a screen-out (its help pages, July 2026).
LEAST_SCREEN_OUT = {"GBP": Decimal("0.10"), "USD": Decimal("0.14")}
Kind = CompletionCode.Kind
CODE_TYPES: dict[str, str] = {
    Kind.COMPLETED: "COMPLETED",
    Kind.FAILED_ATTENTION_CHECK: "FAILED_ATTENTION_CHECK",
    Kind.SCREENED_OUT: "FIXED_SCREENOUT",
    Kind.NOTHING_TO_DO: "OTHER",
}
RETURN_REASON = "You did not pass the questions that come before this study."


class ProlificTerms(NamedTuple):
    """What a study on Prolific pays and takes. Money in the study's currency, as people are told it."""

    minutes: int
    reward: Decimal
    places: int
    currency: str = "USD"
    description: str = ""
    approve_automatically: bool = False
    screen_out_reward: Decimal | None = None


def set_up_study(
    project: Project,
    *,
    platform: str,
    name: str,
    arrival_check: str = ArrivalCheck.NONE,
    answers_wanted: int = 20,
    external_id: str = "",
    terms: ProlificTerms | None = None,
    generic: Mapping[str, Any] | None = None,
) -> CrowdStudy:
    """Make a study with its completion codes, whole or not at all. Raises `CrowdError` in a sentence."""
    if platform not in Platform.values:
        raise CrowdError(f"There is no platform {platform!r}; it is one of {', '.join(Platform.values)}.")
    name = name.strip()
    if not name:
        raise CrowdError("A study needs a name.")
    if answers_wanted < 1:
        raise CrowdError("A visit asks for at least one answer.")
    values: dict[str, Any] = {}
    if platform == Platform.PROLIFIC:
        values = _checked_terms(terms, arrival_check)
    elif arrival_check != ArrivalCheck.NONE:
        raise CrowdError(f"{Platform(platform).label} signs nothing and cannot be asked; its arrivals are not checked.")
    if platform == Platform.GENERIC:
        values = read_generic(generic or {}).value()
    study = CrowdStudy(
        project=project,
        platform=platform,
        name=name,
        external_id=_platform_id(external_id),
        arrival_check=arrival_check,
        answers_wanted=answers_wanted,
        settings=values,
    )
    try:
        with transaction.atomic():
            study.save(force_insert=True)
            CompletionCode.objects.bulk_create(
                CompletionCode(study=study, kind=kind, code=new_code(), actions=actions)
                for kind, actions in _actions_of(study).items()
            )
    except IntegrityError as error:
        raise CrowdError("There is a study by that name in this project, or by that id on the platform.") from error
    return study


def new_code() -> str:
    """Return a completion code that nobody guesses."""
    return "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))


def _platform_id(text: str) -> str:
    text = text.strip()
    if text and not PLATFORM_ID.fullmatch(text):
        raise CrowdError("The platform's id of a study has up to 64 letters, digits, - and _.")
    return text


def _checked_terms(terms: ProlificTerms | None, arrival_check: str) -> dict[str, Any]:
    if terms is None:
        raise CrowdError("A study on Prolific needs its minutes, its reward and its places.")
    if arrival_check not in (ArrivalCheck.SIGNED, ArrivalCheck.API):
        raise CrowdError("Arrivals from Prolific are always checked: by signature, or by asking Prolific.")
    if arrival_check == ArrivalCheck.SIGNED and not settings.PROLIFIC_WORKSPACE:
        raise CrowdError(
            "Signed arrivals are compared with a workspace, and none is named. The operator of this site sets "
            "TIEBREAK_PROLIFIC_WORKSPACE (docs/crowd.md)."
        )
    if terms.minutes < 1 or terms.places < 1 or terms.reward <= 0:
        raise CrowdError("Minutes, places and reward are more than nothing.")
    if terms.currency not in LEAST_SCREEN_OUT:
        raise CrowdError(f"Prolific pays in {' or '.join(LEAST_SCREEN_OUT)}, not in {terms.currency!r}.")
    if terms.screen_out_reward is not None:
        least = LEAST_SCREEN_OUT[terms.currency]
        if not least <= terms.screen_out_reward < terms.reward:
            raise CrowdError(
                f"A screen-out pays at least {least} and less than the reward; {terms.screen_out_reward} does not."
            )
    return {
        "minutes": terms.minutes,
        "reward": str(terms.reward),
        "places": terms.places,
        "currency": terms.currency,
        "description": terms.description,
        "approve_automatically": terms.approve_automatically,
        "screen_out_reward": None if terms.screen_out_reward is None else str(terms.screen_out_reward),
    }


def terms_of(study: CrowdStudy) -> ProlificTerms:
    """Return what a study on Prolific pays and takes."""
    stored = study.settings
    screen_out = stored["screen_out_reward"]
    return ProlificTerms(
        minutes=stored["minutes"],
        reward=Decimal(stored["reward"]),
        places=stored["places"],
        currency=stored["currency"],
        description=stored["description"],
        approve_automatically=stored["approve_automatically"],
        screen_out_reward=None if screen_out is None else Decimal(screen_out),
    )


def _actions_of(study: CrowdStudy) -> dict[str, list[dict[str, Any]]]:
    """Return what the platform does on each code; other platforms have one code and do nothing by themselves."""
    if study.platform != Platform.PROLIFIC:
        return {Kind.COMPLETED: []}
    terms = terms_of(study)
    review: list[dict[str, Any]] = [{"action": "MANUALLY_REVIEW"}]
    screened: dict[str, Any] = {"action": "REQUEST_RETURN", "return_reason": RETURN_REASON}
    if terms.screen_out_reward is not None:
        screened = {
            "action": "FIXED_SCREEN_OUT_PAYMENT",
            "fixed_screen_out_reward": _minor(terms.screen_out_reward),
            "slots": terms.places,
        }
    return {
        Kind.COMPLETED: [{"action": "AUTOMATICALLY_APPROVE"}] if terms.approve_automatically else review,
        Kind.FAILED_ATTENTION_CHECK: review,
        Kind.SCREENED_OUT: [screened],
        Kind.NOTHING_TO_DO: review,
    }


def _minor(amount: Decimal) -> int:
    return int((amount * 100).to_integral_value())


def completion_codes(study: CrowdStudy) -> list[dict[str, Any]]:
    """Return the codes as Prolific takes them."""
    return [
        {"code": one.code, "code_type": CODE_TYPES[one.kind], "actor": one.actor, "actions": one.actions}
        for one in study.codes.order_by("kind")
    ]


# --- On the platform ------------------------------------------------------------------------------------------------


def arrival_url(study: CrowdStudy, site: str) -> str:
    """Return the address to give the platform; `site` is this site's, as "https://host"."""
    here = site.rstrip("/") + reverse("arrive" if study.platform != Platform.MTURK else "mturk", args=[study.pk])
    if study.platform == Platform.PROLIFIC:
        return here + "?" + "&".join(f"{name}={{{{%{name}%}}}}" for name in PROLIFIC_PARAMETERS)
    if study.platform == Platform.GENERIC:
        asked = read_generic(study.settings)
        names = [asked.id_parameter, *([asked.visit_parameter] if asked.visit_parameter else [])]
        return here + "?" + "&".join(f"{name}=…" for name in (*names, *asked.captured_parameters))
    return here


def create_on_prolific(study: CrowdStudy, site: str) -> StudyRead:
    """Make the draft on Prolific and keep its id; it costs nothing until somebody publishes it there.

    Raises `CrowdError`; after `OutcomeUnclear` look on Prolific whether there is one.
    """
    if study.external_id:
        raise CrowdError(f"{study.name} is on Prolific already, as {study.external_id}.")
    if urlsplit(site).scheme != "https":
        raise CrowdError("Prolific sends people to https:// addresses only; this site is not reached by one.")
    terms = terms_of(study)
    made = ProlificClient.configured().create_study(
        {
            "name": study.name,
            "internal_name": f"{study.project.slug}: {study.name}",
            "description": terms.description or study.name,
            "external_study_url": arrival_url(study, site),
            "is_external_study_url_secure": study.arrival_check == ArrivalCheck.SIGNED,
            "prolific_id_option": "url_parameters",
            "completion_codes": completion_codes(study),
            "estimated_completion_time": terms.minutes,
            "reward": _minor(terms.reward),
            "total_available_places": terms.places,
            "device_compatibility": ["desktop", "tablet", "mobile"],
            "peripheral_requirements": [],
            "filters": [],
        }
    )
    link_study(study, made.id)
    return made


def link_study(study: CrowdStudy, external_id: str) -> None:
    """Keep the platform's id of a study that was made there. Without it no arrival can be checked."""
    text = _platform_id(external_id)
    if not text:
        raise CrowdError("Copy the study's id from the platform: it is the last part of the study's address there.")
    try:
        with transaction.atomic():
            CrowdStudy.objects.filter(pk=study.pk).update(external_id=text)
    except IntegrityError as error:
        raise CrowdError(f"Another study here is {text} on the platform.") from error
    study.external_id = text


def set_state(study: CrowdStudy, state: str) -> None:
    """Open a study to arrivals, or close it; who is in it already goes on."""
    if state not in CrowdStudy.State.values:
        raise CrowdError(f"A study is {' or '.join(CrowdStudy.State.values)}, not {state!r}.")
    CrowdStudy.objects.filter(pk=study.pk).update(state=state)
    study.state = state


def differences_on_prolific(study: CrowdStudy, site: str) -> list[str]:
    """Ask Prolific for the study and return, a sentence each, what of it is otherwise than here."""
    there = ProlificClient.configured().read_study(study.external_id)
    found = []
    if there.external_study_url != arrival_url(study, site):
        found.append(f"It sends people to {there.external_study_url or 'no address'}, not to the one above.")
    if there.is_signed != (study.arrival_check == ArrivalCheck.SIGNED):
        said = "does not sign" if not there.is_signed else "signs"
        found.append(f"It {said} arrivals, and here they are checked {study.get_arrival_check_display().lower()}.")
    codes = {str(code.get("code")) for code in there.codes}
    found += [
        f"It does not know the code {one.code} ({one.get_kind_display().lower()})."
        for one in study.codes.order_by("kind")
        if one.code not in codes
    ]
    if there.currency and there.currency != terms_of(study).currency:
        found.append(f"It pays in {there.currency}, and here its reward is in {terms_of(study).currency}.")
    return found
