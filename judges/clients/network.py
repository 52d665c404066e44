"""The event loop and the clients of this process. What a server may send is bounded, redirects are refused."""

import asyncio
import os
import random
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import Future
from functools import cache
from typing import Any, NamedTuple, TypeVar

import httpx2
import openai

RESPONSE_LIMIT_BYTES = 1024 * 1024
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 8.0
# Servers that need no key still get the header, because the library insists on one.
NO_KEY = "none"

Result = TypeVar("Result")


class Endpoint(NamedTuple):
    """Where and as whom to ask. `timeout` bounds one call, `deadline` all tries of one question (seconds)."""

    base_url: str
    key: str
    timeout: float
    deadline: float


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


def network() -> _Network:
    """Return this process's network; a forked child gets its own, since threads do not survive a fork."""
    with _lock:
        return _network_of(os.getpid())


def submit(work: Coroutine[Any, Any, Result]) -> "Future[Result]":
    """Run a coroutine on the network thread; the caller waits on the future, so the ORM stays in its own thread."""
    return asyncio.run_coroutine_threadsafe(work, network().loop)


def backoff(number: int) -> float:
    """Return how long to rest after try `number` (1, 2, ...), in seconds: exponential with full jitter."""
    return random.uniform(0.0, min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** (number - 1)))


async def rest(seconds: float) -> None:
    """Wait on the network thread; nothing for zero or less."""
    if seconds > 0:
        await asyncio.sleep(seconds)
