"""Work that no worker takes up is said on every page of its project."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from annotation.models import Import, OutboxEvent, Project
from dashboard.waiting import waiting_work
from exports.models import Snapshot
from judges.models import JudgeRun, JudgeVersion, Verdict, VerdictState

NOW = timezone.now()
LONG_AGO = NOW - timedelta(minutes=5)


def waiting(project: Project) -> list[str]:
    return [work.what for work in waiting_work(project, now=NOW)]


def test_a_banner_says_since_when_work_waits(ada: Client, project: Project) -> None:
    job = Import.objects.create(project=project, filename="pairs.jsonl", path="x", on_error="refuse")
    assert "Waiting for a worker" not in ada.get("/projects/helpfulness/").text
    Import.objects.filter(pk=job.pk).update(created_at=LONG_AGO)
    page = ada.get("/projects/helpfulness/judges/").text
    assert f'Waiting for a worker since <time datetime="{LONG_AGO.isoformat()[:16]}' in page
    assert "the import of pairs.jsonl" in page
    assert "manage.py up" in page


def test_work_of_a_minute_is_not_late_yet(project: Project) -> None:
    Import.objects.create(project=project, filename="x", path="x", on_error="refuse")
    Import.objects.update(created_at=NOW - timedelta(seconds=59))
    assert waiting(project) == []


def test_exports_and_unrung_events_wait_too(project: Project) -> None:
    Snapshot.objects.create(project=project, number=4)
    Snapshot.objects.update(created_at=LONG_AGO)
    OutboxEvent.objects.create(topic="preference_submitted")
    OutboxEvent.objects.update(created_at=LONG_AGO + timedelta(seconds=1))
    assert waiting(project) == ["export 4", "news of answers (the broker does not take messages)"]


@pytest.fixture
def run(project: Project, length: JudgeVersion) -> JudgeRun:
    """Return a run begun long ago with one question open."""
    run = JudgeRun.objects.get(version=length)
    JudgeRun.objects.update(state="running", created_at=LONG_AGO)
    Verdict.objects.update(finished_at=LONG_AGO)
    first = Verdict.objects.filter(run=run).first()
    assert first is not None
    Verdict.objects.filter(pk=first.pk).update(state=VerdictState.PENDING, finished_at=None)
    return run


def test_a_run_that_nobody_works_on_waits(project: Project, run: JudgeRun) -> None:
    assert waiting(project) == ["the run of length v1"]


def test_a_run_waits_no_more_while_a_question_is_under_way(project: Project, run: JudgeRun) -> None:
    some = Verdict.objects.filter(run=run, state=VerdictState.DONE).values_list("pk", flat=True)[0]
    Verdict.objects.filter(pk=some).update(state=VerdictState.CLAIMED, lease_until=NOW + timedelta(minutes=1))
    assert waiting(project) == []


def test_a_run_that_answered_a_moment_ago_is_at_work(project: Project, run: JudgeRun) -> None:
    some = Verdict.objects.filter(run=run, state=VerdictState.DONE).values_list("pk", flat=True)[0]
    Verdict.objects.filter(pk=some).update(finished_at=NOW - timedelta(seconds=5))
    assert waiting(project) == []


def test_a_paused_run_does_not_wait_for_a_worker(project: Project, run: JudgeRun) -> None:
    JudgeRun.objects.update(state="paused", reason="Paused by a manager.")
    assert waiting(project) == []
