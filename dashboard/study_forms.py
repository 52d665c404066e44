"""What a manager asks a study for."""

from typing import Any

from django import forms

from annotation.models import Project
from routing.errors import RoutingError
from routing.studies.replaying import MOST_REPEATS, ReplayJudge, ReplayOptions


class ReplayForm(forms.Form):
    """A replay to run."""

    judge = forms.ChoiceField(label="Judge", help_text="All ways in which it was asked, taken together.")
    budgets = forms.CharField(
        label="Shares of pairs for people, %",
        initial="10, 25, 50",
        max_length=200,
        help_text="The table shows these; the chart goes from 0 to 100 % in any case.",
    )
    repeats = forms.IntegerField(
        label="Repeats",
        min_value=1,
        max_value=MOST_REPEATS,
        initial=20,
        help_text="How often the prompts are divided anew into those to learn from and those to try on.",
    )
    guarantee = forms.BooleanField(
        label="Also try the guarantee",
        required=False,
        initial=True,
        help_text="How often “at most 10, 15 or 20 % of the accepted labels are wrong” would have held. Seconds.",
    )
    proxy = forms.BooleanField(
        label="Also train a small reward model on each mix",
        required=False,
        help_text="What the labels are worth to a model that learns from them. Up to some minutes.",
    )
    seed = forms.IntegerField(
        label="Seed", min_value=0, max_value=2**31 - 1, help_text="The same data and seed give the same figures."
    )

    def __init__(self, *args: Any, project: Project, judges: list[ReplayJudge], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["seed"].initial = project.seed
        field = self.fields["judge"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101  (declared above)
        field.choices = [(one.name, f"{one.name} ({one.pairs:,} pairs)") for one in judges if not one.reason]

    def clean_budgets(self) -> tuple[float, ...]:
        """Return the shares, each once, from small to large."""
        try:
            shares = {float(part.strip().rstrip("%").strip()) / 100 for part in self.cleaned_data["budgets"].split(",")}
            return ReplayOptions(budgets=tuple(sorted(shares))).checked().budgets
        except (ValueError, RoutingError):
            raise forms.ValidationError("Write percentages above 0 and up to 100, such as 10, 25, 50.") from None

    def options(self) -> ReplayOptions:
        """Return what was asked for."""
        values = self.cleaned_data
        return ReplayOptions(values["budgets"], values["repeats"], values["proxy"], values["guarantee"])
