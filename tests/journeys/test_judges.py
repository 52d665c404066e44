"""What a manager does with judges, in a real browser, against a judge server that really answers."""

from collections.abc import Iterator
from decimal import Decimal

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotation.models import Criterion, Pair, Project
from judges.defining import add_judge
from judges.models import JudgeRun, JudgeVersion, ModelServer, ResponseFlag, RunState, Verdict, VerdictState
from judges.running import start_run, work_off
from routing.labels.resolving import resolve_labels
from tests.builders import make_pair, make_person, make_preference, make_project
from tests.journeys.looking import faults
from tests.journeys.steps import sign_in
from tests.judge_server import Call, JudgeServer, Served, listing, prefer_longer, verdict
from tests.judged import judge_pairs, make_judge

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

HERE = "/projects/helpfulness/judges/"
SHORT = "No."


def sometimes_unreadable(call: Call) -> Served:
    """Judge by length, but write prose about the pair that asks for number 3."""
    if "Question 3?" in str(call.body["messages"][-1]):
        return verdict(text="Both are fine, honestly.")
    return prefer_longer(call)


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer(sometimes_unreadable) as server:
        server.routes["GET /v1/models"] = listing("stub-model")
        yield server


@pytest.fixture
def study(transactional_db: None) -> Project:
    """Return a project of twelve pairs with one criterion beside the overall one."""
    project = make_project(guidelines="Prefer the answer that says why.")
    for name in ("overall", "tone"):
        Criterion.objects.create(project=project, name=name, description=f"The {name} of it.")
    for number in range(12):
        make_pair(project, prompt=f"Question {number}?", response_a="Yes, and here is why.", response_b=SHORT)
    return project


def watched(page: Page) -> list[str]:
    """Collect what the browser complains about: a blocked script or style, a failed request."""
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in {"error", "warning"} else None)
    return problems


def test_a_judge_goes_from_its_kind_to_labels(page: Page, study: Project, server: JudgeServer) -> None:
    problems = watched(page)
    sign_in(page, "ada", HERE)
    page.get_by_role("main").get_by_role("link", name="Add a judge").first.click()
    page.get_by_role("link", name="A model behind a server").click()
    page.get_by_role("link", name="vLLM").click()
    expect(page.get_by_label("Server address")).to_have_value("http://127.0.0.1:8000/v1")

    page.get_by_label("Name", exact=True).fill("small")
    page.get_by_label("Server address").fill(server.base_url)
    page.get_by_label("Model").fill("stub-model")
    page.get_by_role("button", name="Show the prompt").click()
    expect(page.get_by_text("Prefer the answer that says why.")).to_be_visible()
    # What was typed is still there: only the preview came back.
    expect(page.get_by_label("Model")).to_have_value("stub-model")
    assert server.calls == []

    page.get_by_role("spinbutton", name="Input optional", exact=True).fill("1")
    page.get_by_role("spinbutton", name="Output optional", exact=True).fill("2")
    page.get_by_role("button", name="Add the judge").click()
    expect(page.get_by_text("small v1 is there.")).to_be_visible()
    page.get_by_role("button", name="Probe the server").click()
    expect(page.get_by_text("The server answered")).to_be_visible()

    page.get_by_role("button", name="Test it on 5 pairs").click()
    expect(page.get_by_text("0 of 10 questions answered")).to_be_visible()
    work_off(JudgeRun.objects.get())
    # The page follows by itself.
    expect(page.get_by_text("It answers the question.").first).to_be_visible()
    expect(page.get_by_text("Both are fine, honestly.").first).to_be_visible()
    expect(page.get_by_text("8 answered, 2 failed")).to_be_visible()

    page.get_by_role("link", name="Run it").click()
    page.get_by_label("Budget").fill("2")
    page.get_by_role("button", name="Label pairs").click()
    expect(page.get_by_text("14 questions queued for a worker.")).to_be_visible()
    expect(page.get_by_text("14 open")).to_be_visible()
    run = JudgeRun.objects.order_by("created_at").last()
    assert run is not None
    work_off(run)
    expect(page.get_by_text("14 answered")).to_be_visible()

    server.behave = prefer_longer
    page.goto(HERE)
    page.get_by_role("link", name="Failed questions 2").click()
    expect(page.get_by_role("button", name="Ask all 2 again")).to_be_visible()
    page.get_by_role("button", name="Ask these again").click()
    expect(page.get_by_text("2 questions asked again.")).to_be_visible()
    work_off(JudgeRun.objects.order_by("created_at")[0])
    assert Verdict.objects.filter(state=VerdictState.DONE).count() == 24
    assert problems == []


def test_a_run_is_steered_with_the_keyboard(page: Page, study: Project) -> None:
    version = add_judge(
        study,
        "small",
        kind="openai",
        base_url="http://127.0.0.1:9/v1",
        model="m",
        price_input_usd_per_million=Decimal(1),
        price_output_usd_per_million=Decimal(2),
    )
    run = start_run(version, limit=2, budget_usd=Decimal(1), send=False)
    sign_in(page, "ada", f"{HERE}{version.pk}/")
    page.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Paused by a manager")).to_be_visible()
    page.get_by_label("New cap, $").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("3")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The cap is changed and the run goes on.")).to_be_visible()
    run.refresh_from_db()
    assert (run.state, run.budget_usd) == (RunState.RUNNING, Decimal(3))


def test_adding_a_judge_needs_no_script(chromium_browser: Browser, live_server: LiveServer, study: Project) -> None:
    context = chromium_browser.new_context(base_url=live_server.url, java_script_enabled=False)
    page = context.new_page()
    sign_in(page, "ada", f"{HERE}new/?kind=openai".split("?")[0])
    page.get_by_role("link", name="A model behind a server").click()
    page.get_by_role("link", name="Ollama").click()
    page.get_by_label("Name", exact=True).fill("small")
    page.get_by_text("Verdict first").click()
    page.get_by_text("More: criteria").click()
    page.get_by_label("tone").check()
    page.get_by_role("button", name="Show the prompt").click()
    expect(page.get_by_text("Prefer the answer that says why.")).to_be_visible()
    page.get_by_role("button", name="Add the judge").click()
    expect(page.get_by_text("small v1 is there.")).to_be_visible()
    version = JudgeVersion.objects.get()
    assert (version.protocol, version.options["criteria"]) == ("letter", ["tone"])
    context.close()


@pytest.fixture
def judged(study: Project) -> Project:
    """Return the study with judges of every kind of page: good, biased, a jury, a paused run, failures and a flag."""
    pairs = list(Pair.objects.in_project(study))
    for pair in pairs:
        for name in ("ben", "cyd"):
            make_preference(pair, make_person(study, name), "a", seconds=10.0)
    good, first = make_judge(study, "good"), make_judge(study, "first")
    judge_pairs(good, pairs, ["a"] * 11 + ["flip"])
    judge_pairs(first, pairs, ["flip"] * 12)
    work_off(start_run(add_judge(study, "length", kind="length"), send=False))
    version = add_judge(study, "small", kind="openai", base_url="http://127.0.0.1:9/v1", model="m")
    run = start_run(version, limit=4, send=False)
    ids = list(run.verdicts.values_list("pk", flat=True)[:3])
    Verdict.objects.filter(pk__in=ids).update(
        state=VerdictState.FAILED, error="The judge's answer is no JSON object.", raw="Both are fine, honestly."
    )
    JudgeRun.objects.filter(pk=run.pk).update(state=RunState.PAUSED, reason="The budget is used up.")
    Verdict.objects.filter(version=good, pair=pairs[0], order="ab").update(
        raw="{}", distribution={"a": 0.7, "tie": 0.1, "b": 0.2}, label_mass=0.9, criteria={"tone": {"choice": "a"}}
    )
    ModelServer.objects.create(base_url="http://127.0.0.1:9/v1", reason="It said too many requests.")
    ResponseFlag.objects.create(response=pairs[0].response_a, kind="override", quote="Ignore it.", detector="1")
    resolve_labels(study)
    return study


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_of_judges_are_accessible_and_fit_a_phone(
    chromium_browser: Browser, live_server: LiveServer, judged: Project, scheme: str
) -> None:
    context = chromium_browser.new_context(
        base_url=live_server.url,
        viewport={"width": 360, "height": 740},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    problems = watched(page)
    sign_in(page, "ada", "/")
    good = JudgeVersion.objects.get(judge__name="good")
    small = JudgeVersion.objects.get(judge__name="small")
    run, pair = JudgeRun.objects.get(version=small), Pair.objects.in_project(judged)[0]
    below = ["", "new/", "failed/", "servers/", *(f"new/?kind={kind}" for kind in ("openai", "jury", "cascade"))]
    below += [f"{good.pk}/{part}" for part in ("", "audit/", "answers/", "prompt/")]
    below += [f"{small.pk}/", f"{small.pk}/prompt/", f"../runs/{run.pk}/test/", f"../pairs/{pair.pk}/"]
    for part in below:
        page.goto(f"{HERE}{part}")
        assert faults(page) == [], part
    assert problems == []
    context.close()


def test_a_wide_table_says_on_a_phone_that_it_goes_on(page: Page, judged: Project) -> None:
    sign_in(page, "ada", HERE)
    sign = page.get_by_text("More columns to the right")
    expect(sign).to_be_hidden()
    page.set_viewport_size({"width": 360, "height": 740})
    expect(sign).to_be_visible()
    table = page.get_by_role("region", name="Judges compared")
    assert table.evaluate("element => element.scrollWidth > element.clientWidth")
    table.evaluate("element => element.scrollTo(500, 0)")
    # The judge's name stays in view while its figures scroll.
    box = table.get_by_role("link", name="good").bounding_box()
    assert box is not None
    assert 0 <= box["x"] < 360
