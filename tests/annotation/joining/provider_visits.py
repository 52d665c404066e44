"""A browser that goes to the OpenID Connect provider of `tests.oidc_server` and comes back, as the test client."""

import html
import re
from http.client import HTTPConnection
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from django.http import HttpResponse
from django.test import Client

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
