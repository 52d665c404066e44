"""The screen in a hand: 360 pixels wide, answered with a thumb."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotation.models import Preference, Ranking, Rating
from tests.journeys.steps import all_sent, begin, make_asking, shown

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def phone(chromium_browser: Browser, live_server: LiveServer) -> Iterator[Page]:
    context = chromium_browser.new_context(
        base_url=live_server.url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True
    )
    yield context.new_page()
    context.close()


def option(page: Page, row: str, value: str) -> Locator:
    return page.locator(f'label:has(input[name="{row}"][value="{value}"])')


def assert_fits(page: Page) -> None:
    """Check that nothing overflows, and that whatever is pressed has room for a thumb."""
    expect(page.locator("html")).to_have_js_property("scrollWidth", 360)
    small = page.evaluate(
        """() => [...document.querySelectorAll(".answer :is(label:has(input), button, summary), .side-tabs button")]
        .filter((element) => element.checkVisibility({ visibilityProperty: true }))
        .map((element) => [element.textContent.trim(), element.getBoundingClientRect()])
        .filter(([, box]) => box.height < 47.5 || box.width < 24)
        .map(([text, box]) => `${text} ${box.width}x${box.height}`)"""
    )
    assert small == []
    expect(page.get_by_role("button", name="Submit")).to_be_in_viewport(ratio=1)


def test_a_choice_with_everything_beside_it(transactional_db: None, phone: Page) -> None:
    make_asking("pairwise", reasons=["correct", "clear"], content_flags=["personal data"], spans=True, confidence=True)
    begin(phone)
    assert_fits(phone)
    first = shown(phone)
    reading = phone.locator('[data-response="A"] [data-response-body]').bounding_box()
    assert reading is not None
    assert reading["height"] >= 200
    option(phone, "answer", "second2").tap()
    expect(phone.get_by_role("group", name="How sure are you?")).to_be_visible()
    option(phone, "confidence", "3").tap()
    phone.get_by_text("Reasons and notes").tap()
    phone.get_by_role("button", name="Response B", exact=True).tap()
    expect(phone.get_by_role("group", name="A is")).to_be_hidden()
    phone.get_by_role("group", name="B is").get_by_label("clear").tap()
    phone.get_by_label("Why, if you like").fill("Right and short")
    assert_fits(phone)
    phone.get_by_role("button", name="Submit").tap()
    all_sent(phone)
    assert shown(phone) != first
    answer = Preference.objects.get()
    assert answer.rationale == "Right and short"
    assert answer.confidence == 3


def test_ratings_come_one_at_a_time_with_their_response(transactional_db: None, phone: Page) -> None:
    make_asking("ratings", by_criterion=True)
    begin(phone)
    rows = phone.locator("[data-row]:visible")
    for row, side in (("A-0", "A"), ("A-1", "A"), ("A-2", "A"), ("B-0", "B"), ("B-1", "B"), ("B-2", "B")):
        expect(rows).to_have_count(1)
        tab = phone.get_by_role("button", name=f"Response {side}", exact=True)
        expect(tab).to_have_attribute("aria-pressed", "true")
        assert_fits(phone)
        option(phone, f"rating-{row}", "4").tap()
    phone.get_by_role("button", name="Previous question").tap()
    expect(rows).to_have_attribute("data-row", "rating-B-1")
    phone.get_by_role("button", name="Submit").tap()
    all_sent(phone)
    assert Rating.objects.count() == 6


def test_eight_responses_are_ranked_behind_tabs(transactional_db: None, phone: Page) -> None:
    make_asking("ranking", responses=8)
    begin(phone)
    for rank, letter in enumerate("ABCDEFGH", start=1):
        expect(phone.locator(f'[data-side-tab="{letter}"]')).to_have_attribute("aria-pressed", "true")
        option(phone, f"rank-{letter}", str(rank)).tap()
    assert_fits(phone)
    expect(phone.locator("[data-standing-words]")).to_have_text("A > B > C > D > E > F > G > H")
    phone.get_by_role("button", name="Submit").tap()
    all_sent(phone)
    assert sorted(Ranking.objects.get().ranks) == list(range(1, 9))


def test_the_tools_are_behind_one_button(transactional_db: None, phone: Page) -> None:
    make_asking("pairwise")
    begin(phone)
    phone.get_by_role("button", name="More").tap()
    phone.get_by_role("button", name="Settings").tap()
    expect(phone.get_by_role("dialog", name="Settings")).to_be_visible()
    phone.get_by_role("button", name="Close the settings").tap()
    phone.get_by_role("button", name="More").tap()
    phone.get_by_role("button", name="Take a break").tap()
    expect(phone.get_by_role("heading", name="You are on a break")).to_be_visible()
    phone.get_by_role("link", name="Go on").tap()
    expect(phone.locator("#task > [data-task]")).to_be_visible()


def test_a_swipe_goes_to_the_other_response(transactional_db: None, phone: Page) -> None:
    make_asking("pairwise")
    begin(phone)
    body = phone.locator('[data-response="A"] [data-response-body]')
    body.evaluate(
        """(element) => {
            const at = (x) => new Touch({ identifier: 1, target: element, clientX: x, clientY: 300 });
            element.dispatchEvent(new TouchEvent("touchstart", { changedTouches: [at(300)], bubbles: true }));
            element.dispatchEvent(new TouchEvent("touchend", { changedTouches: [at(100)], bubbles: true }));
        }"""
    )
    expect(phone.locator('[data-response="B"]')).to_be_visible()
    expect(phone.locator('[data-response="A"]')).to_be_hidden()
