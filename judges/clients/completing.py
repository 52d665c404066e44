"""Ask for chat completions and read what comes back."""

import asyncio
import copy
import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

from judges.clients.calling import Exchange, exchange, persist
from judges.clients.failing import clean
from judges.clients.network import Endpoint, network
from judges.clients.transports import RESPONSE_LIMIT_BYTES, at_most
from judges.errors import CallFailed

COMPLETION = "chat completion"
# Statuses by which a server says that it does not know an address.
UNKNOWN_ADDRESS = {404, 405, 501}


class Reply(NamedTuple):
    """What a server answered to one call. Token counts are None where it gave none that can be true.

    `rate_limits` and `server_errors` count what the call met before it succeeded. All texts are free of the key, of
    NUL and of lone surrogates, so they can be stored.
    """

    text: str
    finish_reason: str
    refusal: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    # One entry a generated token: {"token": str, "logprob": float, "top_logprobs": [{"token", "logprob"}]}.
    logprobs: list[dict[str, Any]]
    seconds: float
    # Of the prompt's tokens, those the server had in its cache.
    cached_tokens: int | None = None
    # One entry a question, in their order, in the form of OpenAI's decisions: {"type", "name", "probability" or
    # "probabilities": [{"value" or "label", "probability"}], ...}.
    decisions: list[dict[str, Any]] = []
    rate_limits: int = 0
    server_errors: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return what the cache keeps of it, as JSON values: all but its counts of trouble, what is empty left out."""
        stored = {name: value for name, value in self._asdict().items() if value not in ("", None, [])}
        del stored["rate_limits"], stored["server_errors"]
        if self.logprobs:
            stored["logprobs"] = [_packed(one) for one in self.logprobs]
        return stored

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return a reply as `as_json` gave it."""
        empty = {"text": "", "finish_reason": "", "refusal": "", "model": "", "prompt_tokens": None}
        stored: dict[str, Any] = {**empty, "completion_tokens": None, "logprobs": [], "seconds": 0.0, **data}
        stored["logprobs"] = [_unpacked(*one) for one in stored["logprobs"]]
        return cls(**{name: value for name, value in stored.items() if name in cls._fields})


async def complete(endpoint: Endpoint, body: Mapping[str, Any]) -> Reply:
    """Ask for one chat completion, again where that is free and useful, within the endpoint's deadline.

    Raises `CallFailed`, with the key scrubbed from its text.
    """

    async def call() -> Reply:
        answer = await exchange(endpoint, "/chat/completions", body)
        return read_reply(read_object(answer.text, COMPLETION), seconds=answer.seconds, key=endpoint.key)

    reply, met = await persist(endpoint, call)
    return reply._replace(rate_limits=met.rate_limits, server_errors=met.server_errors)


async def complete_many(endpoint: Endpoint, bodies: Sequence[Mapping[str, Any]]) -> list[Reply | CallFailed]:
    """Ask for a chat completion of each body, many conversations a request where the server knows that form.

    The result has one entry a body, in their order. Bodies that differ in more than `messages` go in requests of
    their own. A refused request is asked again in halves, which costs nothing, until the conversation it was refused
    for stands alone. A server that knows only single completions is remembered and asked so.
    """
    answers: list[Reply | CallFailed] = [CallFailed("not asked")] * len(bodies)
    alike: dict[str, list[int]] = {}
    for place, body in enumerate(bodies):
        rest_of_it = {name: value for name, value in body.items() if name != "messages"}
        alike.setdefault(json.dumps(rest_of_it, sort_keys=True), []).append(place)

    async def answer(places: Sequence[int]) -> None:
        for place, one in zip(places, await _together(endpoint, [bodies[one] for one in places]), strict=True):
            answers[place] = one

    await asyncio.gather(*(answer(places) for places in alike.values()))
    return answers


def read_reply(data: Mapping[str, Any], *, seconds: float = 0.0, key: str = "") -> Reply:
    """Read a chat completion, as the body of a 200 or a line of a batch holds it. Raises `CallFailed` for what is none.

    Pieces of `key` are taken out of its texts.
    """
    choices = data.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict) or not isinstance(first.get("message"), dict):
        raise CallFailed(f"The server's answer is no {COMPLETION} (no message).", maybe_billed=True, status=200)
    return _read_choice(first, data, seconds, key)


def read_object(text: str, what: str) -> dict[str, Any]:
    """Return the JSON object a server sent. Raises `CallFailed` that says why the text is no `what`."""
    try:
        # NaN and Infinity are no JSON, and no database takes them.
        data = json.loads(text, parse_constant=lambda _name: None)
    except (ValueError, RecursionError):
        if text.lstrip()[:1] == "<":
            raise CallFailed(
                "The server answered with a web page. Check the judge's address: it usually ends in /v1.",
                whole_judge=True,
                status=200,
            ) from None
        why = "is cut off or is no JSON" if text.strip() else "is empty"
        raise CallFailed(f"The server's answer {why}.", retryable=True, maybe_billed=True, status=200) from None
    if not isinstance(data, dict):
        raise CallFailed(f"The server's answer is no {what} (no object).", maybe_billed=True, status=200)
    return data


async def _together(endpoint: Endpoint, bodies: Sequence[Mapping[str, Any]]) -> list[Reply | CallFailed]:
    net = network()
    if len(bodies) == 1 or endpoint.base_url in net.one_at_a_time:
        return list(await asyncio.gather(*(_alone(endpoint, body) for body in bodies)))
    whole = {**bodies[0], "messages": [body["messages"] for body in bodies]}

    async def call() -> list[Reply | CallFailed]:
        with at_most(RESPONSE_LIMIT_BYTES * len(bodies)):
            answer = await exchange(endpoint, "/chat/completions/batch", whole)
        return _read_choices(answer, bodies, endpoint.key)

    started = time.monotonic()
    try:
        replies, met = await persist(endpoint, call)
    except CallFailed as failure:
        if failure.status in UNKNOWN_ADDRESS:
            net.one_at_a_time.add(endpoint.base_url)
            return list(await asyncio.gather(*(_alone(endpoint, body) for body in bodies)))
        left = endpoint.deadline - (time.monotonic() - started)
        if failure.status not in {400, 413, 422} or left <= 0:
            return _for_each(failure, len(bodies))
        sooner = endpoint._replace(deadline=left, timeout=min(endpoint.timeout, left))
        middle = len(bodies) // 2
        halves = await asyncio.gather(_together(sooner, bodies[:middle]), _together(sooner, bodies[middle:]))
        return halves[0] + halves[1]
    first = replies[0]
    if isinstance(first, Reply):
        first = first._replace(rate_limits=met.rate_limits, server_errors=met.server_errors)
    else:
        first.rate_limits, first.server_errors = met
    return [first, *replies[1:]]


def _for_each(failure: CallFailed, number: int) -> list[Reply | CallFailed]:
    """Return a failure for each of several conversations; what its tries met is counted once."""
    others = [copy.copy(failure) for _ in range(number - 1)]
    for one in others:
        one.rate_limits = one.server_errors = 0
    return [failure, *others]


async def _alone(endpoint: Endpoint, body: Mapping[str, Any]) -> Reply | CallFailed:
    try:
        return await complete(endpoint, body)
    except CallFailed as failure:
        return failure


def _read_choices(answer: Exchange, bodies: Sequence[Mapping[str, Any]], key: str) -> list[Reply | CallFailed]:
    """Read one choice a conversation. Its usage is of all of them together, so each gets a share (`_shares`)."""
    data = read_object(answer.text, COMPLETION)
    choices = data.get("choices")
    if not isinstance(choices, list):
        raise CallFailed(f"The server's answer is no {COMPLETION} (no choices).", maybe_billed=True, status=200)
    found: list[dict[str, Any] | None] = [None] * len(bodies)
    for place, choice in enumerate(choices):
        index = choice.get("index", place) if isinstance(choice, dict) else None
        if isinstance(index, int) and 0 <= index < len(bodies):
            found[index] = choice
    usage = data.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    asked = [sum(len(str(one.get("content", "")).encode()) for one in body["messages"]) for body in bodies]
    written = [_length(choice) for choice in found]
    shares = zip(
        _shares(token_count(counts.get("prompt_tokens")), asked),
        _within(_shares(token_count(counts.get("completion_tokens")), written), [_limit_of(body) for body in bodies]),
        _shares(cached_tokens(counts), asked),
        strict=True,
    )
    replies: list[Reply | CallFailed] = []
    for choice, (prompt, completion, cached) in zip(found, shares, strict=True):
        if choice is None or not isinstance(choice.get("message"), dict):
            said = choice.get("error") if choice is not None else None
            why = said.get("message") if isinstance(said, dict) else said
            words = f": {clean(str(why), key)[:300]}" if why else "."
            replies.append(
                CallFailed(
                    f"The server gave no answer to this conversation of several{words}",
                    retryable=True,
                    maybe_billed=True,
                    status=200,
                )
            )
            continue
        reply = _read_choice(choice, data, answer.seconds, key)
        replies.append(reply._replace(prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached))
    return replies


def _read_choice(choice: Mapping[str, Any], data: Mapping[str, Any], seconds: float, key: str) -> Reply:
    message = choice["message"]
    usage = data.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    return Reply(
        text=clean(_text_of(message.get("content")), key),
        finish_reason=clean(choice.get("finish_reason"), key)[:40],
        refusal=clean(message.get("refusal"), key),
        model=clean(data.get("model"), key)[:200],
        prompt_tokens=token_count(counts.get("prompt_tokens")),
        completion_tokens=token_count(counts.get("completion_tokens")),
        logprobs=[token for token in tokens if isinstance(token, dict)] if isinstance(tokens, list) else [],
        seconds=seconds,
        cached_tokens=cached_tokens(counts),
    )


def _text_of(content: object) -> object:
    """Return the text of a message whose content comes in parts, as some servers give it; else the content."""
    if not isinstance(content, list):
        return content
    parts = [one.get("text") for one in content if isinstance(one, dict)]
    return "".join(one for one in parts if isinstance(one, str))


def _shares(total: int | None, weights: Sequence[int]) -> list[int | None]:
    """Split a count in proportion to weights, so that the shares sum to it exactly."""
    if total is None:
        return [None] * len(weights)
    whole = sum(weights)
    if not whole:
        weights, whole = [1] * len(weights), len(weights)
    shares: list[int | None] = []
    given = passed = 0
    for weight in weights:
        passed += weight
        upto = total * passed // whole
        shares.append(upto - given)
        given = upto
    return shares


def _within(shares: Sequence[int | None], most: Sequence[int]) -> list[int | None]:
    """Move what a share has above its own limit to others that have room, so that the sum stays; else it is left.

    What an answer shows need not be all that was written for it: reasoning is hidden, and letters are no tokens.
    """
    within = [0 if share is None else min(share, limit) for share, limit in zip(shares, most, strict=True)]
    over = sum(share or 0 for share in shares) - sum(within)
    for place, limit in enumerate(most):
        more = min(over, limit - within[place]) if shares[place] is not None else 0
        within[place] += more
        over -= more
    if over:
        return list(shares)
    return [None if share is None else one for share, one in zip(shares, within, strict=True)]


def _limit_of(body: Mapping[str, Any]) -> int:
    """Return the most tokens that a request lets a server write."""
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    return limit if isinstance(limit, int) else 10**9


def _length(choice: Mapping[str, Any] | None) -> int:
    """Return about how long an answer is, to share a token count by: its tokens where they are listed."""
    if choice is None or not isinstance(choice.get("message"), dict):
        return 0
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    content = choice["message"].get("content")
    return len(tokens) if isinstance(tokens, list) else 1 + len(content) if isinstance(content, str) else 1


def finite(value: object) -> float | None:
    """Return a number that can be stored, None for anything else: 1e999 is JSON and is read as infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def _packed(token: Mapping[str, Any]) -> list[Any]:
    """Return a token's log-probabilities in the short form that is stored: [token, logprob, [[token, logprob]]]."""
    tops = token.get("top_logprobs")
    return [
        clean(token.get("token"), ""),
        finite(token.get("logprob")),
        [[clean(one.get("token"), ""), finite(one.get("logprob"))] for one in tops if isinstance(one, dict)]
        if isinstance(tops, list)
        else [],
    ]


def _unpacked(token: str, logprob: Any, tops: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "top_logprobs": [{"token": name, "logprob": lp} for name, lp in tops]}


def cached_tokens(counts: Mapping[str, Any]) -> int | None:
    """Return how many of a prompt's tokens came from the server's cache, None where it does not say."""
    details = counts.get("prompt_tokens_details", counts.get("input_tokens_details"))
    return token_count(details.get("cached_tokens")) if isinstance(details, dict) else None


def token_count(value: object) -> int | None:
    """Return a token count that can be true (0 to a billion), else None: it is not trusted to be money."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else None
