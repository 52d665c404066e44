"""The book and payments: what is owed, who confirms what, and what a file is."""

from datetime import timedelta
from decimal import Decimal
from importlib import import_module

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.db.models import F

from annotation.checking import check_invariants
from annotation.models import LedgerEntry, Payment, PaymentLine, PaymentState, Project, Rater, RaterKind
from annotation.money import payers
from annotation.money.booking import add_by_hand, balance_of, balances, book_reward, reverse
from annotation.money.drawing import bonus_csv, changes_since, confirm, draw_up, preview, withdraw
from annotation.money.errors import MoneyError, NothingOwed, PaymentChanged
from annotation.money.payers import Channel, channels_of, register_channels
from annotation.money.sending import doubt_left_behind, hand_out, mark_paid, send, set_up
from tests.bonus_server import BonusServer
from tests.builders import make_answer, make_pair, make_person, make_user
from tests.paying import LATER, NOW, channel_to, make_debts, manager

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return make_debts()


def owed(project: Project) -> dict[str, Decimal]:
    names = dict(Rater.objects.values_list("pk", "name"))
    return {names[rater]: one.owed_usd for rater, one in balances(project).items()}


def broken(project: Project) -> list[str]:
    return [check.name for check in check_invariants(project, now=LATER) if check.broken]


def confirmed(project: Project, *, by: str = "ada") -> Payment:
    payment = draw_up(project, by=manager(), now=NOW)
    return confirm(payment, by=manager(by), total_usd=payment.total_usd, now=NOW)


# --- The book -------------------------------------------------------------------------------------------------------


def test_answers_too_late_and_hidden_repeats_are_paid_the_same(project: Project) -> None:
    first = make_answer(make_pair(project), "ada")
    make_answer(first.task.pair, "ada", "b", repeats=first)
    make_answer(make_pair(project), "ada", is_extra=True)
    mine = LedgerEntry.objects.filter(rater__name="ada").order_by("pk")
    assert list(mine.values_list("kind", "amount_usd")) == [
        ("answer", Decimal("0.30")),
        ("repeat", Decimal("0.30")),
        ("late", Decimal("0.30")),
    ]


def test_simulated_people_are_in_no_book(project: Project) -> None:
    make_answer(make_pair(project), make_person(project, "simon", origin="simulated"))
    assert "simon" not in owed(project)
    assert broken(project) == []


def test_entries_are_never_changed_nor_deleted(project: Project) -> None:
    entry = LedgerEntry.objects.first()
    assert entry is not None
    entry.amount_usd = Decimal(9)
    for act in (entry.save, LedgerEntry.objects.all().delete, lambda: LedgerEntry.objects.update(amount_usd=9)):
        with pytest.raises(TypeError, match="reverse"):
            act()
    assert balance_of(project).earned_usd == Decimal("0.90")


def test_entry_is_reversed_once(project: Project) -> None:
    entry = LedgerEntry.objects.filter(rater__name="cyd").get()
    first = reverse(entry, note="wrong", by=manager(), now=NOW)
    assert reverse(entry, note="again", by=manager(), now=NOW) == first
    assert owed(project) == {"ben": Decimal("0.60"), "cyd": 0}


def test_the_database_refuses_a_second_entry_for_the_same(project: Project) -> None:
    entry = LedgerEntry.objects.filter(rater__name="cyd").get()
    entry.pk, entry._state.adding = make_person(project).pk, True
    with pytest.raises(IntegrityError), transaction.atomic():
        entry.save(force_insert=True)


def test_what_is_added_by_hand_has_a_reason_and_is_added_once(project: Project) -> None:
    ben, key = make_person(project, "ben"), make_person(project).pk
    for _click in range(2):
        add_by_hand(ben, Decimal("1.50"), note="a bonus for care", by=manager(), now=NOW, key=key)
    assert owed(project)["ben"] == Decimal("2.10")
    with pytest.raises(MoneyError, match="Say what the amount is for"):
        add_by_hand(ben, Decimal("1.50"), note=" ", by=manager(), now=NOW)
    with pytest.raises(MoneyError, match=r"owed 2\.10 USD, so 2\.11 USD cannot be taken off"):
        add_by_hand(ben, Decimal("-2.11"), note="too much", by=manager(), now=NOW)
    judge = Rater.objects.create(project=project, kind=RaterKind.JUDGE, name="judge")
    with pytest.raises(MoneyError, match="only people who answer"):
        add_by_hand(judge, Decimal("1"), note="why not", by=manager(), now=NOW)


def test_reward_that_the_platform_pays_itself_is_not_owed_and_counts_later(project: Project) -> None:
    ben = make_person(project, "ben")
    for _time in range(2):
        book_reward(ben, Decimal("1.00"), submission="prolific:s1", by=manager(), now=NOW)
    assert balances(project)[ben.pk].owed_usd == Decimal("-0.40")
    assert [draft.recipient for draft in preview(project)] == ["cyd"]
    for _ in range(2):
        make_answer(make_pair(project), "ben")
    assert {draft.recipient: draft.amount_usd for draft in preview(project)} == {
        "ben": Decimal("0.20"),
        "cyd": Decimal("0.30"),
    }
    assert broken(project) == []


# --- Drawing up -----------------------------------------------------------------------------------------------------


def test_payment_holds_what_is_owed_so_that_nothing_else_pays_it(project: Project) -> None:
    payment = draw_up(project, by=manager(), now=NOW)
    assert [(line.recipient, line.amount_usd) for line in payment.lines.all()] == [
        ("ben", Decimal("0.60")),
        ("cyd", Decimal("0.30")),
    ]
    balance = balance_of(project)
    assert (balance.under_way_usd, balance.owed_usd, balance.paid_usd) == (Decimal("0.90"), Decimal(0), Decimal(0))
    assert broken(project) == []
    make_answer(make_pair(project), "ben")
    with pytest.raises(MoneyError, match="Payment 1 is drawn up"):
        draw_up(project, by=manager(), now=NOW)
    with pytest.raises(IntegrityError), transaction.atomic():
        Payment.objects.create(project=project, number=2, method="csv", total_usd=1, drawn_by=manager(), drawn_at=NOW)


def test_nobody_owed_is_no_payment(project: Project) -> None:
    mark_paid(_handed_out(project), by=manager(), note="", now=NOW)
    with pytest.raises(NothingOwed):
        draw_up(project, by=manager(), now=NOW)


def test_less_than_a_cent_stays_owed(project: Project) -> None:
    add_by_hand(make_person(project, "cyd"), Decimal("0.0099"), note="rounding", by=manager(), now=NOW)
    draw_up(project, by=manager(), now=NOW)
    assert owed(project) == {"ben": 0, "cyd": Decimal("0.0099")}


def test_dry_run_writes_nothing(project: Project) -> None:
    assert bonus_csv(preview(project)) == "ben,0.60\ncyd,0.30\n"
    assert (Payment.objects.count(), balance_of(project).under_way_usd) == (0, Decimal(0))


def test_platform_is_asked_for_at_most_so_many_people_the_most_owed_first(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotation.money.drawing.MOST_LINES", 1)
    with BonusServer({"ben", "cyd"}) as platform:
        drafts = preview(project, channel_to(platform, project))
    assert [draft.recipient for draft in drafts] == ["ben"]


def test_file_names_people_as_their_platform_does(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payers, "_finders", [])
    with BonusServer({"5f3c"}) as platform:
        named = {make_person(project, "ben").pk: "5f3c"}
        register_channels(lambda _project: [Channel(channel_to(platform, project).payer, "study-1", named)])
        assert bonus_csv(preview(project)) == "5f3c,0.60\ncyd,0.30\n"
        assert [channel.study_id for channel in channels_of(project)] == ["study-1"]


@pytest.mark.parametrize("name", ["=cmd()", "a,b", "a\nb", '"a"'])
def test_name_that_would_break_a_file_is_refused(project: Project, name: str) -> None:
    make_answer(make_pair(project), make_person(project, "eve", name=name))
    with pytest.raises(MoneyError, match="cannot stand in a bonus file"):
        draw_up(project, by=manager(), now=NOW)
    assert balance_of(project).under_way_usd == 0


# --- Confirming -----------------------------------------------------------------------------------------------------


def test_what_was_not_seen_is_not_confirmed(project: Project) -> None:
    payment = draw_up(project, by=manager(), now=NOW)
    with pytest.raises(PaymentChanged, match=r"is of 0\.90 USD, not of 0\.60"):
        confirm(payment, by=manager(), total_usd=Decimal("0.60"), now=NOW)
    confirm(payment, by=manager(), total_usd=Decimal("0.90"), now=NOW)
    with pytest.raises(PaymentChanged, match="confirmed already"):
        confirm(payment, by=manager(), total_usd=Decimal("0.90"), now=NOW)


def test_what_changed_since_is_shown_and_a_debt_that_shrank_is_not_paid(project: Project) -> None:
    payment = draw_up(project, by=manager(), now=NOW)
    assert changes_since(payment) == []
    make_answer(make_pair(project), "ben")
    assert [(one.recipient, one.amount_usd, one.owed_usd) for one in changes_since(payment)] == [
        ("ben", Decimal("0.60"), Decimal("0.30"))
    ]
    book_reward(make_person(project, "cyd"), Decimal("0.10"), submission="s", by=manager(), now=NOW)
    with pytest.raises(MoneyError, match="became less than it pays them"):
        confirm(payment, by=manager(), total_usd=Decimal("0.90"), now=NOW)
    withdraw(payment, by=manager(), now=NOW)
    assert owed(project) == {"ben": Decimal("0.90"), "cyd": Decimal("0.20")}
    assert broken(project) == []


def test_second_person_confirms_where_the_project_asks_for_one() -> None:
    project = make_debts(payments_need_second=True)
    make_user("fay")
    payment = draw_up(project, by=manager(), now=NOW)
    with pytest.raises(MoneyError, match="You drew up payment 1"):
        confirm(payment, by=manager(), total_usd=Decimal("0.90"), now=NOW)
    with pytest.raises(IntegrityError), transaction.atomic():
        Payment.objects.update(state=PaymentState.CONFIRMED, confirmed_by=F("drawn_by"), confirmed_at=NOW)
    # What was drawn up under the rule keeps it.
    Project.objects.update(payments_need_second=False)
    with pytest.raises(MoneyError, match="another manager confirms it"):
        confirm(payment, by=manager(), total_usd=Decimal("0.90"), now=NOW)
    confirm(payment, by=manager("fay"), total_usd=Decimal("0.90"), now=NOW)
    payment.refresh_from_db()
    assert (payment.state, payment.confirmed_by) == (PaymentState.CONFIRMED, manager("fay"))


def test_nothing_is_sent_that_was_not_confirmed(project: Project) -> None:
    with BonusServer({"ben", "cyd"}) as platform:
        channel = channel_to(platform, project)
        payment = draw_up(project, by=manager(), now=NOW, channel=channel)
        with pytest.raises(PaymentChanged, match="is drawn up, not confirmed"):
            set_up(payment, channel.payer, by=manager(), now=NOW)
        with pytest.raises(PaymentChanged, match="is drawn up, not set up"):
            send(payment, channel.payer, by=manager(), cost_usd=payment.total_usd, now=NOW)
        with pytest.raises(MoneyError, match="goes by prolific; a file of it would pay people twice"):
            hand_out(payment, by=manager(), now=NOW)
        assert platform.requests == 0
    with pytest.raises(IntegrityError), transaction.atomic():
        Payment.objects.update(state=PaymentState.SENDING, sent_at=NOW)


def test_fees_that_were_not_seen_are_not_paid(project: Project) -> None:
    with BonusServer({"ben", "cyd"}) as platform:
        channel = channel_to(platform, project)
        payment = draw_up(project, by=manager(), now=NOW, channel=channel)
        payment = confirm(payment, by=manager(), total_usd=payment.total_usd, now=NOW)
        set_up(payment, channel.payer, by=manager(), now=NOW)
        assert payment.fees_usd == Decimal("0.22")
        with pytest.raises(PaymentChanged, match=r"costs 1\.12 USD with fees, not 0\.90"):
            send(payment, channel.payer, by=manager(), cost_usd=payment.total_usd, now=NOW)
        send(payment, channel.payer, by=manager(), cost_usd=Decimal("1.12"), now=NOW)
    fee = LedgerEntry.objects.get(kind="fee")
    assert (fee.amount_usd, fee.rater, balance_of(project).earned_usd) == (Decimal("0.22"), None, Decimal("0.90"))


# --- By file --------------------------------------------------------------------------------------------------------


def _handed_out(project: Project) -> Payment:
    payment = confirmed(project)
    hand_out(payment, by=manager(), now=NOW)
    return payment


def test_file_that_was_handed_out_cannot_be_withdrawn_and_is_the_same_again(project: Project) -> None:
    payment = confirmed(project)
    text = hand_out(payment, by=manager(), now=NOW)
    assert text == "ben,0.60\ncyd,0.30\n"
    make_answer(make_pair(project), "ben")
    assert hand_out(payment, by=manager(), now=LATER) == text
    assert (payment.state, payment.sent_by, payment.sent_at) == (PaymentState.SENDING, manager(), NOW)
    with pytest.raises(PaymentChanged, match="cannot be undone"):
        withdraw(payment, by=manager(), now=NOW)


def test_who_marks_as_paid_and_when_is_kept_and_the_file_is_not_handed_out_again(project: Project) -> None:
    payment = _handed_out(project)
    mark_paid(payment, by=manager(), fees_usd=Decimal("0.30"), note="seen on their page", now=LATER)
    assert (payment.state, payment.ended_by, payment.ended_at) == (PaymentState.PAID, manager(), LATER)
    assert payment.reason == "marked as paid by ada: seen on their page"
    assert (balance_of(project).paid_usd, balance_of(project).owed_usd) == (Decimal("0.90"), Decimal(0))
    with pytest.raises(PaymentChanged):
        hand_out(payment, by=manager(), now=LATER)
    with pytest.raises(PaymentChanged):
        mark_paid(payment, by=manager(), note="", now=LATER)
    assert (LedgerEntry.objects.filter(kind="fee").count(), broken(project)) == (1, [])


def test_file_in_somebodys_hands_is_not_called_unclear_by_itself(project: Project) -> None:
    _handed_out(project)
    assert doubt_left_behind(now=NOW + timedelta(days=30)) == 0


# --- Checking -------------------------------------------------------------------------------------------------------


def test_damage_to_the_book_is_found(project: Project) -> None:
    payment = draw_up(project, by=manager(), now=NOW)
    entry = LedgerEntry.objects.filter(kind="answer").first()
    assert entry is not None
    for damage, found in (
        (
            "UPDATE annotation_paymentline SET amount_usd = 0.31 WHERE recipient = 'cyd'",
            ["payments_are_booked", "payments_add_up"],
        ),
        ("UPDATE annotation_payment SET total_usd = 5", ["payments_add_up"]),
        ("UPDATE annotation_ledgerentry SET kind = 'late' WHERE kind = 'answer'", ["book_equals_answers"]),
        (
            "UPDATE annotation_ledgerentry SET amount_usd = 0 WHERE kind = 'answer'",
            ["book_equals_answers", "nobody_is_overpaid"],
        ),
        ("UPDATE annotation_paymentline SET outcome = 'unpaid'", ["payments_are_booked"]),
        ("UPDATE annotation_payment SET state = 'withdrawn'", ["payments_are_booked"]),
    ):
        assert broken(project) == []
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(damage)
            assert broken(project) == found, damage
            transaction.set_rollback(True)
    assert payment.lines.count() == PaymentLine.objects.count() == 2


def test_answer_that_is_in_no_book_is_found(project: Project) -> None:
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM annotation_ledgerentry WHERE kind = 'answer'")
    assert broken(project) == ["answers_are_booked"]


def test_upgrade_books_what_was_answered_before(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_answer(make_pair(project), "ada")
    make_answer(first.task.pair, "ada", "b", repeats=first)
    make_answer(make_pair(project), "ada", is_extra=True)
    make_answer(make_pair(project), make_person(project, "simon", origin="simulated"))
    columns = ("key", "kind", "amount_usd", "rater", "assignment", "project")
    before = set(LedgerEntry.objects.values_list(*columns))
    LedgerEntry.objects.all()._raw_delete(connection.alias)
    migration = import_module("annotation.migrations.0015_book_answers")
    monkeypatch.setattr(migration, "BATCH", 2)
    migration.book_what_was_answered(apps, None)
    assert set(LedgerEntry.objects.values_list(*columns)) == before
    assert len(before) == 6
    assert {"answers_are_booked", "book_equals_answers"}.isdisjoint(broken(project))
