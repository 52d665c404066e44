"""Every coefficient against published values, and against other people's code and plain loops on real answers."""

import gzip
import itertools
import json
import math
from collections import Counter, defaultdict
from typing import Any

import evalica
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from annotation.agreeing.coefficients import (
    Level,
    Weights,
    alpha,
    coefficients,
    conger,
    gwet,
    interval_alpha,
    sums_from,
    sums_of_counts,
    weights_of,
)
from annotation.agreeing.figures import ONE_ANSWER, Figure
from annotation.agreeing.people import (
    LEANS,
    by_side,
    by_strength,
    couples_of,
    over_time,
    periods_of,
    with_others,
)
from tests.services import SHARED_DATA

NAN = float("nan")
# Four raters, twelve units; the example of Krippendorff 2011 and Gwet 2014 that other packages print too.
RATINGS = pd.DataFrame(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)
FIVE = (1.0, 2.0, 3.0, 4.0, 5.0)
SIDE_NUMBERS = {"a": 1.0, "tie": 0.0, "b": -1.0}


def answers_of(matrix: pd.DataFrame) -> pd.DataFrame:
    """Return a matrix of raters x units as a frame of answers; every unit is its own group."""
    rows = [(f"u{unit:03}", rater, value) for rater, row in matrix.iterrows() for unit, value in row.items()]
    frame = pd.DataFrame(rows, columns=["unit", "rater", "value"]).dropna()
    return frame.assign(group=frame["unit"])


def counts_of(matrix: pd.DataFrame) -> np.ndarray[Any, Any]:
    return np.array([[(matrix[unit] == value).sum() for value in FIVE] for unit in matrix], dtype=float)


def votes_of(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["pair_id", "group", "rater", "choice"])


def number(figure: Figure) -> float:
    assert figure.value is not None, figure.too_few
    return figure.value


# --- Published values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "expected"),
    [("nominal", 0.7434210526), ("ordinal", 0.8153875038), ("interval", 0.8491071429), ("ratio", 0.7974027747)],
)
def test_alpha_equals_the_published_values(level: Level, expected: float) -> None:
    sums = sums_from(sums_of_counts(counts_of(RATINGS)).sum(axis=0, keepdims=True), 5)
    assert alpha(sums.coincidences, np.array(FIVE), level)[0] == pytest.approx(expected, abs=1e-9)


def test_coefficients_equal_the_published_values() -> None:
    found = coefficients(answers_of(RATINGS), FIVE)
    assert (found.n_units, found.n_answers, found.n_people) == (11, 41, 4)
    assert number(found.alpha_nominal) == pytest.approx(0.7434210526, abs=1e-9)
    assert number(found.alpha_ordinal) == pytest.approx(0.8153875038, abs=1e-9)
    assert number(found.alpha_interval) == pytest.approx(0.8491071429, abs=1e-9)
    assert number(found.ac1) == pytest.approx(0.7754440681, abs=1e-9)
    # These three as irrCAC 0.4.4 has them (`categories` given, so that it does not count the missing as one).
    assert number(found.fleiss) == pytest.approx(0.761169275422, abs=1e-9)
    assert number(found.kappa) == pytest.approx(0.813137032843, abs=1e-9)
    assert number(found.ac2) == pytest.approx(0.858739136433, abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "ac2", "kappa"),
    [
        ("identity", 0.775444068127, 0.762066893651),
        ("linear", 0.858739136433, 0.813137032843),
        ("quadratic", 0.914000723552, 0.857168224092),
        ("ordinal", 0.898939769908, 0.843082496792),
    ],
)
def test_weighted_coefficients_equal_those_of_irrcac(kind: Weights, ac2: float, kappa: float) -> None:
    sums = sums_from(sums_of_counts(counts_of(RATINGS)).sum(axis=0, keepdims=True), 5)
    marginals = np.array([[[(RATINGS.loc[rater] == value).sum() for value in FIVE] for rater in range(4)]], dtype=float)
    assert gwet(sums, weights_of(5, kind))[0] == pytest.approx(ac2, abs=1e-9)
    assert conger(sums, marginals, weights_of(5, kind))[0] == pytest.approx(kappa, abs=1e-9)


def test_fleiss_equals_the_worked_example() -> None:
    # Ten subjects, fourteen raters, five categories: the example of Wikipedia's "Fleiss' kappa", printed as 0.210.
    table = ["0 0 0 0 14", "0 2 6 4 2", "0 0 3 5 6", "0 3 9 2 0", "2 2 8 1 1"]
    table += ["7 7 0 0 0", "3 2 6 3 0", "2 5 3 2 2", "6 5 2 1 0", "0 2 2 3 7"]
    rows = []
    for unit, line in enumerate(table):
        given_ = [float(category) for category, n in enumerate(line.split()) for _ in range(int(n))]
        rows += [(f"u{unit}", f"u{unit}", f"r{rater}", value) for rater, value in enumerate(given_)]
    frame = pd.DataFrame(rows, columns=["unit", "group", "rater", "value"])
    assert round(number(coefficients(frame, [0, 1, 2, 3, 4]).fleiss), 3) == 0.210


# --- Other people's code, and loops ---------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_alpha_and_kappa_equal_evalica_and_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = pd.DataFrame(rng.choice([-1.0, 0.0, 1.0, NAN], p=[0.4, 0.2, 0.2, 0.2], size=(4, 40)))
    found = coefficients(answers_of(matrix), LEANS, repeats=20)
    for level, figure in (
        ("nominal", found.alpha_nominal),
        ("ordinal", found.alpha_ordinal),
        ("interval", found.alpha_interval),
    ):
        assert number(figure) == pytest.approx(evalica.alpha(matrix, distance=level).alpha, abs=1e-9)
    assert number(interval_alpha(answers_of(matrix), repeats=20)) == pytest.approx(
        number(found.alpha_interval), abs=1e-9
    )
    two = matrix.iloc[:2].dropna(axis=1)
    both = coefficients(answers_of(two), LEANS, repeats=20)
    theirs = cohen_kappa_score(*(row.to_numpy().astype(int) for _, row in two.iterrows()), weights="linear")
    assert number(both.kappa) == pytest.approx(theirs, abs=1e-9)


def read_votes(file: str) -> pd.DataFrame:
    rows = []
    with gzip.open(SHARED_DATA / f"{file}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            group = record["meta"]["group"]
            rows += [(record["id"], group, one["annotator"], one["choice"]) for one in record["human"]]
    return votes_of(rows)


def by_loops(votes: pd.DataFrame) -> dict[str, float]:
    """Return the coefficients by loops over pairs and couples, as the definitions have them: no shared code."""
    units: dict[str, dict[str, float]] = defaultdict(dict)
    for row in votes.itertuples():
        units[str(row.pair_id)][str(row.rater)] = SIDE_NUMBERS[str(row.choice)]
    categories = [-1.0, 0.0, 1.0]

    def credit(x: float, y: float) -> float:
        return 1.0 - abs(x - y) / 2.0

    several = [list(unit.values()) for unit in units.values() if len(unit) >= 2]
    same = near = 0.0
    agreeing = couples = 0
    for given_ in several:
        pairs = list(itertools.combinations(given_, 2))
        agreeing += sum(x == y for x, y in pairs)
        couples += len(pairs)
        same += sum(x == y for x, y in pairs) / len(pairs)
        near += sum(credit(x, y) for x, y in pairs) / len(pairs)
    same, near = same / len(several), near / len(several)
    pi = {
        k: math.fsum(list(unit.values()).count(k) / len(unit) for unit in units.values()) / len(units)
        for k in categories
    }
    spread = math.fsum(p * (1 - p) for p in pi.values())
    chance_1, chance_2 = spread / 2, math.fsum(credit(x, y) for x in categories for y in categories) / 6 * spread
    by_rater: dict[str, Counter[float]] = defaultdict(Counter)
    for unit in units.values():
        for rater, value in unit.items():
            by_rater[rater][value] += 1
    chances = [
        math.fsum(
            credit(x, y) * first[x] / first.total() * second[y] / second.total() for x in categories for y in categories
        )
        for first, second in itertools.combinations(by_rater.values(), 2)
    ]
    chance_k, chance_f = math.fsum(chances) / len(chances), math.fsum(p * p for p in pi.values())
    return {
        "raw": agreeing / couples,
        "fleiss": (same - chance_f) / (1 - chance_f),
        "kappa": (near - chance_k) / (1 - chance_k),
        "ac1": (same - chance_1) / (1 - chance_1),
        "ac2": (near - chance_2) / (1 - chance_2),
    }


@pytest.mark.shared_data
@pytest.mark.parametrize("file", ["vicuna80_dev", "pandalm_dev", "lamp_rankings"])
def test_agreement_on_real_answers_equals_independent_computations(file: str) -> None:
    votes = read_votes(file)
    found = coefficients(by_side(votes), LEANS, repeats=20)
    for name, value in by_loops(votes).items():
        assert number(getattr(found, name)) == pytest.approx(value, abs=1e-9), name
    answers = votes.assign(value=votes["choice"].map(SIDE_NUMBERS))
    matrix = answers.pivot(index="rater", columns="pair_id", values="value")
    for level, figure in (
        ("nominal", found.alpha_nominal),
        ("ordinal", found.alpha_ordinal),
        ("interval", found.alpha_interval),
    ):
        assert number(figure) == pytest.approx(evalica.alpha(matrix, distance=level).alpha, abs=1e-9), level
    for couple in couples_of(votes, repeats=20).found:
        both = matrix.loc[[couple.first, couple.second]].dropna(axis=1).astype(int)
        assert couple.n == both.shape[1]
        assert number(couple.raw) == pytest.approx((both.iloc[0] == both.iloc[1]).mean(), abs=1e-9)
        theirs = cohen_kappa_score(both.iloc[0], both.iloc[1], weights="linear", labels=[-1, 0, 1])
        assert number(couple.kappa) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.shared_data
def test_a_person_against_the_others_on_real_answers_equals_a_count() -> None:
    votes = read_votes("lamp_rankings")
    units: dict[str, dict[str, str]] = defaultdict(dict)
    for row in votes.itertuples():
        units[str(row.pair_id)][str(row.rater)] = str(row.choice)
    found = with_others(votes, repeats=20)
    assert len(found) == 13
    for name, person in found.items():
        met = [
            (unit[name], choice) for unit in units.values() if name in unit for r, choice in unit.items() if r != name
        ]
        assert person.raw.n == len(met)
        assert number(person.raw) == pytest.approx(sum(x == y for x, y in met) / len(met), abs=1e-12)
        theirs = cohen_kappa_score(*zip(*met, strict=True), labels=["a", "b"])
        assert number(person.kappa) == pytest.approx(theirs, abs=1e-9)


# --- What cannot be said --------------------------------------------------------------------------------------------


def test_answers_all_alike_have_a_share_and_no_coefficient() -> None:
    votes = votes_of([(f"p{n}", f"g{n}", rater, "tie") for n in range(12) for rater in "xyz"])
    found = coefficients(by_side(votes), LEANS)
    assert (found.raw.value, found.raw.n) == (1.0, 36)
    assert found.raw.interval is not None
    assert found.raw.interval.low == pytest.approx(0.7575, abs=1e-4)
    for figure in found[4:]:
        assert (figure.value, figure.interval, figure.too_few) == (None, None, ONE_ANSWER)
    couple = couples_of(votes).found[0]
    assert (couple.raw.value, couple.kappa.too_few, couple.ac1.too_few) == (1.0, ONE_ANSWER, ONE_ANSWER)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "too few pairs with two or more answers (0 of 10)"),
        ([(f"p{n}", f"g{n}", "x", "ab"[n % 2]) for n in range(30)], "too few pairs with two or more answers (0 of 10)"),
        (
            [(f"p{n}", f"g{n}", "xy"[n % 2], "ab"[n % 3 == 0]) for n in range(30)],
            "too few pairs with two or more answers (0 of 10)",
        ),
        (
            [(f"p{n}", f"g{n}", rater, "ab"[n % 2]) for n in range(9) for rater in "xy"],
            "too few pairs with two or more answers (9 of 10)",
        ),
    ],
    ids=["nothing", "one person", "no overlap", "nine pairs"],
)
def test_too_little_says_how_little(rows: list[tuple[Any, ...]], said: str) -> None:
    votes = votes_of(rows)
    found = coefficients(by_side(votes), LEANS)
    assert {figure.too_few for figure in found[4:]} == {said}
    assert found.raw.too_few.startswith("too few couples of answers (")
    assert "NaN" not in json.dumps(found.as_dict())
    assert couples_of(votes).found == []
    assert all(person.raw.value is None for person in with_others(votes).values())


def test_two_people_who_never_agree_are_below_chance() -> None:
    votes = votes_of([(f"p{n}", f"g{n}", rater, "ab"[(n + (rater == "y")) % 2]) for n in range(20) for rater in "xy"])
    found = coefficients(by_side(votes), LEANS)
    assert number(found.raw) == 0.0
    assert number(found.kappa) == pytest.approx(-1.0)
    assert number(found.alpha_nominal) == pytest.approx(-0.95)


def test_answers_missing_at_random_leave_the_coefficients_where_they_are() -> None:
    rng = np.random.default_rng(5)
    truth = rng.choice([-1.0, 0.0, 1.0], size=3000)
    full = pd.DataFrame([np.where(rng.random(3000) < 0.7, truth, rng.choice([-1.0, 0.0, 1.0], 3000)) for _ in range(4)])
    part = full.mask(pd.DataFrame(rng.random(full.shape) < 0.4))
    whole, some = (coefficients(answers_of(matrix), LEANS, repeats=10) for matrix in (full, part))
    for name in ("raw", "alpha_nominal", "alpha_ordinal", "fleiss", "kappa", "ac1", "ac2"):
        assert number(getattr(some, name)) == pytest.approx(number(getattr(whole, name)), abs=0.03)


def test_interval_of_alpha_covers_the_truth() -> None:
    """Answers of one prompt share their difficulty, so only drawing whole prompts gives an honest width."""
    rng = np.random.default_rng(3)

    def world(groups: int) -> pd.DataFrame:
        skill = np.repeat(rng.beta(2, 1, size=groups), 4)
        truth = rng.choice([-1.0, 1.0], size=4 * groups)
        rows = []
        for unit in range(4 * groups):
            for rater in "xyz":
                value = truth[unit] if rng.random() < skill[unit] else rng.choice([-1.0, 1.0])
                rows.append((f"u{unit:05}", f"g{unit // 4:05}", rater, value))
        return pd.DataFrame(rows, columns=["unit", "group", "rater", "value"])

    # Two answers of a unit agree in truth with chance E skill^2 = 1/2 beyond chance: alpha is 0.5.
    covered = 0
    for _ in range(40):
        interval = coefficients(world(60), (-1.0, 1.0), repeats=200).alpha_nominal.interval
        assert interval is not None
        covered += interval.low <= 0.5 <= interval.high
    assert covered >= 34


def test_same_seed_gives_the_same_intervals() -> None:
    votes = votes_of([(f"p{n}", f"g{n}", r, "ab"[(n * 7 + ord(r) * (n % 3)) % 2]) for n in range(40) for r in "xyz"])
    one, again, other = (coefficients(by_side(votes), LEANS, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.alpha_nominal.interval != other.alpha_nominal.interval


# --- Strengths and time ---------------------------------------------------------------------------------------------


def test_strength_is_a_seven_point_answer_and_neither_is_its_middle() -> None:
    votes = votes_of([("p", "g", "x", "a"), ("p", "g", "y", "tie"), ("p", "g", "z", "b"), ("q", "g", "x", "tie")])
    votes["strength"] = [3.0, NAN, 1.0, NAN]
    assert by_strength(votes)["value"].tolist() == [3.0, 0.0, -1.0]
    votes["strength"] = NAN
    assert by_strength(votes).empty


def test_a_pair_belongs_to_the_day_week_or_month_of_its_last_answer() -> None:
    times = pd.Series(pd.to_datetime(["2026-11-02T23:30Z", "2026-11-05T10:00Z"]))
    assert periods_of(times).tolist() == ["2026-11-02", "2026-11-05"]
    times = pd.Series(pd.to_datetime(["2026-10-01T12:00Z", "2026-11-05T10:00Z"]))
    assert periods_of(times).tolist() == ["2026-09-28", "2026-11-02"]
    times = pd.Series(pd.to_datetime(["2026-01-01T12:00Z", "2026-11-05T10:00Z"]))
    assert periods_of(times).tolist() == ["2026-01", "2026-11"]
    rows = [(f"p{n:02}", f"g{n}", rater, "ab"[(n % 3 == 0) ^ (rater == "y")]) for n in range(24) for rater in "xy"]
    votes = votes_of(rows).assign(answered_at=pd.Timestamp("2026-11-02T12:00Z"))
    late = (votes["rater"] == "y") & (votes["pair_id"] >= "p12")
    votes.loc[late, "answered_at"] = pd.Timestamp("2026-11-04T12:00Z")
    found = over_time(votes)
    assert [(name, part.n_units) for name, part in found] == [("2026-11-02", 12), ("2026-11-04", 12)]
