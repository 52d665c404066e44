"""A judge's answer after one's own: only where asked for, never before, without a name, and what it did is logged."""

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotation.assigning import Opening, open_tasks
from annotation.models import Assignment, Pair, Preference, Project, Rater, RaterKind, Suggestion, User
from annotation.suggesting import Moved, moved_by_suggestions
from tests.builders import make_pair, make_preference, make_project

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
JUDGE = "secret-judge v1"


@pytest.fixture
def project() -> Project:
    project = make_project(questionnaire={"suggestion": JUDGE, "leases_ahead": 0})
    judge = Rater.objects.create(project=project, kind=RaterKind.JUDGE, name=JUDGE)
    pairs = [make_pair(project) for _ in range(2)]
    for pair in pairs:
        make_preference(pair, judge, "b", prob_a=0.0123, strength=1)
    open_tasks(project, [Opening(pair.pk, float(-number)) for number, pair in enumerate(pairs)], votes_wanted=2)
    return project


@pytest.fixture
def ben(client: Client, project: Project) -> Client:
    client.force_login(User.objects.get(username="ben"))
    return client


def held(client: Client) -> Assignment:
    """Return the pair that ben reads; b stands first on his screen."""
    client.get("/annotate/helpfulness/")
    Assignment.objects.filter(rater__name="ben", state="leased").update(shown_order="ba")
    return Assignment.objects.get(rater__name="ben", state="leased")


def at(name: str, assignment: Assignment) -> str:
    return reverse(name, args=["helpfulness", assignment.pk])


def submit(client: Client, assignment: Assignment, answer: str, **more: str) -> Any:
    return client.post(at("submit_answer", assignment), {"answer": answer, **more}, headers=HTMX)


def test_it_is_shown_after_the_answer_in_the_letters_of_the_screen(ben: Client) -> None:
    assignment = held(ben)
    assert ben.get(at("suggestion", assignment)).status_code == 404
    assert "suggestion-of" not in ben.get("/annotate/helpfulness/").text
    html = submit(ben, assignment, "second2").text
    assert f'data-suggestion-of="{assignment.pk}"' in html
    assert re.findall(r"<dd>([^<]+)</dd>", html) == ["B is better", "A is a bit better"]
    assert "said something else" in html
    for secret in (JUDGE, "secret", "0.0123"):
        assert secret not in html
    shown = Suggestion.objects.get()
    assert (shown.before.choice, shown.suggested.choice, shown.outcome) == ("a", "b", "")


def test_agreement_is_said_as_such(ben: Client) -> None:
    assert "said the same" in submit(ben, held(ben), "first3").text


def test_keeping_ones_answer_is_logged_and_changes_nothing(ben: Client, project: Project) -> None:
    assignment = held(ben)
    submit(ben, assignment, "second2")
    assert ben.post(at("suggestion", assignment), headers=HTMX).status_code == 204
    assert Suggestion.objects.get().outcome == "kept"
    assert Preference.objects.of_people().get().choice == "a"
    assert moved_by_suggestions(project) == Moved(shown=1, differed=1, changed=0, towards=0)


def test_a_change_is_a_new_answer_that_says_after_what(ben: Client, project: Project) -> None:
    assignment = held(ben)
    submit(ben, assignment, "second2")
    assert submit(ben, assignment, "first1", revises="1").status_code == 200
    before, after = Preference.objects.of_people().order_by("created_at")
    assert (before.choice, before.is_current, before.meta) == ("a", False, {})
    assert (after.choice, after.is_current, after.meta) == ("b", True, {"after_suggestion": "b"})
    assert Suggestion.objects.get().outcome == "changed"
    assert moved_by_suggestions(project) == Moved(shown=1, differed=1, changed=1, towards=1)


def test_without_a_script_it_is_a_page_of_its_own(ben: Client) -> None:
    assignment = held(ben)
    response = ben.post(at("submit_answer", assignment), {"answer": "second2"}, follow=True)
    assert response.redirect_chain == [(at("suggestion", assignment), 302)]
    assert "A is a bit better" in response.text
    assert ben.post(at("suggestion", assignment))["Location"] == "/annotate/helpfulness/"


def test_nobody_sees_it_on_a_pair_of_somebody_else(ben: Client, project: Project) -> None:
    assignment = held(ben)
    submit(ben, assignment, "second2")
    ben.force_login(User.objects.get(username="cyd"))
    assert ben.get(at("suggestion", assignment)).status_code == 404
    assert ben.post(at("suggestion", assignment)).status_code == 404
    assert Suggestion.objects.get().outcome == ""


def test_nothing_is_shown_where_the_judge_cannot_say(ben: Client) -> None:
    Preference.objects.of_judges().update(choice="unsure")
    assert "suggestion-of" not in submit(ben, held(ben), "tie").text
    assert not Suggestion.objects.exists()


def test_nothing_is_shown_where_the_project_does_not_ask(ben: Client) -> None:
    Project.objects.update(questionnaire={"leases_ahead": 0})
    assert "suggestion-of" not in submit(ben, held(ben), "tie").text


def test_a_hidden_repeat_is_never_suggested_on(ben: Client) -> None:
    first = held(ben)
    submit(ben, first, "second2")
    Assignment.objects.filter(state="leased").delete()
    Suggestion.objects.all().delete()
    first.refresh_from_db()
    repeat = Assignment.objects.create(
        task=first.task,
        rater=first.rater,
        repeats=first,
        place=0,
        shown_order="ab",
        leased_at=first.leased_at,
        lease_until=first.lease_until,
    )
    assert "suggestion-of" not in submit(ben, repeat, "second2").text


def test_the_words_that_differ_are_marked_on_demand(ben: Client, project: Project) -> None:
    assignment = held(ben)
    Pair.objects.get(pk=assignment.task.pair_id)
    html = ben.get(at("differences", assignment)).text
    assert re.findall(r'<template data-diff="([AB])">', html) == ["A", "B"]
    assert html.count('<mark class="diff">') == 2
    ben.force_login(User.objects.get(username="cyd"))
    assert ben.get(at("differences", assignment)).status_code == 404
