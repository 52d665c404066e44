"""What each signal is called, which way it is expected to point, and how a reason is worded."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

DIFFERS = "differs from "
IN_CATEGORY = "category "
# What `routing.signals.extending` adds: tags of the prompt, and columns of the file by name, or by name and value.
COSINE = "cosine"
TAG = "tag "
SUBJECT, FACT = "subject ", "has_"
COLUMN = "column "


class Signal(NamedTuple):
    """A signal: +1 where a higher value is expected to mean "wrong more often", -1 for the reverse, and its words.

    `monotone` binds LightGBM to the expected direction. `words(value, judge)` is a clause a manager can read.
    """

    direction: int
    monotone: bool
    words: Callable[[float, str], str]


# A difference that rounds to nothing, as words put it.
NOTHING = 0.005


def _either(yes: str, no: str) -> Callable[[float, str], str]:
    return lambda value, judge: (yes if value >= 0.5 else no).format(judge=judge)


def _says(text: str) -> Callable[[float, str], str]:
    return lambda value, judge: text.format(judge=judge, value=value)


def _counts(none: str, one: str, more: str) -> Callable[[float, str], str]:
    """Return words for a count; `more` takes {value}."""
    return lambda value, judge: (none if value < 0.5 else one if value < 1.5 else more).format(judge=judge, value=value)


def _share(none: str, some: str, every: str) -> Callable[[float, str], str]:
    """Return words for a share; `some` takes {value}."""
    return lambda value, judge: (none if value < NOTHING else every if value > 1 - NOTHING else some).format(
        judge=judge, value=value
    )


def _ahead(where: str, *, what: str = "the picked {of}", of: str = "model") -> Callable[[float, str], str]:
    """Return words for how far the pick is ahead of the other, -1 to 1, in points of a hundred."""
    what = what.format(of=of)

    def words(value: float, judge: str) -> str:
        place = where.format(judge=judge)
        if abs(value) < NOTHING:
            return f"{place} the two {of}s do equally well"
        return f"{place} {what} is {'ahead' if value > 0 else 'behind'} by {_points(value)}"

    return words


def _apart(where: str, of: str) -> Callable[[float, str], str]:
    def words(value: float, judge: str) -> str:
        place = where.format(judge=judge)
        return f"{place} the two {of}s " + ("do equally well" if value < NOTHING else f"are {_points(value)} apart")

    return words


def _leans(who: str) -> Callable[[float, str], str]:
    def words(value: float, judge: str) -> str:
        name = who.format(judge=judge)
        if abs(value) < NOTHING:
            return f"between these two models, {name} favoured neither elsewhere"
        side = "picked" if value > 0 else "other"
        return f"between these two models, {name} favoured the {side} one by {_points(value)} elsewhere"

    return words


def _sided(more: str, less: str, same: str) -> Callable[[float, str], str]:
    """Return words for a value that is above, below or about 0."""
    return lambda value, judge: (same if abs(value) < NOTHING else more if value > 0 else less).format(judge=judge)


def _points(value: float) -> str:
    points = max(1, round(100 * abs(value)))
    return f"{points} point{'' if points == 1 else 's'}"


def _sure(who: str, none: str) -> Callable[[float, str], str]:
    """Return words for a margin, 0 to 1: how far the chance of the pick is from one half, twice."""
    return lambda value, judge: (
        none.format(judge=judge) if value < NOTHING else f"{who.format(judge=judge)} {(1 + value) / 2:.0%} sure"
    )


def _times(value: float) -> str:
    """Return how many times as long one text is, from the gap over the sum of both, 0 to 1."""
    return f"{(1 + value) / (1 - value):.1f} times as long as" if value < 0.95 else "all there is beside"


def _lengths(value: float, judge: str) -> str:
    return f"one response is {_times(value)} the other" if value >= 0.025 else "the responses are about as long"


def _picked_length(value: float, judge: str) -> str:
    if abs(value) < 0.025:
        return "the responses are about as long"
    first, second = ("picked", "other") if value > 0 else ("other", "picked")
    return f"the {first} response is {_times(abs(value))} the {second}"


def _more_lists(value: float, judge: str) -> str:
    n = round(abs(value))
    if n == 0:
        return "both responses have as many list items"
    return f"the picked response has {n:,} list item{'' if n == 1 else 's'} {'more' if value > 0 else 'fewer'}"


SIGNALS: dict[str, Signal] = {
    "flipped": Signal(
        1,
        True,
        _either("{judge} changed its answer when the order was swapped", "{judge} kept its answer in both orders"),
    ),
    "asked_both_orders": Signal(-1, False, _either("{judge} saw both orders", "{judge} saw one order only")),
    "margin": Signal(-1, True, _sure("{judge} is", "{judge} saw no difference")),
    "label_mass": Signal(-1, False, _says("{judge} put {value:.0%} of its probability on the answers it was offered")),
    "tie": Signal(1, False, _either("{judge} called it a tie", "{judge} picked a side")),
    "picked_first": Signal(
        1, False, _either("{judge} picked the response it saw first", "{judge} did not pick the first response")
    ),
    "score_gap": Signal(-1, True, _says("{judge}'s two scores are {value:.1f} apart")),
    "self_disagrees": Signal(
        1, True, _either("{judge} contradicts itself when asked in another way", "{judge} agrees with itself")
    ),
    "others_disagree": Signal(
        1,
        True,
        _share(
            "no other judge answers differently from {judge}",
            "{value:.0%} of the other judges answer differently from {judge}",
            "all other judges answer differently from {judge}",
        ),
    ),
    "others_opposed": Signal(
        1,
        True,
        _share(
            "no other judge prefers the other response",
            "{value:.0%} of the other judges prefer the other response",
            "all other judges prefer the other response",
        ),
    ),
    "others_flipped": Signal(
        1,
        False,
        _share(
            "no other judge changed with the order",
            "{value:.0%} of the other judges changed with the order",
            "all other judges changed with the order",
        ),
    ),
    "other_judges": Signal(
        -1, False, _counts("no other judge answered", "one other judge answered", "{value:.0f} other judges answered")
    ),
    "learned_differs": Signal(
        1,
        True,
        lambda value, judge: f"a model that learned from people's answers is {_points(value)} away from {judge}",
    ),
    "prob_spread": Signal(1, True, lambda value, judge: f"the judges spread by {_points(value)} of 100"),
    "jury_margin": Signal(-1, True, _sure("all judges together are", "all judges together see no difference")),
    "pick_form": Signal(-1, True, _ahead("in {judge}'s other pairs")),
    "form_gap": Signal(-1, False, _apart("in {judge}'s other pairs", "model")),
    "others_form": Signal(-1, True, _ahead("with other judges")),
    "pick_record": Signal(-1, True, _ahead("in {judge}'s other pairs", of="response")),
    "record_gap": Signal(-1, False, _apart("in {judge}'s other pairs", "response")),
    "others_record": Signal(-1, True, _ahead("with other judges", of="response")),
    "record_level": Signal(-1, False, _says("the two responses win {value:.0%} of {judge}'s other pairs on average")),
    "record_picked": Signal(-1, False, _says("the picked response wins {value:.0%} of {judge}'s other pairs with it")),
    "record_passed": Signal(1, False, _says("the other response wins {value:.0%} of {judge}'s other pairs with it")),
    "form_level": Signal(-1, False, _says("the two models win {value:.0%} of {judge}'s other pairs on average")),
    "form_picked": Signal(-1, False, _says("the picked model wins {value:.0%} of {judge}'s other pairs with it")),
    "form_passed": Signal(1, False, _says("the other model wins {value:.0%} of {judge}'s other pairs with it")),
    "tie_form": Signal(1, False, _says("{judge} calls {value:.0%} of the two models' other pairs a tie")),
    "pairing_form": Signal(-1, False, _leans("{judge}")),
    "judges_record_level": Signal(
        -1, False, _says("with all judges, the two responses win {value:.0%} of other pairs on average")
    ),
    "judges_record_picked": Signal(
        -1, False, _says("with all judges, the picked response wins {value:.0%} of other pairs")
    ),
    "judges_record_passed": Signal(
        1, False, _says("with all judges, the other response wins {value:.0%} of other pairs")
    ),
    "judges_form_level": Signal(
        -1, False, _says("with all judges, the two models win {value:.0%} of other pairs on average")
    ),
    "judges_form_picked": Signal(-1, False, _says("with all judges, the picked model wins {value:.0%} of other pairs")),
    "judges_form_passed": Signal(1, False, _says("with all judges, the other model wins {value:.0%} of other pairs")),
    "judges_tie_form": Signal(1, False, _says("judges call {value:.0%} of the two models' other pairs a tie")),
    "judges_pairing_form": Signal(-1, False, _leans("the judges together")),
    "group_flips": Signal(
        1, True, _says("{judge} changed {value:.0%} of its other answers on this prompt with the order")
    ),
    "group_disagreement": Signal(1, True, _says("other judges differ on {value:.0%} of this prompt's other pairs")),
    "length_gap": Signal(-1, False, _lengths),
    "pick_length": Signal(1, False, _picked_length),
    "length_pull": Signal(
        1,
        False,
        _sided(
            "{judge}'s pick fits its taste for length",
            "{judge}'s pick goes against its taste for length",
            "{judge}'s taste for length has no part in its pick",
        ),
    ),
    "pick_lists": Signal(1, False, _more_lists),
    "words": Signal(1, False, lambda value, judge: f"the responses have {np.expm1(value):,.0f} words together"),
    "prompt_words": Signal(1, False, lambda value, judge: f"the prompt has {np.expm1(value):,.0f} words"),
    "turns": Signal(
        1, False, _counts("the prompt has no turns", "the prompt has one turn", "the prompt has {value:.0f} turns")
    ),
    "similarity": Signal(1, False, _says("the responses share {value:.0%} of their words")),
    COSINE: Signal(1, False, _says("the responses are {value:.0%} alike in meaning")),
    "has_code": Signal(1, False, _either("there is code", "there is no code")),
    "has_digits": Signal(1, False, _either("there are numbers", "there are no numbers")),
    "refusal": Signal(1, False, _either("a response refuses", "no response refuses")),
    "pick_refuses": Signal(
        1,
        False,
        _sided(
            "the picked response refuses, the other does not",
            "the other response refuses, the picked one does not",
            "neither response or both refuse",
        ),
    ),
    "empty": Signal(-1, False, _either("a response is empty", "no response is empty")),
    "language_known": Signal(-1, False, _either("the language is known", "the language is not known")),
    "rare_language": Signal(
        1, False, _either("the prompt is in a language that few are in", "the prompt is in the usual language")
    ),
    "foreign": Signal(
        1, False, _either("a response is in another language than the prompt", "prompt and responses share a language")
    ),
    "pick_foreign": Signal(
        1,
        False,
        _sided(
            "the picked response is in another language than the prompt, the other is not",
            "the other response is in another language than the prompt, the picked one is not",
            "neither response or both are in another language than the prompt",
        ),
    ),
    "asks_form": Signal(
        1,
        False,
        _counts(
            "the prompt asks for nothing about the answer's form",
            "the prompt asks for one thing about the answer's form",
            "the prompt asks for {value:.0f} things about the answer's form",
        ),
    ),
    "asks_json": Signal(1, False, _either("the prompt asks for JSON or the like", "the prompt asks for no JSON")),
    "asks_list": Signal(1, False, _either("the prompt asks for a list", "the prompt asks for no list")),
    "asks_length": Signal(1, False, _either("the prompt sets a length", "the prompt sets no length")),
    "asks_table": Signal(1, False, _either("the prompt asks for a table", "the prompt asks for no table")),
    "asks_code": Signal(1, False, _either("the prompt asks for code", "the prompt asks for no code")),
}


def signal_of(name: str) -> Signal:
    """Return what is known about a column of signals. Raises `KeyError` for a name that is never made."""
    if name.startswith(DIFFERS):
        other = name.removeprefix(DIFFERS)
        return Signal(1, True, lambda value, judge: _other_judge(other, value, judge))
    if name.startswith(IN_CATEGORY):
        words = f"the prompt's category is {{}}{name.removeprefix(IN_CATEGORY)}"
        return Signal(1, False, lambda value, judge: words.format("" if value >= 0.5 else "not "))
    if name.startswith(TAG):
        return Signal(1, False, _tag_words(name.removeprefix(TAG)))
    if name.startswith(COLUMN):
        return Signal(1, False, _column_words(name.removeprefix(COLUMN)))
    return SIGNALS[name]


def _other_judge(other: str, value: float, judge: str) -> str:
    return f"{other} is {_points(value)} away from {judge}" if value >= NOTHING else f"{other} says what {judge} says"


# Signals that tell of the same thing: only the strongest of them is given as a reason.
ABOUT = {
    "length": {"length_gap", "pick_length", "length_pull"},
    "sure": {"margin", "tie"},
    "jury": {"others_disagree", "others_opposed", "prob_spread", "jury_margin", "other_judges"},
    "responses": {"pick_record", "record_gap", "others_record"},
    "models": {"pick_form", "form_gap", "others_form"},
    "ties": {"tie_form", "judges_tie_form"},
    "refusal": {"refusal", "pick_refuses"},
    "language": {"foreign", "pick_foreign", "rare_language", "language_known"},
}
_ABOUT = {name: thing for thing, names in ABOUT.items() for name in names}
# Said of the pick against the other: where the judge picked neither, or both are alike, they tell nothing.
OF_THE_PICK = frozenset(
    {"pick_form", "others_form", "pick_record", "others_record", "pick_length", "length_pull", "pick_lists"}
    | {"pick_refuses", "pick_foreign", "pairing_form", "judges_pairing_form"}
)


def about(name: str) -> str:
    """Return what a signal tells of: the same text for signals of which one reason is enough."""
    if name.startswith(DIFFERS):
        return "jury"
    kept = name.removeprefix("judges_").rpartition("_")[0]
    if kept in ("form", "record", "pairing") and name not in _ABOUT:
        return "responses" if kept == "record" else "models"
    return _ABOUT.get(name, name)


def tells(name: str, value: float) -> bool:
    """Say whether a value is worth a reason: known, and not the nothing of a signal that speaks of the pick."""
    return not (np.isnan(value) or (name in OF_THE_PICK and abs(value) < NOTHING))


def _tag_words(tag: str) -> Callable[[float, str], str]:
    if tag.startswith(SUBJECT):
        return _either(
            f"the prompt is about {tag.removeprefix(SUBJECT)}", f"the prompt is not about {tag[len(SUBJECT) :]}"
        )
    if tag.startswith(FACT):
        things = tag.removeprefix(FACT).replace("_", " ")
        return _either(f"the prompt has {things}", f"the prompt has no {things}")
    return _says(f"the prompt's {tag.replace('_', ' ')} is {{value:.0%}} of the most")


def _column_words(column: str) -> Callable[[float, str], str]:
    name, equals, value = column.partition("=")
    if equals:
        return lambda known, judge: f"{name} in the file is {'' if known >= 0.5 else 'not '}{value}"
    return lambda known, judge: f"{name} in the file is {known:g}"
