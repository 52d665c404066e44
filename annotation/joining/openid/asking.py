"""Asking the provider: its discovery document, its keys, for an ID token, and who somebody is.

Every call has a time limit as a whole and reads a limited number of bytes; redirects are refused, since secrets would
go to whatever host answered.
"""

import json
import ssl
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import quote_plus

import httpx2
from django.core.cache import cache as kept
from django.utils.translation import gettext as _

from annotation.joining.openid.configuring import Provider, is_safe_url
from annotation.joining.openid.errors import Outdated, ProviderFault, untrusted

TIMEOUT = httpx2.Timeout(5.0)
# A call as a whole: a server that sends a byte a second would never run into the other.
SECONDS = 10.0
BYTES = 512 * 1024
# A provider announces new keys before it signs by them; one that is not kept is asked for at once.
KEPT_SECONDS = 3600


@cache
def _certificates() -> ssl.SSLContext:
    """Return whose certificates are trusted; reading them takes 20 ms, as long as all else in a call."""
    return httpx2.create_ssl_context()


class Endpoints(NamedTuple):
    """What the discovery document says, as far as it is needed."""

    authorization: str
    token: str
    keys: str
    userinfo: str
    secret_in_header: bool
    names_itself: bool


class Granted(NamedTuple):
    """What the provider gives for a code."""

    id_token: str
    access_token: str


def discover(provider: Provider) -> Endpoints:
    """Return where the provider is asked; kept for an hour. Raises `ProviderFault`."""
    kept_at = f"openid-discovery:{provider.issuer}"
    endpoints: Endpoints | None = kept.get(kept_at)
    if endpoints is None:
        said = _read(provider, provider.issuer.rstrip("/") + "/.well-known/openid-configuration")
        endpoints = _endpoints(provider, said)
        kept.set(kept_at, endpoints, timeout=KEPT_SECONDS)
    return endpoints


def keys_of(provider: Provider, *, anew: bool = False) -> list[Mapping[str, Any]]:
    """Return the keys that the provider publishes; kept for an hour unless they are wanted anew."""
    kept_at = f"openid-keys:{provider.issuer}"
    keys: list[Mapping[str, Any]] | None = None if anew else kept.get(kept_at)
    if keys is None:
        said = _read(provider, discover(provider).keys).get("keys")
        if not isinstance(said, list):
            raise untrusted(provider.label, "its keys are no list")
        keys = [row for row in said if isinstance(row, dict)]
        kept.set(kept_at, keys, timeout=KEPT_SECONDS)
    return keys


def exchange(provider: Provider, code: str, *, verifier: str, redirect_uri: str) -> Granted:
    """Return what the provider gives for a code. Raises `Outdated` where it takes the code no more; `ProviderFault`."""
    endpoints = discover(provider)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
    }
    credentials = None
    if endpoints.secret_in_header:
        # RFC 6749, 2.3.1: both are encoded as in a form first.
        credentials = (quote_plus(provider.client_id), quote_plus(provider.client_secret))
    else:
        form |= {"client_id": provider.client_id, "client_secret": provider.client_secret}
    said = _read(provider, endpoints.token, form=form, credentials=credentials)
    id_token, access_token = said.get("id_token"), said.get("access_token")
    if not isinstance(id_token, str):
        raise untrusted(provider.label, "its answer to a code has no ID token")
    return Granted(id_token, access_token if isinstance(access_token, str) else "")


def ask_userinfo(provider: Provider, granted: Granted) -> Mapping[str, Any]:
    """Return what the provider's userinfo endpoint says of somebody; nothing where there is none."""
    url = discover(provider).userinfo
    return _read(provider, url, bearer=granted.access_token) if url and granted.access_token else {}


def _endpoints(provider: Provider, said: Mapping[str, Any]) -> Endpoints:
    if said.get("issuer") != provider.issuer:
        raise untrusted(
            provider.label, "its discovery document names another issuer; TIEBREAK_OIDC_ISSUER has to be the same text"
        )
    urls: dict[str, str] = {}
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
        url = said.get(name, "")
        if not isinstance(url, str) or not (is_safe_url(url) or (not url and name == "userinfo_endpoint")):
            raise untrusted(provider.label, f"its {name} is missing or no https:// address")
        urls[name] = url
    methods = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    if not isinstance(methods, list) or not {"client_secret_basic", "client_secret_post"}.intersection(
        map(str, methods)
    ):
        raise untrusted(provider.label, "it takes a client's secret neither in a header nor in a form")
    return Endpoints(
        authorization=urls["authorization_endpoint"],
        token=urls["token_endpoint"],
        keys=urls["jwks_uri"],
        userinfo=urls["userinfo_endpoint"],
        secret_in_header="client_secret_basic" in methods,
        names_itself=said.get("authorization_response_iss_parameter_supported") is True,
    )


def _read(
    provider: Provider,
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    credentials: tuple[str, str] | None = None,
    bearer: str = "",
) -> Mapping[str, Any]:
    """Return the JSON object at an address; a form is posted."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    until = time.monotonic() + SECONDS
    content = bytearray()
    try:
        with httpx2.stream(
            "GET" if form is None else "POST",
            url,
            headers=headers,
            data=form,
            auth=credentials,
            timeout=TIMEOUT,
            verify=_certificates(),
            follow_redirects=False,
        ) as answer:
            for part in answer.iter_raw():
                content += part
                if len(content) > BYTES:
                    raise untrusted(provider.label, "an answer is larger than half a megabyte")
                if time.monotonic() > until:
                    raise _unreachable(provider, "an answer took more than ten seconds")
    except httpx2.HTTPError as error:
        # The error's own text may quote what was sent.
        raise _unreachable(provider, type(error).__name__) from error
    except (httpx2.InvalidURL, ValueError) as error:
        # An address or a token of the provider's that cannot be sent.
        raise untrusted(provider.label, type(error).__name__) from error
    if answer.status_code >= 500:
        raise _unreachable(provider, f"HTTP {answer.status_code}")
    said = _object(content)
    if not answer.is_success:
        if form is not None and said is not None and said.get("error") == "invalid_grant":
            raise Outdated(
                _(
                    "%(provider)s does not take this sign-in any more: it was used before, or took too long. "
                    "Begin again."
                )
                % {"provider": provider.label},
                why="invalid_grant",
            )
        raise untrusted(provider.label, f"HTTP {answer.status_code}" + _named_error(said))
    if said is None:
        raise untrusted(provider.label, "an answer is no JSON object")
    return said


def _object(content: bytearray) -> Mapping[str, Any] | None:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _named_error(said: Mapping[str, Any] | None) -> str:
    """Return the name of an error by RFC 6749, which is a word of ours to quote; its description is not."""
    known = {"invalid_client", "invalid_request", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
    name = None if said is None else said.get("error")
    return f" {name}" if isinstance(name, str) and name in known else ""


def _unreachable(provider: Provider, why: str) -> ProviderFault:
    return ProviderFault(
        _("%(provider)s does not answer right now. Try again in a minute.") % {"provider": provider.label}, why=why
    )
