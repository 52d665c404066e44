"""What a project's screen asks: read from its row, changed by its manager."""

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from annotation.errors import QuestionnaireInvalid
from annotation.models import Criterion, Preference, Project, Ranking, Rater, RaterKind, Task, Template
from annotation.questionnaires import Questionnaire, needs_criteria, read_questionnaire


def questionnaire_of(project: Project) -> Questionnaire:
    """Return what a project's screen asks."""
    return read_questionnaire(project.template, project.questionnaire)


def configure(project: Project, *, template: str | None = None, settings: Mapping[str, Any]) -> Questionnaire:
    """Set what a project's screen asks, whole: a setting that is not named has its default again.

    The template stays once tasks are open or people have answered, since those were asked otherwise. Raises
    `QuestionnaireInvalid` naming the setting, and then changes nothing.
    """
    asked = read_questionnaire(template or project.template, settings)
    if asked.template != project.template and _is_in_use(project):
        raise QuestionnaireInvalid(
            "template", f"stays {project.template!r}: tasks are open or people have answered. Make a new project."
        )
    if asked.by_criterion and not project.criteria.exclude(position=0).exists():
        raise QuestionnaireInvalid("by_criterion", "is on, but the project has no criteria beside the whole. Add some.")
    if (
        asked.suggestion
        and not Rater.objects.filter(project=project, kind=RaterKind.JUDGE, name=asked.suggestion).exists()
    ):
        raise QuestionnaireInvalid("suggestion", f"is {asked.suggestion!r}, which is no judge of this project.")
    with transaction.atomic():
        project.template = asked.template
        project.questionnaire = asked.settings()
        project.save(update_fields=["template", "questionnaire"])
        if asked.asks_ratings and needs_criteria(asked):
            Criterion.objects.filter(project=project).update(scale_min=1, scale_max=asked.rating_points)
    return asked


def _is_in_use(project: Project) -> bool:
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
