"""Whatever a project holds, the router draws a plan or says in words why not: no warning, no NaN, no traceback."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from annotation.models import Pair, Preference, Project
from judges.models import JudgeVersion, Verdict, VerdictState
from routing.errors import RoutingError, TooFewLabels
from routing.models import Plan, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.planning import Budget, draw_plan
from routing.predicting.predictor import LABELS_NEEDED
from routing.predicting.refitting import refit
from routing.studies.replaying import replay_routing
from tests.builders import make_pair, make_project
from tests.judged import answer_pairs, judge_pairs, make_judge, make_pairs

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]
N = LABELS_NEEDED + 10
OTHER = {"a": "b", "b": "a", "tie": "a", "flip": "a"}
AGREEING = {"a": "a", "b": "b", "tie": "tie", "flip": "tie"}


def in_turn(*answers: str, n: int = N) -> list[str]:
    return [answers[number % len(answers)] for number in range(n)]


def built(
    said: Sequence[str],
    people: Callable[[list[str]], list[str]] | None,
    *,
    groups: int | None = None,
    answered: int = N,
) -> Project:
    """Return a project in which "gpt" said this, and people what `people` makes of it on the first `answered`."""
    project = make_project(with_people=False)
    pairs = make_pairs(project, len(said), groups=groups)
    judge_pairs(make_judge(project), pairs, said)
    if people is not None and answered:
        answer_pairs(pairs[:answered], people(list(said))[:answered])
    return project


def mostly(said: list[str]) -> list[str]:
    """Return the judge's answers, but for a quarter; where it flipped, for three quarters."""
    rng = np.random.default_rng(0)
    wrong = rng.random(len(said)) < np.where(np.array(said) == "flip", 0.75, 0.25)
    return [OTHER[one] if missed else AGREEING[one] for one, missed in zip(said, wrong, strict=True)]


def always_right(said: list[str]) -> list[str]:
    return [AGREEING[one] for one in said]


def always_wrong(said: list[str]) -> list[str]:
    return [OTHER[one] for one in said]


def cold() -> Project:
    return built(in_turn("a", "b", "flip"), None)


def warm() -> Project:
    return built(in_turn("a", "b", "flip"), mostly)


def few_labels() -> Project:
    return built(in_turn("a", "b", "flip"), mostly, answered=40)


def one_order() -> Project:
    project = make_project(with_people=False)
    pairs, version, said = make_pairs(project, N), make_judge(project), in_turn("a", "b", "b", "tie")
    Verdict.objects.bulk_create(
        Verdict(version=version, pair=pair, order="ab", state=VerdictState.DONE, choice=one)
        for pair, one in zip(pairs, said, strict=True)
    )
    Preference.objects.bulk_create(
        Preference(pair=pair, rater=version.rater, choice=one) for pair, one in zip(pairs, said, strict=True)
    )
    answer_pairs(pairs, mostly(said))
    return project


def many_judges() -> Project:
    project = warm()
    pairs = list(Pair.objects.in_project(project))
    for number in range(4):
        rng = np.random.default_rng(number)
        judge_pairs(
            make_judge(project, f"judge {number}"), pairs, [str(one) for one in rng.choice(["a", "b", "tie"], N)]
        )
    return project


def no_ties() -> Project:
    project = built(in_turn("a", "b"), lambda said: ["b" if number % 3 else "a" for number in range(len(said))])
    judge_pairs(make_judge(project, "other"), list(Pair.objects.in_project(project)), in_turn("b", "b", "a"))
    return project


def all_ties() -> Project:
    return built(in_turn("tie"), lambda said: ["tie"] * len(said))


def all_ties_of_people() -> Project:
    return built(in_turn("a", "b", "flip"), lambda said: ["tie"] * len(said))


def all_contested() -> Project:
    project = built(in_turn("a", "b"), always_right)
    answer_pairs(list(Pair.objects.in_project(project)), in_turn("b", "a"), origin="simulated")  # type: ignore[arg-type]
    return project


def nobody_is_sure() -> Project:
    return built(in_turn("a", "b"), lambda said: ["unsure"] * len(said))


def one_group() -> Project:
    return built(in_turn("a", "b", "flip"), mostly, groups=1)


def right_judge() -> Project:
    return built(in_turn("a", "b"), always_right)


def wrong_judge() -> Project:
    return built(in_turn("a", "b", "tie"), always_wrong)


def one_pair() -> Project:
    return built(["a"], None)


def empty_texts() -> Project:
    project = make_project(with_people=False)
    pairs = [make_pair(project, response_a="", response_b=" ", prompt=f"{number}") for number in range(20)]
    judge_pairs(make_judge(project), pairs, in_turn("a", "flip", n=20))
    return project


# What each project's plan is drawn by; `None` where a predictor has enough to learn from.
WORLDS: dict[Callable[[], Project], str | None] = {
    cold: f"too few labels (0 of {LABELS_NEEDED} pairs answered by both)",
    warm: None,
    few_labels: f"too few labels (40 of {LABELS_NEEDED} pairs answered by both)",
    one_order: None,
    many_judges: None,
    no_ties: None,
    all_ties: "too few labels (0 of 20 pairs where the judge was wrong, and as many right)",
    all_ties_of_people: None,
    all_contested: f"too few labels (0 of {LABELS_NEEDED} pairs answered by both)",
    nobody_is_sure: f"too few labels (0 of {LABELS_NEEDED} pairs answered by both)",
    one_group: "too few labels (1 of 10 prompt groups)",
    right_judge: "too few labels (0 of 20 pairs where the judge was wrong, and as many right)",
    wrong_judge: "too few labels (0 of 20 pairs where the judge was wrong, and as many right)",
    one_pair: f"too few labels (0 of {LABELS_NEEDED} pairs answered by both)",
    empty_texts: f"too few labels (0 of {LABELS_NEEDED} pairs answered by both)",
}
LEARNING = [world for world, short in WORLDS.items() if short is None]
SHORT = [world for world, short in WORLDS.items() if short is not None]


def numbers_are_numbers(stored: Any) -> None:
    """Fail where a figure is NaN or infinite: JSON has neither, and a page would show it."""
    json.dumps(stored, allow_nan=False, default=str)


def sound(plan: Plan) -> None:
    numbers_are_numbers(plan.figures)
    numbers_are_numbers(plan.predictor)
    for route in plan.routes.all():
        assert route.p_wrong is None or 0 <= route.p_wrong <= 1
        assert 0 <= route.selection_prob <= 1
        numbers_are_numbers([route.p_wrong, route.expected_gain, route.expected_seconds, route.why])


@pytest.mark.parametrize("world", WORLDS)
def test_a_plan_is_drawn_applied_and_looked_after(world: Callable[[], Project]) -> None:
    project = world()
    plan = draw_plan(project, budget=Budget.parse("100%"), judge="gpt", audit_share=0.2)
    sound(plan)
    short = WORLDS[world]
    assert plan.figures["predictor"]["note"] == (short or "")
    assert (plan.predictor_kind == "cold") == (short is not None)
    assert apply_plan(plan) == plan.routes.exclude(source=RouteSource.AI).count() > 0
    if world in (warm, one_group, right_judge, one_pair, all_ties):
        fit = refit(project, JudgeVersion.objects.get(), now=datetime(2030, 1, 1, tzinfo=UTC))
        assert fit is not None
        assert (fit.kind == "cold") == (short is not None)
        numbers_are_numbers([fit.drift, fit.comparison, fit.predictor])


@pytest.mark.parametrize("world", SHORT)
def test_a_replay_and_a_target_say_what_is_missing(world: Callable[[], Project]) -> None:
    project = world()
    sentence = str(WORLDS[world])
    with pytest.raises(TooFewLabels, match=r"^Replay of gpt in helpfulness: ") as error:
        replay_routing(project, judge="gpt", budgets=[0.25], repeats=1, seed=0)
    assert sentence in str(error.value)
    with pytest.raises(RoutingError, match="A target agreement needs a calibrated") as refusal:
        draw_plan(project, budget=Budget.target("0.9"), judge="gpt")
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    "world",
    [pytest.param(one, marks=[] if one in (warm, many_judges) else pytest.mark.slow) for one in LEARNING],
)
def test_a_replay_gives_figures(world: Callable[[], Project]) -> None:
    result = replay_routing(world(), judge="gpt", budgets=[0.25, 1.0], repeats=1, seed=0)
    numbers_are_numbers(result)
    [quarter, whole] = result["budgets"]
    assert quarter["agreement"]["oracle"] >= quarter["agreement"]["learned"]
    assert whole["agreement"]["learned"] == 1.0


def test_a_project_without_a_judge_says_to_run_one() -> None:
    project = make_project(with_people=False)
    answer_pairs(make_pairs(project, 5), ["a"] * 5)
    for attempt in (
        lambda: draw_plan(project, budget=Budget.parse("25%")),
        lambda: draw_plan(project, budget=Budget.parse("25%"), judge="gpt"),
        lambda: replay_routing(project, judge="gpt", budgets=[0.25], repeats=1, seed=0),
    ):
        with pytest.raises(RoutingError, match="run_judge"):
            attempt()


def test_a_project_without_pairs_says_so() -> None:
    project = make_project(with_people=False)
    make_judge(project)
    with pytest.raises(RoutingError):
        draw_plan(project, budget=Budget.parse("25%"))
    with pytest.raises(RoutingError):
        replay_routing(project, judge="gpt", budgets=[0.25], repeats=1, seed=0)


def test_the_steady_state_draws_again_from_all_labels_when_new_pairs_came() -> None:
    project = warm()
    apply_plan(draw_plan(project, budget=Budget.parse("50%"), judge="gpt"))
    version = JudgeVersion.objects.get()
    assert refit(project, version, now=datetime(2030, 1, 1, tzinfo=UTC)) is not None
    judge_pairs(version, make_pairs(project, 60, start=1000), in_turn("a", "flip", "b", n=60))
    again = draw_plan(project, budget=Budget.parse("20%"), judge="gpt")
    sound(again)
    assert again.figures["predictor"]["labels"] == N
    assert again.predictor_kind != "cold"
