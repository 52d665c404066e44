"""The predictor is fitted again when its labels have grown, once, and orders what still waits for people."""

import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from celery import current_app
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotation.answering import Answer
from annotation.assigning import next_assignment, submit
from annotation.models import Assignment, Origin, OutboxEvent, Pair, Project, Task
from judges.models import JudgeRun, JudgeVersion, RunPurpose
from routing.models import Plan, PredictorFit, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.planning import Budget, draw_plan
from routing.predicting import refitting
from routing.predicting.predictor import LABELS_NEEDED
from routing.predicting.refitting import refit, refit_if_grown, refresh_priorities
from routing.tasks import refit_after_answer, refit_after_run
from tests.builders import make_person, make_preference, make_project
from tests.judged import answer_pairs, judge_pairs, make_judge, make_pairs

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def planned(n: int = 150, *, budget: str = "100%", people: int = 0, **overrides: Any) -> tuple[Plan, list[Pair]]:
    """Return an applied plan over pairs of a judge that flips on every third; `people` recorded answers are there."""
    project = make_project(votes_wanted=1, **overrides)
    pairs = make_pairs(project, n)
    version = make_judge(project)
    judge_pairs(version, pairs, [("a", "b", "flip")[number % 3] for number in range(n)])
    if people:
        answer_pairs(pairs[:people], truth(pairs)[:people])
    plan = draw_plan(project, budget=Budget.parse(budget), judge="gpt", audit_share=0.1)
    apply_plan(plan)
    return Plan.objects.get(pk=plan.pk), pairs


def truth(pairs: list[Pair]) -> list[str]:
    """Return what people say: what the judge said, mostly, and "a" where it changed its answer."""
    rng = np.random.default_rng(0)
    kept = rng.random(len(pairs)) < 0.85
    said = [("a", "b", "a")[number % 3] for number in range(len(pairs))]
    return [one if keep else {"a": "tie", "b": "a"}[one] for one, keep in zip(said, kept, strict=True)]


def answer_next(project: Project, says: dict[Any, str]) -> Pair:
    """Let Ben answer the pair he is served, and let every consumer of the outbox hear of it."""
    ben = make_person(project, "ben")
    assignment = next_assignment(project, ben, now=timezone.now()).assignment
    assert isinstance(assignment, Assignment)
    pair = assignment.task.pair
    submit(assignment.pk, ben, Answer(says[pair.pk], None, "", 5.0), now=timezone.now())
    event = OutboxEvent.objects.latest("created_at")
    assert refit_after_answer.name in settings.OUTBOX_CONSUMERS[event.topic]
    current_app.tasks[refit_after_answer.name](**event.payload)
    return pair


def test_labels_that_arrive_one_by_one_fit_the_predictor_again_exactly_when_they_have_grown_by_enough() -> None:
    plan, pairs = planned(125, people=LABELS_NEEDED - 5)
    says = dict(zip([pair.pk for pair in pairs], truth(pairs), strict=True))
    labelled = {pair.pk for pair in pairs[: LABELS_NEEDED - 5]}
    fitted_at: list[int] = []
    while len(labelled) < LABELS_NEEDED + 22:
        labelled.add(answer_next(plan.project, says).pk)
        if PredictorFit.objects.count() > len(fitted_at):
            fitted_at.append(len(labelled))
    assert fitted_at == [LABELS_NEEDED, LABELS_NEEDED + 20]
    assert [fit.labels for fit in PredictorFit.objects.order_by("fitted_at")] == fitted_at
    assert {fit.kind for fit in PredictorFit.objects.all()} <= {"logistic", "lightgbm", "blend"}


def test_a_large_project_is_fitted_again_after_a_tenth_more() -> None:
    plan, _ = planned(12)
    version = JudgeVersion.objects.get()
    fit = PredictorFit(project=plan.project, version=version, kind="logistic", labels=400, wrong=80, seed=0)
    fit.fitted_at = timezone.now()
    last = refitting.LastFit(fit.pk, 400, fit.fitted_at)
    assert not refitting._is_due(39, last, fit.fitted_at)
    assert refitting._is_due(40, last, fit.fitted_at)
    assert not refitting._is_due(0, last, fit.fitted_at + timedelta(days=9))
    assert refitting._is_due(1, last, fit.fitted_at + timedelta(days=1))


def test_second_answers_on_labelled_pairs_are_no_new_labels_and_cost_three_queries() -> None:
    plan, pairs = planned(110, people=105)
    assert refit_if_grown(plan.project, now=timezone.now()) is not None
    cyd = make_person(plan.project, "cyd")
    for pair in pairs[:40]:
        make_preference(pair, cyd, "a")
    with CaptureQueriesContext(connection) as queries:
        assert refit_if_grown(plan.project, now=timezone.now()) is None
    assert len(queries) == 3
    assert PredictorFit.objects.count() == 1


def test_the_same_labels_and_seed_give_the_same_predictor_to_the_byte() -> None:
    plan, _ = planned(110, people=105)
    version = JudgeVersion.objects.get()
    fits = [refit(plan.project, version, seed=3, now=NOW + timedelta(hours=hour)) for hour in range(2)]
    first, second = [fit for fit in fits if fit is not None]
    assert (first.predictor, first.comparison, first.seed) == (second.predictor, second.comparison, 3)
    assert first.predictor["state"]


def test_too_few_labels_are_remembered_as_a_cold_fit_and_not_tried_again_at_every_answer() -> None:
    plan, pairs = planned(125)
    answer_pairs(pairs[:110], ["a", "b", "tie"] * 36 + ["a", "b"], origin=Origin.LIVE)
    fit = refit_if_grown(plan.project, now=timezone.now())
    assert fit is not None
    assert (fit.kind, fit.labels, fit.wrong) == ("cold", 110, 0)
    assert refit_if_grown(plan.project, now=timezone.now()) is None


def test_nothing_is_fitted_before_a_plan_is_applied() -> None:
    project = make_project()
    pairs = make_pairs(project, 5)
    judge_pairs(make_judge(project), pairs, ["a"] * 5)
    assert refit_if_grown(project, now=NOW) is None
    refit_after_answer(pair_id="01900000-0000-7000-8000-000000000000")
    assert not PredictorFit.objects.exists()


def test_a_claim_keeps_others_out_until_it_is_old() -> None:
    plan, _ = planned(30)
    version = JudgeVersion.objects.get()
    PredictorFit.objects.create(project=plan.project, version=version, kind="", seed=0, fitted_at=NOW)
    assert refit(plan.project, version, now=NOW + timedelta(minutes=29)) is None
    assert refit(plan.project, version, now=NOW + timedelta(minutes=31)) is not None
    assert not PredictorFit.objects.filter(kind="").exists()


def test_a_fit_that_fails_gives_its_claim_back(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, _ = planned(30)
    version = JudgeVersion.objects.get()

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(refitting, "read_judged", fail)
    with pytest.raises(MemoryError):
        refit(plan.project, version, now=NOW)
    assert not PredictorFit.objects.exists()


def test_a_worker_that_comes_second_does_not_fit_again() -> None:
    plan, _ = planned(30)
    version = JudgeVersion.objects.get()
    assert refitting._refit(plan.project, version, seed=0, now=NOW, unless_after=None) is not None
    assert refitting._refit(plan.project, version, seed=0, now=NOW, unless_after=None) is None
    assert PredictorFit.objects.count() == 1


def test_pairs_that_wait_take_the_order_of_the_new_doubts_and_audited_and_held_ones_keep_their_place() -> None:
    plan, _ = planned(40, budget="60%")
    tasks = list(Task.objects.select_related("pair").order_by("-priority", "id"))
    audited = set(plan.routes.filter(source=RouteSource.AUDIT).values_list("pair_id", flat=True))
    held = next(task for task in tasks if task.pair_id not in audited)
    Task.objects.filter(pk=held.pk).update(taken=1)
    before = {task.pair_id: task.priority for task in tasks}
    rng = np.random.default_rng(5)
    p_wrong = {str(task.pair_id): float(rng.random()) for task in tasks}
    assert refresh_priorities(plan, p_wrong) > 0
    after = dict(Task.objects.values_list("pair_id", "priority"))
    assert sorted(after.values()) == sorted(before.values())
    kept = audited | {held.pair_id}
    assert {pair: after[pair] for pair in kept} == {pair: before[pair] for pair in kept}
    moved = sorted((pair for pair in after if pair not in kept), key=lambda pair: -after[pair])
    in_order = [p_wrong[str(one)] >= p_wrong[str(other)] for one, other in pairwise(moved) if after[one] > after[other]]
    assert len(in_order) > 0
    assert all(in_order)
    assert refresh_priorities(plan, p_wrong) == 0


def test_a_plan_that_another_has_overtaken_orders_nothing() -> None:
    plan, _ = planned(40, budget="40%")
    apply_plan(draw_plan(plan.project, budget=Budget.parse("20%"), judge="gpt"))
    before = dict(Task.objects.values_list("pair_id", "priority"))
    rng = np.random.default_rng(5)
    assert refresh_priorities(plan, {str(pair): float(rng.random()) for pair in before}) == 0
    assert dict(Task.objects.values_list("pair_id", "priority")) == before


def test_a_refit_moves_the_most_doubtful_open_pairs_to_the_front() -> None:
    plan, pairs = planned(125)
    answer_pairs(pairs[:110], truth(pairs)[:110])
    asked = set(Task.objects.values_list("pair_id", flat=True))
    fit = refit_if_grown(plan.project, now=timezone.now())
    assert fit is not None
    assert set(Task.objects.values_list("pair_id", flat=True)) == asked
    flipped = {pair.pk for pair in pairs[2::3]}
    routed = set(plan.routes.filter(source=RouteSource.PEOPLE).values_list("pair_id", flat=True))
    best = list(Task.objects.filter(pair__in=routed).order_by("-priority")[:20].values_list("pair_id", flat=True))
    assert set(best) <= flipped


def test_a_finished_run_of_the_plans_judge_looks_for_drift() -> None:
    plan, _ = planned(40)
    run = JudgeRun.objects.create(project=plan.project, version=JudgeVersion.objects.get())
    other = JudgeRun.objects.create(project=plan.project, version=make_judge(plan.project, "another"))
    refit_after_run(run_id=str(other.pk))
    assert not PredictorFit.objects.exists()
    for purpose in (RunPurpose.EXPLAIN, RunPurpose.TAG):
        aside = JudgeRun.objects.create(project=plan.project, version=run.version, purpose=purpose)
        refit_after_run(run_id=str(aside.pk))
    assert not PredictorFit.objects.exists()
    refit_after_run(run_id=str(run.pk))
    assert PredictorFit.objects.get().drift["plan"] == str(plan.pk)


@pytest.mark.django_db(transaction=True)
def test_two_workers_that_hear_of_the_same_answer_fit_once() -> None:
    plan, _ = planned(110, people=105)
    barrier = threading.Barrier(4)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            barrier.wait(timeout=30)
            refit_if_grown(Project.objects.get(pk=plan.project.pk), now=timezone.now())
        except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    assert [fit.kind != "" for fit in PredictorFit.objects.all()] == [True]
