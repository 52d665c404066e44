"""Labels come from people first, then from the plan's judge, and say which and why."""

import pytest
from celery import current_app
from pytest_django import DjangoAssertNumQueries

from annotation.aggregating.voting import p_plurality
from annotation.models import Origin, Pair, Preference
from judges.models import JudgeVersion
from routing.labels.resolving import resolve_labels
from routing.models import Label, LabelSource, Plan, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.planning import Budget, draw_plan
from routing.tasks import resolve_pair
from tests.builders import make_pair, make_preference, make_project
from tests.judged import answer_pairs, judge_pairs, make_judge

pytestmark = pytest.mark.django_db


def judged_project(n: int = 12) -> tuple[list[Pair], JudgeVersion]:
    project = make_project()
    pairs = [make_pair(project) for _ in range(n)]
    version = make_judge(project)
    judge_pairs(version, pairs, ["a", "b", "flip"] * (n // 3))
    return pairs, version


def applied_plan(pairs: list[Pair], share: str = "50%", **settings: object) -> Plan:
    plan = draw_plan(pairs[0].project, budget=Budget.parse(share), judge="gpt", **settings)  # type: ignore[arg-type]
    apply_plan(plan)
    return plan


def test_people_outrank_the_judge() -> None:
    pairs, _ = judged_project()
    for rater, choice in (("x", "b"), ("y", "b"), ("z", "a")):
        make_preference(pairs[0], rater, choice, strength=2)
    applied_plan(pairs)
    label = Label.objects.get(pair=pairs[0])
    assert (label.source, label.choice, label.n_votes) == (LabelSource.HUMAN, "b", 3)
    assert label.prob_a == pytest.approx(1 / 3)
    assert label.agreement == pytest.approx(2 / 3)
    assert label.p_correct == pytest.approx(0.6875)
    assert label.strength == 2
    assert label.provenance["rule"] == "people_plurality"
    assert label.provenance["origins"] == {"recorded": 3}
    assert len(label.provenance["raters"]) == 3


def test_contested_pair_has_an_empty_choice_and_is_not_given_to_the_judge() -> None:
    pairs, _ = judged_project()
    make_preference(pairs[0], "x", "a")
    make_preference(pairs[0], "y", "b")
    applied_plan(pairs)
    label = Label.objects.get(pair=pairs[0])
    assert (label.source, label.choice, label.p_correct) == (LabelSource.HUMAN, "", None)
    assert label.provenance["rule"] == "people_contested"


def test_judge_labels_the_rest_and_its_label_names_judge_plan_and_odds() -> None:
    pairs, version = judged_project()
    plan = applied_plan(pairs)
    labels = Label.objects.filter(pair__in=pairs).select_related("pair").order_by("pair_id")
    assert [label.choice for label in labels] == ["a", "b", "tie"] * 4
    for label in labels:
        route = plan.routes.get(pair=label.pair)
        assert label.source == LabelSource.AI
        assert label.provenance["judge"] == "gpt · pairwise"
        assert label.provenance["judge_version_id"] == str(version.pk)
        assert label.provenance["plan"] == str(plan.pk)
        assert label.provenance["selection_prob"] == route.selection_prob
        assert label.provenance["audit"] == (route.source == RouteSource.AUDIT)
        # The cold start ranks: its numbers are no probabilities.
        assert label.p_correct is None


def test_answer_of_a_person_replaces_the_judges_label_by_the_outbox_task() -> None:
    pairs, _ = judged_project()
    applied_plan(pairs)
    make_preference(pairs[0], "x", "b")
    resolve_pair(pair_id=str(pairs[0].pk))
    resolve_pair(pair_id=str(pairs[0].pk))
    label = Label.objects.get(pair=pairs[0])
    assert (label.source, label.choice, label.p_correct) == (LabelSource.HUMAN, "b", 0.75)
    assert Label.objects.count() == 12


def test_task_is_the_one_that_the_outbox_rings(settings: object) -> None:
    consumers = settings.OUTBOX_CONSUMERS["preference_submitted"]  # type: ignore[attr-defined]
    assert resolve_pair.name in consumers
    assert resolve_pair.name in current_app.tasks


def test_task_for_a_deleted_pair_does_nothing() -> None:
    resolve_pair(pair_id="01900000-0000-7000-8000-000000000000")
    assert not Label.objects.exists()


def test_resolving_again_changes_nothing_not_even_the_time() -> None:
    pairs, _ = judged_project()
    answer_pairs(pairs[:5], ["a"] * 5)
    applied_plan(pairs)
    before = list(Label.objects.order_by("pair_id").values())
    assert resolve_labels(pairs[0].project) == 12
    assert list(Label.objects.order_by("pair_id").values()) == before


def test_label_goes_when_its_last_reason_goes() -> None:
    project = make_project()
    pair = make_pair(project)
    make_preference(pair, "x", "a")
    assert resolve_labels(project) == 1
    Preference.objects.update(is_current=False)
    assert resolve_labels(project) == 0
    assert not Label.objects.exists()


def test_cannot_judge_is_no_answer() -> None:
    pairs, _ = judged_project()
    make_preference(pairs[0], "x", "unsure")
    applied_plan(pairs)
    assert Label.objects.get(pair=pairs[0]).source == LabelSource.AI


def test_adjudicated_label_is_left_alone() -> None:
    pairs, _ = judged_project()
    applied_plan(pairs)
    Label.objects.filter(pair=pairs[0]).update(source=LabelSource.ADJUDICATED, choice="both_bad")
    make_preference(pairs[0], "x", "a")
    assert resolve_labels(pairs[0].project) == 12
    assert Label.objects.get(pair=pairs[0]).choice == "both_bad"


def test_live_and_recorded_answers_are_counted_together() -> None:
    project = make_project()
    pair = make_pair(project)
    answer_pairs([pair], ["a"], people=2)
    answer_pairs([pair], ["b"], origin=Origin.LIVE, people=1)
    resolve_labels(project)
    assert Label.objects.get().choice == "a"
    assert Label.objects.get().provenance["origins"] == {"live": 1, "recorded": 2}


def test_queries_do_not_grow_with_the_pairs(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    pairs, _ = judged_project(90)
    answer_pairs(pairs[:40], ["a"] * 40)
    applied_plan(pairs)
    Label.objects.all().delete()
    with django_assert_max_num_queries(24):
        assert resolve_labels(pairs[0].project) == 90


@pytest.mark.parametrize(("won", "of", "p"), [(1, 1, 0.75), (3, 3, 0.9375), (2, 3, 0.6875), (0, 0, 0.5)])
def test_p_correct_is_the_posterior_of_a_majority_of_raters(won: int, of: int, p: float) -> None:
    assert p_plurality(won, of) == pytest.approx(p)
