"""Applying opens a plan's pairs once, as it asked for them, and heals what a worker left behind."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from annotation.models import OutboxEvent, Project, Task
from judges.models import Judge, JudgeKind, JudgeRun, JudgeVersion, RunState
from routing.errors import RoutingError
from routing.models import Label, Plan, PlanState, Route, RouteSource
from routing.plans import applying
from routing.plans.applying import apply_plan, queue_apply, send_waiting_applications, work_apply
from routing.plans.options import PlanOptions
from routing.plans.planning import Budget, draw_plan
from routing.plans.replanning import replan
from tests.builders import make_pair, make_project
from tests.judged import judge_pairs, make_judge

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the plans whose message left, instead of sending it."""
    ids: list[str] = []

    def wake(tasks: list[str], payload: dict[str, Any]) -> bool:
        assert tasks == ["routing.tasks.apply_plan"]
        ids.append(payload["plan_id"])
        return True

    monkeypatch.setattr(applying, "wake", wake)
    return ids


def judged_project(n: int = 40, **overrides: Any) -> Project:
    project = make_project(**overrides)
    pairs = [make_pair(project) for _ in range(n)]
    judge_pairs(make_judge(project), pairs, [("a", "b", "flip", "a")[number % 4] for number in range(n)])
    return project


def draft(project: Project, **settings: Any) -> Plan:
    return draw_plan(project, budget=Budget.parse("25%"), judge="gpt", **settings)


def votes() -> set[tuple[Any, ...]]:
    return set(Task.objects.values_list("votes_wanted", "most_votes", "expert_on_split"))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (PlanOptions(), (3, None, False)),
        (PlanOptions(votes="adaptive"), (2, 3, False)),
        (PlanOptions(votes="adaptive", expert_on_split=True), (2, 3, True)),
    ],
)
def test_tasks_are_opened_with_the_votes_that_the_plan_asked_for(options: PlanOptions, wanted: tuple[Any, ...]) -> None:
    project = judged_project()
    assert apply_plan(draft(project, options=options)) == 10
    assert votes() == {wanted}


def test_adaptive_votes_go_as_far_as_the_projects_votes() -> None:
    project = judged_project(votes_wanted=5)
    apply_plan(draft(project, options=PlanOptions(votes="adaptive")))
    assert votes() == {(2, 5, False)}


def test_two_clicks_open_once(sent: list[str], django_capture_on_commit_callbacks: Any) -> None:
    plan = draft(judged_project())
    with django_capture_on_commit_callbacks(execute=True):
        assert queue_apply(plan) is True
        assert queue_apply(Plan.objects.get(pk=plan.pk)) is False
    assert sent == [str(plan.pk)]
    assert plan.state == PlanState.APPLYING
    assert not Task.objects.exists()
    work_apply(plan.pk)
    work_apply(str(plan.pk))
    assert Task.objects.count() == 10
    plan.refresh_from_db()
    assert (plan.state, plan.figures["after"]["opened"]) == (PlanState.APPLIED, 10)
    assert queue_apply(plan) is False


def test_labels_are_made_after_the_worker_has_opened_the_tasks() -> None:
    project = judged_project()
    plan = draft(project)
    queue_apply(plan)
    work_apply(plan.pk)
    assert not Label.objects.exists()
    assert OutboxEvent.objects.filter(topic="labels_outdated", payload={"project_id": str(project.pk)}).count() == 1


def test_a_plan_that_is_no_draft_is_refused() -> None:
    plan = draft(judged_project())
    Plan.objects.filter(pk=plan.pk).update(state=PlanState.DRAWING)
    with pytest.raises(RoutingError, match="not ready to be applied: being drawn"):
        queue_apply(plan)
    with pytest.raises(RoutingError, match="not ready to be applied: being drawn"):
        apply_plan(plan)
    assert not Task.objects.exists()


def test_lost_message_is_sent_again_and_a_fresh_one_is_not(sent: list[str]) -> None:
    plan = draft(judged_project())
    queue_apply(plan)
    assert send_waiting_applications(now=timezone.now()) == 0
    assert send_waiting_applications(now=timezone.now() + timedelta(minutes=3)) == 1
    assert sent == [str(plan.pk)]
    work_apply(plan.pk)
    assert send_waiting_applications(now=timezone.now() + timedelta(minutes=3)) == 0


def test_what_goes_wrong_makes_it_a_draft_again_that_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = draft(judged_project())
    queue_apply(plan)

    def refuse(*_: Any, **__: Any) -> int:
        raise RoutingError("Another plan was applied since.")

    monkeypatch.setattr(applying, "open_tasks", refuse)
    work_apply(plan.pk)
    plan.refresh_from_db()
    assert (plan.state, plan.error) == (PlanState.DRAFT, "Another plan was applied since.")
    queue_apply(plan)
    assert plan.error == ""

    def break_down(*_: Any, **__: Any) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(applying, "open_tasks", break_down)
    with pytest.raises(ZeroDivisionError):
        work_apply(plan.pk)
    plan.refresh_from_db()
    assert (plan.state, plan.applied_at) == (PlanState.DRAFT, None)
    assert "ZeroDivisionError" in plan.error


def test_two_drafts_that_each_fit_the_budget_do_not_pass_it_together() -> None:
    project = judged_project(people_budget_usd=Decimal("9.5"))
    first, second = draft(project), draft(project, seed=1)
    assert apply_plan(first) == 10
    before = set(Task.objects.values_list("pair_id", "state"))
    with pytest.raises(RoutingError, match=r"could cost \$\d+\.\d\d, and the project's budget for people is \$9\.50"):
        apply_plan(second)
    assert set(Task.objects.values_list("pair_id", "state")) == before
    second.refresh_from_db()
    assert second.state == PlanState.DRAFT
    # A budget that was lowered since does not keep a plan from taking work back.
    Project.objects.update(people_budget_usd=Decimal(5))
    again = replan(project, budget=Budget.of_pairs(2))
    apply_plan(again)
    assert again.figures["after"]["closed"] > 5


# --- The second judge -----------------------------------------------------------------------------------------------


def with_second(project: Project, n: int = 4, budget: str | None = None, **version: Any) -> tuple[Plan, JudgeVersion]:
    """Return a draft whose first AI pairs are for a second judge."""
    second = make_judge(project, "claude", kind=JudgeKind.LENGTH)
    JudgeVersion.objects.filter(pk=second.pk).update(**version)
    plan = draft(project)
    mine = list(plan.routes.filter(source=RouteSource.AI).order_by("pair_id").values_list("pk", flat=True)[:n])
    Route.objects.filter(pk__in=mine).update(source=RouteSource.SECOND)
    plan.figures = {**plan.figures, "second": {"version_id": str(second.pk), "name": "claude", "pairs": n}}
    plan.options = {"second_judge": "claude", **({"second_budget_usd": budget} if budget else {})}
    plan.save()
    return plan, second


def test_the_second_judge_is_asked_about_its_pairs_once() -> None:
    project = judged_project()
    plan, second = with_second(project)
    assert apply_plan(plan) == 10
    run = JudgeRun.objects.get()
    assert run.version_id == second.pk
    asked = set(run.verdicts.values_list("pair_id", flat=True))
    assert asked == set(plan.routes.filter(source=RouteSource.SECOND).values_list("pair_id", flat=True))
    assert not Task.objects.filter(pair_id__in=asked).exists()
    assert plan.figures["after"]["second_run"] == str(run.pk)
    apply_plan(plan)
    send_waiting_applications(now=timezone.now())
    assert JudgeRun.objects.count() == 1


def test_a_worker_that_died_before_the_second_judge_was_asked_is_made_good() -> None:
    project = judged_project()
    plan, _ = with_second(project)
    applying._open(plan, tell=False)
    assert not JudgeRun.objects.exists()
    send_waiting_applications(now=timezone.now())
    assert JudgeRun.objects.get().state in {RunState.RUNNING, RunState.DONE}


def test_trouble_with_a_second_judge_keeps_no_other_plan_waiting(
    sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _ = with_second(judged_project())
    applying._open(plan, tell=False)
    waiting = draft(judged_project(slug="other"))
    queue_apply(waiting)

    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("the judge's row is not what it was")

    monkeypatch.setattr(applying, "start_run", break_down)
    sent.clear()
    with pytest.raises(RuntimeError):
        send_waiting_applications(now=timezone.now() + timedelta(hours=1))
    assert sent == [str(waiting.pk)]


def test_a_second_judge_that_cannot_be_asked_says_why_and_the_plan_stands() -> None:
    project = judged_project()
    plan, _ = with_second(project, budget="5")
    Judge.objects.filter(name="claude").update(kind=JudgeKind.RECORDED)
    apply_plan(plan)
    plan.refresh_from_db()
    assert plan.state == PlanState.APPLIED
    assert "cannot be asked" in plan.figures["after"]["second_error"]
    assert not JudgeRun.objects.exists()
