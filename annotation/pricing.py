"""What an answer pays: by the answer or by the minute, for each tier, and never changed after it was given.

The stated rule: an answer is paid the rate that was in force when its pair was handed out, so that nobody works for
another pay than they were told. One that came too late to count, and a hidden repeat, are work like any other and are
paid the same. By the minute, the time is what the browser counted as active, never more than since the pair was handed
out nor than the rate's cap; where the browser counted nothing (scripts are off), it is the time since the pair was
handed out, up to the cap. A changed answer earns for the time it adds, as far as the budget goes.
"""

from datetime import datetime
from decimal import ROUND_UP, Decimal

from django.db import transaction
from django.db.models import Max

from annotation.errors import AnnotationError
from annotation.models import Assignment, Origin, PayBasis, PayRate, Project, Rater, Tier, User

# What the book holds: a hundredth of a cent.
STEP = Decimal("0.0001")
MOST_USD = Decimal(1000)
MOST_MINUTES = Decimal(600)


def pay_usd(project: Project, tier: str, *, at: datetime | None = None) -> Decimal:
    """Return the most that an answer to a task of this tier pays, in US dollars: now, or if handed out `at` a time.

    A lease promises it (`Assignment.promised_usd`), and by the answer its answer earns just that. No query where the
    project was loaded with its rate, or has none.
    """
    rate = project.rate if at is None else rate_at(project, at)
    return Decimal(project.pay_per_answer_usd) if rate is None else most_of(rate, tier)


def pay_for(project: Project, rater: Rater, tier: str, *, at: datetime | None = None) -> Decimal:
    """Return what an answer of this person pays at most, in US dollars: simulated people are paid nothing."""
    return pay_usd(project, tier, at=at) if rater.origin == Origin.LIVE else Decimal(0)


def earned_usd(assignment: Assignment, seconds: float | None, *, now: datetime) -> Decimal:
    """Return what an answer earns that took so many active seconds in all: what was promised, by the minute at most.

    `seconds` is None where nothing counted them. A query only where the rate changed meanwhile.
    """
    rate = rate_at(assignment.rater.project, assignment.leased_at)
    if rate is None or rate.basis == PayBasis.ANSWER:
        return assignment.promised_usd
    since_seconds = (now - assignment.leased_at).total_seconds()
    return min(time_usd(rate, assignment.task.tier, seconds, since_seconds), assignment.promised_usd)


def more_usd(assignment: Assignment, seconds: float | None, *, now: datetime) -> Decimal:
    """Return what a changed answer, which took so many seconds in all, earns beyond what it has: by the answer nothing.

    A query only where the rate changed meanwhile.
    """
    rate = rate_at(assignment.rater.project, assignment.leased_at)
    if rate is None or rate.basis == PayBasis.ANSWER or seconds is None or assignment.rater.origin != Origin.LIVE:
        return Decimal(0)
    since_seconds = (now - assignment.leased_at).total_seconds()
    return max(Decimal(0), time_usd(rate, assignment.task.tier, seconds, since_seconds) - assignment.promised_usd)


def time_usd(rate: PayRate, tier: str, seconds: float | None, since_seconds: float) -> Decimal:
    """Return what a rate by the minute pays for active seconds of the time since a pair was handed out, up to its cap.

    Rounded up to a hundredth of a cent.
    """
    active = since_seconds if seconds is None else min(seconds, since_seconds)
    minutes = min(Decimal(repr(max(0.0, active))) / 60, Decimal(rate.most_minutes or 0))
    return _whole(_per_unit(rate, tier) * minutes)


def most_of(rate: PayRate, tier: str) -> Decimal:
    """Return the most that a rate pays for one answer in a tier."""
    one = _per_unit(rate, tier)
    return one if rate.basis == PayBasis.ANSWER else _whole(one * Decimal(rate.most_minutes or 0))


def rate_at(project: Project, then: datetime) -> PayRate | None:
    """Return the rate that was in force at a time; None where none was ever set. A query only after a change."""
    rate = project.rate
    if rate is None or rate.since <= then:
        return rate
    earlier = PayRate.objects.filter(project=project)
    return earlier.filter(since__lte=then).order_by("-number").first() or earlier.order_by("number").first()


def set_rate(
    project: Project,
    *,
    basis: str = PayBasis.ANSWER,
    crowd_usd: Decimal,
    expert_usd: Decimal | None = None,
    most_minutes: Decimal | None = None,
    by: User | None = None,
    now: datetime,
) -> PayRate:
    """Pay so much from now on, for an answer or a minute; what was answered keeps its pay. The same again makes none.

    Adjudicators are paid as experts, and without `expert_usd` both as the crowd. `pay_per_answer_usd` becomes the most
    one answer of the crowd is paid, which plans count by. Where people work already, what they were paid so far becomes
    the first rate. Raises `AnnotationError` in words. Locks the project.
    """
    values = _checked(basis, crowd_usd, crowd_usd if expert_usd is None else expert_usd, most_minutes)
    with transaction.atomic():
        locked = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        rate = PayRate.objects.filter(project=locked, pk__in=[locked.rate_id], **values).first()
        if rate is None:
            if locked.rate_id is None and Assignment.objects.filter(task__project=locked).exists():
                so_far = _checked(PayBasis.ANSWER, locked.pay_per_answer_usd, locked.pay_per_answer_usd, None)
                PayRate.objects.create(project=locked, number=1, since=locked.created_at, **so_far)
            last = PayRate.objects.filter(project=locked).aggregate(Max("number"))["number__max"] or 0
            rate = PayRate.objects.create(project=locked, number=last + 1, created_by=by, since=now, **values)
            locked.rate, locked.pay_per_answer_usd = rate, most_of(rate, Tier.CROWD)
            locked.save(update_fields=["rate", "pay_per_answer_usd"])
    project.rate, project.pay_per_answer_usd = rate, locked.pay_per_answer_usd
    return rate


def set_pay_rules(project: Project, *, pay_floor_usd_per_hour: Decimal | None, payments_need_second: bool) -> None:
    """Set what an hour should pay at least (None: no floor), and whether somebody else confirms payments drawn up."""
    project.pay_floor_usd_per_hour = pay_floor_usd_per_hour
    project.payments_need_second = payments_need_second
    project.save(update_fields=["pay_floor_usd_per_hour", "payments_need_second"])


def _checked(
    basis: str, crowd_usd: Decimal, expert_usd: Decimal, most_minutes: Decimal | None
) -> dict[str, str | Decimal | None]:
    if basis not in PayBasis.values:
        raise AnnotationError(f"People are paid by {' or by '.join(PayBasis.values)}, not by {basis!r}.")
    for name, usd in (("the crowd", crowd_usd), ("experts", expert_usd)):
        if not (usd.is_finite() and 0 <= usd <= MOST_USD and usd == usd.quantize(STEP)):
            raise AnnotationError(
                f"The pay of {name} is {usd}; it takes US dollars from 0 to {MOST_USD:,}, with four decimals at most."
            )
    if basis == PayBasis.ANSWER and most_minutes is not None:
        raise AnnotationError("Paid by the answer, there are no minutes to limit; leave the cap out.")
    if basis == PayBasis.MINUTE:
        if most_minutes is None:
            raise AnnotationError("Paid by the minute, an answer needs a cap: how many minutes are paid at most.")
        if not (most_minutes.is_finite() and 0 < most_minutes <= MOST_MINUTES):
            raise AnnotationError(
                f"The cap is {most_minutes} minutes; it takes more than 0 and at most {MOST_MINUTES}."
            )
        if most_minutes != round(most_minutes, 2):
            raise AnnotationError(f"The cap is {most_minutes} minutes; it takes two decimals at most.")
    return {"basis": basis, "crowd_usd": crowd_usd, "expert_usd": expert_usd, "most_minutes": most_minutes}


def _per_unit(rate: PayRate, tier: str) -> Decimal:
    return rate.crowd_usd if tier == Tier.CROWD else rate.expert_usd


def _whole(usd: Decimal) -> Decimal:
    return usd.quantize(STEP, rounding=ROUND_UP)
