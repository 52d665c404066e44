"""What somebody hears who does not see the screen: names, headings, order, and what is said when something happens."""

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotation.models import Project
from tests.journeys.looking import faults
from tests.journeys.steps import HERE, all_sent, begin, make_asking, press

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_pair_reads_as_prompt_then_responses_then_choice(page: Page, study: Project) -> None:
    begin(page)
    expect(page.locator("main")).to_match_aria_snapshot(
        """
        - main:
          - status
          - article:
            - region "Prompt":
              - heading "Prompt" [level=2]
              - button "Fold" [expanded]
              - paragraph: /Question \\d+\\?/
            - region "Response A":
              - heading "Response A" [level=2]
              - button "Scroll together"
              - button "Raw text of response A"
              - button "Copy response A"
              - paragraph: /Answer \\d+ [ab]/
            - region "Response B":
              - heading "Response B" [level=2]
              - button "Raw text of response B"
              - button "Copy response B"
              - paragraph: /Answer \\d+ [ab]/
            - form "Your answer":
              - group "Which response is better?":
                - radio "A is much better"
                - radio "A is better"
                - radio "A is a bit better"
                - radio "Equally good"
                - radio "B is a bit better"
                - radio "B is better"
                - radio "B is much better"
                - radio "Both bad"
                - radio "Can't judge"
              - group "Why":
                - textbox "Why, if you like"
              - button "Skip…"
              - button "Submit"
        """
    )


def test_the_tab_key_goes_from_prompt_to_responses_to_choice_to_submit(page: Page, study: Project) -> None:
    begin(page)
    page.locator("#prompt-title").focus()
    reached = []
    for _stop in range(11):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.getAttribute('aria-label') || document.activeElement.name"
                " || document.activeElement.textContent.trim()"
            )
        )
    assert reached == [
        "Fold p",
        "Scroll together",
        "Differences",
        "Raw text of response A",
        "Copy response A",
        "Raw text of response B",
        "Copy response B",
        "A is much better",
        "rationale",
        "Skip… n",
        "Submit ⏎",
    ]


def test_sending_is_said_and_so_is_what_is_missing(page: Page, study: Project) -> None:
    begin(page)
    press(page, "Enter")
    expect(page.get_by_role("alert")).to_have_text("Nothing is chosen yet. Choose with 1\u20137, x, c, then submit.")
    press(page, "4 Enter")
    all_sent(page)
    live = page.get_by_role("main").get_by_role("status")
    expect(live).to_have_text("Saved. 1 of 10 done. Next one.")
    expect(page.get_by_role("heading", name="Prompt")).to_be_focused()
    press(page, "u")
    expect(live).to_have_text("You are changing an answer that was already given.")


def test_the_chosen_side_is_named_and_not_by_colour_alone(page: Page, study: Project) -> None:
    begin(page)
    press(page, "6")
    expect(page.get_by_role("region", name="Response B")).to_contain_text("your choice")


def test_a_row_is_named_by_what_it_asks_and_says_that_it_is_current(transactional_db: None, page: Page) -> None:
    make_asking("ratings", by_criterion=True)
    begin(page)
    press(page, "4")
    row = page.get_by_role("group", name="A: Clarity")
    expect(row).to_be_focused()
    expect(row).to_have_attribute("aria-current", "step")


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize(("template", "responses"), [("pairwise_ratings", 2), ("ranking", 5), ("best_worst", 3)])
def test_no_accessibility_violation_in_any_template(
    transactional_db: None,
    chromium_browser: Browser,
    live_server: LiveServer,
    template: str,
    responses: int,
    width: int,
) -> None:
    make_asking(
        template,
        responses=responses,
        reasons=["correct", "clear"],
        content_flags=["personal data"],
        spans=True,
        confidence=True,
    )
    context = chromium_browser.new_context(
        base_url=live_server.url,
        viewport={"width": width, "height": 800},
        reduced_motion="reduce",
        bypass_csp=True,
    )
    page = context.new_page()
    begin(page)
    press(page, "1 2")
    assert faults(page) == []
    context.close()


@pytest.mark.parametrize("width", [1280, 360])
def test_a_page_from_right_to_left_puts_a_first_and_fits(
    transactional_db: None, chromium_browser: Browser, live_server: LiveServer, width: int
) -> None:
    make_asking("pairwise", reasons=["correct"], confidence=True)
    context = chromium_browser.new_context(
        base_url=live_server.url, viewport={"width": width, "height": 800}, locale="ar"
    )
    page = context.new_page()
    page.goto(f"/sign-in/?next={HERE}")
    page.locator("#id_username").fill("ben")
    page.locator("#id_password").fill("ben-password")
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-ready", "")
    expect(page.locator("html")).to_have_attribute("dir", "rtl")
    expect(page.locator("html")).to_have_js_property("scrollWidth", width)
    first = page.locator('label:has(input[value="first3"])').bounding_box()
    last = page.locator('label:has(input[value="second3"])').bounding_box()
    assert first is not None
    assert last is not None
    assert first["x"] > last["x"]
    press(page, "1 1 Enter")
    all_sent(page)
    context.close()
