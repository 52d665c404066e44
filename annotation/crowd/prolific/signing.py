"""Arrivals that Prolific signed ("secured external URL"): a JWT, RS256, good for one arrival.

What is checked is what docs.prolific.com asks for (get-study-jwks): the signature by the key that `kid` names, `exp`,
`aud` (our domain) and the `prolific` claim.
"""

import hashlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import jwt
from django.conf import settings
from django.core.cache import cache
from django.utils.translation import gettext as _

from annotation.crowd.errors import ArrivalRefused, ArrivalUnchecked

logger = logging.getLogger(__name__)

TOKEN_PARAMETER = "prolific_token"  # noqa: S105  (the name of a parameter)
ALGORITHM = "RS256"
# Prolific asks for new keys at least daily. A key that is not among them is looked for at most once a minute, so that
# forged tokens make nobody ask Prolific all day.
KEYS_SECONDS = 24 * 3600
AGAIN_SECONDS = 60
TIMEOUT_SECONDS = 5.0
# Clocks differ.
LEEWAY = timedelta(seconds=30)
# A token is a few hundred bytes.
LONGEST_TOKEN = 8192


class SignedArrival(NamedTuple):
    """What Prolific signed of an arrival: `claim` is its payload, `digest` names the token."""

    claim: Mapping[str, str]
    digest: str
    expires_at: datetime


def read_signed(token: str, *, host: str, now: datetime) -> SignedArrival:
    """Return what Prolific signed for this host; whether it was used before is not looked at here.

    Raises `ArrivalRefused`, and `ArrivalUnchecked` where the keys cannot be fetched.
    """
    if len(token) > LONGEST_TOKEN:
        raise _refused("it is too long")
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except jwt.InvalidTokenError as error:
        raise _refused(str(error)) from error
    key = _key(kid) if isinstance(kid, str) else None
    if key is None:
        raise _refused(f"no key {str(kid)[:40]!r} is known")
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=audiences(host),
            # The clock is an argument here, so its part is checked below.
            options={"require": ["exp", "aud", "prolific"], "verify_exp": False, "verify_nbf": False},
        )
        expires_at = datetime.fromtimestamp(claims["exp"], tz=UTC)
    except (jwt.InvalidTokenError, TypeError, ValueError, OverflowError, OSError) as error:
        raise _refused(str(error)) from error
    if expires_at + LEEWAY <= now:
        raise ArrivalRefused(_("This link has expired. Open the study on Prolific again: that makes a new one."))
    claim = claims["prolific"]
    if not isinstance(claim, dict) or claim.get("workspace_id") != settings.PROLIFIC_WORKSPACE:
        raise _refused("it is of another workspace")
    return SignedArrival(
        {name: value for name, value in claim.items() if isinstance(value, str)},
        hashlib.sha256(token.encode()).hexdigest(),
        expires_at + LEEWAY,
    )


def audiences(host: str) -> list[str]:
    """Return how "our domain" may be written in `aud`: bare, or with a scheme."""
    return [host, f"https://{host}", f"https://{host}/"]


def _refused(why: str) -> ArrivalRefused:
    # For the log, not for who tries.
    logger.warning("a signed arrival was refused: %s", why)
    return ArrivalRefused(_("This link is not from Prolific. Open the study there again."))


# --- Keys -----------------------------------------------------------------------------------------------------------


def _key(kid: str) -> Any:
    """Return the public key by that name, or None; fetched daily, and where a name is new."""
    kept: dict[str, Any] | None = cache.get(_kept_at())
    if kept is not None and kid in kept:
        return jwt.PyJWK(kept[kid]).key
    # One question a minute for all who bring an unknown name; who comes in between is answered from what is kept.
    if not cache.add(f"{_kept_at()}:asked", True, timeout=AGAIN_SECONDS):
        if kept is None:
            raise ArrivalUnchecked(_("Prolific cannot be asked right now. Try again in a minute."))
        return None
    fetched = _fetch()
    cache.set(_kept_at(), fetched, timeout=KEYS_SECONDS)
    return jwt.PyJWK(fetched[kid]).key if kid in fetched else None


def _kept_at() -> str:
    parts = urlsplit(settings.PROLIFIC_KEYS_URL)
    return f"prolific-keys:{parts.netloc}{parts.path}"


def _fetch() -> dict[str, dict[str, Any]]:
    """Return the keys that Prolific publishes, by name: RSA keys for this algorithm only."""
    try:
        answer = httpx2.get(settings.PROLIFIC_KEYS_URL, timeout=TIMEOUT_SECONDS, follow_redirects=False)
        answer.raise_for_status()
        rows = answer.json()["keys"]
        keys = [row for row in rows if row.get("kty") == "RSA" and row.get("alg", ALGORITHM) == ALGORITHM]
        return {row["kid"]: {**row, "alg": ALGORITHM} for row in keys if jwt.PyJWK({**row, "alg": ALGORITHM})}
    except (httpx2.HTTPError, ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        logger.warning("the keys of Prolific cannot be fetched: %s", error)
        raise ArrivalUnchecked(_("Prolific cannot be asked right now. Try again in a minute.")) from error
