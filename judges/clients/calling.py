"""One exchange with a server, and the one place where it is tried again."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import httpx2
import openai

from judges.clients.failing import host_of, refused, scrub, unreachable
from judges.clients.network import Endpoint, backoff, network, rest
from judges.clients.transports import CONNECT_TIMEOUT_SECONDS
from judges.errors import CallFailed

TRIES = 4
# A server that wants a longer rest than this is not waited for; the question fails with the reason.
LONGEST_RETRY_AFTER_SECONDS = 60.0

Result = TypeVar("Result")


class Met(NamedTuple):
    """What the tries of one call met: 429s, and 5xx or broken connections."""

    rate_limits: int = 0
    server_errors: int = 0


class Exchange(NamedTuple):
    """What a server sent with a 200, the key taken out of it, and how long it took."""

    text: str
    seconds: float


async def exchange(endpoint: Endpoint, path: str, body: Mapping[str, Any] | None = None) -> Exchange:
    """Ask once: POST with a body, GET without. Raises `CallFailed`.

    The library's typed methods cost as much again in checking what is sent and read; both are plain JSON here.
    """
    client = network().client(endpoint)
    started = time.monotonic()
    timeout = httpx2.Timeout(endpoint.timeout, connect=CONNECT_TIMEOUT_SECONDS)
    try:
        # The library's own time-out is per read: a server that drips bytes would never meet it.
        async with asyncio.timeout(endpoint.timeout):
            if body is None:
                response = await client.get(path, cast_to=httpx2.Response, options={"timeout": timeout})
            else:
                response = await client.post(path, cast_to=httpx2.Response, body=body, options={"timeout": timeout})
    except (openai.APITimeoutError, TimeoutError) as error:
        unsent = isinstance(error.__cause__, httpx2.ConnectTimeout | httpx2.PoolTimeout)
        raise CallFailed(
            f"The server at {host_of(endpoint)} gave no answer within {endpoint.timeout:g} seconds.",
            retryable=True,
            maybe_billed=not unsent,
            whole_judge=True,
        ) from None
    except openai.APIStatusError as error:
        raise refused(error, endpoint) from None
    except openai.APIConnectionError as error:
        raise unreachable(error, endpoint) from None
    return Exchange(scrub(response.content.decode("utf-8", "replace"), endpoint.key), time.monotonic() - started)


async def persist(endpoint: Endpoint, call: Callable[[], Awaitable[Result]]) -> tuple[Result, Met]:
    """Make a call, again where that is free and useful, within the endpoint's deadline; say what its tries met.

    Raises the last try's `CallFailed`, which carries the same counts.
    """
    net = network()
    started = time.monotonic()
    met = Met()
    for number in range(1, TRIES + 1):
        pause = net.not_before.get(endpoint.base_url, 0.0) - time.monotonic()
        if pause > endpoint.deadline - (time.monotonic() - started):
            resting = CallFailed(
                f"The server at {host_of(endpoint)} asks for a rest of {pause:.0f} seconds more.",
                retryable=True,
                whole_judge=True,
                retry_after=pause,
            )
            resting.rate_limits, resting.server_errors = met
            raise resting
        if pause > 0:
            # Up to a tenth more, so that those who waited for the same moment do not all come at it.
            await rest(pause * random.uniform(1.0, 1.1))
        try:
            return await call(), met
        except CallFailed as failure:
            met = Met(
                met.rate_limits + (failure.status == 429),
                met.server_errors + (failure.status >= 500 or (failure.status == 0 and failure.whole_judge)),
            )
            failure.rate_limits, failure.server_errors = met
            wait = _wait_before(number, failure)
            left = endpoint.deadline - (time.monotonic() - started)
            if not failure.retryable or failure.maybe_billed or number == TRIES or wait > left:
                raise
            if failure.retry_after is not None:
                # Everybody who asks this server rests, not only the call that was told to.
                net.not_before[endpoint.base_url] = time.monotonic() + wait
        await rest(wait)
    raise AssertionError("unreachable: the last try returns or raises")


def _wait_before(number: int, failure: CallFailed) -> float:
    if failure.retry_after is None:
        return backoff(number)
    if failure.retry_after > LONGEST_RETRY_AFTER_SECONDS:
        return float("inf")
    return failure.retry_after * random.uniform(1.0, 1.1)
