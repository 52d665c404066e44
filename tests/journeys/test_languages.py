"""The screen in other languages, in a real browser: from right to left, with long words, and with no fault for axe."""

from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotation.assigning import Opening, open_tasks
from annotation.configuring import configure
from annotation.models import Project, User
from tests.builders import make_pair, make_project
from tests.journeys.looking import faults
from tests.journeys.steps import HERE, all_sent, make_asking

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
Scheme = Literal["light", "dark"]
LANGUAGES = ["de", "es", "ar", "zh-hans"]
# What stands in the answer: words that are broken in two, and boxes that do not hold what is in them.
FAULTS = """() => {
  const faults = [];
  const seen = (element) => element.checkVisibility({ visibilityProperty: true });
  for (const box of document.querySelectorAll(".answer, .answer *, header *, .prompt__head *, .response__head *")) {
    if (!seen(box) || box.closest(".visually-hidden, svg, progress")) continue;
    const { left, right } = box.getBoundingClientRect();
    const style = getComputedStyle(box);
    if (style.clipPath === "inset(50%)") continue; // for screen readers only
    if (left < -0.5 || right > innerWidth + 0.5) faults.push(`out of sight: ${box.className || box.tagName}`);
    if (style.overflowX !== "visible" && box.scrollWidth > box.clientWidth + 1 && style.display !== "inline") {
      faults.push(`clipped: ${box.className || box.tagName} ${box.textContent.trim().slice(0, 40)}`);
    }
    for (const node of box.childNodes) {
      if (node.nodeType !== Node.TEXT_NODE) continue;
      for (const found of node.data.matchAll(/\\p{Script=Latin}+|\\p{Script=Arabic}+/gu)) {
        const range = document.createRange();
        range.setStart(node, found.index);
        range.setEnd(node, found.index + found[0].length);
        const tops = new Set([...range.getClientRects()].filter((one) => one.width).map((one) => Math.round(one.top)));
        if (tops.size > 1) faults.push(`broken word: ${found[0]}`);
      }
    }
  }
  return [...new Set(faults)];
}"""


@pytest.fixture
def full(transactional_db: None) -> Project:
    """Return a project that asks for all that a choice can come with."""
    project = make_project(guidelines="Prefer what is correct.")
    screen = {"reasons": ["correct", "clear"], "content_flags": ["private"], "confidence": True, "spans": True}
    configure(project, settings={"repeat_percent": 0, **screen})
    open_tasks(project, [Opening(make_pair(project).pk, float(-number)) for number in range(3)], votes_wanted=1)
    return project


@pytest.fixture
def opened(chromium_browser: Browser, live_server: LiveServer) -> Iterator[Callable[..., Page]]:
    """Return a function that opens the screen as ben, who reads a language."""
    contexts = []

    def open_screen(language: str, width: int, scheme: Scheme = "light") -> Page:
        User.objects.filter(username="ben").update(interface={"language": language})
        context = chromium_browser.new_context(
            base_url=live_server.url,
            viewport={"width": width, "height": 740 if width < 800 else 800},
            color_scheme=scheme,
            has_touch=width < 800,
            is_mobile=width < 800,
            reduced_motion="reduce",
            locale="fr",
        )
        contexts.append(context)
        page = context.new_page()
        page.goto(f"/sign-in/?next={HERE}")
        page.locator("#id_username").fill("ben")
        page.locator("#id_password").fill("ben-password")
        page.locator("main button[type=submit]").click()
        expect(page.locator("html")).to_have_attribute("data-ready", "")
        return page

    yield open_screen
    for context in contexts:
        context.close()


def left_of(page: Page, selector: str) -> float:
    box = page.locator(selector).first.bounding_box()
    assert box is not None
    return box["x"]


def test_arabic_runs_from_right_to_left_with_a_first(opened: Callable[..., Page], full: Project) -> None:
    page = opened("ar", 1280)
    expect(page.locator("html")).to_have_attribute("lang", "ar")
    expect(page.locator("html")).to_have_attribute("dir", "rtl")
    expect(page.locator("html")).to_have_js_property("scrollWidth", 1280)
    assert left_of(page, '[data-response="A"]') > left_of(page, '[data-response="B"]')
    steps = [left_of(page, f'input[value="{value}"]') for value in ("first3", "first1", "tie", "second3")]
    assert steps == sorted(steps, reverse=True)
    # The digits mean the same as ever, and the words are said in Arabic.
    page.keyboard.press("1")
    expect(page.locator('[name=answer][value="first3"]')).to_be_checked()
    expect(page.locator('[data-response="A"] [data-mark]')).to_have_text("اختيارك")
    page.keyboard.press("3")
    page.keyboard.press("Enter")
    expect(page.locator("[data-progress-text]")).to_have_text("1 من 3")
    all_sent(page)


def test_a_swipe_to_the_right_goes_on_in_arabic(opened: Callable[..., Page], full: Project) -> None:
    page = opened("ar", 360)
    assert left_of(page, '[data-side-tab="A"]') > left_of(page, '[data-side-tab="B"]')
    swipe = """() => {
      const body = document.querySelector(".response--shown [data-response-body]");
      const touch = (x) => new Touch({ identifier: 1, target: body, clientX: x, clientY: 300 });
      const fire = (name, x) =>
        body.dispatchEvent(new TouchEvent(name, { bubbles: true, changedTouches: [touch(x)] }));
      fire("touchstart", 60);
      fire("touchend", 300);
    }"""
    page.evaluate(swipe)
    expect(page.locator('[data-side-tab="B"]')).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("language", LANGUAGES)
def test_words_fit_where_they_stand(opened: Callable[..., Page], full: Project, language: str, width: int) -> None:
    page = opened(language, width)
    expect(page.locator("html")).to_have_js_property("scrollWidth", width)
    assert page.evaluate(FAULTS) == []
    page.locator("label.choice").first.click()
    if width == 360:
        # The next question takes the place of the first.
        page.locator("[data-row-next]").click()
    assert page.evaluate(FAULTS) == []
    expect(page.locator("html")).to_have_js_property("scrollWidth", width)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("template", ["ranking", "pairwise_ratings"])
def test_words_fit_on_other_screens_too(
    opened: Callable[..., Page], transactional_db: None, language: str, template: str
) -> None:
    make_asking(template, responses=4 if template == "ranking" else 2)
    page = opened(language, 360)
    expect(page.locator("html")).to_have_js_property("scrollWidth", 360)
    assert page.evaluate(FAULTS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_axe_finds_nothing_in_arabic(opened: Callable[..., Page], full: Project, width: int, scheme: Scheme) -> None:
    page = opened("ar", width, scheme)
    assert faults(page) == []
    for key, name in (("?", "help"), (",", "settings"), ("n", "skip")):
        page.keyboard.press(key)
        expect(page.locator(f"dialog#{name}")).to_be_visible()
        assert faults(page) == [], name
        page.keyboard.press("Escape")
    page.goto("/annotate/")
    assert faults(page) == []


def test_a_language_chosen_in_the_settings_holds_at_once(opened: Callable[..., Page], full: Project) -> None:
    page = opened("en", 1280)
    page.keyboard.press(",")
    page.locator("#settings-language").select_option("de")
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.locator("[data-submit]")).to_contain_text("Absenden")
    expect(page.locator("html")).to_have_attribute("data-ready", "")
    page.keyboard.press("Enter")
    expect(page.locator("#task [data-line]")).to_have_text("„Welche Antwort ist besser?“ ist noch offen.")
