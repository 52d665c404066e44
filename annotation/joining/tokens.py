"""Tokens in links: shown once, and kept as a hash."""

import hashlib
import secrets
from typing import NamedTuple

# 256 bits, in 43 letters of an address.
TOKEN_BYTES = 32
LONGEST = 128


class Token(NamedTuple):
    """A new token, and what is stored of it."""

    text: str
    digest: str


def new_token() -> Token:
    """Return a token that nobody guesses."""
    text = secrets.token_urlsafe(TOKEN_BYTES)
    return Token(text, digest_of(text))


def digest_of(text: str) -> str:
    """Return what is stored of a token. It has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(text[:LONGEST].encode()).hexdigest()
