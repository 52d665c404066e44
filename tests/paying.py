"""Managers who pay: what they do by platform and by file, and how they go on after whatever went wrong."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple
from urllib.parse import quote

from django.db import connection

from annotation.checking import check_invariants
from annotation.models import LineOutcome, Payment, PaymentState, Project, User
from annotation.money.booking import balance_of
from annotation.money.drawing import confirm, draw_up
from annotation.money.errors import MoneyError, PayRefused
from annotation.money.payers import Channel
from annotation.money.reconciling import reconcile, settle_by_hand
from annotation.money.sending import doubt_left_behind, hand_out, mark_paid, send, set_up
from tests.bonus_server import ApiPayer, BonusServer, PlatformDown
from tests.builders import make_answer, make_pair, make_person, make_project

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=2)
EARNED = {"ben": Decimal("0.60"), "cyd": Decimal("0.30")}
MONEY = Path(__file__).resolve().parents[1] / "annotation" / "money"


class Killed(BaseException):
    """The process ends here: no handler of ours catches it, and what was not committed is undone."""


def make_debts(**overrides: Any) -> Project:
    """Return a project in which ben earned 0.60 and cyd 0.30 US dollars."""
    project = make_project(**overrides)
    for name, answers in (("ben", 2), ("cyd", 1)):
        for _ in range(answers):
            make_answer(make_pair(project), name)
    return project


def channel_to(platform: BonusServer, project: Project, *, patience_seconds: float = 30.0) -> Channel:
    """Return the way to pay ben and cyd by the platform."""
    return channel_at(platform.url, platform.study_id, project, patience_seconds=patience_seconds)


def channel_at(url: str, study_id: str, project: Project, *, patience_seconds: float = 30.0) -> Channel:
    """Return the way to pay ben and cyd by the platform at an address."""
    payer = ApiPayer(url, patience_seconds=patience_seconds)
    return Channel(payer, study_id, {make_person(project, name).pk: name for name in EARNED})


def manager(name: str = "ada") -> User:
    """Return a manager."""
    return User.objects.get(username=name)


def latest(project: Project) -> Payment | None:
    """Return a project's last payment."""
    return Payment.objects.filter(project=project).order_by("-number").first()


def pay_by_platform(project: Project, channel: Channel, *, now: datetime = NOW) -> None:
    """Do one after the other what a manager does on the page."""
    ada, payer = manager(), channel.payer
    payment = draw_up(project, by=ada, now=now, channel=channel)
    confirm(payment, by=ada, total_usd=payment.total_usd, now=now)
    payment = Payment.objects.get(pk=payment.pk)
    set_up(payment, payer, by=ada, now=now)
    send(payment, payer, by=ada, cost_usd=payment.total_usd + payment.fees_usd, now=now)


def pay_by_file(project: Project, platform: BonusServer, *, now: datetime = NOW) -> None:
    """Do what a manager does with a file: upload it once, then say so."""
    ada = manager()
    payment = draw_up(project, by=ada, now=now)
    confirm(payment, by=ada, total_usd=payment.total_usd, now=now)
    payment = Payment.objects.get(pk=payment.pk)
    upload(hand_out(payment, by=ada, now=now), payment, platform)
    mark_paid(payment, by=ada, note="uploaded", now=now)


def upload(text: str, payment: Payment, platform: BonusServer) -> None:
    """Pay by a file, as a person does on the platform's page, who sees there that it was done already."""
    order = f"file-{payment.pk}"
    if order not in platform.pays:
        platform.pays.append(order)
        platform.paid += [(name, Decimal(usd)) for name, usd in (line.split(",") for line in text.splitlines())]


def finish(project: Project, platform: BonusServer, channel: Channel | None) -> None:
    """Go on from wherever a process was killed until nobody is owed anything, as managers and the sweeper do.

    They look at what the platform shows, some time later, and press the next button of the page; never one that the
    page does not offer.
    """
    payment = None
    for _step in range(20):
        if channel is not None:
            assert isinstance(channel.payer, ApiPayer)
            platform.wait_for(channel.payer.sent)
        doubt_left_behind(now=LATER)
        payment = latest(project)
        if payment is not None and _is_open(payment):
            platform.pay_up()
            _next_step(payment, platform, channel)
        elif balance_of(project).owed_usd >= Decimal("0.01"):
            try:
                draw_up(project, by=manager(), now=LATER, channel=channel)
            except MoneyError as error:
                raise AssertionError(f"money is owed and cannot be paid: {error}") from error
        else:
            return
    raise AssertionError(f"a payment never ends: it is {payment and payment.state}")


def _is_open(payment: Payment) -> bool:
    taken = payment.state == PaymentState.PAID and payment.lines.filter(outcome=LineOutcome.OPEN).exists()
    return payment.is_under_way or taken


def _next_step(payment: Payment, platform: BonusServer, channel: Channel | None) -> None:
    ada = manager()
    try:
        if payment.state == PaymentState.DRAWN:
            confirm(payment, by=ada, total_usd=payment.total_usd, now=LATER)
        elif channel is None:
            upload(hand_out(payment, by=ada, now=LATER), payment, platform)
            mark_paid(Payment.objects.get(pk=payment.pk), by=ada, note="uploaded", now=LATER)
        elif payment.state == PaymentState.CONFIRMED:
            set_up(payment, channel.payer, by=ada, now=LATER)
        elif payment.state == PaymentState.SET_UP:
            send(payment, channel.payer, by=ada, cost_usd=payment.total_usd + payment.fees_usd, now=LATER)
        else:
            found = reconcile(payment, channel.payer, by=ada, now=LATER)
            if _is_open(payment):
                paid = [one.line.pk for one in found if one.is_paid]
                settle_by_hand(payment, paid=paid, by=ada, note="the platform's page", now=LATER + timedelta(hours=2))
    except (PayRefused, PlatformDown):
        return  # the page says so, and the manager looks again


def assert_paid_once(project: Project, platform: BonusServer, earned: dict[str, Decimal] = EARNED) -> None:
    """Check that everybody got what they earned, no more and no less, and that the book says so."""
    assert platform.totals == earned
    balance = balance_of(project)
    total = sum(earned.values(), Decimal(0))
    assert balance == (total, total, Decimal(0))
    assert [check for check in check_invariants(project, now=LATER) if check.broken] == []


class Passed(NamedTuple):
    """A line of the code about money that was come to; how often rows were changed and the platform asked before it."""

    line: str
    changes: int
    requests: int


@contextmanager
def killed_at(
    number: int | None, platform: BonusServer, end: Callable[[str], None] | None = None
) -> Iterator[list[Passed]]:
    """Raise `Killed` (or do `end`) before this line (from 0) of the code about money is executed; None: nowhere.

    Yields the lines that were come to. Transactions that were open are undone, as those of a process that is gone.
    """
    passed: list[Passed] = []
    watched = {str(path) for path in MONEY.glob("*.py")}
    changes = 0

    def counted(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        nonlocal changes
        changes += sql.startswith(("INSERT", "UPDATE", "DELETE", "RELEASE"))  # released, it is as if committed
        return execute(sql, *rest)

    def trace(frame: FrameType, event: str, _arg: Any) -> Callable[..., Any] | None:
        if frame.f_code.co_filename not in watched:
            return None
        if event == "line":
            here = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            if len(passed) == number:
                sys.settrace(None)
                if end is not None:
                    end(here)
                raise Killed(here)
            passed.append(Passed(here, changes, platform.requests))
        return trace

    open_before, traced_before = len(connection.atomic_blocks), sys.gettrace()
    sys.settrace(trace)
    try:
        with connection.execute_wrapper(counted):
            yield passed
    except Killed as killed:
        # A line of a `with` statement is come to on the way out too; killed there, its own end never runs.
        while len(connection.atomic_blocks) > open_before:
            connection.atomic_blocks[-1].__exit__(Killed, killed, None)
        raise
    finally:
        sys.settrace(traced_before)


def where_rows_differ(passed: list[Passed]) -> list[int]:
    """Return the numbers of the lines before which something changed: killed at any other, the same rows are left."""
    known = [(one.changes, one.requests) for one in passed]
    return [number for number, one in enumerate(known) if number == 0 or one != known[number - 1]]


def start_paying(project: Project, platform: BonusServer, *, killed_at: int) -> "subprocess.Popen[bytes]":
    """Start a process that pays a project's people by the platform in this test's PostgreSQL database, and is killed.

    At the line of this number, with SIGKILL.
    """
    database = connection.settings_dict
    password = f":{quote(database['PASSWORD'], safe='')}" if database["PASSWORD"] else ""
    place = f"{database['HOST'] or '127.0.0.1'}:{database['PORT'] or 5432}"
    url = f"postgres://{quote(database['USER'], safe='')}{password}@{place}/{database['NAME']}"
    return subprocess.Popen(
        [sys.executable, "-m", "tests.paying_process", project.slug, platform.url, str(killed_at)],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "DATABASE_URL": url},
        cwd=MONEY.parents[1],
    )
