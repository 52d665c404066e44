"""What a project's screen asks: read from its row, changed by its manager."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django.db import transaction

from annotation.criteria import CriterionRow, list_criteria
from annotation.errors import QuestionnaireInvalid
from annotation.models import Criterion, Preference, Project, Ranking, Rater, RaterKind, Task, Template
from annotation.questionnaires import Questionnaire, read_questionnaire

# What a file of settings may hold beside the settings themselves.
BESIDE = ("template", "rationale_required", "criteria")


def questionnaire_of(project: Project) -> Questionnaire:
    """Return what a project's screen asks."""
    return read_questionnaire(project.template, project.questionnaire)


class ScreenFile(NamedTuple):
    """What a file says of a screen: None stands for what it does not say."""

    settings: dict[str, Any]
    template: str | None = None
    criteria: list[CriterionRow] | None = None
    rationale_required: bool | None = None


def configure(
    project: Project,
    *,
    template: str | None = None,
    settings: Mapping[str, Any],
    criteria: Sequence[CriterionRow] | None = None,
    rationale_required: bool | None = None,
) -> Questionnaire:
    """Set what a project's screen asks, whole: a setting that is not named has its default again.

    `criteria` are those beside the whole, in order; one that is not among them is removed. Left out, they stay, and so
    does `rationale_required`. The template stays once tasks are open or people have answered, since those were asked
    otherwise. Raises `QuestionnaireInvalid` naming the setting, and then changes nothing.
    """
    asked = read_questionnaire(template or project.template, settings)
    if asked.template != project.template and is_in_use(project):
        raise QuestionnaireInvalid(
            "template", f"stays {project.template!r}: tasks are open or people have answered. Make a new project."
        )
    required = project.rationale_required if rationale_required is None else rationale_required
    if required and not asked.rationale:
        raise QuestionnaireInvalid("rationale", "is off, but every answer needs a reason. Switch one of them.")
    if (
        asked.suggestion
        and not Rater.objects.filter(project=project, kind=RaterKind.JUDGE, name=asked.suggestion).exists()
    ):
        raise QuestionnaireInvalid("suggestion", f"is {asked.suggestion!r}, which is no judge of this project.")
    with transaction.atomic():
        if criteria is not None:
            list_criteria(project, criteria)
        if asked.by_criterion and not project.criteria.exclude(position=0).exists():
            raise QuestionnaireInvalid(
                "by_criterion", "is on, but the project has no criteria beside the whole. Add some."
            )
        project.template = asked.template
        project.questionnaire = asked.settings()
        project.rationale_required = required
        project.save(update_fields=["template", "questionnaire", "rationale_required"])
        if asked.asks_ratings:
            Criterion.objects.filter(project=project).update(scale_min=1, scale_max=asked.rating_points)
    return asked


def read_screen(values: Any) -> ScreenFile:
    """Return what a file of settings says: an object of settings, with `template`, `criteria` and `rationale_required`.

    Only its form is checked; `configure` checks the rest. Raises `QuestionnaireInvalid` naming the setting.
    """
    if not isinstance(values, Mapping):
        raise QuestionnaireInvalid("template", 'is missing: the file holds no object, as in {"template": "pairwise"}.')
    settings = {str(name): value for name, value in values.items() if name not in BESIDE}
    template, required = values.get("template"), values.get("rationale_required")
    if template is not None and not isinstance(template, str):
        raise QuestionnaireInvalid("template", f"is {template!r}; it takes a text.")
    if required is not None and not isinstance(required, bool):
        raise QuestionnaireInvalid("rationale_required", f"is {required!r}; it takes true or false.")
    criteria = values.get("criteria")
    if criteria is None:
        return ScreenFile(settings, template, None, required)
    if not isinstance(criteria, Mapping) or not all(isinstance(part, str) for one in criteria.items() for part in one):
        raise QuestionnaireInvalid("criteria", f"are {criteria!r}; they take an object of names to what they mean.")
    return ScreenFile(settings, template, [CriterionRow(*one) for one in criteria.items()], required)


def settings_of(project: Project) -> dict[str, Any]:
    """Return all a project's screen asks, with the defaults in place: what `read_screen` takes."""
    asked = questionnaire_of(project)
    further = project.criteria.exclude(position=0)
    return {
        "template": asked.template,
        **asked.values(),
        "rationale_required": project.rationale_required,
        "criteria": dict(further.values_list("name", "description")),
    }


def is_in_use(project: Project) -> bool:
    """Say whether people were asked: tasks are there, or answers given here. Three queries at most."""
    people = {"rater__project": project, "rater__kind": RaterKind.PERSON, "rater__origin": "live"}
    return (
        Task.objects.filter(project=project).exists()
        or Preference.objects.filter(**people).exists()
        or Ranking.objects.filter(**people).exists()
    )


TEMPLATES = {
    Template.PAIRWISE: "One choice between two responses, from much better to a tie, by keys.",
    Template.RATINGS: "A rating of each response; what follows of them is the preference.",
    Template.PAIRWISE_RATINGS: "Ratings first, then the choice: shows how far the two agree.",
    Template.RANKING: "Two to eight responses in order, with ties; it decides all pairs among them.",
    Template.BEST_WORST: "The best and the worst of several: less work than an order, and less said.",
}
