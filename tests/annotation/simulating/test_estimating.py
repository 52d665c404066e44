"""Estimates agree with the behaviour they are of, answer a manager's questions, and are what the manual prints."""

import json
import re
from collections.abc import Callable
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from scipy.stats import binom

from annotation.errors import AnnotationError
from annotation.models import Choice
from annotation.simulating.behaving import Item, answer_of, times_of
from annotation.simulating.estimating import Design, Estimate, _answers, _drawn, _mean_seconds, estimate
from annotation.simulating.people import USUAL, Habits, Kind, Mix, draw_people
from annotation.standards import Standards

MANUAL = Path(__file__).parents[3] / "docs" / "managers.md"
RULES = Standards(gold_percent=10.0, pause_on_gold=True, exclude_on_pause=True)
N = 4000
A, B = Choice.A, Choice.B


def once(pairs: int = 300, replications: int = 60, *, seed: int = 1, **settings: Any) -> Estimate:
    return estimate(Design(pairs=pairs, **settings), seed=seed, replications=replications)


@pytest.mark.parametrize("is_gold", [False, True])
@pytest.mark.parametrize("kind", list(Kind))
def test_the_arrays_answer_as_the_people_at_the_pages_do(kind: Kind, is_gold: bool) -> None:
    good = {Kind.CAREFUL: 0.0, Kind.EXPERT: 1.0}
    mix = (
        Mix(people=1, expert_share=good[kind], skills=(0.9, 0.9))
        if kind in good
        else Mix(people=1, bad_share=1, bad_kinds=(kind,))
    )
    (person,) = draw_people(mix, seed=0)
    items = [Item(f"p{number}", A if number % 2 else B, is_gold=is_gold) for number in range(N)]
    said = sum(
        answer_of(person, item, (A, B)[n // 2 % 2], USUAL, seed=0) == item.better for n, item in enumerate(items)
    )
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, size=N)
    crowd = _drawn(mix, rng)
    right = int((_answers(Design(pairs=1, votes=1, mix=mix), crowd, truth, rng, is_gold=is_gold)[:, 0] == truth).sum())
    share = (said + right) / (2 * N)
    low, high = binom.ppf([0.00005, 0.99995], N, share)
    assert low <= said <= high
    assert low <= right <= high


def test_the_arrays_take_as_long_as_the_people_at_the_pages_do() -> None:
    mix = Mix(people=200, expert_share=0.2, bad_share=0.4)
    items = [Item(f"p{number}", A, characters=1500) for number in range(20)]
    people = draw_people(mix, seed=0)
    at_pages = np.mean([times_of(person, item, USUAL, seed=0).total for person in people for item in items])
    in_arrays = _mean_seconds(_drawn(mix, np.random.default_rng(0)), Design(pairs=1, votes=1, mix=mix)).mean()
    assert in_arrays == pytest.approx(at_pages, rel=0.08)


def test_the_same_seed_gives_the_same_figures() -> None:
    assert once() == once()
    assert once() != once(seed=2)


def test_a_quarter_of_bad_people_costs_a_point_at_most() -> None:
    """The pages' own figures: `test_bad_people.py` (slow)."""
    rules = Standards(gold_percent=25.0, pause_on_gold=True, exclude_on_pause=True)
    bad = once(pairs=500, mix=Mix(people=16, bad_share=0.25), standards=rules)
    good = once(pairs=500, mix=Mix(people=16), standards=rules)
    assert good.accuracy.mean - bad.accuracy.mean <= 0.01
    assert bad.gold_until_paused is not None
    assert bad.gold_until_paused <= 15
    assert bad.wrongly_paused is not None
    assert bad.wrongly_paused <= 0.02
    assert bad.bad_paused is not None
    assert bad.bad_paused >= 0.9


def test_who_asks_a_model_is_caught_by_gold_that_models_get_wrong_only() -> None:
    mix = Mix(people=16, bad_share=0.25, bad_kinds=(Kind.MODEL,))
    usual, hard = (
        once(pairs=500, mix=mix, standards=RULES, habits=Habits(model_on_gold=right)).bad_paused for right in (0.7, 0.2)
    )
    assert usual is not None
    assert hard is not None
    assert usual < 0.3 < 0.9 < hard


def test_without_gold_nobody_is_paused_and_the_cost_is_the_votes() -> None:
    found = once(pairs=100, mix=Mix(people=10, bad_share=0.5), pay_usd=Decimal("0.25"))
    assert (found.bad_paused, found.wrongly_paused, found.gold_until_paused) == (0.0, 0.0, None)
    assert found.cost_usd == (Decimal("75.00"), Decimal("75.00"), Decimal("75.00"))
    assert found.finished == 1.0
    assert once(pairs=100).bad_paused is None


def test_more_votes_and_better_people_are_right_more_often() -> None:
    one, three, five = (once(votes=votes).accuracy.mean for votes in (1, 3, 5))
    assert one < three < five
    # One vote: the mean accuracy of who reads, between 0.85 and 0.92 with the usual skills.
    assert 0.85 < one < 0.92
    assert once(mix=Mix(people=20, expert_share=1.0)).accuracy.mean > three


def test_power_grows_with_pairs_and_is_what_the_exact_test_has() -> None:
    none = once(replications=400, difference=0.0)
    assert none.power <= 0.06
    small, large = once(pairs=100, replications=200), once(pairs=800, replications=200)
    assert small.power < large.power <= 1.0
    # The exact test at 5 %, by the binomial distribution: 800 wins of a model that wins 55 % of the time.
    wins = np.arange(801)
    found = 2 * binom.cdf(np.minimum(wins, 800 - wins), 800, 0.5) <= 0.05
    exact = float(binom.pmf(wins, 800, 0.55)[found].sum())
    assert large.power_of_truth == pytest.approx(exact, abs=3 * (exact * (1 - exact) / 200) ** 0.5)
    assert large.power < large.power_of_truth


def test_too_few_people_leave_pairs_without_their_votes() -> None:
    found = once(pairs=100, mix=Mix(people=5), answers_each=30)
    assert found.finished == 0.0
    assert found.cost_usd.mean == Decimal("45.00")  # 5 people of 30 answers at 0.30
    assert found.accuracy.high < 0.6
    enough = once(pairs=100, mix=Mix(people=10), answers_each=30)
    assert enough.finished == 1.0
    assert enough.cost_usd.mean == Decimal("90.00")


def test_days_follow_from_arrivals_and_working_hours() -> None:
    fast = Habits(characters_a_second=1e5, deciding_seconds=0.001)
    waiting = once(pairs=100, replications=200, people_a_day=4, habits=fast, mix=Mix(people=12))
    # The last of twelve arrives after three days, give or take 12 ** 0.5 / 4.
    assert waiting.days.mean == pytest.approx(3.0, abs=4 * 12**0.5 / 4 / 200**0.5)
    slow = once(pairs=100, mix=Mix(people=12), hours_a_day=1.0)
    assert slow.days.mean == pytest.approx(2 * once(pairs=100, mix=Mix(people=12), hours_a_day=2.0).days.mean)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Design(pairs=0), "1 to 1,000,000 pairs"),
        (lambda: Design(pairs=1, votes=30), r"no more votes a pair \(30\) than people \(20\)"),
        (lambda: Design(pairs=1, difference=1.0), "difference is 0 to below 1"),
        (lambda: Design(pairs=1, pay_usd=Decimal("-1")), "pay and characters are not negative"),
        (lambda: Design(pairs=1, answers_each=0), "one answer at least, not 0"),
        (lambda: Design(pairs=1, people_a_day=0), "at a rate above 0"),
        (lambda: Design(pairs=1, hours_a_day=25), "0 to 24 hours a day"),
        (lambda: estimate(Design(pairs=1), seed=0, replications=1), "10 and 100,000 replications, not 1"),
    ],
)
def test_a_study_that_cannot_be_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        make()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pairs", "10", "--kinds", "lazy"], "no bad kind 'lazy'"),
        (["--pairs", "10", "--habit", "sleeps=1"], "no habit 'sleeps'"),
        (["--pairs", "10", "--pay-usd", "much"], "--pay-usd takes US dollars, not 'much'"),
        (["--pairs", "10", "--gold", "90"], "gold_percent is 90"),
    ],
)
def test_the_command_refuses_what_does_not_fit(options: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("estimate_crowd", *options, stdout=StringIO())


def test_the_manual_prints_what_the_command_does() -> None:
    examples = re.findall(r"^\$ manage\.py estimate_crowd (.+)\n((?:[^`$].*\n)+)", MANUAL.read_text("utf-8"), re.M)
    assert len(examples) == 2
    for options, printed in examples:
        out = StringIO()
        call_command("estimate_crowd", *options.split(), stdout=out)
        assert out.getvalue().splitlines() == printed.splitlines()


def test_the_command_gives_its_figures_as_json() -> None:
    out = StringIO()
    call_command("estimate_crowd", "--pairs", "50", "--replications", "10", "--json", stdout=out)
    said = json.loads(out.getvalue().splitlines()[-1])
    assert said["cost_usd"]["mean"] == "45.00"
    assert (said["replications"], said["finished"], said["bad_paused"]) == (10, 1.0, None)
