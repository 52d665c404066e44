"""What journeys begin with: a study with open pairs, and a person who signs in."""

from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect

from annotation.assigning import Opening, open_tasks
from annotation.models import Project, Tier
from tests.builders import make_pair, make_project


def make_study(pairs: int, **overrides: Any) -> Project:
    """Return a project whose pairs each want one answer of the crowd."""
    project = make_project(**overrides)
    openings = [Opening(make_pair(project).pk, float(pairs - number)) for number in range(pairs)]
    open_tasks(project, openings, votes_wanted=1, tier=Tier.CROWD)
    return project


def sign_in(page: Page, username: str, then: str) -> None:
    """Sign in with the keyboard alone and land on `then`."""
    page.goto(f"/sign-in/?next={then}")
    # The browser focuses the first field when it paints, which may be after the page has loaded.
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type(username)
    page.keyboard.press("Tab")
    page.keyboard.type(f"{username}-password")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: urlsplit(url).path == then)
