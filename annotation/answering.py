"""What a person answers, in the stored order, and what of it can be stored."""

from collections import Counter
from collections.abc import Collection, Mapping
from math import isfinite
from typing import Any, NamedTuple
from uuid import UUID

from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.errors import AnswerInvalid, RationaleMissing
from annotation.models import Basis, Choice, Preference, ShownOrder

RATIONALE_LIMIT = 20_000
NOTE_LIMIT = 2_000
MOST_SPANS, SPAN_LIMIT = 40, 2_000
# The longest reason and as many of the longest quotes as there may be, with what JSON puts around and into them.
DRAFT_LIMIT = 200_000
# What an annotator's text is called where it cannot be stored; managers' go by their own names.
FIELDS: dict[str, Promise] = {
    "rationale": gettext_lazy("reason"),
    "note": gettext_lazy("note"),
    "citation": gettext_lazy("quote"),
    "draft": gettext_lazy("draft"),
}
# Two people who agree settle a pair; one alone never does.
AGREEING = 2
# What the screen sends, by the side on which a response was shown, and the stored side it means.
SHOWN_SIDES = {
    ShownOrder.AB: {"first": Choice.A, "second": Choice.B},
    ShownOrder.BA: {"first": Choice.B, "second": Choice.A},
}


class ByCriterion(NamedTuple):
    """A choice by one criterion, in the stored order."""

    criterion_id: UUID
    choice: str
    strength: int | None = None


class Rated(NamedTuple):
    """A rating of one response: its stored side (a or b), the criterion, the score."""

    side: str
    criterion_id: UUID
    value: float


class Reason(NamedTuple):
    """A reason from the project's list, about one response: a or b, or its position in a slate."""

    side: str
    reason: str


class Span(NamedTuple):
    """A part of a response that the reason cites; the offsets count characters of its text as shown."""

    side: str
    start: int
    end: int
    text: str


class Answer(NamedTuple):
    """An answer in the *stored* order of the responses (`stored_choice` maps what the screen sends).

    `strength` is 1 to 3 and only goes with a or b. For a slate there is no choice but `ranks`, one a stored position,
    1 the best. The seconds are active time: `seconds` in all, of which reading and deciding.
    """

    choice: str = ""
    strength: int | None = None
    rationale: str = ""
    seconds: float | None = None
    reading_seconds: float | None = None
    deciding_seconds: float | None = None
    basis: str = Basis.CHOICE
    by_criterion: tuple[ByCriterion, ...] = ()
    ratings: tuple[Rated, ...] = ()
    ranks: tuple[int, ...] = ()
    confidence: int | None = None
    reasons: tuple[Reason, ...] = ()
    spans: tuple[Span, ...] = ()
    content_flags: tuple[str, ...] = ()

    @property
    def is_order(self) -> bool:
        """Say whether it orders a slate."""
        return bool(self.ranks)

    def checked(self, *, rationale_required: bool) -> "Answer":
        """Return the answer as it will be stored, or raise `AnswerInvalid` naming the field."""
        if not self.is_order:
            _check_choice(self.choice, self.strength)
        for one in self.by_criterion:
            _check_choice(one.choice, one.strength)
        for name in ("seconds", "reading_seconds", "deciding_seconds"):
            _check_seconds(getattr(self, name))
        rationale = storable(self.rationale, field="rationale", limit=RATIONALE_LIMIT).strip()
        if rationale_required and not rationale and self.choice != Choice.UNSURE:
            raise RationaleMissing(
                _("This project asks for a reason with every choice. Say in a sentence why you chose so.")
            )
        if len(self.spans) > MOST_SPANS:
            raise AnswerInvalid(_("The reason cites more than %(most)d parts. Remove some.") % {"most": MOST_SPANS})
        for span in self.spans:
            storable(span.text, field="citation", limit=SPAN_LIMIT)
        choice = "" if self.is_order else Choice(self.choice).value
        return self._replace(choice=choice, rationale=rationale)

    def said(self) -> "Answer":
        """Return what it says, without the time it took: two tries of one answer are equal in this."""
        return self._replace(seconds=None, reading_seconds=None, deciding_seconds=None)

    def capped(self, seconds: float) -> "Answer":
        """Return the answer with no time longer than this: a browser's clock can claim any."""

        def least(value: float | None) -> float | None:
            return None if value is None else min(value, seconds)

        return self._replace(
            seconds=least(self.seconds),
            reading_seconds=least(self.reading_seconds),
            deciding_seconds=least(self.deciding_seconds),
        )


def _check_choice(choice: str, strength: int | None) -> None:
    if choice not in Choice.values:
        raise AnswerInvalid(f"The choice {choice!r} is not known. It is one of: {', '.join(Choice.values)}.")
    if strength is None:
        return
    if choice not in (Choice.A, Choice.B):
        raise AnswerInvalid(f"A strength goes with choosing one response, not with {choice!r}. Leave it out.")
    if type(strength) is not int or not 1 <= strength <= 3:
        raise AnswerInvalid(f"The strength is {strength!r}; it is 1 (slightly), 2 (better) or 3 (much better).")


def _check_seconds(seconds: float | None) -> None:
    if seconds is not None and not (isfinite(seconds) and seconds >= 0):
        raise AnswerInvalid(f"The seconds spent are {seconds!r}; they are a number from 0 up, or nothing.")


def is_settled(choices: Collection[str]) -> bool:
    """Say whether answers agree enough for a task to want no more: more than half of those that decide, two at least.

    "Cannot judge" decides nothing.
    """
    deciding = Counter(choice for choice in choices if choice != Choice.UNSURE)
    most = max(deciding.values(), default=0)
    return most >= AGREEING and 2 * most > deciding.total()


def stored_choice(shown_choice: str, shown_order: str) -> Choice:
    """Return the stored choice behind what the screen sends: first, second, tie, both_bad or unsure.

    Raises `AnswerInvalid` where either is not known; nothing is guessed.
    """
    sides = SHOWN_SIDES.get(ShownOrder(shown_order)) if shown_order in ShownOrder.values else None
    if sides is None:
        raise AnswerInvalid(f"The order shown is {shown_order!r}; it is 'ab' or 'ba'.")
    meanings = {**sides, "tie": Choice.TIE, "both_bad": Choice.BOTH_BAD, "unsure": Choice.UNSURE}
    if shown_choice not in meanings:
        raise AnswerInvalid(f"The choice {shown_choice!r} is not known. It is one of: {', '.join(meanings)}.")
    return meanings[shown_choice]


def choice_in_words(stored: Preference, shown_order: str) -> str:
    """Say a stored choice by the letters on the screen of somebody who saw the responses in this order."""
    said = {Choice.TIE: _("Equally good"), Choice.BOTH_BAD: _("Both bad"), Choice.UNSURE: _("Can't judge")}
    if (choice := Choice(stored.choice)) in said:
        return said[choice]
    first = SHOWN_SIDES[ShownOrder(shown_order)]["first"] == choice
    degrees = {1: _("%(side)s is a bit better"), 2: _("%(side)s is better"), 3: _("%(side)s is much better")}
    return degrees[stored.strength or 2] % {"side": "A" if first else "B"}


def storable(text: str, *, field: str, limit: int) -> str:
    """Return the text, or raise `AnswerInvalid`: both databases must give back exactly what was sent.

    PostgreSQL stores no NUL, and no database encodes half of a surrogate pair.
    """
    named = {"field": FIELDS.get(field, field)}
    if "\x00" in text:
        raise AnswerInvalid(_("The %(field)s contains a NUL character. Remove it and send again.") % named)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise AnswerInvalid(
            _("The %(field)s contains half of a broken character (a lone surrogate). Remove it.") % named
        )
    if len(text) > limit:
        raise AnswerInvalid(
            _("The %(field)s has %(length)s characters; %(limit)s fit. Shorten it.")
            % {**named, "length": _grouped(len(text)), "limit": _grouped(limit)}
        )
    return text


def _grouped(number: int) -> str:
    return number_format(number, force_grouping=True)


def storable_draft(draft: Mapping[str, Any]) -> dict[str, Any]:
    """Return a draft that both databases can store, or raise `AnswerInvalid`."""
    size = sum(_checked_size(value) + len(storable(key, field="draft", limit=100)) for key, value in draft.items())
    if size > DRAFT_LIMIT:
        raise AnswerInvalid(
            _("The draft has %(length)s characters; %(limit)s fit. Shorten it.")
            % {"length": _grouped(size), "limit": _grouped(DRAFT_LIMIT)}
        )
    return dict(draft)


def _checked_size(value: Any) -> int:
    match value:
        case str():
            return len(storable(value, field="draft", limit=DRAFT_LIMIT))
        case bool() | int() | None:
            return 1
        case float() if isfinite(value):
            return 1
        case list():
            return sum(1 + _checked_size(item) for item in value)
        case _:
            raise AnswerInvalid("A draft holds texts, numbers and lists of them; this one holds something else.")
