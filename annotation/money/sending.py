"""Payments leave: set up at the platform, looked at again, marked as being sent, and only then sent, once.

Whatever happens to the call that pays, it is not made again. A refusal that certainly paid nobody ends the payment and
its people are owed the money again; anything else leaves it unclear, and only the platform's record or a person who
looked says what became of it (`annotation.money.reconciling`). A process that dies leaves `sending` behind, which a
sweeper calls unclear after a while.
"""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import IntegrityError, transaction

from annotation.models import (
    EntryKind,
    LedgerEntry,
    LineOutcome,
    Payment,
    PaymentLine,
    PaymentMethod,
    PaymentState,
    User,
)
from annotation.models.money import MAY_HAVE_LEFT
from annotation.money.booking import locked_book
from annotation.money.drawing import bonus_csv, give_up, move
from annotation.money.errors import MoneyError, PaymentChanged, PayRefused
from annotation.money.payers import Payer

# How long after the call was begun a payment that still says `sending` was left by a process that died.
DOUBT_AFTER = timedelta(minutes=5)


def set_up(payment: Payment, payer: Payer, *, by: User, now: datetime) -> Payment:
    """Have the platform take a confirmed payment down, which pays nobody, and store its name and its fees.

    An order whose answer was lost stays at the platform and is never carried out: another is set up. A refusal (a
    recipient that the platform does not know) ends the payment. Raises `PaymentChanged`, `PayRefused`, `MoneyError`
    where the platform's total is not ours, or the payer's own error, after which it can be tried again.
    """
    _refuse_other(payment, payer)
    if payment.state != PaymentState.CONFIRMED:
        raise PaymentChanged(f"Payment {payment.number} is {payment.get_state_display().lower()}, not confirmed.")
    lines = [(line.recipient, line.amount_usd) for line in payment.lines.all()]
    try:
        order = payer.set_up_bonuses(payment.study_id, lines)
    except PayRefused as refusal:
        give_up(
            payment,
            PaymentState.FAILED,
            states=(PaymentState.CONFIRMED,),
            by=by,
            now=now,
            reason=f"{payer.name} refused to set it up: {refusal}",
        )
        raise
    if order.total_usd != payment.total_usd:
        raise MoneyError(
            f"{payer.name} understood {order.total_usd:.2f} USD where payment {payment.number} is of "
            f"{payment.total_usd:.2f} USD. Nothing was paid. Is the study paid in another currency?"
        )
    try:
        with transaction.atomic():
            move(payment, PaymentState.CONFIRMED, PaymentState.SET_UP, platform_id=order.id, fees_usd=order.fees_usd)
    except IntegrityError:
        raise MoneyError(
            f"{payer.name} answered with the order {order.id}, which is another payment's. To carry it out would pay "
            "that one again, so it was not stored."
        ) from None
    return payment


def send(payment: Payment, payer: Payer, *, by: User, cost_usd: Decimal, now: datetime) -> Payment:
    """Have the platform carry out what was set up, once: `sending` is stored and committed before it is asked.

    `cost_usd` is what the person saw, people's money and fees together. What the platform's record says before goes
    into the lines, to tell later what was paid. Returns the payment as `paid`, which says that the platform took the
    order, or `unclear`. Raises `PaymentChanged`, `PayRefused` (it is `failed` then), `MoneyError`, or the payer's own
    error where its record cannot be read: nothing was sent then. Locks the project before the call, not during it; not
    to be called in a transaction.
    """
    _refuse_other(payment, payer)
    if payment.state != PaymentState.SET_UP:
        raise PaymentChanged(f"Payment {payment.number} is {payment.get_state_display().lower()}, not set up.")
    if cost_usd != payment.total_usd + payment.fees_usd:
        raise PaymentChanged(
            f"Payment {payment.number} costs {payment.total_usd + payment.fees_usd:.2f} USD with fees, not "
            f"{cost_usd:.2f}. Look at it again."
        )
    before = payer.bonuses_paid(payment.study_id)
    with locked_book(payment.project):
        move(payment, PaymentState.SET_UP, PaymentState.SENDING, sent_by=by, sent_at=now)
        for line in payment.lines.all():
            PaymentLine.objects.filter(pk=line.pk).update(before_usd=before.get(line.recipient, Decimal(0)))
    try:
        payer.pay_bonuses(payment.platform_id)
    except PayRefused as refusal:
        give_up(
            payment,
            PaymentState.FAILED,
            states=(PaymentState.SENDING,),
            by=by,
            now=now,
            reason=f"{payer.name} refused to pay: {refusal}",
        )
        raise
    except Exception as error:  # noqa: BLE001  (whatever it was, nobody knows whether people were paid)
        doubt(payment, f"{payer.name} gave no clear answer: {error or type(error).__name__}")
        return payment
    settle(payment, PaymentState.SENDING, PaymentState.PAID, by=by, now=now, reason=f"{payer.name} took the order.")
    return payment


def hand_out(payment: Payment, *, by: User, now: datetime) -> str:
    """Return a confirmed payment's bonus file. From then on somebody may upload it, so it counts as being sent.

    Again for one that is being sent. Raises `PaymentChanged` for any other state.
    """
    if payment.method != PaymentMethod.CSV:
        raise MoneyError(f"Payment {payment.number} goes by {payment.platform}; a file of it would pay people twice.")
    if payment.state == PaymentState.CONFIRMED:
        move(payment, PaymentState.CONFIRMED, PaymentState.SENDING, sent_by=by, sent_at=now)
    if payment.state not in (PaymentState.SENDING, PaymentState.UNCLEAR):
        raise PaymentChanged(
            f"Payment {payment.number} is {payment.get_state_display().lower()}; its file is handed out while it is "
            "confirmed and not paid."
        )
    return bonus_csv(payment.lines.all())


def mark_paid(payment: Payment, *, by: User, fees_usd: Decimal = Decimal(0), note: str, now: datetime) -> Payment:
    """Say that a payment by file was paid: somebody uploaded it and saw so.

    Raises `PaymentChanged` unless it was handed out, and `MoneyError`. Locks the project.
    """
    if payment.method != PaymentMethod.CSV:
        raise MoneyError(
            f"Payment {payment.number} goes by {payment.platform}: reconcile it with the platform's record."
        )
    if not (fees_usd.is_finite() and 0 <= fees_usd < 1_000_000):
        raise MoneyError(f"The fees are {fees_usd}; they take US dollars, from 0 to a million.")
    if payment.state not in MAY_HAVE_LEFT:
        raise PaymentChanged(f"Payment {payment.number} is {payment.get_state_display().lower()}, not being sent.")
    said = f"marked as paid by {by}" + (f": {note.strip()}" if note.strip() else "")
    with locked_book(payment.project):
        settle(payment, PaymentState(payment.state), PaymentState.PAID, by=by, now=now, reason=said, fees_usd=fees_usd)
        payment.lines.filter(outcome=LineOutcome.OPEN).update(outcome=LineOutcome.PAID)
    return payment


def settle(
    payment: Payment,
    before: PaymentState,
    after: PaymentState,
    *,
    by: User | None,
    now: datetime,
    reason: str,
    fees_usd: Decimal | None = None,
) -> None:
    """End a payment that was sent, and book the platform's fees, once. Locks the project.

    Raises `PaymentChanged` unless it is `before`, which is a state in which money may have left.
    """
    if before not in (*MAY_HAVE_LEFT, PaymentState.PAID):
        raise PaymentChanged(f"Payment {payment.number} is {payment.get_state_display().lower()}: it was not sent.")
    with locked_book(payment.project):
        fees = payment.fees_usd if fees_usd is None else fees_usd
        move(payment, before, after, ended_by=by, ended_at=now, reason=reason, fees_usd=fees)
        if fees:
            LedgerEntry.objects.get_or_create(
                key=f"fee:{payment.pk}",
                defaults={
                    "project_id": payment.project_id,
                    "kind": EntryKind.FEE,
                    "amount_usd": fees,
                    "note": f"payment {payment.number}",
                    "created_by": by,
                    "at": now,
                },
            )


def doubt(payment: Payment, reason: str) -> None:
    """Call a payment unclear that is being sent. Nothing where it was settled meanwhile. One query."""
    Payment.objects.filter(pk=payment.pk, state=PaymentState.SENDING).update(state=PaymentState.UNCLEAR, reason=reason)
    payment.refresh_from_db()


def doubt_left_behind(*, now: datetime) -> int:
    """Call payments unclear whose call was begun `DOUBT_AFTER` ago and never ended; return how many. One query.

    Files that were handed out wait for a person, as long as that takes.
    """
    left = Payment.objects.filter(
        state=PaymentState.SENDING, method=PaymentMethod.PLATFORM, sent_at__lt=now - DOUBT_AFTER
    )
    return left.update(
        state=PaymentState.UNCLEAR, reason="the process that sent it ended before the platform's answer was stored"
    )


def _refuse_other(payment: Payment, payer: Payer) -> None:
    if payment.method != PaymentMethod.PLATFORM or payment.platform != payer.name:
        way = payment.platform or "file"
        raise MoneyError(f"Payment {payment.number} goes by {way}, not by {payer.name}.")
