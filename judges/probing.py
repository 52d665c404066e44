"""Find out what a model at a server can do, by a few tiny requests, before anybody relies on it.

What is stored (`ServedModel.found`) is flat, and a name that is not there was not found out:

- `listed`, `models`: whether the server lists the model, and how many it lists; `owner`: who it says runs it
- `context_tokens`: how long question and answer may be together
- `round_trip_ms`, `answer_ms`: the time of a request without a model's work, and of a short answer
- `answered_by`: the model that the server says it used; `usage`: whether it counts tokens
- `format`: `json_schema`, `json_object` or `text`, the strictest form of answer it keeps to
- `top_logprobs`: how many alternatives a token it gives log-probabilities of; 0 for none
- `limit`: `max_completion_tokens` or `max_tokens`, the name of the limit it keeps
- `temperature`, `seed`: whether it takes them
- `many`: whether many conversations go in one request
- `metrics`: `vllm` where it says how many conversations wait in it, '' where it does not
- `batch`: whether it has the batch API (files and batches)
- `decisions`: `decisions` or `systemone`, the form of decisions it answers, '' for none
- `reasoning_effort`: what the requests were made with, where the judge sets it
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from django.utils import timezone

from judges.asking import endpoint_of
from judges.capabilities import DECISION_FORMS, LIMIT_NAMES, TOP_LOGPROBS, address_of
from judges.clients import (
    Endpoint,
    Reply,
    clean,
    complete,
    decide,
    exchange,
    load_of,
    persist,
    read_object,
    submit,
    system_one,
)
from judges.errors import CallFailed, JudgeError
from judges.models import JudgeKind, JudgeVersion, ServedModel

logger = logging.getLogger(__name__)

PROBE_SECONDS = 60.0
# One request gets this long; a server that still loads its model may take all of it for the first.
REQUEST_SECONDS = 30.0
SERVED = {JudgeKind.OPENAI, JudgeKind.DECISIONS, JudgeKind.BATCH, JudgeKind.LOCAL}
# Statuses that speak of the moment or of the key, not of what was asked for.
_SAYS_NOTHING = {0, 200, 408, 409, 429, 502, 503, 504, 529}
_SHORT = 16
# Long enough for a model that thinks before it answers.
_LONG = 400
# Where servers say how long a question may be, beside a model's name.
_CONTEXT_NAMES = (
    "max_model_len",
    "context_length",
    "context_window",
    "max_context_length",
    "n_ctx",
    "max_input_tokens",
)
_GREETING = "Reply with the single word hello."
_CHOICE = {
    "type": "object",
    "properties": {"choice": {"type": "string", "enum": ["A", "B"]}},
    "required": ["choice"],
    "additionalProperties": False,
}
_PREDICATE = {"type": "predicate", "name": "greeting", "instructions": "The text is a greeting."}


def asks_a_server(version: JudgeVersion) -> bool:
    """Say whether there is a server to probe for this judge."""
    return version.judge.kind in SERVED


def probe(version: JudgeVersion) -> ServedModel:
    """Ask a version's server a few tiny questions and store what it can do, or in words why it cannot be asked.

    Blocks for at most about a minute and costs a few hundred tokens; not for use inside a transaction. Raises
    `JudgeError` for a judge that asks no server (a rule, a jury, imported judgements); whatever else goes wrong is in
    the row's `error`.
    """
    if not asks_a_server(version):
        raise JudgeError(f"{version} asks no server, so there is nothing to probe.")
    found: dict[str, Any] = {}
    try:
        error = _asked(version, endpoint_of(version), found)
    except JudgeError as refusal:
        error = str(refusal)
    served, _ = ServedModel.objects.update_or_create(
        base_url=address_of(version),
        model=version.model,
        defaults={"found": found, "error": error, "probed_at": timezone.now()},
    )
    return served


def describe(served: ServedModel) -> list[tuple[str, str]]:
    """Return what a probe found as (what, answer) pairs of words, for the page and the command."""
    found = served.found
    return [(what, words(found) or "Not found out.") for what, words in _WORDS.items()]


def _asked(version: JudgeVersion, endpoint: Endpoint, found: dict[str, Any]) -> str:
    """Fill in what is found and return the error, '' for none."""
    work = submit(_Probe(version, endpoint, found).do())
    fault = work.exception()
    if fault is None:
        return work.result()
    if isinstance(fault, CallFailed):
        return str(fault)
    # A fault of ours must not take the page with it; it is logged whole.
    logger.error("probing %s failed", version, exc_info=fault)
    return f"Tiebreak failed while probing ({type(fault).__name__}). The log has the details."


class _Probe:
    """The requests of one probe; lives on the network thread."""

    def __init__(self, version: JudgeVersion, endpoint: Endpoint, found: dict[str, Any]) -> None:
        self.endpoint = endpoint._replace(timeout=min(endpoint.timeout, REQUEST_SECONDS), deadline=REQUEST_SECONDS)
        self.model = version.model
        self.decides = version.judge.kind == JudgeKind.DECISIONS
        self.found = found
        self.always: dict[str, Any] = {}
        if effort := version.sampling.get("reasoning_effort"):
            self.always["reasoning_effort"] = found["reasoning_effort"] = effort
        self.limit = LIMIT_NAMES[0]

    async def do(self) -> str:
        """Ask everything; return why the judge cannot be asked, '' where it can. Raises `CallFailed`."""
        until = time.monotonic() + PROBE_SECONDS
        names = await self.models()
        if self.decides:
            await self.decisions()
            if not self.found.get("decisions"):
                return (
                    self.unknown(names) or "The server answers no decisions, neither at /decisions nor at /systemone."
                )
            return ""
        try:
            await self.plain()
        except CallFailed as failure:
            return f"{failure} {self.unknown(names)}".strip()
        parts = (
            self.form,
            self.logprobs,
            self.temperature,
            self.seed,
            self.many,
            self.metrics,
            self.batch,
            self.decisions,
        )
        tasks = [asyncio.create_task(_quietly(part)) for part in parts]
        _, late = await asyncio.wait(tasks, timeout=max(1.0, until - time.monotonic()))
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return ""

    async def models(self) -> list[str]:
        """Read the list of models, where there is one. Raises `CallFailed` where no request can succeed."""
        started = time.monotonic()
        try:
            answer, _ = await persist(self.endpoint, lambda: exchange(self.endpoint, "/models"))
            data = read_object(answer.text, "list of models")
        except CallFailed as failure:
            if (
                failure.status in {401, 403}
                or 300 <= failure.status < 400
                or (failure.whole_judge and not failure.status)
            ):
                raise
            return []
        self.found["round_trip_ms"] = round(1000 * (time.monotonic() - started))
        listed = data.get("data")
        entries = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        names = [clean(one.get("id"), self.endpoint.key) for one in entries]
        mine = next((one for one, name in zip(entries, names, strict=True) if name == self.model), None)
        self.found |= {"models": len(entries), "listed": mine is not None}
        if mine is not None:
            if owner := clean(mine.get("owned_by"), self.endpoint.key)[:80]:
                self.found["owner"] = owner
            if context := _context_of(mine):
                self.found["context_tokens"] = context
        return names

    def unknown(self, names: list[str]) -> str:
        """Return a sentence on the models there are, where this one is not among them."""
        if not names or self.found.get("listed"):
            return ""
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        return f"The server lists other models: {shown}."[:500]

    async def plain(self) -> None:
        """Ask for the plainest completion, and find the name of the limit that is kept. Raises `CallFailed`."""
        count = "Count from 1 to 60 in figures, separated by commas."
        try:
            reply = await self.chat(count)
        except CallFailed as failure:
            if failure.status not in {400, 422}:
                raise
            self.limit = LIMIT_NAMES[1]
            reply = await self.chat(count)
        if self.limit == LIMIT_NAMES[0] and _runs_over(reply):
            self.limit = LIMIT_NAMES[1]
            if _runs_over(await self.chat(count)):
                self.limit = LIMIT_NAMES[0]
        self.found |= {
            "limit": self.limit,
            "answer_ms": round(1000 * reply.seconds),
            "answered_by": reply.model,
            "usage": reply.prompt_tokens is not None and reply.completion_tokens is not None,
        }

    async def form(self) -> None:
        """Find the strictest form of answer that is kept even where something else is asked for."""
        schema = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": _CHOICE}}
        if await self.keeps(_GREETING, schema, lambda value: value in ({"choice": "A"}, {"choice": "B"})):
            self.found["format"] = "json_schema"
            return
        # OpenAI takes this form only where the prompt speaks of JSON.
        asked = f"{_GREETING} (No JSON is needed.)"
        kept = await self.keeps(asked, {"type": "json_object"}, lambda value: isinstance(value, dict))
        self.found["format"] = "json_object" if kept else "text"

    async def keeps(self, content: str, form: Mapping[str, Any], obeys: Callable[[object], bool]) -> bool:
        """Say whether an answer of a form obeys it. Raises `CallFailed` where that is not found out."""
        try:
            reply = await self.chat(content, limit=_LONG, response_format=form)
        except CallFailed as failure:
            if _is_refusal(failure):
                return False
            raise
        if not reply.text.strip() and reply.finish_reason == "length":
            raise CallFailed("The model thought until its limit.")
        try:
            return obeys(json.loads(reply.text))
        except (ValueError, RecursionError):
            return False

    async def logprobs(self) -> None:
        """Find how many alternatives a token come with log-probabilities."""
        for number in TOP_LOGPROBS:
            try:
                reply = await self.chat(_GREETING, logprobs=True, top_logprobs=number)
            except CallFailed as failure:
                if not _is_refusal(failure):
                    raise
                continue
            tops = [token.get("top_logprobs") for token in reply.logprobs]
            shown = max((len(one) for one in tops if isinstance(one, list)), default=0)
            self.found["top_logprobs"] = min(number, shown)
            return
        self.found["top_logprobs"] = 0

    async def temperature(self) -> None:
        """Find whether a temperature is taken."""
        self.found["temperature"] = await self.takes(temperature=0)

    async def seed(self) -> None:
        """Find whether a seed is taken."""
        self.found["seed"] = await self.takes(seed=1)

    async def takes(self, **extra: Any) -> bool:
        """Say whether a request with more in it is answered. Raises `CallFailed` where that is not found out."""
        return await _accepted(self.chat(_GREETING, **extra))

    async def many(self) -> None:
        """Find whether two conversations in one request get two answers."""
        messages = [{"role": "user", "content": _GREETING}]
        body = {"model": self.model, "messages": [messages, messages], self.limit: _SHORT, **self.always}

        async def ask() -> bool:
            answer = await exchange(self.endpoint, "/chat/completions/batch", body)
            choices = read_object(answer.text, "chat completion").get("choices")
            return isinstance(choices, list) and len(choices) == 2

        try:
            self.found["many"], _ = await persist(self.endpoint, ask)
        except CallFailed as failure:
            if not _is_refusal(failure):
                raise
            self.found["many"] = False

    async def metrics(self) -> None:
        """Find whether the server says how many conversations wait in it."""
        try:
            await load_of(self.endpoint)
        except CallFailed as failure:
            if failure.status in _SAYS_NOTHING - {200}:
                raise
            self.found["metrics"] = ""
        else:
            self.found["metrics"] = "vllm"

    async def batch(self) -> None:
        """Find whether files and batches are known."""
        self.found["batch"] = await self.lists("/files?limit=1") and await self.lists("/batches?limit=1")

    async def lists(self, path: str) -> bool:
        """Say whether an address gives a list. Raises `CallFailed` where that is not found out."""
        try:
            answer, _ = await persist(self.endpoint, lambda: exchange(self.endpoint, path))
            return isinstance(read_object(answer.text, "list").get("data"), list)
        except CallFailed as failure:
            if failure.status in _SAYS_NOTHING - {200}:
                raise
            return False

    async def decisions(self) -> None:
        """Find which form of decisions is answered."""
        body = {"model": self.model, "input": "Hello.", "questions": [_PREDICATE]}
        for form, asked in zip(DECISION_FORMS, (body, system_one(body)), strict=True):
            try:
                reply = await decide(self.endpoint, asked)
            except CallFailed as failure:
                hopeless = failure.status in {401, 403} or 300 <= failure.status < 400
                if (self.decides and hopeless) or failure.status in _SAYS_NOTHING - {200}:
                    raise
                continue
            self.found["decisions"] = form
            if self.decides:
                self.found |= {
                    "answer_ms": round(1000 * reply.seconds),
                    "answered_by": reply.model,
                    "usage": reply.prompt_tokens is not None,
                }
            return
        self.found["decisions"] = ""

    async def chat(self, content: str, *, limit: int = _SHORT, **extra: Any) -> Reply:
        """Ask for one completion. Raises `CallFailed`."""
        messages = [{"role": "user", "content": content}]
        return await complete(
            self.endpoint, {"model": self.model, "messages": messages, self.limit: limit, **self.always, **extra}
        )


async def _quietly(part: Callable[[], Awaitable[None]]) -> None:
    """Do one part of a probe; what it could not find out stays unknown."""
    try:
        await part()
    except CallFailed as failure:
        logger.info("a part of a probe got no answer: %s", failure)


async def _accepted(call: Awaitable[Reply]) -> bool:
    try:
        await call
    except CallFailed as failure:
        if not _is_refusal(failure):
            raise
        return False
    return True


def _is_refusal(failure: CallFailed) -> bool:
    """Say whether a failure speaks of what was asked for: a plain request was answered before."""
    return failure.status not in _SAYS_NOTHING


def _runs_over(reply: Reply) -> bool:
    """Say whether an answer is clearly longer than the limit it was given."""
    return len(reply.text) > 6 * _SHORT


def _context_of(entry: Mapping[str, Any]) -> int | None:
    meta = entry.get("meta")
    for place in (entry, meta if isinstance(meta, dict) else {}):
        for name in _CONTEXT_NAMES:
            value = place.get(name)
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**9:
                return value
    return None


def _yes_or_no(name: str, yes: str, no: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda found: (yes if found[name] else no) if name in found else ""


def _listed_words(found: Mapping[str, Any]) -> str:
    if "listed" not in found:
        return "The server has no list of models."
    owner = f" (by {found['owner']})" if found.get("owner") else ""
    return f"Listed by the server{owner}." if found["listed"] else f"Not among the {found['models']} the server lists."


def _logprobs_words(found: Mapping[str, Any]) -> str:
    if not found.get("top_logprobs"):
        return (
            "None: probabilities come from repeated answers, or the choice stands alone."
            if "top_logprobs" in found
            else ""
        )
    return f"Yes, of {found['top_logprobs']} alternatives a token."


def _speed_words(found: Mapping[str, Any]) -> str:
    parts = [
        f"{found[name]:,} ms for {what}"
        for name, what in (("round_trip_ms", "a round trip"), ("answer_ms", "a short answer"))
        if name in found
    ]
    return f"{', '.join(parts)}." if parts else ""


_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "Model": _listed_words,
    "Speed": _speed_words,
    "Context": lambda found: f"{found['context_tokens']:,} tokens." if "context_tokens" in found else "Not stated.",
    "Form of answers": lambda found: {
        "json_schema": "Kept to a JSON schema.",
        "json_object": "Kept to JSON objects; a schema is not.",
        "text": "Free text: neither a JSON schema nor JSON objects are kept to.",
    }.get(found.get("format", ""), ""),
    "Log-probabilities": _logprobs_words,
    "Limit of an answer": lambda found: f"Named {found['limit']}." if "limit" in found else "",
    "Temperature": _yes_or_no("temperature", "Taken.", "Refused, so it is left out."),
    "Seed": _yes_or_no("seed", "Taken.", "Refused, so it is left out."),
    "Token counts": _yes_or_no(
        "usage", "Given.", "Not given: with prices, each call is booked at the most it can cost."
    ),
    "Many conversations a request": _yes_or_no("many", "Yes.", "No: one conversation a request."),
    "Load": lambda found: (
        ("Told: it gets as many questions as it computes." if found["metrics"] else "Not told.")
        if "metrics" in found
        else ""
    ),
    "Batch API": _yes_or_no("batch", "Yes.", "No."),
    "Decisions": lambda found: (
        (f"Yes, at /{found['decisions']}." if found["decisions"] else "No.") if "decisions" in found else ""
    ),
}
