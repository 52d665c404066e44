"""What a failed call means, in words for a person, with the key scrubbed."""

import email.utils
import json
import math
import re
import ssl
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import httpx2
import openai

from judges.clients.network import NO_KEY, Endpoint
from judges.clients.transports import ResponseTooLarge
from judges.errors import CallFailed

# A piece of a key this long is treated as the key.
KEY_PIECE = 8
# Statuses of a server that is down or too busy, whatever the question was.
SERVER_AWAY = {502, 503, 504, 529}
NOT_IMPLEMENTED = 501
# No database takes these in a text.
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


class _Pieces(NamedTuple):
    """Every piece of a key that must not be seen, and a few shorter ones of which each of them holds one."""

    width: int
    pieces: frozenset[str]
    hints: tuple[str, ...]


@lru_cache(maxsize=64)
def _pieces_of(key: str) -> _Pieces:
    width = min(KEY_PIECE, len(key))
    step = max(1, width // 2)
    pieces = frozenset(key[start : start + width] for start in range(len(key) - width + 1))
    hints = tuple({key[start : start + step] for start in range(0, len(key) - step + 1, step)})
    return _Pieces(width, pieces, hints)


def scrub(text: str, key: str) -> str:
    """Replace every piece of the key of 8 or more characters in a text (servers quote keys in their errors)."""
    if not key or key == NO_KEY:
        return text
    width, pieces, hints = _pieces_of(key)
    if not any(hint in text for hint in hints) or not any(piece in text for piece in pieces):
        return text
    parts: list[str] = []
    position = 0
    while position < len(text):
        if text[position : position + width] not in pieces:
            parts.append(text[position])
            position += 1
            continue
        while text[position : position + width] in pieces:
            position += 1
        position += width - 1
        parts.append("[key]")
    return "".join(parts)


def clean(value: object, key: str) -> str:
    """Return a text from a server that can be stored and shown, '' for what is no text."""
    return _NOT_STORABLE.sub("\N{REPLACEMENT CHARACTER}", scrub(value, key)) if isinstance(value, str) else ""


def unreachable(error: openai.APIConnectionError, endpoint: Endpoint) -> CallFailed:
    """Say what a connection that failed or broke means, and whether the call may have been charged."""
    cause = error.__cause__
    host = host_of(endpoint)
    if isinstance(cause, ResponseTooLarge):
        return CallFailed(f"The server at {host} was cut off: {cause}.", maybe_billed=True)
    unsent = isinstance(cause, httpx2.ConnectError)
    if unsent and _is_about_tls(cause):
        return CallFailed(
            f"No safe connection to the server at {host}: its certificate is not trusted, or it does not speak "
            "https there. Check the address.",
            whole_judge=True,
        )
    doing = "cannot be reached" if unsent else "broke the connection"
    return CallFailed(
        f"The server at {host} {doing}. Check that it runs and that its address is right.",
        retryable=True,
        maybe_billed=not unsent,
        whole_judge=True,
    )


def _is_about_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def refused(error: openai.APIStatusError, endpoint: Endpoint) -> CallFailed:
    """Say what an HTTP status means. The body is quoted only where it explains a refused request, never for a key."""
    status, host = error.status_code, host_of(endpoint)
    if status in {401, 403}:
        return CallFailed(
            f"The server at {host} refused the key (HTTP {status}). Check this host's entry in TIEBREAK_JUDGE_KEYS.",
            whole_judge=True,
            status=status,
        )
    if 300 <= status < 400:
        return CallFailed(
            f"The server at {host} redirects elsewhere (HTTP {status}), which is refused. Give the final address.",
            whole_judge=True,
            status=status,
        )
    detail = clean(_detail(error.body), endpoint.key)
    if status == 404:
        return CallFailed(
            f"The server at {host} knows no such address or model (HTTP 404). Check the judge's address and model.",
            whole_judge=True,
            status=status,
            detail=detail,
        )
    if status == 429:
        message, retryable = f"The server at {host} asks for fewer requests (HTTP 429).", True
    elif status in {408, 409} or (status >= 500 and status != NOT_IMPLEMENTED):
        said = f": {detail}" if detail else "."
        message, retryable = f"The server at {host} failed (HTTP {status}){said}", True
    else:
        message, retryable = f"The server at {host} refused the request (HTTP {status}): {detail or 'no reason'}", False
    return CallFailed(
        message,
        retryable=retryable,
        maybe_billed=status in {408, 504},
        whole_judge=status == 429 or status in SERVER_AWAY,
        retry_after=_retry_after(error.response.headers),
        status=status,
        detail=detail,
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return what the server asks to wait, in seconds, or None.

    OpenAI's `retry-after-ms` is the finer figure; Retry-After holds seconds or a date (RFC 9110, 10.2.3).
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000.0
    value = headers.get("retry-after", "")
    seconds = _number(value)
    if seconds is not None:
        return seconds
    date = email.utils.parsedate_tz(value)
    return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return max(0.0, value) if math.isfinite(value) else None


def _detail(body: object) -> str:
    """Return the server's own words about a refused request, at most 300 characters."""
    if isinstance(body, str):
        return "" if body.lstrip().startswith("<") else body[:300]
    if not isinstance(body, dict):
        return ""
    # OpenAI's form is unpacked by the library already; FastAPI servers say `detail`, some nest `error` again.
    for words in (body.get("message"), body.get("error"), body.get("detail")):
        if isinstance(words, dict):
            words = words.get("message")
        if isinstance(words, list):
            # FastAPI lists what it did not like, each with its place.
            words = json.dumps(words, ensure_ascii=False)
        if isinstance(words, str) and words:
            return words[:300]
    return ""


def host_of(endpoint: Endpoint) -> str:
    """Return host and port of an endpoint, to name it in a message."""
    return httpx2.URL(endpoint.base_url).netloc.decode()
