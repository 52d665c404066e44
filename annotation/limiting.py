"""How many answers one person may give: in all, and in a day (UTC). Whatever is paid counts: extras, hidden repeats."""

from collections.abc import Mapping
from datetime import datetime
from sys import maxsize
from typing import NamedTuple

from django.core.cache import cache
from django.db.models import Count, Q

from annotation.errors import AnnotationError
from annotation.leasing import ANSWERED
from annotation.models import Assignment, AssignmentState, Project, Rater

# A request never takes so long that its person gives more answers meanwhile; nearer to a limit they are counted anew.
MARGIN = 50
DAY_SECONDS = 86_400
LIMITS = ("most_answers", "most_answers_a_day")


class Share(NamedTuple):
    """How many more pairs a person may take now, and, where none, whether tomorrow they may again."""

    left: int
    comes_back: bool


UNLIMITED = Share(maxsize, False)


def share_left(project: Project, rater: Rater, *, places: int, now: datetime) -> Share:
    """Return what is left of a person's share, beyond what they hold; `places` is the most they hold at a time.

    No query far from a limit. Near it two: their row is locked, so that two of their tabs do not take the last one
    twice. Caller holds a transaction that has locked nothing yet.
    """
    in_all = rater.most_answers or project.most_answers
    a_day = rater.most_answers_a_day or project.most_answers_a_day
    if in_all is None and a_day is None:
        return UNLIMITED
    near = places + MARGIN
    if (in_all is None or _most_in_all(rater) + near <= in_all) and (
        a_day is None or _most_today(rater, now) + near <= a_day
    ):
        return UNLIMITED
    Rater.objects.select_for_update(no_key=True).get(pk=rater.pk)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    answered = Q(state__in=ANSWERED)
    counted = Assignment.objects.filter(rater=rater).aggregate(
        held=Count("pk", filter=Q(state=AssignmentState.LEASED)),
        answered=Count("pk", filter=answered),
        today=Count("pk", filter=answered & Q(finished_at__gte=midnight)),
    )
    cache.set(_key(rater, now), (counted["answered"], counted["today"]), timeout=DAY_SECONDS)
    left_in_all = maxsize if in_all is None else in_all - counted["answered"] - counted["held"]
    left_today = maxsize if a_day is None else a_day - counted["today"] - counted["held"]
    return Share(max(0, min(left_in_all, left_today)), comes_back=left_today <= 0 < left_in_all)


def set_limits(target: Project | Rater, limits: Mapping[str, int | None]) -> None:
    """Set how many answers each person of a project, or one person, may give; None: no limit, or the project's.

    What is held stays held. Raises `AnnotationError` for an unknown limit and for less than 1.
    """
    if unknown := sorted(set(limits) - set(LIMITS)):
        raise AnnotationError(f"There is no limit {', '.join(unknown)}; there are {', '.join(LIMITS)}.")
    for name, number in limits.items():
        if number is not None and not 1 <= number <= 2**31 - 1:
            raise AnnotationError(f"{name} is {number}; it is 1 or more, or empty. To stop somebody, pause them.")
        setattr(target, name, number)
    target.save(update_fields=list(limits))


def _most_in_all(rater: Rater) -> int:
    return maxsize // 2 if rater.answered is None else rater.answered


def _most_today(rater: Rater, now: datetime) -> int:
    """Return a number that today's answers do not pass: those counted last, and all that came since."""
    answered, today = cache.get(_key(rater, now)) or (0, 0)
    return today + max(0, _most_in_all(rater) - answered)


def _key(rater: Rater, now: datetime) -> str:
    return f"today:{rater.pk}:{now.date().isoformat()}"
