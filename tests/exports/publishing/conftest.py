"""A small finished export, the Hub on loopback, and a site that may publish there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from annotation.models import Project
from exports.models import Snapshot
from exports.publishing import hub
from tests.builders import make_project
from tests.exports.publishing.exports import make_export
from tests.hub_server import TOKEN, HubServer


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the seconds that would have been waited for the Hub; nobody waits them."""
    waited: list[float] = []
    monkeypatch.setattr(hub, "pause", waited.append)
    return waited


@pytest.fixture
def server(settings: Settings, pauses: list[float]) -> Iterator[HubServer]:
    """Return the Hub, which this site has a token of."""
    with HubServer() as server:
        settings.HUB_URL = server.origin
        settings.HUB_TOKEN = TOKEN
        yield server


@pytest.fixture
def project(db: None) -> Project:
    """Return a project; what is in its exports is made by hand, so that it is quick."""
    return make_project()


@pytest.fixture
def snapshot(project: Project, tmp_path: Path) -> Snapshot:
    """Return a finished export with two large files and three small ones."""
    return make_export(project, tmp_path / "one", 1, rows=6)


@pytest.fixture
def later(project: Project, snapshot: Snapshot, tmp_path: Path) -> Snapshot:
    """Return a second export, of one row more and without Parquet."""
    return make_export(project, tmp_path / "two", 2, rows=7, parquet=False)
