"""What a manager does, from an empty site to a file for a trainer, in a real browser."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from annotation.importing import run_import
from annotation.models import Import, Pair, Project
from exports.models import Snapshot
from exports.snapshotting import write_snapshot
from judges.models import JudgeRun
from judges.running import work_off
from routing.labels.resolving import resolve_labels
from routing.models import Plan
from routing.plans.applying import apply_plan, work_apply
from routing.plans.planning import Budget, draw_plan
from routing.plans.queueing import draw_queued
from tests.builders import make_pair, make_person, make_preference, make_project, make_user
from tests.journeys.looking import faults
from tests.journeys.steps import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def pairs_file(folder: Path) -> Path:
    """Write twelve pairs and one bad row."""
    rows: list[dict[str, str]] = [
        {
            "id": f"p-{number}",
            "prompt": f"What is {number} + 1?",
            "response_a": f"It is {number + 1}." if number % 2 else f"{number} and 1 make {number + 1}, of course.",
            "response_b": "I would say it depends." if number % 2 else "No idea.",
        }
        for number in range(12)
    ]
    path = folder / "sums.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in [*rows, {"id": "bad", "prompt": "?"}]))
    return path


def test_a_manager_goes_from_a_file_to_a_dataset(page: Page, tmp_path: Path) -> None:
    make_user("ada")
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in {"error", "warning"} else None)
    sign_in(page, "ada", "/")
    page.get_by_role("link", name="Make a project").click()
    page.get_by_label("Title", exact=True).fill("Sums")
    page.get_by_role("button", name="Make the project").click()

    page.get_by_label("File", exact=True).set_input_files(pairs_file(tmp_path))
    page.get_by_label("When a row is bad").select_option("skip")
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("Waiting for a worker")).to_be_visible()
    run_import(Import.objects.get().pk)
    # The page asks again by itself.
    expect(page.get_by_text("12 pairs were added")).to_be_visible()
    expect(page.get_by_role("cell", name="13")).to_be_visible()

    page.get_by_role("link", name="Have a judge label them").click()
    page.get_by_role("main").get_by_role("link", name="Add a judge").first.click()
    page.get_by_role("link", name="The length rule").click()
    page.get_by_label("Name", exact=True).fill("length")
    page.get_by_role("button", name="Add the judge").click()
    page.get_by_role("button", name="Label pairs").click()
    expect(page.get_by_text("12 open")).to_be_visible()
    work_off(JudgeRun.objects.get())
    expect(page.get_by_text("12 answered")).to_be_visible()

    page.get_by_role("link", name="Routing").click()
    page.get_by_label("How much").fill("50")
    page.get_by_role("button", name="Draw the plan").click()
    expect(page.get_by_text("Waiting for a worker")).to_be_visible()
    draw_queued(Plan.objects.get().pk)
    expect(page.get_by_text("A draft: nothing is open to people yet.")).to_be_visible()
    page.get_by_role("button", name="Open 6 pairs to people").click()
    expect(page.get_by_text("Being applied").first).to_be_visible()
    work_apply(Plan.objects.get().pk)
    resolve_labels(Plan.objects.get().project)
    assert Plan.objects.get().state == "applied"

    page.get_by_role("link", name="Overview").click()
    page.get_by_role("link", name="People 5").click()
    expect(page.locator("tbody tr")).to_have_count(5)

    page.get_by_role("link", name="Export").click()
    page.get_by_role("button", name="Write the export").click()
    expect(page.get_by_text("This page follows by itself")).to_be_visible()
    write_snapshot(Snapshot.objects.get().pk)
    with page.expect_download() as download:
        page.get_by_role("link", name="dpo/train.jsonl").click()
    rows = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert {row["label_source"] for row in rows} == {"ai"}
    assert problems == []


@pytest.fixture
def study(transactional_db: None) -> Project:
    """Return a project with judged, answered and routed pairs."""
    from judges.defining import add_judge
    from judges.running import start_run

    project = make_project()
    for number in range(20):
        make_pair(project, prompt=f"Question {number}?", response_a="Yes, and here is why.", response_b="No.")
    work_off(start_run(add_judge(project, "length", kind="length"), send=False))
    apply_plan(draw_plan(project, budget=Budget.parse("25%"), judge="length"))
    for pair in Pair.objects.in_project(project)[:12]:
        for name in ("ben", "cyd"):
            make_preference(pair, make_person(project, name), "a", seconds=12.0)
    resolve_labels(project)
    return project


PAGES = ("", "imports/", "judges/", "routing/", "pairs/", "people/", "exports/", "money/")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_accessible_and_fit_a_phone(
    chromium_browser: Browser, live_server: LiveServer, study: Project, scheme: str
) -> None:
    context = chromium_browser.new_context(
        base_url=live_server.url,
        viewport={"width": 360, "height": 740},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in {"error", "warning"} else None)
    sign_in(page, "ada", "/")
    plan, pair = Plan.objects.get(), Pair.objects.in_project(study)[0]
    below = [*PAGES, f"routing/{plan.pk}/", f"routing/{plan.pk}/why/", f"pairs/{pair.pk}/"]
    for address in ["/", "/new-project/", *(f"/projects/helpfulness/{part}" for part in below)]:
        page.goto(address)
        assert faults(page) == [], address
    assert problems == []
    context.close()
