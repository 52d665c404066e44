"""What a crowd would cost, take and find, before anybody is asked: the simulated people by replication, without pages.

People are drawn as `people` draws them and answer as `behaving` says, many at once in arrays, with draws of their own
(numpy's, of one seed): the figures agree with those of a simulation at the pages, the single answers do not.

What is left out: leases and their ends, hidden repeats, growing numbers of votes, limits of a day, and that people who
come back answer other pairs than those who do not.
"""

from dataclasses import dataclass
from decimal import Decimal
from math import ceil, log
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import bdtr

from annotation.errors import AnnotationError
from annotation.simulating.behaving import (
    CLICKER_TIES,
    KEEPS_TO_SIDE,
    MODEL_SECONDS,
    SPAMMER_SECONDS,
    SPAMMER_TIES,
)
from annotation.simulating.people import (
    EXPERT_PACE,
    GOOD,
    PACE_SPREAD,
    USUAL,
    USUAL_SIDE,
    USUAL_TIES,
    Habits,
    Kind,
    Mix,
)
from annotation.standards import Standards

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVEL = 0.95
ALPHA = 0.05
A, B, TIE = 0, 1, 2
TWENTY, NO_GOLD = Mix(people=20), Standards()
# Whoever stays does the work of who was paused, meets more gold by it, and so on: it settles within a few rounds.
ROUNDS = 4


@dataclass(frozen=True)
class Design:
    """A study to be weighed.

    `answers_each`: the most one person gives, gold included; None: an equal part of all. `people_a_day`: arrivals of a
    Poisson process, by `mix.people` at most; None: all are there at once. `hours_a_day`: how long somebody works in a
    day. `difference`: how far the win rates of two models lie apart, 0 to 1, where every pair sets one against the
    other.
    """

    pairs: int
    votes: int = 3
    mix: Mix = TWENTY
    standards: Standards = NO_GOLD
    habits: Habits = USUAL
    pay_usd: Decimal = Decimal("0.30")
    answers_each: int | None = None
    people_a_day: float | None = None
    hours_a_day: float = 2.0
    characters: int = 1500
    difference: float = 0.1

    def __post_init__(self) -> None:
        """Refuse a study that cannot be."""
        if not (1 <= self.pairs <= 1_000_000 and 1 <= self.votes <= self.mix.people):
            raise AnnotationError(
                f"A study has 1 to 1,000,000 pairs, and no more votes a pair ({self.votes}) than people"
                f" ({self.mix.people})."
            )
        if not (0 <= self.difference < 1 and self.pay_usd >= 0 and self.characters >= 0):
            raise AnnotationError("The difference is 0 to below 1; pay and characters are not negative.")
        if self.answers_each is not None and self.answers_each < 1:
            raise AnnotationError(f"Somebody gives one answer at least, not {self.answers_each}.")
        if not 0 < self.hours_a_day <= 24 or (self.people_a_day is not None and not 0 < self.people_a_day < 1e6):
            raise AnnotationError("People work above 0 to 24 hours a day, and arrive at a rate above 0.")


class Range(NamedTuple):
    """A mean over replications, and between what 95 % of them lie."""

    mean: float
    low: float
    high: float


class Usd(NamedTuple):
    """The same of money, in whole cents."""

    mean: Decimal
    low: Decimal
    high: Decimal


class Estimate(NamedTuple):
    """What replications of a study came to.

    `accuracy`: of the consensus, of all pairs. `power`: how often a two-sided exact test of 1/2 at 5 % finds the
    difference in the labels; `power_of_truth` with labels that are all right. `finished`: how often all pairs got their
    votes. `bad_paused` and `wrongly_paused`: which share of the bad and of the good people at work the rule paused;
    `gold_until_paused` after how many gold answers the bad ones. None: there is nobody to say it of.
    """

    accuracy: Range
    cost_usd: Usd
    days: Range
    hours_of_work: Range
    finished: float
    power: float
    power_of_truth: float
    bad_paused: float | None
    gold_until_paused: float | None
    wrongly_paused: float | None
    replications: int
    seed: int

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {name: v._asdict() if isinstance(v, Range | Usd) else v for name, v in self._asdict().items()}


class _Once(NamedTuple):
    """One replication."""

    accuracy: float
    answers: float
    days: float
    hours: float
    finished: bool
    found: bool
    found_by_truth: bool
    bad: int
    bad_paused: int
    gold_until_paused: int
    good: int
    good_paused: int


def estimate(design: Design, *, seed: int, replications: int = 400) -> Estimate:
    """Return what a study would cost, take and find, over so many replications; the same seed gives the same figures.

    A replication takes time and memory in pairs times people.
    """
    if not 10 <= replications <= 100_000:
        raise AnnotationError(f"Between 10 and 100,000 replications, not {replications}.")
    rng = np.random.default_rng(seed)
    runs = np.array([_once(design, rng) for _ in range(replications)], dtype=float)
    of = {name: runs[:, place] for place, name in enumerate(_Once._fields)}

    def over(name: str) -> Range:
        low, high = np.quantile(of[name], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Range(float(of[name].mean()), float(low), float(high))

    def share(part: str, whole: str) -> float | None:
        return float(of[part].sum() / of[whole].sum()) if of[whole].sum() else None

    return Estimate(
        accuracy=over("accuracy"),
        cost_usd=Usd(*(round(Decimal(round(answers, 1)) * design.pay_usd, 2) for answers in over("answers"))),
        days=over("days"),
        hours_of_work=over("hours"),
        finished=float(of["finished"].mean()),
        power=float(of["found"].mean()),
        power_of_truth=float(of["found_by_truth"].mean()),
        bad_paused=share("bad_paused", "bad"),
        gold_until_paused=share("gold_until_paused", "bad_paused"),
        wrongly_paused=share("good_paused", "good"),
        replications=replications,
        seed=seed,
    )


def _once(design: Design, rng: np.random.Generator) -> _Once:
    crowd = _drawn(design.mix, rng)
    size, slots = design.mix.people, design.pairs * design.votes
    gold_share = design.standards.gold_percent / 100
    wanted = ceil(slots / (1 - gold_share))
    most = design.answers_each or ROUNDS * ceil(wanted / size)
    until = _paused_after(design, crowd, most, rng)
    counting = np.ones(size)
    for _ in range(ROUNDS):
        each = design.answers_each or min(most, ceil(wanted / max(1.0, float(counting.sum()))))
        gold_each = int(each * gold_share)
        paused = until <= gold_each
        # Which part of their answers somebody gives before the rule pauses them, and which part of them counts.
        part = np.where(paused, until / max(1, gold_each), 1.0)
        counting = np.where(paused & design.standards.exclude_on_pause, 0.0, part)
    # In the order they arrive as many work as it takes, while there are any more.
    able = np.cumsum((each - gold_each) * counting)
    here = np.arange(size) <= np.searchsorted(able, slots - 1e-9)
    truth = np.where(rng.random(design.pairs) < 0.5 + design.difference / 2, A, B)
    reached = min(1.0, float(able[-1]) / slots)
    votes = _votes(design, crowd, truth, np.where(here, counting, 0.0), reached, rng)
    label = _plurality(votes)
    lost = (here * (part - counting))[paused & design.standards.exclude_on_pause].sum() * (each - gold_each)
    answers = float((votes >= 0).sum() + lost + (here * gold_each * part).sum())
    seconds = _mean_seconds(crowd, design)
    arrived = np.zeros(size)
    if design.people_a_day is not None:
        arrived = np.cumsum(rng.exponential(1 / design.people_a_day, size=size))
    done_at = arrived + seconds * each * part / 3600 / design.hours_a_day
    sides = label[(label == A) | (label == B)]
    return _Once(
        accuracy=float((label == truth).mean()),
        answers=answers,
        days=float(done_at[here].max()),
        hours=answers * float(np.average(seconds, weights=here * part)) / 3600,
        finished=bool((votes >= 0).all()),
        found=_is_found(int((sides == A).sum()), len(sides)),
        found_by_truth=_is_found(int((truth == A).sum()), len(truth)),
        bad=int((here & ~crowd.good).sum()),
        bad_paused=int((here & paused & ~crowd.good).sum()),
        gold_until_paused=int(until[here & paused & ~crowd.good].sum()),
        good=int((here & crowd.good).sum()),
        good_paused=int((here & paused & crowd.good).sum()),
    )


class _People(NamedTuple):
    """A crowd as arrays, in the order of arrival."""

    kinds: "NDArray[Any]"
    skills: "NDArray[np.float64]"
    paces: "NDArray[np.float64]"
    good: "NDArray[np.bool_]"


def _drawn(mix: Mix, rng: np.random.Generator) -> _People:
    """Draw a crowd as `people.draw_people` does."""
    kinds = np.array([kind.value for kind, number in mix.counts.items() for _ in range(number)], dtype=object)
    rng.shuffle(kinds)
    skills, paces = rng.uniform(*mix.skills, size=mix.people), rng.lognormal(0.0, PACE_SPREAD, size=mix.people)
    experts = kinds == Kind.EXPERT.value
    return _People(
        kinds,
        np.where(experts, (1 + skills) / 2, skills),
        np.where(experts, EXPERT_PACE * paces, paces),
        np.isin(kinds, [kind.value for kind in GOOD]),
    )


def _votes(
    design: Design,
    crowd: _People,
    truth: "NDArray[np.int64]",
    counting: "NDArray[np.float64]",
    reached: float,
    rng: np.random.Generator,
) -> "NDArray[np.int64]":
    """Return the votes that count, pairs by votes; -1 where nobody was there to give one.

    Pairs are answered one after the other: who counts for a tenth of their time is there for the first tenth of the
    pairs, and beyond the share of the pairs that is `reached` there is nobody.
    """
    said = _answers(design, crowd, truth, rng, is_gold=False)
    place = (np.arange(design.pairs) + 0.5) / design.pairs
    may = (place[:, None] < counting[None, :]) & (place < reached + 1e-9)[:, None]
    who = np.argsort(np.where(may, rng.random(may.shape), 2.0), axis=1)[:, : design.votes]
    return np.take_along_axis(np.where(may, said, -1), who, axis=1)


def _answers(
    design: Design, crowd: _People, truth: "NDArray[np.int64]", rng: np.random.Generator, *, is_gold: bool
) -> "NDArray[np.int64]":
    """Return everybody's answer on every pair, pairs by people, as `behaving.answer_of` draws it."""
    habits, shape = design.habits, (len(truth), len(crowd.kinds))
    ease = rng.lognormal(0.0, habits.ease_spread, size=len(truth))
    ease = np.maximum(1.0, ease) if is_gold else ease
    right = 1 / (1 + np.exp(-np.log(crowd.skills / (1 - crowd.skills))[None, :] * ease[:, None]))
    first, drawn, habit = rng.integers(0, 2, size=shape), rng.random(shape), rng.random(shape)
    own_side = np.where(rng.random(shape) < 0.5, first, 1 - first)
    said = np.where(drawn < right, truth[:, None], 1 - truth[:, None])
    said = np.where(habit < USUAL_TIES, TIE, np.where(habit < USUAL_TIES + USUAL_SIDE, own_side, said))
    model_right = habits.model_on_gold if is_gold else habits.model_accuracy
    model = np.where(rng.random(len(truth)) < model_right, truth, 1 - truth)
    for kind, theirs in (
        (Kind.CLICKER, np.where(habit < CLICKER_TIES, TIE, rng.integers(0, 2, size=shape))),
        (Kind.ONE_SIDED, np.where(habit < KEEPS_TO_SIDE, first, 1 - first)),
        (Kind.SPAMMER, np.where(habit < SPAMMER_TIES, TIE, first)),
        (Kind.MODEL, np.broadcast_to(model[:, None], shape)),
    ):
        said = np.where((crowd.kinds == kind.value)[None, :], theirs, said)
    return said


def _paused_after(design: Design, crowd: _People, answers: int, rng: np.random.Generator) -> "NDArray[np.int64]":
    """Return after how many gold answers the rule pauses each person (`scoring.alarm_at`), or one more than all.

    Everybody meets the same gold pairs; that is the worst case for what people who ask one model have in common.
    """
    standards = design.standards
    gold_each, never = int(answers * standards.gold_percent / 100), np.full(len(crowd.kinds), answers + 1)
    if not standards.pause_on_gold or not gold_each:
        return never
    truth = rng.integers(0, 2, size=gold_each)
    is_right = _answers(design, crowd, truth, rng, is_gold=True) == truth[:, None]
    wrong = log((1 - standards.bad_accuracy) / (1 - standards.good_accuracy))
    right = log(standards.bad_accuracy / standards.good_accuracy)
    alarm = np.cumsum(np.where(is_right, right, wrong), axis=0) >= -log(standards.wrong_pauses) - 1e-9
    alarm[: standards.least_gold - 1] = False
    return np.where(alarm.any(axis=0), alarm.argmax(axis=0) + 1, never)


def _plurality(votes: "NDArray[np.int64]") -> "NDArray[np.int64]":
    """Return the answer with most votes for each pair; -1 where there is none, as `consensus` leaves it empty."""
    counts = np.stack([(votes == choice).sum(axis=1) for choice in (A, B, TIE)], axis=1)
    top = counts.max(axis=1)
    alone = (counts == top[:, None]).sum(axis=1) == 1
    return np.where(alone & (top > 0), counts.argmax(axis=1), -1)


def _mean_seconds(crowd: _People, design: Design) -> "NDArray[np.float64]":
    """Return everybody's mean seconds for a pair, as `behaving.times_of` draws them."""
    reading, deciding = design.characters / design.habits.characters_a_second, design.habits.deciding_seconds
    usual = np.full(len(crowd.kinds), reading + deciding)
    usual[np.isin(crowd.kinds, [Kind.CLICKER.value, Kind.ONE_SIDED.value])] = reading / 5 + deciding / 2
    usual[crowd.kinds == Kind.SPAMMER.value] = SPAMMER_SECONDS
    usual[crowd.kinds == Kind.MODEL.value] = MODEL_SECONDS
    # The mean of a log-normal lies above its median.
    return np.asarray(usual * crowd.paces * np.exp(design.habits.time_spread**2 / 2))


def _is_found(times: int, n: int) -> bool:
    """Say whether so many of n differ from half of them: exact, two-sided, at 5 %."""
    return n > 0 and min(1.0, 2 * float(bdtr(min(times, n - times), n, 0.5))) <= ALPHA
