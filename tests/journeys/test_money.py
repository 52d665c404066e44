"""A manager pays people by file, by keyboard, on a phone; every page on the way is accessible and fits."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotation.models import Payment, PaymentState, Project
from tests.journeys.looking import faults
from tests.journeys.steps import sign_in
from tests.paying import make_debts

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

HERE = "/projects/helpfulness/money/"


def press(page: Page, name: str) -> None:
    """Reach a button with the keyboard alone, and press it."""
    page.get_by_role("button", name=name).focus()
    page.keyboard.press("Enter")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_manager_pays_by_file_by_keyboard_on_a_phone(
    chromium_browser: Browser, live_server: LiveServer, scheme: str
) -> None:
    project: Project = make_debts()
    context = chromium_browser.new_context(
        base_url=live_server.url,
        viewport={"width": 360, "height": 740},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in {"error", "warning"} else None)
    sign_in(page, "ada", HERE)
    assert faults(page) == [], page.url
    press(page, "Draw up a payment")
    expect(page.get_by_role("heading", name="Confirm the sums")).to_be_visible()
    assert faults(page) == [], page.url
    press(page, "Confirm $0.90")
    expect(page.get_by_role("heading", name="Take the file")).to_be_visible()
    with page.expect_download() as download:
        press(page, "Hand out the file")
    assert Path(download.value.path()).read_text() == "ben,0.60\ncyd,0.30\n"
    page.reload()
    assert faults(page) == [], page.url
    page.get_by_label("Note").fill("their page of 2 March")
    press(page, "It was paid")
    expect(page.get_by_text("Marked as paid by ada: their page of 2 March")).to_be_visible()
    assert faults(page) == [], page.url
    page.goto(HERE)
    expect(page.get_by_text("$0.90 paid")).to_be_visible()
    payment = Payment.objects.get(project=project)
    assert (payment.state, problems) == (PaymentState.PAID, [])
    context.close()
