"""A manager goes from a judged project to an applied plan by keyboard alone: what it costs, what it buys, and why."""

import pytest
from playwright.sync_api import Page, expect

from annotation.models import Project, Task
from routing.models import Plan, PlanState
from routing.plans.applying import work_apply
from routing.plans.queueing import draw_queued
from tests.builders import make_project
from tests.journeys.looking import faults
from tests.journeys.steps import sign_in
from tests.judged import answer_pairs, judge_pairs, make_judge, make_pairs

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def judged(transactional_db: None) -> Project:
    """Return a project with enough pairs that a judge and people both answered for a learned predictor."""
    project = make_project()
    pairs = make_pairs(project, 140)
    # It changes its answer with the order on a third, and is wrong on most of these.
    judge_pairs(make_judge(project), pairs, ["flip" if number % 3 == 0 else "a" for number in range(140)])
    answer_pairs(pairs[:120], ["b" if number % 3 == 0 and number % 4 else "a" for number in range(120)])
    return project


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what has the focus says `name`; each stop on the way shows that it has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "(it => ({text: it.innerText || '', outline: getComputedStyle(it).outlineStyle}))(document.activeElement)"
        )
        assert focused["outline"] != "none", f"{focused['text']!r} does not show that it has the focus"
        if focused["text"].startswith(name):
            return
    raise AssertionError(f"Tab does not reach {name!r}")


def assert_fits_everyone(page: Page) -> None:
    """Check the page in view for accessibility and width, on a phone and on a wide screen."""
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert faults(page) == [], f"{page.url} at {width}"


def test_a_manager_goes_from_a_judged_project_to_an_applied_plan_by_keyboard(page: Page, judged: Project) -> None:
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in {"error", "warning"} else None)
    sign_in(page, "ada", f"/projects/{judged.slug}/")
    tab_to(page, "Routing")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No plan yet")).to_be_visible()
    assert_fits_everyone(page)

    page.get_by_label("How much").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("25")
    tab_to(page, "Draw the plan")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Waiting for a worker")).to_be_visible()
    draw_queued(Plan.objects.get().pk)
    # The page asks again by itself.
    expect(page.get_by_text("A draft: nothing is open to people yet.")).to_be_visible()
    plan = Plan.objects.get()
    asked = plan.figures["counts"]["people"] + plan.figures["counts"]["audit"]
    for figure in ("People's time", "Cost", "Expected agreement with people", "Stop here"):
        expect(page.locator("dt", has_text=figure)).to_be_visible()
    expect(page.locator("img[alt^='Budget against agreement']")).to_be_visible()
    assert_fits_everyone(page)

    tab_to(page, "Why these pairs")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Why these pairs")).to_be_visible()
    expect(page.get_by_text("changed its answer when the order was swapped").first).to_be_visible()
    expect(page.get_by_text("for the judge: ").first).to_be_visible()
    assert_fits_everyone(page)
    tab_to(page, "Plan of")
    page.keyboard.press("Enter")
    expect(page.get_by_text("A draft: nothing is open to people yet.")).to_be_visible()

    tab_to(page, f"Open {asked} pairs to people")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Being applied").first).to_be_visible()
    assert Task.objects.filter(project=judged).count() == 0
    work_apply(plan.pk)
    expect(page.get_by_text("How far people are")).to_be_visible()
    expect(page.get_by_text(f"{asked} pairs asked")).to_be_visible()
    assert Plan.objects.get().state == PlanState.APPLIED
    assert Task.objects.filter(project=judged).count() == asked
    assert problems == []
