"""Every text that people, managers and models type: stored and shown again as it was written, by every form of it."""

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from annotation.answering import RATIONALE_LIMIT
from annotation.assigning import Opening, open_tasks
from annotation.models import Assignment, Preference, Project, Task, User
from tests.builders import make_pair, make_project
from tests.hostile import HOSTILE, in_code, in_latex, in_markdown, storable

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]
HERE = "/annotate/helpfulness/"
AREA = re.compile(r'<textarea[^>]*name="rationale"[^>]*>(.*?)</textarea>', re.S)
FORMS: dict[str, Callable[[str], str]] = {"plain": str, "markdown": in_markdown, "latex": in_latex, "code": in_code}
PAYLOADS = [
    (f"{name}-{kind}", form(storable(text)))
    for name, text in HOSTILE.items()
    for kind, form in FORMS.items()
    if len(form(text)) <= RATIONALE_LIMIT
]


@pytest.fixture
def study() -> Project:
    project = make_project(questionnaire={"leases_ahead": 0})
    open_tasks(project, [Opening(make_pair(project).pk, float(-number)) for number in range(3)], votes_wanted=1)
    return project


@pytest.fixture
def ben(client: Client, study: Project) -> Client:
    client.force_login(User.objects.get(username="ben"))
    return client


def held(client: Client) -> Assignment:
    client.get(HERE)
    return Assignment.objects.get(rater__name="ben", state="leased")


def post(client: Client, name: str, assignment: Assignment, **sent: str) -> Any:
    return client.post(reverse(name, args=["helpfulness", assignment.pk]), sent)


def as_sent(text: str) -> str:
    """Return a text as it comes from a form: one kind of line break, and no space around it."""
    return text.replace("\r\n", "\n").strip()


def test_there_are_forty_payloads_in_four_forms() -> None:
    assert len({name.rpartition("-")[0] for name, _ in PAYLOADS}) >= 40
    assert {name.rpartition("-")[2] for name, _ in PAYLOADS} == set(FORMS)


def test_a_reason_comes_back_into_its_box_as_it_was_typed(ben: Client) -> None:
    assignment = held(ben)
    lost = []
    for name, text in PAYLOADS:
        assert post(ben, "keep_draft", assignment, rationale=text).status_code == 204, name
        html = ben.get(HERE).text
        # A browser drops the line break right behind the opening tag.
        if unescape(AREA.findall(html)[0]).replace("\r\n", "\n") != text.replace("\r\n", "\n").removeprefix("\n"):
            lost.append(name)
    assert lost == []


def test_a_reason_is_stored_as_it_was_typed(ben: Client, study: Project) -> None:
    assignment = held(ben)
    for number, (name, text) in enumerate(PAYLOADS):
        sent = {"answer": "first2", "rationale": text, **({"revises": "1"} if number else {})}
        assert post(ben, "submit_answer", assignment, **sent).status_code == 302, name
        assert Preference.objects.current().get().rationale == as_sent(text), name


def test_a_note_is_stored_as_it_was_typed(ben: Client) -> None:
    assignment = held(ben)
    for name, text in PAYLOADS:
        if len(text) > 2_000:
            continue
        Assignment.objects.filter(pk=assignment.pk).update(state="leased", place=0, slot=0)
        Task.objects.filter(pk=assignment.task_id).update(taken=1)
        assert post(ben, "skip_pair", assignment, reason="unclear", note=text).status_code == 302, name
        assignment.refresh_from_db()
        assert assignment.note.replace("\r\n", "\n") == as_sent(text), name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rationale", "zero\x00byte"),
        ("note", "zero\x00byte"),
        ("answer", "first2\x00"),
        ("answer", "x" * 100_000),
        ("seconds", "1e999"),
        ("reading_seconds", "-1"),
        ("seconds", "nan"),
        ("spans", "[" * 5_000),
        ("spans", '[{"side": "A", "start": 1e400, "end": 2, "text": ""}]'),
        ("spans", '[{"side": ["A"], "start": 0, "end": 2, "text": {}}]'),
        ("reason", "A:99"),
        ("content_flag", "; drop table"),
        ("confidence", "9" * 400),
        ("held", "," * 100_000),
        ("held", "not-an-id,\x00"),
        ("revises", "maybe"),
        ("rationale", "\ud800"),
    ],
)
@pytest.mark.parametrize("name", ["submit_answer", "skip_pair", "keep_draft"])
def test_no_field_can_make_the_server_fail(ben: Client, name: str, field: str, value: str) -> None:
    assignment = held(ben)
    sent = {"answer": "first2", "reason": "unclear", field: value}
    body = "&".join(f"{key}={_quoted(one)}" for key, one in sent.items())
    where = reverse(name, args=["helpfulness", assignment.pk])
    response = ben.post(where, body, content_type="application/x-www-form-urlencoded", headers={"HX-Request": "true"})
    assert response.status_code in (200, 204, 409, 422)


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))
