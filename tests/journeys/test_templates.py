"""Every template of a task, answered by the keyboard alone."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from annotation.models import Preference, Ranking, Rating
from tests.journeys.steps import all_sent, begin, make_asking, press, shown

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def current_row(page: Page) -> str:
    return page.locator('[data-row][aria-current="step"]').get_attribute("data-row") or ""


@pytest.mark.parametrize(
    ("points", "key", "value"), [(2, "2", "second2"), (3, "2", "tie"), (5, "1", "first2"), (7, "7", "second3")]
)
def test_a_choice_on_every_scale(transactional_db: None, page: Page, points: int, key: str, value: str) -> None:
    make_asking("pairwise", points=points)
    begin(page)
    expect(page.locator(".scale input")).to_have_count(points)
    first = shown(page)
    press(page, key)
    expect(page.locator(f'input[name="answer"][value="{value}"]')).to_be_checked()
    press(page, "Enter")
    assert shown(page) != first
    all_sent(page)
    assert Preference.objects.count() == 1


def test_criteria_are_answered_by_digits_that_move_on_by_themselves(transactional_db: None, page: Page) -> None:
    make_asking("pairwise", by_criterion=True, confidence=True)
    begin(page)
    assert current_row(page) == "choice-0"
    press(page, "2")
    assert current_row(page) == "choice-1"
    press(page, "6 4")
    assert current_row(page) == "confidence"
    press(page, "ArrowUp k k 1")  # back to the first, and another answer for it
    expect(page.locator('input[name="choice-0"][value="first3"]')).to_be_checked()
    assert current_row(page) == "confidence"
    press(page, "3 Enter")
    all_sent(page)
    assert Preference.objects.filter(criterion__isnull=False).count() == 2
    assert Preference.objects.get(criterion__isnull=True).confidence == 3


def test_a_row_that_is_open_is_named_and_shown(transactional_db: None, page: Page) -> None:
    make_asking("pairwise", by_criterion=True)
    begin(page)
    press(page, "2 ArrowDown 4 Enter")
    expect(page.locator("[data-line]")).to_have_text("“Clarity” has no answer yet.")
    assert current_row(page) == "choice-1"


def test_ratings_of_both_responses(transactional_db: None, page: Page) -> None:
    make_asking("ratings", by_criterion=True)
    begin(page)
    press(page, "4 5 4 2 3 1 Enter")
    all_sent(page)
    assert Rating.objects.count() == 6
    assert Preference.objects.filter(criterion__isnull=True).count() == 1


def test_ratings_and_then_a_choice(transactional_db: None, page: Page) -> None:
    make_asking("pairwise_ratings")
    begin(page)
    press(page, "4 2 1 Enter")
    all_sent(page)
    assert Rating.objects.count() == 2
    assert Preference.objects.get().strength == 3


def order_so_far(page: Page) -> str:
    return page.locator("[data-standing-words]").inner_text()


def test_four_responses_are_ranked_by_digits_with_a_tie(transactional_db: None, page: Page) -> None:
    make_asking("ranking", responses=4)
    begin(page)
    press(page, "2 1 3 3")
    assert order_so_far(page) == "B > A > C = D"
    press(page, "Enter")
    all_sent(page)
    assert sorted(Ranking.objects.get().ranks) == [1, 2, 3, 3]


def test_the_order_is_changed_by_its_buttons(transactional_db: None, page: Page) -> None:
    make_asking("ranking", responses=3)
    begin(page)
    for letter in "CAB":
        page.get_by_role("button", name=f"Move {letter} up").press("Enter")
    assert order_so_far(page) == "C > A > B"
    page.get_by_role("button", name="Move B up").press("Enter")
    assert order_so_far(page) == "C > B > A"
    expect(page.get_by_role("button", name="Move B up")).to_be_focused()
    page.get_by_role("button", name="B ties with the one above").press("Space")
    assert order_so_far(page) == "B = C > A"
    page.get_by_role("button", name="Move A up").press("Enter")
    assert order_so_far(page) == "A > B = C"
    expect(page.locator('input[name="rank-A"][value="1"]')).to_be_checked()


def test_the_order_is_changed_by_dragging(transactional_db: None, page: Page) -> None:
    make_asking("ranking", responses=3)
    begin(page)
    press(page, "1 2 3")
    handle = page.locator('[data-handle="C"]').bounding_box()
    top = page.locator('[data-handle="A"]').bounding_box()
    assert handle is not None
    assert top is not None
    page.mouse.move(handle["x"] + 10, handle["y"] + 10)
    page.mouse.down()
    page.mouse.move(top["x"] + 10, top["y"] + 2, steps=5)
    page.mouse.up()
    assert order_so_far(page) == "C > A > B"


def test_without_ties_a_rank_goes_to_whoever_got_it_last(transactional_db: None, page: Page) -> None:
    make_asking("ranking", responses=3, rank_ties=False)
    begin(page)
    press(page, "1 1")
    expect(page.locator("[data-line]")).to_have_text("1 was the rank of A. A has none now.")
    assert current_row(page) == "rank-A"
    press(page, "2 3 Enter")
    all_sent(page)
    assert sorted(Ranking.objects.get().ranks) == [1, 2, 3]


def test_best_and_worst_are_two(transactional_db: None, page: Page) -> None:
    make_asking("best_worst", responses=4)
    begin(page)
    press(page, "2 2")
    expect(page.locator("[data-line]")).to_have_text("B cannot be both the best and the worst.")
    assert current_row(page) == "worst"
    press(page, "4 Enter")
    all_sent(page)
    assert sorted(Ranking.objects.get().ranks) == [1, 2, 2, 3]


EVERYTHING: dict[str, Any] = {
    "reasons": ["correct", "clear"],
    "content_flags": ["personal data"],
    "spans": True,
    "confidence": True,
}


def test_reasons_flags_and_a_quote_go_with_the_answer(transactional_db: None, page: Page) -> None:
    make_asking("pairwise", **EVERYTHING)
    begin(page)
    press(page, "1 3")
    page.get_by_role("group", name="A is").get_by_label("correct").press("Space")
    page.get_by_label("personal data").press("Space")
    page.get_by_role("heading", name="Response A").click()  # out of the boxes
    page.locator('[data-response="A"] [data-read]').evaluate(
        "element => getSelection().selectAllChildren(element.querySelector('p'))"
    )
    press(page, "q")
    quote = page.get_by_role("button", name="Remove the quote from A")
    expect(quote).to_be_visible()
    page.reload()  # all of it is in the draft
    expect(page.locator("html")).to_have_attribute("data-ready", "")
    expect(quote).to_be_visible()
    expect(page.get_by_role("group", name="A is").get_by_label("correct")).to_be_checked()
    press(page, "Enter")
    all_sent(page)
    answer = Preference.objects.get()
    assert len(answer.rationale_spans) == 1
    assert "Response number" in str(answer.rationale_spans)
    assert "correct" in str(answer.reasons)
    assert answer.content_flags == ["personal data"]


def test_a_quote_is_removed_by_keyboard(transactional_db: None, page: Page) -> None:
    make_asking("pairwise", spans=True)
    begin(page)
    press(page, "q")
    expect(page.locator("[data-line]")).to_have_text("Select some words of a response first.")
    page.locator('[data-response="B"] [data-read]').evaluate(
        "element => getSelection().selectAllChildren(element.querySelector('p'))"
    )
    press(page, "q")
    quote = page.get_by_role("button", name="Remove the quote from B")
    quote.press("Enter")
    expect(quote).to_have_count(0)
    expect(page.get_by_label("Why, if you like")).to_be_focused()


def test_a_reason_that_is_asked_for_is_missed_before_anything_is_sent(transactional_db: None, page: Page) -> None:
    make_asking("pairwise", reasons=["correct", "clear"], reasons_required=True)
    begin(page)
    press(page, "1 Enter")
    expect(page.locator("[data-line]")).to_contain_text("Mark at least one")
    press(page, "Space Enter")  # the focus is on the first of them
    all_sent(page)
    assert Preference.objects.count() == 1


def test_a_persons_own_keys_hold_at_once_and_on_the_next_page(transactional_db: None, page: Page) -> None:
    make_asking("pairwise")
    begin(page)
    press(page, ",")
    page.get_by_role("dialog").locator("summary").click()
    field = page.get_by_role("dialog").get_by_label("Skip, with a reason")
    field.fill("x")
    expect(page.get_by_role("alert").filter(has_text="is already the key for: Both are bad")).to_be_visible()
    expect(field).to_have_value("n")
    with page.expect_response("**/annotation-settings/"):
        field.fill("z")
    press(page, "Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    press(page, "z")
    expect(page.get_by_role("dialog", name="Skip this one")).to_be_visible()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-ready", "")
    press(page, "z")
    expect(page.get_by_role("dialog", name="Skip this one")).to_be_visible()


def test_a_key_pressed_as_the_settings_close_is_no_writing(transactional_db: None, page: Page) -> None:
    make_asking("pairwise")
    begin(page)
    press(page, ",")
    page.get_by_role("dialog").locator("summary").click()
    page.get_by_role("dialog").get_by_label("Skip, with a reason").focus()
    page.evaluate(  # before the next frame, in which the hidden field loses the focus
        """() => {
            document.querySelector("dialog[open]").close();
            document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: "n", bubbles: true}));
        }"""
    )
    expect(page.get_by_role("dialog", name="Skip this one")).to_be_visible()


def test_the_look_is_set_at_once_and_comes_with_the_next_page(transactional_db: None, page: Page) -> None:
    make_asking("pairwise")
    begin(page)
    press(page, ",")
    with page.expect_response("**/annotation-settings/"):
        page.get_by_role("group", name="Colours").get_by_label("Dark").check(force=True)
        page.get_by_role("group", name="Size of the texts").get_by_label("Largest").check(force=True)
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.locator("html")).to_have_attribute("data-text-size", "xl")


def test_a_keyboard_without_latin_letters_has_the_same_keys(transactional_db: None, page: Page) -> None:
    make_asking("pairwise")
    begin(page)
    page.evaluate(
        "document.body.dispatchEvent(new KeyboardEvent('keydown', {key: '\\u0447', code: 'KeyX', bubbles: true}))"
    )
    expect(page.locator('input[name="answer"][value="both_bad"]')).to_be_checked()
