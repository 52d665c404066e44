import uuid
from typing import Any

import pytest

from annotation.criteria import OVERALL
from annotation.models import Criterion, Pair, Preference, Project, Rating, RationaleTiming
from judges.defining import add_judge
from judges.models import JudgeVersion, Verdict, VerdictState
from judges.options import Options
from judges.settling import TIE_BAND, settle_pairs
from tests.builders import make_pair, make_project

pytestmark = pytest.mark.django_db


def make_version(
    project: Project | None = None, protocol: str = "pairwise", name: str = "stub", **options: Any
) -> JudgeVersion:
    return add_judge(
        project or make_project(),
        name,
        kind="openai",
        base_url="http://127.0.0.1:9/v1",
        model="m",
        protocol=protocol,
        options=Options(**options),
    )


def store(version: JudgeVersion, pair: Pair, order: str, **values: Any) -> Verdict:
    return Verdict.objects.create(version=version, pair=pair, order=order, state=VerdictState.DONE, **values)


def preference_of(version: JudgeVersion, pair: Pair, criterion: str | None = None) -> Preference | None:
    return Preference.objects.filter(rater=version.rater, pair=pair, criterion__name=criterion, is_current=True).first()


def settled(version: JudgeVersion, **probabilities: float) -> Preference | None:
    """Store a verdict an order (`ab=0.9` is P(a) as judged with a first) on a new pair and settle it."""
    pair = make_pair(version.judge.project)
    for order, prob_a in probabilities.items():
        choice = "tie" if prob_a == 0.5 else "a" if prob_a > 0.5 else "b"
        store(version, pair, order, choice=choice, prob_a=prob_a, rationale=f"{choice} said in {order}", seconds=1.5)
    settle_pairs(version, [pair.pk])
    return preference_of(version, pair)


def test_one_order_alone_is_no_preference() -> None:
    assert settled(make_version(), ab=0.9) is None


@pytest.mark.parametrize(
    ("ab", "ba", "choice", "consistent"),
    [
        (0.9, 0.8, "a", True),
        (0.1, 0.2, "b", True),
        (0.9, 0.3, "a", False),
        (0.6, 0.1, "b", False),
        (0.9, 0.1, "tie", False),
        (0.9, 0.18, "tie", False),
        (0.5, 0.5, "tie", True),
        (0.51, 0.53, "a", True),
    ],
)
def test_probabilities_are_averaged_before_the_choice_is_made(
    ab: float, ba: float, choice: str, consistent: bool
) -> None:
    preference = settled(make_version(), ab=ab, ba=ba)
    assert preference
    assert TIE_BAND == 0.05
    assert (preference.choice, preference.meta) == (choice, {"consistent": consistent})
    assert preference.prob_a == pytest.approx((ab + ba) / 2)
    assert preference.seconds == 3.0


def test_tie_band_is_the_versions_own() -> None:
    project = make_project()
    wide = settled(make_version(project, name="wide", tie_band=0.2), ab=0.9, ba=0.3)
    narrow = settled(make_version(project, name="narrow", tie_band=0.0), ab=0.9, ba=0.12)
    assert wide
    assert narrow
    assert (wide.choice, narrow.choice) == ("tie", "a")


def test_rationale_comes_from_an_order_that_agrees_with_the_choice() -> None:
    preference = settled(make_version(), ab=0.4, ba=0.9)
    assert preference
    assert (preference.choice, preference.rationale, preference.shown_order) == ("a", "a said in ba", "ba")
    assert preference.rationale_timing == RationaleTiming.BEFORE


def test_orders_that_contradict_each_other_leave_no_rationale() -> None:
    preference = settled(make_version(), ab=1.0, ba=0.0)
    assert preference
    assert (preference.rationale, preference.shown_order, preference.rationale_timing) == ("", "", "")


def test_settling_twice_keeps_one_preference() -> None:
    version = make_version()
    first = settled(version, ab=0.9, ba=0.9)
    assert first
    settle_pairs(version, [first.pair_id])
    assert Preference.objects.get() == first


def test_changed_answer_is_a_new_row_that_replaces_the_old_one() -> None:
    version = make_version()
    first = settled(version, ab=0.9, ba=0.9)
    assert first
    Verdict.objects.filter(pair_id=first.pair_id).update(choice="b", prob_a=0.1)
    settle_pairs(version, [first.pair_id])
    second = preference_of(version, Pair.objects.get(pk=first.pair_id))
    assert second
    assert (second.choice, second.replaces) == ("b", first)
    first.refresh_from_db()
    assert not first.is_current


SOFT_TIE = {"a": 0.3, "tie": 0.6, "b": 0.1}
SOFT_A = {"a": 0.45, "tie": 0.4, "b": 0.15}


def soft(version: JudgeVersion, *distributions: dict[str, float], pair: Pair | None = None) -> Preference:
    """Store a measured distribution an order and settle the pair."""
    pair = pair or make_pair(version.judge.project)
    for order, one in zip(("ab", "ba"), distributions, strict=True):
        choice = max(one, key=lambda name: one[name])
        store(version, pair, order, choice=choice, prob_a=one["a"] + one["tie"] / 2, distribution=one)
    settle_pairs(version, [pair.pk])
    preference = preference_of(version, pair)
    assert preference
    return preference


def test_tie_probability_survives_and_the_likeliest_tie_is_one() -> None:
    preference = soft(make_version(protocol="letter"), SOFT_TIE, SOFT_A)
    assert (preference.choice, preference.meta) == ("tie", {"consistent": False, "prob_tie": 0.5})
    assert preference.prob_a == pytest.approx(0.625)


def test_likelihood_takes_the_likeliest_of_the_summed_distributions() -> None:
    project = make_project()
    both = {"a": 0.4, "tie": 0.35, "b": 0.25}, {"a": 0.1, "tie": 0.35, "b": 0.55}
    version = make_version(project, "letter", "likely", aggregation="likelihood", tie_band=0.04)
    # The sums are a 0.5, tie 0.7, b 0.8; as means, b leads the tie by 0.05.
    assert soft(version, *both).choice == "b"
    careful = make_version(project, "letter", "careful", aggregation="likelihood", tie_band=0.06)
    assert soft(careful, *both).choice == "tie"


def test_each_criterion_is_a_preference_of_its_own() -> None:
    project = make_project()
    for name in ("truth", "style"):
        Criterion.objects.create(project=project, name=name)
    version = make_version(project, "letter", criteria=("truth", "style"))
    pair = make_pair(project)
    said = {"choice": "b", "prob_a": 0.2, "distribution": {"a": 0.1, "tie": 0.2, "b": 0.7}}
    hard = {"choice": "a", "prob_a": 1.0, "distribution": {}}
    store(version, pair, "ab", choice="a", prob_a=0.9, criteria={"truth": said, "style": hard, "gone": hard})
    store(version, pair, "ba", choice="a", prob_a=0.8, criteria={"truth": said, "gone": hard})
    settle_pairs(version, [pair.pk])
    truth = preference_of(version, pair, "truth")
    assert truth
    assert (truth.choice, truth.prob_a, truth.meta) == ("b", 0.2, {"consistent": True, "prob_tie": 0.2})
    # One order did not answer "style", and the project has no criterion "gone".
    assert Preference.objects.count() == 2


def score(version: JudgeVersion, pair: Pair, a: dict[str, Any], b: dict[str, Any]) -> None:
    store(version, pair, "a", score_a=a.pop("score"), seconds=1.0, **a)
    store(version, pair, "b", score_b=b.pop("score"), seconds=1.0, **b)
    settle_pairs(version, [pair.pk])


def test_scores_make_ratings_and_the_preference_that_follows() -> None:
    project = make_project()
    Criterion.objects.create(project=project, name="truth")
    version = make_version(project, "rating", criteria=("truth",))
    pair = make_pair(project)
    truth = {"truth": {"score": 5.0, "distribution": {}}}
    score(
        version,
        pair,
        {"score": 7.6, "distribution": {"7": 0.4, "8": 0.6}, "criteria": truth},
        {"score": 7.55, "distribution": {"7": 0.45, "8": 0.55}, "criteria": truth},
    )
    whole = preference_of(version, pair)
    assert whole
    # P(8 over 7) = 0.6 * 0.45; P(equal) = 0.4 * 0.45 + 0.6 * 0.55.
    assert whole.prob_a == pytest.approx(0.27 + 0.51 / 2)
    assert whole.meta == {"score_a": 7.6, "score_b": 7.55, "prob_tie": 0.51}
    assert (whole.choice, whole.seconds) == ("tie", 2.0)
    by = preference_of(version, pair, "truth")
    assert by
    assert (by.choice, by.prob_a, by.meta) == ("tie", 0.5, {"score_a": 5.0, "score_b": 5.0, "prob_tie": 1.0})
    values = Rating.objects.filter(rater=version.rater, pair=pair).values_list(
        "response_id", "criterion__name", "value"
    )
    assert set(values) == {
        (pair.response_a_id, OVERALL, 7.6),
        (pair.response_b_id, OVERALL, 7.55),
        (pair.response_a_id, "truth", 5.0),
        (pair.response_b_id, "truth", 5.0),
    }


def test_hard_scores_decide_alone_and_a_changed_one_updates_its_rating() -> None:
    version = make_version(protocol="rating")
    pair = make_pair(version.judge.project)
    score(version, pair, {"score": 8.0}, {"score": 7.0})
    first = preference_of(version, pair)
    assert first
    assert (first.choice, first.prob_a) == ("a", 1.0)
    Verdict.objects.filter(order="a").update(score_a=6.0)
    settle_pairs(version, [pair.pk])
    second = preference_of(version, pair)
    assert second
    assert (second.choice, second.prob_a, second.replaces) == ("b", 0.0, first)
    assert sorted(Rating.objects.values_list("value", flat=True)) == [6.0, 7.0]


def test_reasons_of_the_second_pass_join_the_preference_they_argue_for() -> None:
    version = make_version(protocol="letter")
    plain = soft(version, {"a": 0.8, "tie": 0.1, "b": 0.1}, {"a": 0.7, "tie": 0.1, "b": 0.2})
    assert plain.rationale == ""
    store(version, plain.pair, "why", choice="a", rationale="The first is exact.")
    settle_pairs(version, [plain.pair_id])
    explained = preference_of(version, plain.pair)
    assert explained
    assert (explained.rationale, explained.shown_order) == ("The first is exact.", "ab")
    assert (explained.rationale_timing, explained.replaces) == (RationaleTiming.AFTER, plain)
    assert (explained.choice, explained.prob_a, explained.meta) == (plain.choice, plain.prob_a, plain.meta)


@pytest.mark.parametrize(("choice", "meta"), [("b", {}), ("a", {"disagrees": True, "argued_for": "b"})])
def test_reasons_for_another_choice_are_kept_as_a_verdict_only(choice: str, meta: dict[str, Any]) -> None:
    version = make_version(protocol="letter")
    plain = soft(version, {"a": 0.8, "tie": 0.1, "b": 0.1}, {"a": 0.7, "tie": 0.1, "b": 0.2})
    store(version, plain.pair, "why", choice=choice, rationale="The second is exact.", meta=meta)
    settle_pairs(version, [plain.pair_id])
    assert preference_of(version, plain.pair) == plain


def test_combined_verdict_stands_as_it_is_with_a_members_rationale() -> None:
    project = make_project()
    version = make_version(project)
    JudgeVersion.objects.filter(pk=version.pk).update(asks_both_orders=False, protocol="jury")
    version.refresh_from_db()
    pair = make_pair(project)
    store(version, pair, "", choice="a", prob_a=0.52, rationale="The first.", meta={"rationale_order": "ba"})
    settle_pairs(version, [pair.pk])
    preference = preference_of(version, pair)
    assert preference
    assert (preference.choice, preference.prob_a, preference.meta) == ("a", 0.52, {})
    assert (preference.shown_order, preference.rationale_timing) == ("ba", "")


@pytest.mark.parametrize(("protocol", "orders", "most"), [("letter", ("ab", "ba"), 4), ("rating", ("a", "b"), 7)])
def test_many_pairs_are_a_handful_of_statements(
    protocol: str, orders: tuple[str, str], most: int, django_assert_max_num_queries: Any
) -> None:
    project = make_project()
    for name in (OVERALL, "truth"):
        Criterion.objects.create(project=project, name=name)
    version = make_version(project, protocol, criteria=("truth",))
    # SQLite would split rows of more pairs into several statements.
    pairs = [make_pair(project) for _ in range(20)]
    for pair in pairs:
        for order in orders:
            values: dict[str, Any] = {"choice": "a", "criteria": {"truth": {"choice": "a", "prob_a": 1.0}}}
            if protocol == "rating":
                values = {f"score_{order}": 5.0, "criteria": {"truth": {"score": 5.0}}}
            store(version, pair, order, **values)
    with django_assert_max_num_queries(most):
        settle_pairs(version, [pair.pk for pair in pairs])
    assert Preference.objects.filter(rater=version.rater).count() == 40
    with django_assert_max_num_queries(most):
        settle_pairs(version, [*(pair.pk for pair in pairs), uuid.uuid4()])
    assert Preference.objects.filter(rater=version.rater).count() == 40


def test_one_preference_of_a_rule_is_stored_alone() -> None:
    version = add_judge(make_project(), "length", kind="length")
    pair = make_pair(version.judge.project)
    store(version, pair, "", choice="a", prob_a=0.7)
    settle_pairs(version, [pair.pk])
    preference = preference_of(version, pair)
    assert preference
    assert (preference.choice, preference.prob_a, preference.meta) == ("a", 0.7, {})
