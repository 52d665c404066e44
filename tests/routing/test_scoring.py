"""The small arithmetic: against worked examples and against scikit-learn."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from routing.predicting.scoring import (
    auroc,
    expected_calibration_error,
    fit_logistic,
    fit_platt,
    grouped_folds,
    log_losses,
    sigmoid,
)


def test_auroc_equals_scikit_learns_with_ties_and_weights() -> None:
    rng = np.random.default_rng(0)
    scores, wrong = rng.integers(0, 8, 300) / 8, rng.random(300) < 0.3
    weights = rng.random(300) + 0.1
    assert auroc(scores, wrong) == pytest.approx(roc_auc_score(wrong, scores))
    assert auroc(scores, wrong, weights) == pytest.approx(roc_auc_score(wrong, scores, sample_weight=weights))


def test_auroc_without_both_kinds_is_not_a_number() -> None:
    assert np.isnan(auroc(np.array([0.1, 0.2]), np.array([True, True])))


def test_logistic_equals_scikit_learns_ridge() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 5))
    y = rng.random(400) < sigmoid(x @ np.array([1.0, -2.0, 0.5, 0.0, 0.3]) - 0.4)
    weights = rng.random(400) + 0.5
    ours = fit_logistic(np.column_stack([x, np.ones(400)]), y.astype(float), weights, np.array([2.0] * 5 + [0.0]))
    theirs = LogisticRegression(C=0.5, tol=1e-10, max_iter=1000).fit(x, y, sample_weight=weights)
    assert ours[:-1] == pytest.approx(theirs.coef_[0], abs=1e-4)
    assert ours[-1] == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_platt_corrects_an_overconfident_score() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=4000)
    wrong = rng.random(4000) < sigmoid(truth)
    slope, intercept = fit_platt(sigmoid(3 * truth), wrong, np.ones(4000))
    assert slope == pytest.approx(1 / 3, abs=0.03)
    assert intercept == pytest.approx(0.0, abs=0.1)


def test_platt_never_turns_a_ranking_round() -> None:
    p = np.linspace(0.1, 0.9, 100)
    slope, intercept = fit_platt(p, p < 0.3, np.ones(100))
    assert slope == 0.0
    assert sigmoid(np.array([intercept]))[0] == pytest.approx((p < 0.3).mean(), abs=0.02)


def test_folds_never_split_a_group_and_hold_out_every_row_once() -> None:
    groups = np.array([f"g{number % 17}" for number in range(200)], dtype=object)
    masks = list(grouped_folds(groups, 5, np.random.default_rng(3)))
    assert len(masks) == 5
    assert (np.sum(masks, axis=0) == 1).all()
    for mask in masks:
        assert not set(groups[mask]) & set(groups[~mask])
        assert 20 <= mask.sum() <= 60


def test_calibration_error_of_true_probabilities_is_small_and_of_shifted_ones_is_the_shift() -> None:
    rng = np.random.default_rng(4)
    p = rng.random(20_000) * 0.8
    wrong = rng.random(20_000) < p
    assert expected_calibration_error(p, wrong) < 0.02
    assert expected_calibration_error(p + 0.2, wrong) == pytest.approx(0.2, abs=0.02)


def test_log_loss_of_a_coin_is_ln_2() -> None:
    assert log_losses(np.array([0.5, 0.5]), np.array([True, False])) == pytest.approx([np.log(2)] * 2)
