"""What a manager types in. A form checks shape; the verbs check meaning, and their errors land at a field."""

from decimal import Decimal
from typing import Any

from django import forms
from django.utils.text import slugify

from annotation.errors import TiebreakError
from annotation.models import Project, Role
from annotation.reading import FORMATS
from dashboard.matching import METHODS
from dashboard.screen_forms import StartForm
from judges.models import JudgeKind, JudgeVersion
from routing.errors import RoutingError
from routing.models import BudgetKind
from routing.plans.budgeting import Budget, check_audit_share
from routing.plans.options import ADAPTIVE, FIXED, PlanOptions

FORMAT_NAMES = {"auto": "Find out from the file", "jsonl": "JSON Lines", "json": "JSON array", "parquet": "Parquet"}
BUDGET_KINDS = [
    (BudgetKind.SHARE.value, "% of the pairs"),
    (BudgetKind.COUNT.value, "pairs"),
    (BudgetKind.MONEY.value, "US dollars"),
    (BudgetKind.TARGET.value, "% agreement"),
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


class ProjectForm(StartForm):
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
    people_budget_usd = usd_field(
        "Budget for people", "US dollars; a hard stop: nobody gets a pair that it does not pay for. Empty: no limit."
    )
    models_budget_usd = usd_field(
        "Budget for models", "US dollars; judge runs pause before they pass it. Empty: no limit."
    )

    def project(self) -> dict[str, Any]:
        """Return what `annotation.creating.create_project` takes."""
        beside = {name: value for name, value in self.cleaned_data.items() if name not in StartForm.base_fields}
        return {**beside, **self.screen()}

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
    if kind in (BudgetKind.SHARE, BudgetKind.TARGET) and not 0 < value <= 100:
        raise RoutingError(f"{value:f} % is not possible: more than 0 and at most 100.")
    if kind == BudgetKind.SHARE:
        return Budget.parse(f"{value}%")
    if kind == BudgetKind.COUNT:
        return Budget.of_pairs(value)
    return Budget.money(value) if kind == BudgetKind.MONEY else Budget.target(value / 100)


class PlanForm(forms.Form):
    """A plan to draw: the budget, and below it what has a sensible default."""

    kind = forms.ChoiceField(label="Plan by", choices=BUDGET_KINDS, initial="share")
    value = forms.DecimalField(label="How much", min_value=Decimal(0), max_digits=12, decimal_places=4, initial=25)
    judge = forms.ChoiceField(
        label="Judge", required=False, help_text="Whose labels stand where nobody is asked. Best by default."
    )
    audit_percent = forms.DecimalField(
        label="Audit slice, % of all pairs",
        min_value=Decimal(0),
        max_value=Decimal(100),
        max_digits=5,
        decimal_places=2,
        initial=5,
        help_text="Drawn at random, inside the budget: the only unbiased measure of the AI labels. 2 or more.",
    )
    votes = forms.ChoiceField(
        label="Answers a pair",
        required=False,
        help_text="Two people who agree settle a pair; a third is asked only where they differ.",
    )
    expert_on_split = forms.BooleanField(
        label="Where they differ, ask an expert", required=False, help_text="Only with two answers first."
    )
    pay_per_hour_usd = usd_field("Pay for an hour", "US dollars, if people are paid by time.")
    worth_usd = usd_field("A corrected label is worth", "US dollars: tells you where to stop. Empty: not said.")
    group_cap = forms.IntegerField(
        label="Most pairs of a prompt group",
        required=False,
        min_value=0,
        max_value=100_000,
        help_text="While other pairs are left. Empty: no limit.",
    )
    balance_by = forms.ChoiceField(
        label="Keep the mix of",
        choices=[("", "Nothing"), ("category", "Categories"), ("language", "Languages")],
        required=False,
        help_text="As in all pairs.",
    )
    spread = forms.BooleanField(
        label="Spread over topics", required=False, help_text="Takes pairs from clusters of similar prompts in turn."
    )
    second_judge = forms.ChoiceField(
        label="Second judge",
        required=False,
        help_text="Asked about the pairs next in doubt. Where the two differ, no label stands.",
    )
    second_budget_usd = usd_field("Its budget", "US dollars. Empty: as many pairs as the router gives to people.")
    guarantee_percent = forms.DecimalField(
        label="Guarantee: at most so many % wrong",
        required=False,
        min_value=Decimal(0),
        max_value=Decimal(99),
        max_digits=5,
        decimal_places=2,
        help_text="AI labels count only as far as the audit proves, with 90 % confidence. Empty: all count.",
    )
    seed = forms.IntegerField(
        label="Seed", min_value=0, max_value=2**31 - 1, help_text="The same data and seed draw the same plan."
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["seed"].initial = project.seed
        pay = self.fields["pay_per_hour_usd"]
        pay.help_text = f"US dollars, if people are paid by time. Empty: ${project.pay_per_answer_usd:.2f} an answer."
        votes = self.fields["votes"]
        assert isinstance(votes, forms.ChoiceField)  # noqa: S101  (declared above)
        votes.choices = [(FIXED, f"Always {project.votes_wanted}"), (ADAPTIVE, "Two, more where they differ")]
        versions = JudgeVersion.objects.filter(judge__project=project).select_related("judge")
        versions = versions.order_by("judge__name", "number")
        names = [(str(version), str(version)) for version in versions]
        askable = [(str(it), str(it)) for it in versions if it.judge.kind != JudgeKind.RECORDED]
        for field, choices in (
            ("judge", [("", "The best that may label alone"), *names]),
            ("second_judge", [("", "None"), *askable]),
        ):
            chooser = self.fields[field]
            assert isinstance(chooser, forms.ChoiceField)  # noqa: S101  (declared above)
            chooser.choices = choices

    def clean(self) -> dict[str, Any]:
        """Turn kind and value into a `Budget`, and the rest into `PlanOptions`."""
        values = super().clean() or self.cleaned_data
        if "value" in values and "kind" in values:
            try:
                values["budget"] = _budget(values["kind"], values["value"])
            except TiebreakError as error:
                self.add_error("value", str(error))
        if "audit_percent" in values:
            try:
                check_audit_share(float(values["audit_percent"] / 100))
            except TiebreakError as error:
                self.add_error("audit_percent", str(error))
        # In the words of the page: the options' own errors name them as the command does.
        if values.get("expert_on_split") and values.get("votes") != ADAPTIVE:
            self.add_error("expert_on_split", "Choose “Two, more where they differ” for the answers a pair first.")
        if values.get("second_budget_usd") is not None and not values.get("second_judge"):
            self.add_error("second_budget_usd", "Choose the second judge first.")
        if not self.errors:
            try:
                values["options"] = self._options(values).checked()
            except TiebreakError as error:
                self.add_error(_field_named(str(error)), str(error))
        return values

    @property
    def more_is_open(self) -> bool:
        """Say whether a field below the budget has an error, so that it must be in sight."""
        return self.is_bound and any(name not in ("kind", "value") for name in self.errors)

    @staticmethod
    def _options(values: dict[str, Any]) -> PlanOptions:
        alpha = values["guarantee_percent"]
        return PlanOptions(
            votes=values["votes"] or FIXED,
            expert_on_split=values["expert_on_split"],
            group_cap=values["group_cap"] or 0,
            spread=values["spread"],
            balance_by=values["balance_by"],
            second_judge=values["second_judge"],
            second_budget_usd=values["second_budget_usd"],
            pay_per_hour_usd=values["pay_per_hour_usd"],
            worth_usd=values["worth_usd"],
            guarantee_alpha=None if alpha is None else float(alpha / 100),
        )


def _field_named(error: str) -> str:
    """Return the field of the option that an error of `PlanOptions` is about."""
    named = next((name for name in PlanOptions._fields if f"option {name} " in error), "votes")
    return "guarantee_percent" if named.startswith("guarantee") else named


class MemberForm(forms.Form):
    """Somebody to add."""

    username = forms.CharField(label="User name", max_length=150, help_text="Without an account yet, one is made.")
    role = forms.ChoiceField(label="Role", choices=Role.choices, initial=Role.ANNOTATOR)


class MethodForm(forms.Form):
    """How people's votes become one answer."""

    method = forms.ChoiceField(
        label="Method",
        choices=[(method.value, f"{method.label}: {note}") for method, note in METHODS.items()],
        widget=forms.RadioSelect,
    )
