"""Replay figures on a frame where the truth is known."""

import numpy as np
import pandas as pd
import pytest

from routing.replaying import replay_frame
from routing.scoring import Bools, Strings, sigmoid


def world(n: int = 500) -> tuple[pd.DataFrame, Bools, Strings]:
    rng = np.random.default_rng(0)
    flipped, similarity = (rng.random(n) < 0.4).astype(float), rng.random(n)
    wrong = rng.random(n) < sigmoid(-2 + 2 * flipped + 3 * (similarity - 0.5))
    groups = np.array([f"g{number // 5}" for number in range(n)], dtype=object)
    return pd.DataFrame({"flipped": flipped, "similarity": similarity, "words": rng.normal(size=n)}), wrong, groups


def test_replay_orders_the_ways_of_choosing() -> None:
    signals, wrong, groups = world()
    result = replay_frame(signals, wrong, groups, budgets=[0.1, 0.25, 0.5], repeats=2, seed=0)
    for row in result["budgets"]:
        agreement, gain = row["agreement"], row["learned_minus_random"]
        assert agreement["random"] < agreement["learned"] <= agreement["oracle"]
        assert gain["low"] < gain["mean"] < gain["high"]
        assert gain["low"] > 0
        # By expectation: the share asked of the wrong labels is corrected.
        assert agreement["random"] == pytest.approx(1 - wrong.mean() * (1 - row["budget"]))
    assert result["auroc_best_signal"]["name"] in {"flipped", "similarity"}
    assert result["auroc"]["learned"] > result["auroc_best_signal"]["value"]
    assert result["calibration"]["ece"] < 0.1


def test_share_for_target_of_the_oracle_is_the_wrong_labels_it_must_fix() -> None:
    signals, wrong, groups = world()
    result = replay_frame(signals, wrong, groups, budgets=[0.25], repeats=1, seed=0)
    row = result["share_for_target"][0]
    fixed = int(wrong.sum()) - int(0.1 * len(wrong) + 1e-9)
    assert row["target"] == 0.9
    assert row["oracle"] == pytest.approx(fixed / len(wrong))
    assert row["random"] == pytest.approx(fixed / wrong.sum())
    assert row["oracle"] < row["learned"] < row["random"]


def test_same_seed_gives_the_same_replay_and_another_seed_another() -> None:
    signals, wrong, groups = world(300)
    first, again, other = (
        replay_frame(signals, wrong, groups, budgets=[0.25], repeats=2, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first["auroc"]["learned"] != other["auroc"]["learned"]


def test_signals_without_information_gain_nothing_over_random() -> None:
    _, wrong, groups = world()
    noise = pd.DataFrame({"words": np.random.default_rng(9).normal(size=len(wrong))})
    result = replay_frame(noise, wrong, groups, budgets=[0.25], repeats=2, seed=0)
    gain = result["budgets"][0]["learned_minus_random"]
    assert gain["low"] < 0 < gain["high"]
