"""`manage.py pay`."""

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from annotation.commanding import ProjectCommand, manager_of
from annotation.models import Payment, Project
from annotation.money.drawing import confirm, withdraw
from annotation.money.payers import Payer, channel_for
from annotation.money.reconciling import reconcile, settle_by_hand
from annotation.money.sending import hand_out, mark_paid, send, set_up

ACTIONS = ("confirm", "set-up", "send", "look-up", "settle", "file", "paid", "withdraw")


class Command(ProjectCommand):
    help = "Take a payment one step on; each step refuses where the payment is not what was said."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("number", type=int, help="the payment's number")
        parser.add_argument("action", choices=ACTIONS)
        parser.add_argument("--by", required=True, help="the manager who does it")
        parser.add_argument(
            "--total-usd", type=Decimal, help="confirm: what people get; send: that and the fees, as you saw them"
        )
        parser.add_argument("--fees-usd", type=Decimal, default=Decimal(0), help="paid: what the platform took")
        parser.add_argument("--out", type=Path, help="file: where to write it")
        parser.add_argument("--paid", nargs="*", default=[], help="settle: who was paid, as the platform names them")
        parser.add_argument("--note", default="", help="settle, paid: how you know")

    def run(self, **options: Any) -> Mapping[str, Any]:
        project = self.project(options["slug"])
        by, action, now = manager_of(project, options["by"]), options["action"], timezone.now()
        payment = _payment(project, options["number"])
        if action in ("confirm", "send") and options["total_usd"] is None:
            raise CommandError(f"To {action} it, say the sum that you saw with --total-usd.")
        if action == "confirm":
            payment = confirm(payment, by=by, total_usd=options["total_usd"], now=now)
        elif action == "withdraw":
            payment = withdraw(payment, by=by, now=now, reason=options["note"])
        elif action == "set-up":
            set_up(payment, _payer(payment), by=by, now=now)
        elif action == "send":
            send(payment, _payer(payment), by=by, cost_usd=options["total_usd"], now=now)
        elif action == "look-up":
            reconcile(payment, _payer(payment), by=by, now=now)
        elif action == "settle":
            paid = payment.lines.filter(recipient__in=options["paid"])
            if paid.count() != len(set(options["paid"])):
                raise CommandError(f"Not everybody in --paid is in payment {payment.number}.")
            settle_by_hand(payment, paid={line.pk for line in paid}, by=by, note=options["note"], now=now)
        elif action == "file":
            if options["out"] is None:
                raise CommandError("Say with --out where to write the file.")
            options["out"].write_text(hand_out(payment, by=by, now=now), encoding="utf-8")
        else:
            mark_paid(payment, by=by, fees_usd=options["fees_usd"], note=options["note"], now=now)
        state = payment.get_state_display().lower()
        sums = f"{payment.total_usd:.2f} USD to people, {payment.fees_usd:.2f} USD in fees"
        self.stdout.write(f"Payment {payment.number} is {state}: {sums}. {payment.reason}".rstrip())
        return {
            "slug": project.slug,
            "payment": payment.number,
            "state": payment.state,
            "total_usd": str(payment.total_usd),
            "fees_usd": str(payment.fees_usd),
            "reason": payment.reason,
        }


def _payment(project: Project, number: int) -> Payment:
    payment = Payment.objects.filter(project=project, number=number).first()
    if payment is None:
        raise CommandError(
            f"{project} has no payment {number}. Draw one up with: manage.py draw_payment {project.slug}"
        )
    return payment


def _payer(payment: Payment) -> Payer:
    channel = channel_for(payment.project, payment.platform, payment.study_id)
    if channel is None:
        raise CommandError(f"Payment {payment.number} goes by {payment.platform or 'file'}, which is not connected.")
    return channel.payer
