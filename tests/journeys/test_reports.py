"""The page Reports: every section comes as it is scrolled to, in both colours and widths, and axe finds nothing."""

import pytest
from playwright.sync_api import Browser, expect
from pytest_django.live_server_helper import LiveServer

from annotation.models import Criterion, Project, Rating
from dashboard import telling
from routing.labels.resolving import resolve_labels
from tests.builders import make_pair, make_person, make_preference, make_project, make_prompt
from tests.journeys.looking import faults_in_both
from tests.journeys.steps import sign_in
from tests.judged import judge_pairs, make_judge

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def busy(transactional_db: None) -> Project:
    """Return a project whose people chose, rated and explained, with two judges and three generators."""
    project = make_project()
    criterion = Criterion.objects.create(project=project, name="overall")
    people = [make_person(project, name) for name in ("ben", "cyd", "dee", "fay", "gus")]
    models = ("a-model-with-a-rather-long-name-7b", "middling-model", "small")
    pairs = []
    for number in range(12):
        prompt = make_prompt(project, f"What does question {number} ask?", category="open" if number % 2 else "closed")
        pairs += [
            make_pair(
                project,
                prompt=prompt,
                response_a=f"An answer of {models[first]} to question {number}.",
                response_b=f"Another answer, which {models[second]} wrote to question {number} at length.",
                model_a=models[first],
                model_b=models[second],
            )
            for first, second in ((0, 1), (1, 2), (0, 2))
        ]
    for place, pair in enumerate(pairs):
        for number, person in enumerate(people):
            choice = "ab"[(place * 7 + number * (place % 3)) % 5 > 2]
            why = "“which small wrote to question” says it." if number == 1 else ""
            make_preference(pair, person, choice, rationale=why)
            for response, value in ((pair.response_a, 1 + (place + number) % 5), (pair.response_b, 3)):
                Rating.objects.create(rater=person, response=response, criterion=criterion, pair=pair, value=value)
    for name in ("gpt", "other"):
        judge_pairs(make_judge(project, name), pairs, ["a", "b", "flip", "tie"] * (len(pairs) // 4))
    resolve_labels(project)
    return project


@pytest.mark.parametrize("width", [1280, 360])
def test_reports_come_into_view_fit_and_have_no_fault(
    width: int, busy: Project, chromium_browser: Browser, live_server: LiveServer
) -> None:
    context = chromium_browser.new_context(
        base_url=live_server.url, viewport={"width": width, "height": 800}, reduced_motion="reduce"
    )
    page = context.new_page()
    sign_in(page, "ada", "/projects/helpfulness/reports/")
    expect(page.locator("h1")).to_have_text("Reports")
    for section in telling.SECTIONS:
        part = page.locator(f"#{section.name}")
        part.scroll_into_view_if_needed()
        expect(part.get_by_text("As JSON")).to_be_visible(timeout=60_000)
    numbers = page.locator("#noise summary", has_text="Every figure")
    numbers.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#noise").get_by_role("region", name="Numbers of the report on noise")).to_be_visible()
    assert faults_in_both(page) == {}
    context.close()
