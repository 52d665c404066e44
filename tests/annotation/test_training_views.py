"""The pages of guidelines, practice and the gate: who is led where, what is stored, and what is never said early."""

import re
from typing import Any

import pytest
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse

from annotation.guiding import mark_read, notice_for, revise_guidelines
from annotation.models import Preference, Project, Rater, User
from annotation.training import set_training, training_of
from annotation.views.training import PAGES
from tests.builders import make_person
from tests.learners import PRACTICE, QUESTIONS, TRAINING, changed, make_course

pytestmark = pytest.mark.django_db

HERE = "/annotate/helpfulness/"
HTMX = {"HX-Request": "true"}
WRONG = {"question0": "0", "question1": ["0", "2"]}
RIGHT = {"question0": "1", "question1": ["0", "2"]}


@pytest.fixture
def course() -> Project:
    return make_course()


@pytest.fixture
def rater(course: Project) -> Rater:
    return make_person(course, "ben")


@pytest.fixture
def ben(client: Client, rater: Rater) -> Client:
    client.force_login(User.objects.get(username="ben"))
    return client


def before_the_gate(rater: Rater) -> None:
    Rater.objects.filter(pk=rater.pk).update(guidelines_read=1, practice_done=2)


def to_gate(client: Client, number: int, answers: dict[str, Any], key: str | None = None) -> Any:
    gate = training_of(Project.objects.get()).gate
    assert gate is not None
    return client.post(f"{HERE}gate/", {"number": number, "key": key or gate.key, **answers})


def without_tokens(text: str) -> str:
    return re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", text)


# --- The way --------------------------------------------------------------------------------------------------------


def test_each_page_leads_to_the_one_that_is_due(ben: Client, rater: Rater) -> None:
    for part in ("practice/", "practice/again/", "gate/"):
        assert ben.get(f"{HERE}{part}")["Location"] == f"{HERE}guidelines/"
    response = ben.post(f"{HERE}guidelines/read/", {"number": 1})
    assert response["Location"] == f"{HERE}practice/"
    assert ben.get(f"{HERE}gate/")["Location"] == f"{HERE}practice/"
    for number in (1, 2):
        assert ben.post(f"{HERE}practice/", {"number": number, "choice": "a"}).status_code == 200
    assert "You have done the practice" in ben.get(f"{HERE}practice/").text
    response = to_gate(ben, 1, RIGHT)
    assert response["Location"] == f"{HERE}gate/"
    page = ben.get(f"{HERE}gate/").text
    assert "You passed" in page
    assert f'href="{HERE}"' in page


def test_every_stage_has_a_page() -> None:
    for name in PAGES.values():
        assert reverse(name, args=["helpfulness"]).startswith(HERE)


def test_who_is_outside_sees_nothing_and_who_is_signed_out_signs_in(client: Client, course: Project) -> None:
    parts = ("guidelines/", "guidelines/1/", "practice/", "practice/again/", "gate/")
    for part in parts:
        assert client.get(f"{HERE}{part}")["Location"].startswith("/sign-in/")
        assert client.post(f"{HERE}gate/").status_code == 401
    client.force_login(User.objects.get(username="eve"))
    for part in parts:
        assert client.get(f"{HERE}{part}").status_code == 404
    assert client.post(f"{HERE}guidelines/read/", {"number": 1}).status_code == 404


def test_a_project_without_practice_or_gate_leads_on_to_the_pairs(client: Client) -> None:
    make_course(training={}, guidelines="")
    client.force_login(User.objects.get(username="ben"))
    for part in ("practice/", "practice/again/", "gate/"):
        assert client.get(f"{HERE}{part}")["Location"] == HERE
    assert "No guidelines yet" in client.get(f"{HERE}guidelines/").text


# --- Guidelines -----------------------------------------------------------------------------------------------------


def test_guidelines_are_shown_with_their_versions_and_each_old_one_can_be_read(
    ben: Client, rater: Rater, course: Project
) -> None:
    revise_guidelines(course, text="Prefer the shorter one.", note="Only length counts now.")
    mark_read(rater, 2)
    page = ben.get(f"{HERE}guidelines/").text
    assert "Prefer the shorter one." in page
    assert "Only length counts now." in page
    assert f'href="{HERE}guidelines/1/"' in page
    old = ben.get(f"{HERE}guidelines/1/").text
    assert "Prefer what is <strong>correct</strong>" in old
    assert "Version 2 is in force now, not this one." in old
    assert "<ins>Prefer the shorter one.</ins>" in old
    assert ben.get(f"{HERE}guidelines/3/").status_code == 404


def test_a_changed_text_is_noticed_until_it_is_read(ben: Client, rater: Rater, course: Project) -> None:
    before_the_gate(rater)
    assert "The guidelines changed" not in ben.get(f"{HERE}guidelines/").text
    revise_guidelines(course, text="Prefer the shorter one.", note="Only <b>length</b> counts.")
    page = ben.get(f"{HERE}guidelines/").text
    assert "The guidelines changed" in page
    assert "Only &lt;b&gt;length&lt;/b&gt; counts." in page
    assert ben.post(f"{HERE}guidelines/read/", {"number": 2})["Location"] == HERE
    assert "The guidelines changed" not in ben.get(f"{HERE}guidelines/").text


def test_a_script_gets_the_place_of_the_notice_back_empty(ben: Client, rater: Rater, course: Project) -> None:
    mark_read(rater, 1)
    revise_guidelines(course, text="Other.")
    response = ben.post(f"{HERE}guidelines/read/", {"number": 2}, headers=HTMX)
    assert 'id="guidelines-notice"' in response.text
    assert "Noted: you have read the guidelines." in response.text
    assert "<form" not in response.text


def test_the_reply_to_a_script_brings_the_notice_and_the_new_text(rater: Rater, course: Project) -> None:
    mark_read(rater, 1)
    revise_guidelines(course, text="Other ones.", note="All of it.")
    html = render_to_string("annotation/_reply.html", {"project": course, "notice": notice_for(course, rater)})
    assert '<template data-notice><div class="guidelines-notice"' in html.replace("\n", "")
    assert "<div data-guidelines-now><p>Other ones.</p>" in html
    assert "data-notice" not in render_to_string("annotation/_reply.html", {"project": course, "notice": None})


@pytest.mark.parametrize(("number", "status"), [("", 404), ("x", 404), ("²", 404), ("7", 302)])
def test_a_version_that_is_not_there_cannot_be_read(ben: Client, rater: Rater, number: str, status: int) -> None:
    response = ben.post(f"{HERE}guidelines/read/", {"number": number})
    assert response.status_code == status
    rater.refresh_from_db()
    assert rater.guidelines_read == 0


# --- Practice -------------------------------------------------------------------------------------------------------


def test_an_answer_is_told_right_or_not_with_the_expected_one_and_why(ben: Client, rater: Rater) -> None:
    mark_read(rater, 1)
    assert "Practice 1 of 2" in ben.get(f"{HERE}practice/").text
    wrong = ben.post(f"{HERE}practice/", {"number": 1, "choice": "b"}).text
    assert "Not what was expected" in wrong
    assert "Only A is <em>correct</em>." in wrong
    right = ben.post(f"{HERE}practice/", {"number": 2, "choice": "tie"}).text
    assert re.search(r"</svg>Right</h2>", right)
    assert re.search(r"Equally good\s+or\s+Both bad", right)
    assert "Go on to the questions" in right
    assert Preference.objects.count() == 0


def test_before_the_answer_nothing_depends_on_what_is_expected(ben: Client, rater: Rater, course: Project) -> None:
    mark_read(rater, 1)
    seen = set()
    for answer, why in (("a", "Because."), ("b", "A longer reason. " * 50), (["tie"], "Other.")):
        set_training(course, changed(practice=[{**PRACTICE[0], "answer": answer, "why": why}, PRACTICE[1]]))
        response = ben.get(f"{HERE}practice/")
        headers = {name: value for name, value in response.headers.items() if name not in ("Expires", "Set-Cookie")}
        seen.add((without_tokens(response.text), str(headers)))
    assert len(seen) == 1


def test_practice_without_a_choice_says_what_to_do(ben: Client, rater: Rater) -> None:
    mark_read(rater, 1)
    for choice in ({}, {"choice": "unsure"}):
        response = ben.post(f"{HERE}practice/", {"number": 1, **choice})
        assert response.status_code == 422
        assert 'role="alert"' in response.text
        assert "Only A is" not in response.text
    rater.refresh_from_db()
    assert rater.practice_done == 0


def test_practice_is_repeated_without_a_trace(ben: Client, rater: Rater) -> None:
    before_the_gate(rater)
    assert "Practice 1 of 2" in ben.get(f"{HERE}practice/again/").text
    page = ben.post(f"{HERE}practice/again/", {"number": 1, "choice": "a"}).text
    assert f"{HERE}practice/again/?number=2" in page
    assert "Go on to the questions" in ben.post(f"{HERE}practice/again/", {"number": 2, "choice": "a"}).text
    rater.refresh_from_db()
    assert rater.practice_done == 2
    for number in ("3", "x", "-1", "²"):
        assert ben.get(f"{HERE}practice/again/?number={number}").status_code == 302


def test_practice_ahead_of_ones_turn_is_led_back(ben: Client, rater: Rater) -> None:
    mark_read(rater, 1)
    response = ben.post(f"{HERE}practice/", {"number": 2, "choice": "a"}, follow=True)
    assert "This practice pair is not there any more" in response.text
    assert "Practice 1 of 2" in response.text


def test_practice_offers_what_the_project_asks_and_what_any_pair_expects(client: Client) -> None:
    plain = [{**PRACTICE[0]}, {**PRACTICE[0], "answer": "b"}]
    make_course(screen={"points": 2, "both_bad": False}, training={"practice": plain}, guidelines="")
    client.force_login(User.objects.get(username="ben"))
    assert re.findall(r'name="choice" value="(\w+)"', client.get(f"{HERE}practice/").text) == ["a", "b"]
    set_training(Project.objects.get(), {"practice": [*plain, PRACTICE[1]]})
    assert re.findall(r'name="choice" value="(\w+)"', client.get(f"{HERE}practice/").text) == [
        "a",
        "tie",
        "b",
        "both_bad",
    ]


# --- The gate -------------------------------------------------------------------------------------------------------


def test_before_a_try_nothing_depends_on_what_is_right(ben: Client, rater: Rater, course: Project) -> None:
    before_the_gate(rater)
    other = [{**QUESTIONS[0], "correct": 0, "why": "Other."}, {**QUESTIONS[1], "correct": [1], "why": ""}]
    seen = set()
    for questions in (QUESTIONS, other):
        set_training(course, changed(gate={**TRAINING["gate"], "questions": questions}))
        seen.add(without_tokens(ben.get(f"{HERE}gate/").text))
    assert len(seen) == 1


def test_a_try_with_a_question_left_out_does_not_count_and_keeps_what_was_marked(ben: Client, rater: Rater) -> None:
    before_the_gate(rater)
    response = to_gate(ben, 1, {"question1": ["0", "1"]})
    assert response.status_code == 422
    assert "This try did not count yet" in response.text
    assert response.text.count("No answer yet.") == 1
    assert len(re.findall(r"checked", response.text)) == 2
    for answers in ({"question0": "9", "question1": ["0"]}, {"question0": "x", "question1": ["0"]}):
        assert to_gate(ben, 1, answers).status_code == 422
    rater.refresh_from_db()
    assert rater.gate_tries == 0


def test_a_failed_try_says_which_were_wrong_and_why_but_not_what_is_right(ben: Client, rater: Rater) -> None:
    before_the_gate(rater)
    assert to_gate(ben, 1, WRONG).status_code == 302
    page = ben.get(f"{HERE}gate/").text
    assert "1 of 2 was right; 2 are needed." in page
    assert page.count("Not right last time") == 1
    assert "Where both are correct the shorter one wins." in page
    assert "Length is no reason." not in page
    assert "What would have been right" not in page
    # What was right stays marked, what was wrong does not.
    assert re.findall(r'name="(question\d)" value="(\d)" checked', page) == [("question1", "0"), ("question1", "2")]
    assert "This is the last try." in page


def test_after_the_last_try_a_calm_page_shows_what_was_right_and_one_way_back(ben: Client, rater: Rater) -> None:
    before_the_gate(rater)
    to_gate(ben, 1, WRONG)
    to_gate(ben, 2, WRONG)
    response = ben.get(f"{HERE}gate/")
    main = response.text.partition('id="main"')[2]
    assert response.status_code == 200
    assert "This project is not for you this time" in main
    assert "Nothing of yours is lost" in main
    assert re.search(r"option--right.*?The shorter one", main, flags=re.DOTALL)
    assert re.findall(r'<a [^>]*href="([^"]+)"', main) == ["/annotate/"]
    assert "<form" not in main
    for part in ("practice/", "practice/again/"):
        assert ben.get(f"{HERE}{part}")["Location"] == f"{HERE}gate/"
    # A form that was left open in another tab changes nothing.
    to_gate(ben, 3, RIGHT)
    rater.refresh_from_db()
    assert (rater.gate_tries, rater.gate_passed_at) == (2, None)


def test_a_reload_of_the_answer_counts_no_second_try(ben: Client, rater: Rater) -> None:
    before_the_gate(rater)
    to_gate(ben, 1, WRONG)
    response = to_gate(ben, 1, WRONG)
    assert response["Location"] == f"{HERE}gate/"
    assert "That try was sent before" in ben.get(f"{HERE}gate/").text
    rater.refresh_from_db()
    assert rater.gate_tries == 1


def test_questions_that_changed_meanwhile_are_asked_instead(ben: Client, rater: Rater, course: Project) -> None:
    before_the_gate(rater)
    response = to_gate(ben, 1, WRONG, key="old")
    assert response.status_code == 302
    assert "The questions were changed while you answered" in ben.get(f"{HERE}gate/").text
    rater.refresh_from_db()
    assert rater.gate_tries == 0


def test_what_the_project_says_is_never_markup(ben: Client, rater: Rater, course: Project) -> None:
    nasty = "<script>alert(1)</script>"
    question = {"question": nasty, "options": [nasty, "b"], "correct": 0, "why": nasty}
    pair = {"prompt": nasty, "response_a": nasty, "response_b": nasty, "answer": "a", "why": nasty}
    set_training(course, {"practice": [pair], "gate": {"questions": [question]}})
    mark_read(rater, 1)
    pages = [ben.get(f"{HERE}practice/").text, ben.post(f"{HERE}practice/", {"number": 1, "choice": "b"}).text]
    pages.append(ben.get(f"{HERE}gate/").text)
    to_gate(ben, 1, {"question0": "1"})
    pages.append(ben.get(f"{HERE}gate/").text)
    assert not any("<script>alert" in page for page in pages)
