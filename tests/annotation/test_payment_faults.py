"""Faults at every step of a payment: nobody is paid twice, and nobody's money is forgotten.

A process is killed between any two lines of the code about money: an exception that nothing catches is raised there,
so that what was committed stays and the rest is undone, as at a kill. Then managers go on as they would, and the
platform's own account is compared with what was earned. The last tests show that these would notice, and kill a real
process.
"""

import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from itertools import takewhile
from typing import Any

import pytest
from django.db import transaction

from annotation.models import Payment, PaymentState, Project
from annotation.money import sending
from annotation.money.booking import balance_of
from annotation.money.drawing import confirm, draw_up, give_up, move, withdraw
from annotation.money.errors import MoneyError, PaymentChanged, PayRefused
from annotation.money.payers import Channel
from annotation.money.reconciling import reconcile, settle_by_hand
from annotation.money.sending import send, set_up
from tests.bonus_server import BonusServer, PlatformDown
from tests.builders import make_answer, make_pair
from tests.paying import (
    LATER,
    NOW,
    Killed,
    Passed,
    assert_paid_once,
    channel_to,
    finish,
    killed_at,
    latest,
    make_debts,
    manager,
    pay_by_file,
    pay_by_platform,
    start_paying,
    where_rows_differ,
)

pytestmark = pytest.mark.django_db

# Set up, read the record, pay: the third request of a payment is the one that costs.
PAY_REQUEST = 3
Story = Callable[[Project, BonusServer, Channel], None]


def taken_and_paid_later(project: Project, platform: BonusServer, channel: Channel) -> None:
    pay_by_platform(project, channel)
    platform.pay_up()
    payment = latest(project)
    assert payment is not None
    reconcile(payment, channel.payer, by=manager(), now=LATER)


def by_file(project: Project, platform: BonusServer, _channel: Channel) -> None:
    pay_by_file(project, platform)


def unclear_and_not_paid(project: Project, platform: BonusServer, channel: Channel) -> None:
    platform.faults = ["", "lost before"]
    pay_by_platform(project, channel)
    payment = latest(project)
    assert payment is not None
    settle_by_hand(payment, paid=[], by=manager(), note="their page shows nothing", now=LATER)


def withdrawn_after_set_up(project: Project, platform: BonusServer, channel: Channel) -> None:
    ada = manager()
    payment = draw_up(project, by=ada, now=NOW, channel=channel)
    confirm(payment, by=ada, total_usd=payment.total_usd, now=NOW)
    payment = Payment.objects.get(pk=payment.pk)
    set_up(payment, channel.payer, by=ada, now=NOW)
    withdraw(payment, by=ada, now=NOW)


LEAST_STEPS = 4
STORIES: list[Story] = [taken_and_paid_later, by_file, unclear_and_not_paid, withdrawn_after_set_up]


@contextmanager
def undone() -> Iterator[None]:
    """Run a block whose rows are gone after it."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def lines_of(story: Story, project: Project) -> list[Passed]:
    """Return the lines that a story comes to, in order."""
    with BonusServer({"ben", "cyd"}, at_once=False) as platform, undone():
        channel = channel_to(platform, project)
        with killed_at(None, platform) as passed:
            story(project, platform, channel)
    return passed


def kill(story: Story, project: Project, number: int) -> None:
    """Kill a story at its line of this number, go on as managers do, and check who was paid what."""
    with BonusServer({"ben", "cyd"}, at_once=False) as platform, undone():
        channel = channel_to(platform, project)
        with pytest.raises(Killed), killed_at(number, platform):
            story(project, platform, channel)
        finish(project, platform, None if story is by_file else channel)
        assert_paid_once(project, platform)


@pytest.mark.parametrize("story", STORIES)
def test_killed_at_any_step_everybody_is_paid_once(story: Story) -> None:
    """Killed before each line at which the rows, or what the platform knows, are not as at the line before.

    What a story has in common with the first one is killed there.
    """
    project = make_debts()
    first, passed = (lines_of(one, project) for one in (STORIES[0], story))
    shared = sum(1 for _same in takewhile(lambda pair: pair[0].line == pair[1].line, zip(first, passed, strict=False)))
    steps = [number for number in where_rows_differ(passed) if story is STORIES[0] or number >= shared]
    assert len(steps) >= LEAST_STEPS
    for number in steps:
        kill(story, project, number)


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES)
def test_killed_between_any_two_lines_everybody_is_paid_once(story: Story) -> None:
    """The same before every line: `pytest -m slow tests/annotation/test_payment_faults.py`, some minutes."""
    project = make_debts()
    for number in range(len(lines_of(story, project))):
        kill(story, project, number)


# --- What a platform does -------------------------------------------------------------------------------------------

FAULTS = ["400", "lost before", "lost after", "late", "500 before", "500 after"]


@pytest.mark.parametrize("at_once", [True, False], ids=["pays at once", "pays later"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("request_number", [0, 1], ids=["set up", "pay"])
def test_platform_that_fails_pays_everybody_once(request_number: int, fault: str, at_once: bool) -> None:
    project = make_debts()
    with BonusServer({"ben", "cyd"}, at_once=at_once) as platform:
        channel = channel_to(platform, project, patience_seconds=0.3 if fault == "late" else 30.0)
        platform.faults = [""] * request_number + [fault]
        with suppress(PayRefused, PlatformDown):
            pay_by_platform(project, channel)
        finish(project, platform, channel)
        assert_paid_once(project, platform)
        assert set(Counter(platform.pays).values()) == {1}


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ("", PaymentState.PAID),
        ("400", PaymentState.FAILED),
        ("lost before", PaymentState.UNCLEAR),
        ("lost after", PaymentState.UNCLEAR),
        ("500 after", PaymentState.UNCLEAR),
    ],
)
def test_only_a_refusal_says_that_nobody_was_paid(fault: str, state: PaymentState) -> None:
    project = make_debts()
    with BonusServer({"ben", "cyd"}) as platform:
        platform.faults = ["", fault]
        with suppress(PayRefused):
            pay_by_platform(project, channel_to(platform, project))
    payment = latest(project)
    assert payment is not None
    assert payment.state == state
    owed = balance_of(project).owed_usd
    assert owed == (Decimal("0.90") if state == PaymentState.FAILED else 0)


def test_who_the_platform_does_not_know_ends_the_payment_and_is_named() -> None:
    project = make_debts()
    with BonusServer({"ben"}) as platform, pytest.raises(PayRefused, match="No such participants: cyd"):
        pay_by_platform(project, channel_to(platform, project))
    payment = latest(project)
    assert payment is not None
    assert (payment.state, balance_of(project).owed_usd) == (PaymentState.FAILED, Decimal("0.90"))
    assert "cyd" in payment.reason


def test_unclear_payment_is_never_sent_again() -> None:
    project = make_debts()
    with BonusServer({"ben", "cyd"}) as platform:
        channel = channel_to(platform, project)
        platform.faults = ["", "lost after"]
        pay_by_platform(project, channel)
        payment = latest(project)
        assert payment is not None
        with pytest.raises(PaymentChanged, match="unclear, not set up"):
            send(payment, channel.payer, by=manager(), cost_usd=payment.total_usd + payment.fees_usd, now=LATER)
        with pytest.raises(MoneyError, match="Payment 1 is unclear"):
            draw_up(project, by=manager(), now=LATER, channel=channel)
        with pytest.raises(PaymentChanged, match="cannot be undone"):
            withdraw(payment, by=manager(), now=LATER)
        assert len(platform.pays) == 1


def test_a_platform_that_says_it_late_is_not_taken_for_one_that_did_not_pay() -> None:
    """An hour has to pass before anybody can say that nobody was paid: the platform pays some minutes after."""
    project = make_debts()
    with BonusServer({"ben", "cyd"}, at_once=False) as platform:
        channel = channel_to(platform, project)
        platform.faults = ["", "lost after"]
        pay_by_platform(project, channel)
        payment = latest(project)
        assert payment is not None
        assert [one.is_paid for one in reconcile(payment, channel.payer, by=None, now=NOW)] == [False, False]
        with pytest.raises(MoneyError, match=r"From 10:00 UTC on you can say"):
            settle_by_hand(payment, paid=[], by=manager(), note="nothing there", now=NOW)
        platform.pay_up()
        reconcile(payment, channel.payer, by=None, now=LATER)
        assert payment.state == PaymentState.RECONCILED
        assert_paid_once(project, platform)


def test_what_arrived_in_part_is_owed_in_part() -> None:
    project = make_debts()
    with BonusServer({"ben", "cyd"}) as platform:
        channel = channel_to(platform, project)
        platform.faults = ["", "lost before"]
        pay_by_platform(project, channel)
        payment = latest(project)
        assert payment is not None
        platform.paid.append(("cyd", Decimal("0.30")))
        found = reconcile(payment, channel.payer, by=manager(), now=NOW)
        assert {one.line.recipient: one.is_paid for one in found} == {"ben": False, "cyd": True}
        settle_by_hand(payment, paid=[], by=manager(), note="ben got nothing", now=LATER)
        assert (payment.state, balance_of(project).owed_usd) == (PaymentState.RECONCILED, Decimal("0.60"))
        finish(project, platform, channel)
        assert_paid_once(project, platform)


def test_bonuses_that_were_paid_past_tiebreak_are_not_taken_for_ours() -> None:
    project = make_debts()
    with BonusServer({"ben", "cyd"}) as platform:
        channel = channel_to(platform, project)
        platform.paid += [("ben", Decimal("0.60")), ("cyd", Decimal("0.30"))]
        platform.faults = ["", "lost before"]
        pay_by_platform(project, channel)
        payment = latest(project)
        assert payment is not None
        assert [one.paid_usd for one in reconcile(payment, channel.payer, by=manager(), now=NOW)] == [0, 0]
        assert payment.state == PaymentState.UNCLEAR


def test_order_of_another_payment_is_refused() -> None:
    """A platform that answers with an order it has carried out before would pay that one again."""
    project = make_debts()
    with BonusServer({"ben", "cyd"}) as platform:
        channel = channel_to(platform, project)
        pay_by_platform(project, channel)
        first = latest(project)
        assert first is not None
        reconcile(first, channel.payer, by=manager(), now=LATER)
        make_answer(make_pair(project), "ben")
        platform.next_order = first.platform_id
        with pytest.raises(MoneyError, match="is another payment's"):
            pay_by_platform(project, channel)
        assert len(platform.pays) == 1


def test_total_that_the_platform_reads_otherwise_is_not_sent() -> None:
    project = make_debts()
    with BonusServer({"ben", "cyd"}) as platform:
        platform.cents = Decimal(120)  # as if the study were paid in another currency
        with pytest.raises(MoneyError, match=r"understood 1\.08 USD where payment 1 is of 0\.90 USD"):
            pay_by_platform(project, channel_to(platform, project))
        assert platform.pays == []


def test_record_that_cannot_be_read_sends_nothing() -> None:
    project = make_debts()
    with BonusServer({"ben", "cyd"}) as platform:
        platform.unreadable = True
        with pytest.raises(PlatformDown):
            pay_by_platform(project, channel_to(platform, project))
        payment = latest(project)
        assert payment is not None
        assert (payment.state, platform.pays) == (PaymentState.SET_UP, [])


# --- That these tests would notice ----------------------------------------------------------------------------------


def sent_again_when_unclear(payment: Payment, _reason: str) -> None:
    Payment.objects.filter(pk=payment.pk).update(state=PaymentState.SET_UP)
    payment.refresh_from_db()


def taken_for_failed_when_unclear(payment: Payment, reason: str) -> None:
    give_up(payment, PaymentState.FAILED, states=(PaymentState.SENDING,), by=None, now=NOW, reason=reason)


@pytest.mark.parametrize("careless", [sent_again_when_unclear, taken_for_failed_when_unclear])
def test_code_that_is_careless_about_the_unclear_pays_twice(
    careless: Callable[[Payment, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "doubt", careless)
    project = make_debts()
    with BonusServer({"ben", "cyd"}) as platform:
        channel = channel_to(platform, project)
        platform.faults = ["", "lost after"]
        pay_by_platform(project, channel)
        finish(project, platform, channel)
        assert platform.totals == {"ben": Decimal("1.20"), "cyd": Decimal("0.60")}
        with pytest.raises(AssertionError):
            assert_paid_once(project, platform)


def test_code_that_marks_after_the_call_pays_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `sending` stored before, a process killed in the call leaves a payment that looks as if never sent."""
    monkeypatch.setattr(sending, "move", _only_setting_up)
    project = make_debts()
    with BonusServer({"ben", "cyd"}) as platform:
        channel = channel_to(platform, project)
        with pytest.raises(PaymentChanged):
            pay_by_platform(project, channel)
        monkeypatch.undo()
        finish(project, platform, channel)
        assert platform.totals == {"ben": Decimal("1.20"), "cyd": Decimal("0.60")}


def _only_setting_up(payment: Payment, before: PaymentState, after: PaymentState, **values: Any) -> None:
    if after != PaymentState.SENDING:
        move(payment, before, after, **values)


# --- A real process -------------------------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_process_that_is_killed_around_the_call_pays_everybody_once() -> None:
    """SIGKILL just before the request that pays, and just after it: the row and the platform know different things."""
    project = make_debts()
    passed = lines_of(taken_and_paid_later, project)
    pay = next(number for number, one in enumerate(passed) if one.requests == PAY_REQUEST)
    with BonusServer({"ben", "cyd"}, orders_called="before") as before, BonusServer({"ben", "cyd"}) as after:
        other = make_debts(slug="other")
        killed = [
            start_paying(project, before, killed_at=pay - 1),
            start_paying(other, after, killed_at=pay),
        ]
        assert [process.wait(timeout=60) for process in killed] == [-signal.SIGKILL, -signal.SIGKILL]
        assert [platform.pays for platform in (before, after)] == [[], ["order-1"]]
        assert set(Payment.objects.values_list("state", flat=True)) == {PaymentState.SENDING}
        for one, platform in ((project, before), (other, after)):
            finish(one, platform, channel_to(platform, one))
            assert_paid_once(one, platform)
