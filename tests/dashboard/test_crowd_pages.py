"""The manager's crowd pages: a study from its form to the last word on what was handed in."""

import re
from collections.abc import Iterator

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from annotation.crowd.studies import arrival_url, set_up_study
from annotation.models import CrowdStudy, Guest, Project, RaterKind, Submission
from tests.arrivals import TERMS
from tests.builders import make_project
from tests.prolific_server import TOKEN, WORKSPACE, ProlificServer

HERE = "/projects/helpfulness/crowd/"
WHY = (
    "You answered every pair within a second, with the same side each time, which nobody who reads them can do. Sorry."
)
FORM = {
    "name": "First wave",
    "answers_wanted": "10",
    "minutes": "12",
    "currency": "USD",
    "reward": "1.80",
    "places": "30",
    "arrival_check": "signed",
}


@pytest.fixture
def prolific(settings: Settings) -> Iterator[ProlificServer]:
    with ProlificServer() as server:
        settings.PROLIFIC_URL = f"{server.origin}/api/v1/"
        settings.PROLIFIC_TOKEN = TOKEN
        settings.PROLIFIC_WORKSPACE = WORKSPACE
        yield server


@pytest.fixture
def study(project: Project, prolific: ProlificServer) -> CrowdStudy:
    study = set_up_study(project, platform="prolific", name="First wave", arrival_check="signed", terms=TERMS)
    return study


def here(study: CrowdStudy) -> str:
    return f"{HERE}{study.pk}/"


def arrived(study: CrowdStudy, prolific: ProlificServer, name: str, state: str = "AWAITING REVIEW") -> Submission:
    rater = study.project.raters.create(kind=RaterKind.PERSON, name=f"guest-{name}")
    guest = Guest.objects.create(project=study.project, platform="prolific", external_id=f"p{name}", rater=rater)
    prolific.add_submission(f"s{name}", f"p{name}", state, study.external_id)
    long_ago = timezone.now().replace(year=2025)
    return Submission.objects.create(
        study=study,
        guest=guest,
        external_id=f"s{name}",
        state=state.lower().replace(" ", "_"),
        checked_by="signed",
        arrived_at=long_ago,
        state_at=long_ago,
    )


def test_a_study_goes_from_the_form_to_a_draft_on_prolific(
    ada: Client, project: Project, prolific: ProlificServer
) -> None:
    assert "No study yet" in ada.get(HERE).text
    response = ada.post(f"{HERE}new/prolific/", FORM)
    study = CrowdStudy.objects.get()
    assert response["Location"] == here(study)
    page = ada.get(here(study), secure=True)
    assert "nobody is let in" in page.text
    assert f"https://testserver/study/{study.pk}/?PROLIFIC_PID={{{{%PROLIFIC_PID%}}}}" in page.text
    for code in study.codes.all():
        assert code.code in page.text
    page = ada.post(here(study), {"act": "create"}, secure=True, follow=True)
    study.refresh_from_db()
    assert f"The draft is on Prolific as {study.external_id}." in page.text
    assert prolific.studies[study.external_id]["reward"] == 180
    assert prolific.studies[study.external_id]["external_study_url"] == arrival_url(study, "https://testserver")
    page = ada.post(here(study), {"act": "compare"}, secure=True, follow=True)
    assert "Prolific has the same address, check, codes and currency." in page.text
    prolific.studies[study.external_id]["is_external_study_url_secure"] = False
    assert "It does not sign arrivals" in ada.post(here(study), {"act": "compare"}, secure=True, follow=True).text
    assert "First wave" in ada.get(HERE).text


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"reward": "0"}, "greater than or equal to 0.01"),
        ({"name": ""}, "This field is required."),
        ({"screen_out_reward": "0.05"}, "A screen-out pays at least 0.14"),
        ({"arrival_check": "none"}, "Select a valid choice."),
        ({"external_id": "../x"}, "up to 64 letters"),
    ],
)
def test_a_study_that_cannot_be_says_why_and_makes_nothing(
    ada: Client, project: Project, prolific: ProlificServer, changed: dict[str, str], sentence: str
) -> None:
    response = ada.post(f"{HERE}new/prolific/", {**FORM, **changed})
    assert response.status_code == 422
    assert sentence in response.text
    assert not CrowdStudy.objects.exists()


def test_other_platforms_have_their_own_forms(ada: Client, project: Project) -> None:
    values = {
        "name": "Connect",
        "answers_wanted": "5",
        "id_parameter": "participantId",
        "visit_parameter": "assignmentId",
    }
    bad = {**values, "return_url": "https://evil.example.org/{code}"}
    assert "TIEBREAK_CROWD_RETURN_HOSTS" in ada.post(f"{HERE}new/generic/", bad).text
    ada.post(f"{HERE}new/generic/", {**values, "captured_parameters": "projectId, , x"})
    assert CrowdStudy.objects.get().settings["captured_parameters"] == ["projectId", "x"]
    ada.post(f"{HERE}new/mturk/", {"name": "Turk", "answers_wanted": "5"})
    page = ada.get(here(CrowdStudy.objects.get(name="Turk")))
    assert "&lt;ExternalURL&gt;" in page.text
    assert ada.get(f"{HERE}new/elsewhere/").status_code == 404


def test_a_missing_token_and_a_silent_platform_are_said(
    ada: Client, study: CrowdStudy, prolific: ProlificServer, settings: Settings
) -> None:
    ada.post(here(study), {"act": "link", "external_id": "study1"})
    settings.PROLIFIC_TOKEN = ""
    assert "TIEBREAK_PROLIFIC_TOKEN" in ada.post(here(study), {"act": "refresh"}, follow=True).text
    settings.PROLIFIC_TOKEN = TOKEN
    assert "Prolific has nothing by that id." in ada.post(here(study), {"act": "refresh"}, follow=True).text
    settings.PROLIFIC_URL = "http://127.0.0.1:9/"
    assert "Prolific cannot be reached" in ada.post(here(study), {"act": "compare"}, follow=True).text
    for act in ({}, {"act": "delete"}):
        assert ada.post(here(study), act).status_code == 404
    assert "A study is open or closed" in ada.post(here(study), {"act": "state", "state": "x"}, follow=True).text
    assert "Nobody new can arrive." in ada.post(here(study), {"act": "state", "state": "closed"}, follow=True).text


def test_submissions_are_listed_chosen_and_given_a_word(
    ada: Client, study: CrowdStudy, prolific: ProlificServer
) -> None:
    ada.post(here(study), {"act": "link", "external_id": "study1"})
    study.refresh_from_db()
    prolific.add_study("study1")
    good, bad, gone = (arrived(study, prolific, name) for name in ("1", "2", "3"))
    page = ada.get(here(study))
    assert "awaiting review 3" in page.text
    assert "<code>p2</code>" in page.text
    assert "Approved: 1." in ada.post(here(study), {"act": "approve", "submission": [good.pk]}, follow=True).text
    short = ada.post(here(study), {"act": "reject", "submission": [bad.pk], "category": "", "message": "No."})
    assert short.status_code == 422
    assert re.search(rf'value="{bad.pk}"[^>]* checked', short.text)  # what was chosen stays chosen
    values = {"act": "reject", "submission": [bad.pk], "category": "LOW_EFFORT", "message": "No."}
    assert "needs at least 100" in ada.post(here(study), values, follow=True).text
    assert "Rejected: 1." in ada.post(here(study), {**values, "message": WHY}, follow=True).text
    assert "Choose at least one" in ada.post(here(study), {"act": "approve"}, follow=True).text
    assert (
        "no reward for a screen-out"
        in ada.post(here(study), {"act": "screen_out", "submission": [gone.pk]}, follow=True).text
    )
    assert [row["status"] for row in prolific.submissions.values()] == ["APPROVED", "REJECTED", "AWAITING REVIEW"]
    assert "guest-3" in ada.get(here(study) + "?state=awaiting_review").text
    assert "guest-1" not in ada.get(here(study) + "?state=awaiting_review").text
    prolific.submissions["s3"]["status"] = "RETURNED"
    assert "1 changed; 0 on Prolific never arrived here." in ada.post(here(study), {"act": "refresh"}, follow=True).text


def test_a_submission_of_another_study_is_not_touched(ada: Client, study: CrowdStudy, prolific: ProlificServer) -> None:
    other = make_project("other", with_people=False)
    theirs = set_up_study(other, platform="prolific", name="Theirs", arrival_check="signed", terms=TERMS)
    submission = arrived(theirs, prolific, "9")
    page = ada.post(here(study), {"act": "approve", "submission": [submission.pk]}, follow=True)
    assert "not there any more" in page.text
    assert "are not there" in ada.post(here(study), {"act": "approve", "submission": ["x"]}, follow=True).text
    submission.refresh_from_db()
    assert submission.state == "awaiting_review"
    assert ada.get(f"/projects/other/crowd/{theirs.pk}/").status_code == 404
    assert ada.get(f"{HERE}{theirs.pk}/").status_code == 404
