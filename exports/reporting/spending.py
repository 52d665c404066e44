"""What judges and people cost."""

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, Sum

from annotation.models import (
    Assignment,
    AssignmentState,
    Origin,
    Payment,
    PayRate,
    Preference,
    Project,
    Rater,
)
from annotation.money.booking import balance_of, balances, fees_of
from exports.booking import weeks_of
from exports.earning import LEAST_TIMED, Actual, actual_pay, expected_pay, is_under
from exports.reporting.stating import stated
from judges.models import JudgeVersion, Verdict, VerdictState

NO_HOURS = Actual(0, 0.0, None)


def spending_report(project: Project) -> dict[str, Any]:
    """Return what judges and people cost, in US dollars. Calls whose cost is not known are counted, not guessed.

    Calls that brought no answer and may have been charged (`Verdict.meta.lost_usd`) cost what a run booked for them.
    Only answers given here by people are paid, once each: extra ones and hidden repeats too (`extra`, `repeats`), and
    an order of several responses as one. Recorded ones were paid elsewhere, if at all, and simulated ones are nobody's
    work. What people earned, were paid and are owed is read from the book (`annotation.money`).
    """
    versions = JudgeVersion.objects.filter(judge__project=project).select_related("judge")
    answered = Q(verdicts__state=VerdictState.DONE)
    costs = versions.annotate(
        answered=Count("verdicts", filter=answered),
        unknown=Count("verdicts", filter=answered & Q(verdicts__cost_usd__isnull=True)),
        spent=Sum("verdicts__cost_usd"),
        asked_tokens=Sum("verdicts__prompt_tokens"),
        written_tokens=Sum("verdicts__completion_tokens"),
    ).order_by("judge__name", "number")
    lost = _lost_by_version(project)
    # SQLite adds decimals in binary; six digits are what a verdict holds.
    spent = {version.pk: round((version.spent or Decimal(0)) + lost[version.pk], 6) for version in costs}
    answers = _answers_by_origin(project)
    paid = Assignment.objects.paid().filter(task__project=project)
    balance, (everybody, hours) = balance_of(project), actual_pay(project)
    return stated(
        {
            "models": {
                "usd": sum(spent.values(), Decimal(0)),
                "budget_usd": project.models_budget_usd,
                "judges": [
                    {
                        "judge": version.judge.name,
                        "version": version.number,
                        "answered_calls": version.answered,
                        "calls_of_unknown_cost": version.unknown,
                        "usd": spent[version.pk],
                        "prompt_tokens": version.asked_tokens,
                        "completion_tokens": version.written_tokens,
                    }
                    for version in costs
                ],
            },
            "people": {
                "usd": balance.earned_usd,
                "paid_usd": balance.paid_usd,
                "under_way_usd": balance.under_way_usd,
                "owed_usd": balance.owed_usd,
                "fees_usd": fees_of(project),
                "budget_usd": project.people_budget_usd,
                "pay_per_answer_usd": project.pay_per_answer_usd,
                "rates": [_rate(rate) for rate in project.rates.order_by("number")],
                "answers": answers,
                "extra": paid.filter(state=AssignmentState.EXTRA).count(),
                "repeats": paid.filter(repeats__isnull=False).count(),
                "gold": paid.filter(gold__isnull=False).count(),
                "hourly": _hourly(project, everybody),
                "people": _earners(project, hours),
                "payments": [_payment(one) for one in project.payments.order_by("number")],
            },
            "weeks": [{**week._asdict(), "week": week.week.isoformat()} for week in weeks_of(project)],
        }
    )


def _rate(rate: PayRate) -> dict[str, Any]:
    return {
        "number": rate.number,
        "since": rate.since.isoformat(),
        "basis": rate.basis,
        "crowd_usd": rate.crowd_usd,
        "expert_usd": rate.expert_usd,
        "most_minutes": rate.most_minutes,
    }


def _hourly(project: Project, everybody: Actual) -> dict[str, Any]:
    """Return what an hour pays: the floor, what is expected by tier, and what it was over everybody."""
    expected, floor = expected_pay(project), project.pay_floor_usd_per_hour
    return {
        "floor_usd": floor,
        "expected_seconds": expected.seconds,
        "expected_note": expected.note,
        "expected_usd": dict(expected.usd_per_hour),
        "expected_under_floor": [tier for tier, usd in expected.usd_per_hour.items() if is_under(usd, floor)],
        "actual": _actual(everybody, floor),
    }


def _actual(actual: Actual, floor: Decimal | None) -> dict[str, Any]:
    few = actual.usd_per_hour is None
    return {
        "timed_answers": actual.timed,
        "hours": actual.seconds / 3600,
        "usd": actual.usd_per_hour,
        "too_few": f"too few timed answers ({actual.timed} of {LEAST_TIMED})" if few else "",
        "under_floor": is_under(actual.usd_per_hour, floor),
    }


def _earners(project: Project, hours: Mapping[UUID, Actual]) -> list[dict[str, Any]]:
    """Return who earned or was paid anything, by name. Two queries."""
    found = balances(project)
    names = dict(Rater.objects.filter(pk__in=found).values_list("pk", "name"))
    return [
        {
            "person": names[rater],
            "usd": balance.earned_usd,
            "paid_usd": balance.paid_usd,
            "under_way_usd": balance.under_way_usd,
            "owed_usd": balance.owed_usd,
            "hourly": _actual(hours.get(rater, NO_HOURS), project.pay_floor_usd_per_hour),
        }
        for rater, balance in sorted(found.items(), key=lambda one: names[one[0]])
    ]


def _payment(payment: Payment) -> dict[str, Any]:
    return {
        "number": payment.number,
        "state": payment.state,
        "by": payment.platform or payment.method,
        "total_usd": payment.total_usd,
        "fees_usd": payment.fees_usd,
        "drawn_at": payment.drawn_at.isoformat(),
        "sent_at": payment.sent_at.isoformat() if payment.sent_at else None,
        "reason": payment.reason,
    }


def _lost_by_version(project: Project) -> dict[UUID, Decimal]:
    lost: dict[UUID, Decimal] = defaultdict(Decimal)
    paid = Verdict.objects.filter(version__judge__project=project, meta__has_key="lost_usd")
    for version_id, usd in paid.values_list("version_id", "meta__lost_usd"):
        lost[version_id] += Decimal(usd)
    return lost


def _answers_by_origin(project: Project) -> dict[str, int]:
    """Return how many answers people gave here, and how many preferences of others there are."""
    brought = Preference.objects.current().of_people().filter(pair__project=project, criterion__isnull=True)
    brought = brought.exclude(rater__origin=Origin.LIVE)
    answers = dict(brought.values_list("rater__origin").annotate(n=Count("id")).order_by("rater__origin"))
    here = Assignment.objects.paid().filter(task__project=project).count()
    return dict(sorted({**answers, **({str(Origin.LIVE.value): here} if here else {})}.items()))
