"""The pages of exports in a real browser: on a phone and a desk, light and dark, and what axe says of them."""

import os
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, expect
from pytest_django.live_server_helper import LiveServer

from annotation.models import Criterion, Project, Rater
from exports.erasing import erase_person
from exports.models import Snapshot
from exports.snapshotting import take_snapshot, write_snapshot
from tests.builders import make_pair, make_person, make_preference, make_project
from tests.journeys.looking import faults
from tests.journeys.steps import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
# Names a folder for pictures of the pages, for a person to look at.
PICTURES = os.environ.get("TIEBREAK_PICTURES", "")


@pytest.fixture
def exported(transactional_db: None, tmp_path: Path) -> Project:
    """Return a project with two exports that differ, and somebody who was erased since."""
    project = make_project()
    Criterion.objects.create(project=project, name="clarity")
    for number in range(6):
        pair = make_pair(project, prompt=f"Question {number}?", response_a="Yes, and why.", response_b="No.")
        make_preference(pair, make_person(project, "ben"), "a" if number else "tie", strength=2 if number else None)
    make_preference(pair, "dora", "a", rationale="Ask dora.lopez@uni-koeln.de.")
    take_snapshot(project, out=tmp_path / "one", profiles=["dpo"])
    take_snapshot(project, out=tmp_path / "two", profiles=["dpo", "kto", "annotations"], seed=4, test_share=0.5)
    erase_person(make_person(project, "ben"), reason="Asked for it.", by=None, now=timezone.now())
    return project


def test_pages_of_exports_fit_and_are_accessible(
    chromium_browser: Browser, live_server: LiveServer, exported: Project
) -> None:
    newest = Snapshot.objects.get(number=2)
    erased, other = Rater.objects.get(name__startswith="erased-"), Rater.objects.get(name="dora")
    below = {
        "list": "",
        "export": f"{newest.pk}/",
        "changes": "compare/?before=1&after=2",
        "look-first": f"{newest.pk}/dpo/train.jsonl",
        "erase": f"../people/{other.pk}/erase/",
        "erased": f"../people/{erased.pk}/",
    }
    for width, scheme in ((1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")):
        context = chromium_browser.new_context(
            base_url=live_server.url,
            viewport={"width": width, "height": 800},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        page = context.new_page()
        sign_in(page, "ada", "/")
        for name, path in below.items():
            page.goto(f"/projects/helpfulness/exports/{path}")
            for details in page.locator("main details").all():
                details.locator("summary").click()
            assert faults(page) == [], name
            if PICTURES:
                page.screenshot(path=f"{PICTURES}/{name}-{width}-{scheme}.png", full_page=True)
        context.close()


def test_a_manager_asks_for_two_profiles_by_keyboard_and_makes_a_link(
    chromium_browser: Browser, live_server: LiveServer, exported: Project
) -> None:
    context = chromium_browser.new_context(base_url=live_server.url, viewport={"width": 1280, "height": 800})
    page = context.new_page()
    sign_in(page, "ada", "/projects/helpfulness/exports/")
    page.get_by_label("kto: TRL's KTO trainer").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Write the export").press("Enter")
    expect(page.get_by_text("This page follows by itself")).to_be_visible()
    snapshot = write_snapshot(Snapshot.objects.get(number=3).pk)
    assert snapshot.profiles == ["dpo", "kto"]
    expect(page.get_by_role("heading", name="kto")).to_be_visible()
    page.get_by_label("File").select_option("kto/train.jsonl")
    page.get_by_role("button", name="Make a link").press("Enter")
    expect(page.get_by_text("Whoever has it fetches the file until")).to_be_visible()
    context.close()
