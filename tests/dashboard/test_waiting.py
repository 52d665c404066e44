"""Work that no worker takes up is said on every page of its project."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from annotation.models import Import, OutboxEvent, Project
from dashboard.waiting import waiting_work
from exports.models import Snapshot
from judges.models import JudgeRun, JudgeVersion, Verdict, VerdictState
from routing.models import Plan, PlanState, PredictorFit, Study, StudyKind
from routing.studies.studying import DEAD_AFTER
from tests.builders import make_project

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


@pytest.fixture
def waiting_for_routing(project: Project) -> list[str]:
    """Return a study, a plan to draw and one to apply that all came five minutes ago."""
    budget = {"budget_kind": "share", "budget_value": 0.25, "audit_share": 0.05, "seed": 0}
    Study.objects.create(project=project, kind=StudyKind.REPLAY, judge_name="length", heartbeat_at=LONG_AGO)
    Plan.objects.create(project=project, state=PlanState.DRAWING, **budget)
    asked = {"after": {"queued_at": LONG_AGO.isoformat()}}
    Plan.objects.create(project=project, state=PlanState.APPLYING, figures=asked, **budget)
    Plan.objects.update(created_at=LONG_AGO)
    drawing = f"the plan of {LONG_AGO:%-d %b, %H:%M}"
    return ["the replay of length", drawing, "the opening of a plan's pairs to people"]


def test_studies_and_plans_wait_when_no_worker_is_at_any(project: Project, waiting_for_routing: list[str]) -> None:
    assert waiting(project) == waiting_for_routing


def test_what_waits_its_turn_behind_another_projects_plan_does_not_lack_a_worker(
    project: Project, waiting_for_routing: list[str]
) -> None:
    other = make_project("other", with_people=False)
    plan = Plan.objects.create(
        project=other,
        state=PlanState.DRAWING,
        figures={"began_at": (NOW - timedelta(seconds=90)).isoformat()},
        budget_kind="share",
        budget_value=0.25,
        audit_share=0.05,
        seed=0,
    )
    assert waiting(project) == []
    Plan.objects.filter(pk=plan.pk).update(state=PlanState.DRAFT)
    assert waiting(project) == waiting_for_routing


def test_what_waits_its_turn_behind_a_fit_does_not_lack_a_worker(
    project: Project, length: JudgeVersion, waiting_for_routing: list[str]
) -> None:
    claim = PredictorFit.objects.create(project=project, version=length, kind="", seed=0, fitted_at=NOW)
    assert waiting(project) == []
    PredictorFit.objects.filter(pk=claim.pk).update(fitted_at=NOW - DEAD_AFTER - timedelta(seconds=1))
    assert waiting(project) == waiting_for_routing


def test_a_paused_run_does_not_wait_for_a_worker(project: Project, run: JudgeRun) -> None:
    JudgeRun.objects.update(state="paused", reason="Paused by a manager.")
    assert waiting(project) == []
