"""What a manager says of how much people work: limits, skills, pauses. The verbs check what it means."""

from typing import Any

from django import forms

from annotation.limiting import LIMITS, set_limits
from annotation.models import Project, Rater, Task, Tier
from annotation.pausing import REASON_LIMIT
from annotation.promising import set_people_budget
from annotation.skilling import known_skills, set_needs, set_skills
from annotation.voting import MOST_VOTES, set_votes
from dashboard.forms import usd_field


def answers_field(label: str, help_text: str) -> forms.IntegerField:
    """Return a field for a number of answers, from 1; empty is no limit."""
    return forms.IntegerField(label=label, help_text=help_text, required=False, min_value=1, max_value=2**31 - 1)


class EraseForm(forms.Form):
    """Why a person is erased, and their name a second time: there is no way back."""

    reason = forms.CharField(
        label="Why",
        max_length=REASON_LIMIT,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="It is kept, so name nobody. Example: asked for it on 3 May.",
    )
    name = forms.CharField(label="Their name, once more", max_length=200, help_text="Nothing undoes this.")

    def __init__(self, *args: Any, name: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._name = name

    def clean_name(self) -> str:
        """Refuse another name than that of the person."""
        if self.cleaned_data["name"] != self._name:
            raise forms.ValidationError(f"Type it as it is here: {self._name}.")
        return self._name


class LimitsForm(forms.Form):
    """How much every person of a project may do, and what a pair needs."""

    people_budget_usd = usd_field(
        "Budget for people",
        "US dollars; a hard stop. Nobody gets a pair that this does not pay for. Empty: no limit.",
    )
    votes_wanted = forms.IntegerField(
        label="Answers wanted a pair",
        min_value=1,
        max_value=MOST_VOTES,
        help_text="A new number holds for all open and finished pairs of the crowd. What people hold or gave stays.",
    )
    most_answers = answers_field("Answers a person, at most", "In all. Empty: no limit.")
    most_answers_a_day = answers_field("Answers a person and day, at most", "From midnight to midnight UTC.")
    needs_language = forms.BooleanField(
        label="A pair needs somebody who reads its prompt's language",
        required=False,
        help_text="Say on each person's page what they read. Pairs without a language go to anybody.",
    )
    needs_domain = forms.BooleanField(label="A pair needs somebody who knows its prompt's category", required=False)

    def __init__(self, project: Project, data: Any = None) -> None:
        self.project = project
        super().__init__(data, initial={name: getattr(project, name) for name in self.base_fields})

    def save(self) -> None:
        """Store what was changed, one verb each. Raises `AnnotationError` in words."""
        values, changed = self.cleaned_data, set(self.changed_data)
        if "people_budget_usd" in changed:
            set_people_budget(self.project, values["people_budget_usd"])
        if changed & set(LIMITS):
            set_limits(self.project, {name: values[name] for name in LIMITS})
        if changed & {"needs_language", "needs_domain"}:
            set_needs(self.project, language=values["needs_language"], domain=values["needs_domain"])
        if "votes_wanted" in changed:
            set_votes(self.project, votes_wanted=values["votes_wanted"])


class PersonForm(forms.Form):
    """How much one person may do, and what they can."""

    most_answers = answers_field("Answers, at most", "In all. Empty: as the project says.")
    most_answers_a_day = answers_field("Answers a day, at most", "From midnight to midnight UTC.")
    languages = forms.MultipleChoiceField(
        label="Reads", required=False, widget=forms.CheckboxSelectMultiple, help_text="Languages of prompts."
    )
    domains = forms.MultipleChoiceField(
        label="Knows", required=False, widget=forms.CheckboxSelectMultiple, help_text="Categories of prompts."
    )

    def __init__(self, project: Project, rater: Rater, data: Any = None) -> None:
        self.rater = rater
        super().__init__(data, initial={name: getattr(rater, name) for name in self.base_fields})
        for name, known in zip(("languages", "domains"), known_skills(project), strict=True):
            chooser = self.fields[name]
            assert isinstance(chooser, forms.MultipleChoiceField)  # noqa: S101  (declared above)
            # What a person has been given stays to be seen when no prompt needs it any more.
            chooser.choices = [(skill, skill) for skill in dict.fromkeys([*known, *getattr(rater, name)])]

    def save(self) -> None:
        """Store it. Raises `AnnotationError` in words."""
        values = self.cleaned_data
        set_limits(self.rater, {name: values[name] for name in LIMITS})
        set_skills(self.rater, languages=values["languages"], domains=values["domains"])


class PauseForm(forms.Form):
    """Why somebody gets no more pairs."""

    reason = forms.CharField(
        label="Reason",
        max_length=REASON_LIMIT,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="They read it. What they hold goes to others at once; what they gave stays, and is paid.",
    )


class VotesForm(forms.Form):
    """How many answers one pair wants."""

    votes_wanted = forms.IntegerField(label="Answers wanted", min_value=1, max_value=MOST_VOTES)

    def save(self, task: Task) -> int:
        """Store it; return how many tasks changed. Raises `AnnotationError` in words."""
        most = task.most_votes
        wanted = self.cleaned_data["votes_wanted"]
        return set_votes(
            task.project,
            votes_wanted=wanted,
            most_votes=None if most is None else max(most, wanted),
            pair_ids=[task.pair_id],
            tier=Tier(task.tier),
        )
