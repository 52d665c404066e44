"""Hidden repeats: a few pairs come again to the same person with the sides swapped, to see how steady they are.

A repeat looks like any other pair, is paid like one and counts for no label. Which of a person's leases is a repeat is
drawn by the project's seed, the person and the number of the lease, so the same work draws the same repeats.
"""

from django.db.models import Subquery

from annotation.drawing import drawn
from annotation.models import Assignment, AssignmentState, Project, Rater, ShownOrder

# How many answers lie between a pair and its repeat at least: nobody should remember what they said.
GAP = 20
MIRRORED = {ShownOrder.AB: ShownOrder.BA, ShownOrder.BA: ShownOrder.AB}


def is_due(project: Project, rater: Rater, number: int, *, percent: float) -> bool:
    """Say whether the lease of this number (from 0) of a person is a repeat, if there is something to repeat."""
    return number >= GAP and percent > 0 and drawn(project, rater, number, "due") * 100 < percent


def repeatable(project: Project, rater: Rater, number: int) -> Assignment | None:
    """Return the answered assignment to ask again: any of a person's, but for their last ones and those asked again.

    None where the person has just passed on a repeat, or let one run out: the number of their next lease is the same,
    and it would bring the next repeat. Four queries, in the few percent of leases that are due. Of what was answered
    twice nothing is left to repeat.
    """
    answered = Assignment.objects.filter(
        rater=rater, state=AssignmentState.SUBMITTED, repeats__isnull=True, gold__isnull=True, ranking__isnull=True
    ).order_by("-finished_at", "pk")
    last = Assignment.objects.answered().filter(rater=rater).order_by("-finished_at").values("finished_at")[:1]
    ended = Assignment.objects.filter(
        rater=rater, repeats__isnull=False, state__in=[AssignmentState.SKIPPED, AssignmentState.EXPIRED]
    )
    if ended.filter(leased_at__gte=Subquery(last)).exists():
        return None
    old = list(answered.values_list("pk", flat=True)[GAP : GAP + 500])
    free = Assignment.objects.filter(pk__in=old, repeated_by__isnull=True).order_by("finished_at", "pk")
    candidates = list(free.values_list("pk", flat=True))
    if not candidates:
        return None
    drawn_one = candidates[int(drawn(project, rater, number, "which") * len(candidates))]
    return Assignment.objects.select_related("task").get(pk=drawn_one)
