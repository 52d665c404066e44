"""What a manager chooses about the annotation screen: a template to begin with, and every setting of it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django import forms
from django.forms import BaseFormSet, BoundField, formset_factory
from django.utils.functional import Promise

from annotation.configuring import ScreenFile, is_in_use
from annotation.criteria import LONGEST_NAME, CriterionRow, with_answers
from annotation.errors import QuestionnaireInvalid
from annotation.models import Criterion, Project, Rater, RaterKind, Template
from annotation.opening import SLATES
from annotation.questionnaires import KEYS, LONGEST_WORDS, RATING_POINTS, WORDS
from annotation.wording import ACTS

CHOICES = (Template.PAIRWISE, Template.PAIRWISE_RATINGS)
RATINGS = (Template.RATINGS, Template.PAIRWISE_RATINGS)
PAIRS = (*CHOICES, Template.RATINGS)
# Settings that only some templates ask; under the others they have their defaults.
ASKED_BY: dict[str, tuple[Template, ...]] = {
    "points": CHOICES,
    "both_bad": CHOICES,
    "unsure": CHOICES,
    "by_criterion": PAIRS,
    "rating_points": RATINGS,
    "rank_ties": (Template.RANKING,),
    "repeat_percent": PAIRS,
    "suggestion": PAIRS,
}
POINTS = [
    (2, "2: A or B"),
    (3, "3: A, tie, B"),
    (5, "5: better, a bit better, tie"),
    (7, "7: much better, better, a bit better, tie"),
]
FORMAT_NAMES = [("markdown", "As Markdown"), ("plain", "As plain text"), ("code", "As code")]


class Card(NamedTuple):
    """A way to begin: its name, the template and settings behind it, and what it asks, takes and tells."""

    name: str
    template: Template
    title: str
    text: str
    cost: str
    settings: Mapping[str, Any] = {}


CARDS = (
    Card(
        "pairwise",
        Template.PAIRWISE,
        "Choose between two",
        "One choice, from “A is much better” over a tie to B, with one key.",
        "The quickest. Says which and how clearly, not how good.",
    ),
    Card(
        "criteria",
        Template.PAIRWISE,
        "Choose by criteria",
        "The same choice for each criterion, then all in all.",
        "A few seconds more for each criterion. Says why one wins.",
        {"by_criterion": True},
    ),
    Card(
        "ratings",
        Template.RATINGS,
        "Rate each",
        "A number for each response; the higher one is preferred.",
        "Says how good both are. Many pairs end in a tie, and people differ in how strict they are.",
    ),
    Card(
        "pairwise_ratings",
        Template.PAIRWISE_RATINGS,
        "Rate, then choose",
        "Numbers first, then the choice.",
        "The slowest for a pair. Shows how far people's choices contradict their own ratings.",
    ),
    Card(
        "ranking",
        Template.RANKING,
        "Rank several",
        "Up to eight responses to one prompt in order, with ties.",
        "One answer decides every pair among them; long texts are a lot to hold in mind.",
    ),
    Card(
        "best_worst",
        Template.BEST_WORST,
        "Best and worst",
        "The best and the worst of several, and nothing of those between.",
        "Less work than an order, and less said.",
    ),
)
STARTS = {card.name: card for card in CARDS}


class Choice(NamedTuple):
    """A card as the page draws it: the radio button, and what is written beside it."""

    tag: str
    id_for_label: str
    card: Card


def cards_of(field: BoundField) -> Iterator[Choice]:
    """Yield the options of a field of cards, each with its card."""
    for option in field:
        yield Choice(option.tag(), option.id_for_label, STARTS[str(option.data["value"])])


class StartForm(forms.Form):
    """What people are asked in a new project."""

    start = forms.ChoiceField(
        label="What people are asked",
        choices=[(card.name, card.title) for card in CARDS],
        initial="pairwise",
        widget=forms.RadioSelect,
    )
    points = forms.TypedChoiceField(
        label="Points of the choice", choices=POINTS, coerce=int, initial=7, widget=forms.RadioSelect
    )
    criteria = forms.CharField(
        label="Criteria",
        required=False,
        widget=forms.Textarea(attrs={"rows": 4, "placeholder": "accuracy = Is what it says true?"}),
        help_text="A line each: the name, and after “=” what it means. “Overall” is always asked as well.",
    )

    @property
    def cards(self) -> Iterator[Choice]:
        """Return the ways to begin."""
        return cards_of(self["start"])

    def clean_criteria(self) -> dict[str, str]:
        """Return the lines as names with what they mean."""
        found: dict[str, str] = {}
        for line in self.cleaned_data["criteria"].splitlines():
            name, _sign, meaning = (part.strip() for part in line.partition("="))
            if not name and not meaning:
                continue
            if name in found:
                raise forms.ValidationError(f"“{name}” is there twice.")
            found[name] = meaning
        return found

    def screen(self) -> dict[str, Any]:
        """Return what `create_project` takes of it: `template`, `screen` and `criteria`."""
        values = self.cleaned_data
        card = STARTS[values["start"]]
        asked: dict[str, Any] = dict(card.settings)
        if card.template in CHOICES:
            asked["points"] = values["points"]
        if card.template in RATINGS and values["criteria"]:
            asked["by_criterion"] = True
        return {
            "template": card.template.value,
            "screen": asked,
            "criteria": {} if card.template in SLATES or card.name == "pairwise" else values["criteria"],
        }

    def refuse(self, error: QuestionnaireInvalid) -> None:
        """Put an error of the screen at its field."""
        name = "criteria" if error.setting in ("criteria", "by_criterion") else error.setting
        said = "Name at least one criterion." if error.setting == "by_criterion" else str(error)
        self.add_error(name if name in self.fields else None, said)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _lines_field(label: str, help_text: str) -> forms.CharField:
    return forms.CharField(label=label, required=False, widget=forms.Textarea(attrs={"rows": 4}), help_text=help_text)


class ScreenForm(forms.Form):
    """Every setting of a project's screen. `annotation.configuring` checks what they mean."""

    template = forms.ChoiceField(
        label="Template",
        choices=[(card.name, card.title) for card in CARDS if not card.settings],
        widget=forms.RadioSelect,
    )
    points = forms.TypedChoiceField(label="Points of the choice", choices=POINTS, coerce=int, widget=forms.RadioSelect)
    both_bad = forms.BooleanField(label="Offer “Both bad”", required=False)
    unsure = forms.BooleanField(label="Offer “Can't judge”", required=False)
    by_criterion = forms.BooleanField(
        label="Ask by each criterion as well", required=False, help_text="A row for each, before the one all in all."
    )
    rating_points = forms.TypedChoiceField(
        label="Ratings run from 1 to", choices=[(number, str(number)) for number in RATING_POINTS], coerce=int
    )
    rank_ties = forms.BooleanField(label="Allow ties in the order", required=False)
    rationale = forms.BooleanField(label="A box for the reason", required=False)
    rationale_required = forms.BooleanField(label="Every answer needs a reason", required=False)
    spans = forms.BooleanField(
        label="Quotes in the reason", required=False, help_text="People mark a passage and cite it."
    )
    reasons = _lines_field(
        "Reasons to mark", "One a line, 16 at most, marked for each response: clear, made up, too long."
    )
    reasons_required = forms.BooleanField(label="A choice needs at least one of them", required=False)
    confidence = forms.BooleanField(label="Ask how sure they are", required=False)
    content_flags = _lines_field(
        "Flags of the content", "One a line, marked for the pair: private data, not in English."
    )
    show_context = forms.BooleanField(label="Show the prompt's context", required=False)
    show_reference = forms.BooleanField(
        label="Show the reference answer", required=False, help_text="People then compare with it more than they read."
    )
    response_format = forms.ChoiceField(label="Responses are set", choices=FORMAT_NAMES)
    images = forms.BooleanField(
        label="Allow pictures in responses",
        required=False,
        help_text="Each is fetched from its own site, and only when a person asks for it.",
    )
    mask_models = forms.BooleanField(
        label="Hide names of models", required=False, help_text="In responses that say who made them."
    )
    repeat_percent = forms.FloatField(
        label="Hidden repeats, %",
        min_value=0,
        max_value=50,
        help_text="Of a person's answers, with the sides swapped. Paid, and the only measure of steadiness.",
    )
    leases_ahead = forms.IntegerField(
        label="Pairs held ahead",
        min_value=0,
        max_value=5,
        help_text="The next is there at once, also without a connection. Held from others meanwhile.",
    )
    suggestion = forms.ChoiceField(
        label="Show a judge's answer afterwards",
        required=False,
        help_text="After their own answer, which they may then change: it moves people towards the judge.",
    )

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if is_in_use(project):
            self.fields["template"].disabled = True
            self.fields["template"].help_text = "Stays: people were asked by it. Another one takes a new project."
        judges = Rater.objects.filter(project=project, kind=RaterKind.JUDGE).order_by("name")
        chooser = self.fields["suggestion"]
        assert isinstance(chooser, forms.ChoiceField)  # noqa: S101  (declared above)
        chooser.choices = [("", "No"), *((name, name) for name in judges.values_list("name", flat=True))]
        for name, usual in WORDS.items():
            field = forms.CharField(label=_label(usual), required=False, max_length=LONGEST_WORDS)
            self.fields[f"word-{name}"] = field
        for act, key in KEYS.items():
            box = forms.TextInput(attrs={"placeholder": key, "autocapitalize": "none", "spellcheck": "false"})
            name = str(ACTS.get(act, f"Option {act.removeprefix('step')}"))
            self.fields[f"key-{act}"] = forms.CharField(
                label=name, required=False, max_length=1, strip=True, widget=box
            )

    @staticmethod
    def initial_of(settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of the fields for what a project asks now (`settings_of`)."""
        lists = {name: "\n".join(settings[name]) for name in ("reasons", "content_flags")}
        words = {f"word-{name}": text for name, text in settings["words"].items()}
        keys = {f"key-{act}": key for act, key in settings["keys"].items()}
        return {**settings, **lists, **words, **keys}

    @property
    def cards(self) -> Iterator[Choice]:
        """Return the templates."""
        return cards_of(self["template"])

    @property
    def worded(self) -> list[BoundField]:
        """Return the fields of the project's own words."""
        return [self[f"word-{name}"] for name in WORDS]

    @property
    def keyed(self) -> list[BoundField]:
        """Return the fields of the project's own keys."""
        return [self[f"key-{act}"] for act in KEYS]

    @property
    def more_is_open(self) -> bool:
        """Say whether words or keys are set or wrong, so that they must be in sight."""
        shown = [*self.worded, *self.keyed]
        return any(field.errors or field.value() for field in shown)

    def clean_reasons(self) -> list[str]:
        """Return the lines."""
        return _lines(self.cleaned_data["reasons"])

    def clean_content_flags(self) -> list[str]:
        """Return the lines."""
        return _lines(self.cleaned_data["content_flags"])

    def settings(self) -> dict[str, Any]:
        """Return what `annotation.questionnaires.read_questionnaire` takes, without what the template does not ask."""
        values = dict(self.cleaned_data)
        template = values.pop("template")
        values.pop("rationale_required")
        words = {name: values.pop(f"word-{name}") for name in WORDS}
        keys = {act: values.pop(f"key-{act}") for act in KEYS}
        return {
            **{name: value for name, value in values.items() if template in ASKED_BY.get(name, Template.values)},
            "words": {name: text for name, text in words.items() if text},
            "keys": {act: key for act, key in keys.items() if key and key != KEYS[act]},
        }

    def screen(self, criteria: list[CriterionRow]) -> ScreenFile:
        """Return all that the page says of the screen."""
        values = self.cleaned_data
        return ScreenFile(self.settings(), values["template"], criteria, values["rationale_required"])

    def refuse(self, error: QuestionnaireInvalid) -> None:
        """Put an error of the screen at its field; of words, keys and criteria there are many."""
        self.add_error(error.setting if error.setting in self.fields else None, str(error))


def _label(usual: str | Promise) -> str:
    text = str(usual)
    return text[:1].upper() + text[1:]


class CriterionForm(forms.Form):
    """A row of the list of criteria."""

    id = forms.UUIDField(required=False, widget=forms.HiddenInput)
    name = forms.CharField(label="Name", required=False, max_length=LONGEST_NAME)
    description = forms.CharField(label="What it means", required=False)

    def clean(self) -> dict[str, Any]:
        """Ask for a name where there is anything else."""
        values = super().clean() or self.cleaned_data
        if not values.get("name") and not values.get("DELETE") and (values.get("description") or values.get("id")):
            self.add_error("name", "Give it a name, or remove it.")
        return values


if TYPE_CHECKING:
    _FormSet = BaseFormSet[CriterionForm]
else:
    _FormSet = BaseFormSet


class CriteriaBase(_FormSet):
    """The list of criteria beside the whole; rows without a name are left out."""

    answered: set[UUID] = set()

    def add_fields(self, form: CriterionForm, index: int | None) -> None:
        """Name the place, and take the box to remove from a criterion that has answers."""
        super().add_fields(form, index)
        form.fields["ORDER"].label = "Place"
        form.fields["DELETE"].label = "Remove"
        known = form.initial.get("id")
        if known in self.answered:
            form.fields["DELETE"].disabled = True
            form.fields["DELETE"].help_text = "Has answers, so it stays."

    def rows(self) -> list[CriterionRow]:
        """Return the criteria in their order, without those to remove."""
        kept = [form for form in self.ordered_forms if form.cleaned_data.get("name")]
        return [
            CriterionRow(one.cleaned_data["name"], one.cleaned_data["description"], one.cleaned_data["id"])
            for one in kept
        ]


_Criteria = formset_factory(CriterionForm, formset=CriteriaBase, can_order=True, can_delete=True, extra=2, max_num=20)


def criteria_forms(project: Project, data: Any = None) -> CriteriaBase:
    """Return the list of a project's criteria as forms, with two empty rows."""
    there = Criterion.objects.filter(project=project).exclude(position=0)
    initial = [{"id": one.pk, "name": one.name, "description": one.description} for one in there]
    formset: CriteriaBase = _Criteria(data, initial=initial, prefix="criteria")  # type: ignore[assignment]
    formset.answered = with_answers(project)
    return formset
