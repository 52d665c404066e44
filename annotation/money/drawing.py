"""Payments before anything is sent: drawn up once, looked at, confirmed or withdrawn."""

import csv
import io
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple
from uuid import UUID

from django.db.models import Max

from annotation.models import (
    EntryKind,
    LedgerEntry,
    LineOutcome,
    Origin,
    Payment,
    PaymentLine,
    PaymentMethod,
    PaymentState,
    Project,
    Rater,
    User,
)
from annotation.models.money import CENT, UNDER_WAY
from annotation.money.booking import NOTHING, Balance, balances, locked_book, reverse
from annotation.money.errors import MoneyError, NothingOwed, PaymentChanged
from annotation.money.payers import MOST_LINES, Channel, recipients_of

# What makes a line of a bonus file more than one field, or a formula in a spreadsheet.
FORBIDDEN = (",", '"', "\n", "\r")


class Draft(NamedTuple):
    """A line as it would be drawn up: whom, under which name, and how much in whole cents."""

    rater: Rater
    recipient: str
    amount_usd: Decimal


class Change(NamedTuple):
    """What a person is owed beside their line since a payment was drawn up; below 0 the line pays too much."""

    rater: Rater
    recipient: str
    amount_usd: Decimal
    owed_usd: Decimal


def preview(project: Project, channel: Channel | None = None) -> list[Draft]:
    """Return the lines that `draw_up` would store now: a dry run, which writes nothing. Two queries or three.

    What is owed below a whole cent stays owed. By a platform at most `MOST_LINES` are paid at once, those first who are
    owed most.
    """
    owed = {rater: one.owed_usd for rater, one in balances(project).items()}
    due = {rater: usd.quantize(CENT, rounding=ROUND_DOWN) for rater, usd in owed.items()}
    due = {rater: usd for rater, usd in due.items() if usd > 0}
    people = Rater.objects.filter(pk__in=due, origin=Origin.LIVE)
    names = channel.recipients if channel is not None else recipients_of(project, list(people))
    drafts = [Draft(one, names[one.pk], due[one.pk]) for one in people if one.pk in names]
    if channel is not None:
        drafts = sorted(drafts, key=lambda draft: (-draft.amount_usd, draft.recipient))[:MOST_LINES]
    return sorted(drafts, key=lambda draft: draft.recipient)


def draw_up(project: Project, *, by: User, now: datetime, channel: Channel | None = None) -> Payment:
    """Store a payment of all that people are owed, its lines and their entries in the book, all or none.

    From then on the lines hold the money: nothing else pays it. Raises `NothingOwed`, or `MoneyError` where another
    payment of the project is under way. Locks the project, so that two managers draw up one.
    """
    with locked_book(project) as held:
        other = Payment.objects.filter(project=held, state__in=UNDER_WAY).first()
        if other is not None:
            raise MoneyError(
                f"Payment {other.number} is {other.get_state_display().lower()}. Finish or withdraw it first: two at a "
                "time could not be told apart in a platform's record."
            )
        if channel is not None:
            _refuse_unseen(held, channel)
        drafts = preview(held, channel)
        if not drafts:
            raise NothingOwed("Nobody is owed a cent or more that this way of paying reaches.")
        _refuse_unusable(drafts)
        last = Payment.objects.filter(project=held).aggregate(Max("number"))["number__max"] or 0
        payment = Payment.objects.create(
            project=held,
            number=last + 1,
            method=PaymentMethod.CSV if channel is None else PaymentMethod.PLATFORM,
            platform="" if channel is None else channel.payer.name,
            study_id="" if channel is None else channel.study_id,
            total_usd=sum((draft.amount_usd for draft in drafts), Decimal(0)),
            needs_second=held.payments_need_second,
            drawn_by=by,
            drawn_at=now,
        )
        lines = [
            PaymentLine(payment=payment, rater=one.rater, recipient=one.recipient, amount_usd=one.amount_usd)
            for one in drafts
        ]
        for line in lines:
            line.entry = LedgerEntry(
                project=held,
                key=f"payment:{line.pk}",
                kind=EntryKind.PAYMENT,
                amount_usd=-line.amount_usd,
                rater=line.rater,
                created_by=by,
                at=now,
            )
        LedgerEntry.objects.bulk_create([line.entry for line in lines])
        PaymentLine.objects.bulk_create(lines)
    return payment


def changes_since(payment: Payment) -> list[Change]:
    """Return whose debts changed since a payment was drawn up, by a cent or more: it pays them what it says anyway.

    Two queries.
    """
    lines = {line.rater_id: line for line in payment.lines.select_related("rater")}
    owed = _owed_now(payment, lines)
    return [
        Change(line.rater, line.recipient, line.amount_usd, owed[rater])
        for rater, line in lines.items()
        if abs(owed[rater]) >= CENT
    ]


def confirm(payment: Payment, *, by: User, total_usd: Decimal, now: datetime) -> Payment:
    """Confirm a payment whose total a person has seen; where the project asks for two people, by the second.

    Raises `PaymentChanged` where the total is another or the payment is not `drawn`, and `MoneyError` where it is not
    this person's to confirm, or a line pays more than its person is owed by now. Locks the project.
    """
    with locked_book(payment.project):
        stored = Payment.objects.get(pk=payment.pk)
        if stored.state != PaymentState.DRAWN:
            raise PaymentChanged(f"{_named(stored)} is {stored.get_state_display().lower()} already.")
        if total_usd != stored.total_usd:
            raise PaymentChanged(
                f"{_named(stored)} is of {stored.total_usd:.2f} USD, not of {total_usd:.2f}. Look at it again."
            )
        if stored.needs_second and stored.drawn_by_id == by.pk:
            raise MoneyError(f"You drew up {_named(stored).lower()}; in this project another manager confirms it.")
        over = [rater for rater, owed in _owed_now(stored, _raters(stored)).items() if owed < 0]
        if over:
            raise MoneyError(
                f"Since it was drawn up, what {len(over)} of its people are owed became less than it pays them. "
                "Withdraw it and draw up another."
            )
        move(stored, PaymentState.DRAWN, PaymentState.CONFIRMED, confirmed_by=by, confirmed_at=now)
    return stored


def withdraw(payment: Payment, *, by: User, now: datetime, reason: str = "") -> Payment:
    """Give up a payment of which certainly nothing was sent; its people are owed the money again.

    Raises `PaymentChanged` from `sending` on. Locks the project.
    """
    said = reason.strip() or "withdrawn before anything was sent"
    return give_up(
        payment,
        PaymentState.WITHDRAWN,
        states=(PaymentState.DRAWN, PaymentState.CONFIRMED, PaymentState.SET_UP),
        by=by,
        now=now,
        reason=said,
    )


def give_up(
    payment: Payment,
    into: PaymentState,
    *,
    states: Collection[str],
    by: User | None,
    now: datetime,
    reason: str,
) -> Payment:
    """End a payment that paid nobody: its entries are reversed in the same transaction. Locks the project.

    Raises `PaymentChanged` where its state is none of `states`.
    """
    with locked_book(payment.project):
        stored = Payment.objects.get(pk=payment.pk)
        if stored.state not in states:
            raise PaymentChanged(f"{_named(stored)} is {stored.get_state_display().lower()}, so it cannot be undone.")
        for line in stored.lines.filter(outcome=LineOutcome.OPEN).select_related("entry"):
            unpay(line, by=by, now=now, note=reason)
        for fee in LedgerEntry.objects.filter(key=f"fee:{stored.pk}"):
            reverse(fee, note=reason, by=by, now=now)
        move(stored, PaymentState(stored.state), into, ended_by=by, ended_at=now, reason=reason)
    return stored


def unpay(line: PaymentLine, *, by: User | None, now: datetime, note: str) -> None:
    """Owe a person their line again, which was not paid. Caller holds the project's row."""
    reverse(line.entry, note=note, by=by, now=now)
    PaymentLine.objects.filter(pk=line.pk, outcome=LineOutcome.OPEN).update(outcome=LineOutcome.UNPAID)


def move(payment: Payment, before: PaymentState, after: PaymentState, **values: object) -> None:
    """Take a payment from one state into the next by conditional update. Raises `PaymentChanged` where it is not there.

    One query.
    """
    if Payment.objects.filter(pk=payment.pk, state=before).update(state=after, **values) != 1:
        stored = Payment.objects.get(pk=payment.pk)
        raise PaymentChanged(f"{_named(stored)} is {stored.get_state_display().lower()}: somebody was faster.")
    payment.refresh_from_db()


def bonus_csv(lines: Iterable[PaymentLine | Draft]) -> str:
    """Return lines as Prolific's bonus file and API take them: `<participant or submission>,<amount>`, no header."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerows((line.recipient, f"{line.amount_usd:.2f}") for line in lines)
    return written.getvalue()


def _refuse_unseen(project: Project, channel: Channel) -> None:
    """Refuse after a payment that the platform took and its record did not show: it would pass for part of this."""
    taken = Payment.objects.filter(
        project=project, platform=channel.payer.name, study_id=channel.study_id, state=PaymentState.PAID
    ).first()
    if taken is not None:
        raise MoneyError(
            f"{channel.payer.name} took payment {taken.number}, and its record was not looked up since. Reconcile "
            "it first."
        )


def _refuse_unusable(drafts: list[Draft]) -> None:
    for draft in drafts:
        if any(sign in draft.recipient for sign in FORBIDDEN) or draft.recipient[:1] in "=+-@":
            raise MoneyError(f"{draft.recipient!r} cannot stand in a bonus file. Give this person another name first.")
    names = [draft.recipient for draft in drafts]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MoneyError(
            f"Two people here are called {', '.join(twice)} at the platform; one of them is not who they say."
        )


def _raters(payment: Payment) -> list[UUID]:
    return list(payment.lines.values_list("rater_id", flat=True))


def _owed_now(payment: Payment, raters: Iterable[UUID]) -> Mapping[UUID, Decimal]:
    found: Mapping[UUID, Balance] = balances(payment.project, raters)
    return {rater: found.get(rater, NOTHING).owed_usd for rater in raters}


def _named(payment: Payment) -> str:
    return f"Payment {payment.number}"
