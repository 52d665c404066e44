"""What became of a payment: told by the platform's own record, or by a person who looked.

A record can show that somebody was paid. It never shows by itself that somebody was not: a platform pays some time
after it was asked. So what is missing stays open until a person says that it did not and will not arrive.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from annotation.answering import NOTE_LIMIT, storable
from annotation.models import LineOutcome, Payment, PaymentLine, PaymentState, User
from annotation.models.money import MAY_HAVE_LEFT
from annotation.money.booking import locked_book
from annotation.money.drawing import give_up, unpay
from annotation.money.errors import MoneyError, PaymentChanged
from annotation.money.payers import Payer
from annotation.money.sending import DOUBT_AFTER, doubt, settle

# States in which a line may be open: the money may have left, or the platform took the order and pays it later.
LOOKED_UP = (*MAY_HAVE_LEFT, PaymentState.PAID.value)
# How long after it was asked a platform may still pay: before, nobody can know that it does not.
UNPAID_AFTER = timedelta(hours=1)


class Found(NamedTuple):
    """What a platform's record says of a person's line: paid in it since it was sent, of what the line is of."""

    line: PaymentLine
    paid_usd: Decimal

    @property
    def is_paid(self) -> bool:
        """Whether exactly this line's amount arrived."""
        return self.paid_usd == self.line.amount_usd

    @property
    def is_odd(self) -> bool:
        """Whether something arrived that is not this line's amount."""
        return self.paid_usd not in (0, self.line.amount_usd)


def look_up(payment: Payment, payer: Payer) -> list[Found]:
    """Return what the platform's record says of each line that went by it. Writes nothing; asks the platform."""
    if payer.name != payment.platform:
        raise MoneyError(f"Payment {payment.number} went by {payment.platform or 'file'}, not by {payer.name}.")
    record = payer.bonuses_paid(payment.study_id)
    lines = payment.lines.select_related("rater")
    return [Found(line, record.get(line.recipient, Decimal(0)) - (line.before_usd or 0)) for line in lines]


def reconcile(payment: Payment, payer: Payer, *, by: User | None, now: datetime) -> list[Found]:
    """Hold a payment against the platform's record; where every line arrived it is `reconciled`.

    Lines that arrived are noted as paid one by one, the others stay open. Raises `PaymentChanged` where it was not
    sent, or may be under way at this moment. Asks the platform, then locks the project.
    """
    if payment.state not in LOOKED_UP:
        raise PaymentChanged(f"Payment {payment.number} is {payment.get_state_display().lower()}: nothing to look up.")
    _refuse_fresh(payment, now)
    found = look_up(payment, payer)
    arrived = [one.line.pk for one in found if one.is_paid]
    said = f"{payer.name}'s record shows {len(arrived)} of {len(found)} people paid"
    with locked_book(payment.project):
        held = Payment.objects.get(pk=payment.pk)
        if held.state in LOOKED_UP:
            held.lines.filter(pk__in=arrived, outcome=LineOutcome.OPEN).update(outcome=LineOutcome.PAID)
            if not held.lines.filter(outcome=LineOutcome.OPEN).exists():
                settle(held, PaymentState(held.state), PaymentState.RECONCILED, by=by, now=now, reason=said)
            else:
                doubt(held, said)
                Payment.objects.filter(pk=held.pk).update(reason=said)
    payment.refresh_from_db()
    return found


def settle_by_hand(payment: Payment, *, paid: Collection[UUID], by: User, note: str, now: datetime) -> Payment:
    """Say which open lines of a payment arrived; the others did not and will not, and are owed again.

    `paid` are ids of lines; `note` says how that is known. Where nobody was paid it is `failed`, else `reconciled`.
    Raises `PaymentChanged` or `MoneyError`, so too where the platform may still be at it. Locks the project.
    """
    note = storable(note, field="note", limit=NOTE_LIMIT).strip()
    if not note:
        raise MoneyError("Say how you know: what the platform's page showed, and when you looked.")
    _refuse_fresh(payment, now)
    with locked_book(payment.project):
        held = Payment.objects.get(pk=payment.pk)
        lines = list(held.lines.select_related("entry"))
        open_lines = [line for line in lines if line.outcome == LineOutcome.OPEN]
        if held.state not in LOOKED_UP or not open_lines:
            raise PaymentChanged(f"Payment {held.number} is {held.get_state_display().lower()}: nothing is open in it.")
        if unknown := set(paid) - {line.pk for line in lines}:
            raise MoneyError(f"{len(unknown)} of these people are not in payment {held.number}.")
        missing = [line for line in open_lines if line.pk not in paid]
        if missing and held.platform and held.sent_at and now < held.sent_at + UNPAID_AFTER:
            raise MoneyError(
                f"{held.platform} pays some time after it was asked. From {held.sent_at + UNPAID_AFTER:%H:%M} UTC on "
                "you can say that somebody was not paid; until then it might pay them twice."
            )
        said = f"{by}: {note}"
        if len(missing) == len(lines):
            give_up(held, PaymentState.FAILED, states=(PaymentState(held.state),), by=by, now=now, reason=said)
        else:
            for line in missing:
                unpay(line, by=by, now=now, note=said)
            held.lines.filter(outcome=LineOutcome.OPEN).update(outcome=LineOutcome.PAID)
            settle(held, PaymentState(held.state), PaymentState.RECONCILED, by=by, now=now, reason=said)
    payment.refresh_from_db()
    return payment


def _refuse_fresh(payment: Payment, now: datetime) -> None:
    """Refuse while the call may be under way in another process; a file is in a person's hands and never is."""
    if payment.state != PaymentState.SENDING or not payment.platform or payment.sent_at is None:
        return
    if now < payment.sent_at + DOUBT_AFTER:
        raise PaymentChanged(
            f"Payment {payment.number} is being sent since {payment.sent_at:%H:%M} UTC. Look again after "
            f"{DOUBT_AFTER.total_seconds() / 60:.0f} minutes."
        )
