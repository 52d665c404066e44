"""What a manager types in about crowd platforms. The verbs of `annotation.crowd` check what it means."""

from decimal import Decimal
from typing import Any

from django import forms

from annotation.crowd.generic import PRESETS
from annotation.crowd.reviewing import CATEGORIES, LEAST_MESSAGE, Rejection
from annotation.crowd.studies import LEAST_SCREEN_OUT, ProlificTerms
from annotation.models import ArrivalCheck, Platform


def _money(label: str, help_text: str, *, required: bool = True) -> forms.DecimalField:
    return forms.DecimalField(
        label=label, help_text=help_text, required=required, min_value=Decimal("0.01"), max_digits=8, decimal_places=2
    )


class StudyForm(forms.Form):
    """What every study has."""

    name = forms.CharField(label="Name", max_length=120)
    answers_wanted = forms.IntegerField(
        label="Answers a visit",
        min_value=1,
        max_value=1000,
        initial=20,
        help_text="After so many a person gets the code. Hidden repeats and gold count among them.",
    )

    def study(self) -> dict[str, Any]:
        """Return what `annotation.crowd.studies.set_up_study` takes beside the project and the platform."""
        return {name: self.cleaned_data[name] for name in ("name", "answers_wanted")}


class ProlificForm(StudyForm):
    """A study on Prolific."""

    name = forms.CharField(label="Name", max_length=120, help_text="People see it on Prolific.")
    description = forms.CharField(
        label="Description",
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="What people read before they begin: what they do, for how long, and what they need.",
    )
    minutes = forms.IntegerField(
        label="Minutes", min_value=1, max_value=300, initial=15, help_text="How long a visit takes, honestly estimated."
    )
    currency = forms.ChoiceField(label="Currency", choices=[(one, one) for one in ("USD", "GBP")])
    reward = _money("Reward", "For one visit, in that currency. Prolific refuses what is too little an hour.")
    places = forms.IntegerField(label="Places", min_value=1, max_value=100_000, initial=10)
    screen_out_reward = _money(
        "Reward of a screen-out",
        "For who does not pass the questions before the first pair: at least "
        + " or ".join(f"{least} {currency}" for currency, least in LEAST_SCREEN_OUT.items())
        + ". Empty: they are asked to return the study.",
        required=False,
    )
    arrival_check = forms.ChoiceField(
        label="How arrivals are checked",
        choices=[
            (ArrivalCheck.SIGNED.value, "By signature: switch on “Secure external URL” on Prolific"),
            (ArrivalCheck.API.value, "By asking Prolific for each"),
        ],
        widget=forms.RadioSelect,
        initial=ArrivalCheck.SIGNED.value,
    )
    approve_automatically = forms.BooleanField(
        label="Approve who hands in the code, without looking",
        required=False,
        help_text="Otherwise each waits for you; Prolific approves by itself after 21 days.",
    )
    external_id = forms.CharField(
        label="Id on Prolific",
        required=False,
        max_length=64,
        help_text="Where the study is there already. It can be added later, or made from here.",
    )

    def study(self) -> dict[str, Any]:
        """Return what `set_up_study` takes."""
        values = self.cleaned_data
        named = {name: values[name] for name in ProlificTerms._fields}
        beside = {name: values[name] for name in ("arrival_check", "external_id")}
        return {**super().study(), **beside, "terms": ProlificTerms(**named)}


class GenericForm(StudyForm):
    """A study on any other platform."""

    id_parameter = forms.CharField(
        label="Parameter with the person's id",
        max_length=64,
        initial="participantId",
        help_text=" ".join(f"{name}: {known.id_parameter}." for name, known in PRESETS.items()),
    )
    visit_parameter = forms.CharField(
        label="Parameter with the visit's id",
        max_length=64,
        required=False,
        help_text="Such as assignmentId. Empty: a person comes once.",
    )
    captured_parameters = forms.CharField(
        label="Parameters to keep",
        required=False,
        max_length=600,
        help_text="Their names, with commas between; they can stand in the return address.",
    )
    return_url = forms.CharField(
        label="Return address",
        required=False,
        max_length=500,
        help_text="https://…, with {code}, {id} or a kept parameter in it. Empty: people copy the code.",
    )

    def study(self) -> dict[str, Any]:
        """Return what `set_up_study` takes."""
        values = self.cleaned_data
        captured = [name.strip() for name in values["captured_parameters"].split(",") if name.strip()]
        named = {name: values[name] for name in ("id_parameter", "visit_parameter", "return_url")}
        return {**super().study(), "generic": {**named, "captured_parameters": captured}}


FORMS: dict[str, type[StudyForm]] = {
    Platform.PROLIFIC: ProlificForm,
    Platform.GENERIC: GenericForm,
    Platform.MTURK: StudyForm,
}


class RejectionForm(forms.Form):
    """Why submissions are rejected."""

    category = forms.ChoiceField(label="Category", choices=[("", "Choose one"), *CATEGORIES.items()])
    message = forms.CharField(
        label="Message to each",
        widget=forms.Textarea(attrs={"rows": 4}),
        max_length=2000,
        help_text=f"At least {LEAST_MESSAGE} characters: what they did, and why it cannot be used.",
    )
    failed_checks = forms.IntegerField(
        label="Attention checks that each failed",
        min_value=0,
        max_value=99,
        required=False,
        help_text="Asked for in the category of failed checks.",
    )

    def rejection(self) -> Rejection:
        """Return it as `annotation.crowd.reviewing.reject` takes it."""
        values = self.cleaned_data
        return Rejection(values["category"], values["message"], values["failed_checks"] or 0)
