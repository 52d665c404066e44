"""What a manager says about signals: which to use, and what tags may cost."""

from typing import Any

from django import forms
from django.http import QueryDict

from annotation.errors import TiebreakError
from annotation.models import Project
from dashboard.forms import usd_field
from dashboard.signalling import columns_of, taggers_of
from judges.models import JudgeVersion
from routing.models import SignalSettings
from routing.signals.extending import Column, save_settings
from routing.signals.likening import LOCAL, Embedder, endpoint_in

ENDPOINT, NOT_AT_ALL = "endpoint", "none"


class SignalForm(forms.Form):
    """The further signals of a project's router."""

    meaning = forms.ChoiceField(
        label="Compare what the two responses mean",
        choices=[
            (LOCAL, "On this machine: a small word model, free, nothing is sent anywhere"),
            (ENDPOINT, "By an embeddings endpoint: the texts of all responses are sent to it"),
            (NOT_AT_ALL, "Not at all"),
        ],
        widget=forms.RadioSelect,
    )
    address = forms.CharField(
        label="Address of the endpoint",
        max_length=200,
        required=False,
        help_text="Such as https://api.openai.com/v1. Hosts and keys are the operator's, as for judges.",
    )
    model = forms.CharField(
        label="Its model", max_length=90, required=False, help_text="Such as text-embedding-3-small."
    )
    tagger = forms.ModelChoiceField(
        label="Judge that tags prompts",
        queryset=JudgeVersion.objects.none(),
        required=False,
        empty_label="None: no tags",
        help_text="It says of each prompt once: its subject, how open it is, its risk, how much it asks. Choosing a "
        "judge costs nothing yet: you see the price before you start.",
    )
    columns = forms.MultipleChoiceField(
        label="Columns that came with your file", required=False, widget=forms.CheckboxSelectMultiple
    )
    vouched = forms.BooleanField(
        label="Nothing a person said about a pair is in these columns",
        required=False,
        help_text="An answer, a rating or a note among the signals would make every figure about the router too good.",
    )

    def __init__(self, data: QueryDict | None, *, project: Project, settings: SignalSettings) -> None:
        endpoint = endpoint_in(settings.embedder)
        initial = {
            "meaning": ENDPOINT if endpoint else settings.embedder or NOT_AT_ALL,
            "address": endpoint.base_url if endpoint else "",
            "model": endpoint.model if endpoint else "",
            "tagger": settings.tagger,
            "columns": settings.columns,
            "vouched": bool(settings.columns),
        }
        super().__init__(data, initial=initial)
        self.project = project
        found = columns_of(project)
        self.refused = [column for column in found if column.refused]
        tagger, columns = self.fields["tagger"], self.fields["columns"]
        assert isinstance(tagger, forms.ModelChoiceField)  # noqa: S101  (declared above)
        assert isinstance(columns, forms.MultipleChoiceField)  # noqa: S101
        able = {version.pk for version in (*taggers_of(project), settings.tagger) if version}
        tagger.queryset = JudgeVersion.objects.filter(pk__in=able).select_related("judge").order_by("judge__name")
        columns.choices = [(column.name, told(column)) for column in found if not column.refused]

    def clean(self) -> dict[str, Any]:
        """Ask for what a choice needs."""
        values = super().clean() or {}
        if values.get("meaning") == ENDPOINT:
            for name, what in (("address", "its address"), ("model", "the model to ask for")):
                if not values.get(name):
                    self.add_error(name, f"An endpoint needs {what}.")
        if values.get("columns") and not values.get("vouched"):
            self.add_error("vouched", "Say so, or untick the columns.")
        return values

    def save(self) -> SignalSettings | None:
        """Store what was chosen; None where it cannot be, with the reason at its field."""
        values = self.cleaned_data
        embedder = "" if values["meaning"] == NOT_AT_ALL else values["meaning"]
        if embedder == ENDPOINT:
            embedder = str(Embedder(values["address"].strip(), values["model"].strip()))
        try:
            return save_settings(self.project, columns=values["columns"], embedder=embedder, tagger=values["tagger"])
        except TiebreakError as error:
            self.add_error("address" if values["meaning"] == ENDPOINT else None, str(error))
            return None


class TagForm(forms.Form):
    """What tagging may cost."""

    budget_usd = usd_field(
        "Spend at most, $", "The run pauses before it would cost more. Empty: no limit but the project's."
    )


def told(column: Column) -> str:
    """Return a column in a line: its name, what it holds, and how many pairs have it."""
    if column.kind == "number":
        holds = f"{column.low:g} to {column.high:g}"
    else:
        holds = ", ".join(f"{value} ({count:,})" for value, count in column.values)
    warning = ". Its name sounds like people's answers: look before you tick it" if column.speaks_of_people else ""
    return f"{column.name}: {holds}; {column.known:.0%} of the pairs{warning}"
