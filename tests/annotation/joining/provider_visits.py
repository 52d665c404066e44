"""A browser that goes to the OpenID Connect provider of `tests.oidc_server` and comes back, as the test client."""

import html
import re
from http.client import HTTPConnection
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from django.http import HttpResponse
from django.test import Client

from annotation.models import Identity, Invitation, Membership, User
from tests.oidc_server import CLIENT_ID, CLIENT_SECRET, OIDCServer

OFF = {
    "issuer": "",
    "client_id": "",
    "client_secret": "",
    "scopes": "openid email profile",
    "label": "",
    "domains": "",
    "sign_up": "false",
    "link_by_email": "false",
    "roles_claim": "",
    "roles": "",
    "trusted_methods": "",
}


FAY = {
    "sub": "person-1",
    "preferred_username": "fay@example.org",
    "email": "Fay@example.org",
    "email_verified": True,
}
BEGIN = "/sign-in/openid/"
BACK = "/sign-in/openid/return/"
ACCOUNT = "/sign-in/openid/account/"


def configured(issuer: str, /, **changed: str) -> dict[str, str]:
    """Return what an operator sets for a provider."""
    on = {"issuer": issuer, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "label": "Example University"}
    return {**OFF, **on, **changed}


class Visit:
    """One browser, and the provider that it is sent to."""

    def __init__(self, server: OIDCServer, client: Client | None = None) -> None:
        self.server = server
        self.client = client or Client()

    def leave(self, path: str = "/sign-in/openid/", **values: str) -> str:
        """Press the button and return the provider's address."""
        page = self.client.post(path, values)
        assert page.status_code == 200, page.text
        found = re.search(r'<a class="button button--primary" href="([^"]+)" rel="noreferrer">', page.text)
        assert found, page.text
        address = html.unescape(found[1])
        assert f'content="0; url={found[1]}"' in page.text
        assert address.startswith(f"{self.server.issuer}/authorize?")
        return address

    def at_provider(self, address: str) -> str:
        """Go to the provider and return where it sends the browser back to."""
        # Not by the site's own client: what that logs of the site is looked at.
        parts = urlsplit(address)
        connection = HTTPConnection(parts.netloc)
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        connection.close()
        assert answer.status == 302
        return str(answer.headers["Location"]).removeprefix("http://testserver")

    def come_back(self, address: str, **extra: Any) -> HttpResponse:
        return cast("HttpResponse", self.client.get(address, **extra))

    def go(self, path: str = "/sign-in/openid/", **values: str) -> HttpResponse:
        """Go the whole way."""
        return self.come_back(self.at_provider(self.leave(path, **values)))

    @property
    def user_id(self) -> str | None:
        return self.client.session.get("_auth_user_id")


def query_of(address: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(address).query).items()}


def known(user: User, server: OIDCServer, subject: str = "person-1") -> Identity:
    """Let a person of the provider be an account's."""
    return Identity.objects.create(user=user, issuer=server.issuer, subject=subject)


def named(username: str) -> User:
    return User.objects.get(username=username)


def stored() -> tuple[Any, ...]:
    """Return what a sign-in could leave behind."""
    return (
        list(User.objects.order_by("pk").values_list("pk", "username", "email", "password", "last_login")),
        list(Identity.objects.order_by("pk").values_list("user_id", "subject", "last_used_at")),
        list(Membership.objects.order_by("pk").values_list("user_id", "project_id", "role")),
        list(Invitation.objects.order_by("pk").values_list("pk", "used")),
    )


def refused(visit: Visit, response: Any, status: int, sentence: str) -> None:
    """Hold an answer to be the page that says why nobody was signed in."""
    assert response.status_code == status, response.text
    assert sentence in response.text
    assert "Nothing was changed here." in response.text
    assert visit.user_id is None
    assert visit.client.session.get("openid_under_way", {}) == {}
