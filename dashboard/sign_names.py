"""The signals in people's answers as a manager reads them: a name, the numbers in words, and what a flag means."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from annotation.models import Rater
from annotation.noticing import Signal
from annotation.ruling import rule_of
from annotation.scoring import Rule

NOTHING = "\u2013"


class SignRow(NamedTuple):
    """One signal of one person, in words; `chance` is what came by chance at most, or why nothing was tested."""

    name: str
    value: str
    usual: str
    n: int
    chance: str
    is_flagged: bool
    meaning: str


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def _times(value: float) -> str:
    return f"{value:.2g} \N{MULTIPLICATION SIGN}"


def _in_a_row(value: float) -> str:
    return f"{value:.0f} in a row"


# What a manager reads of a rule that paused somebody; the person reads more (`annotation.ruling.reason_for`).
RULES: dict[Rule, str] = {
    Rule.GOLD: "By the rule on gold: too many answers were other than the known ones.",
    Rule.ATTENTION: "By the rule on attention checks.",
    Rule.FIRST_GOLD: "They did not pass the first gold pairs.",
}


class _Words(NamedTuple):
    name: str
    show: Callable[[float], str]
    meaning: str


WORDS: dict[Signal, _Words] = {
    Signal.FAST: _Words(
        "Time for the length read, of others' times",
        _times,
        "Much faster than others on texts as long, so hardly read.",
    ),
    Signal.STRAIGHT: _Words(
        "Longest run of one side",
        _in_a_row,
        "A coin draws which response stands first, so content gives no long runs of a side.",
    ),
    Signal.SIDE: _Words(
        "Chose what stood first",
        _share,
        "One side of the screen is chosen whatever stands there.",
    ),
    Signal.WAVERING: _Words(
        "Same answer when asked again",
        _share,
        "Hidden repeats get other answers than before more often than others' do.",
    ),
    Signal.GOLD: _Words(
        "Right on gold",
        _share,
        "Wrong where the answer is known, more often than somebody is who reads.",
    ),
    Signal.APART: _Words(
        "Answers as most others do",
        _share,
        "Agrees less with the others than they do with each other. It may be a view of its own: read some answers.",
    ),
    Signal.ALIKE: _Words(
        "Same answers as one other",
        _share,
        "Two people answer alike more than any others do: perhaps one person with two accounts, or one copies.",
    ),
}


def why_paused(rater: Rater) -> str:
    """Return why a person is paused, as a manager reads it; nothing where they are not."""
    rule = rule_of(rater)
    return RULES[rule] if rule else rater.paused_reason


def sign_row(sign: Mapping[str, Any]) -> SignRow:
    """Return a sign of the report on quality in words."""
    words = WORDS[Signal(sign["signal"])]
    name = f"{words.name}: {sign['other']}" if sign["other"] else words.name
    return SignRow(
        name=name,
        value=NOTHING if sign["value"] is None else words.show(sign["value"]),
        usual=NOTHING if sign["usual"] is None else words.show(sign["usual"]),
        n=sign["n"],
        chance=sign["too_few"] or _chance(sign["adjusted"]),
        is_flagged=sign["flagged"],
        meaning=words.meaning,
    )


def _chance(adjusted: float | None) -> str:
    if adjusted is None:
        return NOTHING
    return "under 0.001" if adjusted < 0.001 else f"{adjusted:.3f}"
