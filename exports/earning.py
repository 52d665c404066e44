"""What an hour of people's work is paid: expected from the rate and the time an answer takes, and as it was."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from django.db.models import Count, F, Sum
from django.db.models.functions import Coalesce

from annotation.models import Assignment, LedgerEntry, Pair, PayBasis, Project, Tier
from annotation.models.money import EARNED
from annotation.pricing import most_of, pay_usd
from routing.plans.costing import Pace, fit_pace

SECONDS_PER_HOUR = 3600
# Answers timed before somebody's hour says anything.
LEAST_TIMED = 10
# Pairs whose words stand for the words of all.
PAIRS_READ = 200


class Expected(NamedTuple):
    """What an hour is expected to pay in each tier, from the seconds an answer is expected to take."""

    seconds: float
    note: str
    usd_per_hour: Mapping[str, Decimal | None]


class Actual(NamedTuple):
    """What hours of work were paid: over `timed` answers whose active seconds are known; None where too few are."""

    timed: int
    seconds: float
    usd_per_hour: Decimal | None


def expected_pay(project: Project) -> Expected:
    """Return what an hour of work is expected to pay at the rate in force. Two queries or three."""
    seconds = np.asarray(_seconds_of_answers(project), dtype=np.float64)
    pace: Pace = fit_pace(seconds, np.zeros(len(seconds)))
    words = 0.0 if pace.answers else _words_of_pairs(project)
    one = float(pace.seconds(np.asarray([words]))[0])
    return Expected(one, pace.note, {tier: _hourly(_expected_usd(project, tier, one), one) for tier in Tier.values})


def actual_pay(project: Project) -> tuple[Actual, Mapping[UUID, Actual]]:
    """Return what hours were paid, over everybody and by rater, by the book and the active seconds. Two queries."""
    timed = Coalesce("assignment__preference__seconds", "assignment__ranking__seconds")
    entries = LedgerEntry.objects.in_project(project).filter(kind__in=EARNED, assignment__isnull=False)
    entries = entries.annotate(timed=timed).filter(timed__gt=0).order_by()
    earned = dict(entries.values_list("rater").annotate(usd=Sum("amount_usd")))
    worked = _timed(project).order_by().values_list("rater").annotate(n=Count("pk"), seconds_in_all=Sum("seconds"))
    people = {rater: _actual(n, seconds, earned.get(rater) or Decimal(0)) for rater, n, seconds in worked}
    everybody = _actual(
        sum(one.timed for one in people.values()),
        sum(one.seconds for one in people.values()),
        sum(earned.values(), Decimal(0)),
    )
    return everybody, people


def is_under(usd_per_hour: Decimal | None, floor: Decimal | None) -> bool:
    """Say whether an hour is known to pay less than the project's floor."""
    return usd_per_hour is not None and floor is not None and usd_per_hour < floor


def _actual(timed: int, seconds: float, usd: Decimal) -> Actual:
    return Actual(timed, seconds, _hourly(usd, seconds) if timed >= LEAST_TIMED else None)


def _expected_usd(project: Project, tier: str, seconds: float) -> Decimal:
    rate = project.rate
    if rate is None or rate.basis == PayBasis.ANSWER:
        return pay_usd(project, tier)
    per_minute = rate.crowd_usd if tier == Tier.CROWD else rate.expert_usd
    return min(per_minute * Decimal(repr(seconds)) / 60, most_of(rate, tier))


def _hourly(usd: Decimal, seconds: float) -> Decimal | None:
    if seconds <= 0:
        return None
    return (usd * SECONDS_PER_HOUR / Decimal(repr(seconds))).quantize(Decimal("0.01"))


def _timed(project: Project) -> Any:
    answers = Assignment.objects.paid().filter(task__project=project)
    return answers.annotate(seconds=Coalesce(F("preference__seconds"), F("ranking__seconds"))).filter(seconds__gt=0)


def _seconds_of_answers(project: Project) -> list[float]:
    return list(_timed(project).values_list("seconds", flat=True))


def _words_of_pairs(project: Project) -> float:
    """Return the words of prompt and responses together, on average over the first pairs."""
    pairs = Pair.objects.in_project(project).order_by("pk")
    texts = pairs.values_list("prompt__messages", "response_a__messages", "response_b__messages")[:PAIRS_READ]
    counts = [sum(_words(messages) for messages in row) for row in texts]
    return float(np.mean(counts)) if counts else 0.0


def _words(messages: Sequence[Mapping[str, Any]]) -> int:
    return sum(len(str(message.get("content", "")).split()) for message in messages)
