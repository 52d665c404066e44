"""How a person learns a task in a real browser: guidelines, practice, questions; and how a manager sets it up."""

from collections.abc import Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotation.guiding import revise_guidelines
from annotation.models import Preference, Project, Rater
from annotation.training import training_of
from tests.builders import make_project
from tests.journeys.looking import faults
from tests.journeys.steps import sign_in
from tests.learners import GUIDELINES, make_course

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

HERE = "/annotate/helpfulness/"


@pytest.fixture
def course(transactional_db: None) -> Project:
    return make_course()


@pytest.fixture
def plain(chromium_browser: Browser, live_server: LiveServer) -> Iterator[Page]:
    """Return a page in a browser without JavaScript."""
    context = chromium_browser.new_context(base_url=live_server.url, java_script_enabled=False)
    yield context.new_page()
    context.close()


def complaints_of(page: Page) -> list[str]:
    """Return what the browser complains of from now on; a refused form is no complaint."""
    found: list[str] = []
    page.on(
        "console",
        lambda message: (
            found.append(message.text) if message.type in {"error", "warning"} and "422" not in message.text else None
        ),
    )
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def arrived(page: Page, heading: str) -> None:
    """Wait for a page of practice with its keys."""
    expect(page.get_by_role("heading", name=heading, exact=True)).to_be_visible()
    expect(page.locator("html")).to_have_class("js")


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the control of that name has the focus; each stop on the way shows that it has it."""
    for _ in range(40):
        page.keyboard.press("Tab")
        text, outline = page.evaluate(
            """(() => { const it = document.activeElement; const at = getComputedStyle(it).outlineStyle;
            const label = it.closest("label"); const shown = label ? getComputedStyle(label).outlineStyle : at;
            return [it.innerText || it.labels?.[0]?.innerText || "", at === "none" ? shown : at]; })()"""
        )
        assert outline != "none", f"{text!r} does not show that it has the focus"
        if text.strip().startswith(name):
            return
    raise AssertionError(f"Tab does not reach {name!r}")


def test_a_person_learns_the_task_by_keyboard_alone(page: Page, course: Project) -> None:
    complaints = complaints_of(page)
    sign_in(page, "ben", f"{HERE}guidelines/")
    tab_to(page, "I have read them")
    press(page, "Enter")
    arrived(page, "Practice 1 of 2")
    press(page, "Enter")
    expect(page.get_by_text("Nothing is chosen yet.")).to_be_visible()
    arrived(page, "Practice 1 of 2")
    press(page, "3", "Enter")
    expect(page.get_by_role("heading", name="Not what was expected")).to_be_focused()
    expect(page).to_have_title("Not what was expected · Practice 1 of 2 · Helpfulness study · Tiebreak")
    arrived(page, "Not what was expected")
    press(page, "Enter")
    arrived(page, "Practice 2 of 2")
    press(page, "2", "Enter")
    expect(page.get_by_role("heading", name="Right", exact=True)).to_be_focused()
    arrived(page, "Right")
    press(page, "Enter")
    expect(page.get_by_role("heading", name="Questions about the guidelines")).to_be_visible()

    # The first try has one question wrong: the radio group is entered, and the arrow goes on.
    tab_to(page, "The longer one")
    press(page, "Space")
    tab_to(page, "When I would rather not")
    press(page, "Space")
    tab_to(page, "When I lack")
    press(page, "Space")
    tab_to(page, "Send my answers")
    press(page, "Enter")
    expect(page.get_by_text("1 of 2 was right; 2 are needed.")).to_be_visible()
    tab_to(page, "The longer one")
    press(page, "ArrowDown")
    expect(page.get_by_label("The shorter one")).to_be_checked()
    tab_to(page, "Send my answers")
    press(page, "Enter")
    expect(page.get_by_role("heading", name="You passed")).to_be_visible()
    expect(page.get_by_role("link", name="Go on to the pairs")).to_have_attribute("href", HERE)
    ben = Rater.objects.get(user__username="ben")
    assert (ben.guidelines_read, ben.practice_done, ben.gate_tries, ben.gate_passed_at is None) == (1, 2, 2, False)
    assert Preference.objects.count() == 0
    assert complaints == []


def test_everything_works_without_javascript_to_the_calm_end(plain: Page, course: Project) -> None:
    plain.goto(f"/sign-in/?next={HERE}gate/")
    plain.get_by_label("User name").fill("ben")
    plain.get_by_label("Password").fill("ben-password")
    plain.get_by_role("button", name="Sign in").click()
    expect(plain.get_by_role("heading", name="Guidelines", exact=True)).to_be_visible()
    # Nothing that only a script could serve is offered.
    expect(plain.get_by_label("Search the guidelines")).to_be_hidden()
    plain.get_by_role("button", name="I have read them").click()
    for number in (1, 2):
        expect(plain.get_by_role("heading", name=f"Practice {number} of 2")).to_be_visible()
        expect(plain.locator(".practice kbd").first).to_be_hidden()
        plain.get_by_label("A is better").check()
        plain.get_by_role("button", name="Check my answer").click()
        plain.get_by_role("link", name="Next" if number == 1 else "Go on").click()
    for _ in range(2):
        plain.get_by_label("The longer one").check()
        plain.get_by_label("When it is long").check()
        plain.get_by_role("button", name="Send my answers").click()
    expect(plain.get_by_role("heading", name="This project is not for you this time")).to_be_visible()
    expect(plain.get_by_role("main").get_by_role("link")).to_have_count(1)
    plain.get_by_role("link", name="Back to your projects").click()
    expect(plain.get_by_role("heading", name="Your projects")).to_be_visible()


def test_a_search_leaves_the_passages_with_their_headings_and_gives_the_rest_back(page: Page, course: Project) -> None:
    revise_guidelines(course, text=f"{GUIDELINES}\n\nA **déjà** vu is no reason.")
    sign_in(page, "ben", f"{HERE}guidelines/")
    box, text = page.get_by_label("Search the guidelines"), page.locator("[data-guidelines-text]")
    box.fill("DEJA VU")
    expect(page.get_by_role("status")).to_have_text("Passages found: 1")
    expect(text.get_by_text("vu is no reason.")).to_be_visible()
    expect(text.get_by_role("heading", name="Harm")).to_be_visible()
    expect(text.get_by_role("heading", name="Ties")).to_be_hidden()
    marked = page.evaluate("[...CSS.highlights.get('guidelines-search')].map((range) => range.toString())")
    assert marked == ["déjà vu"]
    # A heading brings what stands under it.
    box.fill("ties")
    expect(text.get_by_text("A tie is for answers")).to_be_visible()
    box.fill("xyzzy")
    expect(page.get_by_role("status")).to_have_text("Nothing found. Try another word.")
    expect(text.get_by_role("heading", name="Ties")).to_be_visible()
    press(page, "Escape")
    expect(box).to_have_value("")
    expect(page.get_by_role("status")).to_have_text("")
    expect(text.locator("> *:visible")).to_have_count(7)


def test_a_notice_goes_when_it_is_read_and_says_so(page: Page, course: Project) -> None:
    Rater.objects.filter(user__username="ben").delete()
    sign_in(page, "ben", f"{HERE}guidelines/")
    page.get_by_role("button", name="I have read them").click()
    page.wait_for_url(f"**{HERE}practice/")
    revise_guidelines(course, text="Prefer the longer one.", note="Length counts the other way round.")
    page.goto(f"{HERE}guidelines/")
    expect(page.get_by_text("Length counts the other way round.").first).to_be_visible()
    page.get_by_text("Line by line").click()
    expect(page.locator("ins", has_text="Prefer the longer one.")).to_be_visible()
    page.get_by_role("button", name="I have read them").focus()
    press(page, "Enter")
    expect(page.get_by_role("heading", name="The guidelines changed")).to_have_count(0)
    expect(page.get_by_text("Noted: you have read the guidelines.")).to_be_focused()
    assert Rater.objects.get(user__username="ben").guidelines_read == 2


def test_a_manager_writes_guidelines_and_questions_without_javascript(plain: Page, transactional_db: None) -> None:
    project = make_project()
    plain.goto("/sign-in/?next=/projects/helpfulness/guidelines/")
    plain.get_by_label("User name").fill("ada")
    plain.get_by_label("Password").fill("ada-password")
    plain.get_by_role("button", name="Sign in").click()
    plain.get_by_role("textbox", name="Guidelines").fill("Prefer the *shorter* one.")
    plain.get_by_role("button", name="Show it").click()
    expect(plain.locator(".reading-sheet em")).to_have_text("shorter")
    plain.get_by_role("button", name="Store as version 1").click()
    expect(plain.get_by_text("Version 1 is in force")).to_be_visible()
    plain.get_by_role("link", name="Practice and questions").click()
    plain.get_by_text("Add a practice pair").click()
    for label, text in (("Prompt", "2 + 2?"), ("Response A", "4"), ("Response B", "5"), ("Why", "It is 4.")):
        plain.get_by_label(label).first.fill(text)
    plain.get_by_label("A is better").check()
    plain.get_by_role("button", name="Add").first.click()
    plain.get_by_text("Add a question").click()
    question = plain.locator("details[open]")
    question.get_by_label("Question").fill("Which one is better?")
    question.get_by_label("Options").fill("* The shorter one\nThe longer one")
    question.get_by_role("button", name="Add").click()
    expect(plain.get_by_text("That is 1 of 1 right.")).to_be_visible()
    training = training_of(Project.objects.get(pk=project.pk))
    assert (len(training.practice), training.gate is not None and training.gate.tries) == (1, 2)


# Both colours at both widths: test_every_page.py. Here each once, for what fits and can be hit.
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_every_page_of_learning_is_accessible_and_fits(
    chromium_browser: Browser,
    live_server: LiveServer,
    course: Project,
    scheme: Literal["light", "dark"],
    width: int,
) -> None:
    context: BrowserContext = chromium_browser.new_context(
        base_url=live_server.url,
        viewport={"width": width, "height": 800},
        color_scheme=scheme,
        reduced_motion="reduce",
    )
    page = context.new_page()
    complaints = complaints_of(page)
    problems: dict[str, list[str]] = {}

    def look(name: str) -> None:
        if found := faults(page):
            problems[name] = found
        if width == 360 and page.locator("body.learning").count():
            for target in page.locator("main :is(.button, .option:not(.option--closed), .practice__choice)").all():
                box = target.bounding_box()
                assert box is None or box["height"] >= 48, f"{name}: {target.inner_text()!r} is {box['height']} high"

    sign_in(page, "ben", f"{HERE}guidelines/")
    look("guidelines at the start")
    page.get_by_label("Search the guidelines").fill("tie")
    look("search")
    page.get_by_role("button", name="I have read them").click()
    look("practice")
    page.get_by_role("button", name="Check my answer").click()
    look("practice without a choice")
    page.get_by_label("B is better").check()
    look("practice chosen")
    page.get_by_role("button", name="Check my answer").click()
    look("practice wrong")
    page.get_by_role("link", name="Next practice pair").click()
    page.get_by_label("Equally good").check()
    page.get_by_role("button", name="Check my answer").click()
    look("practice right")
    page.goto(f"{HERE}practice/")
    look("practice done")
    page.goto(f"{HERE}gate/")
    look("gate")
    page.get_by_role("button", name="Send my answers").click()
    look("gate with answers missing")
    for name in ("gate, second try", "refused"):
        page.get_by_label("The longer one").check()
        page.get_by_label("When it is long").check()
        page.get_by_role("button", name="Send my answers").click()
        look(name)
    Rater.objects.filter(user__username="ben").update(gate_passed_at=course.created_at)
    page.reload()
    look("passed")
    revise_guidelines(course, text="Prefer the longer one.", note="Turned round.")
    page.goto(f"{HERE}guidelines/")
    page.get_by_text("Line by line").click()
    look("notice")
    page.goto(f"{HERE}guidelines/1/")
    page.get_by_text("What has changed since").click()
    look("old version")
    page.get_by_role("button", name="Sign out").click()

    Rater.objects.filter(user__username="ben").update(gate_passed_at=None)
    sign_in(page, "ada", "/projects/helpfulness/guidelines/")
    page.get_by_text("Version 2: Turned round.").click()
    page.get_by_role("button", name="Show it").click()
    page.get_by_text("Version 2: Turned round.").click()
    look("manager's guidelines")
    page.goto("/projects/helpfulness/training/")
    for summary in page.locator("details > summary").all():
        summary.click()
    look("manager's training")
    page.goto("/projects/helpfulness/people/")
    look("people")
    context.close()
    assert problems == {}
    assert complaints == []
