"""What a person answers: the choice in stored order, and what of it can be stored."""

from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple

from annotation.errors import AnswerInvalid, RationaleMissing
from annotation.models import Choice, Preference, ShownOrder

RATIONALE_LIMIT = 20_000
NOTE_LIMIT = 2_000
DRAFT_LIMIT = 50_000
# What the screen sends, by the side on which a response was shown, and the stored side it means.
SHOWN_SIDES = {
    ShownOrder.AB: {"first": Choice.A, "second": Choice.B},
    ShownOrder.BA: {"first": Choice.B, "second": Choice.A},
}


class Answer(NamedTuple):
    """An answer in the *stored* order of the responses (`stored_choice` maps what the screen sends).

    `strength` is 1 to 3 and only goes with a or b; `seconds` is the active time spent.
    """

    choice: str
    strength: int | None = None
    rationale: str = ""
    seconds: float | None = None

    def checked(self, *, rationale_required: bool) -> "Answer":
        """Return the answer as it will be stored, or raise `AnswerInvalid` naming the field."""
        if self.choice not in Choice.values:
            raise AnswerInvalid(f"The choice {self.choice!r} is not known. It is one of: {', '.join(Choice.values)}.")
        self._check_strength()
        if self.seconds is not None and not (isfinite(self.seconds) and self.seconds >= 0):
            raise AnswerInvalid(f"The seconds spent are {self.seconds!r}; they are a number from 0 up, or nothing.")
        rationale = storable(self.rationale, field="rationale", limit=RATIONALE_LIMIT).strip()
        if rationale_required and not rationale and self.choice != Choice.UNSURE:
            raise RationaleMissing(
                "This project asks for a reason with every choice. Say in a sentence why you chose so."
            )
        return self._replace(choice=Choice(self.choice).value, rationale=rationale)

    def says_the_same_as(self, stored: Preference) -> bool:
        """Say whether a stored answer is this one. A retry may have taken longer, so the time is not compared."""
        return (self.choice, self.strength, self.rationale) == (stored.choice, stored.strength, stored.rationale)

    def _check_strength(self) -> None:
        if self.strength is None:
            return
        if self.choice not in (Choice.A, Choice.B):
            raise AnswerInvalid(f"A strength goes with choosing one response, not with {self.choice!r}. Leave it out.")
        if type(self.strength) is not int or not 1 <= self.strength <= 3:
            raise AnswerInvalid(
                f"The strength is {self.strength!r}; it is 1 (slightly), 2 (better) or 3 (much better)."
            )


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


def storable(text: str, *, field: str, limit: int) -> str:
    """Return the text, or raise `AnswerInvalid`: both databases must give back exactly what was sent.

    PostgreSQL stores no NUL, and no database encodes half of a surrogate pair.
    """
    if "\x00" in text:
        raise AnswerInvalid(f"The {field} contains a NUL character. Remove it and send again.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise AnswerInvalid(f"The {field} contains half of a broken character (a lone surrogate). Remove it.")
    if len(text) > limit:
        raise AnswerInvalid(f"The {field} has {len(text):,} characters; {limit:,} fit. Shorten it.")
    return text


def storable_draft(draft: Mapping[str, Any]) -> dict[str, Any]:
    """Return a draft that both databases can store, or raise `AnswerInvalid`."""
    size = sum(_checked_size(value) + len(storable(key, field="draft", limit=100)) for key, value in draft.items())
    if size > DRAFT_LIMIT:
        raise AnswerInvalid(f"The draft has {size:,} characters; {DRAFT_LIMIT:,} fit. Shorten it.")
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
