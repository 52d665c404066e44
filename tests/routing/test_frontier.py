"""What each budget is expected to buy."""

import numpy as np
import pandas as pd
import pytest

from routing.plans.arranging import rank_by_gain
from routing.plans.drawing import draw_pairs
from routing.plans.frontier import (
    Frontier,
    Learned,
    Maps,
    Pool,
    best_signal,
    draw_frontier,
    resample_maps,
    spread_sum,
    stop_here,
)
from routing.predicting.scoring import Floats, logit, sigmoid

N = 600
CENT = 10_000.0


def world(n: int = N, seed: int = 0) -> tuple[Floats, Learned, pd.DataFrame]:
    """Return calibrated P(wrong) of n pairs, all labelled, and two signals: a noisy one and one that says nothing."""
    rng = np.random.default_rng(seed)
    p = rng.beta(0.8, 2.2, n)
    wrong = rng.random(n) < p
    groups = np.array([f"g{row // 3}" for row in range(n)], dtype=object)
    signals = pd.DataFrame({"noise": rng.random(n), "hint": logit(p) + rng.normal(0, 1.5, n)})
    return p, Learned(np.arange(n), wrong, groups, np.ones(n)), signals


def pool_of(p: Floats, *, expected: Floats | None = None, audited: int = 30, pairs: int | None = None) -> Pool:
    expected = np.full(len(p), 90 * CENT) if expected is None else expected
    ranking = rank_by_gain(p / expected, np.zeros(len(p), dtype=bool), seed=0)
    rows = np.arange(len(p))
    return Pool(rows, ranking, ~np.isnan(p), expected, pairs or len(p), 0, audited)


def frontier(worth: float = np.inf, people_err: float = 0.1) -> Frontier:
    p, learned, signals = world()
    maps = resample_maps(p, learned, seed=0, samples=60)
    return draw_frontier(p, maps, pool_of(p), learned, signals, people_err=people_err, worth=worth, seed=0)


def ways(found: Frontier, way: str) -> pd.DataFrame:
    return pd.DataFrame([row._asdict() for row in found.rows if row.way == way])


def test_router_beats_the_signal_which_beats_chance_and_all_meet_at_the_ends() -> None:
    found = frontier()
    p, _, _ = world()
    router, random, signal = (ways(found, way) for way in ("router", "random", "best_signal"))
    assert found.signal == "hint"
    assert (router["agreement"].iloc[0], router["agreement"].iloc[-1]) == (
        pytest.approx(1 - p.mean()),
        pytest.approx(1.0),
    )
    for other in (random, signal):
        assert other["agreement"].iloc[[0, -1]].tolist() == pytest.approx(router["agreement"].iloc[[0, -1]].tolist())
        assert other["usd"].iloc[-1] == pytest.approx(N * 0.9)
    middle = slice(2, 15)
    assert (router["agreement"][middle] > signal["agreement"][middle]).all()
    assert (signal["agreement"][middle] > random["agreement"][middle]).all()
    assert router["agreement"].is_monotonic_increasing
    assert (router["low"] <= router["agreement"]).all()
    assert (router["agreement"] <= router["high"]).all()
    assert router["high"].iloc[5] - router["low"].iloc[5] < 0.12
    assert router["asked"].tolist() == [30 * step for step in range(21)]


def test_expected_agreement_is_that_of_many_draws() -> None:
    p, _, _ = world()
    pool = pool_of(p)
    place = np.full(N, np.nan)
    place[pool.ranking] = -np.arange(N, dtype=float)
    asked = 150
    found = []
    for seed in range(300):
        draw = draw_pairs(place, asked=asked, audited=30, rng=np.random.default_rng(seed))
        found.append(float(p[draw.audit | draw.people].sum()))
    assert spread_sum(p, pool, np.array([asked]))[0] == pytest.approx(np.mean(found), rel=0.005)


def test_band_holds_the_truth_of_a_predictor_that_is_off() -> None:
    p, learned, _ = world(1200)
    # Too sure of itself: the calibration refitted on samples knows better.
    sure = sigmoid(2.0 * logit(p))
    maps = resample_maps(sure, learned, seed=0, samples=60)
    assert np.quantile(maps.slopes, [0.025, 0.975]).tolist() == pytest.approx([0.5, 0.5], abs=0.12)


def test_stop_here_is_where_people_err_as_often_as_the_judge() -> None:
    p = np.linspace(0.01, 0.60, 60)
    pool = pool_of(p, audited=0)
    maps = Maps(np.ones(1), np.zeros(1))
    stop = stop_here(p, maps, pool, people_err=0.305, worth=np.inf)
    assert stop.asked == 30
    assert stop.usd == pytest.approx(27.0)
    assert "30.5%" in stop.why
    assert stop_here(p, maps, pool, people_err=0.0, worth=np.inf).asked == 60


def test_stop_here_is_where_a_corrected_label_costs_more_than_it_is_worth() -> None:
    p = np.linspace(0.01, 0.60, 60)
    maps = Maps(np.ones(1), np.zeros(1))
    # 90 cents a pair: a corrected label costs 2.25 at P(wrong) 0.4, so 21 pairs are worth it.
    stop = stop_here(p, maps, pool_of(p, audited=0), people_err=0.0, worth=2.251 / 1e-6)
    assert stop.asked == 21
    assert "$2.25 it is worth" in stop.why
    dear = np.where(np.arange(60) % 2, 900 * CENT, 9 * CENT)
    assert stop_here(p, maps, pool_of(p, expected=dear, audited=0), people_err=0.0, worth=3e6).asked == 30 - 1


def test_best_signal_is_cross_fitted_so_noise_is_worth_nothing() -> None:
    rng = np.random.default_rng(4)
    n = 300
    wrong = rng.random(n) < 0.3
    learned = Learned(np.arange(n), wrong, np.array([f"g{row}" for row in range(n)], dtype=object), np.ones(n))
    signals = pd.DataFrame({f"noise {column}": rng.random(n) for column in range(10)})
    signals.iloc[::7, 3] = np.nan
    _, p = best_signal(signals, learned, seed=0)
    assert p.mean() == pytest.approx(wrong.mean(), abs=0.01)
    assert p.std() < 0.1


def test_same_seed_gives_the_same_frontier_to_the_last_bit() -> None:
    assert frontier().to_json() == frontier().to_json()
