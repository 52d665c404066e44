"""Ask for chat completions and read what comes back."""

import asyncio
import json
import random
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx2
import openai

from judges.clients.failing import host_of, refused, unreachable
from judges.clients.network import Endpoint, backoff, network, rest
from judges.errors import CallFailed

CONNECT_TIMEOUT_SECONDS = 5.0
TRIES = 4
# A server that wants a longer rest than this is not waited for; the question fails with the reason.
LONGEST_RETRY_AFTER_SECONDS = 60.0


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


async def complete(endpoint: Endpoint, body: Mapping[str, Any]) -> Reply:
    """Ask for one chat completion, again where that is free and useful, within the endpoint's deadline.

    Raises `CallFailed`, with the key scrubbed from its text.
    """
    net = network()
    started = time.monotonic()
    for number in range(1, TRIES + 1):
        await rest(net.not_before.get(endpoint.base_url, 0.0) - time.monotonic())
        try:
            return await _call(net.client(endpoint), endpoint, body)
        except CallFailed as failure:
            wait = _wait_before(number, failure)
            left = endpoint.deadline - (time.monotonic() - started)
            if not failure.retryable or failure.maybe_billed or number == TRIES or wait > left:
                raise
            if failure.retry_after is not None:
                # Everybody who asks this server rests, not only the call that was told to.
                net.not_before[endpoint.base_url] = time.monotonic() + wait
        await rest(wait)
    raise AssertionError("unreachable: the last try returns or raises")


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
            f"The server at {host_of(endpoint)} gave no answer within {endpoint.timeout:g} seconds.",
            retryable=True,
            maybe_billed=not unsent,
            whole_judge=True,
        ) from None
    except openai.APIStatusError as error:
        raise refused(error, endpoint) from None
    except openai.APIConnectionError as error:
        raise unreachable(error, endpoint) from None
    return read_reply(raw.http_response.content, time.monotonic() - started)


def _wait_before(number: int, failure: CallFailed) -> float:
    if failure.retry_after is None:
        return backoff(number)
    if failure.retry_after > LONGEST_RETRY_AFTER_SECONDS:
        return float("inf")
    # Up to a tenth more, so that those who were told the same do not come back together.
    return failure.retry_after * random.uniform(1.0, 1.1)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    """Return a token count that can be true (0 to a billion), else None: it is not trusted to be money."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None
