"""Leaving for the provider and coming back: what binds the two is in the session, once and for ten minutes."""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.contrib.sessions.backends.base import SessionBase
from django.utils.translation import gettext as _

from annotation.joining.openid.asking import discover, exchange
from annotation.joining.openid.configuring import Provider
from annotation.joining.openid.errors import Outdated, Refused, untrusted
from annotation.joining.openid.verifying import Person, read_person

# What a session holds of the sign-ins that are under way, by their state.
UNDER_WAY = "openid_under_way"
GOOD_FOR = timedelta(minutes=10)
# Tabs; the oldest gives way.
MOST_UNDER_WAY = 4
LONGEST_CODE = 4096
# The names of errors that may be logged (RFC 6749, 4.1.2.1; OpenID Connect Core 1.0, 3.1.2.6).
ERRORS = {
    "invalid_request", "unauthorized_client", "access_denied", "unsupported_response_type", "invalid_scope",
    "server_error", "temporarily_unavailable", "interaction_required", "login_required", "account_selection_required",
    "consent_required",
}  # fmt: skip


class Errand(NamedTuple):
    """What somebody goes to the provider for: to come in and go on at `then`, or one of the others.

    `invitation` is an id and `project` the short name of one that is open to all; `connect` is the id of an account.
    """

    then: str = ""
    invitation: str = ""
    project: str = ""
    connect: str = ""


def leave(session: SessionBase, provider: Provider, errand: Errand, *, redirect_uri: str, now: datetime) -> str:
    """Return the provider's address to go to, and keep in the session what comes back is held against.

    Raises `ProviderFault` where the provider cannot be asked; nothing is kept then.
    """
    endpoints = discover(provider)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _number in range(3))
    under_way = dict(list(_under_way(session).items())[-(MOST_UNDER_WAY - 1) :])
    under_way[state] = {
        "nonce": nonce,
        "verifier": verifier,
        "redirect_uri": redirect_uri,
        "issuer": provider.issuer,
        "at": now.isoformat(),
        "errand": errand._asdict(),
    }
    session[UNDER_WAY] = under_way
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "response_type": "code",
        "client_id": provider.client_id,
        "redirect_uri": redirect_uri,
        "scope": provider.scopes,
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    joint = "&" if "?" in endpoints.authorization else "?"
    return endpoints.authorization + joint + urlencode(query)


def come_back(
    session: SessionBase, provider: Provider, query: Mapping[str, str], *, now: datetime
) -> tuple[Errand, Person]:
    """Return what somebody had left for and who the provider says they are. A state is good for one return.

    Raises `Outdated`, `Refused` and `ProviderFault`; nothing is written then but that the state is used up.
    """
    kept = _take(session, query.get("state", ""))
    if kept is None or kept["issuer"] != provider.issuer or datetime.fromisoformat(kept["at"]) + GOOD_FOR < now:
        raise Outdated(
            _(
                "This sign-in is not under way in this browser any more: it took longer than ten minutes, was finished "
                "before, or was begun elsewhere. Begin again."
            ),
            why="unknown or old state",
        )
    # RFC 9207: who answers says who they are, so that one provider cannot be taken for another.
    names_itself = discover(provider).names_itself
    if query.get("iss", provider.issuer) != provider.issuer or (names_itself and "iss" not in query):
        raise untrusted(provider.label, "the answer is another issuer's")
    if "error" in query:
        raise _error(provider, query["error"])
    code = query.get("code", "")
    if not 0 < len(code) <= LONGEST_CODE:
        raise untrusted(provider.label, "the answer has no code")
    granted = exchange(provider, code, verifier=kept["verifier"], redirect_uri=kept["redirect_uri"])
    return Errand(**kept["errand"]), read_person(provider, granted, nonce=kept["nonce"])


def _under_way(session: SessionBase) -> dict[str, dict[str, Any]]:
    kept: dict[str, dict[str, Any]] = session.get(UNDER_WAY, {})
    return kept


def _take(session: SessionBase, state: str) -> dict[str, Any] | None:
    """Return what was kept for a state, and forget it before anybody is asked: a killed request leaves none behind."""
    under_way = dict(_under_way(session))
    kept = under_way.pop(state, None)
    if kept is not None:
        session[UNDER_WAY] = under_way
        session.save()
    return kept


def _error(provider: Provider, name: str) -> Refused:
    why = name if name in ERRORS else "an unknown error"
    if name == "access_denied":
        said = _("%(provider)s did not let you in, or you said no there. You can try again, or sign in another way.")
    elif name in ("server_error", "temporarily_unavailable"):
        said = _("%(provider)s cannot sign anybody in right now. Try again in a minute.")
    else:
        said = _("%(provider)s did not sign you in. Try again; if it stays so, tell the operator of this site.")
    return Refused(said % {"provider": provider.label}, why=why)
