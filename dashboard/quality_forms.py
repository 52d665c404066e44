"""What a manager says about people's quality: the standards, why somebody is paused or excluded, a known answer."""

from collections.abc import Mapping
from typing import Any

from django import forms

from annotation.gilding import ACCEPTABLE
from annotation.models import Choice, GoldKind
from annotation.standards import RANGES, Standards
from routing.labels.adjudicating import COMMENT_LIMIT
from routing.models import Cause

REASON_LIMIT = 500


class ReasonForm(forms.Form):
    """Why; its person may read it."""

    reason = forms.CharField(label="Why", max_length=REASON_LIMIT, widget=forms.Textarea(attrs={"rows": 2}))


class GoldForm(forms.Form):
    """A known answer of a pair."""

    accepted = forms.MultipleChoiceField(
        label="Answers that are right",
        choices=[(one, Choice(one).label) for one in ACCEPTABLE],
        widget=forms.CheckboxSelectMultiple,
        help_text="Mark each that somebody who reads closely may give; a and b are those of this page.",
    )
    kind = forms.ChoiceField(
        label="What it tests",
        choices=GoldKind.choices,
        initial=GoldKind.KNOWN,
        help_text="An attention check says in its own text which answer to give.",
    )
    note = forms.CharField(label="Why this is the answer", required=False, max_length=2000, help_text="For managers.")


def names_in(shown_order: str) -> dict[str, str]:
    """Return what decides a pair, stored choice and words, with A and B as the screen named the sides."""
    letters = {"a": "A", "b": "B"} if shown_order == "ab" else {"b": "A", "a": "B"}
    sides = {side: f"{letter} is better" for side, letter in letters.items()}
    return {**sides, **{one: Choice(one).label for one in ACCEPTABLE if one not in sides}}


class DecisionForm(forms.Form):
    """What an adjudicator decides, after their look and the votes."""

    choice = forms.ChoiceField(label="The answer", widget=forms.RadioSelect)
    causes = forms.MultipleChoiceField(
        label="Why people differed",
        choices=Cause.choices,
        widget=forms.CheckboxSelectMultiple,
        required=False,
        help_text="Mark all that hold.",
    )
    comment = forms.CharField(
        label="Comment",
        required=False,
        max_length=COMMENT_LIMIT,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="For the project's manager.",
    )

    def __init__(self, *args: Any, said: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["choice"].choices = list(said.items())  # type: ignore[attr-defined]


class QueueForm(forms.Form):
    """How many pairs go to adjudicators."""

    limit = forms.IntegerField(label="Pairs to send", min_value=1, max_value=1000, initial=20)


class RevokeForm(forms.Form):
    """Why a known answer is none."""

    reason = forms.CharField(label="Why it is revoked", max_length=REASON_LIMIT)


def _percent(name: str, label: str, help_text: str = "") -> forms.FloatField:
    least, most = RANGES[name]
    scale = 1.0 if name.endswith("percent") else 100.0
    return forms.FloatField(
        label=label,
        help_text=help_text,
        min_value=round(scale * least, 6),
        max_value=round(scale * most, 6),
        widget=forms.NumberInput(attrs={"step": "any"}),
    )


def _whole(name: str, label: str, help_text: str = "") -> forms.IntegerField:
    least, most = RANGES[name]
    return forms.IntegerField(label=label, help_text=help_text, min_value=int(least), max_value=int(most))


SHARES = ("pass_mark", "good_accuracy", "bad_accuracy", "wrong_pauses")


class StandardsForm(forms.Form):
    """What people are held to; shares in percent."""

    gold_percent = _percent("gold_percent", "Gold among a person's pairs, %", "0: none is mixed in.")
    first_gold = _whole("first_gold", "Gold pairs to pass first", "0: nobody has to.")
    pass_mark = _percent("pass_mark", "Right answers needed of these, %")
    tries = _whole("tries", "Tries", "Each takes other pairs.")
    pause_on_gold = forms.BooleanField(label="Pause who is wrong on gold too often", required=False)
    good_accuracy = _percent("good_accuracy", "Somebody who reads is right, at least, %")
    bad_accuracy = _percent("bad_accuracy", "Somebody to pause is right, %", "Half: between two by chance.")
    wrong_pauses = _percent(
        "wrong_pauses",
        "Of those who read, ever paused at most, %",
        "Over all looks together, one after each gold answer.",
    )
    least_gold = _whole("least_gold", "Never before so many gold answers")
    attention_fails = _whole("attention_fails", "Failed attention checks that pause", "0: none do.")
    exclude_on_pause = forms.BooleanField(
        label="A rule that pauses also takes the answers so far out of the count", required=False
    )

    @staticmethod
    def initial_of(standards: Standards) -> dict[str, Any]:
        """Return standards as the form shows them."""
        values = standards.values()
        return {**values, **{name: round(100 * values[name], 6) for name in SHARES}}

    def value(self) -> dict[str, Any]:
        """Return the standards as they are stored."""
        values = self.cleaned_data
        return {**values, **{name: values[name] / 100 for name in SHARES}}
