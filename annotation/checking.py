"""Promises about assignment and money, recounted from the rows: what `check_invariants` prints, and tests assert."""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db.models import (
    Count,
    DecimalField,
    Exists,
    ExpressionWrapper,
    F,
    Max,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Greatest

from annotation.aggregating import DECIDING
from annotation.answering import AGREEING
from annotation.models import (
    Assignment,
    AssignmentState,
    EntryKind,
    Exclusion,
    LedgerEntry,
    LineOutcome,
    Origin,
    Payment,
    PaymentLine,
    PaymentState,
    Preference,
    Project,
    Purse,
    Rater,
    Task,
    TaskState,
    Tier,
)
from annotation.models.money import FOR_ANSWERS, UNDER_WAY
from annotation.promising import MICROS_PER_USD

# Two rounds of the reaper (`expire-leases` in config/celery.py).
SWEEP = timedelta(seconds=60)
# What a lease that came to nothing ends as.
ENDED = (AssignmentState.SKIPPED, AssignmentState.EXPIRED)
EXAMPLES = 5


class Check(NamedTuple):
    """A promise, how many rows break it, and the ids of the first few."""

    name: str
    promise: str
    broken: int
    examples: list[str]


def check_invariants(project: Project | None = None, *, now: datetime) -> list[Check]:
    """Recount every promise over one project, or over all. Reads only; one or two queries a promise."""
    return [_checked(promise, project, now) for promise in PROMISES]


class _Promise(NamedTuple):
    name: str
    text: str
    broken_rows: Callable[[datetime], "QuerySet[Any]"]
    project_field: str


def _checked(promise: _Promise, project: Project | None, now: datetime) -> Check:
    rows = promise.broken_rows(now)
    if project is not None:
        rows = rows.filter(**{promise.project_field: project.pk})
    examples = [str(key) for key in rows.order_by("pk").values_list("pk", flat=True)[:EXAMPLES]]
    return Check(promise.name, promise.text, rows.count() if examples else 0, examples)


def _recounted(states: list[AssignmentState]) -> Coalesce:
    """Return the number of a task's assignments in these states, as an expression on tasks."""
    counted = Assignment.objects.filter(task=OuterRef("pk"), state__in=states, repeats__isnull=True, gold__isnull=True)
    held = counted.order_by().values("task")
    return Coalesce(Subquery(held.annotate(n=Count("pk")).values("n")), 0)


def _tasks_recounted() -> "QuerySet[Any]":
    return Task.objects.annotate(
        held_now=_recounted([AssignmentState.LEASED, AssignmentState.SUBMITTED]),
        answered_now=_recounted([AssignmentState.SUBMITTED]),
    )


def _overshooting(now: datetime) -> "QuerySet[Any]":
    return _tasks_recounted().filter(Q(held_now__gt=F("votes_wanted")) | Q(votes_wanted__gt=F("most_votes")))


def _miscounted(now: datetime) -> "QuerySet[Any]":
    return _tasks_recounted().exclude(taken=F("held_now"), answered=F("answered_now"))


def _wrong_state(now: datetime) -> "QuerySet[Any]":
    complete = Q(answered__gte=F("votes_wanted"))
    return Task.objects.filter(Q(state=TaskState.OPEN) & complete | Q(state=TaskState.DONE) & ~complete)


def _unsettled(now: datetime) -> "QuerySet[Any]":
    """Return tasks that ended although their answers differ and one more was allowed, and no expert was asked."""
    votes = {
        choice: Count(
            "assignments",
            filter=Q(
                assignments__state=AssignmentState.SUBMITTED,
                assignments__repeats__isnull=True,
                assignments__gold__isnull=True,
                assignments__preference__choice=choice,
            ),
        )
        for choice in DECIDING
    }
    most = Greatest(*(F(choice) for choice in DECIDING))
    total = sum((F(choice) for choice in DECIDING[1:]), F(DECIDING[0]))
    ended = Task.objects.filter(state=TaskState.DONE, slate__isnull=True, votes_wanted__lt=F("most_votes"))
    ended = ended.annotate(**votes)
    split = ended.annotate(most=most, total=total).filter(Q(most__lt=AGREEING) | Q(total__gte=2 * F("most")))
    with_expert = Task.objects.filter(pair=OuterRef("pair"), tier=Tier.EXPERT)
    return split.exclude(Q(expert_on_split=True) & Exists(with_expert))


def _closed_in_use(now: datetime) -> "QuerySet[Any]":
    return Task.objects.filter(state=TaskState.CLOSED).filter(Q(taken__gt=0) | Q(answered__gt=0))


def _answered_twice(now: datetime) -> "QuerySet[Any]":
    """Return a person's second and later current answers on a pair, whichever task they came by."""
    earlier = Preference.objects.current().filter(
        pair=OuterRef("pair"), rater=OuterRef("rater"), criterion__isnull=True, pk__lt=OuterRef("pk")
    )
    return Preference.objects.current().filter(Exists(earlier), criterion__isnull=True)


def _overdue(now: datetime) -> "QuerySet[Any]":
    return Assignment.objects.filter(state=AssignmentState.LEASED, lease_until__lt=now - SWEEP)


def _astray(now: datetime) -> "QuerySet[Any]":
    """Return answers that are not those of the assignment's person on the assignment's pair, or count wrongly."""
    right = Q(preference__rater=F("rater"), preference__pair=F("task__pair"), preference__shown_order=F("shown_order"))
    stands = Q(preference__is_current=True, preference__repeats__isnull=True, repeats__isnull=True)
    repeated = Q(state=AssignmentState.SUBMITTED, preference__repeats__rater=F("rater"), repeats__isnull=False)
    counts = Q(state=AssignmentState.SUBMITTED, preference__is_extra=False, gold__isnull=True)
    counts &= ~Q(task__tier=Tier.FINAL)
    tested = Q(state=AssignmentState.SUBMITTED, preference__is_extra=True, gold__isnull=False)
    looked = Q(state=AssignmentState.SUBMITTED, preference__is_extra=True, task__tier=Tier.FINAL)
    extra = Q(state=AssignmentState.EXTRA, preference__is_extra=True)
    choices = Q(preference__isnull=False) & ~(right & ((stands & (counts | tested | looked | extra)) | repeated))
    ranked = Q(ranking__rater=F("rater"), ranking__slate=F("task__slate"), ranking__is_current=True)
    counted = Q(state=AssignmentState.SUBMITTED, ranking__is_extra=False) & ~Q(task__tier=Tier.FINAL)
    ordered = Q(state=AssignmentState.SUBMITTED, ranking__is_extra=True, task__tier=Tier.FINAL)
    beside = Q(state=AssignmentState.EXTRA, ranking__is_extra=True)
    orders = Q(ranking__isnull=False) & ~(ranked & (counted | ordered | beside))
    return Assignment.objects.filter(choices | orders)


def _stale(now: datetime) -> "QuerySet[Any]":
    """Return leases that were answered or passed on before: what ended so is never leased again."""
    ended = Q(finished_at__isnull=False) | ~Q(skip_reason="") | Q(preference__isnull=False) | Q(ranking__isnull=False)
    return Assignment.objects.filter(state=AssignmentState.LEASED).filter(ended)


def _no_repeats(now: datetime) -> "QuerySet[Any]":
    """Return hidden repeats that do not ask the same person about the same pair, once, with the sides swapped.

    What they repeat was answered; the answer may have been taken out of the count since.
    """
    same = Q(repeats__rater=F("rater"), repeats__task=F("task"), repeats__repeats__isnull=True)
    answered = Q(repeats__state__in=[AssignmentState.SUBMITTED, AssignmentState.EXTRA])
    answered |= Q(repeats__state=AssignmentState.ERASED, state__in=[AssignmentState.ERASED, *ENDED])
    return Assignment.objects.filter(repeats__isnull=False).filter(
        ~(same & answered) | Q(repeats__shown_order=F("shown_order"))
    )


def _not_gold(now: datetime) -> "QuerySet[Any]":
    """Return leases of gold pairs that are not of the pair that is gold, or hold a slot."""
    return Assignment.objects.filter(gold__isnull=False).filter(
        ~Q(gold__pair=F("task__pair")) | Q(slot__isnull=False) | Q(repeats__isnull=False)
    )


def _out_of_order(now: datetime) -> "QuerySet[Any]":
    """Return preferences that do not stand and fall with the order of a slate that they follow from."""
    as_ranked = Q(
        rater=F("ranking__rater"), is_current=F("ranking__is_current"), is_extra=F("ranking__is_extra"), repeats=None
    )
    return Preference.objects.filter(ranking__isnull=False).exclude(as_ranked)


# What adding decimals in binary may be off by on SQLite; the smallest amount there is has four digits.
SLACK_USD = Decimal("0.00005")
SLACK_MICROS = SLACK_USD * MICROS_PER_USD


def _with_budget() -> "QuerySet[Any]":
    """Return the projects with a budget for people, with what is promised and earned (`committed`)."""
    promised = Assignment.objects.filter(task__project=OuterRef("pk")).order_by().values("task__project")
    committed = Subquery(promised.annotate(usd=Sum("promised_usd")).values("usd"))
    projects: QuerySet[Any] = Project.objects.filter(people_budget_usd__isnull=False)
    projects = projects.annotate(committed=Coalesce(committed, Decimal(0), output_field=DecimalField()))
    return projects


def _overspent(now: datetime) -> "QuerySet[Any]":
    return _with_budget().filter(committed__gt=F("people_budget_usd") + SLACK_USD)


def _unbalanced(now: datetime) -> "QuerySet[Any]":
    """Return projects whose purses, where they were counted for the budget of now, do not hold what is left of it."""
    purses = Purse.objects.filter(project=OuterRef("pk")).order_by().values("project")
    projects = _with_budget().annotate(
        left_micros=Subquery(purses.annotate(micros=Sum("left_micros")).values("micros")),
        counted_for_micros=Subquery(purses.annotate(micros=Max("budget_micros")).values("micros")),
        budget_micros=_in_micros(F("people_budget_usd")),
        due_micros=_in_micros(F("people_budget_usd") - F("committed")),
    )
    counted: QuerySet[Any] = projects.filter(_is_near("counted_for_micros", "budget_micros"))
    return counted.exclude(_is_near("left_micros", "due_micros"))


def _in_micros(usd: Combinable) -> "ExpressionWrapper[Any]":
    # Multiplied up, since SQLite divides whole numbers without a rest.
    return ExpressionWrapper(usd * Decimal(MICROS_PER_USD), output_field=DecimalField())


def _is_near(name: str, other: str) -> Q:
    return Q(**{f"{name}__gt": F(other) - SLACK_MICROS, f"{name}__lt": F(other) + SLACK_MICROS})


def _held_while_paused(now: datetime) -> "QuerySet[Any]":
    return Assignment.objects.filter(state=AssignmentState.LEASED, rater__paused_at__isnull=False)


# --- Money ----------------------------------------------------------------------------------------------------------


def _unbooked(now: datetime) -> "QuerySet[Any]":
    """Return answers that people gave here and the book knows nothing of."""
    booked = LedgerEntry.objects.filter(assignment=OuterRef("pk"), kind__in=FOR_ANSWERS, reverses__isnull=True)
    return Assignment.objects.paid().filter(~Exists(booked))


def _misbooked(now: datetime) -> "QuerySet[Any]":
    """Return entries for answers that are not there, are booked before, as something else, or for another pay."""
    first = LedgerEntry.objects.filter(kind__in=FOR_ANSWERS, reverses__isnull=True)
    twice = first.filter(assignment=OuterRef("assignment"), pk__lt=OuterRef("pk"))
    belongs = Q(
        assignment__rater=F("rater"),
        assignment__task__project=F("project"),
        assignment__state__in=[AssignmentState.SUBMITTED, AssignmentState.EXTRA, AssignmentState.ERASED],
        rater__origin=Origin.LIVE,
    )
    named = (
        Q(kind=EntryKind.REPEAT, assignment__repeats__isnull=False)
        | Q(kind=EntryKind.LATE, assignment__repeats__isnull=True, assignment__state=AssignmentState.EXTRA)
        | Q(kind=EntryKind.ANSWER, assignment__repeats__isnull=True, assignment__state=AssignmentState.SUBMITTED)
        # Its person was erased after it was booked.
        | Q(kind__in=[EntryKind.ANSWER, EntryKind.LATE], assignment__state=AssignmentState.ERASED)
        # Taken out of the count, or back into it, after it was booked.
        | Q(
            Exists(Exclusion.objects.filter(rater=OuterRef("rater"))),
            kind__in=[EntryKind.ANSWER, EntryKind.LATE],
            assignment__repeats__isnull=True,
        )
    )
    # An answer earned what is left of its promise, which the budget has paid.
    sums = LedgerEntry.objects.filter(assignment=OuterRef("assignment")).order_by().values("assignment")
    first = first.annotate(booked_usd=Subquery(sums.annotate(usd=Sum("amount_usd")).values("usd")))
    owing = F("assignment__promised_usd")
    priced = Q(booked_usd__gt=owing - SLACK_USD, booked_usd__lt=owing + SLACK_USD)
    return first.filter(~(belongs & named & priced) | Exists(twice))


def _lines_astray(now: datetime) -> "QuerySet[Any]":
    """Return parts of payments whose entry is not theirs, or that are owed again and paid, or neither."""
    theirs = Q(entry__rater=F("rater"), entry__project=F("payment__project"), entry__kind=EntryKind.PAYMENT)
    lines = PaymentLine.objects.annotate(left=F("amount_usd") + F("entry__amount_usd"))
    of_amount = Q(left__gt=-SLACK_USD, left__lt=SLACK_USD)
    unpaid = Q(outcome=LineOutcome.UNPAID, entry__reversed_by__isnull=False)
    stands = Q(~Q(outcome=LineOutcome.UNPAID), entry__reversed_by__isnull=True)
    given_up = [PaymentState.FAILED, PaymentState.WITHDRAWN]
    ended = (
        Q(payment__state__in=[*UNDER_WAY, PaymentState.PAID])
        | Q(payment__state__in=given_up, outcome=LineOutcome.UNPAID)
        | Q(payment__state=PaymentState.RECONCILED) & ~Q(outcome=LineOutcome.OPEN)
    )
    return lines.exclude(theirs & of_amount & (unpaid | stands) & ended)


def _totals_astray(now: datetime) -> "QuerySet[Any]":
    sums = Payment.objects.annotate(left=F("total_usd") - Coalesce(Sum("lines__amount_usd"), Decimal(0)))
    return sums.exclude(left__gt=-SLACK_USD, left__lt=SLACK_USD)


def _overpaid(now: datetime) -> "QuerySet[Any]":
    """Return people who were paid more than they earned."""
    # A reward that a platform pays by itself may be more than was earned; payments are never.
    entries = LedgerEntry.objects.of_people().exclude(kind=EntryKind.REWARD)
    entries = entries.filter(rater=OuterRef("pk")).order_by()
    owed = Subquery(entries.values("rater").annotate(usd=Sum("amount_usd")).values("usd"))
    return Rater.objects.annotate(owed_usd=owed).filter(owed_usd__lt=-SLACK_USD)


PROMISES = (
    _Promise("no_overshoot", "held and answered slots are never more than the votes wanted", _overshooting, "project"),
    _Promise("splits_grow", "a task that may grow ends agreed, or with its most votes", _unsettled, "project"),
    _Promise("closed_are_free", "a closed task is held by nobody and has no answer", _closed_in_use, "project"),
    _Promise("one_answer", "a person has at most one current answer on a pair", _answered_twice, "pair__project"),
    _Promise("leases_end", "no lease outlives its time by more than two sweeps", _overdue, "task__project"),
    _Promise("counters", "the counters of a task equal a recount of its assignments", _miscounted, "project"),
    _Promise("states", "a task is done exactly when it has the answers wanted", _wrong_state, "project"),
    _Promise(
        "answers_belong", "an answer is by the person, on the pair and in the order leased", _astray, "task__project"
    ),
    _Promise("leases_are_fresh", "what is held was neither answered nor passed on before", _stale, "task__project"),
    _Promise(
        "repeats_are_same",
        "a hidden repeat asks its person the same pair with the sides swapped",
        _no_repeats,
        "task__project",
    ),
    _Promise("budget", "held and answered work costs no more than the budget for people", _overspent, "pk"),
    _Promise("purses", "what the purses hold is what is left of the budget", _unbalanced, "pk"),
    _Promise("paused_hold_nothing", "who is paused holds no pair", _held_while_paused, "task__project"),
    _Promise("gold_is_beside", "a gold pair is leased without a slot, as what it is", _not_gold, "task__project"),
    _Promise("orders_hold", "what an order says of its pairs counts as the order does", _out_of_order, "pair__project"),
    _Promise("answers_are_booked", "every answer that a person gave here is in the book", _unbooked, "task__project"),
    _Promise("book_equals_answers", "the book has each answer once, as what it is", _misbooked, "project"),
    _Promise(
        "payments_are_booked",
        "a line of a payment is in the book, and owed again exactly where it was not paid",
        _lines_astray,
        "payment__project",
    ),
    _Promise("payments_add_up", "a payment is the sum of its lines", _totals_astray, "project"),
    _Promise("nobody_is_overpaid", "nobody was paid more than they earned", _overpaid, "project"),
)
