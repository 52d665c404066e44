"""The proxy reward model: features of texts, many heads at once, accuracy on held-out people."""

import time

import numpy as np
import pytest

from routing.predicting.scoring import Bools, Floats, Strings, fit_logistic, grouped_folds, sigmoid
from routing.studies.rewarding import (
    STYLES,
    GroupBootstrap,
    difference_features,
    fit_heads,
    held_out_hits,
    hits,
    proxy_accuracy,
    proxy_by_budget,
    response_features,
)

LONG = "Paris is the capital of France.\n\n- It lies on the Seine.\n- It has 2 million people."
REFUSAL = "I'm sorry, I cannot help with that."


def world(n: int = 600, k: int = 12) -> tuple[Floats, Floats, Floats, Bools, Strings]:
    """Return pairs whose winner a head can learn; the judge likes the first feature, wrongly, on a third of them."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, k))
    human = (rng.random(n) < sigmoid(x @ np.r_[-1.0, np.linspace(0.5, 1.0, k - 1)])).astype(float)
    misled = rng.random(n) < 1 / 3
    judge = np.where(misled, (x[:, 0] > 0).astype(float), human)
    groups = np.array([f"g{number // 4}" for number in range(n)], dtype=object)
    return x, human, judge, misled, groups


def test_styles_are_counted_from_the_text_alone() -> None:
    table = response_features(["What is the capital of France?"] * 3, [LONG, REFUSAL, ""])
    styles = [dict(zip(STYLES, row, strict=False)) for row in table]
    assert table.shape == (3, len(STYLES) + 256)
    assert np.expm1(styles[0]["list_items"]) == pytest.approx(2)
    assert np.expm1(styles[0]["words"]) == pytest.approx(16)
    assert (styles[0]["refusal"], styles[1]["refusal"]) == (0.0, 1.0)
    assert [style["empty"] for style in styles] == [0.0, 0.0, 1.0]
    assert styles[0]["prompt_words_repeated"] > styles[1]["prompt_words_repeated"]
    assert styles[0]["similarity_to_prompt"] > styles[1]["similarity_to_prompt"]


def test_a_pair_turned_round_has_the_same_features_with_the_other_sign() -> None:
    prompts, a, b = ["What is the capital of France?"] * 2, [LONG, REFUSAL], [REFUSAL, LONG]
    x = difference_features(prompts, a, b)
    assert np.allclose(x[0], -x[1])
    assert np.abs(x[0]).max() > 0


def test_heads_fitted_together_are_those_of_newtons_method() -> None:
    x, human, judge, _, _ = world()
    heads = fit_heads(x, np.column_stack([human, judge]), ridge=0.1)
    penalty = np.full(x.shape[1], 0.1 * np.trace(x.T @ x) / x.shape[1])
    for column, labels in enumerate((human, judge)):
        exact = fit_logistic(x, labels, np.ones(len(x)), penalty)
        assert np.allclose(heads[:, column], exact, atol=5e-4)
    alone = fit_heads(x, human[:, None], ridge=0.1)
    assert np.allclose(alone[:, 0], heads[:, 0], atol=5e-4)
    assert np.array_equal(alone, fit_heads(x, human[:, None], ridge=0.1))


def test_a_weight_of_two_is_the_pair_twice_and_a_tie_pulls_neither_way() -> None:
    x, human, _, _, _ = world(100)
    weights = np.ones(100)
    weights[:30] = 2.0
    twice = np.r_[np.arange(100), np.arange(30)]
    assert np.allclose(fit_heads(x, human[:, None], weights), fit_heads(x[twice], human[twice][:, None]), atol=5e-4)
    assert np.array_equal(fit_heads(x, np.full((100, 1), 0.5)), np.zeros((x.shape[1], 1)))


def test_hits_leave_out_pairs_on_which_people_have_no_preference() -> None:
    found = hits(np.array([[2.0], [-1.0], [0.0], [3.0]]), np.array([1.0, 1.0, 0.0, 0.5]))[:, 0]
    assert found[:3].tolist() == [1.0, 0.0, 0.5]
    assert np.isnan(found[3])


def test_no_pair_is_scored_by_a_head_that_saw_its_prompt_group() -> None:
    # Labels are noise, but the same within a group, and every group has its own feature: only a leak could score.
    rng = np.random.default_rng(0)
    groups = np.repeat([f"g{number}" for number in range(60)], 4).astype(object)
    human = np.repeat(rng.integers(2, size=60), 4).astype(float)
    x = np.repeat(np.eye(60), 4, axis=0)
    masks = list(grouped_folds(groups, 5, rng))
    assert np.nanmean(held_out_hits(x, human[:, None], human, masks)) == 0.5


def test_accuracy_is_higher_with_peoples_labels_than_with_a_misled_judges() -> None:
    x, human, judge, _, groups = world()
    people, ai = proxy_accuracy(x, np.column_stack([human, judge]), human, groups, seed=0)
    assert people > 0.8
    assert ai < people - 0.02


def test_routing_the_wrong_labels_to_people_gives_a_better_proxy_than_chance() -> None:
    x, human, judge, misled, groups = world()
    noise = np.random.default_rng(1).random(len(human))
    rankings = {"best_signal": noise, "learned": misled + 0.5 * noise}
    result = proxy_by_budget(x, human, judge, rankings, groups, budgets=[0.25, 0.5], repeats=3, seed=0)
    at_25 = result["budgets"][0]
    assert at_25["learned_minus"]["random"]["low"] > 0
    assert at_25["learned_minus"]["best_signal"]["mean"] > 0
    assert at_25["accuracy"]["learned"]["mean"] <= at_25["accuracy"]["oracle"]["mean"] + 0.02
    assert result["all_judge"]["mean"] < at_25["accuracy"]["random"]["mean"] < result["all_people"]["mean"]
    again = proxy_by_budget(x, human, judge, rankings, groups, budgets=[0.25, 0.5], repeats=3, seed=0)
    assert again == result


def test_a_bootstrap_over_groups_is_wider_than_one_over_pairs_where_groups_agree() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(40), 10)[None, :]
    grouped, single = np.repeat(np.arange(40), 10).astype(object), np.arange(400).astype(object)
    wide = GroupBootstrap(values, grouped, rng).estimate(0)
    narrow = GroupBootstrap(values, single, rng).estimate(0)
    assert wide["mean"] == pytest.approx(values.mean())
    assert narrow["mean"] == pytest.approx(values.mean())
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"])


def test_ten_thousand_pairs_take_a_fraction_of_a_second_a_head() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(10_000, 272))
    labels = (rng.random((10_000, 8)) < sigmoid(x @ rng.normal(scale=0.1, size=272))[:, None]).astype(float)
    started = time.process_time()
    fit_heads(x, labels)
    assert (time.process_time() - started) / 8 < 0.3
