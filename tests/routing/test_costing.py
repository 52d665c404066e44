"""What people's answers cost: their time, their number, their pay."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from annotation.models import Project
from routing.plans.costing import (
    DIFFERS_ASSUMED,
    chance_people_err,
    cost_pairs,
    count_votes,
    fit_pace,
    measure_disagreement,
    shown_usd,
)
from routing.plans.options import PlanOptions

PROJECT = Project(slug="p", votes_wanted=3, pay_per_answer_usd=Decimal("0.30"))
NONE = np.array([])


def votes(*choices: str, seconds: float = np.nan, words: float = 100.0) -> pd.DataFrame:
    """Return votes on pairs, each pair's choices as one word: "aab" is a pair with three answers."""
    letters = {"a": "a", "b": "b", "t": "tie", "n": "both_bad", "u": "unsure"}
    rows = [(f"pair-{n}", letters[one]) for n, pair in enumerate(choices) for one in pair]
    frame = pd.DataFrame(rows, columns=["pair_id", "choice"])
    return frame.assign(seconds=seconds, words=words)


def test_too_few_timed_answers_leave_an_assumed_pace_that_says_so() -> None:
    pace = fit_pace(np.full(29, 40.0), np.full(29, 100.0))
    # 230 words take a minute, and a decision 20 seconds.
    assert pace.seconds(np.array([230.0, 0.0])) == pytest.approx([80.0, 20.0])
    assert pace.answers == 0
    assert pace.note.startswith("assumed: 230 words a minute and 20 s to decide (29 of 30")


def test_pace_is_found_in_answers_with_interruptions() -> None:
    rng = np.random.default_rng(0)
    words = rng.uniform(50, 800, 400)
    seconds = 15 + 0.2 * words + rng.normal(0, 5, 400)
    clean = fit_pace(seconds, words)
    assert clean.seconds_per_word == pytest.approx(0.2, abs=0.01)
    assert clean.base_seconds == pytest.approx(15, abs=3)
    seconds[:20] = 3600.0
    interrupted = fit_pace(seconds, words)
    # A plain mean would be three times as long.
    assert interrupted.seconds(np.array([400.0]))[0] == pytest.approx(95 * 1.21, rel=0.05)
    assert interrupted.note == "measured on 400 timed answers"


def test_pace_keeps_the_mean_where_most_answers_are_quick_and_some_slow() -> None:
    rng = np.random.default_rng(1)
    words = rng.uniform(100, 300, 500)
    seconds = rng.lognormal(3.0, 0.6, 500)
    pace = fit_pace(seconds, words)
    assert pace.seconds(words).mean() == pytest.approx(np.minimum(seconds, 5 * np.median(seconds)).mean(), rel=0.01)


def test_length_that_tells_nothing_or_the_wrong_way_costs_nothing() -> None:
    words = np.linspace(100, 500, 50)
    assert fit_pace(np.full(50, 30.0), words).seconds(np.array([1000.0])) == pytest.approx([30.0])
    assert fit_pace(200 - 0.3 * words, words).seconds_per_word == 0.0
    assert fit_pace(words, np.full(50, 100.0)).seconds_per_word == 0.0


def test_disagreement_counts_pairs_once_and_knows_no_difference_between_ties() -> None:
    few = measure_disagreement(votes(*["aa"] * 29))
    assert (few.share, few.pairs) == (DIFFERS_ASSUMED, 0)
    assert few.note == "assumed (29 of 30 pairs with two answers needed to measure it)"
    # 15 agree, 10 differ, 5 of three answers differ in two of three couples; one answer and "unsure" say nothing.
    found = measure_disagreement(votes(*["aa", "tn", "bb"] * 5, *["ab"] * 10, *["aab"] * 5, *["a", "au"] * 9))
    assert found.share == pytest.approx((10 + 5 * 2 / 3) / 30)
    assert found.pairs == 30


def test_votes_of_people_err_less_the_more_they_are() -> None:
    assert chance_people_err(0.0, 3) == 0.0
    one, three, five = (chance_people_err(0.3, votes) for votes in (1, 3, 5))
    assert one > three > five > 0
    # By simulation: people's share is Beta(0.75, 0.75), since 0.75 / 2.5 = 0.3.
    rng = np.random.default_rng(2)
    share = rng.beta(0.75, 0.75, 400_000)
    assert ((rng.binomial(3, share) >= 2) != (share > 0.5)).mean() == pytest.approx(three, abs=0.002)
    assert chance_people_err(0.9, 1) < 0.5


def test_adaptive_votes_ask_two_and_a_third_where_they_differ() -> None:
    adaptive = PlanOptions(votes="adaptive")
    assert count_votes(3, PlanOptions(), 0.4) == (3, 3, 3.0)
    assert count_votes(3, adaptive, 0.4) == (2, 3, 2.4)
    assert count_votes(5, adaptive, 0.4) == (2, 5, 2.4)
    assert count_votes(1, adaptive, 0.4) == (2, 3, 2.4)
    assert count_votes(5, adaptive._replace(expert_on_split=True), 0.4).most == 3


def test_cost_by_the_answer_is_the_same_for_every_pair_and_by_the_hour_follows_its_length() -> None:
    words = np.array([0.0, 230.0, 1150.0])
    nobody = votes().assign(seconds=NONE, words=NONE)
    by_answer = cost_pairs(PROJECT, PlanOptions(), words, nobody)
    assert by_answer.most.tolist() == by_answer.expected.tolist() == [900_000] * 3
    by_hour = cost_pairs(PROJECT, PlanOptions(pay_per_hour_usd=Decimal(18)), words, nobody)
    # 20, 80 and 320 seconds at half a cent, three times.
    assert by_hour.most.tolist() == [300_000, 1_200_000, 4_800_000]
    assert by_hour.seconds.tolist() == pytest.approx([60, 240, 960])
    adaptive = cost_pairs(PROJECT, PlanOptions(votes="adaptive"), words, nobody)
    assert adaptive.most.tolist() == [900_000] * 3
    assert adaptive.expected.tolist() == [690_000] * 3


def test_money_is_shown_rounded_up() -> None:
    assert shown_usd(5_400_000) == "5.4000"
    assert shown_usd(1_000_001) == "1.0001"
