"""A guest's visit: so many answers, then the end page with its code; nothing else of the site is open to them."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotation.assigning import release
from annotation.crowd.ending import end_as
from annotation.guiding import revise_guidelines
from annotation.models import Assignment, CompletionCode, CrowdStudy, Membership, Preference, Project, Submission, Task
from annotation.pausing import pause_person
from annotation.training import set_training
from tests.arrivals import arrive
from tests.learners import GUIDELINES, TRAINING
from tests.prolific_server import ProlificServer

HERE = "/annotate/helpfulness/"
END = f"{HERE}end/"


@pytest.fixture
def guest(client: Client, study: CrowdStudy, prolific: ProlificServer) -> Client:
    """Return the browser of somebody who has arrived."""
    arrive(client, study, prolific.signer.token())
    return client


def held(client: Client) -> list[str]:
    """Return the pairs on this person's page: the one shown and those ahead."""
    return re.findall(r'data-task(?:-ahead)?="([0-9a-f-]{36})"', client.get(HERE).text)


def answer(client: Client, headers: dict[str, str] | None = None) -> Any:
    """Answer the pair that somebody works on."""
    first = Assignment.objects.filter(state="leased").order_by("leased_at", "place")[0]
    return client.post(f"{HERE}{first.pk}/submit/", {"answer": "tie"}, headers=headers)


def test_a_visit_ends_after_its_answers_with_the_code_and_one_way_back(guest: Client, study: CrowdStudy) -> None:
    for number in range(3):
        # No more is held than the visit still asks for.
        assert 0 < len(set(held(guest))) <= 3 - number
        assert answer(guest).status_code == 302
    page = guest.get(HERE)
    assert "You have answered all that this study asks" in page.text
    assert "Your projects" not in page.text
    assert "$" not in page.text  # what is paid is Prolific's to say
    assert guest.get(END)["Location"] == HERE  # to look ends nothing
    assert Submission.objects.get().ended_as == ""
    assert guest.post(END)["Location"] == END
    code = study.codes.get(kind="completed").code
    page = guest.get(END)
    assert f'value="{code}"' in page.text
    assert f'href="https://app.prolific.com/submissions/complete?cc={code}"' in page.text
    assert page.text.count("<a ") == 2  # the way back, and the link to the content
    assert "You gave 3 answers" in page.text
    assert Preference.objects.count() == 3
    assert Submission.objects.get().ended_as == "completed"
    for other in study.codes.exclude(kind="completed"):
        assert other.code not in page.text


def test_the_last_answer_of_a_visit_brings_the_end_to_a_script_too(guest: Client) -> None:
    guest.get(HERE)
    for _number in range(2):
        answer(guest, {"HX-Request": "true"})
    reply = answer(guest, {"HX-Request": "true"})
    assert reply.status_code == 200
    assert 'data-waiting-for="finished"' in reply.text
    assert f'action="{END}"' in reply.text
    assert not Assignment.objects.filter(state="leased").exists()


def test_an_end_comes_once_and_not_before_its_time(guest: Client, study: CrowdStudy) -> None:
    guest.get(HERE)
    assert guest.post(END)["Location"] == HERE
    assert Submission.objects.get().ended_at is None
    for _number in range(3):
        answer(guest)
    guest.post(END)
    ended = Submission.objects.get().ended_at
    guest.post(END)
    assert Submission.objects.get().ended_at == ended


def test_who_finds_nothing_to_answer_gets_a_code_for_that(guest: Client, study: CrowdStudy) -> None:
    Task.objects.all().delete()
    assert f'action="{END}"' in guest.get(HERE).text
    guest.post(END)
    assert study.codes.get(kind="nothing_to_do").code in guest.get(END).text


def test_who_did_what_there_was_has_completed(guest: Client, study: CrowdStudy) -> None:
    guest.get(HERE)
    answer(guest)
    Task.objects.filter(answered=0, taken=0).delete()
    for _number in range(Assignment.objects.filter(state="leased").count()):
        answer(guest)
    guest.post(END)
    assert study.codes.get(kind="completed").code in guest.get(END).text


def test_who_fails_the_gate_gets_the_code_of_a_screen_out(
    client: Client, study: CrowdStudy, prolific: ProlificServer
) -> None:
    set_training(study.project, TRAINING)
    revise_guidelines(study.project, text=GUIDELINES)
    arrive(client, study, prolific.signer.token())
    rater = Submission.objects.get().guest.rater
    assert client.get(HERE).status_code == 302  # the guidelines come first, as for anybody
    rater.gate_tries = 5
    rater.guidelines_read = 99
    rater.practice_done = 50
    rater.save()
    page = client.get(f"{HERE}gate/")
    assert f'action="{END}"' in page.text
    assert "Back to your projects" not in page.text
    client.post(END)
    assert study.codes.get(kind="screened_out").code in client.get(END).text


def test_a_visit_can_be_ended_for_failed_attention_checks(guest: Client, study: CrowdStudy) -> None:
    guest.get(HERE)
    submission = Submission.objects.get()
    assert end_as(submission, CompletionCode.Kind.FAILED_ATTENTION_CHECK, now=submission.arrived_at)
    assert not end_as(submission, CompletionCode.Kind.COMPLETED, now=submission.arrived_at)
    assert not Assignment.objects.filter(state="leased").exists()
    assert study.codes.get(kind="failed_attention_check").code in guest.get(END).text
    assert "You have answered all" in guest.get(HERE).text
    assert not Assignment.objects.filter(state="leased").exists()


def test_who_is_paused_ends_with_the_code_that_waits_for_review(guest: Client, study: CrowdStudy) -> None:
    guest.get(HERE)
    answer(guest)
    pause_person(Submission.objects.get().guest.rater, reason="Please read.", now=timezone.now())
    page = guest.get(HERE)
    assert "Please read." in page.text
    assert f'action="{END}"' in page.text
    guest.post(END)
    assert study.codes.get(kind="failed_attention_check").code in guest.get(END).text


@pytest.mark.parametrize("given", [0, 1])
def test_who_may_give_no_more_gets_a_code_for_what_they_gave(guest: Client, study: CrowdStudy, given: int) -> None:
    guest.get(HERE)
    for _number in range(given):
        answer(guest)
    Project.objects.update(status="paused")
    release(study.project, Submission.objects.get().guest.rater)
    assert f'action="{END}"' in guest.get(HERE).text
    guest.post(END)
    assert study.codes.get(kind="completed" if given else "nothing_to_do").code in guest.get(END).text


def test_a_second_visit_counts_its_own_answers(guest: Client, study: CrowdStudy, prolific: ProlificServer) -> None:
    guest.get(HERE)
    for _number in range(3):
        answer(guest)
    guest.post(END)
    token = prolific.signer.token(prolific__SESSION_ID="session000000000000000002")
    assert arrive(guest, study, token)["Location"] == HERE
    assert Submission.objects.get(external_id="session000000000000000002").answered_before == 3
    assert len(set(held(guest))) == 3
    assert "0 of 3" in guest.get(HERE).text


# --- Nothing else ---------------------------------------------------------------------------------------------------


def test_a_guest_sees_nothing_but_their_study(guest: Client, project: Project) -> None:
    from dashboard.urls import urlpatterns
    from tests.builders import make_project

    make_project("other", with_people=False)
    for path in ("/", "/new-project/", "/annotate/other/", "/projects/helpfulness/", "/projects/helpfulness/people/"):
        assert guest.get(path)["Location"].startswith("/sign-in/"), path
    for pattern in urlpatterns:
        if str(pattern.pattern) == "projects/<slug:slug>/":
            assert guest.get(reverse(str(pattern.name), args=["helpfulness"])).status_code == 302
    assert guest.post("/new-project/", {"title": "Mine", "slug": "mine"}).status_code == 302
    assert not Project.objects.filter(slug="mine").exists()
    assert guest.get("/annotate/")["Location"] == HERE
    assert not Membership.objects.filter(user=None).exists()


def test_a_guests_pages_have_no_way_out_and_no_name(guest: Client) -> None:
    page = guest.get(HERE).text
    for address in ('href="/annotate/"', 'href="/"', 'action="/sign-out/"'):
        assert address not in page
    name = Submission.objects.get().guest.rater.name
    assert f'data-person="{name}"' in page
    assert f'data-sign-in="/study/{Submission.objects.get().study_id}/"' in page


def test_another_guests_pairs_are_not_theirs(guest: Client, study: CrowdStudy, prolific: ProlificServer) -> None:
    guest.get(HERE)
    mine = Assignment.objects.filter(state="leased")[0]
    other = Client()
    arrive(other, study, prolific.signer.token(prolific__SESSION_ID="s2", prolific__PROLIFIC_PID="p2"))
    assert other.get(f"{HERE}{mine.pk}/").status_code == 404
    assert other.post(f"{HERE}{mine.pk}/submit/", {"choice": "a"}).status_code in (404, 422)
    assert not Preference.objects.exists()


def test_arriving_ends_whatever_session_the_browser_had(
    client: Client, study: CrowdStudy, prolific: ProlificServer
) -> None:
    client.login(username="ada", password="ada-password")
    before = client.session.session_key
    arrive(client, study, prolific.signer.token())
    assert client.session.session_key != before
    assert client.get("/projects/helpfulness/").status_code == 302
    assert client.session.get_expiry_age() <= 12 * 3600


def test_signing_in_ends_a_guests_visit_to_the_pages(guest: Client) -> None:
    guest.login(username="ben", password="ben-password")
    assert "sign-out" in guest.get("/annotate/").text
    guest.get(HERE)
    assert set(Assignment.objects.filter(state="leased").values_list("rater__name", flat=True)) == {"ben"}


def test_a_guest_has_a_language_and_a_look_of_their_own(guest: Client) -> None:
    assert guest.post("/annotation-settings/", {"language": "de", "theme": "dark", "next": HERE})["Location"] == HERE
    page = guest.get(HERE)
    assert '<html lang="de" dir="ltr" data-theme="dark"' in page.text
    assert guest.post("/annotation-settings/", {"theme": "pink"}, headers={"HX-Request": "true"}).status_code == 422
    assert Client().post("/annotation-settings/", {"theme": "dark"}).status_code == 401


def test_members_have_no_end_page(client: Client, study: CrowdStudy) -> None:
    client.login(username="ben", password="ben-password")
    assert client.get(END).status_code == 404
    assert client.post(END).status_code == 404
