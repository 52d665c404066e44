"""Texts as numbers of 64 bits, where a million of them are held to be compared."""

import hashlib


def digest(text: str) -> int:
    """Return 64 bits of a text's BLAKE2b: among a million texts two meet by chance once in some 40 million times."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
