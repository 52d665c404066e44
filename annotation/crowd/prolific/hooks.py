"""Events that Prolific sends by itself: checked, taken once, and put in order.

Documented at docs.prolific.com/api-reference/webhooks: the signature is base64 of HMAC-SHA256 over the timestamp and
the raw body; an event comes at least once, in any order, and bears an id. The id and the time of the event are outside
of the signature, so a repeat is known by its signature too, and an event is never newer than its request.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.db import IntegrityError, transaction

from annotation.crowd.errors import CrowdError, EventRefused
from annotation.crowd.generic import IDENTIFIER
from annotation.crowd.prolific.client import ProlificClient, Subscription
from annotation.crowd.states import from_prolific, note_state, note_study_state, state_of
from annotation.models import CrowdStudy, Platform, PlatformEvent

SIGNATURE = "X-Prolific-Request-Signature"
SIGNED_AT = "X-Prolific-Request-Timestamp"
EVENT_ID = "X-Event-ID"
SENT_AT = "X-Timestamp"
# A request is signed when it is sent, also the thirteenth try of an event.
WINDOW = timedelta(minutes=5)
# Tries end after 48 hours; an event that says it is older is of no use to anybody.
OLDEST = timedelta(hours=72)
LONGEST_BODY = 64 * 1024
LONGEST_ID = 128
SUBMISSION_CHANGED = "submission.status.change"
STUDY_CHANGED = "study.status.change"
EVENTS = (SUBMISSION_CHANGED, STUDY_CHANGED)


class Event(NamedTuple):
    """A message that is from Prolific. `said_at` is when the event was sent first, as far as that can be believed."""

    id: str
    kind: str
    body: Mapping[str, Any]
    said_at: datetime
    digest: str


def read_event(body: bytes, headers: Mapping[str, str], *, now: datetime) -> Event:
    """Return what Prolific sent; nothing of it is read before its signature holds. Raises `EventRefused`."""
    secret = settings.PROLIFIC_HOOK_SECRET
    if not secret:
        raise EventRefused("This site takes no events: it has no secret to check them with.")
    if len(body) > LONGEST_BODY:
        raise EventRefused("An event is never that long.")
    stamp, signature = headers.get(SIGNED_AT, ""), headers.get(SIGNATURE, "")
    expected = base64.b64encode(hmac.new(secret.encode(), stamp.encode() + body, hashlib.sha256).digest())
    if not hmac.compare_digest(expected, signature.encode()):
        raise EventRefused("The signature is not Prolific's.")
    signed_at = _moment(stamp)
    if signed_at is None or abs(now - signed_at) > WINDOW:
        raise EventRefused("The request was signed at another time.")
    event_id = headers.get(EVENT_ID, "")
    if not IDENTIFIER.fullmatch(event_id):
        raise EventRefused("The event has no id.")
    try:
        said = json.loads(body)
    except ValueError as error:
        raise EventRefused("The event is not JSON.") from error
    if not isinstance(said, dict) or not isinstance(said.get("event_type"), str):
        raise EventRefused("The event does not say what it is.")
    sent_at = _moment(headers.get(SENT_AT, "")) or signed_at
    said_at = min(max(sent_at, signed_at - OLDEST), signed_at)
    return Event(event_id, said["event_type"][:64], said, said_at, hashlib.sha256(expected).hexdigest())


def _moment(text: str) -> datetime | None:
    """Return a time that is written in seconds since 1970."""
    try:
        return datetime.fromtimestamp(float(text), tz=UTC)
    except (ValueError, OverflowError, OSError):
        return None


def take_event(event: Event) -> bool:
    """Do what an event says, and keep it, in one transaction; False for one that was taken before."""
    stored = PlatformEvent(
        platform=Platform.PROLIFIC,
        external_id=event.id,
        digest=event.digest,
        kind=event.kind,
        body=_storable(event.body),
        said_at=event.said_at,
    )
    with transaction.atomic():
        try:
            with transaction.atomic():
                stored.save(force_insert=True)
        except IntegrityError:
            return False
        stored.effect = _effect(event)
        stored.save(update_fields=["effect"])
    return True


def _storable(value: Any) -> Any:
    """Return JSON without what PostgreSQL cannot hold."""
    return json.loads(json.dumps(value).replace("\\u0000", ""))


def _effect(event: Event) -> str:
    named = _text(event, "resource_id")
    if event.kind == SUBMISSION_CHANGED:
        submission, state = from_prolific(named, _text(event, "participant_id")), state_of(_text(event, "status"))
        if submission is None:
            return "not of a submission that arrived here"
        if state is None:
            return "a state that is not known"
        return "kept" if note_state(submission, state, said_at=event.said_at) else "no news"
    if event.kind == STUDY_CHANGED:
        study = CrowdStudy.objects.filter(platform=Platform.PROLIFIC, external_id=named).exclude(external_id="").first()
        if study is None:
            return "not of a study of this site"
        return "kept" if note_study_state(study, _text(event, "status"), said_at=event.said_at) else "no news"
    return "kept and not acted on"


def _text(event: Event, name: str) -> str:
    value = event.body.get(name)
    return value.replace("\x00", "")[:LONGEST_ID] if isinstance(value, str) else ""


def subscribe(target_url: str) -> list[Subscription]:
    """Ask Prolific for the events that are used here, once each; return the subscriptions there are then."""
    if not settings.PROLIFIC_WORKSPACE:
        raise CrowdError("Events are of a workspace, and none is named: set TIEBREAK_PROLIFIC_WORKSPACE.")
    if not target_url.startswith("https://"):
        raise CrowdError("Prolific sends events to https:// addresses only.")
    client = ProlificClient.configured()
    here = [one for one in client.list_subscriptions() if one.target_url == target_url and one.is_enabled]
    missing = [kind for kind in EVENTS if kind not in {one.event_type for one in here}]
    return here + [client.subscribe(settings.PROLIFIC_WORKSPACE, kind, target_url) for kind in missing]
