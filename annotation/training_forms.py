"""What the pages of practice and of the gate send."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.http import QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from annotation.training import Gate

# In the order of the screen: between the sides stands the tie.
CHOICE_NAMES: dict[str, Promise] = {
    "a": _("A is better"),
    "tie": _("Equally good"),
    "b": _("B is better"),
    "both_bad": _("Both bad"),
}
MOST = 10_000


class PracticeForm(forms.Form):
    """A choice between the two responses of a practice pair."""

    number = forms.IntegerField(min_value=1, max_value=MOST)
    choice = forms.ChoiceField(
        error_messages={
            "required": _("Nothing is chosen yet. Choose, then check your answer."),
            "invalid_choice": _("That choice is not on this screen. Choose again."),
        }
    )

    def __init__(self, data: QueryDict | None, *, choices: Sequence[str]) -> None:
        super().__init__(data)
        self.fields["choice"] = forms.ChoiceField(
            choices=[(choice, CHOICE_NAMES[choice]) for choice in choices],
            error_messages=self.base_fields["choice"].error_messages,
        )

    def error_line(self) -> str:
        """Return the first error in one line; empty without one."""
        return next((str(message) for messages in self.errors.values() for message in messages), "")

    def _cleaned(self, name: str, missing: Any) -> Any:
        return self.cleaned_data.get(name, missing) if self.is_bound and hasattr(self, "cleaned_data") else missing

    @property
    def number_sent(self) -> int | None:
        """Return the number of the pair that was answered."""
        number: int | None = self._cleaned("number", None)
        return number

    @property
    def choice_sent(self) -> str:
        """Return the choice; empty without one."""
        return str(self._cleaned("choice", ""))


class GateForm(forms.Form):
    """A try at the gate: an answer to every question, the try's number, and the key of the questions shown."""

    number = forms.IntegerField(min_value=1, max_value=MOST)
    key = forms.CharField(max_length=64)

    def __init__(self, data: QueryDict, *, gate: Gate) -> None:
        super().__init__(data)
        self.gate = gate
        self.sent_values = data
        for number, question in enumerate(gate.questions):
            kind = forms.MultipleChoiceField if question.several else forms.ChoiceField
            self.fields[f"question{number}"] = kind(choices=[(str(n), text) for n, text in enumerate(question.options)])

    @property
    def key_sent(self) -> str:
        """Return the key of the questions that were on the page."""
        return str(self.sent_values.get("key", ""))

    @property
    def try_sent(self) -> int:
        """Return which try the page said this is; 0 where it said nothing that can be counted."""
        return int(self.cleaned_data.get("number", 0)) if self.is_valid() else 0

    @property
    def is_stale(self) -> bool:
        """Say whether other questions are asked now than those on the page that was sent."""
        return self.key_sent != self.gate.key

    @property
    def missing(self) -> list[int]:
        """Return the questions without an answer."""
        return [number for number in range(len(self.gate.questions)) if f"question{number}" in self.errors]

    def marks_sent(self, number: int) -> frozenset[int]:
        """Return what was marked at a question, whether or not it is enough; what is no option is left out."""
        known = map(str, range(len(self.gate.questions[number].options)))
        return frozenset(map(int, set(known).intersection(self.sent_values.getlist(f"question{number}"))))

    def answers(self) -> list[list[int]]:
        """Return the marked options of each question, in their order."""
        return [sorted(self.marks_sent(number)) for number in range(len(self.gate.questions))]
