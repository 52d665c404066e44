"""The one place that talks to model servers: OpenAI-compatible chat completions over HTTP.

Retries live here and nowhere else (the library's own are off), and only for calls that were surely not charged; a call
that may have been charged comes back to its caller, who reserves money again before the next. Redirects are refused:
the library would send the prompts to whatever host answered. What a server may send is bounded.
"""

import asyncio
import email.utils
import json
import os
import random
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from concurrent.futures import Future
from functools import cache
from typing import Any, NamedTuple, TypeVar

import httpx2
import openai  # noqa: TID251  (this is the place)

from judges.errors import CallFailed

RESPONSE_LIMIT_BYTES = 1024 * 1024
CONNECT_TIMEOUT_SECONDS = 5.0
TRIES = 4
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 8.0
# A server that wants a longer rest than this is not waited for; the question fails with the reason.
LONGEST_RETRY_AFTER_SECONDS = 60.0
# Servers that need no key still get the header, because the library insists on one.
NO_KEY = "none"
# A piece of a key this long is treated as the key.
KEY_PIECE = 8

Result = TypeVar("Result")


class Endpoint(NamedTuple):
    """Where and as whom to ask. `timeout` bounds one call, `deadline` all tries of one question (seconds)."""

    base_url: str
    key: str
    timeout: float
    deadline: float


class Reply(NamedTuple):
    """What a server answered to one call. Token counts are None where it gave none that can be true."""

    text: str
    finish_reason: str
    refusal: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    # One entry a generated token: {"token": str, "logprob": float, "top_logprobs": [{"token", "logprob"}]}.
    logprobs: list[dict[str, Any]]
    seconds: float


class ResponseTooLarge(httpx2.TransportError):
    """A server sent more than `RESPONSE_LIMIT_BYTES`, or packed its answer."""


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > RESPONSE_LIMIT_BYTES:
                raise ResponseTooLarge(f"the answer is longer than {RESPONSE_LIMIT_BYTES:,} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class _BoundedTransport(httpx2.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # Unpacked answers only: a bound on packed bytes would not bound memory.
        request.headers["Accept-Encoding"] = "identity"
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise ResponseTooLarge("the answer is compressed although that was declined")
        if not isinstance(response.stream, httpx2.AsyncByteStream):
            raise TypeError(f"an async transport returned {type(response.stream).__name__}")
        response.stream = _BoundedStream(response.stream)
        return response


class _Network:
    """One event loop in one background thread, and one client an endpoint.

    The library's async client belongs to the loop that first used it, so the loop lives as long as the process.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._clients: dict[tuple[str, str], openai.AsyncOpenAI] = {}
        # When a rate-limited endpoint may be asked again (monotonic seconds).
        self.not_before: dict[str, float] = {}
        threading.Thread(target=self.loop.run_forever, name="judge-network", daemon=True).start()

    def client(self, endpoint: Endpoint) -> openai.AsyncOpenAI:
        """Return the client of an endpoint. Called on the loop's thread only."""
        identity = (endpoint.base_url, endpoint.key)
        if identity not in self._clients:
            limits = httpx2.Limits(max_connections=256, max_keepalive_connections=256)
            client = openai.AsyncOpenAI(
                base_url=endpoint.base_url,
                api_key=endpoint.key or NO_KEY,
                max_retries=0,
                http_client=httpx2.AsyncClient(
                    transport=_BoundedTransport(limits=limits), follow_redirects=False, trust_env=False
                ),
            )
            # The library reads these from the environment and would send them to every server.
            client.organization = client.project = None
            self._clients[identity] = client
        return self._clients[identity]


_lock = threading.Lock()


@cache
def _network_of(pid: int) -> _Network:
    return _Network()


def _network() -> _Network:
    """Return this process's network; a forked child gets its own, since threads do not survive a fork."""
    with _lock:
        return _network_of(os.getpid())


def submit(work: Coroutine[Any, Any, Result]) -> "Future[Result]":
    """Run a coroutine on the network thread; the caller waits on the future, so the ORM stays in its own thread."""
    return asyncio.run_coroutine_threadsafe(work, _network().loop)


async def complete(endpoint: Endpoint, body: Mapping[str, Any]) -> Reply:
    """Ask for one chat completion, again where that is free and useful, within the endpoint's deadline.

    Raises `CallFailed`, with the key scrubbed from its text.
    """
    network = _network()
    started = time.monotonic()
    for number in range(1, TRIES + 1):
        await rest(network.not_before.get(endpoint.base_url, 0.0) - time.monotonic())
        try:
            return await _call(network.client(endpoint), endpoint, body)
        except CallFailed as failure:
            wait = _wait_before(number, failure)
            left = endpoint.deadline - (time.monotonic() - started)
            if not failure.retryable or failure.maybe_billed or number == TRIES or wait > left:
                raise
            if failure.retry_after is not None:
                # Everybody who asks this server rests, not only the call that was told to.
                network.not_before[endpoint.base_url] = time.monotonic() + wait
        await rest(wait)
    raise AssertionError("unreachable: the last try returns or raises")


def backoff(number: int) -> float:
    """Return how long to rest after try `number` (1, 2, ...), in seconds: exponential with full jitter."""
    return random.uniform(0.0, min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (number - 1)))


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


def read_reply(content: bytes, seconds: float) -> Reply:
    """Read the body of a 200. Raises `CallFailed` for what is no chat completion."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        if content.lstrip()[:1] == b"<":
            raise CallFailed(
                "The server answered with a web page. Check the judge's address: it usually ends in /v1.",
                whole_judge=True,
                status=200,
            ) from None
        what = "is cut off or is no JSON" if content.strip() else "is empty"
        raise CallFailed(f"The server's answer {what}.", retryable=True, maybe_billed=True, status=200) from None
    if not isinstance(data, dict):
        raise CallFailed("The server's answer is no chat completion (no object).", maybe_billed=True, status=200)
    choices = data.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(first, dict) or not isinstance(message, dict):
        raise CallFailed("The server's answer is no chat completion (no message).", maybe_billed=True, status=200)
    usage = data.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    logprobs = first.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    return Reply(
        text=_text(message.get("content")),
        finish_reason=_text(first.get("finish_reason")),
        refusal=_text(message.get("refusal")),
        model=_text(data.get("model"))[:200],
        prompt_tokens=_count(counts.get("prompt_tokens")),
        completion_tokens=_count(counts.get("completion_tokens")),
        logprobs=[token for token in tokens if isinstance(token, dict)] if isinstance(tokens, list) else [],
        seconds=seconds,
    )


async def rest(seconds: float) -> None:
    """Wait on the network thread; nothing for zero or less."""
    if seconds > 0:
        await asyncio.sleep(seconds)


async def _call(client: openai.AsyncOpenAI, endpoint: Endpoint, body: Mapping[str, Any]) -> Reply:
    started = time.monotonic()
    try:
        # The library's own time-out is per read: a server that drips bytes would never meet it.
        async with asyncio.timeout(endpoint.timeout):
            raw = await client.chat.completions.with_raw_response.create(
                **body, timeout=httpx2.Timeout(endpoint.timeout, connect=CONNECT_TIMEOUT_SECONDS)
            )
    except (openai.APITimeoutError, TimeoutError) as error:
        unsent = isinstance(error.__cause__, httpx2.ConnectTimeout | httpx2.PoolTimeout)
        raise CallFailed(
            f"The server at {_host(endpoint)} gave no answer within {endpoint.timeout:g} seconds.",
            retryable=True,
            maybe_billed=not unsent,
            whole_judge=True,
        ) from None
    except openai.APIStatusError as error:
        raise _refused(error, endpoint) from None
    except openai.APIConnectionError as error:
        raise _unreachable(error, endpoint) from None
    return read_reply(raw.http_response.content, time.monotonic() - started)


def _unreachable(error: openai.APIConnectionError, endpoint: Endpoint) -> CallFailed:
    cause = error.__cause__
    if isinstance(cause, ResponseTooLarge):
        return CallFailed(f"The server at {_host(endpoint)} was cut off: {cause}.", maybe_billed=True)
    unsent = isinstance(cause, httpx2.ConnectError)
    doing = "cannot be reached" if unsent else "broke the connection"
    return CallFailed(
        f"The server at {_host(endpoint)} {doing}. Check that it runs and that its address is right.",
        retryable=True,
        maybe_billed=not unsent,
        whole_judge=True,
    )


def _refused(error: openai.APIStatusError, endpoint: Endpoint) -> CallFailed:
    """Say what an HTTP status means. The body is quoted only where it explains a refused request, never for a key."""
    status, host = error.status_code, _host(endpoint)
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


def _wait_before(number: int, failure: CallFailed) -> float:
    if failure.retry_after is None:
        return backoff(number)
    if failure.retry_after > LONGEST_RETRY_AFTER_SECONDS:
        return float("inf")
    # Up to a tenth more, so that those who were told the same do not come back together.
    return failure.retry_after * random.uniform(1.0, 1.1)


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


def _host(endpoint: Endpoint) -> str:
    return httpx2.URL(endpoint.base_url).netloc.decode()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    """Return a token count that can be true (0 to a billion), else None: it is not trusted to be money."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None
