"""The annotation screen's addresses: who may see what, what is stored, and what is said when something is wrong."""

import re
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from annotation.assigning import Opening, next_assignment, open_tasks
from annotation.models import (
    Assignment,
    AssignmentState,
    Choice,
    Membership,
    Pair,
    Preference,
    Project,
    Role,
    ShownOrder,
    Tier,
    User,
)
from annotation.pausing import pause_person
from tests.builders import make_pair, make_person, make_project

pytestmark = pytest.mark.django_db

# A transaction each for the answer and for the next lease: inside of a test's own these are savepoints.
STATEMENTS_OF_TRANSACTIONS = 4
HTMX = {"HX-Request": "true"}


@pytest.fixture
def project() -> Project:
    return make_project()


@pytest.fixture
def pairs(project: Project) -> list[Pair]:
    pairs = [make_pair(project) for _ in range(3)]
    open_tasks(project, [Opening(pair.pk, 3.0 - n) for n, pair in enumerate(pairs)], votes_wanted=1, tier=Tier.CROWD)
    return pairs


def signed_in(client: Client, username: str) -> Client:
    client.force_login(User.objects.get(username=username))
    return client


def held_by(project: Project, username: str = "ben") -> Assignment:
    found = next_assignment(project, make_person(project, username), now=timezone.now())
    assert found.assignment is not None
    return found.assignment


def address(name: str, assignment_id: UUID) -> str:
    return reverse(name, args=["helpfulness", assignment_id])


def page(response: Any) -> str:
    return str(response.content.decode())


def test_signing_in_comes_first(client: Client, project: Project) -> None:
    response = client.get("/annotate/helpfulness/")
    assert response.status_code == 302
    assert response["Location"] == "/sign-in/?next=/annotate/helpfulness/"


def test_a_script_whose_person_is_signed_out_is_told_so(client: Client, project: Project) -> None:
    response = client.post(address("submit_answer", uuid4()), {"answer": "tie"}, headers=HTMX)
    assert response.status_code == 401


@pytest.mark.parametrize(("person", "status"), [("bén", 200), ("cyd", 401), ("", 401)])
def test_a_script_of_somebody_else_s_page_is_told_that_they_are_signed_out(
    client: Client, project: Project, pairs: list[Pair], person: str, status: int
) -> None:
    ben = make_person(project, "bén")
    Membership.objects.create(project=project, user=User.objects.get(username="bén"), role=Role.ANNOTATOR)
    held = held_by(project, "bén")
    client.force_login(User.objects.get(username="bén"))
    headers = {**HTMX, "X-Tiebreak-Person": quote(person)}
    response = client.post(address("submit_answer", held.pk), {"answer": "tie"}, headers=headers)
    assert (response.status_code, Preference.objects.filter(rater=ben).count()) == (status, status == 200)


def test_a_wrong_password_is_answered_with_what_to_do(client: Client, project: Project) -> None:
    response = client.post("/sign-in/", {"username": "ben", "password": "wrong"})
    assert "User name and password do not match" in page(response)


def test_a_project_of_others_is_not_found(client: Client, pairs: list[Pair]) -> None:
    assert signed_in(client, "eve").get("/annotate/helpfulness/").status_code == 404
    assert client.get("/annotate/unknown/").status_code == 404


def test_an_assignment_of_somebody_else_is_not_found(client: Client, project: Project, pairs: list[Pair]) -> None:
    others = held_by(project, "cyd")
    signed_in(client, "ben")
    for name in ("submit_answer", "skip_pair", "renew_lease", "keep_draft"):
        assert client.post(address(name, others.pk), {"answer": "tie", "reason": "unclear"}).status_code == 404
    others.refresh_from_db()
    assert others.state == AssignmentState.LEASED
    assert others.draft == {}


def test_opening_the_page_again_shows_the_same_pair(client: Client, pairs: list[Pair]) -> None:
    signed_in(client, "ben")
    first, second = (re.search(r'data-task="([^"]+)"', page(client.get("/annotate/helpfulness/"))) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first[1] == second[1]


@pytest.mark.parametrize(
    ("shown_order", "sent", "choice", "strength"),
    [
        (ShownOrder.AB, "first3", Choice.A, 3),
        (ShownOrder.BA, "first3", Choice.B, 3),
        (ShownOrder.AB, "second1", Choice.B, 1),
        (ShownOrder.BA, "second2", Choice.A, 2),
        (ShownOrder.BA, "tie", Choice.TIE, None),
        (ShownOrder.AB, "both_bad", Choice.BOTH_BAD, None),
        (ShownOrder.BA, "unsure", Choice.UNSURE, None),
    ],
)
def test_what_the_screen_sends_is_stored_in_the_stored_order(
    client: Client,
    project: Project,
    pairs: list[Pair],
    shown_order: ShownOrder,
    sent: str,
    choice: Choice,
    strength: int | None,
) -> None:
    assignment = held_by(project)
    Assignment.objects.filter(pk=assignment.pk).update(shown_order=shown_order)
    response = signed_in(client, "ben").post(
        address("submit_answer", assignment.pk), {"answer": sent, "rationale": "one\r\ntwo"}
    )
    assert response["Location"] == "/annotate/helpfulness/"
    stored = Preference.objects.get()
    assert (stored.choice, stored.strength, stored.rationale) == (choice, strength, "one\ntwo")


@pytest.mark.parametrize("shown_order", ShownOrder.values)
def test_the_responses_stand_in_the_order_drawn(
    client: Client, project: Project, pairs: list[Pair], shown_order: str
) -> None:
    assignment = held_by(project)
    Assignment.objects.filter(pk=assignment.pk).update(shown_order=shown_order)
    html = page(signed_in(client, "ben").get("/annotate/helpfulness/"))
    pair = pairs[0]
    first_is_a = html.index(pair.response_a.text) < html.index(pair.response_b.text)
    assert first_is_a == (shown_order == "ab")


def test_the_same_answer_sent_twice_is_stored_once(client: Client, project: Project, pairs: list[Pair]) -> None:
    where = address("submit_answer", held_by(project).pk)
    signed_in(client, "ben")
    for seconds in ("3", "4"):
        response = client.post(where, {"answer": "first2", "seconds": seconds}, headers=HTMX)
        assert response.status_code == 200
        assert "1 of 3" in page(response)
    assert Preference.objects.count() == 1


def test_another_answer_to_an_answered_pair_is_refused_and_the_next_pair_shown(
    client: Client, project: Project, pairs: list[Pair]
) -> None:
    where = address("submit_answer", held_by(project).pk)
    signed_in(client, "ben").post(where, {"answer": "first2"})
    refused = client.post(where, {"answer": "tie"}, headers=HTMX)
    assert refused.status_code == 409
    assert "Your answer to this pair is already stored" in refused.json()["message"]
    html = page(client.post(where, {"answer": "tie"}, follow=True))
    assert "Your answer to this pair is already stored" in html
    assert "data-task" in html
    assert Preference.objects.get().choice != Choice.TIE


def test_a_script_gets_the_next_pair_in_place(client: Client, project: Project, pairs: list[Pair]) -> None:
    assignment = held_by(project)
    response = signed_in(client, "ben").post(address("submit_answer", assignment.pk), {"answer": "tie"}, headers=HTMX)
    html = page(response)
    assert "<html" not in html
    assert f'data-task="{assignment.pk}"' not in html
    assert html.count("data-task-ahead=") == 2
    assert "1 of 3" in html


def test_a_plain_form_is_told_that_its_answer_is_stored(client: Client, project: Project, pairs: list[Pair]) -> None:
    where = address("submit_answer", held_by(project).pk)
    assert "Saved." in page(signed_in(client, "ben").post(where, {"answer": "tie"}, follow=True))
    assert "Changed." in page(client.post(where, {"answer": "first2", "revises": "1"}, follow=True))


def test_a_script_gets_only_the_pairs_that_it_does_not_have(client: Client, project: Project) -> None:
    more = [make_pair(project) for _ in range(6)]
    open_tasks(project, [Opening(pair.pk) for pair in more], votes_wanted=1)
    html = page(signed_in(client, "ben").get("/annotate/helpfulness/"))
    first, *ahead = re.findall(r'data-task="([^"]+)"', html)
    assert len(ahead) == 2
    sent = {"answer": "tie", "held": f"{','.join(ahead)},nonsense"}
    new = re.findall(r'data-task="([^"]+)"', page(client.post(address("submit_answer", first), sent, headers=HTMX)))
    assert len(new) == 1
    assert new[0] not in (first, *ahead)


def test_time_spent_is_at_most_the_time_the_pair_was_held(client: Client, project: Project, pairs: list[Pair]) -> None:
    where = address("submit_answer", held_by(project).pk)
    signed_in(client, "ben").post(where, {"answer": "tie", "seconds": "99999"})
    seconds = Preference.objects.get().seconds
    assert seconds is not None
    assert seconds < 60


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({}, "Nothing is chosen yet"),
        ({"answer": "a"}, "That choice is not on this screen"),
        ({"answer": "tie", "rationale": "x" * 20_001}, "20,000 fit"),
    ],
)
def test_an_answer_that_cannot_be_stored_comes_back_with_a_line(
    client: Client, project: Project, pairs: list[Pair], sent: dict[str, str], said: str
) -> None:
    assignment = held_by(project)
    response = signed_in(client, "ben").post(address("submit_answer", assignment.pk), sent, headers=HTMX)
    assert response.status_code == 422
    assert said in response.json()["message"]
    # Without a script the same pair is shown again, with what was sent.
    plain = client.post(address("submit_answer", assignment.pk), sent)
    assert plain.status_code == 422
    assert f'data-task="{assignment.pk}"' in page(plain)
    assert said in page(plain)
    assert Preference.objects.count() == 0


def test_a_missing_reason_comes_back_with_the_choice_kept(client: Client, project: Project, pairs: list[Pair]) -> None:
    Project.objects.update(rationale_required=True)
    response = signed_in(client, "ben").post(address("submit_answer", held_by(project).pk), {"answer": "second3"})
    assert response.status_code == 422
    assert "This project asks for a reason" in page(response)
    assert re.search(r'value="second3"[^>]* checked', page(response))


def test_a_skipped_pair_is_not_shown_again(client: Client, project: Project, pairs: list[Pair]) -> None:
    assignment = held_by(project)
    response = signed_in(client, "ben").post(
        address("skip_pair", assignment.pk), {"reason": "unclear", "note": "which one?"}, headers=HTMX
    )
    assert "data-task-ahead=" in page(response)
    assignment.refresh_from_db()
    assert (assignment.state, assignment.skip_reason, assignment.note) == ("skipped", "unclear", "which one?")
    assert pairs[0].response_a.text not in page(client.get("/annotate/helpfulness/"))


def test_a_skip_without_a_known_reason_keeps_the_pair(client: Client, project: Project, pairs: list[Pair]) -> None:
    assignment = held_by(project)
    response = signed_in(client, "ben").post(address("skip_pair", assignment.pk), {"reason": "bored"}, headers=HTMX)
    assert response.status_code == 422
    assert "choose a reason first" in page(response)


def test_a_draft_is_on_the_page_when_it_is_opened_again(client: Client, project: Project, pairs: list[Pair]) -> None:
    assignment = held_by(project)
    sent = {"answer": "first1", "rationale": "because\u2026", "seconds": "12"}
    assert signed_in(client, "ben").post(address("keep_draft", assignment.pk), sent).status_code == 204
    html = page(client.get("/annotate/helpfulness/"))
    assert re.search(r'value="first1"[^>]* checked', html)
    assert "because\u2026</textarea>" in html
    assert 'name="seconds" value="12.0"' in html


def test_a_draft_after_the_answer_is_refused(client: Client, project: Project, pairs: list[Pair]) -> None:
    assignment = held_by(project)
    signed_in(client, "ben").post(address("submit_answer", assignment.pk), {"answer": "tie"})
    response = client.post(address("keep_draft", assignment.pk), {"rationale": "late"})
    assert response.status_code == 409
    assert "already stored" in response.json()["message"]


def test_a_lease_is_renewed_for_its_whole_time(client: Client, project: Project, pairs: list[Pair]) -> None:
    assignment = held_by(project)
    Assignment.objects.filter(pk=assignment.pk).update(lease_until=timezone.now())
    response = signed_in(client, "ben").post(address("renew_lease", assignment.pk))
    assert 1198 <= response.json()["seconds_left"] <= 1200


def test_a_lost_lease_is_told_and_not_renewed(client: Client, project: Project, pairs: list[Pair]) -> None:
    assignment = held_by(project)
    Assignment.objects.filter(pk=assignment.pk).update(
        state=AssignmentState.EXPIRED, slot=None, place=None, promised_usd=0
    )
    response = signed_in(client, "ben").post(address("renew_lease", assignment.pk))
    assert response.status_code == 409
    assert "You can still send your answer" in response.json()["message"]


def test_a_paused_project_says_so(client: Client, project: Project, pairs: list[Pair]) -> None:
    Project.objects.update(status=Project.Status.PAUSED)
    assert "This project is paused" in page(signed_in(client, "ben").get("/annotate/helpfulness/"))


def test_a_paused_person_reads_the_reason(client: Client, project: Project, pairs: list[Pair]) -> None:
    pause_person(make_person(project), reason="Please <b>read</b> the guidelines.", now=timezone.now())
    html = page(signed_in(client, "ben").get("/annotate/helpfulness/"))
    assert "You are paused in this project" in html
    assert "Please &lt;b&gt;read&lt;/b&gt; the guidelines." in html
    assert "data-task" not in html


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"most_answers": 1}, "Your share is done"),
        ({"most_answers_a_day": 1}, "s share is done"),
        ({"people_budget_usd": Decimal("0.30")}, "No paid work is left for now"),
    ],
)
def test_whatever_ends_work_is_said_calmly(
    limits: dict[str, Any], sentence: str, client: Client, project: Project, pairs: list[Pair]
) -> None:
    Project.objects.update(**limits)
    signed_in(client, "ben").get("/annotate/helpfulness/")
    reply = client.post(address("submit_answer", Assignment.objects.get().pk), {"answer": "tie"}, headers=HTMX)
    assert sentence in page(reply)
    assert sentence in page(client.get("/annotate/helpfulness/"))


def test_pairs_in_other_hands_are_said_to_be(client: Client, project: Project) -> None:
    open_tasks(project, [Opening(make_pair(project).pk, 1.0)], votes_wanted=1, tier=Tier.CROWD)
    held_by(project, "cyd")
    html = page(signed_in(client, "ben").get("/annotate/helpfulness/"))
    assert "Everything open is held by others right now" in html


def test_the_end_tells_what_was_done_and_earned(client: Client, project: Project) -> None:
    open_tasks(project, [Opening(make_pair(project).pk, 1.0)], votes_wanted=1, tier=Tier.CROWD)
    where = address("submit_answer", held_by(project).pk)
    html = page(signed_in(client, "ben").post(where, {"answer": "tie"}, headers=HTMX))
    assert "That was the last one" in html
    assert "$0.30" in html


def test_an_empty_response_is_shown_as_empty(client: Client, project: Project) -> None:
    pair = make_pair(project, response_b="")
    open_tasks(project, [Opening(pair.pk, 1.0)], votes_wanted=1, tier=Tier.CROWD)
    assert page(signed_in(client, "ben").get("/annotate/helpfulness/")).count("(empty response)") == 1


def test_the_list_shows_ones_own_projects_only(client: Client, pairs: list[Pair]) -> None:
    make_project("secret", title="Secret study", with_people=False)
    html = page(signed_in(client, "ben").get("/annotate/"))
    assert "3 open to you" in html
    assert "Secret study" not in html
    assert "You are in no project yet" in page(signed_in(client, "eve").get("/annotate/"))


def test_an_expert_is_served_like_the_crowd(client: Client, project: Project, pairs: list[Pair]) -> None:
    Membership.objects.filter(user__username="ben").update(role=Role.EXPERT)
    assert "data-task" in page(signed_in(client, "ben").get("/annotate/helpfulness/"))


def test_the_page_asks_the_database_no_more_for_more_pairs(
    client: Client, project: Project, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    many = [make_pair(project) for _ in range(30)]
    open_tasks(project, [Opening(pair.pk, 1.0) for pair in many], votes_wanted=1, tier=Tier.CROWD)
    signed_in(client, "ben")
    with django_assert_max_num_queries(22):
        client.get("/annotate/helpfulness/")


def test_an_answer_and_the_next_pair_take_twelve_queries_whatever_there_is(
    client: Client, project: Project, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    open_tasks(project, [Opening(make_pair(project).pk) for _ in range(40)], votes_wanted=3)
    html = page(signed_in(client, "ben").get("/annotate/helpfulness/"))
    hand = re.findall(r'data-task="([^"]+)"', html)
    for number in range(6):
        first, *hand = hand
        # The first time PostgreSQL plans the statements of its session.
        asked = 12 + STATEMENTS_OF_TRANSACTIONS + (4 if number == 0 else 0)
        with django_assert_max_num_queries(asked):
            reply = client.post(
                address("submit_answer", first), {"answer": "first2", "held": ",".join(hand)}, headers=HTMX
            )
        new = re.findall(r'data-task="([^"]+)"', page(reply))
        assert len(new) == 1, number
        hand += new


def test_nothing_of_the_screen_is_kept_by_caches(client: Client, pairs: list[Pair]) -> None:
    response = signed_in(client, "ben").get("/annotate/helpfulness/")
    assert "no-store" in response["Cache-Control"]
