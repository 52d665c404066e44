"""The event loop and the clients of this process: one client an endpoint, with the guards of `transports` on it."""

import asyncio
import atexit
import os
import random
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, NamedTuple, TypeVar

import httpx2
import openai
from django.conf import settings

from judges.clients.transports import transport_of

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 8.0
CLOSING_SECONDS = 2.0
# Servers that need no key still get the header, because the library insists on one.
NO_KEY = "none"

Result = TypeVar("Result")


class Endpoint(NamedTuple):
    """Where and as whom to ask. `timeout` bounds one call, `deadline` all tries of one question (seconds)."""

    base_url: str
    key: str
    timeout: float
    deadline: float


class _Network:
    """One event loop in one background thread, and one client an endpoint.

    The library's async client belongs to the loop that first used it, so the loop lives as long as the process.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._clients: dict[tuple[str, str, str], openai.AsyncOpenAI] = {}
        # When a rate-limited endpoint may be asked again (monotonic seconds).
        self.not_before: dict[str, float] = {}
        # Servers that do not know the many-conversations form.
        self.one_at_a_time: set[str] = set()
        self._pid = os.getpid()
        threading.Thread(target=self.loop.run_forever, name="judge-network", daemon=True).start()
        atexit.register(self.close)

    def close(self) -> None:
        """Close the connections of this process's clients; the process ends, or no longer asks."""
        if self._pid != os.getpid():
            # The parent's, seen from a forked child: its thread is not here.
            return
        closing = asyncio.run_coroutine_threadsafe(self._close(), self.loop)
        with suppress(TimeoutError):
            closing.result(timeout=CLOSING_SECONDS)

    async def _close(self) -> None:
        clients = [self._clients.pop(identity) for identity in list(self._clients)]
        await asyncio.gather(*(client.close() for client in clients))

    def client(self, endpoint: Endpoint) -> openai.AsyncOpenAI:
        """Return the client of an endpoint. Called on the loop's thread only."""
        identity = (endpoint.base_url, endpoint.key, settings.JUDGE_TRANSPORT)
        if identity not in self._clients:
            client = openai.AsyncOpenAI(
                base_url=endpoint.base_url,
                api_key=endpoint.key or NO_KEY,
                max_retries=0,
                http_client=httpx2.AsyncClient(
                    transport=transport_of(settings.JUDGE_TRANSPORT),
                    follow_redirects=False,
                    trust_env=False,
                    cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
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
