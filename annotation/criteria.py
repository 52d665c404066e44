"""A project's criteria beside "overall": listed in order, renamed and removed without losing what was answered."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from annotation.errors import QuestionnaireInvalid
from annotation.models import Criterion, Preference, Project, Rating
from annotation.questionnaires import check_storable

OVERALL = "overall"
LONGEST_NAME = 120


class CriterionRow(NamedTuple):
    """A criterion as its manager lists it; without an id it is the one of that name, or a new one."""

    name: str
    description: str = ""
    id: UUID | None = None


def with_answers(project: Project) -> set[UUID]:
    """Return the criteria by which somebody, person or judge, has answered: they cannot be removed. Two queries."""
    by_choice = Preference.objects.filter(criterion__project=project).values_list("criterion_id", flat=True)
    by_rating = Rating.objects.filter(criterion__project=project).values_list("criterion_id", flat=True)
    return {one for rows in (by_choice.distinct(), by_rating.distinct()) for one in rows if one is not None}


def list_criteria(project: Project, rows: Sequence[CriterionRow]) -> None:
    """Make a project's criteria beside the whole those of the list, in its order. Caller holds a transaction.

    Raises `QuestionnaireInvalid` for a name that cannot be, and for one with answers that is not in the list.
    """
    rows = [row._replace(name=row.name.strip(), description=row.description.strip()) for row in rows]
    check_criteria([row.name for row in rows])
    check_storable("criteria", [row.description for row in rows])
    there = {one.pk: one for one in project.criteria.exclude(position=0)}
    named = {one.name: one for one in there.values() if one.pk not in {row.id for row in rows}}
    kept = [named.get(row.name) if row.id is None else there.get(row.id) for row in rows]
    gone = set(there) - {one.pk for one in kept if one is not None}
    if stays := sorted(there[one].name for one in gone & with_answers(project)):
        raise QuestionnaireInvalid("criteria", f"lack {stays[0]!r}, which has answers and stays. Keep it in the list.")
    Criterion.objects.filter(pk__in=gone).delete()
    # A name is there once, and two may change theirs with each other: those that change go out of the way first.
    for row, found in zip(rows, kept, strict=True):
        if found is not None and found.name != row.name:
            Criterion.objects.filter(pk=found.pk).update(name=str(found.pk))
    for position, (row, found) in enumerate(zip(rows, kept, strict=True), start=1):
        criterion = found or Criterion(project=project)
        criterion.name, criterion.description, criterion.position = row.name, row.description, position
        criterion.save()


def check_criteria(names: Sequence[str]) -> None:
    """Raise `QuestionnaireInvalid` for a name that no criterion can have, or that two would have."""
    check_storable("criteria", names)
    for number, name in enumerate(names):
        if not name or len(name) > LONGEST_NAME or name == OVERALL:
            raise QuestionnaireInvalid(
                "criteria",
                f"hold {name[:40]!r}, which cannot be a criterion: it takes 1 to {LONGEST_NAME} characters, and not "
                f"{OVERALL!r}.",
            )
        if name in names[:number]:
            raise QuestionnaireInvalid("criteria", f"hold {name!r} twice.")
