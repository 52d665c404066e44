"""What asking people about a pair costs: how long an answer takes, how many answers it takes, and what they are paid.

Money is counted in whole micro-dollars, so that sums are exact.
"""

from decimal import ROUND_UP, Decimal
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from annotation.aggregating import DECIDING
from annotation.models import Project
from routing.plans.options import ADAPTIVE, PlanOptions
from routing.predicting.scoring import Floats

Micros = npt.NDArray[np.int64]

MICROS_PER_USD = 1_000_000
# What is taken for an answer while too few were timed: silent reading of English (Brysbaert 2019: 238 words a minute)
# rounded down, and time to decide.
WORDS_PER_MINUTE = 230.0
SECONDS_TO_DECIDE = 20.0
TIMED_ANSWERS_NEEDED = 30
# An answer this many times longer than the middle one was interrupted.
INTERRUPTED = 5.0
LEAST_SECONDS = 3.0
# The chance that two people answer differently, taken while too few pairs have two answers: that of annotators on
# published preference sets lies between 0.2 and 0.4.
DIFFERS_ASSUMED = 0.3
PAIRS_NEEDED = 30
ADAPTIVE_START = 2
ADAPTIVE_LEAST = 3


class Pace(NamedTuple):
    """How long one answer takes: `base_seconds` and so much for each word of prompt and responses.

    `answers` timed answers were fitted; 0 where the pace is assumed. `note` says so in words.
    """

    base_seconds: float
    seconds_per_word: float
    answers: int
    note: str

    def seconds(self, words: Floats) -> Floats:
        """Return the seconds expected for one answer on pairs of so many words."""
        return np.maximum(LEAST_SECONDS, self.base_seconds + self.seconds_per_word * words)


class Disagreement(NamedTuple):
    """The chance that two people answer a pair differently, from so many `pairs`; 0 pairs where it is assumed."""

    share: float
    pairs: int
    note: str


class Votes(NamedTuple):
    """How many answers a pair gets: asked for at first, at most, and expected."""

    wanted: int
    most: int
    expected: float


class Costs(NamedTuple):
    """What people's answers on each of n pairs take: `most` and `expected` micro-dollars, `seconds` for all answers.

    `most` is what all votes cost at the expected time of an answer.
    """

    most: Micros
    expected: Micros
    seconds: Floats
    votes: Votes
    pace: Pace
    disagreement: Disagreement


def cost_pairs(project: Project, options: PlanOptions, words: Floats, votes: pd.DataFrame) -> Costs:
    """Return what asking people about each pair costs. `votes` is the project's `vote_frame` with `words` a vote.

    Paid by the answer, a pair costs its votes times the project's pay; paid by the hour, its votes times its expected
    seconds, rounded up to a hundredth of a cent.
    """
    pace = fit_pace(votes["seconds"].to_numpy(dtype=float), votes["words"].to_numpy(dtype=float))
    disagreement = measure_disagreement(votes)
    number = count_votes(project.votes_wanted, options, disagreement.share)
    seconds = pace.seconds(words)
    if options.pay_per_hour_usd is None:
        one = np.full(len(words), int(Decimal(project.pay_per_answer_usd) * MICROS_PER_USD), dtype=np.int64)
    else:
        rate = float(options.pay_per_hour_usd) * MICROS_PER_USD / 3600.0
        one = (np.ceil(seconds * rate / 100.0 - 1e-9) * 100).astype(np.int64)
    return Costs(
        most=one * number.most,
        expected=np.rint(one * number.expected).astype(np.int64),
        seconds=seconds * number.expected,
        votes=number,
        pace=pace,
        disagreement=disagreement,
    )


def count_votes(votes_wanted: int, options: PlanOptions, differs: float) -> Votes:
    """Return how many answers a pair gets. Adaptive votes ask two people, and more only where those two differ."""
    if options.votes != ADAPTIVE:
        return Votes(votes_wanted, votes_wanted, float(votes_wanted))
    most = ADAPTIVE_LEAST if options.expert_on_split else max(ADAPTIVE_LEAST, votes_wanted)
    return Votes(ADAPTIVE_START, most, ADAPTIVE_START + differs)


def fit_pace(seconds: Floats, words: Floats) -> Pace:
    """Return how long an answer takes, from answers that were timed; an assumed pace where too few were.

    Robust regression of seconds on words (Huber 1964), then scaled so that the mean is kept: people who are paid by
    time are paid for slow answers too. Answers five times longer than the middle one count as five times.
    """
    known = np.isfinite(seconds) & np.isfinite(words) & (seconds > 0)
    n = int(known.sum())
    if n < TIMED_ANSWERS_NEEDED:
        note = (
            f"assumed: {WORDS_PER_MINUTE:.0f} words a minute and {SECONDS_TO_DECIDE:.0f} s to decide "
            f"({n:,} of {TIMED_ANSWERS_NEEDED} timed answers needed to measure it)"
        )
        return Pace(SECONDS_TO_DECIDE, 60.0 / WORDS_PER_MINUTE, 0, note)
    taken = np.minimum(seconds[known], INTERRUPTED * float(np.median(seconds[known])))
    read = words[known]
    slope = _huber_slope(read, taken)
    base = float(np.median(taken - slope * read))
    if base < 0:
        base, slope = 0.0, float(taken.mean() / read.mean())
    scale = float(taken.mean() / np.maximum(LEAST_SECONDS, base + slope * read).mean())
    note = f"measured on {n:,} timed answers"
    return Pace(base * scale, slope * scale, n, note)


def _huber_slope(words: Floats, seconds: Floats) -> float:
    """Return the seconds a word takes; 0 where length does not tell, or more words seem to take less."""
    from sklearn.linear_model import HuberRegressor

    spread = float(words.std())
    if spread < 1e-9 or float(seconds.std()) < 1e-9:
        return 0.0
    # Columns of one scale: its solver is told to stop by the size of a step.
    x, y = (words - words.mean()) / spread, seconds / float(np.median(seconds))
    found = HuberRegressor(alpha=1e-4, max_iter=1000).fit(x[:, None], y)
    return max(0.0, float(found.coef_[0]) * float(np.median(seconds)) / spread)


def measure_disagreement(votes: pd.DataFrame) -> Disagreement:
    """Return how often two people's deciding answers on a pair differ, each pair counted once."""
    deciding = votes[votes["choice"].isin(DECIDING)]
    # Neither prefers a response, so they are one answer.
    answers = deciding["choice"].replace({"both_bad": "tie"})
    counts = pd.crosstab(deciding["pair_id"], answers)
    total = counts.sum(axis=1)
    counts, total = counts[total >= 2], total[total >= 2]
    n = len(total)
    if n < PAIRS_NEEDED:
        note = f"assumed ({n:,} of {PAIRS_NEEDED} pairs with two answers needed to measure it)"
        return Disagreement(DIFFERS_ASSUMED, 0, note)
    same = (counts * (counts - 1)).sum(axis=1) / (total * (total - 1))
    return Disagreement(float(1 - same.mean()), n, f"measured on {n:,} pairs with two answers or more")


def chance_people_err(differs: float, votes: int) -> float:
    """Return P(the answer of `votes` people is not that of the majority of all people), two ways.

    Two people differ on a pair with the probability `differs`. The share of all people who prefer one response varies
    over pairs as Beta(a, a), which gives differs = a / (2a + 1); given it, votes are drawn by chance.
    """
    from scipy.stats import beta, betabinom

    if differs <= 0:
        return 0.0
    differs = min(differs, 0.49)
    a = differs / (1 - 2 * differs)
    yes = np.arange(votes + 1)
    odds = betabinom.pmf(yes, votes, a, a)
    # P(the majority of all people says no | so many of the votes say yes); an even split tells nothing.
    against = beta.cdf(0.5, a + yes, a + votes - yes)
    return float((odds * np.minimum(against, 1 - against)).sum())


def usd(micros: float) -> Decimal:
    """Return micro-dollars as US dollars, to the micro-dollar."""
    return Decimal(int(micros)) / MICROS_PER_USD


def shown_usd(micros: float) -> str:
    """Return micro-dollars as text with four decimals, rounded up: what a page may promise."""
    return str(usd(micros).quantize(Decimal("0.0001"), rounding=ROUND_UP))
