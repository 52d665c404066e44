"""The order in which the router takes pairs, and that the odds stay exact whatever the order asks for."""

import numpy as np
import pytest

from routing.plans import arranging
from routing.plans.arranging import balance_over, cap_groups, cluster_texts, keep_first, rank_by_gain, spread_over
from routing.plans.budgeting import dearest_draw, most_pairs
from routing.plans.drawing import draw_pairs

BEST_FIRST = np.arange(12)


def test_ranking_falls_with_gain_leaves_out_the_unknown_and_puts_some_first() -> None:
    gain = np.array([0.1, np.nan, 0.9, 0.5, 0.2])
    assert rank_by_gain(gain, np.zeros(5, dtype=bool), seed=0).tolist() == [2, 3, 4, 0]
    assert rank_by_gain(gain, np.array([True, True, False, False, False]), seed=0).tolist() == [0, 2, 3, 4]


def test_equal_gains_follow_the_seed_and_not_the_import() -> None:
    same, nobody = np.full(200, 0.5), np.zeros(200, dtype=bool)
    first = rank_by_gain(same, nobody, seed=1)
    assert first.tolist() == rank_by_gain(same, nobody, seed=1).tolist()
    assert first.tolist() != rank_by_gain(same, nobody, seed=2).tolist()
    assert 60 < first[:50].mean() < 140


def test_cap_puts_a_groups_further_pairs_behind_all_others() -> None:
    groups = np.array(["x"] * 6 + ["y"] * 3 + ["z"] * 3, dtype=object)
    assert cap_groups(BEST_FIRST, groups, 2).tolist() == [0, 1, 6, 7, 9, 10, 2, 3, 8, 11, 4, 5]
    taken = groups[cap_groups(BEST_FIRST, groups, 1)[:3]]
    assert sorted(taken) == ["x", "y", "z"]


def test_spread_takes_clusters_in_turn() -> None:
    clusters = np.array([0] * 8 + [1] * 2 + [2] * 2)
    assert spread_over(BEST_FIRST, clusters).tolist() == [0, 8, 10, 1, 9, 11, 2, 3, 4, 5, 6, 7]


def test_balance_takes_each_value_in_proportion_at_every_length() -> None:
    values = np.array(["long"] * 8 + ["short"] * 4, dtype=object)
    order = balance_over(BEST_FIRST, values)
    for taken in (3, 6, 9, 12):
        assert (values[order[:taken]] == "short").sum() == taken // 3
    # Best first inside a value.
    assert order[values[order] == "long"].tolist() == list(range(8))


def test_pairs_that_go_first_stay_first() -> None:
    first = np.zeros(12, dtype=bool)
    first[[3, 9]] = True
    assert keep_first(BEST_FIRST, first)[:3].tolist() == [3, 9, 0]


def test_clusters_follow_what_prompts_are_about_and_are_the_same_again() -> None:
    cooking = [f"How long do I bake bread with {n} eggs and flour in the oven?" for n in range(20)]
    coding = [f"Write a Python function that sorts a list of {n} integers." for n in range(20)]
    found = cluster_texts([*cooking, *coding], seed=3)
    assert found.tolist() == cluster_texts([*cooking, *coding], seed=3).tolist()
    assert len(set(found)) > 1
    assert not set(found[:20]) & set(found[20:])
    assert set(cluster_texts(["the same"] * 50, seed=0)) == {0}


def test_texts_read_a_few_at_a_time_fall_into_the_same_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{about} {n}" for n in range(40) for about in ("Bake bread with eggs", "Sort a list of", "Plan a trip")]
    at_once = cluster_texts(texts, seed=1).tolist()
    monkeypatch.setattr(arranging, "TEXTS_PER_CHUNK", 7)
    assert cluster_texts(texts, seed=1).tolist() == at_once
    # Made of a third of the texts, the clusters still take in all.
    monkeypatch.setattr(arranging, "TEXTS_TO_CLUSTER", 40)
    assert len(cluster_texts(texts, seed=1)) == len(texts)


@pytest.mark.parametrize("arranged", ["cap", "spread", "balance", "all"])
def test_stated_odds_are_the_odds_seen_under_every_arrangement_and_unequal_costs(arranged: str) -> None:
    rng = np.random.default_rng(5)
    n, draws = 40, 3000
    most = rng.integers(200_000, 3_000_000, n)
    gain = rng.random(n) / most
    gain[::13] = np.nan
    groups = np.array([f"g{row % 5}" for row in range(n)], dtype=object)
    ranking = rank_by_gain(gain, np.arange(n) == 7, seed=0)
    if arranged in ("spread", "all"):
        ranking = spread_over(ranking, np.arange(n) % 3)
    if arranged in ("balance", "all"):
        ranking = balance_over(ranking, np.array(["a" if row < 30 else "b" for row in range(n)], dtype=object))
    if arranged in ("cap", "all"):
        ranking = cap_groups(ranking, groups, 2)
    ranking = keep_first(ranking, np.arange(n) == 7)
    budget = 18_000_000
    asked = most_pairs(most, ranking, lambda pairs: min(4, pairs), budget)
    assert 8 < asked < n
    place = np.full(n, np.nan)
    place[ranking] = -np.arange(len(ranking), dtype=float)
    seen, dearest = np.zeros(n), 0
    for seed in range(draws):
        draw = draw_pairs(place, asked=asked, audited=4, rng=np.random.default_rng(seed))
        taken = draw.audit | draw.people
        seen += taken
        dearest = max(dearest, int(most[taken].sum()))
        if seed == 0:
            stated = draw.selection_prob
        assert (draw.selection_prob == stated).all()
    # Four and a half standard errors of a share over 3,000 draws.
    assert np.abs(seen / draws - stated).max() < 4.5 * 0.5 / np.sqrt(draws)
    assert stated.min() >= 4 / n
    assert dearest <= dearest_draw(most, ranking, asked, 4) <= budget
    assert dearest_draw(most, ranking, asked + 1, 4) > budget


def test_dearest_draw_is_reached_by_a_draw_and_passed_by_none() -> None:
    rng = np.random.default_rng(8)
    for _ in range(30):
        n = int(rng.integers(4, 8))
        most = rng.integers(1, 20, n)
        ranking = rng.permutation(n)
        asked = int(rng.integers(1, n + 1))
        audited = int(rng.integers(0, asked + 1))
        bound = dearest_draw(most, ranking, asked, audited)
        assert bound == max(_cost(most, ranking, asked, set(slice_)) for slice_ in _slices(n, audited))


def _slices(n: int, audited: int) -> list[tuple[int, ...]]:
    import itertools

    return list(itertools.combinations(range(n), audited))


def _cost(most: "np.ndarray[tuple[int], np.dtype[np.int64]]", ranking: object, asked: int, audit: set[int]) -> int:
    chosen = [row for row in np.asarray(ranking) if row not in audit][: asked - len(audit)]
    return int(most[[*chosen, *audit]].sum())
