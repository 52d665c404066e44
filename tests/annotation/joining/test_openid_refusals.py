"""Signing in by a provider that misbehaves, or by somebody who does: a calm page, and nothing written."""

import json
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest
import time_machine
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from annotation.joining.openid import configuring
from tests.annotation.joining.provider_visits import (
    BACK,
    BEGIN,
    Visit,
    configured,
    known,
    named,
    query_of,
    refused,
    stored,
)
from tests.oidc_server import CLIENT_SECRET, OIDCServer, Signer, unsigned

pytestmark = pytest.mark.either_database


BAD_TOKENS: dict[str, tuple[dict[str, Any], str]] = {
    "nonce of another": ({"nonce": "another"}, "cannot use"),
    "no nonce": ({"nonce": None}, "cannot use"),
    "nonce no text": ({"nonce": ["x"]}, "cannot use"),
    "nonce no character": ({"nonce": "\ud800"}, "cannot use"),
    "audience of another": ({"aud": "another"}, "cannot use"),
    "no audience": ({"aud": None}, "cannot use"),
    "for several, issued to another": ({"aud": ["tiebreak", "another"], "azp": "another"}, "cannot use"),
    "for several, issued to nobody": ({"aud": ["tiebreak", "another"]}, "cannot use"),
    "issued to another": ({"azp": "another"}, "cannot use"),
    "issuer of another": ({"iss": "https://evil.example.org"}, "cannot use"),
    "issuer with a slash": ({"iss": "SLASH"}, "cannot use"),
    "no issuer": ({"iss": None}, "cannot use"),
    "expired": ({"exp": 1}, "is for another time"),
    "just expired": ({"exp": "NOW-90"}, "is for another time"),
    "no expiry": ({"exp": None}, "cannot use"),
    "expiry no number": ({"exp": "soon"}, "cannot use"),
    "expiry beyond time": ({"exp": float("inf")}, "cannot use"),
    "from the future": ({"iat": "NOW+600"}, "is for another time"),
    "not yet": ({"nbf": "NOW+600"}, "is for another time"),
    "no subject": ({"sub": None}, "cannot use"),
    "empty subject": ({"sub": ""}, "cannot use"),
    "subject no text": ({"sub": 7}, "cannot use"),
    "long subject": ({"sub": "x" * 256}, "cannot use"),
    "subject with NUL": ({"sub": "person-1\0"}, "cannot use"),
    "huge": ({"filler": "x" * 70_000}, "cannot use"),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_token_that_is_not_for_us_and_now_signs_nobody_in(visit: Visit, configure: Any, name: str) -> None:
    configure(sign_up="true")
    known(named("ben"), visit.server)
    changed, sentence = BAD_TOKENS[name]
    now = int(timezone.now().timestamp())
    visit.server.claims = {
        claim: visit.server.issuer + "/"
        if value == "SLASH"
        else now + int(value[3:])
        if isinstance(value, str) and value.startswith("NOW")
        else value
        for claim, value in changed.items()
    }
    before = stored()
    refused(visit, visit.go(), 502, sentence)
    assert stored() == before


def test_clocks_may_differ_by_a_minute(visit: Visit) -> None:
    known(named("ben"), visit.server)
    now = int(timezone.now().timestamp())
    visit.server.claims = {"exp": now - 40, "iat": now + 40, "nbf": now + 40}
    assert visit.go().status_code == 302


def _broken(claims: dict[str, Any]) -> str:
    head, body, signature = Signer().sign(claims).split(".")
    return f"{head}.{body}.{signature[:-6]}AAAAAA"


SIGNATURES: dict[str, Callable[[dict[str, Any]], str]] = {
    "broken": _broken,
    "by another key under the same name": Signer(number=2).sign,
    "none": unsigned,
    "by the public key as a secret": lambda claims: Signer().sign_by_public_key(claims),
    "an algorithm of another kind of key": lambda claims: Signer(algorithm="ES256").sign(claims),
    "an algorithm that is not the key's": lambda claims: Signer(algorithm="RS512").sign(claims),
    "unknown name": Signer(kid="key-9").sign,
    "no token": lambda claims: "no token",
    "not ASCII": lambda claims: "\ud800.é.x",
    "empty": lambda claims: "",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_token_that_the_provider_did_not_sign_signs_nobody_in(visit: Visit, name: str) -> None:
    known(named("ben"), visit.server)
    visit.server.sign = SIGNATURES[name]
    before = stored()
    refused(visit, visit.go(), 502, "cannot use")
    assert stored() == before


@pytest.mark.filterwarnings("ignore::jwt.InsecureKeyLengthWarning")
@pytest.mark.parametrize("keys", ["short", "symmetric", "for encryption", "twice", "no list", "odd"])
def test_keys_that_are_no_good_sign_nobody_in(visit: Visit, keys: str) -> None:
    known(named("ben"), visit.server)
    public: Any = visit.server.signer.public()
    if keys == "short":
        visit.server.signer = Signer(bits=1024)
        public = visit.server.signer.public()
    published: Any = {
        "short": [public],
        "symmetric": [{"kty": "oct", "k": "c2VjcmV0", "kid": "key-1", "alg": "RS256"}],
        "for encryption": [{**public, "use": "enc"}],
        "twice": [public, public],
        "no list": {"kid": "key-1"},
        "odd": [None, 7, {"kty": "RSA", "kid": "key-1"}, {"kty": "RSA", "kid": "key-1", "n": "?", "e": 3}],
    }
    visit.server.published = published[keys]
    before = stored()
    refused(visit, visit.go(), 502, "cannot use")
    assert stored() == before


@pytest.mark.parametrize(
    ("path", "status", "body", "sentence"),
    [
        ("/token", 500, b"{}", "does not answer right now"),
        ("/token", 200, b"<html>", "cannot use"),
        ("/token", 200, b"[]", "cannot use"),
        ("/token", 200, b"{}", "cannot use"),
        ("/token", 200, b'{"id_token": 7}', "cannot use"),
        ("/token", 200, b"[" * 100_000, "cannot use"),
        ("/token", 200, b'{"id_token": "' + b"x" * 600_000 + b'"}', "cannot use"),
        ("/token", 302, b"", "cannot use"),
        ("/token", 400, b'{"error": "invalid_grant"}', "does not take this sign-in any more"),
        ("/token", 401, b'{"error": "invalid_client"}', "cannot use"),
        ("/token", 200, b"\xff\xfe", "cannot use"),
        ("/keys", 503, b"", "does not answer right now"),
        ("/keys", 200, b'{"keys": 7}', "cannot use"),
        ("/keys", 404, b"", "cannot use"),
    ],
)
def test_a_provider_on_a_bad_day_signs_nobody_in(
    visit: Visit, path: str, status: int, body: bytes, sentence: str
) -> None:
    known(named("ben"), visit.server)
    visit.server.answers = {path: (status, body)}
    before = stored()
    refused(visit, visit.go(), 400 if "invalid_grant" in str(body) else 502, sentence)
    assert stored() == before


def test_a_provider_that_drips_is_given_up_after_a_while(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    known(named("ben"), visit.server)
    monkeypatch.setattr("annotation.joining.openid.asking.SECONDS", 0.2)
    visit.server.drips = {"/token"}
    refused(visit, visit.go(), 502, "does not answer right now")


def test_a_provider_that_says_nothing_is_given_up(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotation.joining.openid.asking.TIMEOUT", httpx2.Timeout(0.2))
    visit.server.answers = {"/.well-known/openid-configuration": (200, b"{}" * 10)}
    visit.server.drips = {"/.well-known/openid-configuration"}
    monkeypatch.setattr("annotation.joining.openid.asking.SECONDS", 0.2)
    refused(visit, visit.client.post(BEGIN), 502, "does not answer right now")


def test_a_provider_that_is_down_is_said_to_be(visit: Visit, settings: Settings, client: Client) -> None:
    with OIDCServer() as gone:
        settings.OIDC = configured(gone.issuer)
    assert client.get("/sign-in/").status_code == 200  # the page itself asks nobody
    refused(visit, visit.client.post(BEGIN), 502, "does not answer right now")


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example.org"},
        {"token_endpoint": "http://evil.example.org/token"},
        {"token_endpoint": None},
        {"jwks_uri": "https://user:password@evil.example.org/"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"userinfo_endpoint": 7},
        {"token_endpoint_auth_methods_supported": ["private_key_jwt"]},
        {"token_endpoint_auth_methods_supported": 7},
    ],
    ids=str,
)
def test_a_document_that_cannot_be_trusted_leads_nobody_anywhere(visit: Visit, document: dict[str, Any]) -> None:
    visit.server.document = document
    refused(visit, visit.client.post(BEGIN), 502, "cannot use")


@pytest.mark.parametrize(
    "url", ["https://exa mple.org/", "https://\x7f/", "https://xn--\u00e9.org/", "https://a\ud800"]
)
def test_an_address_that_cannot_be_asked_is_the_providers_fault(visit: Visit, url: str) -> None:
    known(named("ben"), visit.server)
    visit.server.document = {"token_endpoint": url}
    response: Any = visit.client.post(BEGIN)
    if response.status_code == 200:  # it looks like an address, until it is asked
        response = visit.go()
    assert response.status_code == 502
    assert visit.user_id is None


@pytest.mark.parametrize("token", ["a\r\nX-Else: 1", "\u00e9\u2028", "\ud800"])
def test_an_access_token_that_cannot_be_sent_is_the_providers_fault(visit: Visit, token: str) -> None:
    known(named("ben"), visit.server)
    visit.server.person = {"sub": "person-1"}
    visit.server.gives = token
    before = stored()
    response: Any = visit.go()
    assert response.status_code == 502
    assert "Nothing was changed here." in response.text
    assert stored() == before


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        ("access_denied", "did not let you in, or you said no there"),
        ("temporarily_unavailable", "cannot sign anybody in right now"),
        ("login_required", "did not sign you in"),
        ("<script>", "did not sign you in"),
    ],
)
def test_who_is_sent_back_with_an_error_is_told_what_it_means(visit: Visit, error: str, sentence: str) -> None:
    known(named("ben"), visit.server)
    visit.server.denies = error
    before = stored()
    response: Any = visit.go()
    refused(visit, response, 403, sentence)
    assert "<script>" not in response.text.partition("<main")[2]
    assert "described" not in response.text  # nobody's words but ours
    assert stored() == before


def test_a_state_is_good_once_in_its_own_browser_for_ten_minutes(visit: Visit) -> None:
    known(named("ben"), visit.server)
    address = visit.at_provider(visit.leave())
    stranger = Visit(visit.server)
    refused(stranger, stranger.come_back(address), 400, "is not under way in this browser")
    assert visit.come_back(address).status_code == 302
    visit.client.post("/sign-out/")
    refused(visit, visit.come_back(address), 400, "is not under way in this browser")
    with time_machine.travel(datetime.fromisoformat("2026-12-01T12:00:00+00:00"), tick=False) as clock:
        old = visit.at_provider(visit.leave())
        clock.shift(timedelta(minutes=10, seconds=1))
        refused(visit, visit.come_back(old), 400, "is not under way in this browser")
    for odd in (BACK, f"{BACK}?state=", f"{BACK}?code=x", f"{BACK}?state=x&error=access_denied"):
        refused(visit, visit.come_back(odd), 400, "is not under way in this browser")


def test_a_code_that_was_used_is_refused_by_the_provider(visit: Visit) -> None:
    known(named("ben"), visit.server)
    first = visit.at_provider(visit.leave())
    second = visit.leave()
    assert visit.come_back(first).status_code == 302
    visit.client.post("/sign-out/")
    thief = Visit(visit.server)
    stolen = f"{BACK}?state={query_of(thief.leave())['state']}&code={query_of(first)['code']}&iss={visit.server.issuer}"
    refused(thief, thief.come_back(stolen), 400, "does not take this sign-in any more")
    assert visit.client.session.get("openid_under_way") is None
    assert second


def test_a_code_that_another_browser_was_given_does_not_fit_our_verifier(visit: Visit) -> None:
    known(named("ben"), visit.server)
    victim = query_of(visit.at_provider(visit.leave()))
    thief = Visit(visit.server)
    mixed = f"{BACK}?state={query_of(thief.leave())['state']}&code={victim['code']}&iss={visit.server.issuer}"
    refused(thief, thief.come_back(mixed), 400, "does not take this sign-in any more")


@pytest.mark.parametrize("names", ["https://evil.example.org", ""])
def test_an_answer_of_another_issuer_is_not_taken(visit: Visit, names: str) -> None:
    known(named("ben"), visit.server)
    visit.server.names = names
    refused(visit, visit.go(), 502, "cannot use")
    assert "/token" not in visit.server.asked


def test_a_sign_in_of_the_provider_before_ends_with_another(visit: Visit, configure: Any, settings: Settings) -> None:
    address = visit.at_provider(visit.leave())
    with OIDCServer() as other:
        settings.OIDC = configured(other.issuer)
        refused(visit, visit.come_back(address), 400, "is not under way")
        assert other.asked == []


def test_four_tabs_may_be_under_way(visit: Visit) -> None:
    known(named("ben"), visit.server)
    tabs = [visit.leave() for _tab in range(5)]
    assert len(visit.client.session["openid_under_way"]) == 4
    assert visit.come_back(visit.at_provider(tabs[0])).status_code == 400
    assert visit.come_back(visit.at_provider(tabs[4])).status_code == 302


def test_tries_of_one_address_are_limited(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotation.views.openid.ADDRESS_TRIES", 4)
    known(named("ben"), visit.server)
    address = visit.at_provider(visit.leave())
    for _try in range(4):
        assert visit.client.get(BACK).status_code == 400
    refusal: Any = visit.come_back(address)
    assert refusal.status_code == 429
    assert "quarter of an hour" in refusal.text
    assert "/token" not in visit.server.asked
    assert visit.user_id is None
    # Leaving and passwords are counted together.
    for _try in range(3):
        assert visit.client.post("/sign-in/", {"username": "ben", "password": "wrong"}).status_code == 200
    assert visit.client.post(BEGIN).status_code == 429


def test_no_secret_is_in_a_page_or_a_log(visit: Visit, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    visit.server.document = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    address = visit.leave()
    kept = next(iter(visit.client.session["openid_under_way"].values()))
    back = visit.at_provider(address)
    # The provider quotes all it was sent.
    visit.server.answers = {"/token": (401, json.dumps({"error": CLIENT_SECRET, "sent": kept}).encode())}
    pages = [visit.come_back(back).text]
    visit.server.answers = {}
    tokens: list[str] = []

    def broken(claims: dict[str, Any]) -> str:
        tokens.append(_broken(claims))
        return tokens[-1]

    visit.server.sign = broken
    pages.append(Visit(visit.server).go().text)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("annotation")]
    assert len([line for line in ours if "did not work" in line]) == 2
    secrets = [CLIENT_SECRET, kept["verifier"], kept["nonce"], query_of(back)["code"], *tokens, *visit.server.given]
    assert len(tokens) == 1
    for text in (*pages, caplog.text):
        assert [one for one in secrets if one in text] == []
    provider = configuring.provider()
    assert CLIENT_SECRET not in repr(provider)
