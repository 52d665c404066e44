"""What a person does on the annotation screen, in a real browser."""

import re
import threading
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotation.assigning import Opening, open_tasks
from annotation.models import Assignment, AssignmentState, Choice, Preference, Project, Tier
from tests.builders import make_pair, make_project
from tests.journeys.looking import faults
from tests.journeys.steps import DRAFT, HERE, all_sent, begin, make_asking, press, shown, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def chosen(page: Page, value: str) -> None:
    expect(page.locator(f'input[name="answer"][value="{value}"]')).to_be_checked()


def test_ten_pairs_are_answered_by_keyboard_with_a_reload_and_a_double_click(page: Page, study: Project) -> None:
    begin(page)
    status = page.locator("#task-status")
    for number, key in enumerate(["1", "2", "3", "4", "5", "6", "7", "x", "c", "2"]):
        expect(status).to_contain_text(f"{number} of ")
        # Three are in hand; whoever is faster than the server's reply waits for the fourth.
        expect(page.locator("#task > [data-task]")).to_be_visible()
        if number == 4:
            page.reload()
            expect(page.locator("html")).to_have_attribute("data-ready", "")
            # How many are left is counted anew, perhaps while the answer before still leases its next pair.
            expect(status).to_contain_text("4 of ")
        page.keyboard.press(key)
        if number == 6:
            page.get_by_role("button", name="Submit").dblclick()
        else:
            page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="That was the last one")).to_be_focused()
    all_sent(page)

    answers = Preference.objects.filter(rater__user__username="ben")
    assert answers.count() == 10
    assert answers.filter(choice=Choice.TIE).count() == 1
    assert answers.filter(choice=Choice.BOTH_BAD).count() == 1
    assert answers.filter(choice=Choice.UNSURE).count() == 1
    assert list(answers.exclude(strength=None).order_by("strength").values_list("strength", flat=True)) == [
        1,
        1,
        2,
        2,
        2,
        3,
        3,
    ]


def test_the_choice_is_stored_for_the_response_that_was_shown_on_that_side(page: Page, study: Project) -> None:
    begin(page)
    left = page.locator('[data-response="A"] .markdown').inner_text()
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    all_sent(page)
    answer = Preference.objects.get()
    better = answer.pair.response_a if answer.choice == Choice.A else answer.pair.response_b
    assert better.text == left


def test_a_saved_answer_is_announced_and_the_focus_goes_to_the_next_prompt(page: Page, study: Project) -> None:
    begin(page)
    page.keyboard.press("4")
    page.keyboard.press("Enter")
    expect(page.locator("#announcement")).to_have_text("Saved. 1 of 10 done. Next one.")
    expect(page.locator("#prompt-title")).to_be_focused()


def test_submitting_without_a_choice_says_what_to_do_and_sends_nothing(page: Page, study: Project) -> None:
    begin(page)
    page.keyboard.press("Enter")
    expect(page.locator("[data-line]")).to_contain_text("Nothing is chosen yet")
    assert Preference.objects.count() == 0


def test_a_draft_is_there_again_after_a_reload(page: Page, study: Project) -> None:
    begin(page)
    page.keyboard.press("6")
    page.keyboard.press("r")
    with page.expect_response(DRAFT) as kept:
        page.keyboard.type("shorter and right")
    assert kept.value.status == 204
    page.reload()
    chosen(page, "second2")
    expect(page.locator("#rationale")).to_have_value("shorter and right")


def test_a_draft_that_never_reached_the_server_is_there_after_a_reload(page: Page, study: Project) -> None:
    begin(page)
    page.route(DRAFT, lambda route: route.abort())
    with page.expect_event("requestfailed"):
        page.keyboard.press("3")
    page.unroute_all()
    page.reload()
    chosen(page, "first1")


def test_a_pair_is_skipped_with_a_reason(page: Page, study: Project) -> None:
    begin(page)
    first = shown(page)
    page.keyboard.press("n")
    page.get_by_label("I do not read this language well").check()
    page.get_by_label("Note for the manager").fill("It is Finnish")
    page.get_by_role("button", name="Skip it").click()
    all_sent(page)
    expect(page.locator("#announcement")).to_contain_text("Passed on.")
    skipped = Assignment.objects.get(pk=first)
    assert (skipped.state, skipped.skip_reason, skipped.note) == (AssignmentState.SKIPPED, "language", "It is Finnish")
    assert shown(page) != first


def test_keys_that_are_typed_into_the_reason_choose_nothing(page: Page, study: Project) -> None:
    begin(page)
    page.keyboard.press("r")
    page.keyboard.type("1 x c n s")
    expect(page.locator("#rationale")).to_have_value("1 x c n s")
    expect(page.locator('input[name="answer"]:checked')).to_have_count(0)
    page.keyboard.press("Escape")
    page.keyboard.press("5")
    chosen(page, "second1")


def test_the_next_pair_is_shown_while_the_answer_is_still_on_its_way(page: Page, study: Project) -> None:
    begin(page)
    first = shown(page)
    waits = threading.Event()
    page.route(re.compile("/submit/$"), lambda _route: waits.set())  # never answered
    press(page, "2 Enter")
    assert shown(page) != first
    expect(page.locator("#task-status")).to_contain_text("1 of 10")
    took = page.evaluate(
        """() => {
            document.querySelector('input[value="tie"]').click();
            const before = performance.now();
            document.querySelector("[data-answer-form]").requestSubmit();
            document.querySelector("#task").getBoundingClientRect();
            return performance.now() - before;
        }"""
    )
    assert took < 50
    assert Preference.objects.count() == 0


def test_differences_lengths_and_raw_text_are_shown_on_demand(page: Page, long_study: Project) -> None:
    begin(page)
    marks = page.locator("mark.diff:visible")
    expect(marks).to_have_count(0)
    press(page, "d")
    expect(marks.first).to_be_visible()
    expect(page.get_by_role("button", name="Differences")).to_have_attribute("aria-pressed", "true")
    press(page, "w")
    expect(marks).to_have_count(0)
    expect(page.locator('[data-response="A"] [data-raw]')).to_be_visible()
    press(page, "w l")
    expect(page.locator('[data-response="A"] [data-length]')).to_have_text(
        re.compile(r"^[\d,]+ words, [\d,]+ characters$")
    )


def test_the_lease_is_shown_counting_down(page: Page, study: Project) -> None:
    begin(page)
    expect(page.locator("[data-lease]")).to_contain_text(re.compile(r"held for you\s+(20:00|19:5\d)"))


def test_without_javascript_an_answer_and_a_skip_are_plain_forms(
    chromium_browser: Browser, live_server: LiveServer, study: Project
) -> None:
    context = chromium_browser.new_context(base_url=live_server.url, java_script_enabled=False)
    page = context.new_page()
    sign_in(page, "ben", HERE)
    page.get_by_role("radio", name="A is much better").check(force=True)
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#task-status")).to_contain_text("1 of 10")
    page.get_by_role("button", name="Skip this pair").click()
    expect(page.locator("#task-status")).to_contain_text("1 of 9")
    context.close()
    assert Preference.objects.get().strength == 3


@pytest.mark.parametrize(("template", "responses"), [("pairwise_ratings", 2), ("best_worst", 3)])
def test_without_javascript_every_row_is_there_and_what_is_missing_is_told(
    transactional_db: None, chromium_browser: Browser, live_server: LiveServer, template: str, responses: int
) -> None:
    make_asking(template, responses=responses, reasons=["correct"], confidence=True)
    context = chromium_browser.new_context(base_url=live_server.url, java_script_enabled=False)
    page = context.new_page()
    sign_in(page, "ben", HERE)
    rows = page.locator("[data-row]")
    for row in rows.all()[:-1]:
        row.get_by_role("radio").first.check(force=True)
    if template == "best_worst":
        rows.nth(1).get_by_role("radio").last.check(force=True)
    page.get_by_role("group", name="A is").get_by_label("correct").check(force=True)
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_role("alert")).to_have_text("Say how sure you are, then submit.")
    expect(page.get_by_role("group", name="A is").get_by_label("correct")).to_be_checked()
    rows.last.get_by_role("radio").last.check(force=True)
    page.get_by_role("button", name="Submit").click()
    expect(page.locator("#task-status")).to_contain_text("1 of 2")
    page.get_by_role("link", name="Last answers").click()
    page.get_by_role("link", name="Change").click()
    page.get_by_role("button", name="Submit the change").click()
    expect(page.locator("#task-status")).to_contain_text("1 of 2")
    context.close()


LONG = "# Title\n\n" + "A sentence that goes on for a while. " * 60 + "\n\n```python\n" + "x = 1 + " * 60 + "1\n```\n\n"
WIDE = LONG + "| " + " | ".join(f"column {n}" for n in range(12)) + " |\n" + "|--" * 12 + "|\n\n" + "w" * 300


@pytest.fixture
def long_study(transactional_db: None) -> Project:
    project = make_project(guidelines="Prefer what is **correct**.")
    pair = make_pair(project, prompt="Why? " * 120, response_a=WIDE, response_b=LONG)
    open_tasks(project, [Opening(pair.pk, 1.0)], votes_wanted=1, tier=Tier.CROWD)
    return project


def test_nothing_overflows_a_phone_and_the_bar_stays_in_view(
    chromium_browser: Browser, live_server: LiveServer, long_study: Project
) -> None:
    context = chromium_browser.new_context(
        base_url=live_server.url, viewport={"width": 360, "height": 740}, has_touch=True
    )
    page = context.new_page()
    begin(page)
    expect(page.locator("html")).to_have_js_property("scrollWidth", 360)
    expect(page.get_by_role("button", name="Submit")).to_be_in_viewport(ratio=1)
    for choice in page.locator(".answer .choice").all():
        expect(choice).to_be_in_viewport(ratio=1)
        box = choice.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44

    body = page.locator('[data-response="A"] [data-response-body]')
    body.evaluate("element => { element.scrollTop = 300 }")
    page.get_by_role("button", name="Response B").click()
    expect(page.locator('[data-response="A"]')).to_be_hidden()
    expect(page.locator('[data-response="B"]')).to_be_visible()
    page.get_by_role("button", name="Response A").click()
    expect(body).to_have_js_property("scrollTop", 300)
    context.close()


def test_both_sides_scroll_together_when_asked(page: Page, long_study: Project) -> None:
    begin(page)
    page.keyboard.press("s")
    expect(page.locator('[data-act="link"]')).to_have_attribute("aria-pressed", "true")
    left, right = (page.locator(f'[data-response="{side}"] [data-response-body]') for side in "AB")
    left.evaluate("element => { element.scrollTop = element.scrollHeight }")
    expect(right).not_to_have_js_property("scrollTop", 0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_no_accessibility_violation(
    chromium_browser: Browser,
    live_server: LiveServer,
    long_study: Project,
    scheme: Literal["light", "dark"],
    width: int,
) -> None:
    context = chromium_browser.new_context(
        base_url=live_server.url,
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        # Half way through a transition a colour is none of the design's.
        reduced_motion="reduce",
        bypass_csp=True,
    )
    page = context.new_page()
    found = {}
    page.goto("/sign-in/")
    found["sign in"] = faults(page)
    sign_in(page, "ben", "/annotate/")
    found["projects"] = faults(page)
    page.goto(HERE)
    page.keyboard.press("2")
    chosen(page, "first2")
    found["pair"] = faults(page)
    for key, name in (("?", "help"), ("g", "guidelines"), ("n", "skip"), (",", "settings"), ("h", "recent")):
        page.keyboard.press(key)
        expect(page.locator("dialog[open]")).to_be_visible()
        found[name] = faults(page)
        page.keyboard.press("Escape")
        expect(page.locator("dialog[open]")).to_have_count(0)
    context.close()
    assert {name: some for name, some in found.items() if some} == {}


def test_the_strict_policy_blocks_nothing_of_ours(page: Page, long_study: Project) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    begin(page)
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="That was the last one")).to_be_visible()
    assert complaints == []
