"""What a manager writes for people to learn by: guidelines, practice pairs, the questions of the gate."""

import json
from decimal import Decimal
from typing import Any

from django import forms
from django.http import QueryDict

from annotation.answering import NOTE_LIMIT
from annotation.guiding import GUIDELINES_LIMIT, normalised
from annotation.models import Project
from annotation.training import (
    ANSWERS,
    LONGEST_QUESTION,
    LONGEST_TEXT,
    TRIES,
    Gate,
    PracticePair,
    Question,
)

ANSWER_NAMES = {"a": "A is better", "tie": "Equally good", "b": "B is better", "both_bad": "Both bad"}
# Before an option that is right.
MARK = "*"


def text_area(label: str, *, rows: int, help_text: str = "", limit: int = LONGEST_TEXT, **more: Any) -> forms.CharField:
    """Return a field for a longer text."""
    widget = forms.Textarea(attrs={"rows": rows, "dir": "auto"})
    return forms.CharField(label=label, help_text=help_text, max_length=limit, widget=widget, **more)


class GuidelinesForm(forms.Form):
    """A text of the guidelines and what changed; `number` is the version that it began from."""

    text = text_area(
        "Guidelines",
        rows=18,
        limit=GUIDELINES_LIMIT,
        required=False,
        help_text="Markdown. People see it beside every pair; judges added from now on are given it word for word.",
    )
    note = text_area(
        "What changed",
        rows=2,
        limit=NOTE_LIMIT,
        required=False,
        help_text="For the people who answer: it stands above their next pair until they say that they have read it.",
    )
    number = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, data: QueryDict | None, *, project: Project) -> None:
        super().__init__(data, initial={"text": project.guidelines, "number": project.guidelines_number})
        self.is_preview = self.is_bound and self.data.get("act") == "preview"

    def revision(self) -> dict[str, Any]:
        """Return what `revise_guidelines` takes."""
        values = self.cleaned_data
        return {"text": values["text"], "note": values["note"], "based_on": values["number"]}

    def preview(self) -> str:
        """Return the draft where it is to be shown as people would see it; empty otherwise."""
        return normalised(self.cleaned_data.get("text", "")) if self.is_preview and self.is_valid() else ""


class PracticePairForm(forms.Form):
    """A practice pair."""

    prompt = text_area("Prompt", rows=3)
    response_a = text_area("Response A", rows=5, required=False)
    response_b = text_area("Response B", rows=5, required=False)
    answer = forms.MultipleChoiceField(
        label="Accepted answers",
        choices=[(answer, ANSWER_NAMES[answer]) for answer in ANSWERS],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Mark the answers that count as right, one at least."},
    )
    why = text_area(
        "Why", rows=3, help_text="Shown after the answer, whichever it was. A and B are as you see them here."
    )

    @staticmethod
    def initial_of(pair: PracticePair) -> dict[str, Any]:
        """Return a stored pair as the form shows it."""
        return pair.value()

    def value(self) -> dict[str, Any]:
        """Return the pair as JSON."""
        return dict(self.cleaned_data)


class QuestionForm(forms.Form):
    """A question of the gate. A star marks what is right, so that one text holds all options."""

    question = text_area("Question", rows=2, limit=LONGEST_QUESTION)
    options = text_area(
        "Options",
        rows=4,
        help_text="One a line, two to ten. Put a star before each right one, as in: * Both are fine.",
    )
    several = forms.BooleanField(
        label="People may mark several", required=False, help_text="Only exactly the right ones count as right."
    )
    why = text_area("Why", rows=2, required=False, help_text="Shown to who had it wrong.")

    @staticmethod
    def initial_of(question: Question) -> dict[str, Any]:
        """Return a stored question as the form shows it."""
        lines = [
            f"{MARK} {option}" if number in question.correct else option
            for number, option in enumerate(question.options)
        ]
        options = {"options": "\n".join(lines), "several": question.several}
        return {"question": question.question, "why": question.why, **options}

    def clean(self) -> dict[str, Any]:
        """Take several stars as several answers to mark, unless they cannot be meant."""
        values = super().clean() or self.cleaned_data
        lines = [line.strip() for line in values.get("options", "").splitlines() if line.strip()]
        right = [number for number, line in enumerate(lines) if line.startswith(MARK)]
        if lines and not right:
            self.add_error("options", "No option is marked as right. Put a star before the right one.")
        if len(right) > 1 and not values.get("several"):
            self.add_error("several", "Several options have a star. Mark this as well, or leave one star.")
        values["lines"], values["right"] = [line.removeprefix(MARK).strip() for line in lines], right
        return values

    def value(self) -> dict[str, Any]:
        """Return the question as JSON."""
        values = self.cleaned_data
        right: list[int] = values["right"]
        return {
            "question": values["question"],
            "options": values["lines"],
            "correct": right if values["several"] else right[0],
            "why": values["why"],
        }


class GateSettingsForm(forms.Form):
    """When the gate is passed, and how often somebody may try."""

    pass_percent = forms.DecimalField(
        label="Right answers needed, %", min_value=Decimal(1), max_value=Decimal(100), max_digits=5, decimal_places=2
    )
    tries = forms.IntegerField(
        label="Tries",
        min_value=TRIES[0],
        max_value=TRIES[-1],
        help_text="Two is the rule of crowd platforms for such checks.",
    )

    @staticmethod
    def initial_of(gate: Gate) -> dict[str, Any]:
        """Return a stored gate's settings as the form shows them."""
        return {"pass_percent": Decimal(str(gate.pass_mark * 100)).normalize() + 0, "tries": gate.tries}

    def value(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        values = self.cleaned_data
        return {"pass_mark": float(values["pass_percent"] / 100), "tries": values["tries"]}


class TrainingFileForm(forms.Form):
    """The whole training as JSON: a file, or pasted."""

    file = forms.FileField(label="File", required=False, allow_empty_file=True)
    text = forms.CharField(
        label="Or paste it",
        required=False,
        max_length=5_000_000,
        widget=forms.Textarea(attrs={"rows": 12, "class": "json-text", "spellcheck": "false"}),
    )

    def clean(self) -> dict[str, Any]:
        """Read the JSON, and say where it breaks off."""
        values = super().clean() or self.cleaned_data
        name, text = ("file", values["file"].read()) if values.get("file") else ("text", values.get("text", ""))
        try:
            values["training"] = json.loads(text)
        except UnicodeDecodeError:
            self.add_error(name, "This is no text in UTF-8.")
        except (json.JSONDecodeError, RecursionError) as error:
            self.add_error(name, f"This is no JSON: {error}." if str(text).strip() else "Choose a file, or paste JSON.")
        return values

    def value(self) -> Any:
        """Return the training as it was sent, not checked yet."""
        return self.cleaned_data["training"]
