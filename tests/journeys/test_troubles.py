"""What befalls answers on their way: somebody else signs in, a refusal, a long text; and keys of other alphabets."""

import re

import pytest
from django.utils import timezone
from playwright.sync_api import BrowserContext, Page, expect

from annotation.models import Preference, Project, Rater
from annotation.pausing import pause_person
from tests.journeys.steps import DRAFT, HERE, SUBMIT, all_sent, begin, make_study, press, shown, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

REASON = "A long reason that took ten minutes."


def wake(page: Page) -> None:
    """Let the page try again what waits, as a browser does that is back."""
    page.evaluate("dispatchEvent(new Event('online'))")


def test_answers_wait_while_somebody_else_is_signed_in(page: Page, context: BrowserContext, study: Project) -> None:
    begin(page)
    context.clear_cookies(name="sessionid")
    press(page, "2 Enter 3 Enter")
    line = page.locator("[data-outbox-line]")
    expect(line).to_contain_text("You were signed out. Your answers are kept on this device.")
    other = context.new_page()
    sign_in(other, "cyd", HERE)
    with page.expect_response(SUBMIT) as refused:
        wake(page)
    assert refused.value.status == 401
    expect(page.locator("#task-status")).to_have_attribute("data-unsent", "2")
    context.clear_cookies(name="sessionid")
    sign_in(other, "ben", HERE)
    wake(page)
    all_sent(page)
    expect(line).to_be_hidden()
    assert Preference.objects.filter(rater__name="ben").count() == 2
    assert not Preference.objects.exclude(rater__name="ben").exists()


@pytest.mark.parametrize("reloaded", ["before", "after"])
def test_reason_of_an_answer_that_was_refused_is_there_after_a_reload(
    page: Page, study: Project, reloaded: str
) -> None:
    begin(page)
    first = shown(page)
    page.route(re.compile(f"{SUBMIT.pattern}|{DRAFT.pattern}"), lambda route: route.abort())
    press(page, "2")
    page.locator("#rationale").fill(REASON)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#task-status")).to_have_attribute("data-unsent", "1")
    if reloaded == "before":
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-ready", "")
    Project.objects.update(questionnaire={"repeat_percent": 0, "confidence": True})
    page.unroute_all()
    wake(page)
    all_sent(page)
    page.reload()
    expect(page.locator(f'[data-task="{first}"]')).to_be_visible()
    expect(page.locator("#rationale")).to_have_value(REASON)
    assert not Preference.objects.exists()


def test_long_reason_in_arabic_goes_out_and_holds_nothing_up(page: Page, study: Project) -> None:
    begin(page)
    press(page, "2")
    page.locator("#rationale").fill("لأنها أدق " * 1500)
    page.keyboard.press("Control+Enter")
    press(page, "3 Enter")
    all_sent(page)
    assert set(Preference.objects.values_list("strength", flat=True)) == {1, 2}


def test_change_that_was_given_up_is_not_shown_as_the_answer(page: Page, study: Project) -> None:
    begin(page)
    press(page, "2 Enter")
    all_sent(page)
    press(page, "u 7")
    page.get_by_role("link", name="Keep it as it was").click()
    press(page, "h")
    page.get_by_role("dialog").get_by_role("link", name="Change").click()
    expect(page.locator(".revising")).to_be_visible()
    expect(page.locator('input[name="answer"][value="first2"]')).to_be_checked()


def test_refusal_of_the_last_answer_stays_to_be_read(page: Page, transactional_db: None) -> None:
    make_study(1)
    begin(page)
    press(page, "2")
    pause_person(Rater.objects.get(name="ben"), reason="A word with you", now=timezone.now())
    press(page, "Enter")
    expect(page.locator("#task .waiting__title")).to_contain_text("not stored")
    assert not Preference.objects.exists()
    press(page, "u")
    expect(page.locator(".revising")).to_have_count(0)
    page.locator("#task").get_by_role("link").click()
    expect(page.get_by_text("A word with you")).to_be_visible()


def test_settings_and_breaks_outlive_a_session(page: Page, context: BrowserContext, study: Project) -> None:
    begin(page)
    context.clear_cookies()
    other = context.new_page()
    sign_in(other, "ben", HERE)
    press(page, ",")
    with page.expect_response(re.compile("annotation-settings/")) as saved:
        page.get_by_role("dialog").get_by_label("Dark").check()
    assert saved.value.status < 400
    press(page, "Escape b")
    page.wait_for_url("**/break/")
    expect(page.locator("h1, h2").first).not_to_contain_text("did not accept")


@pytest.mark.parametrize(
    ("key", "code", "shift", "opened"),
    [("؟", "Slash", True, "help"), ("و", "Comma", False, "settings"), ("ى", "KeyN", False, "skip")],
)
def test_keys_that_are_no_letters_are_known_by_their_place(
    page: Page, study: Project, key: str, code: str, shift: bool, opened: str
) -> None:
    begin(page)
    page.evaluate(
        "([key, code, shiftKey]) => document.body.dispatchEvent("
        "new KeyboardEvent('keydown', { key, code, shiftKey, bubbles: true }))",
        [key, code, shift],
    )
    expect(page.locator(f"dialog#{opened}")).to_be_visible()


def test_key_that_writes_two_letters_is_known_by_its_place(page: Page, study: Project) -> None:
    begin(page)
    page.evaluate(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'لا', code: 'KeyB', bubbles: true }))"
    )
    page.wait_for_url("**/break/")
