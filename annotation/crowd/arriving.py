"""Somebody arrives from a platform: who they are, whether that is true, and which rater they are here."""

import logging
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import NamedTuple

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from annotation.crowd.errors import ArrivalRefused, ArrivalUnchecked, CrowdError, PlatformRefused
from annotation.crowd.generic import IDENTIFIER, read_generic
from annotation.crowd.mturk import TOKEN_PARAMETER as MTURK_TOKEN
from annotation.crowd.mturk import read_token
from annotation.crowd.prolific.client import ProlificClient
from annotation.crowd.prolific.signing import TOKEN_PARAMETER, SignedArrival, read_signed
from annotation.crowd.states import state_of
from annotation.joining.throttling import ADDRESS_TRIES, count_try
from annotation.models import (
    ArrivalCheck,
    Assignment,
    CrowdStudy,
    Guest,
    Platform,
    Rater,
    RaterKind,
    Submission,
    UsedArrival,
)

logger = logging.getLogger(__name__)

PROLIFIC_IDENTIFIER = re.compile(r"[0-9A-Za-z]{1,64}")
LONGEST_CAPTURED = 200
NAMES = 8
# A submission in one of these may still be worked on, or its code looked up again.
LIVE = (Submission.State.RESERVED, Submission.State.ACTIVE, Submission.State.AWAITING_REVIEW)
MAY_ARRIVE = (*LIVE, Submission.State.APPROVED)


class Asker(NamedTuple):
    """By which of this site's names a browser asked, from what network address, and when."""

    host: str
    address: str
    now: datetime


class Arrival(NamedTuple):
    """Who arrived, by the platform's ids, and how that is known."""

    participant_id: str
    visit_id: str
    checked_by: ArrivalCheck
    captured: Mapping[str, str] = {}
    signed: SignedArrival | None = None


def arrive(
    study: CrowdStudy,
    parameters: Mapping[str, str],
    *,
    host: str,
    address: str,
    now: datetime,
    held: Submission | None = None,
) -> Submission:
    """Let somebody in and return their submission, the same one as often as they come back to it.

    `parameters` are those of the link, `host` the one this site was asked by, `address` where the browser is, `held`
    what it is already let in to. Asks the platform first where it must, outside of any transaction, and for one address
    only so often. Raises `ArrivalRefused`, in words for who arrived, `ArrivalUnchecked` and `TriedTooOften`.
    """
    asker = Asker(host, address, now)
    arrival = _READ[Platform(study.platform)](study, parameters, asker)
    try:
        with transaction.atomic():
            return _let_in(study, arrival, now=now, held=held)
    except IntegrityError:
        # Their other tab was faster with one of these rows: once more, and it is there.
        with transaction.atomic():
            return _let_in(study, arrival, now=now, held=held)


# --- Who it is ------------------------------------------------------------------------------------------------------


def _from_prolific(study: CrowdStudy, parameters: Mapping[str, str], asker: Asker) -> Arrival:
    if not study.external_id:
        raise ArrivalRefused(_("This study is not ready yet. Return it on Prolific and tell its researcher."))
    token = parameters.get(TOKEN_PARAMETER, "")
    if token:
        try:
            signed = read_signed(token, host=asker.host, now=asker.now)
        except ArrivalUnchecked:
            # Without the keys nothing of the token counts, and Prolific itself is asked about what the address says.
            if not parameters.get("SESSION_ID"):
                raise
            return _asked_of_prolific(study, parameters, asker)
        return Arrival(*_ids(study, signed.claim), ArrivalCheck.SIGNED, signed=signed)
    if study.arrival_check == ArrivalCheck.SIGNED:
        raise ArrivalRefused(_("This link is not from Prolific. Open the study there again."))
    return _asked_of_prolific(study, parameters, asker)


def _ids(study: CrowdStudy, said: Mapping[str, str]) -> tuple[str, str]:
    """Return the person's id and the submission's, where both can be ids and the study is this one."""
    person, visit = said.get("PROLIFIC_PID", ""), said.get("SESSION_ID", "")
    if not (PROLIFIC_IDENTIFIER.fullmatch(person) and PROLIFIC_IDENTIFIER.fullmatch(visit)):
        raise ArrivalRefused(_("Open this page from Prolific: its link has to say who you are."))
    if said.get("STUDY_ID") != study.external_id:
        raise ArrivalRefused(_("This link is of another study. Open this one on Prolific again."))
    return person, visit


def _asked_of_prolific(study: CrowdStudy, parameters: Mapping[str, str], asker: Asker) -> Arrival:
    """Ask Prolific whether this person has this submission in this study, and may still work on it.

    Anybody can write such a link, and each costs a question to Prolific, which takes only so many from this site.
    """
    person, visit = _ids(study, parameters)
    count_try("arrival", asker.address, limit=ADDRESS_TRIES, now=asker.now)
    try:
        there = ProlificClient.configured().read_submission(visit)
    except CrowdError as error:
        if isinstance(error, PlatformRefused) and error.status == HTTPStatus.NOT_FOUND:
            raise ArrivalRefused(_("This link is not from Prolific. Open the study there again.")) from error
        # Also where this site has no token, or one that Prolific does not take: the person can do nothing about it.
        logger.warning("arrivals of the study %s cannot be checked: %s", study.pk, error)
        raise ArrivalUnchecked(_("Prolific cannot be asked right now. Try again in a minute.")) from error
    if (there.id, there.participant_id, there.study_id) != (visit, person, study.external_id):
        raise ArrivalRefused(_("This link is not from Prolific. Open the study there again."))
    if state_of(there.state) not in MAY_ARRIVE:
        raise ArrivalRefused(_("Your submission is over on Prolific, so there is nothing more to do here."))
    return Arrival(person, visit, ArrivalCheck.API)


def _from_anywhere(study: CrowdStudy, parameters: Mapping[str, str], asker: Asker) -> Arrival:
    asked = read_generic(study.settings)
    person = parameters.get(asked.id_parameter, "")
    visit = parameters.get(asked.visit_parameter, "") if asked.visit_parameter else person
    if not (IDENTIFIER.fullmatch(person) and IDENTIFIER.fullmatch(visit)):
        raise ArrivalRefused(_("Open this page from the platform that sent you: its link has to say who you are."))
    captured = {name: parameters.get(name, "")[:LONGEST_CAPTURED] for name in asked.captured_parameters}
    if any("\x00" in value for value in captured.values()):
        raise ArrivalRefused(_("Open this page from the platform that sent you: its link has to say who you are."))
    return Arrival(person, visit, ArrivalCheck.NONE, captured)


def _from_mturk(study: CrowdStudy, parameters: Mapping[str, str], asker: Asker) -> Arrival:
    """Read what our own page in MTurk's frame signed; nobody arrives by MTurk's bare parameters."""
    said = read_token(study, parameters.get(MTURK_TOKEN, ""))
    return Arrival(said["worker"], said["assignment"], ArrivalCheck.NONE)


_READ = {
    Platform.PROLIFIC: _from_prolific,
    Platform.GENERIC: _from_anywhere,
    Platform.MTURK: _from_mturk,
}


# --- Letting them in ------------------------------------------------------------------------------------------------


def _let_in(study: CrowdStudy, arrival: Arrival, *, now: datetime, held: Submission | None) -> Submission:
    """Return the submission of an arrival, made where it is new. Caller holds a transaction; raises IntegrityError."""
    submission = (
        Submission.objects.select_related("guest__rater", "study")
        .filter(study=study, external_id=arrival.visit_id)
        .first()
    )
    if submission is None:
        if study.state == CrowdStudy.State.CLOSED:
            raise ArrivalRefused(_("This study has ended. Return it where you found it: there is nothing to do here."))
        guest = _guest(study, arrival)
        submission = Submission.objects.create(
            study=study,
            guest=guest,
            external_id=arrival.visit_id,
            state_at=now,
            checked_by=arrival.checked_by,
            captured=dict(arrival.captured),
            answered_before=Assignment.objects.answered().filter(rater=guest.rater).count(),
            arrived_at=now,
        )
    elif submission.guest.external_id != arrival.participant_id:
        raise ArrivalRefused(_("This link is not yours. Open the study again where you found it."))
    elif submission.state not in MAY_ARRIVE:
        raise ArrivalRefused(_("Your submission is over, so there is nothing more to do here."))
    if arrival.signed is not None:
        _use(arrival.signed, submission, now=now, held=held)
    return submission


def _guest(study: CrowdStudy, arrival: Arrival) -> Guest:
    """Return who somebody is in a project, made on their first visit under a name that says nothing of them."""
    who = {"project": study.project, "platform": study.platform, "external_id": arrival.participant_id}
    known = Guest.objects.select_related("rater").filter(**who).first()
    if known is not None:
        return known
    for _round in range(NAMES):
        name = f"guest-{secrets.token_hex(4)}"
        if not Rater.objects.filter(project=study.project, kind=RaterKind.PERSON, name=name).exists():
            break
    rater = Rater.objects.create(project=study.project, kind=RaterKind.PERSON, name=name)
    return Guest.objects.create(rater=rater, **who)


def _use(signed: SignedArrival, submission: Submission, *, now: datetime, held: Submission | None) -> None:
    """Note that a signature was used; refuse it a second time, but to the browser that it let in."""
    UsedArrival.objects.filter(expires_at__lte=now).delete()
    used = UsedArrival.objects.filter(pk=signed.digest).first()
    if used is None:
        UsedArrival.objects.create(digest=signed.digest, submission=submission, expires_at=signed.expires_at)
    elif held is None or held.pk != used.submission_id:
        raise ArrivalRefused(_("This link was used before. Open the study on Prolific again: that makes a new one."))
