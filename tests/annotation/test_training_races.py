"""Many tabs at the gate at once: no try counts twice, nobody gets one too many. The last test shows what would notice.

These tests run on SQLite and on PostgreSQL.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection

from annotation.errors import GuidelinesChanged, TryNotCounted
from annotation.guiding import mark_read, revise_guidelines, versions_of
from annotation.learning import Stage, allow_another_try, answer_gate, answer_practice, stage_of
from annotation.models import Project, Rater
from annotation.training import Gate, training_of
from tests.builders import make_person
from tests.learners import RIGHT, WRONG, make_course

pytestmark = [pytest.mark.django_db(transaction=True)]

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
TABS = 8


@pytest.fixture
def course() -> Project:
    return make_course()


@pytest.fixture
def gate(course: Project) -> Gate:
    gate = training_of(course).gate
    assert gate is not None
    return gate


@pytest.fixture
def ben(course: Project) -> Rater:
    """Return somebody who stands before the gate."""
    ben = make_person(course, "ben")
    mark_read(ben, 1)
    for number in (1, 2):
        answer_practice(training_of(course), ben, number, "a")
    return ben


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Start every call in a thread at the same moment and return the results; an error of one is raised here."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        try:
            barrier.wait()
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(run, call) for call in calls]]


def send(gate: Gate, rater: Rater, answers: list[list[int]], number: int) -> bool | None:
    """Return whether a try passed, or None where it did not count; each tab has its own copy of the row."""
    own = Rater.objects.get(pk=rater.pk)
    try:
        return answer_gate(gate, own, answers, number=number, key=gate.key, now=NOW)
    except TryNotCounted:
        return None


def test_of_many_tabs_that_send_a_try_one_counts_and_there_is_no_third(course: Project, gate: Gate, ben: Rater) -> None:
    for number, counted in ((1, 1), (2, 1), (3, 0)):
        outcomes = at_once([lambda number=number: send(gate, ben, WRONG, number)] * TABS)  # type: ignore[misc]
        assert outcomes.count(False) == counted
    ben.refresh_from_db()
    assert (ben.gate_tries, stage_of(course, ben)) == (2, Stage.REFUSED)


def test_tabs_with_different_tries_and_answers_use_no_more_than_two(course: Project, gate: Gate, ben: Rater) -> None:
    """Each tab goes on trying for as long as one counts; the right answers come too late, at the third try."""

    def tab() -> int:
        counted = 0
        for number in range(1, 10):
            outcome = send(gate, ben, RIGHT if number > 2 else WRONG, number)
            counted += outcome is not None
        return counted

    assert sum(at_once([tab] * TABS)) == 2
    ben.refresh_from_db()
    assert (ben.gate_tries, ben.gate_passed_at, stage_of(course, ben)) == (2, None, Stage.REFUSED)


def test_two_managers_who_allow_another_try_allow_one(course: Project, gate: Gate, ben: Rater) -> None:
    for number in (1, 2):
        send(gate, ben, WRONG, number)
    assert sorted(at_once([lambda: allow_another_try(ben)] * TABS)) == [False] * (TABS - 1) + [True]
    outcomes = at_once([lambda number=number: send(gate, ben, WRONG, number) for number in (3, 4, 3, 4)])  # type: ignore[misc]
    assert outcomes.count(False) == 1


def test_revisions_at_once_get_numbers_of_their_own_and_none_is_lost(course: Project) -> None:
    texts = [f"Text {number}." for number in range(TABS)]
    at_once([lambda text=text: revise_guidelines(course, text=text) for text in texts])  # type: ignore[misc]
    stored = list(versions_of(course))
    assert [version.number for version in stored] == list(range(TABS + 1, 0, -1))
    assert {version.text for version in stored} >= set(texts)
    assert Project.objects.get(pk=course.pk).guidelines == stored[0].text


def test_of_two_texts_that_began_from_one_version_one_is_stored(course: Project) -> None:
    def store(text: str) -> bool:
        try:
            revise_guidelines(course, text=text, based_on=1)
        except GuidelinesChanged:
            return False
        return True

    assert sorted(at_once([lambda: store("Mine."), lambda: store("Yours.")])) == [False, True]
    assert versions_of(course).count() == 2


@pytest.mark.postgres
def test_read_then_write_would_give_away_a_third_try(course: Project, gate: Gate, ben: Rater) -> None:
    """What answering does without its condition: between the look and the write other tabs try as well."""
    looked = threading.Barrier(TABS)

    def look_then_write() -> bool:
        own = Rater.objects.get(pk=ben.pk)
        is_open = stage_of(course, own) is Stage.GATE
        looked.wait(timeout=10)
        if is_open:
            Rater.objects.filter(pk=ben.pk).update(gate_tries=own.gate_tries + 1)
        return is_open

    assert at_once([look_then_write] * TABS).count(True) > 2
