"""The book of what people earn and are paid: entries with unique keys, added and never changed."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import Q, QuerySet, Sum

from annotation.answering import NOTE_LIMIT, storable
from annotation.models import (
    Assignment,
    AssignmentState,
    EntryKind,
    LedgerEntry,
    Origin,
    Project,
    Rater,
    RaterKind,
    User,
)
from annotation.models.money import EARNED, UNDER_WAY
from annotation.money.errors import MoneyError
from annotation.preparing import PreparedSave
from annotation.pricing import MOST_USD, STEP, rate_at

ZERO = Decimal(0)


class Balance(NamedTuple):
    """A person's money in a project, in US dollars: earned = paid + under way + owed.

    `under_way_usd` is in a payment that is not settled; nothing else pays it.
    """

    earned_usd: Decimal
    paid_usd: Decimal
    under_way_usd: Decimal

    @property
    def owed_usd(self) -> Decimal:
        """Return what no payment holds yet."""
        return self.earned_usd - self.paid_usd - self.under_way_usd


# --- Booking --------------------------------------------------------------------------------------------------------


def book_answer(assignment: Assignment, *, now: datetime) -> LedgerEntry | None:
    """Book what an answer earned (`promised_usd`), with its rate. None for simulated people: nobody is paid.

    Caller holds the transaction that stores the answer; one query, where the project was loaded with its rate.
    """
    rater = assignment.rater
    if rater.origin != Origin.LIVE:
        return None
    entry = LedgerEntry(
        project=rater.project,
        key=f"answer:{assignment.pk}",
        kind=kind_of(assignment),
        amount_usd=assignment.promised_usd,
        rater=rater,
        assignment=assignment,
        rate=rate_at(rater.project, assignment.leased_at),
        at=now,
    )
    _ENTRY.save(entry)
    if rater.answered is not None:
        rater.earned_usd = (rater.earned_usd or ZERO) + entry.amount_usd
    return entry


_ENTRY = PreparedSave(LedgerEntry)


def book_change(assignment: Assignment, more_usd: Decimal, *, now: datetime) -> LedgerEntry:
    """Book what a changed answer earned beyond what it had. Caller holds the assignment's row; two queries."""
    entry = LedgerEntry.objects.create(
        project=assignment.rater.project,
        key=f"change:{assignment.pk}:{LedgerEntry.objects.filter(assignment=assignment).count()}",
        kind=EntryKind.CHANGE,
        amount_usd=more_usd,
        rater=assignment.rater,
        assignment=assignment,
        rate=rate_at(assignment.rater.project, assignment.leased_at),
        at=now,
    )
    if assignment.rater.answered is not None:
        assignment.rater.earned_usd = (assignment.rater.earned_usd or ZERO) + more_usd
    return entry


def kind_of(assignment: Assignment) -> EntryKind:
    """Return what an answered assignment is paid as."""
    if assignment.repeats_id is not None:
        return EntryKind.REPEAT
    return EntryKind.LATE if assignment.state == AssignmentState.EXTRA else EntryKind.ANSWER


def add_by_hand(
    rater: Rater, amount_usd: Decimal, *, note: str, by: User, now: datetime, key: UUID | None = None
) -> LedgerEntry:
    """Add to what a person earned, or with a negative amount take off, at most what they are owed.

    `key` comes with the form, so that a form sent twice adds once. Raises `MoneyError`. Locks the project.
    """
    note = storable(note, field="note", limit=NOTE_LIMIT).strip()
    if not note:
        raise MoneyError("Say what the amount is for: the person and your colleagues will ask.")
    if not (amount_usd.is_finite() and 0 < abs(amount_usd) <= MOST_USD and amount_usd == amount_usd.quantize(STEP)):
        raise MoneyError(
            f"The amount is {amount_usd}; it takes US dollars other than 0, up to {MOST_USD:,} either way, with four "
            "decimals at most."
        )
    if rater.kind != RaterKind.PERSON or rater.origin != Origin.LIVE:
        raise MoneyError(f"{rater} is paid nothing here: only people who answer in this project are.")
    name = f"added:{key or uuid4()}"
    with locked_book(rater.project) as project:
        stored = LedgerEntry.objects.filter(key=name).first()
        if stored is not None:
            return stored
        owed = balances(project, [rater.pk]).get(rater.pk, NOTHING).owed_usd
        if owed + amount_usd < 0:
            raise MoneyError(
                f"{rater} is owed {owed:.2f} USD, so {-amount_usd:.2f} USD cannot be taken off: what was paid is paid."
            )
        return LedgerEntry.objects.create(
            project=project,
            key=name,
            kind=EntryKind.ADDED,
            amount_usd=amount_usd,
            rater=rater,
            note=note,
            created_by=by,
            at=now,
        )


def book_reward(rater: Rater, amount_usd: Decimal, *, submission: str, by: User | None, now: datetime) -> LedgerEntry:
    """Book what a platform paid a person by itself for a submission (a study's reward), once: it is not owed any more.

    `submission` names it among all platforms, such as "prolific:<id>". More than was earned counts towards what they
    earn later. Raises `MoneyError`. Locks the project.
    """
    if not (amount_usd.is_finite() and 0 < amount_usd <= MOST_USD and amount_usd == amount_usd.quantize(STEP)):
        raise MoneyError(f"The reward is {amount_usd}; it takes US dollars above 0, up to {MOST_USD:,}.")
    with locked_book(rater.project) as project:
        entry, _made = LedgerEntry.objects.get_or_create(
            key=f"reward:{submission}",
            defaults={
                "project": project,
                "kind": EntryKind.REWARD,
                "amount_usd": -amount_usd,
                "rater": rater,
                "note": submission,
                "created_by": by,
                "at": now,
            },
        )
    return entry


def reverse(entry: LedgerEntry, *, note: str, by: User | None, now: datetime) -> LedgerEntry:
    """Add the opposite of an entry, once: a second reversal returns the first. Caller holds a transaction.

    The project's row is the lock of whoever reads sums to write by them; who reverses what was owed holds it.
    """
    stored, _made = LedgerEntry.objects.get_or_create(
        key=f"reversal:{entry.pk}",
        defaults={
            "project_id": entry.project_id,
            "kind": entry.kind,
            "amount_usd": -entry.amount_usd,
            "rater_id": entry.rater_id,
            "assignment_id": entry.assignment_id,
            "rate_id": entry.rate_id,
            "reverses": entry,
            "note": note,
            "created_by": by,
            "at": now,
        },
    )
    return stored


@contextmanager
def locked_book(project: Project) -> Iterator[Project]:
    """Open a transaction that holds the project's row: the lock of all who write by what people are owed."""
    with transaction.atomic():
        yield Project.objects.select_for_update(no_key=True).get(pk=project.pk)


# --- Reading --------------------------------------------------------------------------------------------------------

NOTHING = Balance(ZERO, ZERO, ZERO)


def balances(project: Project, raters: Iterable[UUID] | None = None) -> Mapping[UUID, Balance]:
    """Return what each person with entries earned and was paid, by rater. One query."""
    entries = LedgerEntry.objects.in_project(project).of_people()
    if raters is not None:
        entries = entries.filter(rater__in=list(raters))
    return {rater: Balance(*sums) for rater, *sums in _summed(entries, "rater")}


def balance_of(project: Project) -> Balance:
    """Return the sums over everybody. One query."""
    entries = LedgerEntry.objects.in_project(project).of_people()
    return next((Balance(*sums) for _project, *sums in _summed(entries, "project")), NOTHING)


def fees_of(project: Project) -> Decimal:
    """Return what platforms took. One query."""
    fees = LedgerEntry.objects.in_project(project).filter(kind=EntryKind.FEE)
    return rounded(fees.aggregate(usd=Sum("amount_usd"))["usd"])


def earned_by(rater: Rater) -> Decimal:
    """Return what a person earned here so far; no query where `at_work` loaded them."""
    if rater.answered is None:
        return rounded(LedgerEntry.objects.filter(rater=rater).earned().aggregate(usd=Sum("amount_usd"))["usd"])
    return rounded(rater.earned_usd)


def rounded(usd: Decimal | None) -> Decimal:
    """Return a sum as the book holds amounts: SQLite adds decimals in binary."""
    return ZERO if usd is None else usd.quantize(STEP)


def _summed(entries: "QuerySet[LedgerEntry]", by: str) -> "list[tuple[UUID, Decimal, Decimal, Decimal]]":
    """Return (key, earned, paid, under way) of each group."""
    payments = Q(kind__in=[EntryKind.PAYMENT, EntryKind.REWARD])
    # A reversal has no line: it stands for one that was not paid, wherever the payment is.
    under_way = Q(line__payment__state__in=UNDER_WAY, line__outcome="")
    sums = (
        entries.order_by()
        .values_list(by)
        .annotate(
            earned=Sum("amount_usd", filter=Q(kind__in=EARNED)),
            gone=Sum("amount_usd", filter=payments),
            waiting=Sum("amount_usd", filter=payments & under_way),
        )
    )
    found = []
    for key, earned, gone, waiting in sums:
        under = -rounded(waiting)
        found.append((key, rounded(earned), -rounded(gone) - under, under))
    return found
