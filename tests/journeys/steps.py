"""What journeys begin with: studies with open pairs or slates, and a person who signs in and sends."""

import re
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Page, Request, expect

from annotation.assigning import Opening, open_tasks
from annotation.configuring import configure
from annotation.models import Criterion, Pair, Project, Tier
from tests.builders import make_pair, make_project, make_prompt, make_response

HERE = "/annotate/helpfulness/"
SUBMIT = re.compile(r"/submit/$")
DRAFT = re.compile(r"/draft/$")


def make_study(pairs: int, **overrides: Any) -> Project:
    """Return a project whose pairs each want one answer of the crowd; nothing comes twice."""
    project = make_project(**{"questionnaire": {"repeat_percent": 0}, **overrides})
    openings = [Opening(make_pair(project).pk, float(pairs - number)) for number in range(pairs)]
    open_tasks(project, openings, votes_wanted=1, tier=Tier.CROWD)
    return project


def make_asking(template: str, *, responses: int = 2, tasks: int = 2, **settings: Any) -> Project:
    """Return a project of a template with two criteria beside the whole, and open tasks of so many responses each."""
    project = make_project()
    for position, name in enumerate(("overall", "Accuracy", "Clarity")):
        Criterion.objects.create(project=project, name=name, position=position)
    configure(project, template=template, settings={"repeat_percent": 0, **settings})
    openings = []
    for number in range(tasks):
        prompt = make_prompt(project, f"Question {number} of {template}?")
        texts = [make_response(prompt, f"Response number {one}", f"model-{one}") for one in range(responses)]
        pairs = [
            Pair.objects.create(
                project=project, prompt=prompt, response_a=first, response_b=second, external_id=f"{number}-{at}-{to}"
            )
            for at, first in enumerate(texts)
            for to, second in enumerate(texts[at + 1 :])
        ]
        openings.append(Opening(pairs[0].pk, float(tasks - number)))
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


def begin(page: Page, username: str = "ben", then: str = HERE) -> None:
    """Sign in, and wait until the screen's scripts are at work."""
    sign_in(page, username, then)
    expect(page.locator("html")).to_have_attribute("data-ready", "")


def press(page: Page, keys: str) -> None:
    """Press keys one after another, given with spaces between."""
    for key in keys.split():
        page.keyboard.press(key)


def shown(page: Page) -> str:
    """Return the id of the pair on the screen."""
    return page.locator("#task > [data-task]").get_attribute("data-task") or ""


def all_sent(page: Page) -> None:
    """Wait until the server has everything that was submitted."""
    expect(page.locator("#task-status")).to_have_attribute("data-unsent", "0")


def count_submits(context: BrowserContext) -> list[Request]:
    """Return a list that grows by every request which carries an answer."""
    found: list[Request] = []
    context.on("request", lambda request: found.append(request) if SUBMIT.search(request.url) else None)
    return found
