"""What the operator set about the OpenID Connect provider (`settings.OIDC`), checked as a whole."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error

from annotation.models import Role

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0", ""}
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]{2,}")
LABEL_LIMIT = 40


@dataclass(frozen=True)
class Provider:
    """The provider that people sign in by.

    `roles` has, for a value of `roles_claim`, the role it gives in projects by their short names.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    scopes: str
    label: str
    domains: frozenset[str]
    sign_up: bool
    link_by_email: bool
    roles_claim: str
    roles: Mapping[str, Mapping[str, str]]
    trusted_methods: frozenset[str]


def provider() -> Provider | None:
    """Return the provider of this site; None where none is set, or what is set is wrong (`faults`)."""
    return _read(settings.OIDC)[0]


def label() -> str:
    """Return how the provider is called on pages; nothing where there is none."""
    there = provider()
    return there.label if there else ""


def faults() -> list[str]:
    """Return what is wrong with the configuration, a sentence each that says what to do."""
    return _read(settings.OIDC)[1]


def check_configuration(**_kwargs: Any) -> list[CheckMessage]:
    """Say what is wrong as errors of `manage.py check`."""
    hint = "See docs/operating.md, Signing in by OpenID Connect. Until then nobody signs in by the provider."
    return [Error(fault, hint=hint, id=f"annotation.E{number:03}") for number, fault in enumerate(faults(), 1)]


def is_safe_url(url: str) -> bool:
    """Say whether secrets may go to an address: by HTTPS, or on this machine; with nothing but a host and a path."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    is_private = parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)
    return is_private and bool(host) and port != 0 and not parts.username and not parts.password and not parts.fragment


def _read(values: Mapping[str, str]) -> tuple[Provider | None, list[str]]:
    """Return the provider, if it is set and right, and what is wrong."""
    wrong: list[str] = []
    given = {name: value.strip() for name, value in values.items()}
    if not given["issuer"]:
        lonely = [name for name in ("client_id", "client_secret", "roles", "domains") if given[name]]
        if lonely:
            named = ", ".join(map(_variable, lonely))
            wrong.append(
                f"{named} is set without {_variable('issuer')}. Set the provider's issuer, or unset the others."
            )
        return None, wrong
    if not is_safe_url(given["issuer"]) or urlsplit(given["issuer"]).query:
        wrong.append(
            f"{_variable('issuer')} is {given['issuer']!r}; it takes the https:// address that the provider calls its "
            "issuer (http:// only on this machine), without anything behind its path."
        )
    if given["issuer"].rstrip("/").endswith("/.well-known/openid-configuration"):
        wrong.append(f"{_variable('issuer')} takes the issuer alone: leave /.well-known/openid-configuration out.")
    wrong += [
        f"{_variable(name)} is missing: the provider gives it when you register this site there."
        for name in ("client_id", "client_secret")
        if not given[name]
    ]
    scopes = given["scopes"].split()
    if "openid" not in scopes:
        wrong.append(
            f"{_variable('scopes')} is {given['scopes']!r}; it has to hold openid, as in 'openid email profile'."
        )
    if len(given["label"]) > LABEL_LIMIT:
        wrong.append(f"{_variable('label')} is the provider's name on a button: {LABEL_LIMIT} characters at most.")
    domains = frozenset(one.lower() for one in _listed(given["domains"]))
    if strange := sorted(one for one in domains if not _DOMAIN.fullmatch(one)):
        wrong.append(
            f"{_variable('domains')} has {', '.join(strange)}; it takes names such as example.org, with commas."
        )
    provider = Provider(
        issuer=given["issuer"],
        client_id=given["client_id"],
        client_secret=given["client_secret"],
        scopes=" ".join(scopes),
        label=given["label"] or _host(given["issuer"]),
        domains=domains,
        sign_up=_switch("sign_up", given, wrong),
        link_by_email=_switch("link_by_email", given, wrong),
        roles_claim=given["roles_claim"],
        roles=_roles(given, wrong),
        trusted_methods=frozenset(_listed(given["trusted_methods"])),
    )
    return (None if wrong else provider), wrong


def _variable(name: str) -> str:
    return f"TIEBREAK_OIDC_{name.upper()}"


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _listed(text: str) -> Sequence[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _switch(name: str, given: Mapping[str, str], wrong: list[str]) -> bool:
    said = given[name].lower()
    if said not in _TRUE | _FALSE:
        wrong.append(f"{_variable(name)} is {given[name]!r}; it takes true or false.")
    return said in _TRUE


def _roles(given: Mapping[str, str], wrong: list[str]) -> Mapping[str, Mapping[str, str]]:
    """Return what each value of the claim gives; what cannot be read is said in `wrong`."""
    if bool(given["roles"]) != bool(given["roles_claim"]):
        wrong.append(f"{_variable('roles')} and {_variable('roles_claim')} are set together, or neither is.")
    if not given["roles"]:
        return {}
    try:
        read = json.loads(given["roles"])
        entries = [(slug, role) for projects in read.values() for slug, role in projects.items()]
    except (ValueError, AttributeError, RecursionError):
        wrong.append(f"{_variable('roles')} takes JSON such as " + '{"a group": {"a-project": "annotator"}}.')
        return {}
    if unknown := sorted({str(role) for _slug, role in entries if role not in Role.values}):
        wrong.append(f"{_variable('roles')} names {', '.join(unknown)}; roles are {', '.join(Role.values)}.")
    roles: Mapping[str, Mapping[str, str]] = read
    return roles
