"""Events of Prolific: forged, old and repeated ones change nothing, and late ones do not undo newer ones."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from annotation.crowd.states import refresh
from annotation.models import Assignment, CrowdStudy, PlatformEvent, Submission, Task
from tests.arrivals import PERSON, SESSION, arrive
from tests.prolific_server import STUDY, ProlificServer

HERE = "/crowd/prolific/events/"
SECRET = "the-signing-secret"


def body_of(status: str = "RETURNED", **changed: Any) -> bytes:
    said = {
        "resource_id": SESSION,
        "event_type": "submission.status.change",
        "participant_id": PERSON,
        "status": status,
    }
    # Spaces as Prolific writes them: the signature is over bytes, not over what they mean.
    return json.dumps({**said, **changed}, indent=1).encode()


def sent(
    body: bytes,
    *,
    event_id: str = "event-1",
    at: float | None = None,
    first_sent: float | None = None,
    secret: str = SECRET,
    signature: str | None = None,
    signed_body: bytes | None = None,
) -> int:
    stamp = str(int(time.time() if at is None else at))
    mac = hmac.new(secret.encode(), stamp.encode() + (body if signed_body is None else signed_body), hashlib.sha256)
    headers = {
        "X-Prolific-Request-Signature": base64.b64encode(mac.digest()).decode() if signature is None else signature,
        "X-Prolific-Request-Timestamp": stamp,
        "X-Event-ID": event_id,
    }
    if first_sent is not None:
        headers["X-Timestamp"] = str(first_sent)
    # As a stranger would: without a session or a token of any page.
    client = Client(enforce_csrf_checks=True)
    return client.post(HERE, body, content_type="application/json", headers=headers).status_code


@pytest.fixture
def submission(client: Client, study: CrowdStudy, prolific: ProlificServer) -> Submission:
    """Return a submission whose person arrived an hour ago and holds pairs."""
    arrive(client, study, prolific.signer.token())
    client.get("/annotate/helpfulness/")
    submission = Submission.objects.get()
    Submission.objects.update(state_at=submission.state_at.replace(year=2025))
    return submission


def state_of(submission: Submission) -> str:
    submission.refresh_from_db()
    return submission.state


def test_an_event_changes_the_state_and_gives_back_what_was_held(submission: Submission) -> None:
    assert Task.objects.filter(taken__gt=0).exists()
    assert sent(body_of()) == 204
    assert state_of(submission) == "returned"
    assert not Assignment.objects.filter(state="leased").exists()
    assert not Task.objects.filter(taken__gt=0).exists()
    event = PlatformEvent.objects.get()
    assert (event.external_id, event.kind, event.effect) == ("event-1", "submission.status.change", "kept")


def test_who_returned_sees_nothing_more(client: Client, submission: Submission) -> None:
    assert client.get("/annotate/helpfulness/").status_code == 200
    sent(body_of())
    assert client.get("/annotate/helpfulness/")["Location"].startswith("/sign-in/")
    assert client.post("/annotate/helpfulness/break/").status_code == 401


@pytest.mark.parametrize(
    "forged",
    [
        {"secret": "another secret"},
        {"secret": ""},
        {"signature": ""},
        {"signature": "Ã©"},
        {"signature": "AAAA"},
        {"signed_body": body_of("APPROVED")},
        {"seconds_off": -301},
        {"seconds_off": 3600},
        {"event_id": ""},
        {"event_id": "x" * 129},
    ],
    ids=str,
)
def test_forged_and_old_events_are_refused(submission: Submission, forged: dict[str, Any]) -> None:
    if seconds_off := forged.get("seconds_off"):
        forged = {"at": time.time() + seconds_off}
    assert sent(body_of(), **forged) == 403
    assert state_of(submission) == "active"
    assert PlatformEvent.objects.count() == 0


def test_a_timestamp_cannot_be_changed_nor_a_signature_used_for_another(submission: Submission) -> None:
    stamp = int(time.time())
    mac = hmac.new(SECRET.encode(), str(stamp).encode() + body_of(), hashlib.sha256)
    signature = base64.b64encode(mac.digest()).decode()
    assert sent(body_of(), at=stamp + 1, signature=signature) == 403
    assert sent(body_of("APPROVED"), at=stamp, signature=signature) == 403
    assert state_of(submission) == "active"


def test_without_a_secret_no_event_is_taken(submission: Submission, settings: Settings) -> None:
    settings.PROLIFIC_HOOK_SECRET = ""
    assert sent(body_of(), secret="") == 403


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"event_type": 5}', b"\xff", b"x" * 70_000], ids=len)
def test_signed_nonsense_is_refused_in_words(submission: Submission, body: bytes) -> None:
    assert sent(body) == 403
    assert PlatformEvent.objects.count() == 0


def test_a_repeat_changes_nothing_also_under_another_id(submission: Submission) -> None:
    now = time.time()
    assert sent(body_of("AWAITING REVIEW"), at=now) == 204
    Submission.objects.update(state="active", state_at=submission.state_at.replace(year=2024))
    assert sent(body_of("AWAITING REVIEW"), at=now) == 204
    assert sent(body_of("AWAITING REVIEW"), at=now, event_id="event-2") == 204  # the id is outside of the signature
    assert sent(body_of("AWAITING REVIEW"), at=now - 3) == 204  # tried again: signed anew, the same id
    assert state_of(submission) == "active"
    assert PlatformEvent.objects.count() == 1


def test_events_are_put_in_the_order_in_which_they_were_sent_first(submission: Submission) -> None:
    now = time.time()
    assert sent(body_of("APPROVED"), event_id="late", first_sent=now - 10) == 204
    assert sent(body_of("AWAITING REVIEW"), event_id="early", first_sent=now - 20) == 204
    assert state_of(submission) == "approved"
    assert PlatformEvent.objects.get(external_id="early").effect == "no news"
    # Nobody makes an event newer than its signature.
    assert sent(body_of("REJECTED"), event_id="next", at=now - 100, first_sent=now + 10_000) == 204
    assert state_of(submission) == "approved"


@pytest.mark.parametrize(
    ("changed", "effect"),
    [
        ({"status": "PROCESSING"}, "a state that is not known"),
        ({"resource_id": "nobody"}, "not of a submission that arrived here"),
        ({"participant_id": "another"}, "not of a submission that arrived here"),
        ({"resource_id": 5, "status": None}, "not of a submission that arrived here"),
        ({"event_type": "study.progress.change"}, "kept and not acted on"),
        ({"event_type": "study.status.change", "resource_id": ""}, "not of a study of this site"),
        ({"event_type": "study.status.change", "resource_id": STUDY, "status": "PAUSED"}, "kept"),
        ({"metadata": {"text": "a\x00b"}}, "kept"),
    ],
    ids=str,
)
def test_what_is_not_of_here_is_kept_and_does_nothing(
    submission: Submission, changed: dict[str, Any], effect: str
) -> None:
    assert sent(body_of(**changed)) == 204
    assert PlatformEvent.objects.get().effect == effect
    assert (state_of(submission) == "returned") == ("metadata" in changed)
    if changed.get("status") == "PAUSED":
        assert CrowdStudy.objects.get().platform_state == "PAUSED"


def test_looking_at_the_list_brings_what_no_event_told(submission: Submission, prolific: ProlificServer) -> None:
    prolific.add_submission(status="TIMED-OUT")
    prolific.add_submission("other", "somebody", "ACTIVE")
    prolific.studies[STUDY]["status"] = "PAUSED"
    assert refresh(submission.study) == (1, 1)
    assert state_of(submission) == "timed_out"
    assert refresh(submission.study) == (0, 1)
    assert CrowdStudy.objects.get().platform_state == "PAUSED"
    # An event from before the look is older news.
    assert sent(body_of("ACTIVE"), first_sent=time.time() - 60) == 204
    assert state_of(submission) == "timed_out"


def test_only_a_post_is_an_event(client: Client) -> None:
    assert client.get(HERE).status_code == 405
