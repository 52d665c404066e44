"""A project a manager would look at: pairs, two judges, some people, a plan."""

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.test import Client

from annotation.models import Pair, Project, User
from judges.defining import add_judge
from judges.models import JudgeKind, JudgeVersion
from judges.running import start_run, work_off
from routing.labels.resolving import resolve_labels
from tests.builders import make_answer, make_pair, make_person, make_project

PAIRS = 24


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    """Forget what the pages kept: tests share a process, and one test's rows are no part of another's."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def project(db: None) -> Project:
    """Return a project of 24 pairs; in every other one response a is the longer."""
    project = make_project()
    for number in range(PAIRS):
        long, short = "A long answer that says a good deal more.", "Short."
        a, b = (long, short) if number % 2 == 0 else (short, long)
        make_pair(
            project, prompt=f"Question number {number}?", response_a=a, response_b=b, external_id=f"q-{number:03}"
        )
    return project


@pytest.fixture
def pairs(project: Project) -> list[Pair]:
    return list(Pair.objects.in_project(project))


@pytest.fixture
def length(project: Project) -> JudgeVersion:
    """Return the length rule, run over every pair."""
    version = add_judge(project, "length", kind=JudgeKind.LENGTH)
    work_off(start_run(version, send=False))
    return version


@pytest.fixture
def answered(project: Project, length: JudgeVersion, pairs: list[Pair]) -> Project:
    """Return the project with Ben's and Cyd's answers on the first six pairs; they part on the sixth."""
    ben, cyd = make_person(project, "ben"), make_person(project, "cyd")
    for number, pair in enumerate(pairs[:6]):
        make_answer(pair, ben, "a", seconds=20.0 + number, rationale="It says more.")
        make_answer(pair, cyd, "b" if number == 5 else "a", seconds=40.0)
    resolve_labels(project)
    return project


def _signed_in(username: str) -> Client:
    client = Client()
    client.force_login(User.objects.get(username=username))
    return client


@pytest.fixture
def ada(project: Project) -> Client:
    """Return the manager's browser."""
    return _signed_in("ada")


@pytest.fixture
def ben(project: Project) -> Client:
    """Return an annotator's browser."""
    return _signed_in("ben")


@pytest.fixture
def eve(project: Project) -> Client:
    """Return the browser of somebody outside."""
    return _signed_in("eve")
