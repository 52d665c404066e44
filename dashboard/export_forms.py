"""What an export may be asked for, on its page."""

from decimal import Decimal
from typing import Any

from django import forms

from annotation.models import Criterion, Project
from exports.errors import ExportError
from exports.models import Snapshot, SnapshotState
from exports.profiles import PROFILES
from exports.settings import BOTH_BAD_RULES, GOLD_RULES, MARGINS, PII_MODES, TERMS_RULES, TIE_RULES, SnapshotSettings

TIE_NAMES = {
    "drop": "Leave ties out, with a count",
    "both": "Write a tie twice, once each way",
    "judges": "Take the side that most judges take",
}
BOTH_BAD_NAMES = {"drop": "Leave them out, with a count", "tie": "Treat them as ties"}
GOLD_NAMES = {"exclude": "Leave them out, with a count", "mark": "Keep and mark them"}
MARGIN_NAMES = {
    "auto": "What every row has",
    "strength": "Mean strength, 1 to 3",
    "scores": "Difference of mean scores",
    "prob": "Probability, -1 to 1",
    "none": "No margin",
}
TERMS_NAMES = {
    "any": "Whatever they say, in columns",
    "unrestricted": "Leave out what is known to be restricted",
    "free": "Keep only what is known to be free",
}
PII_NAMES = {
    "block": "Refuse the export, with places",
    "redact": "Replace it by its kind, as in [EMAIL]",
    "allow": "Let it stand, with counts",
}
PII_DEFAULTS = {"pii_rationales": "redact", "pii_prompts": "allow", "pii_responses": "allow"}
MOST_TEXT = 5000
WEIGHT = "weight_"
LINK_HOURS = [(1, "1 hour"), (24, "1 day"), (168, "7 days"), (720, "30 days")]


def _choices(known: tuple[str, ...], names: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, names.get(name, name)) for name in known]


def _percent(label: str, help_text: str, *, most: int = 100, initial: int = 0) -> forms.DecimalField:
    return forms.DecimalField(
        label=label,
        help_text=help_text,
        min_value=Decimal(0),
        max_value=Decimal(most),
        max_digits=5,
        decimal_places=2,
        initial=initial,
    )


class ExportForm(forms.Form):
    """A snapshot to write. Fields beside the first few may be left out: they keep their defaults."""

    profiles = forms.MultipleChoiceField(
        label="Profiles",
        choices=[(name, f"{name}: {profile.title}") for name, profile in PROFILES.items()],
        widget=forms.CheckboxSelectMultiple,
        initial=["dpo"],
        help_text="Each is a configuration of the same folder.",
    )
    format = forms.ChoiceField(
        label="Files", choices=[("jsonl", "JSON Lines"), ("parquet", "Parquet"), ("both", "Both")], initial="both"
    )
    test_percent = _percent(
        "Test split, %", "Whole prompt groups, so that nothing leaks from train to test.", most=90, initial=10
    )
    tie_rule = forms.ChoiceField(label="Ties", choices=_choices(TIE_RULES, TIE_NAMES))
    min_agreement_percent = _percent(
        "Least agreement of people, %", "Pairs whose voters agree less are left out, with a count."
    )
    seed = forms.IntegerField(
        label="Seed", min_value=0, max_value=2**31 - 1, initial=0, help_text="Of the split. Same seed, same bytes."
    )
    include_simulated = forms.BooleanField(
        label="Keep labels by simulated people", required=False, initial=True, help_text="Every such row says so."
    )
    both_bad_rule = forms.ChoiceField(
        label="Both bad", required=False, choices=_choices(BOTH_BAD_RULES, BOTH_BAD_NAMES)
    )
    gold_rule = forms.ChoiceField(
        label="Gold, and pairs that judges' prompts or practice show",
        required=False,
        choices=_choices(GOLD_RULES, GOLD_NAMES),
    )
    min_votes = forms.IntegerField(
        label="Least answers of people", required=False, min_value=0, max_value=1000, initial=0
    )
    min_p_correct_percent = forms.DecimalField(
        label="Least probability that the label is right, %",
        required=False,
        min_value=Decimal(0),
        max_value=Decimal(100),
        max_digits=5,
        decimal_places=2,
        initial=0,
        help_text="Where it can be told; other rows stay.",
    )
    margin = forms.ChoiceField(
        label="Margin",
        required=False,
        choices=_choices(MARGINS, MARGIN_NAMES),
        help_text="In every row, or in none: a row that lacks what you ask for is left out.",
    )
    good_from = forms.FloatField(
        label="kto: a response of a tie is good from a mean score of",
        required=False,
        help_text="Empty: ties are left out there.",
    )
    license = forms.CharField(
        label="Licence", required=False, max_length=100, help_text="Of rows whose file names none. Example: cc-by-4.0"
    )
    licences_allowed = forms.CharField(
        label="Only pairs of these licences",
        required=False,
        max_length=500,
        help_text="Names with commas between; empty: all. Example: cc-by-4.0, odc-by. "
        "Pairs without a known licence go too, unless unknown is one of them.",
    )
    generator_terms = forms.CharField(
        label="Terms of the models that wrote the responses",
        required=False,
        max_length=MOST_TEXT,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="A line a model: its name = free or restricted, for whether others may train on what it wrote.",
    )
    terms_allowed = forms.ChoiceField(
        label="Pairs by these terms", required=False, choices=_choices(TERMS_RULES, TERMS_NAMES)
    )
    pii_rationales = forms.ChoiceField(
        label="Personal data in reasons",
        required=False,
        choices=_choices(PII_MODES, PII_NAMES),
        initial=PII_DEFAULTS["pii_rationales"],
        help_text="E-mail addresses, telephone, account and card numbers, public IP addresses, secrets.",
    )
    pii_prompts = forms.ChoiceField(
        label="Personal data in prompts",
        required=False,
        choices=_choices(PII_MODES, PII_NAMES),
        initial=PII_DEFAULTS["pii_prompts"],
        help_text="And in context, guidelines and further fields of the file.",
    )
    pii_responses = forms.ChoiceField(
        label="Personal data in responses",
        required=False,
        choices=_choices(PII_MODES, PII_NAMES),
        initial=PII_DEFAULTS["pii_responses"],
    )
    least_in_group = forms.IntegerField(
        label="Least people in a group",
        required=False,
        min_value=1,
        max_value=1000,
        initial=5,
        help_text="Community, country and the like are told where so many people share them.",
    )
    gzip = forms.BooleanField(label="Compress JSON Lines", required=False)

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._criteria = list(Criterion.objects.filter(project=project).values_list("name", flat=True))
        for number, name in enumerate(self._criteria):
            self.fields[f"{WEIGHT}{number}"] = forms.FloatField(label=f"Weight of {name}", required=False)

    @property
    def weights(self) -> list[forms.BoundField]:
        """The fields for weights of the project's criteria."""
        return [self[f"{WEIGHT}{number}"] for number in range(len(self._criteria))]

    def clean(self) -> dict[str, Any]:
        """Hold the settings against each other; what cannot be is said in words."""
        values = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                SnapshotSettings.parse(self.settings())
            except ExportError as error:
                self.add_error(None, str(error))
        return values

    def clean_generator_terms(self) -> dict[str, str]:
        """Return the terms of each model; what is no line of them is said in words."""
        terms = {}
        for line in filter(None, map(str.strip, self.cleaned_data["generator_terms"].splitlines())):
            model, equals, said = line.rpartition("=")
            if not equals or not model.strip():
                raise forms.ValidationError(f"{line!r} is no line such as gpt-x = restricted.")
            terms[model.strip()] = said.strip()
        return terms

    def clean_licences_allowed(self) -> list[str]:
        """Return the names between the commas."""
        return [name for one in self.cleaned_data["licences_allowed"].split(",") if (name := one.strip())]

    def settings(self) -> dict[str, Any]:
        """Return what `exports.settings.SnapshotSettings` takes."""
        values = self.cleaned_data
        given = ((name, values.get(f"{WEIGHT}{number}")) for number, name in enumerate(self._criteria))
        return {
            "format": values["format"],
            "test_share": float(values["test_percent"] / 100),
            "tie_rule": values["tie_rule"],
            "min_agreement": float(values["min_agreement_percent"] / 100),
            "seed": values["seed"],
            "include_simulated": values["include_simulated"],
            "both_bad_rule": values["both_bad_rule"] or BOTH_BAD_RULES[0],
            "gold_rule": values["gold_rule"] or GOLD_RULES[0],
            "min_votes": values["min_votes"] or 0,
            "min_p_correct": float((values["min_p_correct_percent"] or 0) / 100),
            "margin": values["margin"] or MARGINS[0],
            "good_from": values["good_from"],
            "license": values["license"],
            "gzip": values["gzip"],
            "licences_allowed": values["licences_allowed"],
            "generator_terms": values["generator_terms"],
            "terms_allowed": values["terms_allowed"] or TERMS_RULES[0],
            **{name: values[name] or mode for name, mode in PII_DEFAULTS.items()},
            "least_in_group": values["least_in_group"] or SnapshotSettings().least_in_group,
            "criterion_weights": {name: weight for name, weight in given if weight is not None},
        }


class CompareForm(forms.Form):
    """Two finished snapshots to compare."""

    before = forms.ChoiceField(label="From")
    after = forms.ChoiceField(label="To")

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        done = Snapshot.objects.filter(project=project, state=SnapshotState.DONE).order_by("-number")
        numbers = list(done.values_list("number", flat=True))
        for name, initial in (("before", numbers[1:2]), ("after", numbers[:1])):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)  # noqa: S101  (declared above)
            field.choices = [(number, f"Export {number}") for number in numbers]
            field.initial = initial[0] if initial else None


class LinkForm(forms.Form):
    """A file of a snapshot to share, and for how long."""

    path = forms.ChoiceField(label="File")
    hours = forms.TypedChoiceField(label="For", choices=LINK_HOURS, coerce=int, initial=24)

    def __init__(self, *args: Any, snapshot: Snapshot, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["path"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101  (declared above)
        field.choices = [(file["path"], file["path"]) for file in snapshot.files]
