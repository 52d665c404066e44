"""Prolific's API, as far as it is used. Documented at docs.prolific.com/api-reference; read in November 2026.

Nothing is tried again by itself. A read that failed may be repeated by who asked; whatever changes something there and
got no clear answer raises `OutcomeUnclear`, and a person looks before it is sent again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import httpx2
from django.conf import settings

from annotation.crowd.errors import CrowdError, OutcomeUnclear, PlatformRefused, PlatformUnreachable

TIMEOUT = httpx2.Timeout(20.0, connect=5.0)
# What an error's sentence quotes of an answer.
QUOTED = 300
# Pages of a list before it is taken for one without an end.
MOST_PAGES = 200
# Amounts are in pence or cents in every answer, and in pounds or dollars in what is sent.
MINOR_UNITS = Decimal(100)
CENT = Decimal("0.01")


class BonusLine(NamedTuple):
    """A bonus of one person: the id of their submission (or of the person), and pounds or dollars of the study."""

    submission_id: str
    amount: Decimal


class BonusSetUp(NamedTuple):
    """Bonuses that are set up and not paid, in the study's currency: what people get, and what it costs."""

    id: str
    amount: Decimal
    fees: Decimal
    vat: Decimal
    total: Decimal


class StudyRead(NamedTuple):
    """A study as Prolific has it. `reward` is in the study's currency."""

    id: str
    name: str
    state: str
    external_study_url: str
    is_signed: bool
    reward: Decimal
    currency: str
    places: int
    places_taken: int
    codes: tuple[Mapping[str, Any], ...]


class SubmissionRead(NamedTuple):
    """A submission as Prolific has it. `bonuses` are in the study's currency, one for each that was paid."""

    id: str
    study_id: str
    participant_id: str
    state: str
    code: str
    bonuses: tuple[Decimal, ...]
    started_at: str
    completed_at: str


class Subscription(NamedTuple):
    """Events of one kind that are sent to an address; `secret` confirms it and is no signing secret."""

    id: str
    event_type: str
    target_url: str
    is_enabled: bool
    secret: str = ""


@dataclass(frozen=True)
class ProlificClient:
    """A connection to Prolific with one researcher's token, which is never shown."""

    url: str
    token: str = field(repr=False)

    @classmethod
    def configured(cls) -> "ProlificClient":
        """Return the client of this site. Raises `CrowdError` where the operator gave no token."""
        if not settings.PROLIFIC_TOKEN:
            raise CrowdError(
                "This site has no token of Prolific. Its operator sets TIEBREAK_PROLIFIC_TOKEN (docs/crowd.md)."
            )
        return cls(url=settings.PROLIFIC_URL, token=settings.PROLIFIC_TOKEN)

    # --- Studies ----------------------------------------------------------------------------------------------------

    def create_study(self, study: Mapping[str, Any]) -> StudyRead:
        """Make a draft of a study; it costs nothing until it is published."""
        return _study(self._change("studies/", dict(study)))

    def read_study(self, study_id: str) -> StudyRead:
        """Return a study."""
        return _study(self._read(f"studies/{_id(study_id)}/"))

    def publish_study(self, study_id: str) -> StudyRead:
        """Show a draft to people: from here on places cost money."""
        return self.transition_study(study_id, "PUBLISH")

    def transition_study(self, study_id: str, action: str) -> StudyRead:
        """Move a study: PUBLISH, PAUSE, START or STOP."""
        return _study(self._change(f"studies/{_id(study_id)}/transition/", {"action": action}))

    # --- Submissions ------------------------------------------------------------------------------------------------

    def read_submission(self, submission_id: str) -> SubmissionRead:
        """Return a submission; its id is the `SESSION_ID` of the arrival."""
        return _submission(self._read(f"submissions/{_id(submission_id)}/"))

    def list_submissions(self, study_id: str) -> list[SubmissionRead]:
        """Return every submission of a study, page by page."""
        found: list[SubmissionRead] = []
        path = f"studies/{_id(study_id)}/submissions/"
        for _page in range(MOST_PAGES):
            page = self._read(path)
            found += [_submission({"study_id": study_id, **one}) for one in _results(page)]
            following = _next_of(page)
            if not following:
                return found
            path = self._below(following)
        raise CrowdError(f"Prolific's list of the submissions of {study_id} has no end: {MOST_PAGES} pages were read.")

    def transition(self, submission_id: str, action: str, **more: Any) -> SubmissionRead:
        """Move a submission: APPROVE, REJECT (with `message`, `rejection_category`), COMPLETE (with `completion_code`).

        Documented as idempotent. What the rules are for each is in `annotation.crowd.reviewing`.
        """
        return _submission(self._change(f"submissions/{_id(submission_id)}/transition/", {"action": action, **more}))

    def bulk_approve(self, study_id: str, submission_ids: Sequence[str]) -> None:
        """Approve many submissions of a study; Prolific does it a moment later."""
        self._change("submissions/bulk-approve/", {"study_id": study_id, "submission_ids": list(submission_ids)})

    def screen_out(self, study_id: str, submission_ids: Sequence[str], *, add_places: bool) -> None:
        """Let people go who do not fit, for the study's fixed reward; `add_places` asks others in their stead."""
        body = {"submission_ids": list(submission_ids), "increase_places": add_places}
        self._change(f"studies/{_id(study_id)}/screen-out-submissions/", body)

    # --- Bonuses ----------------------------------------------------------------------------------------------------

    def set_up_bonuses(self, study_id: str, lines: Sequence[BonusLine | tuple[str, Decimal]]) -> BonusSetUp:
        """Tell Prolific who is to get what, and return what it comes to with fees. Nobody is paid by this.

        An id that took no part in the study is refused with its name, and then nothing is set up.
        """
        for recipient, amount in lines:
            if not amount.is_finite() or amount <= 0 or amount != amount.quantize(CENT):
                raise CrowdError(f"A bonus of {amount} for {recipient} is not a number of whole cents.")
        text = "\n".join(f"{_id(recipient)},{amount:.2f}" for recipient, amount in lines)
        said = self._change("submissions/bonus-payments/", {"study_id": study_id, "csv_bonuses": text})
        return BonusSetUp(
            _text(said, "id"), *(_minor(said, name) for name in ("amount", "fees", "vat", "total_amount"))
        )

    def pay_bonuses(self, bonus_id: str) -> None:
        """Pay what was set up, once: the same call again pays people again. The caller has noted that it is sent.

        Returns when Prolific took it on (it pays in the minutes after). Raises `PlatformRefused` where it certainly did
        not, and `OutcomeUnclear` wherever that is not certain.
        """
        self._change(f"bulk-bonus-payments/{_id(bonus_id)}/pay/", {}, read=False)

    # --- Events -----------------------------------------------------------------------------------------------------

    def list_event_types(self) -> list[str]:
        """Return the names of the events that Prolific sends."""
        return [_text(one, "event_type") for one in _results(self._read("hooks/event-types/"))]

    def create_hook_secret(self, workspace_id: str) -> str:
        """Make the secret that a workspace's events are signed with; the one before is void from then on."""
        return _text(self._change("hooks/secrets/", {"workspace_id": workspace_id}), "value")

    def list_subscriptions(self) -> list[Subscription]:
        """Return this token's subscriptions."""
        return [_subscription(one) for one in _results(self._read("hooks/subscriptions/"))]

    def subscribe(self, workspace_id: str, event_type: str, target_url: str) -> Subscription:
        """Ask for events of a kind, and confirm that we asked."""
        body = {"workspace_id": workspace_id, "event_type": event_type, "target_url": target_url}
        answer = self._send("POST", "hooks/subscriptions/", body)
        said = _json(answer)
        # The reference shows a list with one row here, and an object where it confirms.
        made = _subscription(_results(said)[0] if _results(said) else said)
        made = made._replace(secret=answer.headers.get("X-Hook-Secret", ""))
        return _subscription(self._change(f"hooks/subscriptions/{_id(made.id)}/", {"secret": made.secret}))

    # --- How it is asked --------------------------------------------------------------------------------------------

    def _read(self, path: str) -> Mapping[str, Any]:
        return _json(self._send("GET", path))

    def _change(self, path: str, body: Mapping[str, Any], *, read: bool = True) -> Mapping[str, Any]:
        answer = self._send("POST", path, body)
        # An answer of success that cannot be read is still one of success.
        return _json(answer) if read and answer.content else {}

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx2.Response:
        # Redirects are not followed: the token would go to whatever host answered.
        try:
            answer = httpx2.request(
                method,
                self.url.rstrip("/") + "/" + path,
                headers={"Authorization": f"Token {self.token}", "Accept": "application/json"},
                json=body,
                timeout=TIMEOUT,
                follow_redirects=False,
            )
        except httpx2.ConnectError as error:
            raise PlatformUnreachable("Prolific cannot be reached. Nothing was sent; try again.") from error
        except httpx2.HTTPError as error:
            if method == "GET":
                raise PlatformUnreachable("Prolific did not answer in time; try again.") from error
            raise OutcomeUnclear(
                "Prolific did not answer, and may have done what was asked. Look there before you send it again."
            ) from error
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            if method == "GET":
                raise PlatformUnreachable(f"Prolific has a fault of its own (HTTP {answer.status_code}); try later.")
            raise OutcomeUnclear(
                f"Prolific has a fault of its own (HTTP {answer.status_code}) and may have done what was asked. "
                "Look there before you send it again."
            )
        if not answer.is_success:
            raise PlatformRefused(answer.status_code, self._refusal(answer))
        return answer

    def _refusal(self, answer: httpx2.Response) -> str:
        said = answer.text.replace(self.token, "…")[:QUOTED] if self.token else answer.text[:QUOTED]
        known: dict[int, str] = {
            HTTPStatus.UNAUTHORIZED: "Prolific does not take this site's token.",
            HTTPStatus.FORBIDDEN: "Prolific does not allow that to this site's token.",
            HTTPStatus.NOT_FOUND: "Prolific has nothing by that id.",
            HTTPStatus.TOO_MANY_REQUESTS: "Prolific is asked too often; wait a minute.",
        }
        sentence = known.get(answer.status_code, f"Prolific refused (HTTP {answer.status_code}).")
        return f"{sentence} It says: {said}" if said else sentence

    def _below(self, href: str) -> str:
        """Return an address of the next page as a path below ours, or refuse to follow it."""
        base, there = urlsplit(self.url), urlsplit(href)
        if there.netloc and there.netloc != base.netloc:
            raise CrowdError(f"Prolific's list goes on at {there.netloc}, where its token is not sent.")
        path = there.path.removeprefix(base.path.rstrip("/")).lstrip("/")
        return f"{path}?{there.query}" if there.query else path


# --- What it answers ------------------------------------------------------------------------------------------------


def _id(text: str) -> str:
    return quote(text, safe="")


def _json(answer: httpx2.Response) -> Mapping[str, Any]:
    try:
        said = answer.json(parse_float=Decimal)
    except ValueError as error:
        raise CrowdError("Prolific's answer is not JSON, so nothing can be said from it.") from error
    return said if isinstance(said, dict) else {"results": said} if isinstance(said, list) else {}


def _results(said: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows = said.get("results")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _next_of(page: Mapping[str, Any]) -> str:
    links = page.get("_links")
    following = links.get("next") if isinstance(links, dict) else None
    href = following.get("href") if isinstance(following, dict) else None
    return href if isinstance(href, str) else ""


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""


def _number(said: Mapping[str, Any], name: str) -> int:
    value = said.get(name)
    return int(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else 0


def _minor(said: Mapping[str, Any], name: str) -> Decimal:
    """Return an amount of pence or cents in pounds or dollars; one that is not there is an error, never nothing."""
    value = said.get(name)
    if not isinstance(value, int | Decimal) or isinstance(value, bool):
        raise CrowdError(f"Prolific's answer has no amount {name!r}, so nobody knows what this comes to.")
    return Decimal(value) / MINOR_UNITS


def _study(said: Mapping[str, Any]) -> StudyRead:
    codes = said.get("completion_codes")
    return StudyRead(
        id=_text(said, "id"),
        name=_text(said, "name"),
        state=_text(said, "status"),
        external_study_url=_text(said, "external_study_url"),
        is_signed=said.get("is_external_study_url_secure") is True,
        reward=_minor({"reward": 0, **said}, "reward"),
        currency=_text(said, "presentment_currency_code"),
        places=_number(said, "total_available_places"),
        places_taken=_number(said, "places_taken"),
        codes=tuple(code for code in codes if isinstance(code, dict)) if isinstance(codes, list) else (),
    )


def _submission(said: Mapping[str, Any]) -> SubmissionRead:
    bonuses = said.get("bonus_payments")
    # Read alone it names its person `participant`, in a list `participant_id`.
    return SubmissionRead(
        id=_text(said, "id"),
        study_id=_text(said, "study_id"),
        participant_id=_text(said, "participant") or _text(said, "participant_id"),
        state=_text(said, "status"),
        code=_text(said, "entered_code") or _text(said, "study_code"),
        bonuses=tuple(_minor({"bonus": one}, "bonus") for one in bonuses) if isinstance(bonuses, list) else (),
        started_at=_text(said, "started_at"),
        completed_at=_text(said, "completed_at"),
    )


def _subscription(said: Mapping[str, Any]) -> Subscription:
    return Subscription(
        id=_text(said, "id"),
        event_type=_text(said, "event_type"),
        target_url=_text(said, "target_url"),
        is_enabled=said.get("is_enabled") is True,
    )
