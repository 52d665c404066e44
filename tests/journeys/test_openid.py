"""Signing in by an OpenID Connect provider in a browser: the policy of forms, cookies and the way on hold there too."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.core.cache import cache
from playwright.sync_api import Page, expect
from pytest_django.fixtures import Settings

from annotation.models import Identity, Project, User
from tests.annotation.joining.provider_visits import FAY, configured
from tests.journeys.steps import HERE
from tests.oidc_server import OIDCServer

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def server(settings: Settings) -> Iterator[OIDCServer]:
    cache.clear()
    with OIDCServer(person=dict(FAY)) as server:
        settings.OIDC = configured(server.issuer)
        yield server


def test_a_person_goes_to_the_provider_and_comes_back_signed_in(page: Page, study: Project, server: OIDCServer) -> None:
    blocked: list[str] = []
    page.on("console", lambda said: blocked.append(said.text) if "Content Security Policy" in said.text else None)
    page.goto(f"/sign-in/?next={HERE}")
    assert Axe().run(page).violations_count == 0
    button = page.get_by_role("button", name="Sign in with Example University")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("No account here belongs to your account of Example University.")
    assert Axe().run(page).violations_count == 0
    Identity.objects.create(user=User.objects.get(username="ben"), issuer=server.issuer, subject="person-1")
    page.get_by_role("link", name="Begin again").click()
    button.click()
    page.wait_for_url("**/annotate/")
    page.get_by_role("link", name="Your account and Example University").click()
    expect(page.get_by_role("main")).to_contain_text("Your account ben is connected")
    assert Axe().run(page).violations_count == 0
    assert server.asked.count("/authorize") == 2
    assert blocked == []
