"""What an operator sets about the provider: off by default, and wrong settings are said and never half in force."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.checks import run_checks
from django.test import Client
from pytest_django.fixtures import Settings

from annotation.joining.openid.configuring import faults, is_safe_url, label, provider
from tests.annotation.joining.provider_visits import OFF, configured

pytestmark = pytest.mark.either_database

ISSUER = "https://id.example.org/realms/main"


def test_a_provider_is_read_with_its_defaults(settings: Settings) -> None:
    settings.OIDC = configured(ISSUER, label="")
    read = provider()
    assert read is not None
    assert (read.issuer, read.label, read.scopes) == (ISSUER, "id.example.org", "openid email profile")
    assert (read.sign_up, read.link_by_email, read.roles, read.trusted_methods) == (False, False, {}, frozenset())
    assert faults() == []
    assert run_checks() == []


def test_it_is_off_by_default() -> None:
    assert django_settings.OIDC == OFF
    assert (provider(), faults(), label()) == (None, [], "")


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"issuer": ""}, "TIEBREAK_OIDC_CLIENT_ID, TIEBREAK_OIDC_CLIENT_SECRET is set without TIEBREAK_OIDC_ISSUER"),
        ({"issuer": "http://id.example.org"}, "it takes the https:// address"),
        ({"issuer": "id.example.org"}, "it takes the https:// address"),
        ({"issuer": "https://"}, "it takes the https:// address"),
        ({"issuer": "https://[x"}, "it takes the https:// address"),
        ({"issuer": "https://a:b@id.example.org"}, "it takes the https:// address"),
        ({"issuer": f"{ISSUER}?x=1"}, "without anything behind its path"),
        ({"issuer": f"{ISSUER}/.well-known/openid-configuration"}, "takes the issuer alone"),
        ({"client_id": " "}, "TIEBREAK_OIDC_CLIENT_ID is missing"),
        ({"client_secret": ""}, "TIEBREAK_OIDC_CLIENT_SECRET is missing"),
        ({"scopes": "email"}, "it has to hold openid"),
        ({"label": "x" * 41}, "40 characters at most"),
        ({"domains": "example.org, @example.net"}, "TIEBREAK_OIDC_DOMAINS has @example.net"),
        ({"sign_up": "perhaps"}, "TIEBREAK_OIDC_SIGN_UP is 'perhaps'; it takes true or false"),
        ({"link_by_email": "2"}, "TIEBREAK_OIDC_LINK_BY_EMAIL is '2'"),
        ({"roles": '{"a": {"p": "annotator"}}'}, "are set together, or neither is"),
        ({"roles_claim": "groups"}, "are set together, or neither is"),
        ({"roles_claim": "groups", "roles": "["}, "takes JSON such as"),
        ({"roles_claim": "groups", "roles": "[]"}, "takes JSON such as"),
        ({"roles_claim": "groups", "roles": '{"a": "annotator"}'}, "takes JSON such as"),
        ({"roles_claim": "groups", "roles": '{"a": {"p": "owner", "q": []}}'}, "names [], owner; roles are manager"),
    ],
    ids=str,
)
@pytest.mark.django_db
def test_what_is_wrong_is_an_error_of_check_and_no_button(
    settings: Settings, client: Client, changed: dict[str, str], sentence: str
) -> None:
    settings.OIDC = configured(ISSUER, **changed)
    said = [error for error in run_checks() if (error.id or "").startswith("annotation.E")]
    assert [sentence in error.msg for error in said].count(True) == 1, said
    assert all("docs/operating.md" in (error.hint or "") for error in said)
    assert provider() is None
    assert "Sign in with" not in client.get("/sign-in/").text
    assert client.post("/sign-in/openid/").status_code == 404


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/realm", "http://localhost", "http://[::1]:1/", "https://a.org"])
def test_secrets_go_by_https_or_stay_on_this_machine(url: str) -> None:
    assert is_safe_url(url)
    for other in (url.replace("http", "ftp"), f"{url}#x", url.replace("://", "://user@"), ""):
        assert not is_safe_url(other), other
    assert not is_safe_url("http://127.0.0.1.evil.org/")


def test_half_a_configuration_starts_and_says_so(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "LANG"}}
    environment |= {"TIEBREAK_VAR": str(tmp_path), "TIEBREAK_OIDC_ISSUER": ISSUER}
    result = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=django_settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "(annotation.E002) TIEBREAK_OIDC_CLIENT_SECRET is missing" in result.stderr
    assert "signing in by OpenID Connect is off: TIEBREAK_OIDC_CLIENT_ID is missing" in result.stderr
    assert "Traceback" not in result.stderr
