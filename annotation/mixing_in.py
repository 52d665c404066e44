"""Which of a person's leases are gold: unseen, at the rate their project sets, drawn for each person.

A gold pair looks like any other, is paid like one and counts for no label. In every stretch of pairs one is gold, at a
place that seed, person and stretch decide: nobody gets one more or one fewer than the rate says, and nobody can count
to the next. What was drawn stands in the assignment (`Assignment.gold`).
"""

from typing import NamedTuple

from django.db.models import Exists, OuterRef

from annotation.drawing import drawn
from annotation.models import Assignment, AssignmentState, Gold, Preference, Project, Rater, Task, Tier
from annotation.skilling import skills_of
from annotation.standards import Standards


class Drawn(NamedTuple):
    """A gold pair for a person: the task to lease without a slot, and their own lease of it that ran out."""

    gold: Gold
    task: Task
    lapsed: Assignment | None


def is_gold_due(project: Project, rater: Rater, standards: Standards, *, number: int, asked: int) -> bool:
    """Say whether the lease of this number (from 0) of a person is gold, when they have had `asked` of them.

    Of the first gold pairs (`annotation.qualifying`) none is asked again here. The n-th gold after those stands among
    the pairs of its stretch, `(100 - percent) / percent` ordinary ones long, at a place drawn.
    """
    if standards.gold_percent <= 0:
        return False
    since = max(0, asked - standards.first_gold * rater.qualification_tries)
    stretch = (100.0 - standards.gold_percent) / standards.gold_percent
    place = (since + drawn(project, rater, since, "gold place")) * stretch
    return number - asked >= int(place)


def draw_gold(project: Project, rater: Rater, asked: int) -> Drawn | None:
    """Return a gold pair that a person has not seen, or one of theirs that ran out; None where there is none left.

    Three queries, in the leases that are gold.
    """
    mine = Assignment.objects.filter(rater=rater, task__pair=OuterRef("pair"))
    answered = Preference.objects.filter(rater=rater, pair=OuterRef("pair"))
    skills = skills_of(rater)
    fitting = Task.objects.filter(
        pair=OuterRef("pair"), tier=Tier.CROWD, language__in=skills.languages, domain__in=skills.domains
    )
    unseen = Gold.objects.live().filter(Exists(fitting), ~Exists(answered), project=project)
    lapsed = Assignment.objects.filter(
        Exists(unseen.filter(pk=OuterRef("gold"))), rater=rater, state=AssignmentState.EXPIRED
    )
    ended = lapsed.select_related("gold", "task__pair").order_by("leased_at", "pk").first()
    if ended is not None and ended.gold is not None:
        return Drawn(ended.gold, ended.task, ended)
    ids = list(unseen.filter(~Exists(mine)).order_by("pk").values_list("pk", flat=True))
    if not ids:
        return None
    gold = Gold.objects.get(pk=ids[int(drawn(project, rater, asked, "gold pair") * len(ids))])
    return Drawn(gold, Task.objects.with_texts().get(pair=gold.pair_id, tier=Tier.CROWD), None)
