"""The Money page: what was earned and spent, what an hour pays, and payments step by step."""

import csv
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from annotation.models import LedgerEntry, Pair, Payment, PaymentState, Project, User
from annotation.money import payers
from annotation.money.drawing import draw_up
from annotation.money.payers import register_channels
from annotation.pricing import set_rate
from exports.booking import book_of, weeks_of
from exports.earning import LEAST_TIMED, actual_pay, expected_pay
from judges.models import JudgeVersion, Verdict
from tests.bonus_server import BonusServer
from tests.builders import make_answer, make_person, make_preference, make_user
from tests.paying import channel_to

pytestmark = pytest.mark.either_database

HERE = "/projects/helpfulness/money/"


@pytest.fixture
def earned(project: Project, pairs: list[Pair]) -> Project:
    """Return the project with twelve answers of ben's and one of cyd's, at 0.30 US dollars and 30 s each."""
    for pair in pairs[:12]:
        make_answer(pair, "ben", seconds=30.0)
    make_answer(pairs[0], "cyd", "b", seconds=30.0)
    return project


@pytest.fixture
def platform(earned: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[BonusServer]:
    """Return a platform that the project's people come from."""
    monkeypatch.setattr(payers, "_finders", [])
    with BonusServer({"ben", "cyd"}) as server:
        register_channels(lambda project: [channel_to(server, project)])
        yield server


def press(client: Client, action: str, number: int = 1, **values: object) -> str:
    """Press a button of a payment's page and return what the next page says, in one line."""
    return " ".join(client.post(f"{HERE}payments/{number}/{action}/", values, follow=True).text.split())


# --- Figures --------------------------------------------------------------------------------------------------------


def test_page_says_what_was_earned_and_what_an_hour_paid(ada: Client, earned: Project) -> None:
    page = ada.get(HERE)
    people = page.context["report"]["people"]
    assert (people["usd"], people["owed_usd"], people["paid_usd"]) == ("3.9", "3.9", "0")
    # 0.30 in 30 seconds.
    assert people["hourly"]["actual"]["usd"] == "36"
    assert [(one["person"], one["usd"], one["hourly"]["too_few"]) for one in people["people"]] == [
        ("ben", "3.6", ""),
        ("cyd", "0.3", "too few timed answers (1 of 10)"),
    ]
    assert "$3.90" in page.text


def test_expected_hour_is_measured_against_the_floor(ada: Client, earned: Project) -> None:
    set_rate(earned, crowd_usd=Decimal("0.05"), expert_usd=Decimal("0.50"), now=timezone.now())
    Project.objects.update(pay_floor_usd_per_hour=Decimal("12"))
    page = ada.get(HERE)
    hourly = page.context["report"]["people"]["hourly"]
    # 12 and 1 timed answers are too few to measure: 230 words a minute and 20 s to decide.
    assert hourly["expected_seconds"] == pytest.approx(expected_pay(earned).seconds)
    assert hourly["expected_under_floor"] == ["crowd"]
    assert "An hour is expected to pay less than $12.00" in page.text


def test_expected_hour_by_the_minute_knows_the_cap(project: Project, pairs: list[Pair]) -> None:
    for number in range(30):
        make_answer(pairs[number % 24], make_person(project, f"p{number}"), seconds=120.0)
    set_rate(project, basis="minute", crowd_usd=Decimal("0.20"), most_minutes=Decimal(1), now=timezone.now())
    expected = expected_pay(project)
    assert (expected.seconds, expected.usd_per_hour["crowd"]) == (120.0, Decimal("6.00"))
    everybody, people = actual_pay(project)
    assert (everybody.timed, everybody.usd_per_hour) == (30, Decimal("9.00"))
    assert all(one.usd_per_hour is None for one in people.values())
    assert LEAST_TIMED == 10


def test_one_book_has_people_and_models(ada: Client, earned: Project, length: JudgeVersion) -> None:
    Verdict.objects.filter(pk=Verdict.objects.values("pk")[:1]).update(
        cost_usd=Decimal("0.25"), meta={"lost_usd": "0.125"}, finished_at=timezone.now()
    )
    rows = list(book_of(earned))
    assert sum(row.usd for row in rows) == Decimal("4.275")
    assert {row.kind for row in rows} == {"answer", "call", "lost_call"}
    assert len({row.key for row in rows}) == len(rows) == 15
    reply = ada.get(f"{HERE}book.csv")
    text = b"".join(reply.streaming_content).decode()  # type: ignore[attr-defined]
    lines = list(csv.DictReader(text.splitlines()))
    assert sum(Decimal(line["usd"]) for line in lines) == Decimal("4.275")
    (week,) = weeks_of(earned)
    assert (week.people_usd, week.models_usd, week.fees_usd) == (Decimal("3.9"), Decimal("0.375"), Decimal(0))
    assert "Spent by week" in ada.get(HERE).text


def test_book_as_a_file_runs_no_formula(ada: Client, project: Project, pairs: list[Pair]) -> None:
    make_answer(pairs[0], make_person(project, "eve", name='=HYPERLINK("x")'))
    text = b"".join(ada.get(f"{HERE}book.csv").streaming_content).decode()  # type: ignore[attr-defined]
    assert "'=HYPERLINK" in text


# --- Settings -------------------------------------------------------------------------------------------------------


def test_rate_is_changed_on_the_page(ada: Client, earned: Project) -> None:
    sent = {"rate-basis": "minute", "rate-crowd_usd": "0.20", "rate-expert_usd": "", "rate-most_minutes": "3"}
    assert ada.post(f"{HERE}rate/", sent).status_code == 302
    earned.refresh_from_db()
    assert earned.rate is not None
    assert (earned.rate.number, earned.rate.basis, earned.rate.expert_usd) == (2, "minute", Decimal("0.2"))
    assert ada.get(HERE).context["report"]["people"]["usd"] == "3.9"
    page = ada.post(f"{HERE}rate/", {**sent, "rate-most_minutes": ""})
    assert page.status_code == 422
    assert "needs a cap" in page.text


def test_floor_and_second_person_are_set_on_the_page(ada: Client, project: Project) -> None:
    sent = {"rules-pay_floor_usd_per_hour": "12", "rules-payments_need_second": "on"}
    assert ada.post(f"{HERE}rules/", sent).status_code == 302
    project.refresh_from_db()
    assert (project.pay_floor_usd_per_hour, project.payments_need_second) == (Decimal("12"), True)
    assert ada.post(f"{HERE}rules/", {"rules-pay_floor_usd_per_hour": "-1"}).status_code == 422


def test_amount_is_added_by_hand_once(ada: Client, earned: Project) -> None:
    form = ada.get(HERE).context["add_form"]
    sent = {
        "add-rater": str(make_person(earned, "cyd").pk),
        "add-amount_usd": "2.50",
        "add-note": "for care",
        "add-key": str(form["key"].value()),
    }
    for _click in range(2):
        assert ada.post(f"{HERE}add/", sent).status_code == 302
    assert LedgerEntry.objects.filter(kind="added").count() == 1
    page = ada.post(f"{HERE}add/", {**sent, "add-amount_usd": "-900", "add-key": str(make_person(earned).pk)})
    assert (page.status_code, "cannot be taken off" in page.text) == (422, True)


# --- Payments -------------------------------------------------------------------------------------------------------


def test_payment_by_file_from_drawing_up_to_paid(ada: Client, earned: Project) -> None:
    assert ada.get(f"{HERE}dry-run.csv").text == "ben,3.60\ncyd,0.30\n"
    assert ada.post(f"{HERE}payments/", {"way": "csv"}, follow=True).status_code == 200
    assert "is of 3.90 USD, not of 3.00" in press(ada, "confirm", total_usd="3.00")
    assert "Confirmed. Nothing was sent yet." in press(ada, "confirm", total_usd="3.90")
    file = ada.post(f"{HERE}payments/1/file/")
    assert (file["Content-Disposition"], file.text) == (
        'attachment; filename="helpfulness-payment-1.csv"',
        "ben,3.60\ncyd,0.30\n",
    )
    assert "cannot be undone" in press(ada, "withdraw")
    assert "Marked as paid." in press(ada, "paid", fees_usd="1.20", note="their page")
    people = ada.get(HERE).context["report"]["people"]
    assert (people["paid_usd"], people["owed_usd"], people["fees_usd"]) == ("3.9", "0", "1.2")
    assert "Nobody is owed a cent" in ada.post(f"{HERE}payments/", {"way": "csv"}).text


def test_payment_by_platform_from_drawing_up_to_reconciled(ada: Client, platform: BonusServer) -> None:
    ada.post(f"{HERE}payments/", {"way": "prolific:study-1"})
    press(ada, "confirm", total_usd="3.90")
    assert "paid nobody yet" in press(ada, "set-up")
    assert "costs 4.88 USD with fees, not 3.90" in press(ada, "send", total_usd="3.90")
    assert platform.pays == []
    assert "took the order" in press(ada, "send", total_usd="4.88")
    assert "is paid, not set up" in press(ada, "send", total_usd="4.88")
    assert "record shows 2 of 2 people paid" in press(ada, "look-up")
    assert (Payment.objects.get().state, platform.pays) == (PaymentState.RECONCILED, ["order-1"])


def test_unclear_payment_is_settled_line_by_line(ada: Client, platform: BonusServer) -> None:
    ada.post(f"{HERE}payments/", {"way": "prolific:study-1"})
    press(ada, "confirm", total_usd="3.90")
    press(ada, "set-up")
    platform.faults = ["lost before"]
    assert "It is not sent again" in press(ada, "send", total_usd="4.88")
    assert "Payment 1 is unclear" in ada.get(HERE).text
    assert "payment 1 of $3.90 is unclear" in ada.get("/projects/helpfulness/").text
    assert "shows 0 of 2 people paid" in press(ada, "look-up")
    (ben, cyd) = Payment.objects.get().lines.all()
    assert "Say how you know" in press(ada, "settle", note="")
    assert "Say how you know" in press(ada, "settle", note="x", paid="nonsense")
    Payment.objects.update(sent_at=timezone.now() - timedelta(hours=2))
    assert "owed the money again" in press(ada, "settle", note="seen", paid=str(ben.pk))
    assert [(line.outcome, line.recipient) for line in Payment.objects.get().lines.all()] == [
        ("paid", "ben"),
        ("unpaid", "cyd"),
    ]
    assert ada.get(HERE).context["report"]["people"]["owed_usd"] == "0.3"
    assert cyd.amount_usd == Decimal("0.30")


def test_platform_that_is_down_is_said_in_words(ada: Client, platform: BonusServer) -> None:
    ada.post(f"{HERE}payments/", {"way": "prolific:study-1"})
    press(ada, "confirm", total_usd="3.90")
    platform.faults = ["500 before"]
    assert "HTTP 500 Nobody was paid by this." in press(ada, "set-up")
    assert Payment.objects.get().state == PaymentState.CONFIRMED


def test_platform_that_is_not_connected_any_more_is_said(
    ada: Client, platform: BonusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada.post(f"{HERE}payments/", {"way": "prolific:study-1"})
    press(ada, "confirm", total_usd="3.90")
    monkeypatch.setattr(payers, "_finders", [])
    assert "is not connected to this project any more" in press(ada, "set-up")
    assert "Withdrawn" in press(ada, "withdraw")


def test_page_asks_somebody_else_to_confirm(ada: Client, earned: Project) -> None:
    Project.objects.update(payments_need_second=True)
    ada.post(f"{HERE}payments/", {"way": "csv"})
    page = ada.get(f"{HERE}payments/1/")
    assert "Confirm $3.90" not in page.text
    assert "another manager confirms it" in press(ada, "confirm", total_usd="3.90")
    client, fay = Client(), make_user("fay", is_superuser=True)
    client.force_login(fay)
    assert "Confirm $3.90" in client.get(f"{HERE}payments/1/").text
    assert "Confirmed" in press(client, "confirm", total_usd="3.90")


def test_page_shows_what_changed_since(ada: Client, earned: Project, pairs: list[Pair]) -> None:
    draw_up(earned, by=User.objects.get(username="ada"), now=timezone.now())
    make_answer(pairs[20], "cyd")
    page = ada.get(f"{HERE}payments/1/")
    assert [(one.recipient, one.owed_usd) for one in page.context["changes"]] == [("cyd", Decimal("0.30"))]
    assert "what 1 person is owed changed" in page.text


@pytest.mark.parametrize("action", ["confirm", "set-up", "send", "look-up", "settle", "file", "paid", "nonsense"])
def test_nonsense_changes_nothing(ada: Client, earned: Project, action: str) -> None:
    draw_up(earned, by=User.objects.get(username="ada"), now=timezone.now())
    reply = ada.post(f"{HERE}payments/1/{action}/", {"total_usd": "NaN", "paid": "\x00", "fees_usd": "x"})
    assert reply.status_code == (404 if action == "nonsense" else 302)
    assert Payment.objects.get().state == PaymentState.DRAWN
    assert ada.post(f"{HERE}payments/7/{action}/").status_code == 404


def test_nobody_is_paid_for_what_a_file_brought(ada: Client, project: Project, pairs: list[Pair]) -> None:
    make_preference(pairs[0], "from the file")
    assert ada.get(f"{HERE}dry-run.csv").text == ""
    page = ada.get(HERE)
    assert "1 recorded, unpaid" in " ".join(page.text.split())


# --- Commands -------------------------------------------------------------------------------------------------------


def test_commands_draw_confirm_and_pay(earned: Project, platform: BonusServer) -> None:
    call_command("draw_payment", "helpfulness", "--dry-run")
    assert Payment.objects.count() == 0
    call_command("draw_payment", "helpfulness", "--by", "ada", "--study", "study-1")
    with pytest.raises(CommandError, match=r"is of 3\.90 USD"):
        call_command("pay", "helpfulness", "1", "confirm", "--by", "ada", "--total-usd", "1")
    call_command("pay", "helpfulness", "1", "confirm", "--by", "ada", "--total-usd", "3.90")
    call_command("pay", "helpfulness", "1", "set-up", "--by", "ada")
    call_command("pay", "helpfulness", "1", "send", "--by", "ada", "--total-usd", "4.88")
    call_command("pay", "helpfulness", "1", "look-up", "--by", "ada")
    assert (Payment.objects.get().state, platform.pays) == (PaymentState.RECONCILED, ["order-1"])


def test_only_managers_pay_by_command(earned: Project) -> None:
    for name in ("ben", "nobody"):
        with pytest.raises(CommandError, match=f"{name} manages no project 'helpfulness'"):
            call_command("draw_payment", "helpfulness", "--by", name)
    assert Payment.objects.count() == 0
