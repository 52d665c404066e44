"""What a failed call means, in words for a person, with the key scrubbed."""

import email.utils
import time
from collections.abc import Mapping

import httpx2
import openai

from judges.clients.network import NO_KEY, Endpoint, ResponseTooLarge
from judges.errors import CallFailed

# A piece of a key this long is treated as the key.
KEY_PIECE = 8


def scrub(text: str, key: str) -> str:
    """Replace every piece of the key of 8 or more characters in a text (servers quote keys in their errors)."""
    if not key or key == NO_KEY:
        return text
    width = min(KEY_PIECE, len(key))
    pieces = {key[start : start + width] for start in range(len(key) - width + 1)}
    if not any(piece in text for piece in pieces):
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


def unreachable(error: openai.APIConnectionError, endpoint: Endpoint) -> CallFailed:
    """Say what a connection that failed or broke means, and whether the call may have been charged."""
    cause = error.__cause__
    if isinstance(cause, ResponseTooLarge):
        return CallFailed(f"The server at {host_of(endpoint)} was cut off: {cause}.", maybe_billed=True)
    unsent = isinstance(cause, httpx2.ConnectError)
    doing = "cannot be reached" if unsent else "broke the connection"
    return CallFailed(
        f"The server at {host_of(endpoint)} {doing}. Check that it runs and that its address is right.",
        retryable=True,
        maybe_billed=not unsent,
        whole_judge=True,
    )


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
    if status == 404:
        return CallFailed(
            f"The server at {host} knows no such address or model (HTTP 404). Check the judge's address and model.",
            whole_judge=True,
            status=status,
        )
    detail = scrub(_detail(error.body), endpoint.key)
    if status == 429:
        message, retryable = f"The server at {host} asks for fewer requests (HTTP 429).", True
    elif status in {408, 409} or status >= 500:
        message, retryable = f"The server at {host} failed (HTTP {status}).", True
    else:
        message, retryable = f"The server at {host} refused the request (HTTP {status}): {detail or 'no reason'}", False
    return CallFailed(
        message,
        retryable=retryable,
        maybe_billed=status in {408, 504},
        whole_judge=status == 503,
        retry_after=_retry_after(error.response.headers),
        status=status,
        detail=detail,
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return what Retry-After asks for, in seconds (RFC 9110, 10.2.3: seconds or a date), or None."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        date = email.utils.parsedate_tz(value)
        return max(0.0, email.utils.mktime_tz(date) - time.time()) if date else None


def _detail(body: object) -> str:
    """Return the server's own words about a refused request, at most 300 characters."""
    message = body.get("message") if isinstance(body, dict) else None
    return message[:300] if isinstance(message, str) else ""


def host_of(endpoint: Endpoint) -> str:
    """Return host and port of an endpoint, to name it in a message."""
    return httpx2.URL(endpoint.base_url).netloc.decode()
