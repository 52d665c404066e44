"""People who come from outside, and the manager who lets them in: looked at with axe, and walked through once."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, expect
from pytest_django.live_server_helper import LiveServer

from annotation.crowd.arriving import arrive
from annotation.crowd.studies import ProlificTerms, set_up_study
from annotation.joining.invitations import invite
from annotation.models import Submission
from tests.journeys.looking import faults_in_both
from tests.journeys.steps import all_sent, make_study, press, sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(params=[1280, 360])
def visitor(request: Any, chromium_browser: Browser, live_server: LiveServer) -> Iterator[Any]:
    """Return a page and a look at it in both colours that keeps what it found."""
    context = chromium_browser.new_context(
        base_url=live_server.url, viewport={"width": request.param, "height": 900}, reduced_motion="reduce"
    )
    page = context.new_page()
    found: dict[str, list[str]] = {}

    def look(name: str) -> None:
        for scheme, some in faults_in_both(page).items():
            found[f"{name}, {scheme}"] = some

    yield page, look
    context.close()
    assert found == {}


def test_a_guest_arrives_answers_by_keyboard_and_leaves_with_a_code(visitor: Any) -> None:
    page, look = visitor
    project = make_study(4)
    study = set_up_study(
        project, platform="generic", name="Panel", answers_wanted=2, generic={"id_parameter": "participant"}
    )
    page.goto(f"/study/{study.pk}/")
    look("turned away")
    page.goto(f"/study/{study.pk}/?participant=p1")
    expect(page.locator("html")).to_have_attribute("data-ready", "")
    look("a guest's screen")
    for _number in range(2):
        press(page, "1 Enter")
        all_sent(page)
    expect(page.get_by_role("heading", name="You have answered all that this study asks")).to_be_visible()
    look("finished")
    page.get_by_role("button", name="Finish and get your code").click()
    expect(page.get_by_label("Your code")).to_have_value(study.codes.get().code)
    look("the end")
    assert Submission.objects.get().ended_as == "completed"
    turk = set_up_study(project, platform="mturk", name="Turk")
    for query in ("", "?assignmentId=A&workerId=W&turkSubmitTo=https://www.mturk.com"):
        page.goto(f"/study/{turk.pk}/mturk/{query}")
        look(f"the frame {query}")


def test_a_manager_invites_and_somebody_joins(visitor: Any) -> None:
    page, look = visitor
    project = make_study(1)
    token = invite(project, role="annotator", by=None, now=timezone.now()).token
    page.goto(f"/join/{token}/")
    look("an invitation")
    page.goto("/join/nothing/")
    look("no invitation")
    sign_in(page, "ada", "/projects/helpfulness/people/joining/")
    look("inviting")
    page.get_by_role("button", name="Make a link").first.click()
    expect(page.get_by_label("Link to hand over")).to_be_visible()
    look("a link to hand over")
    page.goto("/account/second-step/")
    look("the second step")
    terms = ProlificTerms(minutes=10, reward=Decimal("1.50"), places=10)
    study = set_up_study(project, platform="prolific", name="First wave", arrival_check="api", terms=terms)
    panel = set_up_study(project, platform="generic", name="Panel", generic={"id_parameter": "participant"})
    arrive(panel, {"participant": "p1"}, host="localhost", address="", now=timezone.now())
    for name, address in (
        ("crowd", ""),
        ("a new study", "new/prolific/"),
        ("another platform", "new/generic/"),
        ("a study", f"{study.pk}/"),
        ("who arrived", f"{panel.pk}/"),
    ):
        page.goto(f"/projects/helpfulness/crowd/{address}")
        look(name)
