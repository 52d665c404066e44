"""Several managers at once, each with a connection of their own: one payment is drawn up, sent and settled."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction

from annotation.models import LedgerEntry, Payment, PaymentState, Project
from annotation.money import drawing
from annotation.money.booking import add_by_hand, balance_of
from annotation.money.drawing import confirm, draw_up, withdraw
from annotation.money.errors import MoneyError
from annotation.money.sending import send, set_up
from tests.bonus_server import BonusServer
from tests.builders import make_person
from tests.paying import NOW, channel_to, make_debts, manager

pytestmark = pytest.mark.django_db(transaction=True)

MANAGERS = 6


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Start every call in a thread at the same moment; return their results, or the `MoneyError` of each."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            gate.wait()
            return call()
        except MoneyError as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_managers_who_draw_up_at_once_draw_one() -> None:
    project = make_debts()
    ada = manager()
    done = at_once([lambda: draw_up(project, by=ada, now=NOW) for _ in range(MANAGERS)])
    assert sum(isinstance(one, Payment) for one in done) == 1
    assert (Payment.objects.count(), balance_of(project).under_way_usd) == (1, Decimal("0.90"))


def test_managers_who_send_at_once_send_once() -> None:
    project, ada = make_debts(), manager()
    with BonusServer({"ben", "cyd"}) as platform:
        channel = channel_to(platform, project)
        payment = draw_up(project, by=ada, now=NOW, channel=channel)
        payment = confirm(payment, by=ada, total_usd=payment.total_usd, now=NOW)
        set_up(payment, channel.payer, by=ada, now=NOW)
        cost = payment.total_usd + payment.fees_usd

        def press() -> Payment:
            return send(Payment.objects.get(pk=payment.pk), channel.payer, by=ada, cost_usd=cost, now=NOW)

        done = at_once([press] * MANAGERS)
        assert sum(isinstance(one, Payment) for one in done) == 1
        assert platform.pays == ["order-1"]


def test_one_who_sends_and_one_who_withdraws_do_not_both() -> None:
    for slug in ("first", "second", "third"):
        project, ada = make_debts(slug=slug), manager()
        with BonusServer({"ben", "cyd"}, orders_called=project.slug) as platform:
            channel = channel_to(platform, project)
            payment = draw_up(project, by=ada, now=NOW, channel=channel)
            payment = confirm(payment, by=ada, total_usd=payment.total_usd, now=NOW)
            set_up(payment, channel.payer, by=ada, now=NOW)
            cost = payment.total_usd + payment.fees_usd
            again = Payment.objects.get(pk=payment.pk)
            at_once(
                [
                    partial(send, payment, channel.payer, by=ada, cost_usd=cost, now=NOW),
                    partial(withdraw, again, by=ada, now=NOW),
                ]
            )
            payment.refresh_from_db()
            sent = payment.state == PaymentState.PAID
            assert payment.state in (PaymentState.PAID, PaymentState.WITHDRAWN)
            assert (len(platform.pays), balance_of(project).owed_usd) == (
                (1, Decimal(0)) if sent else (0, Decimal("0.90"))
            )


def test_deductions_at_once_take_off_no_more_than_is_owed() -> None:
    project, ada = make_debts(), manager()
    ben = make_person(project, "ben")
    take = Decimal("-0.25")
    at_once([lambda: add_by_hand(ben, take, note="agreed", by=ada, now=NOW) for _ in range(MANAGERS)])
    assert LedgerEntry.objects.filter(kind="added").count() == 2


@pytest.mark.postgres
def test_without_lock_and_constraint_they_would_draw_up_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that the first test can fail: here neither the project is held nor one payment at a time asked for."""
    from contextlib import contextmanager

    together = threading.Barrier(MANAGERS)

    @contextmanager
    def unlocked(project: Project) -> Any:
        with transaction.atomic():
            yield project

    def seen_by_all(*args: Any) -> Any:
        drafts = preview(*args)
        together.wait(timeout=30)
        return drafts

    preview = drawing.preview
    monkeypatch.setattr(drawing, "locked_book", unlocked)
    monkeypatch.setattr(drawing, "preview", seen_by_all)
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX one_payment_under_way_per_project")
        cursor.execute("ALTER TABLE annotation_payment DROP CONSTRAINT one_payment_per_project_and_number")
    try:
        project, ada = make_debts(), manager()
        done = at_once([lambda: draw_up(project, by=ada, now=NOW) for _ in range(MANAGERS)])
        assert sum(isinstance(one, Payment) for one in done) == MANAGERS
        assert balance_of(project).under_way_usd == MANAGERS * Decimal("0.90")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM annotation_paymentline")
            cursor.execute("DELETE FROM annotation_payment")
            cursor.execute(
                "CREATE UNIQUE INDEX one_payment_under_way_per_project ON annotation_payment (project_id) "
                "WHERE state IN ('drawn', 'confirmed', 'set_up', 'sending', 'unclear')"
            )
            cursor.execute(
                "ALTER TABLE annotation_payment ADD CONSTRAINT one_payment_per_project_and_number "
                "UNIQUE (project_id, number)"
            )
