"""A project with open pairs and a study on Prolific, whose server runs on loopback."""

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from pytest_django.fixtures import Settings

from annotation.assigning import Opening, open_tasks
from annotation.models import CrowdStudy, Project, Tier
from tests.arrivals import make_crowd_study
from tests.builders import make_pair, make_project
from tests.prolific_server import TOKEN, WORKSPACE, ProlificServer


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    """Forget keys and counts of another test."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def prolific(settings: Settings) -> Iterator[ProlificServer]:
    """Return Prolific, and have this site know it."""
    with ProlificServer() as server:
        settings.PROLIFIC_URL = f"{server.origin}/api/v1/"
        settings.PROLIFIC_KEYS_URL = f"{server.origin}/.well-known/study/jwks.json"
        settings.PROLIFIC_TOKEN = TOKEN
        settings.PROLIFIC_WORKSPACE = WORKSPACE
        settings.PROLIFIC_HOOK_SECRET = "the-signing-secret"
        yield server


@pytest.fixture
def project(db: None) -> Project:
    """Return a project of six pairs that each want two answers; nothing comes twice."""
    project = make_project(questionnaire={"repeat_percent": 0})
    openings = [Opening(make_pair(project).pk, float(6 - number)) for number in range(6)]
    open_tasks(project, openings, votes_wanted=2, tier=Tier.CROWD)
    return project


@pytest.fixture
def study(project: Project, prolific: ProlificServer) -> CrowdStudy:
    """Return a study whose arrivals are signed, of three answers a visit."""
    return make_crowd_study(project, prolific)
