"""What reasons cite of the responses: marked spans and quoted words, and whether they stand there word for word.

Pure. A reason that cites what nobody wrote is no evidence.
"""

import re
from typing import Any

# Shorter quotes are words that the writer merely sets apart.
LEAST_CHARACTERS = 12
MARKS = (('"', '"'), ("\u201c", "\u201d"), ("\u00ab", "\u00bb"), ("\u201e", "\u201c"))
QUOTES = re.compile("|".join(f"{left}([^{left}{right}]+){right}" for left, right in MARKS))


def quotes_of(rationale: str) -> list[str]:
    """Return the quoted passages of a reason that are long enough to be a citation, in their order."""
    found = (next(filter(None, match.groups()), "") for match in QUOTES.finditer(rationale))
    return [quote for quote in found if len(quote.strip()) >= LEAST_CHARACTERS]


def occurs(passage: str, *texts: str) -> bool:
    """Say whether a passage stands in one of the texts word for word; white space and a final mark do not count."""
    wanted = _plain(passage).rstrip(".,;:!?\u2026")
    return bool(wanted) and any(wanted in _plain(text) for text in texts)


def cited_side(span: dict[str, Any], text_a: str, text_b: str) -> bool | None:
    """Say whether a marked span stands in the response it names; None for one that names no side of a pair."""
    texts = {"a": text_a, "b": text_b}
    side, passage = span.get("side"), span.get("text")
    return occurs(passage, texts[side]) if side in texts and isinstance(passage, str) else None


def _plain(text: str) -> str:
    return " ".join(text.split())
