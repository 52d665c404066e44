"""What a manager asks a search over mixes for."""

from typing import Any

from django import forms

from annotation.models import Project
from routing.errors import RoutingError
from routing.studies.mixing import MIXES_NEEDED, MOST_CANDIDATES, MOST_MIXES, MixOptions
from routing.studies.replaying import ReplayJudge


class MixForm(forms.Form):
    """A search over mixes to run."""

    judge = forms.ChoiceField(label="Judge", help_text="Its labels stand where people's do not.")
    budgets = forms.CharField(label="Shares of pairs for people, %", initial="10, 25, 50", max_length=100)
    mixes = forms.IntegerField(
        label="Mixes to train on",
        min_value=MIXES_NEEDED,
        max_value=MOST_MIXES,
        initial=MixOptions().mixes,
        help_text="A small reward model is trained on each; the predictor learns from their scores.",
    )
    candidates = forms.IntegerField(
        label="Mixes to search, for each share",
        min_value=1,
        max_value=MOST_CANDIDATES,
        initial=MixOptions().candidates,
        help_text="The predictor looks through so many more without training on them.",
    )
    seed = forms.IntegerField(
        label="Seed", min_value=0, max_value=2**31 - 1, help_text="The same data and seed give the same figures."
    )

    def __init__(self, *args: Any, project: Project, judges: list[ReplayJudge], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["seed"].initial = project.seed
        field = self.fields["judge"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101  (declared above)
        field.choices = [(one.name, f"{one.name} ({one.pairs:,} pairs)") for one in judges]

    def clean_budgets(self) -> tuple[float, ...]:
        """Return the shares, each once, from small to large."""
        try:
            shares = {float(part.strip().rstrip("%").strip()) / 100 for part in self.cleaned_data["budgets"].split(",")}
            return MixOptions(budgets=tuple(sorted(shares))).checked().budgets
        except (ValueError, RoutingError):
            raise forms.ValidationError("Write one to six percentages between 0 and 100, such as 10, 25, 50.") from None

    def options(self) -> MixOptions:
        """Return what was asked for."""
        values = self.cleaned_data
        return MixOptions(values["budgets"], values["mixes"], values["candidates"])
