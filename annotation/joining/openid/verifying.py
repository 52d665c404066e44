"""Reading an ID token: its signature by the provider's keys, then what it says (OpenID Connect Core 1.0, 3.1.3.7)."""

import hmac
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import jwt
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.translation import gettext as _

from annotation.joining.openid.asking import Granted, ask_userinfo, keys_of
from annotation.joining.openid.configuring import Provider
from annotation.joining.openid.errors import ProviderFault, untrusted

# Signatures by a private key only: never `none`, and never HS*, whose key would be the client's secret or, mixed up,
# the public key.
ALGORITHMS = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "EdDSA": "OKP",
}
# Clocks differ.
LEEWAY = timedelta(seconds=60)
LONGEST_TOKEN = 64 * 1024
LONGEST_SUBJECT = 255
SMALLEST_RSA = 2048


class Person(NamedTuple):
    """Who the provider says somebody is, and by which methods (`amr`, `acr`).

    `email` is an address that the provider verified, or empty.
    """

    subject: str
    username: str
    email: str
    groups: frozenset[str]
    methods: frozenset[str]


def read_person(provider: Provider, granted: Granted, *, nonce: str) -> Person:
    """Return who signed in, by the ID token, and by the userinfo endpoint for what it leaves out.

    Raises `ProviderFault` for a token that is not the provider's, not for us, not of this sign-in or not of this time.
    """
    claims = _claims(provider, granted.id_token)
    if not hmac.compare_digest(_text(claims, "nonce").encode(errors="replace"), nonce.encode()):
        raise _refused(provider, "the nonce is another")
    authorized = claims.get("azp")
    # A token for several is ours only if it was issued to us.
    is_for_several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (is_for_several or authorized is not None) and authorized != provider.client_id:
        raise _refused(provider, "it was issued to another client")
    subject = claims["sub"]
    if not (0 < len(subject) <= LONGEST_SUBJECT and subject.isascii() and subject.isprintable()):
        raise _refused(provider, "its subject is empty, too long or not ASCII")
    wanted = {"email", *([provider.roles_claim] if provider.roles_claim else [])}
    more: Mapping[str, Any] = {}
    if wanted - claims.keys():
        more = ask_userinfo(provider, granted)
        if more and more.get("sub") != subject:
            raise _refused(provider, "the userinfo endpoint speaks of somebody else")
    return Person(
        subject=subject,
        username=_text(claims, "preferred_username") or _text(more, "preferred_username"),
        # The address and whether it was verified come from one place.
        email=_verified_email(claims if "email" in claims else more),
        groups=_texts((claims if provider.roles_claim in claims else more).get(provider.roles_claim)),
        methods=_texts(claims.get("amr")) | _texts(claims.get("acr")),
    )


def _claims(provider: Provider, token: str) -> dict[str, Any]:
    """Return what a token says that the provider signed for us and that is valid now."""
    if len(token) > LONGEST_TOKEN:
        raise _refused(provider, "it is too long")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError) as error:
        raise _refused(provider, type(error).__name__) from error
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise _refused(provider, "its algorithm is not allowed")
    key = _key(keys_of(provider), algorithm, kid) or _key(keys_of(provider, anew=True), algorithm, kid)
    if key is None:
        raise _refused(provider, "no key of the provider fits it")
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=provider.client_id,
            issuer=provider.issuer,
            leeway=LEEWAY,
            options={"require": ["iss", "sub", "aud", "exp", "iat", "nonce"]},
        )
    except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError) as error:
        raise ProviderFault(
            _(
                "The sign-in of %(provider)s is for another time: its clock and this site's differ, or it took too "
                "long. Begin again; if that does not help, tell the operator of this site."
            )
            % {"provider": provider.label},
            why=type(error).__name__,
        ) from error
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
        raise _refused(provider, type(error).__name__) from error
    return claims


def _key(keys: Sequence[Mapping[str, Any]], algorithm: str, kid: object) -> jwt.PyJWK | None:
    """Return the key of that name for an algorithm; a token without a name is by the only key there is for it."""
    fitting = [
        key
        for key in keys
        if key.get("kty") == ALGORITHMS[algorithm]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (kid is None or key.get("kid") == kid)
    ]
    if len(fitting) != 1:
        return None
    try:
        found = jwt.PyJWK(dict(fitting[0]), algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    is_weak = ALGORITHMS[algorithm] == "RSA" and getattr(found.key, "key_size", 0) < SMALLEST_RSA
    return None if is_weak else found


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""


def _texts(value: object) -> frozenset[str]:
    """Return the texts of a claim that is a text or a list of them."""
    listed = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return frozenset(one for one in listed if isinstance(one, str))


def _verified_email(claims: Mapping[str, Any]) -> str:
    # Some providers say it as a text.
    if claims.get("email_verified") not in (True, "true"):
        return ""
    email = _text(claims, "email")
    try:
        validate_email(email)
    except ValidationError:
        return ""
    return email


def _refused(provider: Provider, why: str) -> ProviderFault:
    return untrusted(provider.label, f"an ID token was refused: {why}")
