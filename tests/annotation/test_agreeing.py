"""Agreement and consistency against published fixtures (docs/reports.md names the sources)."""

import gzip
import json
from typing import Any

import evalica
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.agreeing import (
    ONE_ANSWER,
    Figure,
    Interval,
    agreement,
    answer_counts,
    cluster_bootstrap,
    cohen_kappa,
    consistency,
    share,
    sides_of_ratings,
    wilson,
)
from tests.services import SHARED_DATA

NAN = float("nan")
# Rating side (a, b, tie) x ranking side (a, b, tie) of 117 pairs.
PEERING = [[19, 10, 8], [6, 26, 9], [11, 7, 21]]


def votes_of(rows: list[tuple[str, str, str, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["pair_id", "group", "rater_id", "choice"])


def percent(figure: Figure, digits: int) -> float:
    assert figure.value is not None, figure.too_few
    return round(100 * figure.value, digits)


def peering_rows() -> tuple["pd.Series[str]", "pd.Series[str]"]:
    sides = ("a", "b", "tie")
    cells = [(r, k) for i, r in enumerate(sides) for j, k in enumerate(sides) for _ in range(PEERING[i][j])]
    return pd.Series([r for r, _ in cells]), pd.Series([k for _, k in cells])


def test_consistency_equals_the_shipped_sample_of_peering_through_preferences() -> None:
    found = consistency(*peering_rows())
    assert (found.n, found.table) == (117, PEERING)
    assert found.inconsistency.value == pytest.approx(51 / 117)
    assert percent(found.inconsistency, 2) == 43.59
    assert found.contradiction.value == pytest.approx(16 / 61)
    assert found.contradiction.n == 61
    assert percent(found.contradiction, 2) == 26.23
    assert percent(found.chance_inconsistency, 2) == 66.56
    assert percent(found.kappa, 1) == 34.5
    assert percent(found.rating_ties, 1) == 33.3
    assert percent(found.ranking_ties, 1) == 32.5
    assert found.rating_tie_ranking_decides.value == pytest.approx(18 / 117)
    assert found.rating_decides_ranking_tie.value == pytest.approx(17 / 117)


def test_consistency_of_nothing_says_so_and_prints_no_number() -> None:
    found = consistency(pd.Series([], dtype=object), pd.Series([], dtype=object))
    assert found.inconsistency.value is None
    assert found.inconsistency.too_few == "too few pairs with ratings and a ranking (0 of 10)"
    assert "NaN" not in json.dumps(found.as_dict())


def test_rows_without_a_rating_or_a_ranking_are_left_out() -> None:
    ratings = sides_of_ratings(pd.Series([3.0, 2.0, NAN, 1.0]), pd.Series([1.0, 2.0, 1.0, 5.0]))
    assert ratings.fillna("").tolist() == ["a", "tie", "", "b"]
    found = consistency(ratings, pd.Series(["a", "b", "a", "unsure"]))
    assert found.table == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_alpha_from_sums_equals_alpha_of_the_matrix(seed: Any) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.choice([0.0, 1.0, 2.0, NAN], p=[0.4, 0.3, 0.1, 0.2], size=(4, 40))
    rows = [
        (f"p{unit}", f"g{unit // 3}", f"r{rater}", ("a", "b", "tie")[int(matrix[rater, unit])])
        for unit in range(40)
        for rater in range(4)
        if not np.isnan(matrix[rater, unit])
    ]
    found = agreement(votes_of(rows), repeats=20)
    assert found.alpha.value == pytest.approx(evalica.alpha(pd.DataFrame(matrix)).alpha, abs=1e-9)


def test_couples_of_people_are_counted_three_way_and_two_way() -> None:
    rows = []
    for number in range(10):
        rows += [
            (f"p{number}", f"g{number}", rater, choice) for rater, choice in (("x", "a"), ("y", "a"), ("z", "tie"))
        ]
    found = agreement(votes_of(rows))
    # Of the couples aa, a-tie, a-tie one agrees; the two decisive people always agree.
    assert found.three_way.value == pytest.approx(1 / 3)
    assert found.three_way.n == 30
    assert (found.two_way.value, found.two_way.n) == (1.0, 10)
    assert found.ties.value == pytest.approx(1 / 3)


def test_both_bad_counts_with_ties_and_unsure_not_at_all() -> None:
    counts = answer_counts(
        votes_of([("p", "g", "x", "both_bad"), ("p", "g", "y", "tie"), ("p", "g", "z", "unsure"), ("p", "g", "w", "b")])
    )
    assert counts.loc["p"].to_dict() == {"a": 0, "b": 1, "tie": 2}


def test_agreement_of_two_labels_is_too_few() -> None:
    found = agreement(votes_of([("p", "g", "x", "a"), ("p", "g", "y", "a")]))
    assert found.three_way.too_few == "too few couples of answers (1 of 10)"
    assert found.alpha.too_few == "too few pairs with two or more answers (1 of 10)"
    assert found.three_way.value is None


def test_agreement_without_votes_says_so() -> None:
    found = agreement(votes_of([]))
    assert (found.n_pairs, found.n_labels) == (0, 0)
    assert found.ties.too_few == "too few labels (0 of 10)"


def test_coefficient_of_answers_that_are_all_alike_is_no_number() -> None:
    rows = [(f"p{n}", f"g{n}", rater, "a") for n in range(12) for rater in "xy"]
    found = agreement(votes_of(rows))
    assert found.three_way.value == 1.0
    assert found.alpha.value is None
    assert found.alpha.too_few == ONE_ANSWER
    # AC1 would be 1 whatever the answers are worth: a number that means nothing.
    assert (found.ac1.value, found.ac1.too_few) == (None, ONE_ANSWER)
    same = pd.Series(["a"] * 12)
    assert cohen_kappa(same, same, pd.Series(range(12))).too_few == ONE_ANSWER


def test_kappa_is_zero_at_chance_and_one_at_agreement() -> None:
    first = pd.Series(["a", "a", "b", "b"] * 5)
    groups = pd.Series(range(20))
    assert cohen_kappa(first, first, groups).value == pytest.approx(1.0)
    assert cohen_kappa(first, pd.Series(["a", "b", "a", "b"] * 5), groups).value == pytest.approx(0.0)


def test_wilson_equals_a_worked_example() -> None:
    # 81 of 263: Newcombe 1998, table I.
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_interval_resamples_groups_and_not_rows() -> None:
    # Ten groups of fifty equal rows: by rows the interval would be ten points wide, by groups it is about sixty.
    groups = pd.Series(np.repeat(np.arange(10), 50))
    hits = (groups < 5).astype(float)
    interval = share(hits, groups).interval
    assert interval is not None
    assert interval.low <= 0.25
    assert interval.high >= 0.75


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(200):
        level = rng.beta(4, 2, size=60)
        groups = pd.Series(np.repeat(np.arange(60), 5))
        hits = pd.Series((rng.random(300) < np.repeat(level, 5)).astype(float))
        interval = share(hits, groups, repeats=300).interval
        assert interval is not None
        covered += interval.low <= 4 / 6 <= interval.high
    assert 180 <= covered <= 200


def test_share_where_all_are_alike_still_has_an_interval() -> None:
    figure = share(pd.Series([True] * 24), pd.Series(np.repeat(np.arange(12), 2)))
    assert figure.value == 1.0
    assert figure.interval is not None
    assert figure.interval.low == pytest.approx(0.862, abs=1e-3)


def test_too_few_groups_give_no_bootstrap() -> None:
    frame = pd.DataFrame({"hits": [1.0, 0.0], "cases": 1.0})
    assert cluster_bootstrap(frame, pd.Series(["g", "h"]), lambda sums: sums["hits"] / sums["cases"]) is None


def test_merging_many_groups_keeps_the_width_of_the_interval() -> None:
    rng = np.random.default_rng(1)
    cases = pd.DataFrame({"hits": (rng.random(20_000) < 0.3).astype(float), "cases": 1.0})
    interval = cluster_bootstrap(cases, pd.Series(range(20_000)), lambda sums: sums["hits"] / sums["cases"])
    assert interval is not None
    # 1.96 standard errors on each side of a share of 0.3 in 20,000 cases.
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * (0.3 * 0.7 / 20_000) ** 0.5, rel=0.1)


def test_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    frame = pd.DataFrame({"hits": [1.0, 0.0, 1.0] * 20, "cases": 1.0})

    def interval(seed: int) -> Interval | None:
        groups = pd.Series(np.arange(60) // 2)
        return cluster_bootstrap(frame, groups, lambda sums: sums["hits"] / sums["cases"], repeats=99, seed=seed)

    assert interval(3) == interval(3)
    assert interval(3) != interval(4)


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("file", "three_way", "two_way", "ties"),
    [
        ("vicuna80_dev", 51.7, 63.4, 11.5),
        ("pandalm_dev", 91.4, 94.0, 9.8),
        ("squality", 87.1, 87.1, 0.0),
        ("lamp_rankings", 80.8, 80.8, 0.0),
        ("ttcw_creativity", 50.9, 68.5, 18.5),
    ],
)
def test_people_agree_as_the_table_of_the_data_says(file: Any, three_way: Any, two_way: Any, ties: Any) -> None:
    rows = []
    with gzip.open(SHARED_DATA / f"{file}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            group = record["meta"]["group"]
            rows += [(record["id"], group, one["annotator"], one["choice"]) for one in record["human"]]
    found = agreement(votes_of(rows), repeats=50)
    assert percent(found.three_way, 1) == three_way
    assert percent(found.two_way, 1) == two_way
    assert percent(found.ties, 1) == ties
