"""P(judge wrong): learned, calibrated, reproducible, and honest about too few labels."""

import json

import numpy as np
import pandas as pd
import pytest

from routing.predicting.predictor import Kinds, Predictor, Rows, _fit_all, cold_predictor, fit_predictor, shortage
from routing.predicting.scoring import Bools, Strings, auroc, expected_calibration_error, log_losses, sigmoid

pytestmark = pytest.mark.either_database


def world(n: int = 600, seed: int = 0, *, crossed: bool = False) -> tuple[pd.DataFrame, Bools, Strings]:
    """Return signals with gaps, where the judge errs after a flip and at a low margin (or where two signals cross)."""
    rng = np.random.default_rng(seed)
    flipped, margin = (rng.random(n) < 0.4).astype(float), rng.random(n)
    words, similarity = rng.normal(size=n), rng.random(n)
    z = -1.5 + 2 * flipped - 2 * (margin - 0.5)
    if crossed:
        z = np.where((words > 0) == (similarity > 0.5), 2.5, -2.5)
    signals = pd.DataFrame({"flipped": flipped, "margin": margin, "words": words, "similarity": similarity})
    signals.loc[rng.random(n) < 0.2, "flipped"] = np.nan
    groups = np.array([f"g{number // 5}" for number in range(n)], dtype=object)
    return signals, rng.random(n) < sigmoid(z), groups


def test_learned_probabilities_rank_and_are_calibrated_on_new_pairs() -> None:
    fitted = fit_predictor(*world(1500))
    signals, wrong, _ = world(3000, seed=1)
    p = fitted.predictor.predict(signals)
    assert auroc(p, wrong) > 0.70
    assert expected_calibration_error(p, wrong) < 0.06


def test_logistic_stays_where_the_blend_is_no_better() -> None:
    fitted = fit_predictor(*world())
    assert fitted.predictor.kind == "logistic"
    assert [row.kind for row in fitted.comparison if row.chosen] == ["logistic"]
    assert {row.kind for row in fitted.comparison} == {"logistic", "lightgbm", "blend", "cold"}


def test_trees_are_chosen_where_signals_work_only_together() -> None:
    fitted = fit_predictor(*world(1500, crossed=True))
    assert fitted.predictor.kind in {"lightgbm", "blend"}
    signals, wrong, _ = world(1000, seed=1, crossed=True)
    assert auroc(fitted.predictor.predict(signals), wrong) > 0.8


@pytest.mark.parametrize("crossed", [False, True])
def test_same_seed_gives_the_same_bits_and_json_keeps_them(crossed: bool) -> None:
    signals, wrong, groups = world(400, crossed=crossed)
    first = fit_predictor(signals, wrong, groups, seed=7).predictor
    again = fit_predictor(signals, wrong, groups, seed=7).predictor
    assert json.dumps(first.to_json()) == json.dumps(again.to_json())
    stored = Predictor.from_json(json.loads(json.dumps(first.to_json())))
    assert stored.predict(signals).tobytes() == first.predict(signals).tobytes()


def test_shuffled_labels_teach_nothing() -> None:
    signals, wrong, groups = world(800)
    shuffled = np.random.default_rng(3).permutation(wrong)
    assert auroc(fit_predictor(signals, shuffled, groups).out_of_fold, shuffled) == pytest.approx(0.5, abs=0.07)


def test_out_of_fold_answers_never_saw_their_own_group() -> None:
    signals, wrong, groups = world(600)
    # A signal that names the group would predict the labels perfectly inside it and nothing outside.
    rng = np.random.default_rng(4)
    wrong = np.repeat(rng.random(120) < 0.4, 5)
    leak = signals.assign(words=np.repeat(rng.permutation(120), 5).astype(float))
    assert auroc(fit_predictor(leak, wrong, groups).out_of_fold, wrong) < 0.62


def test_weights_count_a_rarely_drawn_pair_for_those_it_stands_for() -> None:
    signals, wrong, groups = world(2000)
    kept = ~wrong | (np.random.default_rng(5).random(2000) < 0.25)
    weights = np.where(wrong, 4.0, 1.0)[kept]
    plain = fit_predictor(signals[kept], wrong[kept], groups[kept]).predictor.predict(signals).mean()
    weighted = fit_predictor(signals[kept], wrong[kept], groups[kept], weights=weights).predictor.predict(signals)
    assert weighted.mean() == pytest.approx(wrong.mean(), abs=0.04)
    assert plain < wrong.mean() - 0.1


def test_cold_start_ranks_a_flip_with_a_low_margin_first() -> None:
    signals = pd.DataFrame({"flipped": [0.0, 1.0, 1.0, np.nan], "margin": [1.0, 0.9, 0.0, np.nan]})
    cold = cold_predictor(signals)
    p = cold.predict(signals)
    assert not cold.calibrated
    assert p[2] > p[1] > p[0]
    assert p[3] == pytest.approx(0.3)
    assert ((p >= 0.05) & (p <= 0.55)).all()


def test_cold_start_without_any_judge_signal_calls_every_pair_alike() -> None:
    signals = pd.DataFrame({"words": [1.0, 2.0, 3.0]})
    assert cold_predictor(signals).predict(signals).tolist() == [0.3, 0.3, 0.3]


def test_reasons_name_what_raised_the_doubt() -> None:
    signals, wrong, groups = world()
    predictor = fit_predictor(signals, wrong, groups).predictor
    doubtful = pd.DataFrame({"flipped": [1.0], "margin": [0.05], "words": [0.0], "similarity": [0.5]})
    [reasons] = predictor.explain(doubtful, "gpt")
    assert reasons[0] == "gpt changed its answer when the order was swapped"
    assert "gpt is 52% sure" in reasons
    [[safe]] = predictor.explain(pd.DataFrame({**doubtful, "flipped": [0.0], "margin": [1.0]}), "gpt")
    assert safe == "for the judge: gpt is 100% sure; gpt kept its answer in both orders"


def test_reasons_leave_out_what_weighs_little_and_what_was_said() -> None:
    weights = {"pick_length": 1.0, "length_gap": 0.9, "pick_form": 0.8, "has_code": 0.5, "turns": 0.2, "words": 0.1}
    coefficients = [*weights.values(), 0.0]
    state = {"medians": [0.0] * 6, "missing": [], "means": [0.0] * 6, "scales": [1.0] * 6}
    predictor = Predictor("logistic", tuple(weights), {**state, "coefficients": coefficients})
    row = {"pick_length": 0.6, "length_gap": 0.6, "pick_form": 0.0, "has_code": 1.0, "turns": 0.5, "words": np.nan}
    # The gap in length is the same thing again, the record of the pick is even, the turns add a fifth of the length.
    assert predictor.explain(pd.DataFrame([row]), "gpt") == [
        ["the picked response is 4.0 times as long as the other", "there is code"]
    ]


def wrong_in_two_ways(n: int = 1200, seed: int = 0) -> tuple[pd.DataFrame, Bools, Strings, Kinds]:
    """Return a world where flips end in people's tie (1) and wordy pairs in the other response (2)."""
    signals, _, groups = world(n, seed)
    rng = np.random.default_rng([5, seed])
    z = np.column_stack([np.zeros(n), 3 * signals["flipped"].fillna(0.0) - 3, 2 * signals["words"] - 3])
    kinds = (rng.gumbel(size=(n, 3)) + z).argmax(axis=1)
    return signals, kinds > 0, groups, kinds


def test_contributions_add_up_to_the_score_of_what_explains() -> None:
    signals, wrong, _, kinds = wrong_in_two_ways()
    predictor = _fit_all(Rows(signals, wrong, kinds, np.ones(len(wrong))), 0)["blend"]
    assert list(predictor.state) == ["logistic", "kinds", "forest"]
    for name, state in predictor.state.items():
        part = Predictor(name, predictor.columns, state)
        p = part.predict(signals)
        gap = np.log(p / (1 - p)) - part.contributions(signals).sum(axis=1).to_numpy()
        # The same constant is missing from each: the intercept, or LightGBM's expected value. The ways of being wrong
        # meet in a softmax, which is a sum only nearly.
        assert gap.std() < (0.35 if name in {"kinds", "forest"} else 1e-6), name
    total = predictor.contributions(signals).sum(axis=1)
    assert np.corrcoef(total, predictor.predict(signals))[0, 1] > 0.9


def test_ways_of_being_wrong_are_learned_apart_and_rare_ones_together() -> None:
    signals, wrong, groups, kinds = wrong_in_two_ways()
    train = Rows(signals, wrong, kinds, np.ones(len(wrong)))
    apart, together = (_fit_all(rows, 0, only="blend")["blend"] for rows in (train, train._replace(kinds=wrong * 1)))
    assert apart.state["kinds"]["classes"] == 3
    assert together.state["kinds"]["classes"] == 2
    new, new_wrong, _, _ = wrong_in_two_ways(4000, seed=1)
    losses = [log_losses(sigmoid(blend._raw(new)), new_wrong).mean() for blend in (apart, together)]
    assert losses[0] < losses[1]
    said = (
        fit_predictor(signals, wrong, groups, kinds=kinds).comparison,
        fit_predictor(signals, wrong, groups).comparison,
    )
    assert said[0][2].log_loss < said[1][2].log_loss
    rare = np.where(wrong & (np.cumsum(kinds == 2) > 9) & (kinds == 2), 1, kinds)
    assert (rare == 2).sum() == 9
    assert _fit_all(train._replace(kinds=rare), 0, only="blend")["blend"].state["kinds"]["classes"] == 2


def test_unknown_values_in_new_pairs_are_no_error() -> None:
    predictor = fit_predictor(*world()).predictor
    p = predictor.predict(pd.DataFrame({"flipped": [np.nan], "words": [np.nan]}))
    assert 0 < p[0] < 1


@pytest.mark.parametrize(
    ("n", "n_wrong", "n_groups", "says"),
    [
        (99, 40, 50, "too few labels (99 of 100"),
        (200, 19, 50, "too few labels (19 of 20"),
        (200, 190, 50, "too few labels (10 of 20"),
        (200, 50, 9, "too few labels (9 of 10"),
        (200, 50, 50, ""),
    ],
)
def test_too_few_labels_are_said_with_both_numbers(n: int, n_wrong: int, n_groups: int, says: str) -> None:
    wrong = np.arange(n) < n_wrong
    groups = np.array([f"g{number % n_groups}" for number in range(n)], dtype=object)
    assert shortage(pd.DataFrame({"margin": wrong}), wrong, groups)[: len(says) or None] == says
    if not says:
        assert "no signal" in shortage(pd.DataFrame(index=range(n)), wrong, groups)
