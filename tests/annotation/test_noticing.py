"""Signals in people's answers: right about planted cheats, silent about people who read, at the rate stated."""

from collections import Counter
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from annotation.noticing import FALSE_FLAGS, Sign, Signal, adjust, longest_run_p, notice

OTHER = {"a": "b", "b": "a"}


def crowd(
    seed: int, bad: dict[str, str] | None = None, *, people: int = 14, pairs: int = 60
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return answers and repeats of simulated people who read, but for those named in `bad` with what they do."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(["a", "b"], pairs)
    length = np.exp(rng.normal(6.5, 0.6, pairs))
    rows: list[tuple[object, ...]] = []
    repeats = []
    for number in range(people):
        name = f"p{number:02}"
        does = (bad or {}).get(name, "reads")
        accuracy = 1 / (1 + np.exp(-rng.normal(1.6, 0.3)))
        pace = rng.normal(-3.0, 0.35)
        for pair in range(pairs):
            order = rng.choice(["ab", "ba"])
            right = rng.random() < accuracy
            said = truth[pair] if right else OTHER[truth[pair]]
            seconds = np.exp(pace + 0.9 * np.log(length[pair]) + rng.normal(0, 0.4))
            if does == "clicks":
                said, seconds = rng.choice(["a", "b"]), rng.uniform(0.8, 2.0)
            elif does == "first" or (does == "leans" and rng.random() < 0.5):
                said = order[0]
            elif does == "inverts":
                said = OTHER[said]
            elif does == "copies":
                said = next(row[2] for row in rows if row[0] == "p00" and row[1] == str(pair))
            is_right = float(said == truth[pair]) if pair < 20 else np.nan
            rows.append((name, str(pair), said, order, seconds, length[pair], True, is_right))
            if pair % 5 == 0:
                again = said if rng.random() < 0.9 and does != "clicks" else rng.choice(["a", "b"])
                repeats.append((name, said, again))
    columns = ["rater", "pair_id", "choice", "shown_order", "seconds", "characters", "counts", "is_right"]
    return pd.DataFrame(rows, columns=columns), pd.DataFrame(repeats, columns=["rater", "before", "choice"])


def signs_of(seed: int, **bad: str) -> dict[str, dict[Signal, Sign]]:
    found = notice(*crowd(seed, bad), good_accuracy=0.7)
    return {name: {sign.signal: sign for sign in signs} for name, signs in found.items()}


def flagged(signs: dict[Signal, Sign]) -> set[Signal]:
    return {signal for signal, sign in signs.items() if sign.is_flagged}


# --- Exact tests against counting -----------------------------------------------------------------------------------


def test_the_longest_run_is_as_likely_as_counting_all_tosses_says() -> None:
    n = 12
    longest = Counter(max(len(run) for run in runs(tosses)) for tosses in product("ht", repeat=n))
    for k in range(1, n + 1):
        exact = sum(count for length, count in longest.items() if length >= k) / 2**n
        assert longest_run_p(n, k) == pytest.approx(exact, abs=1e-12)


def runs(tosses: tuple[str, ...]) -> list[str]:
    text = "".join(tosses)
    return text.replace("ht", "h t").replace("th", "t h").split()


def test_adjusting_is_that_of_scipy_and_leaves_out_what_was_not_tested() -> None:
    p = [0.01, 0.2, 0.03, 0.8, 0.0004]
    assert adjust(p) == pytest.approx(false_discovery_control(p))
    assert adjust([0.5, None, 0.01]) == [0.5, None, 0.02]
    assert adjust([None]) == [None]


def test_side_bias_is_the_exact_binomial_test() -> None:
    answers, repeats = crowd(1)
    mine = answers[answers["rater"] == "p00"].head(20).copy()
    mine["choice"] = ["a"] * 15 + ["b"] * 5
    mine["shown_order"] = "ab"
    (signs,) = notice(mine, repeats.head(0), good_accuracy=0.7).values()
    side = next(sign for sign in signs if sign.signal is Signal.SIDE)
    # By hand: 2 P(X <= 5 | 20, 1/2) = 2 * 21700 / 2**20.
    assert (side.value, side.n) == (0.75, 20)
    assert side.p_value == pytest.approx(2 * 21700 / 2**20)


# --- Planted cheats -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("does", "expected"),
    [
        ("clicks", {Signal.FAST, Signal.APART}),
        ("first", {Signal.STRAIGHT, Signal.SIDE}),
        ("leans", {Signal.SIDE}),
        ("inverts", {Signal.GOLD, Signal.APART}),
    ],
)
def test_what_is_planted_is_found(does: str, expected: set[Signal]) -> None:
    assert expected <= flagged(signs_of(7, p03=does)["p03"])


def test_two_accounts_that_answer_alike_are_named_to_each_other() -> None:
    signs = signs_of(8, p05="copies")
    assert {flag for name in ("p00", "p05") for flag in flagged(signs[name])} >= {Signal.ALIKE}
    assert (signs["p00"][Signal.ALIKE].other, signs["p05"][Signal.ALIKE].other) == ("p05", "p00")
    assert signs["p05"][Signal.ALIKE].value == 1.0


def test_who_takes_a_twentieth_of_the_time_is_fast_and_nobody_else() -> None:
    answers, repeats = crowd(9)
    # p01 answers in a twentieth of the time.
    answers.loc[answers["rater"] == "p01", "seconds"] /= 20
    signs = notice(answers, repeats, good_accuracy=0.7)
    fast = {name: next(sign for sign in theirs if sign.signal is Signal.FAST) for name, theirs in signs.items()}
    assert fast["p01"].is_flagged
    assert fast["p01"].value is not None
    assert fast["p01"].value < 0.2
    assert not any(sign.is_flagged for name, sign in fast.items() if name != "p01")


# --- Honest people --------------------------------------------------------------------------------------------------


def alarms(seeds: range, level: float) -> tuple[dict[Signal, float], float]:
    """Return the share of tests of honest people with p at most `level`, a signal, and of crowds with any flag."""
    low: Counter[Signal] = Counter()
    tested: Counter[Signal] = Counter()
    with_flag = 0
    for seed in seeds:
        signs = [sign for theirs in signs_of(seed).values() for sign in theirs.values()]
        with_flag += any(sign.is_flagged for sign in signs)
        for sign in signs:
            if sign.p_value is not None:
                tested[sign.signal] += 1
                low[sign.signal] += sign.p_value <= level
    return {signal: low[signal] / tested[signal] for signal in Signal}, with_flag / len(seeds)


def check_false_alarms(crowds: int) -> None:
    level = 0.05
    rates, with_flag = alarms(range(1000, 1000 + crowds), level)
    said = ", ".join(f"{signal} {rate:.1%}" for signal, rate in rates.items())
    print(f"alarms at {level:.0%} over {crowds} honest crowds: {said}; crowds with a flag: {with_flag:.1%}")  # noqa: T201
    # Four standard errors of a share above what is stated, over 14 people a crowd.
    slack = 4 * (level * (1 - level) / (14 * crowds)) ** 0.5
    assert {signal: rate for signal, rate in rates.items() if rate > level + slack} == {}
    # Where all are honest every flag is false, so a crowd has any with the rate of false discoveries at most.
    assert with_flag <= FALSE_FLAGS + 4 * (FALSE_FLAGS * (1 - FALSE_FLAGS) / crowds) ** 0.5


def test_who_reads_is_alarmed_about_as_rarely_as_stated() -> None:
    check_false_alarms(25)


@pytest.mark.slow
def test_who_reads_is_alarmed_about_as_rarely_as_stated_over_many_crowds() -> None:
    """`python -m pytest -m slow -s tests/annotation/test_noticing.py`: a minute."""
    check_false_alarms(400)


# --- Too little -----------------------------------------------------------------------------------------------------


def test_too_little_is_said_and_tests_nothing() -> None:
    answers, repeats = crowd(2, people=2, pairs=4)
    signs = notice(answers, repeats, good_accuracy=0.7)["p00"]
    assert [sign.p_value for sign in signs] == [None] * len(Signal)
    assert [sign.too_few for sign in signs] == [
        "too few answers with a time (4 of 10)",
        "too few answers for a side (4 of 10)",
        "too few answers for a side (4 of 10)",
        "too few hidden repeats (1 of 5)",
        "too few gold answers (4 of 5)",
        "too few pairs that others answered (4 of 10)",
        "too few couples with 20 pairs in common",
    ]


def test_nobody_is_compared_with_fewer_than_five_others() -> None:
    answers, repeats = crowd(2, people=5, pairs=40)
    signs = {sign.signal: sign for sign in notice(answers, repeats, good_accuracy=0.7)["p00"]}
    assert signs[Signal.FAST].too_few == "too few others to compare with (4 of 5)"
    assert signs[Signal.APART].too_few == "too few others to compare with (4 of 5)"
    assert signs[Signal.SIDE].p_value is not None


def test_no_answers_make_no_signs() -> None:
    answers, repeats = crowd(2, people=1, pairs=1)
    assert notice(answers.head(0), repeats.head(0), good_accuracy=0.7) == {}


def test_people_who_answer_alike_without_error_are_all_usual() -> None:
    rows = [(f"p{n}", str(pair), "a", "ab", 10.0, 100.0, True, np.nan) for n in range(8) for pair in range(30)]
    columns = ["rater", "pair_id", "choice", "shown_order", "seconds", "characters", "counts", "is_right"]
    found = notice(pd.DataFrame(rows, columns=columns), crowd(1)[1].head(0), good_accuracy=0.7)
    for signs in found.values():
        flags = {sign.signal for sign in signs if sign.is_flagged}
        assert flags == {Signal.SIDE, Signal.STRAIGHT}
