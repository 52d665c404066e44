"""A manager chooses a template with the keyboard, and sees each setting on the real screen before it is kept."""

import pytest
from playwright.sync_api import Browser, FrameLocator, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotation.configuring import questionnaire_of
from annotation.models import Assignment, Criterion, Preference, Project
from dashboard.screen_forms import CARDS
from tests.builders import make_pair, make_project, make_user
from tests.journeys.looking import faults
from tests.journeys.steps import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def project(transactional_db: None) -> Project:
    project = make_project()
    for number in range(3):
        make_pair(project, prompt=f"Question {number}?", response_a="Yes, **and** here is why.", response_b="No.")
    for position, name in enumerate(("overall", "accuracy", "tone")):
        Criterion.objects.create(project=project, name=name, position=position)
    return project


def listen(page: Page) -> list[str]:
    """Return what the console complains of, as it comes."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in {"error", "warning"} else None)
    return problems


def test_every_template_is_made_into_a_project_by_keyboard(page: Page) -> None:
    make_user("ada")
    problems = listen(page)
    sign_in(page, "ada", "/")
    for down, card in enumerate(CARDS):
        page.goto("/new-project/")
        page.get_by_label("Title", exact=True).fill(f"Study {card.name}")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        for _ in range(down):
            page.keyboard.press("ArrowDown")
        expect(page.get_by_role("radio", name=card.title)).to_be_checked()
        criteria = page.locator("#id_criteria")
        if card.name in ("criteria", "ratings", "pairwise_ratings"):
            criteria.fill("accuracy = Is it true?")
        else:
            expect(criteria).to_be_hidden()
        choice = page.get_by_role("radio", name="5: better")
        if card.name in ("pairwise", "criteria", "pairwise_ratings"):
            choice.check()
        else:
            expect(choice).to_be_hidden()
        page.get_by_role("button", name="Make the project").click()
        expect(page.get_by_text(f"Study {card.name} is there.")).to_be_visible()
        asked = questionnaire_of(Project.objects.get(title=f"Study {card.name}"))
        assert asked.template == card.template
        assert asked.points == (5 if asked.asks_choice else 7)
    assert problems == []


def preview(page: Page) -> FrameLocator:
    return page.frame_locator("iframe[name=preview]")


def test_the_preview_follows_the_form_and_only_keep_stores(page: Page, project: Project) -> None:
    problems = listen(page)
    sign_in(page, "ada", "/projects/helpfulness/screen/")
    shown = preview(page)
    expect(shown.get_by_text("Question 0?")).to_be_visible()
    expect(shown.get_by_role("radio", name="A is much better")).to_be_attached()

    page.get_by_role("radio", name="3: A, tie, B").check()
    expect(shown.get_by_role("radio", name="A is much better")).to_have_count(0)
    expect(shown.get_by_role("radio", name="A is better")).to_be_attached()
    page.get_by_label("Ask by each criterion as well").check()
    expect(shown.get_by_role("group", name="tone")).to_be_attached()
    page.get_by_label("Reasons to mark").fill("clear\nmade up")
    expect(shown.get_by_text("made up").first).to_be_attached()
    page.get_by_label("Rank several").check()
    expect(shown.locator("[data-response]")).to_have_count(4)
    expect(page.get_by_role("radio", name="3: A, tie, B")).to_be_hidden()
    page.get_by_label("Choose between two").check()
    expect(shown.locator("[data-response]")).to_have_count(2)
    page.get_by_label("Quotes in the reason").check()
    page.get_by_label("A box for the reason").uncheck()
    expect(shown.get_by_text("The setting spans are cited in the reason")).to_be_visible()
    page.get_by_label("A box for the reason").check()
    expect(shown.get_by_role("group", name="tone")).to_be_attached()

    project.refresh_from_db()
    assert project.questionnaire == {}
    page.get_by_role("button", name="Keep these settings").click()
    expect(page.get_by_text("Kept.")).to_be_visible()
    project.refresh_from_db()
    assert project.questionnaire == {"points": 3, "by_criterion": True, "reasons": ["clear", "made up"], "spans": True}
    # The one complaint is the browser's own about the settings that could not be shown.
    assert [one for one in problems if "422" not in one] == []


def test_an_answer_in_the_preview_says_that_nothing_is_stored(page: Page, project: Project) -> None:
    sign_in(page, "ada", "/projects/helpfulness/screen/")
    shown = preview(page)
    expect(shown.locator("html")).to_have_attribute("data-ready", "")
    shown.get_by_role("radio", name="A is better").check(force=True)
    shown.get_by_role("button", name="Submit").click()
    expect(shown.get_by_text("This is a preview: nothing is stored.").first).to_be_visible()
    # The pair is still there to try again, and nothing waits on the device to be sent.
    expect(shown.get_by_role("radio", name="A is better")).to_be_checked()
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.includes('outbox'))") == []
    assert (Preference.objects.count(), Assignment.objects.count()) == (0, 0)


def test_without_scripts_a_button_opens_the_preview(
    chromium_browser: Browser, live_server: LiveServer, project: Project
) -> None:
    context = chromium_browser.new_context(base_url=live_server.url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/sign-in/?next=/projects/helpfulness/screen/")
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password").fill("ada-password")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("radio", name="2: A or B").check()
    page.get_by_role("button", name="Preview").click()
    expect(preview(page).get_by_text("Equally good")).to_have_count(0)
    expect(preview(page).get_by_role("radio", name="A is better")).to_be_attached()
    assert Project.objects.get().questionnaire == {}
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_the_gallery_and_the_settings_have_no_accessibility_violation_and_fit(
    chromium_browser: Browser, live_server: LiveServer, project: Project, scheme: str, width: int
) -> None:
    context = chromium_browser.new_context(
        base_url=live_server.url,
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    sign_in(page, "ada", "/projects/helpfulness/screen/")
    expect(preview(page).get_by_text("Question 0?")).to_be_visible()
    page.get_by_text("Own words and keys").click()
    for path in ("", "/new-project/", "/projects/helpfulness/people/"):
        if path:
            page.goto(path)
        assert faults(page) == [], path
    context.close()
