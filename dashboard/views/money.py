"""Money: what was earned, paid and spent, what an hour pays, and payments from drawing up to settled."""

from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from annotation.errors import TiebreakError
from annotation.models import Payment, PaymentState, Project, User
from annotation.money.booking import add_by_hand
from annotation.money.drawing import bonus_csv, changes_since, confirm, draw_up, preview, withdraw
from annotation.money.errors import MoneyError
from annotation.money.payers import Payer, channel_for
from annotation.money.reconciling import LOOKED_UP, reconcile, settle_by_hand
from annotation.money.sending import hand_out, mark_paid, send, set_up
from annotation.pricing import set_pay_rules, set_rate
from dashboard.access import managed
from dashboard.charting import offered
from dashboard.money_forms import (
    AddForm,
    ConfirmForm,
    DrawForm,
    MarkPaidForm,
    RateForm,
    RulesForm,
    SettleForm,
)
from dashboard.remembering import report
from dashboard.summarising import money_of
from dashboard.views.showing import show
from exports.booking import book_of, csv_of


@require_GET
@managed
def money(request: HttpRequest, project: Project) -> HttpResponse:
    """Show what people and judges cost, what is owed, what an hour pays, and the payments."""
    return _page(request, project)


@require_POST
@managed
def change_rate(request: HttpRequest, project: Project) -> HttpResponse:
    """Pay otherwise from now on."""
    form = RateForm.of(project, request.POST)
    if not form.is_valid():
        return _page(request, project, rate_form=form)
    try:
        set_rate(project, **form.cleaned_data, by=_manager(request), now=timezone.now())
    except TiebreakError as error:
        form.add_error(None, str(error))
        return _page(request, project, rate_form=form)
    messages.success(request, "Pairs handed out from now on are paid so; what was answered keeps its pay.")
    return redirect("money", project.slug)


@require_POST
@managed
def change_rules(request: HttpRequest, project: Project) -> HttpResponse:
    """Set the floor of an hour's pay, and whether two people are needed for a payment."""
    form = RulesForm.of(project, request.POST)
    if not form.is_valid():
        return _page(request, project, rules_form=form)
    set_pay_rules(project, **form.cleaned_data)
    messages.success(request, "Stored.")
    return redirect("money", project.slug)


@require_POST
@managed
def add_pay(request: HttpRequest, project: Project) -> HttpResponse:
    """Book an amount for a person by hand, with a reason."""
    form = AddForm.of(project, request.POST)
    if not form.is_valid():
        return _page(request, project, add_form=form)
    values = form.cleaned_data
    try:
        entry = add_by_hand(
            values["rater"],
            values["amount_usd"],
            note=values["note"],
            key=values["key"],
            by=_manager(request),
            now=timezone.now(),
        )
    except TiebreakError as error:
        form.add_error("amount_usd", str(error))
        return _page(request, project, add_form=form)
    messages.success(request, f"{entry.amount_usd:.2f} USD booked for {values['rater']}.")
    return redirect("money", project.slug)


@require_GET
@managed
def book_file(request: HttpRequest, project: Project) -> StreamingHttpResponse:
    """Send the whole cost book as CSV, a row an amount."""
    response = StreamingHttpResponse(csv_of(book_of(project)), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{project.slug}-book.csv"'
    return response


@require_GET
@managed
def dry_run(request: HttpRequest, project: Project) -> HttpResponse:
    """Send the bonus file that would be drawn up now; nothing is stored."""
    return _file(f"{project.slug}-dry-run.csv", bonus_csv(preview(project)))


@require_POST
@managed
def draw_payment(request: HttpRequest, project: Project) -> HttpResponse:
    """Draw up a payment of all that is owed."""
    form = DrawForm.of(project, request.POST)
    if not form.is_valid():
        return _page(request, project, draw_form=form)
    try:
        drawn = draw_up(project, by=_manager(request), now=timezone.now(), channel=form.channel())
    except TiebreakError as error:
        form.add_error(None, str(error))
        return _page(request, project, draw_form=form)
    return redirect("payment", project.slug, drawn.number)


@require_GET
@managed
def payment(request: HttpRequest, project: Project, number: int) -> HttpResponse:
    """Show a payment, person by person, and the one thing to do next."""
    return _payment_page(request, get_object_or_404(_payments(project), number=number))


@require_POST
@managed
def steer_payment(request: HttpRequest, project: Project, number: int, action: str) -> HttpResponse:
    """Take a payment one step on; each step refuses where the payment is not what the page showed."""
    found = get_object_or_404(_payments(project), number=number)
    if action not in ACTIONS:
        raise Http404("No such action.")
    try:
        said = ACTIONS[action](request, found)
    except MoneyError as error:
        messages.error(request, str(error))
    except TiebreakError as error:
        messages.error(request, f"{error} Nobody was paid by this.")
    else:
        if isinstance(said, HttpResponse):
            return said
        messages.success(request, said)
    return redirect("payment", project.slug, number)


# --- What each button does ------------------------------------------------------------------------------------------


def _confirm(request: HttpRequest, found: Payment) -> str:
    confirm(found, by=_manager(request), total_usd=_seen(request, found), now=timezone.now())
    return "Confirmed. Nothing was sent yet."


def _withdraw(request: HttpRequest, found: Payment) -> str:
    withdraw(found, by=_manager(request), now=timezone.now())
    return "Withdrawn: its people are owed the money as before."


def _set_up(request: HttpRequest, found: Payment) -> str:
    set_up(found, _payer(found), by=_manager(request), now=timezone.now())
    return f"{found.platform} took it down and paid nobody yet. Look at its fees, then pay."


def _send(request: HttpRequest, found: Payment) -> str:
    sent = send(found, _payer(found), by=_manager(request), cost_usd=_seen(request, found), now=timezone.now())
    if sent.state == PaymentState.UNCLEAR:
        raise MoneyError(f"{sent.reason}. It is not sent again: look it up in a while.")
    return f"{found.platform} took the order and pays within minutes. Look it up then."


def _reconcile(request: HttpRequest, found: Payment) -> str:
    reconcile(found, _payer(found), by=_manager(request), now=timezone.now())
    return f"{found.reason}."


def _settle(request: HttpRequest, found: Payment) -> str:
    form = SettleForm(request.POST)
    paid = _line_ids(request.POST.getlist("paid"))
    if not form.is_valid() or paid is None:
        raise MoneyError("Say how you know: what the platform's page showed, and when you looked.")
    settle_by_hand(found, paid=paid, by=_manager(request), note=form.cleaned_data["note"], now=timezone.now())
    return "Settled. Who was not paid is owed the money again."


def _hand_out(request: HttpRequest, found: Payment) -> HttpResponse:
    text = hand_out(found, by=_manager(request), now=timezone.now())
    return _file(f"{found.project.slug}-payment-{found.number}.csv", text)


def _mark_paid(request: HttpRequest, found: Payment) -> str:
    form = MarkPaidForm(request.POST)
    if not form.is_valid():
        raise MoneyError("Nothing was stored: fees are US dollars with two decimals at most.")
    values = form.cleaned_data
    mark_paid(
        found,
        by=_manager(request),
        fees_usd=values["fees_usd"] or Decimal(0),
        note=values["note"],
        now=timezone.now(),
    )
    return "Marked as paid."


ACTIONS: dict[str, Callable[[HttpRequest, Payment], str | HttpResponse]] = {
    "confirm": _confirm,
    "withdraw": _withdraw,
    "set-up": _set_up,
    "send": _send,
    "look-up": _reconcile,
    "settle": _settle,
    "file": _hand_out,
    "paid": _mark_paid,
}


# --- What the pages need --------------------------------------------------------------------------------------------


def _page(request: HttpRequest, project: Project, **forms: object) -> HttpResponse:
    spending = report(project, "spending")
    payments = list(_payments(project)[:50])
    context = {
        "report": spending,
        "money": money_of(project),
        "charts": offered(project, ["weeks"]),
        "payments": payments,
        "under_way": next((one for one in payments if one.is_under_way), None),
        "rate": project.rate,
        "rate_form": RateForm.of(project),
        "rules_form": RulesForm.of(project),
        "add_form": AddForm.of(project),
        "draw_form": DrawForm.of(project),
        **forms,
    }
    return show(request, project, "money.html", "money", context, status=422 if forms else 200)


def _payment_page(request: HttpRequest, found: Payment) -> HttpResponse:
    lines = list(found.lines.select_related("rater"))
    changes = changes_since(found) if found.state == PaymentState.DRAWN else []
    owed = {change.rater.pk: change.owed_usd for change in changes}
    user = _manager(request)
    context = {
        "payment": found,
        "rows": [(line, owed.get(line.rater_id)) for line in lines],
        "changes": changes,
        "confirm_form": ConfirmForm.of(found),
        "paid_form": MarkPaidForm(),
        "settle_form": SettleForm(),
        "is_own": found.needs_second and found.drawn_by_id == user.pk,
        "connected": channel_for(found.project, found.platform, found.study_id) is not None,
        "is_open": found.state in LOOKED_UP and any(line.outcome == "" for line in lines),
        "cost_usd": found.total_usd + found.fees_usd,
    }
    return show(request, found.project, "payment.html", "money", context)


def _payments(project: Project) -> "QuerySet[Payment]":
    people = ("drawn_by", "confirmed_by", "sent_by", "ended_by", "project__rate")
    return Payment.objects.filter(project=project).select_related(*people)


def _seen(request: HttpRequest, found: Payment) -> Decimal:
    form = ConfirmForm.of(found, request.POST)
    if not form.is_valid():
        raise MoneyError("The total did not come with the form. Look at the payment again.")
    total: Decimal = form.cleaned_data["total_usd"]
    return total


def _payer(found: Payment) -> Payer:
    channel = channel_for(found.project, found.platform, found.study_id)
    if channel is None:
        raise MoneyError(
            f"{found.platform} with study {found.study_id} is not connected to this project any more. Connect it again."
        )
    return channel.payer


def _line_ids(texts: list[str]) -> list[UUID] | None:
    try:
        return [UUID(text) for text in texts]
    except ValueError:
        return None


def _manager(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
    return request.user


def _file(name: str, text: str) -> HttpResponse:
    response = HttpResponse(text, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
