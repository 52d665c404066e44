"""The judge's accuracy from answers that the router chose: covered, and narrower than the audit slice alone."""

import numpy as np
import pytest

from annotation.models import Origin
from routing.drawing import draw_pairs
from routing.estimating import estimate_accuracy, judge_accuracy
from routing.models import RouteSource
from routing.planning import Budget, apply_plan, draw_plan
from tests.builders import make_pair, make_project
from tests.judged import answer_pairs, judge_pairs, make_judge


def test_interval_covers_the_truth_where_the_naive_share_is_far_off() -> None:
    # 4,000 pairs with confidence c ~ Beta(5, 2), P(right) = .5 + .45 c, and a predictor that believes .5 + .4 c.
    covered, errors, naive, worlds = 0, [], [], 300
    for seed in range(worlds):
        rng = np.random.default_rng(seed)
        c = rng.beta(5, 2, 4000)
        right = (rng.random(4000) < 0.5 + 0.45 * c).astype(float)
        expected = 0.5 + 0.4 * c
        draw = draw_pairs(1 - expected, asked=1000, audited=200, rng=rng)
        asked = draw.audit | draw.people
        mean, low, high = estimate_accuracy(expected, np.where(asked, right, np.nan), asked, draw.selection_prob)
        covered += low <= right.mean() <= high
        errors.append(mean - right.mean())
        naive.append(right[asked].mean() - right.mean())
    assert covered / worlds >= 0.92
    assert abs(np.mean(errors)) < 0.01
    assert np.mean(naive) < -0.05


@pytest.mark.django_db
def test_accuracy_counts_the_audit_slice_until_every_pair_asked_is_answered() -> None:
    project = make_project()
    pairs = [make_pair(project) for _ in range(200)]
    judge_pairs(make_judge(project), pairs, ["a", "b"] * 100)
    plan = draw_plan(project, budget=Budget.parse("50%"), judge="gpt", audit_share=0.2)
    assert "no plan" in plan.figures["judge_accuracy"]["note"]
    apply_plan(plan)
    assert judge_accuracy(plan) == {"note": "too few labels (0 of 30)"}
    by_source = dict(plan.routes.values_list("pair_id", "source"))
    audited = [pair for pair in pairs if by_source[pair.pk] == RouteSource.AUDIT]
    others = [pair for pair in pairs if by_source[pair.pk] == RouteSource.PEOPLE]
    answer_pairs(audited, ["a"] * 40, origin=Origin.LIVE)
    first = judge_accuracy(plan)
    assert (first["answers"], first["from"]) == (40, "audit slice")
    assert first["low"] < 0.5 < first["high"]
    answer_pairs(others, ["a"] * 60, origin=Origin.LIVE)
    last = judge_accuracy(plan)
    assert (last["answers"], last["from"]) == (100, "all pairs asked")
    assert last["low"] < 0.5 < last["high"]
    [noted] = {draw_plan(project, budget=Budget.parse("10%"), judge="gpt").figures["judge_accuracy"]["from"]}
    assert noted == "all pairs asked"


@pytest.mark.django_db
def test_audit_drawn_for_one_judge_measures_another_on_the_pairs_it_labelled() -> None:
    project = make_project()
    pairs = [make_pair(project) for _ in range(200)]
    judge_pairs(make_judge(project), pairs, ["a", "b"] * 100)
    other = make_judge(project, "other")
    labelled, rest = pairs[:160], pairs[160:]
    judge_pairs(other, labelled, ["a", "a", "a", "b"] * 40)
    plan = draw_plan(project, budget=Budget.parse("50%"), judge="gpt", audit_share=0.5)
    apply_plan(plan)
    asked = set(plan.routes.exclude(source=RouteSource.AI).values_list("pair_id", flat=True))
    answered = [pair for pair in pairs if pair.pk in asked]
    answer_pairs(answered, ["a"] * len(answered), origin=Origin.LIVE)
    found = judge_accuracy(plan, other)
    right = [pairs.index(pair) % 4 != 3 for pair in answered if pair not in rest]
    assert found["answers"] == len(right)
    assert found["estimate"] == pytest.approx(sum(right) / len(right), abs=1e-9)
    assert found["low"] < 0.75 < found["high"]
