"""Who is in a simulated crowd: kinds of people with traits of their own, drawn from a seed. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from random import Random
from typing import Any, NamedTuple

from annotation.errors import AnnotationError


class Kind(StrEnum):
    """How somebody works."""

    CAREFUL = "careful"  # reads, and errs on what is hard
    EXPERT = "expert"  # reads closely, slower and better
    CLICKER = "clicker"  # chooses at random
    ONE_SIDED = "one-sided"  # chooses the same side of the screen
    SPAMMER = "spammer"  # takes a second or two, and says tie or the first
    MODEL = "model"  # asks a model: errs where it does, as everybody who asks one


GOOD = (Kind.CAREFUL, Kind.EXPERT)
# Of who reads: how often they say tie, or take what stands on their side, whatever it says.
USUAL_TIES, USUAL_SIDE = 0.03, 0.02
# The spread of people's speeds (of the log), and how much longer experts take.
PACE_SPREAD, EXPERT_PACE = 0.25, 1.3
BAD = (Kind.CLICKER, Kind.ONE_SIDED, Kind.SPAMMER, Kind.MODEL)


class Person(NamedTuple):
    """Somebody made up.

    `skill`: how often they are right on a pair of usual difficulty (of who reads). `tie`: how often they say tie of
    themselves. `side`: how often they take what stands on their side of the screen, whatever it says; `first` is that
    side. `pace`: their time as a multiple of the usual. `arrives_seconds`: after the start.
    """

    name: str
    kind: Kind = Kind.CAREFUL
    skill: float = 0.9
    tie: float = USUAL_TIES
    side: float = USUAL_SIDE
    first: bool = True
    pace: float = 1.0
    arrives_seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Say whether they read."""
        return self.kind in GOOD


@dataclass(frozen=True)
class Habits:
    """What is the same for everybody in a crowd. Shares are of answers, or of visits where it says so.

    The reading speed is 250 words a minute of six characters (Brysbaert 2019 has 238 for English prose); times are
    log-normal (van der Linden 2006).
    """

    leaves: float = 0.01  # gives back what is held and goes
    lapses: float = 0.005  # closes the page and lets the leases end
    late: float = 0.3  # of those: sends the answer all the same, afterwards
    doubles: float = 0.01  # sends the form twice
    comes_back: float = 0.5  # of visits: for another one, some hours later
    ease_spread: float = 0.5  # standard deviation of the log of how easy a pair is; 0: all are alike
    model_accuracy: float = 0.7  # how often a model is right, where no judge has said something on the pair
    model_on_gold: float = 0.5  # the same on gold, which is picked where models err
    characters_a_second: float = 25.0
    deciding_seconds: float = 8.0
    time_spread: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what is no share, and times that are none."""
        for name, value in asdict(self).items():
            is_share = name not in ("ease_spread", "characters_a_second", "deciding_seconds", "time_spread")
            if not (0 <= value <= 1 if is_share else 0 <= value < 1e6):
                raise AnnotationError(f"{name} is {value}; it takes {'0 to 1' if is_share else 'a number from 0'}.")
        if self.leaves + self.lapses + self.doubles > 1 or not self.characters_a_second:
            raise AnnotationError("leaves, lapses and doubles are shares of the same answers: together 1 at most.")


USUAL = Habits()
HABITS = tuple(one.name for one in fields(Habits))


@dataclass(frozen=True)
class Mix:
    """How many people come, how many of them are bad or experts, of which bad kinds, and how fast they arrive.

    `rate_per_hour` is that of a Poisson process; None: all are there at once. Skills are drawn evenly from `skills`.
    """

    people: int = 12
    bad_share: float = 0.0
    bad_kinds: tuple[Kind, ...] = BAD
    expert_share: float = 0.0
    skills: tuple[float, float] = (0.90, 0.97)
    rate_per_hour: float | None = None

    def __post_init__(self) -> None:
        """Refuse a crowd that cannot be."""
        if not 1 <= self.people <= 10_000:
            raise AnnotationError(f"A crowd has 1 to 10,000 people, not {self.people}.")
        if min(self.bad_share, self.expert_share) < 0 or not self.bad_share + self.expert_share <= 1:
            raise AnnotationError("The shares of bad people and of experts are 0 to 1, and together 1 at most.")
        if not 0.5 < self.skills[0] <= self.skills[1] < 1:
            raise AnnotationError(f"Skills lie between 0.5 and 1, the lower first; these are {self.skills}.")
        if not self.bad_kinds or any(kind in GOOD for kind in self.bad_kinds):
            raise AnnotationError(f"The bad kinds are {', '.join(BAD)}.")
        if self.rate_per_hour is not None and not 0 < self.rate_per_hour < 1e6:
            raise AnnotationError(f"People arrive at a rate above 0 an hour, not at {self.rate_per_hour:g}.")

    @property
    def counts(self) -> dict[Kind, int]:
        """Return how many there are of each kind; the bad are spread evenly over their kinds, in turn."""
        bad, experts = round(self.people * self.bad_share), round(self.people * self.expert_share)
        counts = {Kind.CAREFUL: self.people - bad - experts, Kind.EXPERT: experts}
        for kind in self.bad_kinds:
            counts[kind] = len(range(self.bad_kinds.index(kind), bad, len(self.bad_kinds)))
        return {kind: number for kind, number in counts.items() if number}


def read_kinds(names: Sequence[str]) -> tuple[Kind, ...]:
    """Return bad kinds by their names, each once. Raises `AnnotationError` with those there are."""
    if unknown := [name for name in names if name not in BAD]:
        raise AnnotationError(f"There is no bad kind {unknown[0]!r}. The kinds are: {', '.join(BAD)}.")
    return tuple(dict.fromkeys(Kind(name) for name in names))


def read_habits(values: Mapping[str, float]) -> Habits:
    """Return habits by their names. Raises `AnnotationError` with those there are."""
    if unknown := sorted(set(values) - set(HABITS)):
        raise AnnotationError(f"There is no habit {unknown[0]!r}. The habits are: {', '.join(HABITS)}.")
    return Habits(**values)


def draw_people(mix: Mix, *, seed: int) -> list[Person]:
    """Return the people of a crowd in the order they arrive; the same seed gives the same ones."""
    draw = Random(f"{seed}\npeople")
    kinds = [kind for kind, number in mix.counts.items() for _ in range(number)]
    draw.shuffle(kinds)
    people, arrives = [], 0.0
    for number, kind in enumerate(kinds, start=1):
        if mix.rate_per_hour is not None:
            arrives += draw.expovariate(mix.rate_per_hour / 3600)
        people.append(_person(f"{seed}-{number:03}", kind, mix, draw, arrives))
    return people


def _person(name: str, kind: Kind, mix: Mix, draw: Random, arrives: float) -> Person:
    skill, pace = draw.uniform(*mix.skills), draw.lognormvariate(0.0, PACE_SPREAD)
    first = draw.random() < 0.5
    if kind is Kind.EXPERT:
        skill, pace = (1 + skill) / 2, EXPERT_PACE * pace
    return Person(name, kind, skill, first=first, pace=pace, arrives_seconds=arrives)


def described(people: Sequence[Person], habits: Habits) -> dict[str, Any]:
    """Return a crowd as JSON holds it: what decides its answers beside the seed."""
    return {"people": [list(person) for person in people], "habits": asdict(habits)}
