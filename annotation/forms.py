"""What the annotation screen sends, in the words of the screen: sides as shown, never as stored."""

from typing import NamedTuple

from django import forms

from annotation.answering import Answer, stored_choice
from annotation.models import Assignment, SkipReason


class ScaleStep(NamedTuple):
    """One step of the scale: what is sent, its key, the side and the degree in words."""

    value: str
    key: str
    side: str
    degree: str
    name: str


SCALE = (
    ScaleStep("first3", "1", "A", "much", "A is much better"),
    ScaleStep("first2", "2", "A", "better", "A is better"),
    ScaleStep("first1", "3", "A", "a bit", "A is a bit better"),
    ScaleStep("tie", "4", "=", "tie", "Equally good"),
    ScaleStep("second1", "5", "B", "a bit", "B is a bit better"),
    ScaleStep("second2", "6", "B", "better", "B is better"),
    ScaleStep("second3", "7", "B", "much", "B is much better"),
)
OUTSIDE_SCALE = (
    ScaleStep("both_bad", "x", "", "Both bad", "Both bad"),
    ScaleStep("unsure", "c", "", "Can't judge", "Can't judge"),
)


CHOICES = [(step.value, step.name) for step in (*SCALE, *OUTSIDE_SCALE)]


class AnswerForm(forms.Form):
    """A choice on the screen's scale, a reason and the active time."""

    answer = forms.ChoiceField(
        choices=CHOICES,
        error_messages={
            "required": "Nothing is chosen yet. Choose a side, tie, both bad or can't judge, then submit.",
            "invalid_choice": "That choice is not on this screen. Choose again, then submit.",
        },
    )
    rationale = forms.CharField(required=False, strip=False)
    seconds = forms.FloatField(required=False, min_value=0)

    def clean_rationale(self) -> str:
        """Return the reason with the line breaks that scripts send: browsers' own forms send CR LF."""
        return str(self.cleaned_data["rationale"]).replace("\r\n", "\n")

    def answer_for(self, assignment: Assignment) -> Answer:
        """Return the answer in the stored order, with the time as the browser counted it."""
        shown = self.cleaned_data["answer"]
        strength = int(shown[-1]) if shown[-1].isdigit() else None
        return Answer(
            choice=stored_choice(shown.rstrip("123"), assignment.shown_order),
            strength=strength,
            rationale=self.cleaned_data["rationale"],
            seconds=self.cleaned_data["seconds"],
        )

    def error_line(self) -> str:
        """Return the first error in one line."""
        return next((str(message) for messages in self.errors.values() for message in messages), "")


class SkipForm(forms.Form):
    """Why a pair is passed on."""

    reason = forms.ChoiceField(choices=SkipReason.choices)
    note = forms.CharField(required=False, strip=True)


class DraftForm(forms.Form):
    """What is on the screen so far; all of it may be missing."""

    answer = forms.ChoiceField(choices=[("", ""), *CHOICES], required=False)
    rationale = forms.CharField(required=False, strip=False)
    seconds = forms.FloatField(required=False, min_value=0)

    def draft(self) -> dict[str, str | float | None]:
        """Return what to keep, in the words of the screen: the order shown stays with the assignment."""
        return {name: self.cleaned_data[name] for name in ("answer", "rationale", "seconds")}
