"""What a browser may send to the screen, by mistake or on purpose: refused in words, never stored as another thing."""

import json
import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.db.transaction import TransactionManagementError
from django.test import Client
from django.utils import timezone

from annotation.answering import MOST_SPANS, RATIONALE_LIMIT, SPAN_LIMIT
from annotation.assigning import Answer, Opening, next_assignment, open_tasks, save_draft, submit
from annotation.checking import check_invariants
from annotation.configuring import configure
from annotation.criteria import CriterionRow
from annotation.errors import AlreadyAnswered
from annotation.leasing import locked
from annotation.models import Assignment, Criterion, Preference, Project, Rater, Rating
from tests.builders import make_pair, make_person, make_preference, make_project

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true"}
HOME = "/annotate/helpfulness/"
PRACTICE = [{"prompt": "P", "response_a": "A", "response_b": "B", "answer": ["a"], "why": "W"}]


def study(pairs: int = 1, **project: Any) -> tuple[Project, Rater]:
    made = make_project(**project)
    open_tasks(made, [Opening(make_pair(made).pk, float(-number)) for number in range(pairs)], votes_wanted=1)
    return made, make_person(made)


def held(project: Project, rater: Rater) -> Assignment:
    found = next_assignment(project, rater, now=timezone.now() - timedelta(minutes=5)).assignment
    assert found is not None
    return found


def send(client: Client, assignment: Assignment, **fields: Any) -> Any:
    return client.post(f"{HOME}{assignment.pk}/submit/", fields, headers=HTMX)


def form_on(client: Client, address: str = HOME) -> str:
    """Return the first answer's form on a page."""
    page = client.get(address).content.decode()
    form = page[page.index("data-answer-form") :]
    return form[: form.index("</form>")]


def hidden(client: Client, address: str = HOME) -> dict[str, str]:
    """Return the hidden fields of the first answer's form on a page."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form_on(client, address))
    return {name: unescape(value) for name, value in found if name != "csrfmiddlewaretoken"}


# --- What cannot be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spans",
    [
        '[{"side": "A", "start": 0, "end": 1e999, "text": "x"}]',
        '[{"side": "A", "start": NaN, "end": 2, "text": "x"}]',
        '[{"side": "A", "start": 0, "end": 1' + "0" * 4000 + ', "text": "x"}]',
        '[{"side": "A", "start": 2, "end": 1, "text": "x"}]',
        '[{"side": "C", "start": 0, "end": 1, "text": "x"}]',
        '[{"side": ["A"], "start": 0, "end": 1, "text": "x"}]',
        '[{"side": "A", "start": 0, "end": 1, "text": "\\ud800"}]',
        '[{"side": "A", "start": 0, "end": 1, "text": "\\u0000"}]',
        "[" * 100_000,
        "{}[",
        "7",
        '"AB"',
        "[[]]",
    ],
    ids=lambda sent: sent[:44],
)
def test_quotes_that_are_none_are_refused_in_words(client: Client, spans: str) -> None:
    project, ben = study(questionnaire={"spans": True})
    client.force_login(ben.user)  # type: ignore[arg-type]
    given = send(client, held(project, ben), answer="tie", spans=spans)
    assert (given.status_code, bool(given.json()["message"])) == (422, True)
    assert not Preference.objects.exists()


@pytest.mark.parametrize("seconds", ["nan", "inf", "-1", "1e400", "x", "1" * 5000])
def test_times_that_are_none_are_refused_in_words(client: Client, seconds: str) -> None:
    project, ben = study()
    client.force_login(ben.user)  # type: ignore[arg-type]
    assert send(client, held(project, ben), answer="tie", seconds=seconds).status_code == 422


def test_the_longest_answer_there_may_be_is_stored(client: Client) -> None:
    project, ben = study(questionnaire={"spans": True})
    client.force_login(ben.user)  # type: ignore[arg-type]
    quote = '"\n' * (SPAN_LIMIT // 2)
    spans = [{"side": "A", "start": at, "end": at + SPAN_LIMIT, "text": quote} for at in range(MOST_SPANS)]
    given = send(client, held(project, ben), answer="tie", spans=json.dumps(spans), rationale="y" * RATIONALE_LIMIT)
    assert given.status_code == 200
    assert len(Preference.objects.get().rationale_spans) == MOST_SPANS


@pytest.mark.parametrize("number", ["9" * 30, "9" * 5000, "-1", "٣", ""])
def test_numbers_without_end_are_no_version_and_no_practice_pair(client: Client, number: str) -> None:
    project = make_project(guidelines="Be fair.", guidelines_number=1, training={"practice": PRACTICE})
    ben = make_person(project, guidelines_read=1, practice_done=1)
    client.force_login(ben.user)  # type: ignore[arg-type]
    assert client.post(f"{HOME}guidelines/read/", {"number": number}).status_code in (302, 404)
    assert client.get(f"{HOME}practice/again/", {"number": number}).status_code == 302
    ben.refresh_from_db()
    assert ben.guidelines_read == 1


@pytest.mark.parametrize(
    "back", ["annotate", "nowhere", "//elsewhere.org/", "https:elsewhere.org", "\\\\elsewhere", ""]
)
def test_after_the_settings_nobody_is_led_elsewhere(client: Client, back: str) -> None:
    client.force_login(make_person(make_project()).user)  # type: ignore[arg-type]
    given = client.post("/annotation-settings/", {"next": back, "theme": "dark"})
    assert given.status_code == 302
    assert "elsewhere" not in given["Location"]


# --- Forms of before ------------------------------------------------------------------------------------------------


def test_a_reason_of_a_list_that_was_changed_is_refused_and_not_taken_for_another(client: Client) -> None:
    project, ben = study(questionnaire={"reasons": ["correct", "wrong"]})
    client.force_login(ben.user)  # type: ignore[arg-type]
    sent = hidden(client) | {"answer": "first2", "reason": "A:0"}
    configure(project, settings={"reasons": ["wrong", "correct"]})
    given = send(client, Assignment.objects.get(), **sent)
    assert (given.status_code, given.json()["field"]) == (422, "asks")
    assert "Reload" in given.json()["message"]
    assert not Preference.objects.exists()
    # Opened again it takes the answer.
    assert send(client, Assignment.objects.get(), **hidden(client), answer="first2", reason="A:0").status_code == 200
    assert [one["reason"] for one in Preference.objects.get().reasons] == ["wrong"]


def test_a_rating_of_criteria_in_another_order_is_refused(client: Client) -> None:
    project = make_project()
    Criterion.objects.create(project=project, name="overall", position=0)
    rows = [CriterionRow("true"), CriterionRow("kind")]
    configure(project, template="ratings", settings={"by_criterion": True}, criteria=rows)
    open_tasks(project, [Opening(make_pair(project).pk)], votes_wanted=1)
    client.force_login(make_person(project).user)  # type: ignore[arg-type]
    ratings = {f"rating-{side}-{number}": str(number + 1) for side in "AB" for number in range(3)}
    sent = hidden(client) | ratings
    configure(project, settings={"by_criterion": True}, criteria=rows[::-1])
    assert send(client, Assignment.objects.get(), **sent).status_code == 422
    assert not Rating.objects.exists()


def test_a_form_in_another_language_is_a_form_of_the_same_questions(client: Client) -> None:
    _project, ben = study()
    client.force_login(ben.user)  # type: ignore[arg-type]
    sent = hidden(client)
    client.post("/annotation-settings/", {"language": "de"})
    assert hidden(client)["asks"] == sent["asks"]
    assert send(client, Assignment.objects.get(), **sent, answer="tie").status_code == 200


def test_of_a_draft_for_other_questions_only_what_was_written_is_shown(client: Client) -> None:
    project, ben = study(questionnaire={"reasons": ["correct", "wrong"]})
    client.force_login(ben.user)  # type: ignore[arg-type]
    fields = {**hidden(client), "answer": "first2", "reason": "A:0", "rationale": "Because of that."}
    assert client.post(f"{HOME}{Assignment.objects.get().pk}/draft/", fields).status_code == 204
    assert form_on(client).count(" checked") == 2
    configure(project, settings={"reasons": ["wrong", "correct"]})
    assert form_on(client).count(" checked") == 0
    assert "Because of that." in form_on(client)


# --- Changing an answer ---------------------------------------------------------------------------------------------


def test_a_change_adds_the_time_that_it_took_and_not_the_first_again(client: Client) -> None:
    project, ben = study()
    client.force_login(ben.user)  # type: ignore[arg-type]
    given = held(project, ben)
    send(client, given, answer="tie", seconds="60", reading_seconds="50", deciding_seconds="10")
    shown = hidden(client, f"{HOME}{given.pk}/")
    assert (shown["revises"], float(shown["seconds"])) == ("1", 60)
    send(client, given, **shown | {"answer": "first2", "seconds": "65", "deciding_seconds": "15"})
    stored = Preference.objects.current().get()
    assert (stored.seconds, stored.reading_seconds, stored.deciding_seconds) == (65, 50, 15)
    send(client, given, **shown | {"answer": "second2", "seconds": "72", "deciding_seconds": "22"})
    assert Preference.objects.current().get().seconds == 72


def test_a_pair_answered_by_another_way_leaves_its_persons_hands() -> None:
    project, ben = study(2)
    given = held(project, ben)
    make_preference(given.task.pair, ben)
    with pytest.raises(AlreadyAnswered):
        submit(given.pk, ben, Answer("b"), now=timezone.now())
    assert held(project, ben).task_id != given.task_id
    assert [check for check in check_invariants(now=timezone.now()) if check.broken] == []


# --- The form that is kept ------------------------------------------------------------------------------------------


def test_a_kept_form_has_nothing_of_another_project_person_or_request(client: Client) -> None:
    project, ben = study(3, questionnaire={"words": {"question": "Which is kinder?"}, "reasons": ["warm"]})
    other = make_project("other", questionnaire={"reasons": ["token-of-the-request"]}, rationale_required=True)
    open_tasks(other, [Opening(make_pair(other).pk)], votes_wanted=1)
    client.force_login(ben.user)  # type: ignore[arg-type]
    for language, word in (("", "Submit"), ("de", "Absenden"), ("", "Submit")):
        client.post("/annotation-settings/", {"language": language})
        first, second = client.get(HOME).content.decode(), client.get("/annotate/other/").content.decode()
        for page, says, never in ((first, "kinder", "data-reason-required"), (second, "token-of-the-request", "warm")):
            assert says in page
            assert never not in page
            assert word in page
            tokens = set(re.findall(r'name="csrfmiddlewaretoken" value="([^"]*)"', page))
            assert len(tokens) == 1
            assert tokens.isdisjoint(
                re.findall(r'csrfmiddlewaretoken" value="([^"]*)"', client.get(HOME).content.decode())
            )
        leases = set(re.findall(r"/annotate/helpfulness/([0-9a-f-]{36})/submit/", first))
        assert leases == {
            str(pk) for pk in Assignment.objects.filter(task__project=project).values_list("pk", flat=True)
        }


def test_what_somebody_began_is_not_kept_for_others(client: Client) -> None:
    project, ben = study(2, votes_wanted=2)
    given = held(project, ben)
    save_draft(given.pk, ben, {"rationale": "A secret of Ben's"}, now=timezone.now())
    client.force_login(ben.user)  # type: ignore[arg-type]
    assert "A secret of Ben" in client.get(HOME).content.decode()
    client.force_login(make_person(project, "cyd").user)  # type: ignore[arg-type]
    assert "A secret of Ben" not in client.get(HOME).content.decode()


@pytest.mark.django_db(transaction=True)
def test_a_query_that_locks_is_refused_where_it_would_lock_nothing() -> None:
    project, ben = study()
    given = held(project, ben)
    assert connection.get_autocommit()
    with pytest.raises(TransactionManagementError):
        locked(given.pk, ben)
