"""Every page that an annotator may come to, in English and Arabic, light and dark: axe finds nothing on it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotation.answering import Answer
from annotation.assigning import Opening, next_assignment, open_tasks, submit
from annotation.guiding import revise_guidelines
from annotation.models import Assignment, Project, Rater, RaterKind, Template
from tests.builders import make_pair, make_person, make_preference
from tests.journeys.looking import faults_in_both
from tests.journeys.steps import make_asking
from tests.learners import make_course

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

HERE = "/annotate/helpfulness/"
Look = Callable[[str], None]


@pytest.fixture(params=[("en", 1280), ("ar", 360)], ids=["english-1280", "arabic-360"])
def reader(request: Any, chromium_browser: Browser, live_server: LiveServer) -> Any:
    """Return a page whose reader has a language, and a look at it in both colours that keeps what it found."""
    language, width = request.param
    context = chromium_browser.new_context(
        base_url=live_server.url,
        viewport={"width": width, "height": 800},
        locale=language,
        reduced_motion="reduce",
        has_touch=width < 800,
    )
    page = context.new_page()
    found: dict[str, list[str]] = {}

    def look(name: str) -> None:
        assert page.locator("html").get_attribute("lang") == language, name
        for scheme, some in faults_in_both(page).items():
            found[f"{name}, {scheme}"] = some

    yield page, look, found
    context.close()


def come_in(page: Page, then: str) -> None:
    page.goto(f"/sign-in/?next={then}")
    page.locator("#id_username").fill("ben")
    page.locator("#id_password").fill("ben-password")
    page.locator("main button[type=submit]").click()
    page.wait_for_url(lambda url: "/sign-in/" not in url)


def test_no_page_on_the_way_to_the_first_pair_has_a_fault(reader: Any) -> None:
    page, look, found = reader
    course = make_course()
    ben = make_person(course)
    page.goto(f"/sign-in/?next={HERE}")
    look("sign in")
    come_in(page, "/annotate/")
    look("projects")
    page.goto(HERE)
    look("guidelines at the start")
    Rater.objects.filter(pk=ben.pk).update(guidelines_read=1)
    page.goto(f"{HERE}practice/")
    look("practice")
    page.locator("[name=choice]").first.check(force=True)
    page.locator("[data-practice] button[type=submit]").click()
    look("practice, with what was expected")
    Rater.objects.filter(pk=ben.pk).update(practice_done=9)
    page.goto(f"{HERE}practice/")
    look("practice done")
    page.goto(f"{HERE}gate/")
    look("gate")
    Rater.objects.filter(pk=ben.pk).update(gate_tries=2)
    page.goto(f"{HERE}gate/")
    look("refused")
    Rater.objects.filter(pk=ben.pk).update(gate_passed_at=timezone.now())
    page.goto(f"{HERE}gate/")
    look("passed")
    revise_guidelines(course, text="Prefer what is true.", note="Shorter.")
    page.goto(f"{HERE}guidelines/")
    look("guidelines that changed")
    page.goto(f"{HERE}guidelines/1/")
    look("an earlier version")
    assert found == {}


@pytest.mark.parametrize("template", Template.values)
def test_no_template_has_a_fault(reader: Any, template: str) -> None:
    page, look, found = reader
    settings: dict[str, Any] = {"reasons": ["clear", "correct"], "content_flags": ["harmful"], "confidence": True}
    if template in (Template.PAIRWISE, Template.RATINGS):
        settings["by_criterion"] = True
    responses = 4 if template in (Template.RANKING, Template.BEST_WORST) else 2
    make_asking(template, responses=responses, **settings)
    come_in(page, HERE)
    expect(page.locator("html")).to_have_attribute("data-ready", "")
    look("open")
    page.keyboard.press("1")
    look("begun")
    assert found == {}


def test_no_page_after_an_answer_has_a_fault(reader: Any) -> None:
    page, look, found = reader
    project = make_asking(Template.PAIRWISE, tasks=3)
    judge = Rater.objects.create(project=project, kind=RaterKind.JUDGE, name="small v1")
    for pair in project.pairs.all():
        make_preference(pair, judge, "b")
    Project.objects.update(questionnaire={"suggestion": "small v1", "leases_ahead": 0})
    come_in(page, HERE)
    expect(page.locator("html")).to_have_attribute("data-ready", "")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    expect(page.locator("dialog#suggestion")).to_be_visible()
    look("what a judge said, over the next pair")
    page.keyboard.press("Escape")
    page.keyboard.press("d")
    expect(page.locator('[data-act="diff"]')).to_have_attribute("aria-pressed", "true")
    look("differences")
    page.keyboard.press("h")
    expect(page.locator("#recent li").first).to_be_visible()
    look("last answers, over a pair")
    answered = Assignment.objects.get(state="submitted")
    for name, address in (
        ("last answers", f"{HERE}recent/"),
        ("what a judge said", f"{HERE}{answered.pk}/suggestion/"),
        ("changing an answer", f"{HERE}{answered.pk}/"),
    ):
        page.goto(address)
        look(name)
    page.goto(HERE)
    page.locator('form[action$="/break/"]').evaluate("form => form.submit()")
    page.wait_for_url("**/break/")
    look("on a break")
    Project.objects.update(status="paused")
    page.goto(HERE)
    look("paused")
    Project.objects.update(status="running")
    Rater.objects.filter(name="ben").update(paused_at=timezone.now(), paused_reason="Please write to me. " * 9)
    page.goto(HERE)
    look("a paused person")
    Rater.objects.filter(name="ben").update(paused_at=None, paused_reason="")
    finish(project, "ben")
    page.goto(HERE)
    look("all done")
    open_tasks(project, [Opening(make_pair(project).pk)], votes_wanted=1)
    assert next_assignment(project, make_person(project, "cyd"), now=timezone.now()).assignment is not None
    page.goto(HERE)
    look("held by others")
    page.goto("/annotate/nothing-of-yours/")
    look("not found")
    assert found == {}


def finish(project: Project, name: str) -> None:
    """Answer all that is open to somebody."""
    rater = make_person(project, name)
    while (held := next_assignment(project, rater, now=timezone.now()).assignment) is not None:
        submit(held.pk, rater, Answer("a"), now=timezone.now())
