"""An alarm is rung for a change that matters, and seldom for chance."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from routing.predicting.alarming import (
    ANSWERS_NEEDED,
    SCORE_LIMIT,
    compare_answers,
    compare_frames,
    tell_apart,
)
from routing.predicting.scoring import Bools, Floats, Strings, logit, sigmoid


def names(n: int) -> Strings:
    return np.array([f"group {number}" for number in range(n)], dtype=object)


def doubts(rng: np.random.Generator, n: int, rate: float) -> Floats:
    """Return P(wrong) that differs from pair to pair, `rate` on average."""
    return shifted(rng.normal(size=n) * 1.2, rate)


def shifted(log_odds: Floats, rate: float) -> Floats:
    """Return probabilities with the same spread of log-odds and this mean."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(log_odds + middle).mean() < rate else (low, middle)
    return sigmoid(log_odds + low)


def draw(rng: np.random.Generator, p: Floats) -> Bools:
    return np.asarray(rng.random(len(p)) < p)


def test_answers_that_follow_the_prediction_raise_no_alarm() -> None:
    p = np.full(100, 0.2)
    wrong = np.arange(100) % 5 == 0
    found = compare_answers(p, wrong, names(100), labels=300)
    assert (found.n, found.observed, found.alarm, found.note) == (100, 0.2, False, "")
    assert found.expected == pytest.approx(0.2)
    assert found.low == pytest.approx(0.1334, abs=1e-4)
    assert found.high == pytest.approx(0.2888, abs=1e-4)
    assert found.z == pytest.approx(0.0, abs=1e-9)


def test_the_running_sum_is_that_of_the_last_answers_that_part_from_the_prediction() -> None:
    p = np.full(80, 0.2)
    wrong = np.append(np.arange(50) % 5 == 0, np.arange(30) % 2 == 0)
    found = compare_answers(p, wrong, names(80), labels=500)
    # 15 of 30 wrong, from the first of the 30 on; each wrong one adds log 2, each takes log(1 - 0.2 + 2 * 0.2) off.
    assert found.stretch == 30
    assert found.score == pytest.approx(15 * math.log(2) - 30 * math.log(1.2))
    assert found.stretch_expected == pytest.approx(0.2)
    assert found.stretch_observed == 0.5
    sampling, fitting = 30 * 0.16, 30**2 * 0.16 / 500
    assert found.stretch_z == pytest.approx((15 - 6) / math.sqrt(max(sampling, 15 * 0.64 + 15 * 0.04) + fitting))
    assert found.alarm == (found.score > SCORE_LIMIT) is True


def test_a_judge_that_got_better_than_predicted_is_a_change_too() -> None:
    found = compare_answers(np.full(100, 0.4), np.arange(100) % 10 == 0, names(100), labels=500)
    assert found.alarm
    assert found.stretch_observed < found.stretch_expected


def test_errors_of_one_prompt_are_one_surprise_not_thirty() -> None:
    p = np.full(60, 0.15)
    wrong = np.arange(60) >= 40
    assert compare_answers(p, wrong, names(60), labels=500).alarm
    one_prompt = np.array(["one"] * 60, dtype=object)
    assert not compare_answers(p, wrong, one_prompt, labels=500).alarm


def test_a_fit_on_few_labels_is_given_more_room() -> None:
    p = np.full(100, 0.15)
    wrong = np.arange(100) % 7 < 2
    assert compare_answers(p, wrong, names(100), labels=5000).alarm
    assert not compare_answers(p, wrong, names(100), labels=60).alarm


def test_too_few_answers_say_so() -> None:
    found = compare_answers(np.full(29, 0.1), np.ones(29, dtype=bool), names(29), labels=500)
    assert found.note == f"too few labels (29 of {ANSWERS_NEEDED} audited answers)"
    assert not found.alarm


def test_points_cover_all_answers_in_order() -> None:
    rng = np.random.default_rng(0)
    p = doubts(rng, 130, 0.2)
    found = compare_answers(p, draw(rng, p), names(130), labels=500)
    assert [point.n for point in found.points] == [22, 22, 22, 22, 21, 21]
    assert found.points[-1].last == 130
    assert sum(point.n * point.observed for point in found.points) == pytest.approx(130 * found.observed)
    assert all(point.low <= point.observed <= point.high for point in found.points)


def test_a_signal_that_moved_is_found_and_one_that_did_not_is_not() -> None:
    rng = np.random.default_rng(1)
    before = pd.DataFrame({"length": rng.normal(size=300), "flipped": rng.random(300) < 0.2, "same": 1.0}, dtype=float)
    since = pd.DataFrame({"length": rng.normal(size=120), "flipped": rng.random(120) < 0.6, "same": 1.0}, dtype=float)
    [first, second] = compare_frames(before, since, (names(300), names(120)))
    assert (first.name, first.moved) == ("flipped", True)
    assert first.before == pytest.approx(before["flipped"].mean())
    assert first.since == pytest.approx(since["flipped"].mean())
    assert first.ks == pytest.approx(since["flipped"].mean() - before["flipped"].mean())
    assert (second.name, second.moved) == ("length", False)


def test_a_signal_that_became_unknown_has_moved() -> None:
    before = pd.DataFrame({"margin": np.linspace(0, 1, 200)})
    since = pd.DataFrame({"margin": np.where(np.arange(100) % 2, np.linspace(0, 1, 100), np.nan)})
    [margin] = compare_frames(before, since, (names(200), names(100)))
    assert margin.moved
    assert margin.since == pytest.approx(0.505, abs=0.01)
    gone = pd.DataFrame({"margin": np.full(100, np.nan)})
    [margin] = compare_frames(before, gone, (names(200), names(100)))
    assert (margin.moved, margin.since) == (True, None)


def test_pairs_of_few_prompts_must_differ_more_to_count() -> None:
    rng = np.random.default_rng(2)
    before, since = (pd.DataFrame({"words": rng.normal(shift, size=200)}) for shift in (0.0, 0.6))
    assert compare_frames(before, since, (names(200), names(200)))[0].moved
    few = np.array([f"group {number % 8}" for number in range(200)], dtype=object)
    assert not compare_frames(before, since, (few, few))[0].moved


def test_looking_at_more_signals_takes_more_to_convince() -> None:
    rng = np.random.default_rng(3)
    before, since = (pd.DataFrame({"one": rng.normal(shift, size=80)}) for shift in (0.0, 0.62))
    alone = compare_frames(before, since, (names(80), names(80)))[0].p
    noise = {f"noise {number}": rng.normal(size=80) for number in range(9)}
    among = compare_frames(before.assign(**noise), since.assign(**noise), (names(80), names(80)))
    assert next(one.p for one in among if one.name == "one") == pytest.approx(10 * alone)


def test_a_small_model_tells_new_pairs_from_old_only_if_they_differ() -> None:
    rng = np.random.default_rng(4)
    before, alike, other = (
        pd.DataFrame({"words": rng.normal(shift, size=400), "margin": rng.random(400)}) for shift in (0.0, 0.0, 1.5)
    )
    groups = (names(400), np.array([f"new {number}" for number in range(400)], dtype=object))
    assert tell_apart(before, alike, groups, 0) == pytest.approx(0.5, abs=0.06)
    assert tell_apart(before, other, groups, 0) == pytest.approx(0.856, abs=0.03)
    assert tell_apart(before, other, groups, 0) == tell_apart(before, other, groups, 0)
    assert tell_apart(before[:50], other[:50], (np.array(["one"] * 50, dtype=object),) * 2, 0) == 0.5


def _alarms(seeds: int, check: Callable[[np.random.Generator], bool]) -> float:
    return sum(check(np.random.default_rng(seed)) for seed in range(seeds)) / seeds


@pytest.mark.slow
@pytest.mark.parametrize("labels", [100, 200, 500])
@pytest.mark.parametrize("rate", [0.08, 0.15, 0.4])
def test_without_drift_a_check_of_answers_rings_in_at_most_five_of_a_hundred(labels: int, rate: float) -> None:
    """The fit's mean is off by its sampling error on `labels` pairs, as a real one's is."""

    def rings(rng: np.random.Generator) -> bool:
        n = int(rng.integers(ANSWERS_NEEDED, 400))
        p = doubts(rng, n, rate)
        said = sigmoid(logit(p) + rng.normal() / math.sqrt(labels * rate * (1 - rate)))
        return compare_answers(said, draw(rng, p), names(n), labels=labels).alarm

    share = _alarms(1000, rings)
    print(f"no drift, judge wrong on {rate:.0%}, fitted to {labels} labels: alarm in {share:.1%} of 1,000 checks")  # noqa: T201
    assert share <= 0.05


@pytest.mark.slow
def test_without_drift_a_check_of_signals_rings_in_at_most_two_of_a_hundred() -> None:
    def rings(rng: np.random.Generator) -> bool:
        n, m = int(rng.integers(50, 600)), int(rng.integers(50, 600))
        frames = [pd.DataFrame(rng.normal(size=(size, 8))).assign(flips=rng.random(size) < 0.3) for size in (n, m)]
        return any(one.moved for one in compare_frames(frames[0], frames[1], (names(n), names(m))))

    share = _alarms(1000, rings)
    print(f"no drift: some of 9 signals moved in {share:.1%} of 1,000 checks")  # noqa: T201
    assert share <= 0.02


@pytest.mark.slow
@pytest.mark.parametrize("labels", [100, 200, 500])
def test_a_judge_that_falls_from_15_to_35_percent_wrong_is_found_within_100_audited_answers(labels: int) -> None:
    found: list[int] = []

    def rings(rng: np.random.Generator) -> bool:
        p = doubts(rng, 140, 0.15)
        said = sigmoid(logit(p) + rng.normal() / math.sqrt(labels * 0.15 * 0.85))
        wrong = np.append(draw(rng, p[:40]), draw(rng, shifted(logit(p), 0.35)[40:]))
        for answers in range(45, 141, 5):
            if compare_answers(said[:answers], wrong[:answers], names(answers), labels=labels).alarm:
                found.append(answers - 40)
                return True
        return False

    share = _alarms(400, rings)
    median = f"median {np.median(found):.0f} answers"
    print(f"15 % -> 35 % wrong, {labels} labels: found in {share:.1%} of 400 seeds, {median}")  # noqa: T201
    assert share >= 0.9
