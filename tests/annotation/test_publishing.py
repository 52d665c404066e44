"""The outbox: a fact rings its consumers when the broker is there, and waits in its row when it is not."""

import json
import socket
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.app import app_or_default
from django.db import transaction
from pytest_django.fixtures import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks, Settings

from annotation import publishing
from annotation.models import OutboxEvent
from annotation.publishing import publish, ring_unpublished
from annotation.tasks import ring_unpublished as ring_unpublished_task

pytestmark = pytest.mark.django_db


@pytest.fixture
def restore_app() -> Iterator[None]:
    """Give the process its own Celery application back after a test."""
    own = app_or_default()
    yield
    own.set_current()


def use_broker(url: str, **transport_options: Any) -> Celery:
    return Celery("for-a-test", broker=url, broker_transport_options=transport_options, set_as_current=True)


def use_folder(folder: Path) -> None:
    for name in ("messages", "control"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    messages, control = str(folder / "messages"), str(folder / "control")
    use_broker("filesystem://", data_folder_in=messages, data_folder_out=messages, control_folder=control)


def use_dead_server() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    use_broker(f"amqp://guest:guest@127.0.0.1:{port}//")


def messages_in(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return (task, keyword arguments) of every message a worker would find, oldest first."""
    found = []
    for path in sorted((folder / "messages").glob("*.msg")):
        message = json.loads(path.read_text())
        body = json.loads(b64decode(message["body"]))
        found.append((message["headers"]["task"], body[1]))
    return found


@pytest.fixture
def consumers(settings: Settings, restore_app: None) -> None:
    settings.OUTBOX_CONSUMERS = {"preference_submitted": ["routing.tasks.resolve_pair", "tests.also_hears"]}


@pytest.mark.usefixtures("consumers")
def test_fact_rings_every_consumer_after_commit(
    tmp_path: Path, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    use_folder(tmp_path)
    with django_capture_on_commit_callbacks(execute=True):
        event = publish("preference_submitted", {"pair_id": "p1"})
        assert messages_in(tmp_path) == []
    assert messages_in(tmp_path) == [("annotation.tasks.ring_unpublished", {})]
    assert ring_unpublished_task() == 1
    assert sorted(messages_in(tmp_path))[1:] == [
        ("routing.tasks.resolve_pair", {"pair_id": "p1"}),
        ("tests.also_hears", {"pair_id": "p1"}),
    ]
    event.refresh_from_db()
    assert event.published_at is not None
    assert ring_unpublished() == 0


@pytest.mark.usefixtures("consumers")
@pytest.mark.django_db(transaction=True)
def test_fact_of_a_transaction_that_fails_never_rings(tmp_path: Path) -> None:
    use_folder(tmp_path)

    @transaction.atomic
    def answer_and_fail() -> None:
        publish("preference_submitted", {"pair_id": "p1"})
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        answer_and_fail()
    assert (messages_in(tmp_path), OutboxEvent.objects.count()) == ([], 0)


@pytest.mark.usefixtures("consumers")
def test_fact_waits_in_its_row_while_the_broker_is_down(
    tmp_path: Path,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    caplog: pytest.LogCaptureFixture,
) -> None:
    use_dead_server()
    started = time.monotonic()
    with django_capture_on_commit_callbacks(execute=True):
        for number in range(3):
            publish("preference_submitted", {"pair_id": f"p{number}"})
    # A person who submits an answer must not wait for a broker: no retries, three refusals.
    assert time.monotonic() - started < 2
    assert "the broker does not take it" in caplog.text
    assert OutboxEvent.objects.filter(published_at__isnull=True).count() == 3
    assert ring_unpublished() == 0

    use_folder(tmp_path)
    assert ring_unpublished_task() == 3
    heard = [payload["pair_id"] for task, payload in messages_in(tmp_path) if task == "tests.also_hears"]
    assert sorted(heard) == ["p0", "p1", "p2"]
    assert not OutboxEvent.objects.filter(published_at__isnull=True).exists()


@pytest.mark.usefixtures("consumers")
def test_fact_waits_while_the_broker_folder_is_gone(
    tmp_path: Path, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    use_folder(tmp_path / "broker")
    (tmp_path / "broker").rename(tmp_path / "elsewhere")
    with django_capture_on_commit_callbacks(execute=True):
        publish("preference_submitted", {"pair_id": "p1"})
    assert OutboxEvent.objects.get().published_at is None


@pytest.mark.usefixtures("consumers")
def test_relay_sends_no_more_than_asked_for(tmp_path: Path) -> None:
    for number in range(5):
        OutboxEvent.objects.create(topic="preference_submitted", payload={"pair_id": f"p{number}"})
    use_folder(tmp_path)
    assert (ring_unpublished(limit=2), OutboxEvent.objects.filter(published_at__isnull=True).count()) == (2, 3)
    assert {payload["pair_id"] for _, payload in messages_in(tmp_path)} == {"p0", "p1"}


@pytest.mark.usefixtures("consumers")
def test_fact_nobody_hears_is_done_when_it_is_rung(
    tmp_path: Path, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    use_folder(tmp_path)
    with django_capture_on_commit_callbacks(execute=True):
        publish("nobody_listens", {})
    assert ring_unpublished() == 1
    assert messages_in(tmp_path) == [("annotation.tasks.ring_unpublished", {})]
    assert OutboxEvent.objects.get().published_at is not None


def test_facts_within_a_moment_leave_by_one_message(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every fact is followed by a message: those that come while one waits by that, later ones by the next."""
    settings.OUTBOX_DELAY_SECONDS = 5.0
    sent: list[str] = []
    timers: list[Any] = []

    class Timer:
        def __init__(self, seconds: float, fire: Any) -> None:
            assert seconds == 5.0
            self.fire = fire
            timers.append(self)

        def start(self) -> None:
            sent.append("set")

    monkeypatch.setattr("annotation.publishing.threading.Timer", Timer)
    monkeypatch.setattr(publishing, "wake", lambda tasks, payload: sent.extend(tasks))
    relay = publishing._Relay()
    relay.ring_soon()
    relay.ring_soon()
    assert sent == ["set"]
    timers[0].fire()
    relay.ring_soon()
    assert sent == ["set", "annotation.tasks.ring_unpublished", "set"]


@pytest.mark.usefixtures("consumers")
def test_many_facts_are_marked_in_few_queries(
    tmp_path: Path, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    OutboxEvent.objects.bulk_create(OutboxEvent(topic="nobody_listens", payload={}) for _ in range(250))
    use_folder(tmp_path)
    with django_assert_max_num_queries(6):
        assert ring_unpublished() == 250
