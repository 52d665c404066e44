"""What a manager asks a study for."""

from typing import Any

from django import forms

from annotation.models import Project
from routing.errors import RoutingError
from routing.studies.mixing import MIXES_NEEDED, MOST_CANDIDATES, MOST_MIXES, MixOptions
from routing.studies.replaying import MOST_REPEATS, ReplayJudge, ReplayOptions


class StudyForm(forms.Form):
    """What every study is asked for: a judge with enough labels, shares of pairs for people, and a seed."""

    judge = forms.ChoiceField(label="Judge")
    budgets = forms.CharField(label="Shares of pairs for people, %", initial="10, 25, 50", max_length=200)
    seed = forms.IntegerField(
        label="Seed", min_value=0, max_value=2**31 - 1, help_text="The same data and seed give the same figures."
    )

    def __init__(self, *args: Any, project: Project, judges: list[ReplayJudge], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["seed"].initial = project.seed
        field = self.fields["judge"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101  (declared above)
        field.choices = [(one.name, f"{one.name} ({one.pairs:,} pairs)") for one in judges]

    def shares(self) -> tuple[float, ...]:
        """Return the percentages written down as shares, each once, from small to large. Raises `ValueError`."""
        parts = self.cleaned_data["budgets"].split(",")
        return tuple(sorted({float(part.strip().rstrip("%").strip()) / 100 for part in parts}))


class ReplayForm(StudyForm):
    """A replay to run."""

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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["judge"].help_text = "All ways in which it was asked, taken together."
        self.fields["budgets"].help_text = "The table shows these; the chart goes from 0 to 100 % in any case."

    def clean_budgets(self) -> tuple[float, ...]:
        """Return the shares."""
        try:
            return ReplayOptions(budgets=self.shares()).checked().budgets
        except (ValueError, RoutingError):
            raise forms.ValidationError("Write percentages above 0 and up to 100, such as 10, 25, 50.") from None

    def options(self) -> ReplayOptions:
        """Return what was asked for."""
        values = self.cleaned_data
        return ReplayOptions(values["budgets"], values["repeats"], values["proxy"], values["guarantee"])


class MixForm(StudyForm):
    """A search over mixes to run."""

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

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["judge"].help_text = "Its labels stand where people's do not."

    def clean_budgets(self) -> tuple[float, ...]:
        """Return the shares."""
        try:
            return MixOptions(budgets=self.shares()).checked().budgets
        except (ValueError, RoutingError):
            raise forms.ValidationError("Write one to six percentages between 0 and 100, such as 10, 25, 50.") from None

    def options(self) -> MixOptions:
        """Return what was asked for."""
        values = self.cleaned_data
        return MixOptions(values["budgets"], values["mixes"], values["candidates"])
