"""What a simulated person does on a pair: a pure function of the seed, the person and the pair.

Nothing depends on who came before or on a clock, so the same seed means the same answers whatever order pairs are
handed out in.
"""

from enum import StrEnum
from math import exp, log
from random import Random
from typing import NamedTuple

from annotation.models import Choice
from annotation.simulating.people import Habits, Kind, Person

OTHER = {Choice.A: Choice.B, Choice.B: Choice.A}
# Of who does not read.
CLICKER_TIES, SPAMMER_TIES, KEEPS_TO_SIDE = 0.1, 0.4, 0.95
SPAMMER_SECONDS, MODEL_SECONDS = 1.5, 25.0
HOURS_BETWEEN_VISITS = 6.0


class Item(NamedTuple):
    """A pair as the simulation knows it: its name, the true answer, and what a judge said of it, if one did."""

    key: str
    better: Choice
    characters: int = 1000
    is_gold: bool = False
    judged: Choice | None = None


class Turn(StrEnum):
    """What somebody does with the pair in front of them."""

    ANSWER = "answer"
    DOUBLE = "double"
    LEAVE = "leave"
    LAPSE = "lapse"


class Times(NamedTuple):
    """Active seconds, as a browser counts them."""

    reading: float
    deciding: float

    @property
    def total(self) -> float:
        """Return both together."""
        return self.reading + self.deciding


def accuracy_of(skill: float, ease: float) -> float:
    """Return how often somebody who reads is right: logistic in skill times ease (GLAD; Whitehill et al. 2009)."""
    return 1 / (1 + exp(-log(skill / (1 - skill)) * ease))


def ease_of(item: Item, habits: Habits, *, seed: int) -> float:
    """Return how easy a pair is: log-normal around 1; gold is never harder than usual, since it is picked as clear."""
    ease = Random(f"{seed}\nease\n{item.key}").lognormvariate(0.0, habits.ease_spread)
    return max(1.0, ease) if item.is_gold else ease


def answer_of(person: Person, item: Item, first: Choice, habits: Habits, *, seed: int) -> Choice:
    """Return what somebody answers on a pair of which `first` (a or b) stands first, in the stored order."""
    draw = Random(f"{seed}\n{person.name}\n{item.key}\n{first.value}")
    own_side = first if person.first else OTHER[first]
    match person.kind:
        case Kind.CLICKER:
            return Choice.TIE if draw.random() < CLICKER_TIES else draw.choice([Choice.A, Choice.B])
        case Kind.ONE_SIDED:
            return own_side if draw.random() < KEEPS_TO_SIDE else OTHER[own_side]
        case Kind.SPAMMER:
            return Choice.TIE if draw.random() < SPAMMER_TIES else first
        case Kind.MODEL:
            return model_answer(item, habits, seed=seed)
    if draw.random() < person.tie:
        return Choice.TIE
    if draw.random() < person.side:
        return own_side
    right = accuracy_of(person.skill, ease_of(item, habits, seed=seed))
    return item.better if draw.random() < right else _wrong(item.better, draw)


def model_answer(item: Item, habits: Habits, *, seed: int) -> Choice:
    """Return what a model says of a pair: the judge's own answer where there is one, else the same to all who ask."""
    if item.judged is not None:
        return item.judged
    draw = Random(f"{seed}\nmodel\n{item.key}")
    right = habits.model_on_gold if item.is_gold else habits.model_accuracy
    return item.better if draw.random() < right else _wrong(item.better, draw)


def _wrong(better: Choice, draw: Random) -> Choice:
    return OTHER[better] if better in OTHER else draw.choice([Choice.A, Choice.B])


def strength_of(person: Person, item: Item, choice: Choice, *, seed: int) -> int | None:
    """Return how sure somebody says they are of a side, 1 to 3: surer where they are right; None of no side."""
    if choice not in OTHER:
        return None
    draw = Random(f"{seed}\n{person.name}\n{item.key}\nstrength")
    return draw.choice([2, 3] if choice == item.better else [1, 2])


def times_of(person: Person, item: Item, habits: Habits, *, seed: int) -> Times:
    """Return how long a pair takes somebody: log-normal around reading it all and deciding, or around what they do."""
    draw = Random(f"{seed}\n{person.name}\n{item.key}\ntimes")
    reading, deciding = item.characters / habits.characters_a_second, habits.deciding_seconds
    match person.kind:
        case Kind.SPAMMER:
            reading, deciding = SPAMMER_SECONDS / 2, SPAMMER_SECONDS / 2
        case Kind.MODEL:
            reading, deciding = 5.0, MODEL_SECONDS - 5.0
        case Kind.CLICKER | Kind.ONE_SIDED:
            reading, deciding = reading / 5, deciding / 2
    drawn = person.pace * draw.lognormvariate(0.0, habits.time_spread)
    return Times(round(reading * drawn, 2), round(deciding * drawn, 2))


def turn_of(person: Person, number: int, habits: Habits, *, seed: int) -> Turn:
    """Return what somebody does at their turn of this number: usually they answer."""
    drawn = Random(f"{seed}\n{person.name}\nturn {number}").random()
    for turn, share in ((Turn.LEAVE, habits.leaves), (Turn.LAPSE, habits.lapses), (Turn.DOUBLE, habits.doubles)):
        if drawn < share:
            return turn
        drawn -= share
    return Turn.ANSWER


def is_late(person: Person, number: int, habits: Habits, *, seed: int) -> bool:
    """Say whether somebody who let a pair lapse sends its answer all the same."""
    return Random(f"{seed}\n{person.name}\nlate {number}").random() < habits.late


def hours_until_back(person: Person, visit: int, habits: Habits, *, seed: int) -> float | None:
    """Return after how many hours somebody comes back after their visit of this number; None: they do not."""
    draw = Random(f"{seed}\n{person.name}\nvisit {visit}")
    if draw.random() >= habits.comes_back:
        return None
    return draw.lognormvariate(log(HOURS_BETWEEN_VISITS), 0.7)
