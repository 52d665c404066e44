"""What the annotation screen sends, in the words of the screen: sides as shown, never as stored."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotation.answering import (
    MOST_SPANS,
    RATIONALE_LIMIT,
    SPAN_LIMIT,
    Answer,
    ByCriterion,
    Rated,
    Reason,
    Span,
    storable,
    stored_choice,
)
from annotation.errors import AnswerInvalid
from annotation.models import Assignment, Basis, SkipReason, Template
from annotation.questions import Asked, Kind, Question

TIMES = ("seconds", "reading_seconds", "deciding_seconds")
CONFIDENCES = [(1, gettext_lazy("unsure")), (2, gettext_lazy("fairly sure")), (3, gettext_lazy("sure"))]
# Beyond the end of any text.
LAST_OFFSET = 10**9
NOT_HERE = gettext_lazy("That choice is not on this screen. Choose again, then submit.")


class AskedForm(forms.Form):
    """The fields of a screen: a row of options for every question, and what may be said beside them."""

    # Which questions the form was made for (`Asked.key`); a script that says nothing answers those of now.
    asks = forms.CharField(required=False)
    rationale = forms.CharField(required=False, strip=False)
    spans = forms.CharField(required=False)
    seconds = forms.FloatField(required=False, min_value=0)
    reading_seconds = forms.FloatField(required=False, min_value=0)
    deciding_seconds = forms.FloatField(required=False, min_value=0)

    # Whether a question may be left open, as in a draft.
    may_be_open = False

    def __init__(self, data: Any, *, asked: Asked) -> None:
        super().__init__(data)
        self.asked = asked
        self.questions = asked.questions()
        # Who cannot judge the pair has nothing to say on its parts.
        self.may_be_open = self.may_be_open or (bool(data) and data.get("answer") == "unsure")
        for question in self.questions:
            self.fields[question.name] = self._row(question)
        settings = asked.questionnaire
        self.fields["reason"] = self._chips(
            f"{letter}:{number}" for letter in asked.letters for number in range(len(settings.reasons))
        )
        self.fields["content_flag"] = self._chips(map(str, range(len(settings.content_flags))))
        if settings.confidence:
            self.fields["confidence"] = forms.TypedChoiceField(
                choices=[(number, "") for number, _name in CONFIDENCES],
                coerce=int,
                empty_value=None,
                required=not self.may_be_open,
                error_messages={
                    "required": _("Say how sure you are, then submit."),
                    "invalid_choice": NOT_HERE,
                },
            )

    def _row(self, question: Question) -> forms.Field:
        required = _("Nothing is chosen yet. Choose a side, tie, both bad or can't judge, then submit.")
        if len(self.questions) > 1:
            required = _("“%(question)s” is still open. Answer it, then submit.") % {"question": question.legend}
        return forms.ChoiceField(
            choices=[(value, value) for value in question.values],
            required=not self.may_be_open,
            error_messages={"required": required, "invalid_choice": NOT_HERE},
        )

    @staticmethod
    def _chips(values: Iterator[str]) -> forms.Field:
        choices = [(value, value) for value in values]
        return forms.MultipleChoiceField(choices=choices, required=False, error_messages={"invalid_choice": NOT_HERE})

    def clean_rationale(self) -> str:
        """Return the reason with the line breaks that scripts send: browsers' own forms send CR LF."""
        return str(self.cleaned_data["rationale"]).replace("\r\n", "\n")

    def sent(self) -> dict[str, Any]:
        """Return what was sent that belongs to the screen, as it is shown again: name to value, or list of values."""
        data = self.data
        lists = {"reason", "content_flag"}
        kept = {
            name: list(data.getlist(name)) if name in lists and hasattr(data, "getlist") else data.get(name, "")
            for name in self.fields
            if name in data
        }
        for name in TIMES:
            kept[name] = self.cleaned_data.get(name)
        return {name: value for name, value in kept.items() if value not in ("", None, [])}

    def error_line(self) -> str:
        """Return the first error in one line."""
        return next((str(message) for messages in self.errors.values() for message in messages), "")


class DraftForm(AskedForm):
    """What is on the screen so far; all of it may be missing."""

    may_be_open = True


class AnswerForm(AskedForm):
    """A whole answer."""

    def clean_asks(self) -> str:
        """Refuse a form made for other questions: what it sends may stand for something else by now."""
        sent = str(self.cleaned_data["asks"])
        if sent and sent != self.asked.key:
            raise forms.ValidationError(
                _("The questions of this project were changed since this page was opened. Reload it, then answer.")
            )
        return sent

    def clean_spans(self) -> tuple[Span, ...]:
        """Return the parts of responses that the reason cites, by the letters shown."""
        sent = self.cleaned_data["spans"]
        if not sent:
            return ()
        try:
            given = json.loads(sent)
            spans = tuple(self._span(one) for one in given)
        # Beside what is no JSON and no span: numbers without an end, and lists in lists in lists.
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise forms.ValidationError(
                _("What the reason cites cannot be read. Mark it again, then submit.")
            ) from error
        if len(spans) > MOST_SPANS:
            raise forms.ValidationError(
                _("The reason cites more than %(most)d parts. Remove some.") % {"most": MOST_SPANS}
            )
        return spans

    def _span(self, one: dict[str, Any]) -> Span:
        side, start, end = str(one["side"]), int(one["start"]), int(one["end"])
        if len(side) != 1 or side not in self.asked.letters or not 0 <= start < end <= LAST_OFFSET:
            raise ValueError(f"no span of this screen: {one}")
        return Span(side, start, end, str(one["text"])[:SPAN_LIMIT])

    def clean(self) -> dict[str, Any]:
        """Check what hangs together: ranks without gaps, a best that is not the worst, a reason where one is asked."""
        values = super().clean() or self.cleaned_data
        settings = self.asked.questionnaire
        if self.errors:
            return values
        if settings.template == Template.BEST_WORST and values["best"] == values["worst"]:
            raise forms.ValidationError(_("One response cannot be both the best and the worst. Choose two."))
        if settings.template == Template.RANKING and not settings.rank_ties:
            ranks = [values[question.name] for question in self.questions]
            if len(set(ranks)) < len(ranks):
                raise forms.ValidationError(_("Two responses have the same rank. Give each its own, then submit."))
        undecided = values.get("answer") in ("unsure", "tie", "both_bad")
        if settings.reasons_required and not values["reason"] and not undecided:
            raise forms.ValidationError(_("This project asks for a reason from the list. Pick one, then submit."))
        return values

    @property
    def revises(self) -> bool:
        """Say whether an answer that was given before is being changed."""
        return bool(self.data.get("revises") == "1")

    def answer_for(self, assignment: Assignment, *, now: datetime) -> Answer:
        """Return the answer in the stored order. Raises `AnswerInvalid`.

        The time is what the browser counted, but no more than since the pair was leased: its clock can claim anything.
        A form that changes an answer counts on from the time that was sent with it: what came in since is its own.
        """
        held = max(now - assignment.leased_at, timedelta()).total_seconds()
        answer = self._answer(assignment)
        if self.revises:
            answer = answer._replace(
                seconds=self._since("seconds", assignment),
                reading_seconds=self._since("reading_seconds", assignment),
                deciding_seconds=self._since("deciding_seconds", assignment),
            )
        return answer.capped(held)

    def _since(self, name: str, assignment: Assignment) -> float | None:
        sent: float | None = self.cleaned_data[name]
        return None if sent is None else max(0.0, sent - float(assignment.draft.get(name) or 0))

    def _answer(self, assignment: Assignment) -> Answer:
        values = self.cleaned_data
        settings = self.asked.questionnaire
        sides = _stored_sides(assignment, self.asked.letters)
        said = Answer(
            # Before anything else reads it: what neither database can store.
            rationale=storable(values["rationale"], field="rationale", limit=RATIONALE_LIMIT),
            confidence=values.get("confidence"),
            reasons=tuple(
                Reason(sides[letter], settings.reasons[int(number)])
                for letter, _colon, number in (one.partition(":") for one in values["reason"])
            ),
            spans=tuple(span._replace(side=sides[span.side]) for span in values["spans"]),
            content_flags=tuple(settings.content_flags[int(number)] for number in values["content_flag"]),
            **{name: values[name] for name in TIMES},
        )
        if settings.is_slate:
            return said._replace(basis=Basis(settings.template), ranks=self._ranks(assignment))
        said = said._replace(
            ratings=tuple(sorted(self._ratings(sides))), by_criterion=tuple(self._by_criterion(assignment))
        )
        if settings.asks_choice:
            choice, strength = _read_choice(values["answer"], assignment.shown_order)
            return said._replace(choice=choice, strength=strength)
        return said._replace(basis=Basis.RATINGS, choice=_choice_of(said.ratings, self.asked))

    def _ratings(self, sides: dict[str, str]) -> Iterator[Rated]:
        rated = self.asked.rated
        for question in self.questions:
            if question.kind == Kind.RATING and self.cleaned_data[question.name]:
                number = int(question.name.rpartition("-")[2])
                value = float(self.cleaned_data[question.name])
                yield Rated(sides[question.side], rated[number].pk, value)

    def _by_criterion(self, assignment: Assignment) -> Iterator[ByCriterion]:
        for question in self.questions:
            if question.kind == Kind.CHOICE and question.name != "answer" and self.cleaned_data[question.name]:
                number = int(question.name.rpartition("-")[2])
                sent = self.cleaned_data[question.name]
                yield ByCriterion(self.asked.further[number].pk, *_read_choice(sent, assignment.shown_order))

    def _ranks(self, assignment: Assignment) -> tuple[int, ...]:
        """Return a rank for each stored position, dense from 1; for best and worst: 1, 3 and 2 between."""
        values = self.cleaned_data
        if self.asked.questionnaire.template == Template.BEST_WORST:
            ends = {values["best"]: 1, values["worst"]: 3}
            given = [ends.get(letter, 2) for letter in self.asked.letters]
        else:
            given = [int(values[f"rank-{letter}"]) for letter in self.asked.letters]
            steps = {rank: step for step, rank in enumerate(sorted(set(given)), start=1)}
            given = [steps[rank] for rank in given]
        by_position = {int(position): rank for position, rank in zip(assignment.shown_order, given, strict=True)}
        return tuple(by_position[position] for position in range(len(given)))


def _read_choice(sent: str, shown_order: str) -> tuple[str, int | None]:
    strength = int(sent[-1]) if sent[-1].isdigit() else None
    return stored_choice(sent.rstrip("123"), shown_order).value, strength


def _choice_of(ratings: tuple[Rated, ...], asked: Asked) -> str:
    """Return the choice that follows from the ratings on the whole: the response rated higher, or a tie."""
    overall = asked.overall
    whole = {one.side: one.value for one in ratings if overall is not None and one.criterion_id == overall.pk}
    if len(whole) < 2:
        raise AnswerInvalid(_("Both responses need a rating all in all. Give them, then submit."))
    return "tie" if whole["a"] == whole["b"] else max(whole, key=lambda side: whole[side])


def _stored_sides(assignment: Assignment, letters: str) -> dict[str, str]:
    """Return what each letter of the screen stands for: a or b, or a position of the slate."""
    return dict(zip(letters, assignment.shown_order, strict=False))


class SkipForm(forms.Form):
    """Why a pair is passed on."""

    reason = forms.ChoiceField(choices=SkipReason.choices)
    note = forms.CharField(required=False, strip=True)
