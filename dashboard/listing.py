"""The list of pairs: filtered by where they stand, walked in the order of import without counting the table."""

import uuid
from collections.abc import Callable
from typing import NamedTuple

from django.db.models import Exists, OuterRef, QuerySet

from annotation.models import Choice, Pair, Preference, Project, RaterKind, Task, TaskState
from annotation.slating import asked_in
from judges.models import Verdict, VerdictState
from routing.models import LabelSource, RouteSource
from routing.plans.closing import asked_routes

PAGE_SIZE = 50


class PairPage(NamedTuple):
    """A page of pairs; `next_after` is the id to go on from, None on the last page."""

    pairs: list[Pair]
    next_after: uuid.UUID | None


def _asked(*sources: RouteSource) -> Exists:
    return Exists(asked_routes().filter(pair=OuterRef("pk"), source__in=sources))


def _not_asked(pairs: QuerySet[Pair]) -> QuerySet[Pair]:
    return pairs.filter(~_asked(RouteSource.PEOPLE, RouteSource.AUDIT))


def _judged(pairs: QuerySet[Pair]) -> QuerySet[Pair]:
    return pairs.filter(Exists(Preference.objects.counted().filter(pair=OuterRef("pk"), rater__kind=RaterKind.JUDGE)))


def _waiting_for_people(pairs: QuerySet[Pair]) -> QuerySet[Pair]:
    return pairs.filter(asked_in(Task.objects.filter(state=TaskState.OPEN)))


def _failed(pairs: QuerySet[Pair]) -> QuerySet[Pair]:
    return pairs.filter(Exists(Verdict.objects.filter(pair=OuterRef("pk"), state=VerdictState.FAILED)))


# What a figure on another page counts, under the name its link carries.
STATES: dict[str, tuple[str, Callable[[QuerySet[Pair]], QuerySet[Pair]]]] = {
    "": ("All pairs", lambda pairs: pairs),
    "judged": ("Judged", _judged),
    "ai": ("AI label, nobody asked", lambda pairs: _not_asked(pairs.filter(label__source=LabelSource.AI))),
    "people": ("People, chosen by the router", lambda pairs: pairs.filter(_asked(RouteSource.PEOPLE))),
    "audit": ("Audit slice", lambda pairs: pairs.filter(_asked(RouteSource.AUDIT))),
    "waiting": ("Waiting for people", _waiting_for_people),
    "recorded": ("Answered, not routed", lambda pairs: _not_asked(pairs.filter(label__source=LabelSource.HUMAN))),
    "adjudicated": ("Adjudicated", lambda pairs: _not_asked(pairs.filter(label__source=LabelSource.ADJUDICATED))),
    "disputed": ("Disputed", lambda pairs: pairs.filter(label__choice="").exclude(label__source=LabelSource.AI)),
    "contested": (
        "Contested: no answer has most votes",
        lambda pairs: pairs.filter(label__provenance__contested=True),
    ),
    "suspected": (
        "Suspected flips: label against most votes, or likelier wrong",
        lambda pairs: pairs.filter(label__provenance__suspected_flip=True),
    ),
    "withheld": (
        "Held back: no judge's label may stand",
        lambda pairs: pairs.filter(label__choice="", label__source=LabelSource.AI),
    ),
    "resolved": ("Resolved", lambda pairs: pairs.filter(label__isnull=False).exclude(label__choice="")),
    "unlabelled": ("No label, nobody asked", lambda pairs: _not_asked(pairs.filter(label__isnull=True))),
    "failed": ("A judge failed", _failed),
}


def page_of_pairs(
    project: Project, *, state: str = "", choice: str = "", text: str = "", after: uuid.UUID | None = None
) -> PairPage:
    """Return 50 pairs after one, in the order of import, with prompt and label; one query.

    `state` is a key of `STATES`, `choice` one of the label's choices, `text` the beginning of a pair's id in its file.
    Unknown values of the first two find nothing narrower than all.
    """
    pairs = STATES.get(state, STATES[""])[1](Pair.objects.in_project(project))
    if choice in Choice.values:
        pairs = pairs.filter(label__choice=choice)
    if text:
        pairs = pairs.filter(external_id__startswith=text)
    if after is not None:
        pairs = pairs.filter(pk__gt=after)
    rows = list(pairs.select_related("prompt", "label")[: PAGE_SIZE + 1])
    page = rows[:PAGE_SIZE]
    return PairPage(page, page[-1].pk if len(rows) > PAGE_SIZE else None)
