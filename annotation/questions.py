"""The questions on a screen: one row of options each, whatever the template, so that page, keys and form agree.

A choice is a row of degrees, a rating a row of numbers for a response and a criterion, a rank a row of ranks for a
response, best and worst a row of responses each. Everything is named as shown; `annotation.forms` turns what was sent
into the stored order.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.models import Criterion, Template
from annotation.models.pairs import content_hash
from annotation.questionnaires import Questionnaire

Text = str | Promise
# A to H: what responses are called on the screen.
LETTERS = "ABCDEFGH"
# The degrees of each scale: what is sent for them, from the left.
SCALES = {
    2: ("first2", "second2"),
    3: ("first2", "tie", "second2"),
    5: ("first2", "first1", "tie", "second1", "second2"),
    7: ("first3", "first2", "first1", "tie", "second1", "second2", "second3"),
}
OUTSIDE = ("both_bad", "unsure")
_DEGREES: dict[str, tuple[str, Text, Text]] = {
    # value: side, degree, name
    "first3": ("A", gettext_lazy("much"), gettext_lazy("A is much better")),
    "first2": ("A", gettext_lazy("better"), gettext_lazy("A is better")),
    "first1": ("A", gettext_lazy("a bit"), gettext_lazy("A is a bit better")),
    "tie": ("=", gettext_lazy("tie"), gettext_lazy("Equally good")),
    "second1": ("B", gettext_lazy("a bit"), gettext_lazy("B is a bit better")),
    "second2": ("B", gettext_lazy("better"), gettext_lazy("B is better")),
    "second3": ("B", gettext_lazy("much"), gettext_lazy("B is much better")),
    "both_bad": ("", gettext_lazy("Both bad"), gettext_lazy("Both bad")),
    "unsure": ("", gettext_lazy("Can't judge"), gettext_lazy("Can't judge")),
}


class Kind(StrEnum):
    """What a row asks."""

    CHOICE = "choice"
    RATING = "rating"
    RANK = "rank"
    PICK = "pick"


class Option(NamedTuple):
    """One option: what is sent, its key, what is written on it in two parts, and its whole name."""

    value: str
    key: str
    side: str
    degree: Text
    name: Text


class Question(NamedTuple):
    """A row: the name of its field, what it asks, and its options in order. `side` is the response it is about."""

    name: str
    kind: Kind
    legend: Text
    hint: str
    side: str
    options: tuple[Option, ...]
    outside: tuple[Option, ...] = ()

    @property
    def values(self) -> set[str]:
        """Return what may be sent."""
        return {option.value for option in (*self.options, *self.outside)}


class Asked(NamedTuple):
    """What one screen asks: the project's questionnaire, the criteria that get rows, and how many responses."""

    questionnaire: Questionnaire
    criteria: tuple[Criterion, ...] = ()
    responses: int = 2

    @property
    def letters(self) -> str:
        """Return what the responses are called, in the order shown."""
        return LETTERS[: self.responses]

    @property
    def key(self) -> str:
        """Return what tells whether a form was made for these questions.

        Made of what the numbers and places that it sends stand for, whatever its language: a reason is sent by its
        place in the list, a rating by the place of its criterion.
        """
        asked = self.questionnaire
        shape = [asked.template, asked.by_criterion, asked.rating_points, asked.confidence, self.responses]
        lists = [asked.reasons, asked.content_flags, sorted(asked.words.items())]
        criteria = [(one.name, one.position == 0) for one in self.criteria]
        return content_hash([shape, lists, criteria])[:16]

    def questions(self) -> list[Question]:
        """Return the rows in the order they are answered."""
        asked = self.questionnaire
        match asked.template:
            case Template.RANKING:
                return [_rank(asked, letter, self.letters) for letter in self.letters]
            case Template.BEST_WORST:
                return [_pick(asked, name, self.letters) for name in ("best", "worst")]
        rows: list[Question] = []
        if asked.asks_ratings:
            rated = self.rated
            rows += [
                _rating(asked, letter, number, criterion, alone=len(rated) == 1)
                for letter in self.letters
                for number, criterion in enumerate(rated)
            ]
        if asked.asks_choice:
            if asked.by_criterion:
                rows += [_choice(asked, f"choice-{number}", one) for number, one in enumerate(self.further)]
            rows.append(_choice(asked, "answer", None))
        return rows

    @property
    def overall(self) -> Criterion | None:
        """Return the criterion on the whole, where ratings need its row."""
        return next((one for one in self.criteria if one.position == 0), None)

    @property
    def further(self) -> tuple[Criterion, ...]:
        """Return the criteria beside the whole."""
        return tuple(one for one in self.criteria if one.position != 0)

    @property
    def rated(self) -> tuple[Criterion, ...]:
        """Return the criteria that responses are rated on: the further ones where asked, the whole always, last."""
        whole = tuple(one for one in self.criteria if one.position == 0)
        return (*(self.further if self.questionnaire.by_criterion else ()), *whole)


def _worded(asked: Questionnaire, value: str, usual: Text) -> Text:
    return asked.words.get(value) or usual


def _degree(asked: Questionnaire, value: str, key: str) -> Option:
    side, degree, name = _DEGREES[value]
    worded = asked.words.get(value)
    return Option(value, key, side, worded or degree, worded or name)


def _choice(asked: Questionnaire, name: str, criterion: Criterion | None) -> Question:
    keys = asked.key_of
    scale = SCALES[asked.points]
    outside = [value for value in OUTSIDE if (asked.both_bad if value == "both_bad" else asked.unsure)]
    if criterion is None:
        legend, hint = _worded(asked, "question", gettext_lazy("Which response is better?")), ""
    else:
        legend, hint = criterion.name, criterion.description
        outside = []
    return Question(
        name=name,
        kind=Kind.CHOICE,
        legend=legend,
        hint=hint,
        side="",
        options=tuple(_degree(asked, value, keys[f"step{step}"]) for step, value in enumerate(scale, start=1)),
        outside=tuple(_degree(asked, value, keys[value]) for value in outside),
    )


def _numbers(asked: Questionnaire, most: int) -> tuple[Option, ...]:
    keys = asked.key_of
    return tuple(
        Option(str(number), keys[f"step{number}"], str(number), "", str(number)) for number in range(1, most + 1)
    )


def _rating(asked: Questionnaire, letter: str, number: int, criterion: Criterion, *, alone: bool) -> Question:
    whole = criterion.position == 0
    name = _("all in all") if whole else criterion.name
    return Question(
        name=f"rating-{letter}-{number}",
        kind=Kind.RATING,
        legend=_("Rate %(response)s") % {"response": letter} if alone else f"{letter}: {name}",
        hint="" if whole else criterion.description,
        side=letter,
        options=_numbers(asked, asked.rating_points),
    )


def _rank(asked: Questionnaire, letter: str, letters: Sequence[str]) -> Question:
    return Question(
        name=f"rank-{letter}",
        kind=Kind.RANK,
        legend=_("Rank of %(response)s") % {"response": letter},
        hint="",
        side=letter,
        options=_numbers(asked, len(letters)),
    )


def _pick(asked: Questionnaire, name: str, letters: Sequence[str]) -> Question:
    keys = asked.key_of
    return Question(
        name=name,
        kind=Kind.PICK,
        legend=_("The best") if name == "best" else _("The worst"),
        hint="",
        side="",
        options=tuple(
            Option(letter, keys[f"step{step}"], letter, "", letter) for step, letter in enumerate(letters, start=1)
        ),
    )
