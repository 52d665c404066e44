"""Uploads as jobs: kept under our own name, run once, their reports readable later."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, current_app
from celery.app import app_or_default
from django.core.files.base import ContentFile
from django.utils import timezone

from annotation import importing
from annotation.errors import AnnotationError
from annotation.importing import ImportedRow, OnError, queue_import, run_import, send_waiting_imports
from annotation.models import Import, Pair, Project, User
from tests.builders import make_project
from tests.importing_files import jsonl_bytes, pair

pytestmark = pytest.mark.django_db

OnCommit = Callable[..., AbstractContextManager[list[Callable[[], Any]]]]


@pytest.fixture
def project(settings: Any, tmp_path: Path) -> Project:
    settings.UPLOAD_DIR = tmp_path / "uploads"
    return make_project()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Take messages where the broker would."""
    messages: list[list[str]] = []
    monkeypatch.setattr(
        current_app, "send_task", lambda name, kwargs, **options: messages.append([name, *kwargs.values()])
    )
    return messages


def queue(project: Project, content: bytes, name: str = "pairs.jsonl", **options: Any) -> Import:
    return queue_import(project, ContentFile(content, name), **options)


def test_upload_is_kept_under_our_own_name_and_read_later(
    project: Project, sent: list[list[str]], settings: Any, django_capture_on_commit_callbacks: OnCommit
) -> None:
    ada = User.objects.get(username="ada")
    with django_capture_on_commit_callbacks(execute=True):
        job = queue(project, jsonl_bytes([pair()]), name="../../etc/pairs.jsonl", created_by=ada)
    assert sent == [["annotation.tasks.run_import", str(job.id)]]
    assert (job.filename, job.path, job.state, job.created_by) == ("pairs.jsonl", str(job.id), "queued", ada)
    kept = settings.UPLOAD_DIR / job.path
    assert kept.stat().st_mode & 0o077 == 0
    run_import(job.id)
    job.refresh_from_db()
    assert (job.state, job.rows_read, job.report["added"]) == ("done", 1, 1)
    assert job.finished_at is not None
    assert not kept.exists()


def test_job_runs_once_however_often_its_message_comes(project: Project) -> None:
    job = queue(project, jsonl_bytes([pair()]))
    run_import(str(job.id))
    run_import(str(job.id))
    job.refresh_from_db()
    assert (job.report["added"], Pair.objects.count()) == (1, 1)


def test_job_of_a_killed_worker_runs_again(project: Project) -> None:
    job = queue(project, jsonl_bytes([pair()]))
    Import.objects.update(state=Import.State.RUNNING)
    run_import(job.id)
    job.refresh_from_db()
    assert (job.state, job.report["added"]) == ("done", 1)


def test_refused_file_ends_in_a_report(project: Project) -> None:
    job = queue(project, jsonl_bytes([pair(), pair(id="p2", response_a=None)]))
    run_import(job.id)
    job.refresh_from_db()
    assert job.state == Import.State.REFUSED
    assert job.report["rejected"][0]["line"] == 2
    assert job.rows_read == 2
    assert not Pair.objects.exists()


def test_job_keeps_what_the_upload_asked_for(project: Project) -> None:
    content = b"q,x,y\nQ?,1,2\nQ?,,\n"
    mapping = {"prompt": "q", "response_a": "x", "response_b": "y"}
    job = queue(project, content, name="p.csv", field_map=mapping, on_error=OnError.SKIP, dry_run=True)
    run_import(job.id)
    job.refresh_from_db()
    assert (job.report["added"], job.report["rejected_count"], job.report["dry_run"]) == (1, 1, True)
    assert not Pair.objects.exists()


def test_upload_over_the_limit_is_refused_and_not_kept(project: Project, settings: Any) -> None:
    settings.UPLOAD_LIMIT_BYTES = 10
    with pytest.raises(AnnotationError, match="larger than the limit of 10 bytes"):
        queue(project, jsonl_bytes([pair()]))
    assert not Import.objects.exists()
    assert not list(settings.UPLOAD_DIR.iterdir())


def test_bad_map_is_refused_before_anything_is_kept(project: Project, settings: Any) -> None:
    with pytest.raises(AnnotationError, match="no field"):
        queue(project, b"x", field_map={"colour": "x"})
    assert not settings.UPLOAD_DIR.exists()


def test_file_that_is_gone_fails_in_words(project: Project, settings: Any) -> None:
    job = queue(project, jsonl_bytes([pair()]))
    (settings.UPLOAD_DIR / job.path).unlink()
    run_import(job.id)
    job.refresh_from_db()
    assert (job.state, job.report["error"]) == (
        "failed", "The uploaded file pairs.jsonl is gone; upload it again.",
    )  # fmt: skip


def test_upload_waits_when_the_broker_is_down(
    project: Project, settings: Any, django_capture_on_commit_callbacks: OnCommit, unreachable_broker: None
) -> None:
    started = time.monotonic()
    with django_capture_on_commit_callbacks(execute=True):
        job = queue(project, jsonl_bytes([pair()]))
    # Somebody waits for the page: one refusal, no retries.
    assert time.monotonic() - started < 2
    job.refresh_from_db()
    assert job.state == Import.State.QUEUED
    assert (settings.UPLOAD_DIR / job.path).exists()


@pytest.fixture
def unreachable_broker() -> Iterator[None]:
    """Use an application whose broker is a port where nobody listens."""
    own = app_or_default()
    Celery("for-a-test", broker="amqp://127.0.0.1:1//", set_as_current=True)
    yield
    own.set_current()


def test_sweeper_sends_lost_jobs_again_and_leaves_the_others(
    project: Project, sent: list[list[str]], settings: Any
) -> None:
    fresh, lost, alive, dead, done = (queue(project, jsonl_bytes([pair()])) for _ in range(5))
    now = timezone.now() + timedelta(hours=1)
    Import.objects.filter(pk=fresh.pk).update(created_at=now - timedelta(seconds=20))
    Import.objects.filter(pk__in=[alive.pk, dead.pk]).update(state=Import.State.RUNNING)
    Import.objects.filter(pk=done.pk).update(state=Import.State.DONE)
    stamp = now.timestamp() - 60
    os.utime(settings.UPLOAD_DIR / alive.path, (stamp, stamp))
    assert send_waiting_imports(now=now) == 2
    assert sorted(args[1] for args in sent) == sorted([str(lost.id), str(dead.id)])


def test_job_whose_reading_breaks_ends_as_failed_and_says_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def consume(_project: Project, _rows: list[ImportedRow]) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(importing, "_consumers", {consume: None})
    job = queue(project, jsonl_bytes([pair()]))
    with pytest.raises(ZeroDivisionError):
        run_import(job.id)
    job.refresh_from_db()
    assert (job.state, Pair.objects.count()) == ("failed", 0)
    assert job.report == {"error": "Reading pairs.jsonl broke off (ZeroDivisionError); the log has the details."}
