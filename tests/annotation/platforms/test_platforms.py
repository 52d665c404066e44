"""Other platforms: their parameters and return addresses, and MTurk's frame, whose preview leases nothing."""

import xml.etree.ElementTree as ElementTree
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from annotation.crowd.errors import CrowdError
from annotation.crowd.generic import GenericSettings, read_generic, return_url
from annotation.crowd.mturk import external_question
from annotation.crowd.studies import arrival_url, set_up_study
from annotation.models import Assignment, CrowdStudy, Guest, Project, Rater, Submission, Task
from tests.arrivals import arrive

HERE = "/annotate/helpfulness/"
CONNECT = {
    "id_parameter": "participantId",
    "visit_parameter": "assignmentId",
    "captured_parameters": ["projectId"],
    "return_url": "https://connect.cloudresearch.com/finish/{projectId}?code={code}&who={id}",
}
MTURK = {"assignmentId": "A1", "hitId": "H1", "workerId": "W1", "turkSubmitTo": "https://www.mturk.com"}


@pytest.fixture
def connect(project: Project) -> CrowdStudy:
    return set_up_study(project, platform="generic", name="Connect", generic=CONNECT)


@pytest.fixture
def turk(project: Project) -> CrowdStudy:
    return set_up_study(project, platform="mturk", name="Turk", answers_wanted=3)


def rows() -> tuple[int, ...]:
    counted = tuple(model.objects.count() for model in (Guest, Submission, Rater, Assignment))
    return (*counted, Task.objects.filter(taken__gt=0).count())


# --- Any platform ---------------------------------------------------------------------------------------------------


def test_a_person_arrives_by_the_platforms_own_names_and_leaves_by_its_address(
    client: Client, connect: CrowdStudy
) -> None:
    assert arrival_url(connect, "https://t.example.org").endswith("/?participantId=…&assignmentId=…&projectId=…")
    response = arrive(client, connect, participantId="p 1", assignmentId="a1", projectId="x")
    assert response.status_code == 403  # an id has no spaces
    arrive(client, connect, participantId="p&1", assignmentId="a1", projectId="x/../y?z", other="left out")
    submission = Submission.objects.get()
    assert (submission.guest.external_id, submission.external_id) == ("p&1", "a1")
    assert submission.captured == {"projectId": "x/../y?z"}
    assert submission.checked_by == "none"
    Task.objects.all().delete()
    CrowdStudy.objects.update(answers_wanted=1)
    client.post(f"{HERE}end/")
    page = client.get(f"{HERE}end/").text
    assert "There is no code for this" in page  # such a platform has one code, for who answered
    submission.refresh_from_db()
    assert submission.state == "awaiting_review"


def test_values_cannot_leave_their_place_in_the_return_address() -> None:
    asked = read_generic(CONNECT)
    url = return_url(asked, code="ABC", participant_id="p&x=1#y", captured={"projectId": "../..//evil?a=b"})
    assert url == "https://connect.cloudresearch.com/finish/..%2F..%2F%2Fevil%3Fa%3Db?code=ABC&who=p%26x%3D1%23y"
    assert return_url(GenericSettings(), code="ABC", participant_id="p", captured={}) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://connect.cloudresearch.com/{code}",
        "https://evil.example.org/{code}",
        "https://connect.cloudresearch.com.evil.org/{code}",
        "https://connect.cloudresearch.com@evil.org/{code}",
        "https://user@connect.cloudresearch.com/{code}",
        "https://{id}.sona-systems.com/{code}",
        "https://{code}/x",
        "https://evilsona-systems.com/{code}",
        "https://connect.cloudresearch.com:8443/{code}",
        "https://connect.cloudresearch.com\\@evil.org/{code}",
        "//connect.cloudresearch.com/{code}",
        "javascript:alert({code})",
        "https://connect.cloudresearch.com/{code.__class__}",
        "https://connect.cloudresearch.com/{code!r}",
        "https://connect.cloudresearch.com/{code:>9}",
        "https://connect.cloudresearch.com/{unknown}",
        "https://connect.cloudresearch.com/{",
        "https://connect.cloudresearch.com/{0}",
        "https://[",
    ],
)
def test_a_return_address_leads_to_a_host_that_the_operator_allows(url: str) -> None:
    with pytest.raises(CrowdError):
        read_generic({**CONNECT, "return_url": url})


def test_hosts_below_an_allowed_one_are_allowed(settings: Settings) -> None:
    school = "https://school.sona-systems.com/webstudy_credit.aspx?survey_code={id}"
    assert read_generic({"id_parameter": "survey_code", "return_url": school}).return_url == school
    settings.CROWD_RETURN_HOSTS = []
    with pytest.raises(CrowdError, match="TIEBREAK_CROWD_RETURN_HOSTS"):
        read_generic({"id_parameter": "survey_code", "return_url": school})


@pytest.mark.parametrize(
    "changed",
    [
        {"id_parameter": ""},
        {"id_parameter": "two words"},
        {"captured_parameters": ["participantId"]},
        {"captured_parameters": ["code"]},
        {"captured_parameters": [f"p{number}" for number in range(11)], "return_url": ""},
        {"colour": "red"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(CrowdError):
        read_generic({**CONNECT, **changed})


def test_a_visit_is_keyed_on_the_person_where_the_platform_names_no_visit(project: Project) -> None:
    study = set_up_study(project, platform="generic", name="Sona", generic={"id_parameter": "survey_code"})
    for _round in range(2):
        assert arrive(Client(), study, survey_code="123").status_code == 302
    assert Submission.objects.get().external_id == "123"


# --- Mechanical Turk ------------------------------------------------------------------------------------------------


def test_a_preview_leases_nothing_and_makes_nothing(client: Client, turk: CrowdStudy) -> None:
    before = rows()
    for shown in (
        {**MTURK, "assignmentId": "ASSIGNMENT_ID_NOT_AVAILABLE"},
        {"assignmentId": "ASSIGNMENT_ID_NOT_AVAILABLE"},
        {},
    ):
        page = client.get(f"/study/{turk.pk}/mturk/", shown)
        assert page.status_code == 200
        assert "This is a preview" in page.text
        assert "<form" not in page.text
        assert 'href="/study/' not in page.text
        assert "sessionid" not in page.cookies
    assert rows() == before
    assert client.get(HERE)["Location"].startswith("/sign-in/")


def test_an_accepted_task_opens_the_study_and_hands_the_code_in_at_mturk(client: Client, turk: CrowdStudy) -> None:
    before = rows()
    page = client.get(f"/study/{turk.pk}/mturk/", MTURK)
    assert rows() == before  # also the accepted frame only shows
    assert 'action="https://www.mturk.com/mturk/externalSubmit"' in page.text
    assert 'name="assignmentId" value="A1"' in page.text
    link = page.text.split('href="/study/', 1)[1].split('"', 1)[0]
    assert client.get(f"/study/{link}")["Location"] == HERE
    submission = Submission.objects.get()
    assert (submission.guest.external_id, submission.external_id) == ("W1", "A1")
    assert client.get(HERE).status_code == 200
    assert Assignment.objects.filter(state="leased").count() == 3


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.org",
        "http://www.mturk.com",
        "https://www.mturk.com.evil.org",
        "https://www.mturk.com/",
        "https://www.mturk.com@evil.org",
        "javascript:alert(1)",
        "",
    ],
)
def test_a_code_is_handed_in_at_mturk_only(client: Client, turk: CrowdStudy, origin: str) -> None:
    page = client.get(f"/study/{turk.pk}/mturk/", {**MTURK, "turkSubmitTo": origin})
    assert page.status_code == 403
    assert "<form" not in page.text


def test_only_the_frames_page_may_be_framed_and_only_by_mturk(client: Client, turk: CrowdStudy) -> None:
    framed = client.get(f"/study/{turk.pk}/mturk/", MTURK)
    ours = "https://www.mturk.com https://workersandbox.mturk.com"
    policy = framed["Content-Security-Policy"]
    assert f"frame-ancestors {ours}" in policy
    assert f"form-action {ours}" in policy
    assert "script-src 'self'" in policy
    assert "X-Frame-Options" not in framed
    for path in (f"/study/{turk.pk}/", "/sign-in/", HERE):
        page = client.get(path)
        assert page["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in page["Content-Security-Policy"]


def test_nobody_arrives_by_mturks_bare_parameters_or_another_studys_link(
    client: Client, project: Project, turk: CrowdStudy
) -> None:
    other = set_up_study(project, platform="mturk", name="Other")
    before = rows()
    assert arrive(client, turk, **MTURK).status_code == 403
    assert arrive(client, turk, worker="W1", assignment="A1").status_code == 403
    page = client.get(f"/study/{other.pk}/mturk/", MTURK).text
    token = page.split("?arrival=", 1)[1].split('"', 1)[0]
    assert arrive(client, turk, arrival=token).status_code == 403
    assert arrive(client, turk, arrival=token[:-1] + "x").status_code == 403
    with time_machine.travel(timezone.now() + timedelta(days=2), tick=False):
        assert "expired" in arrive(client, other, arrival=token).text
    assert rows() == before


def test_the_frame_of_another_platforms_study_is_not_there(client: Client, connect: CrowdStudy) -> None:
    assert client.get(f"/study/{connect.pk}/mturk/", MTURK).status_code == 404


def test_the_question_of_a_hit_is_well_formed() -> None:
    tree = ElementTree.fromstring(external_question("https://t.example.org/study/1/mturk/?a=1&b=<2>"))
    namespace = tree.tag.split("}")[0] + "}"
    assert tree.tag.endswith("}ExternalQuestion")
    assert tree.findtext(f"{namespace}ExternalURL") == "https://t.example.org/study/1/mturk/?a=1&b=<2>"
    assert tree.findtext(f"{namespace}FrameHeight") == "0"
