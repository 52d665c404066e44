"""Answers that cannot leave at once: kept on the device, sent once and in order, taken back while there is time."""

import re

import pytest
from playwright.sync_api import BrowserContext, Page, Request, Route, expect

from annotation.forms import TIMES
from annotation.models import Assignment, AssignmentState, Choice, Preference, Project
from tests.journeys.steps import (
    HERE,
    SUBMIT,
    all_sent,
    begin,
    count_submits,
    make_study,
    press,
    shown,
    sign_in,
)

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def line(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.locator("[data-outbox-line]")).to_contain_text(text)


def reachable_again(page: Page) -> None:
    """Let requests through, and tell the page as a browser does when the network is back."""
    page.unroute_all()
    page.evaluate("dispatchEvent(new Event('online'))")


def test_answers_given_in_a_tunnel_are_sent_once_each_when_the_network_is_back(
    page: Page, context: BrowserContext, study: Project
) -> None:
    begin(page)
    submits = count_submits(context)
    context.set_offline(True)
    pairs = []
    for key in ("1", "4", "7"):
        pairs.append(shown(page))
        press(page, f"{key} Enter")
    assert len(set(pairs)) == 3
    line(page, "Offline. Answers kept on this device: 3.")
    expect(page.locator("#task-status")).to_contain_text("3 of 10")
    expect(page.get_by_role("heading", name="The next one comes when the connection is back.")).to_be_visible()
    assert Preference.objects.count() == 0

    context.set_offline(False)
    all_sent(page)
    expect(page.locator("[data-outbox-line]")).to_be_hidden()
    expect(page.locator("#task > [data-task]")).to_be_visible()
    assert Preference.objects.count() == 3
    assert set(Assignment.objects.filter(state=AssignmentState.SUBMITTED).values_list("pk", flat=True)) == {
        assignment.pk for assignment in Assignment.objects.filter(pk__in=pairs)
    }
    stored = [request for request in submits if (reply := request.response()) is not None and reply.ok]
    assert len(stored) == 3


def test_a_reload_shows_no_pair_again_that_waits_to_be_sent(page: Page, study: Project) -> None:
    begin(page)
    page.route(SUBMIT, lambda route: route.abort())
    answered = [shown(page)]
    press(page, "2 Enter")
    answered.append(shown(page))
    press(page, "6 Enter")
    line(page, re.compile("kept on this device: 2"))

    page.reload()
    expect(page.locator("html")).to_have_attribute("data-ready", "")
    assert shown(page) not in answered
    expect(page.locator("#task-status")).to_contain_text("2 of 10")
    expect(page.locator("#task-status")).to_have_attribute("data-unsent", "2")
    reachable_again(page)
    all_sent(page)
    assert Preference.objects.count() == 2


def test_a_page_made_before_the_answer_came_in_does_not_ask_it_again(page: Page, study: Project) -> None:
    begin(page)
    first = shown(page)
    stale = page.request.get(HERE)
    press(page, "2 Enter")
    all_sent(page)
    page.route(f"**{HERE}", lambda route: route.fulfill(response=stale))
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-ready", "")
    assert shown(page) != first
    expect(page.locator("#task-status")).to_contain_text("1 of 10")


def test_an_answer_whose_reply_was_lost_is_stored_once(page: Page, study: Project) -> None:
    begin(page)
    lost: list[Request] = []

    def lose_the_reply(route: Route, request: Request) -> None:
        if lost:
            route.continue_()
            return
        lost.append(request)
        route.fetch()  # the server stores it; the browser never hears of it
        route.abort()

    page.route(SUBMIT, lose_the_reply)
    press(page, "2 Enter")
    line(page, "Trying again in 2 s")
    all_sent(page)
    assert Preference.objects.count() == 1


def test_a_server_in_trouble_is_asked_again_and_nothing_is_lost(page: Page, study: Project) -> None:
    begin(page)
    page.route(SUBMIT, lambda route: route.fulfill(status=503, body="down"))
    press(page, "3 Enter")
    line(page, "Not sent yet, kept on this device: 1. Trying again in 2 s.")
    reachable_again(page)
    all_sent(page)
    assert Preference.objects.get().strength == 1


def test_a_double_click_answers_one_pair(page: Page, study: Project) -> None:
    begin(page)
    press(page, "2")
    page.get_by_role("button", name="Submit").dblclick()
    all_sent(page)
    assert Preference.objects.count() == 1
    expect(page.locator('input[name="answer"]:checked')).to_have_count(0)


def test_two_tabs_do_not_answer_one_pair_twice(page: Page, context: BrowserContext, study: Project) -> None:
    begin(page)
    other = context.new_page()
    other.goto(HERE)
    expect(other.locator("html")).to_have_attribute("data-ready", "")
    first = shown(page)
    assert shown(other) == first
    press(page, "1 Enter")
    expect(other.locator("[data-line]")).to_have_text("It was answered in another tab.")
    assert shown(other) != first
    all_sent(page)
    press(other, "7 Enter")
    all_sent(other)
    assert Preference.objects.count() == 2


def test_what_one_tab_kept_is_sent_by_either_but_once(page: Page, context: BrowserContext, study: Project) -> None:
    begin(page)
    other = context.new_page()
    other.goto(HERE)
    expect(other.locator("html")).to_have_attribute("data-ready", "")
    submits = count_submits(context)
    context.set_offline(True)
    press(page, "1 Enter 2 Enter")
    line(page, "Answers kept on this device: 2.")
    context.set_offline(False)
    all_sent(page)
    all_sent(other)
    stored = [request for request in submits if (reply := request.response()) is not None and reply.ok]
    assert len(stored) == 2
    assert Preference.objects.count() == 2


def test_the_back_button_shows_no_answered_pair(page: Page, study: Project) -> None:
    begin(page)
    first = shown(page)
    press(page, "1 Enter")
    all_sent(page)
    page.goto("/annotate/")
    page.go_back()
    expect(page.locator("html")).to_have_attribute("data-ready", "")
    assert shown(page) != first
    expect(page.locator("#task-status")).to_contain_text("1 of 10")


def test_undo_before_it_is_sent_brings_the_pair_back_with_its_answer(
    page: Page, context: BrowserContext, study: Project
) -> None:
    begin(page)
    first = shown(page)
    context.set_offline(True)
    press(page, "2 Enter")
    line(page, "Answers kept on this device: 1.")
    assert shown(page) != first
    press(page, "u")
    assert shown(page) == first
    expect(page.locator('input[name="answer"][value="first2"]')).to_be_checked()
    expect(page.locator("#announcement")).to_have_text("Taken back. Change it and submit again.")
    press(page, "4 Enter")
    context.set_offline(False)
    all_sent(page)
    assert Preference.objects.get().choice == Choice.TIE


def test_undo_after_it_was_sent_changes_the_answer_and_returns_to_where_one_was(page: Page, study: Project) -> None:
    begin(page)
    first = shown(page)
    press(page, "2 Enter")
    all_sent(page)
    second = shown(page)
    press(page, "5")  # begun, and there again afterwards
    page.get_by_role("button", name="Undo").click()
    assert shown(page) == first
    expect(page.get_by_role("note")).to_contain_text("You are changing an answer that was already given.")
    press(page, "4 Enter")
    assert shown(page) == second
    expect(page.locator('input[name="answer"][value="second1"]')).to_be_checked()
    all_sent(page)
    assert Preference.objects.current().get().choice == Choice.TIE
    assert Preference.objects.count() == 2  # the first stays, replaced


def test_after_a_reload_undo_and_the_list_open_the_last_answer(page: Page, study: Project) -> None:
    begin(page)
    first = shown(page)
    press(page, "2 Enter")
    all_sent(page)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-ready", "")
    press(page, "Backspace")
    expect(page.get_by_role("note")).to_be_visible()
    assert shown(page) == first
    page.get_by_role("link", name="Keep it as it was").click()
    expect(page.get_by_role("note")).to_have_count(0)
    assert shown(page) != first
    press(page, "h")
    page.get_by_role("dialog").get_by_role("link", name="Change").click()
    expect(page.get_by_role("note")).to_be_visible()
    assert shown(page) == first
    press(page, "7 Enter")
    all_sent(page)
    assert Preference.objects.current().get().strength == 3


def test_somebody_signed_out_keeps_the_answer_and_sends_it_after_signing_in(
    page: Page, context: BrowserContext, study: Project
) -> None:
    begin(page)
    context.clear_cookies(name="sessionid")
    press(page, "2 Enter")
    line(page, "You were signed out. Your answers are kept on this device.")
    other = context.new_page()
    sign_in(other, "ben", HERE)
    all_sent(other)
    page.evaluate("dispatchEvent(new Event('focus'))")
    all_sent(page)
    assert Preference.objects.count() == 1


def test_an_answer_that_the_server_refuses_comes_back_with_its_reason(page: Page, study: Project) -> None:
    begin(page)
    first = shown(page)
    refusal = '{"message": "That choice is not on this screen.", "field": "answer"}'
    page.route(SUBMIT, lambda route: route.fulfill(status=422, content_type="application/json", body=refusal))
    press(page, "2 Enter")
    expect(page.locator("[data-line]")).to_contain_text("It comes back next: That choice is not on this screen.")
    page.unroute_all()
    press(page, "1 Enter")
    assert shown(page) == first
    expect(page.locator("[data-line]")).to_have_text("That choice is not on this screen.")
    press(page, "4 Enter")
    all_sent(page)
    assert sorted(Preference.objects.values_list("choice", flat=True).distinct())[-1] == Choice.TIE
    assert Preference.objects.count() == 2


@pytest.fixture
def hurried(transactional_db: None) -> Project:
    return make_study(3, lease_seconds=60)


def test_a_lease_that_ran_out_is_told_and_the_answer_still_counts(page: Page, hurried: Project) -> None:
    page.clock.install()
    begin(page)
    press(page, "2")
    page.route(re.compile("/renew/$"), lambda route: route.abort())
    page.clock.fast_forward("01:01")
    expect(page.locator("[data-lease]")).to_contain_text("time ran out")
    expect(page.locator("[data-line]")).to_contain_text("Your time for this one ran out")
    press(page, "Enter")
    all_sent(page)
    assert Preference.objects.count() == 1


def test_reading_on_prolongs_the_lease(page: Page, hurried: Project) -> None:
    page.clock.install()
    begin(page)
    page.clock.fast_forward("00:30")
    with page.expect_response(re.compile("/renew/$")) as renewed:
        page.mouse.move(300, 300)
        page.clock.run_for(1500)
    assert renewed.value.json()["seconds_left"] >= 59
    expect(page.locator("[data-lease]")).to_contain_text(re.compile("0:5[6-9]|1:00"))


def test_active_time_is_split_into_reading_and_deciding(page: Page, study: Project) -> None:
    page.clock.install()
    begin(page)
    page.clock.run_for(4000)
    press(page, "2")
    page.clock.run_for(3000)
    spent = {name: int(page.locator(f'[name="{name}"]').input_value()) for name in TIMES}
    assert spent["reading_seconds"] >= 4
    assert spent["deciding_seconds"] >= 3
    assert spent["seconds"] == spent["reading_seconds"] + spent["deciding_seconds"]
    page.clock.run_for(200_000)  # nobody is there any more
    assert int(page.locator('[name="seconds"]').input_value()) < 150
    press(page, "Enter")
    all_sent(page)
    assert Preference.objects.get().seconds is not None


def test_a_browser_that_keeps_nothing_says_so_and_still_sends(page: Page, study: Project) -> None:
    page.add_init_script("Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }")
    begin(page)
    page.route(SUBMIT, lambda route: route.abort())
    press(page, "2 Enter")
    line(page, re.compile("keeps nothing on the device|kept on this device: 1"))
    reachable_again(page)
    all_sent(page)
    assert Preference.objects.count() == 1
