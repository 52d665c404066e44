"""Replay figures on a frame where the truth is known."""

import json
from io import StringIO
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from django.core.management import call_command

from annotation.models import Pair
from routing.predicting.scoring import Bools, Strings, auroc, sigmoid
from routing.studies.replaying import WAYS, ReplayOptions, replay_frame, replay_judges
from routing.studies.resampling import Levels, Ranking, draw_groups
from tests.judged import judge_pairs, make_judge
from tests.replayable import add_judge_with_few_labels, make_replayable

pytestmark = pytest.mark.either_database


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
        replay_frame(signals, wrong, groups, budgets=[0.25], repeats=1, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first["auroc"]["learned"] != other["auroc"]["learned"]


def test_signals_without_information_gain_nothing_over_random() -> None:
    _, wrong, groups = world()
    noise = pd.DataFrame({"words": np.random.default_rng(9).normal(size=len(wrong))})
    result = replay_frame(noise, wrong, groups, budgets=[0.25], repeats=2, seed=0)
    gain = result["budgets"][0]["learned_minus_random"]
    assert gain["low"] < 0 < gain["high"]


def test_bootstrap_by_counts_is_that_of_the_drawn_rows() -> None:
    _, wrong, groups = world(120)
    rng = np.random.default_rng(4)
    scores, ties = rng.integers(0, 9, 120).astype(float), rng.random(120)
    ranking, levels, budgets = Ranking(scores, ties, wrong), Levels(scores, wrong), np.array([0.0, 0.13, 0.5, 1.0])
    for counts in draw_groups(groups, 5, rng):
        rows = np.repeat(np.arange(120), counts)
        order = rows[np.lexsort((ties[rows], -scores[rows]))]
        left = [wrong[order[int(budget * len(rows) + 1e-9) :]].sum() for budget in budgets]
        assert ranking.agreement(budgets, counts) == pytest.approx(1 - np.array(left) / len(rows))
        assert levels.auroc(counts) == pytest.approx(auroc(scores[rows], wrong[rows]))
        fixed = int(wrong[rows].sum()) - int(0.1 * len(rows) + 1e-9)
        reached = int(np.argmax(np.cumsum(wrong[order]) == fixed)) + 1
        assert ranking.needed(np.array([0.9]), counts) == pytest.approx(reached / len(rows))


def test_whole_prompt_groups_are_drawn_with_replacement() -> None:
    groups = np.array(["a", "a", "b", "c", "c", "c"], dtype=object)
    drawn = np.array(list(draw_groups(groups, 400, np.random.default_rng(0))))
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert (drawn[:, 3] == drawn[:, 5]).all()
    assert (drawn[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert drawn[:, 2].max() == 3
    assert drawn.mean() == pytest.approx(1.0, abs=0.1)


@pytest.fixture(scope="module")
def replayed() -> dict[str, Any]:
    signals, wrong, groups = world()
    return replay_frame(signals, wrong, groups, budgets=[0.25], repeats=2, seed=0, guarantee=True)


def test_curves_start_at_the_judge_and_end_at_people(replayed: dict[str, Any]) -> None:
    assert replayed["grid"] == [step / 20 for step in range(21)]
    assert set(replayed["curves"]) == {*WAYS, "flipped", "similarity", "words"}
    for band in replayed["curves"].values():
        assert band[0]["mean"] == pytest.approx(replayed["judge_accuracy"])
        assert band[-1] == {"mean": 1.0, "low": 1.0, "high": 1.0}
        assert all(point["low"] <= point["mean"] <= point["high"] for point in band)
        assert all(here["mean"] <= after["mean"] for here, after in pairwise(band))
    at_25 = replayed["budgets"][0]
    learned = replayed["curves"]["learned"][5]
    assert at_25["agreement"]["learned"] == learned["mean"]
    assert at_25["intervals"]["learned"] == {"low": learned["low"], "high": learned["high"]}


def test_signals_are_ranked_with_intervals_and_the_best_one_is_compared(replayed: dict[str, Any]) -> None:
    rows = replayed["signals"]
    assert [row["auroc"]["mean"] for row in rows] == sorted((row["auroc"]["mean"] for row in rows), reverse=True)
    assert rows[0]["name"] == replayed["auroc_best_signal"]["name"]
    assert rows[-1]["name"] == "words"
    assert rows[-1]["auroc"]["low"] < 0.52
    assert {row["known"] for row in rows} == {1.0}
    assert rows[0]["agreement"] == [point["mean"] for point in replayed["curves"]["best_signal"]]
    over = replayed["budgets"][0]["learned_minus_best_signal"]
    assert over["low"] < over["mean"] < over["high"]


def test_targets_and_calibration_come_with_intervals(replayed: dict[str, Any]) -> None:
    for row in replayed["share_for_target"]:
        for way in WAYS:
            assert row["intervals"][way]["low"] <= row[way] <= row["intervals"][way]["high"]
    ece = replayed["calibration"]
    assert 0 <= ece["ece_low"] < ece["ece"] < ece["ece_high"] < 0.15
    curve = ece["curve"]
    assert len(curve) == 10
    assert [row["said"] for row in curve] == sorted(row["said"] for row in curve)
    assert all(row["low"] <= row["seen"] <= row["high"] for row in curve)
    assert np.mean([abs(row["said"] - row["seen"]) for row in curve]) < 0.08, "this predictor is calibrated"


def test_guarantee_is_tried_at_three_levels(replayed: dict[str, Any]) -> None:
    rows = replayed["guarantee"]
    assert [row["alpha"] for row in rows] == [0.1, 0.15, 0.2]
    assert all(row["above_beyond_noise"] <= 0.1 for row in rows)
    assert rows[0]["coverage"]["mean"] <= rows[2]["coverage"]["mean"]


def test_judge_that_is_good_enough_needs_nobody() -> None:
    signals, wrong, groups = world(600)
    rare = wrong & (np.random.default_rng(1).random(600) < 0.15)
    result = replay_frame(signals, rare, groups, budgets=[0.25], repeats=1, seed=0)
    assert result["judge_accuracy"] > 0.95
    assert result["share_for_target"][0]["learned"] == 0.0
    assert result["share_for_target"][0]["random"] == 0.0


def test_ten_prompts_are_enough_and_every_way_keeps_its_order() -> None:
    signals, wrong, _ = world(200)
    groups = np.array([f"g{number % 10}" for number in range(200)], dtype=object)
    result = replay_frame(signals, wrong, groups, budgets=[1.0], repeats=1, seed=0)
    assert result["groups"] == 10
    assert set(result["budgets"][0]["agreement"].values()) == {1.0}


def test_options_are_read_from_what_was_stored() -> None:
    options = ReplayOptions((0.1, 0.5), 7, proxy=True)
    assert ReplayOptions.from_json(options.to_json()) == options
    assert ReplayOptions.from_json({}) == ReplayOptions()


@pytest.mark.django_db
def test_judges_are_listed_with_what_they_are_short_of() -> None:
    project = make_replayable()
    add_judge_with_few_labels(project)
    pairs = list(Pair.objects.filter(project=project).order_by("id"))
    judge_pairs(make_judge(project, "gpt", protocol="scores"), pairs[:30], ["a"] * 30)
    found = {one.name: (one.pairs, one.reason) for one in replay_judges(project)}
    assert list(found) == ["gpt", "gpt · pairwise", "gpt · scores", "rare"]
    assert found["gpt"] == (100, "")
    assert found["gpt · scores"] == (30, "too few labels (30 of 100 pairs answered by both)")
    assert found["rare"] == (7, "too few labels (7 of 100 pairs answered by both)")


@pytest.mark.django_db
def test_proxy_reward_model_is_replayed_and_the_command_prints_it() -> None:
    make_replayable()
    out = StringIO()
    wanted = ["--judge", "gpt", "--budgets", "25", "--repeats", "1", "--proxy", "--guarantee", "--json"]
    call_command("replay_routing", "helpfulness", *wanted, stdout=out)
    *shown, last = out.getvalue().splitlines()
    result = json.loads(last)
    row = result["proxy"]["budgets"][0]
    assert row["budget"] == 0.25
    assert set(row["accuracy"]) == set(WAYS)
    assert result["proxy"]["pairs"] == result["pairs"] == 100
    text = " ".join(" ".join(shown).split())
    assert f"Proxy reward model at 25%: random {row['accuracy']['random']['mean']:.1%}" in text
    assert "Guarantee of at most 15% wrong" in text
