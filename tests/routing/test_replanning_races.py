"""A plan is applied while people work: nothing they hold is closed, and no pair gets more answers than wanted."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from django.db import connection, transaction

from annotation.assigning import Answer, Opening, Waiting, next_assignment, open_tasks, rater_for, submit
from annotation.checking import check_invariants
from annotation.models import Membership, Preference, Project, Rater, Role, Task, TaskState
from routing.models import Plan, PlanState
from routing.plans.applying import apply_plan, queue_apply, work_apply
from routing.plans.options import PlanOptions
from routing.plans.planning import Budget, draw_plan
from routing.plans.replanning import replan
from routing.predicting.refitting import refresh_priorities
from tests.builders import make_pair, make_project, make_user
from tests.judged import judge_pairs, make_judge

pytestmark = [pytest.mark.django_db(transaction=True)]

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
PEOPLE = 6


@pytest.fixture
def project(settings: Any) -> Project:
    """Return a judged project of 40 pairs; nobody hears of the answers."""
    settings.OUTBOX_CONSUMERS = {}
    project = make_project(with_people=False, lease_seconds=600)
    pairs = [make_pair(project) for _ in range(40)]
    judge_pairs(make_judge(project), pairs, ["a", "b", "flip", "a"] * 10)
    return project


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Start every call in a thread at the same moment and return the results; an error of one is raised here."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            gate.wait(timeout=30)
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(timeout=120) for future in [pool.submit(run, call) for call in calls]]


def draft(project: Project, share: str = "50%") -> Plan:
    return draw_plan(project, budget=Budget.parse(share), judge="gpt", options=PlanOptions(votes="adaptive"))


def members(project: Project) -> list[Rater]:
    users = [make_user(f"person{number}") for number in range(PEOPLE)]
    for user in users:
        Membership.objects.create(project=project, user=user, role=Role.ANNOTATOR)
    return [rater_for(project, user) for user in users]


def broken() -> list[str]:
    return [check.name for check in check_invariants(now=NOW) if check.broken]


def test_a_plan_that_two_workers_and_a_command_apply_is_opened_once(project: Project) -> None:
    plan = draft(project)
    queue_apply(plan)
    at_once(
        [lambda: work_apply(plan.pk), lambda: work_apply(plan.pk), lambda: apply_plan(Plan.objects.get(pk=plan.pk))]
    )
    plan.refresh_from_db()
    assert (plan.state, plan.figures["after"]["opened"]) == (PlanState.APPLIED, 20)
    assert Task.objects.count() == 20


def test_replanning_among_people_at_work_takes_nothing_from_them(project: Project) -> None:
    apply_plan(draft(project))
    second = replan(project, seed=5)
    lost: list[object] = []

    def answer_all(rater: Rater) -> int:
        stored = 0
        while (found := next_assignment(project, rater, now=NOW)).waiting != Waiting.ALL_DONE:
            if found.assignment is None:
                continue
            # "a" or "b" by person, so that many pairs split.
            answer = submit(found.assignment.pk, rater, Answer("ab"[len(rater.name) % 2 or stored % 2]), now=NOW)
            stored += 1
            if answer.is_extra:
                lost.append(answer.pk)
        return stored

    calls: list[Callable[[], Any]] = [lambda rater=rater: answer_all(rater) for rater in members(project)]  # type: ignore[misc]
    at_once([*calls, lambda: work_after(second)])
    assert lost == []
    assert broken() == []
    assert not Task.objects.filter(state=TaskState.OPEN).exclude(taken=0).exists()
    counted = Preference.objects.counted().filter(rater__kind="person").count()
    assert counted == sum(Task.objects.values_list("answered", flat=True))
    # Twenty pairs were paid for: those begun before the plan was applied stand against others of its own.
    assert Task.objects.exclude(state=TaskState.CLOSED).count() <= 20


def test_a_fit_that_orders_what_waits_does_not_undo_the_order_of_a_plan_applied_meanwhile(project: Project) -> None:
    plan = draft(project, "100%")
    apply_plan(plan)
    asked = list(Task.objects.order_by("id").values_list("pair_id", flat=True))
    fresh = {pair_id: 5.0 + number for number, pair_id in enumerate(asked)}
    opened = threading.Event()
    others: list[threading.Thread] = []

    def apply() -> None:
        with transaction.atomic():
            locked = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
            open_tasks(locked, [Opening(*one) for one in fresh.items()], votes_wanted=2)
        opened.set()
        connection.close()

    def apply_between(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("UPDATE") and "annotation_task" in sql and not others:
            others.append(threading.Thread(target=apply))
            others[0].start()
            # Only whoever does not hold the project lets it through.
            opened.wait(timeout=0.3)
        return execute(sql, *rest)

    rng = np.random.default_rng(0)
    with connection.execute_wrapper(apply_between):
        assert refresh_priorities(plan, {str(pair_id): float(rng.random()) for pair_id in asked}) > 0
    others[0].join(timeout=30)
    assert dict(Task.objects.values_list("pair_id", "priority")) == fresh


def work_after(plan: Plan) -> None:
    queue_apply(plan)
    work_apply(plan.pk)
