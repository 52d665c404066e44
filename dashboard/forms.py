"""What a manager types in. A form checks shape; the verbs check meaning, and their errors land at a field."""

from decimal import Decimal
from typing import Any

from django import forms
from django.utils.text import slugify

from annotation.errors import TiebreakError
from annotation.models import Project, Role
from annotation.reading import FORMATS
from exports.settings import TIE_RULES
from judges.models import JudgeVersion
from routing.planning import Budget

FORMAT_NAMES = {"auto": "Find out from the file", "jsonl": "JSON Lines", "json": "JSON array", "parquet": "Parquet"}
TIE_NAMES = {"drop": "Leave ties out, with a count", "both": "Write a tie twice, once each way"}
BUDGET_KINDS = [
    ("share", "% of the pairs"),
    ("money", "US dollars"),
    ("target", "% agreement"),
]


def usd_field(
    label: str, help_text: str, *, required: bool = False, places: int = 4, **more: Any
) -> forms.DecimalField:
    """Return a field for US dollars, from 0."""
    return forms.DecimalField(
        label=label,
        help_text=help_text,
        required=required,
        min_value=Decimal(0),
        max_digits=12,
        decimal_places=places,
        **more,
    )


class ProjectForm(forms.Form):
    """A new project."""

    title = forms.CharField(label="Title", max_length=200)
    slug = forms.SlugField(
        label="Short name",
        max_length=64,
        required=False,
        help_text="In addresses and commands: a-z, digits and '-'. Left empty, it is made from the title.",
    )
    guidelines = forms.CharField(
        label="Guidelines",
        required=False,
        widget=forms.Textarea(attrs={"rows": 8}),
        help_text="Markdown. People see it beside every pair; judges are given it word for word.",
    )
    votes_wanted = forms.IntegerField(
        label="Answers wanted a pair",
        min_value=1,
        max_value=99,
        initial=3,
        help_text="From different people. An odd number leaves fewer pairs disputed.",
    )
    pay_per_answer_usd = usd_field("Pay for an answer", "US dollars.", required=True, initial=Decimal("0.30"))
    rationale_required = forms.BooleanField(label="Ask for a reason with every answer", required=False)
    people_budget_usd = usd_field("Budget for people", "US dollars; plans never promise more. Empty: no limit.")
    models_budget_usd = usd_field(
        "Budget for models", "US dollars; judge runs pause before they pass it. Empty: no limit."
    )

    def clean(self) -> dict[str, Any]:
        """Make the short name from the title where none is given."""
        values = super().clean() or self.cleaned_data
        if not values.get("slug") and "slug" not in self.errors:
            values["slug"] = slugify(values.get("title", ""))[:64]
            if values.get("title") and not values["slug"]:
                self.add_error("slug", "The title has no letters a-z to make a short name from; type one.")
        if values.get("slug") and Project.objects.filter(slug=values["slug"]).exists():
            self.add_error("slug", f"There is a project “{values['slug']}” already; choose another short name.")
        return values


class ImportForm(forms.Form):
    """A file of pairs."""

    file = forms.FileField(
        label="File",
        allow_empty_file=True,
        help_text="JSON Lines, JSON, CSV, TSV or Parquet; may be gzipped (.gz).",
    )
    format = forms.ChoiceField(
        label="Format", choices=[(name, FORMAT_NAMES.get(name, name.upper())) for name in FORMATS], initial="auto"
    )
    mapping = forms.CharField(
        label="Field map",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "placeholder": "prompt=question"}),
        help_text="A line for each field whose column has another name: field=column. Usual names need none.",
    )
    on_error = forms.ChoiceField(
        label="When a row is bad",
        choices=[("refuse", "Refuse the whole file"), ("skip", "Import the good rows and list the bad ones")],
        initial="refuse",
    )
    dry_run = forms.BooleanField(
        label="Only check the file", required=False, help_text="Says what would happen; nothing is stored."
    )

    def clean_mapping(self) -> dict[str, str]:
        """Return the lines as a dict."""
        mapping: dict[str, str] = {}
        for number, line in enumerate(self.cleaned_data["mapping"].splitlines(), start=1):
            if not line.strip():
                continue
            field, sign, column = (part.strip() for part in line.partition("="))
            if not sign or not field or not column:
                raise forms.ValidationError(f"Line {number}, “{line.strip()[:60]}”: write field=column.")
            mapping[field] = column
        return mapping


def _budget(kind: str, value: Decimal) -> Budget:
    if kind == "share":
        return Budget.parse(f"{value}%")
    return Budget.money(value) if kind == "money" else Budget.target(value / 100)


class PlanForm(forms.Form):
    """A plan to draw."""

    kind = forms.ChoiceField(label="Plan by", choices=BUDGET_KINDS, initial="share")
    value = forms.DecimalField(label="How much", min_value=Decimal(0), max_digits=12, decimal_places=4, initial=25)
    audit_percent = forms.DecimalField(
        label="Audit slice, % of all pairs",
        min_value=Decimal(0),
        max_value=Decimal(100),
        max_digits=5,
        decimal_places=2,
        initial=5,
        help_text="Drawn at random, inside the budget: the only unbiased measure of the AI labels.",
    )
    judge = forms.ChoiceField(
        label="Judge", required=False, help_text="Whose labels stand where nobody is asked. Best by default."
    )
    seed = forms.IntegerField(
        label="Seed", min_value=0, max_value=2**31 - 1, help_text="The same data and seed draw the same plan."
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["seed"].initial = project.seed
        versions = JudgeVersion.objects.filter(judge__project=project).select_related("judge")
        names = [str(version) for version in versions.order_by("judge__name", "number")]
        judge = self.fields["judge"]
        assert isinstance(judge, forms.ChoiceField)  # noqa: S101  (declared above)
        judge.choices = [("", "The best that may label alone"), *((name, name) for name in names)]

    def clean(self) -> dict[str, Any]:
        """Turn kind and value into a `Budget`."""
        values = super().clean() or self.cleaned_data
        if "value" in values and "kind" in values:
            try:
                values["budget"] = _budget(values["kind"], values["value"])
            except TiebreakError as error:
                self.add_error("value", str(error))
        return values


class MemberForm(forms.Form):
    """Somebody to add."""

    username = forms.CharField(label="User name", max_length=150, help_text="Without an account yet, one is made.")
    role = forms.ChoiceField(label="Role", choices=Role.choices, initial=Role.ANNOTATOR)


class ExportForm(forms.Form):
    """A snapshot to write."""

    format = forms.ChoiceField(
        label="Files", choices=[("jsonl", "JSON Lines"), ("parquet", "Parquet"), ("both", "Both")], initial="both"
    )
    test_percent = forms.DecimalField(
        label="Test split, %",
        min_value=Decimal(0),
        max_value=Decimal(90),
        max_digits=5,
        decimal_places=2,
        initial=10,
        help_text="Whole prompt groups, so that nothing leaks from train to test.",
    )
    tie_rule = forms.ChoiceField(label="Ties", choices=[(name, TIE_NAMES.get(name, name)) for name in TIE_RULES])
    min_agreement_percent = forms.DecimalField(
        label="Least agreement of people, %",
        min_value=Decimal(0),
        max_value=Decimal(100),
        max_digits=5,
        decimal_places=2,
        initial=0,
        help_text="Pairs whose voters agree less are left out, with a count.",
    )
    seed = forms.IntegerField(
        label="Seed", min_value=0, max_value=2**31 - 1, initial=0, help_text="Of the split. Same seed, same bytes."
    )
    include_simulated = forms.BooleanField(
        label="Keep labels by simulated people",
        required=False,
        initial=True,
        help_text="Every such row says so.",
    )

    def settings(self) -> dict[str, Any]:
        """Return what `exports.settings.SnapshotSettings` takes."""
        values = self.cleaned_data
        return {
            "format": values["format"],
            "test_share": float(values["test_percent"] / 100),
            "tie_rule": values["tie_rule"],
            "min_agreement": float(values["min_agreement_percent"] / 100),
            "seed": values["seed"],
            "include_simulated": values["include_simulated"],
        }
