"""A provider to sign in by, which this site is set up for."""

from collections.abc import Callable, Iterator

import pytest
from django.core.cache import cache
from pytest_django.fixtures import Settings

from annotation.models import Project
from tests.annotation.joining.provider_visits import FAY, Visit, configured
from tests.builders import make_project
from tests.oidc_server import OIDCServer


@pytest.fixture
def project(db: None) -> Project:
    return make_project()


@pytest.fixture
def server() -> Iterator[OIDCServer]:
    cache.clear()
    with OIDCServer(person=dict(FAY)) as server:
        yield server


@pytest.fixture
def configure(server: OIDCServer, settings: Settings) -> Callable[..., None]:
    """Return what sets the provider up once more, with changes."""

    def configure(**changed: str) -> None:
        settings.OIDC = configured(server.issuer, **changed)

    configure()
    return configure


@pytest.fixture
def visit(server: OIDCServer, configure: Callable[..., None], project: Project) -> Visit:
    return Visit(server)
