"""What a server can do for one version: as the probe found it, and as its refusals teach.

A server that refuses a part of a request with HTTP 400 or 422 and names it is asked again without that part:
JSON schema, then JSON object, then plain text; log-probabilities, first fewer of them; temperature, top_p and seed; the
name of the token limit; the other form of decisions. What was left out is kept with every answer.
"""

import threading
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from judges.clients import system_one
from judges.errors import CallFailed
from judges.models import JudgeKind, JudgeVersion, ServedModel
from judges.prompting import (
    answer_schema,
    decision_input,
    decision_questions,
    max_tokens_for,
    messages_for,
    wants_logprobs,
)
from judges.questions import Protocol, Question

FORMATS = ("json_schema", "json_object", "text")
_FORMAT_WORDS = ("response_format", "json_schema", "json_object", "schema", "structured", "grammar")
# As many alternatives a token as servers give at most, and what the less generous ones give.
TOP_LOGPROBS = (20, 5)
# Sampling settings that a server may refuse and a judge can do without. Reasoning effort is none: it changes the judge.
DISPENSABLE = ("temperature", "top_p", "seed")
LIMIT_NAMES = ("max_completion_tokens", "max_tokens")
DECISION_FORMS = ("decisions", "systemone")
# The local judge's server has another port each time.
LOCAL_ADDRESS = "local"


class Capabilities:
    """The form of request one server takes for one version. Changed on the network thread only."""

    def __init__(self, version: JudgeVersion, base_url: str, found: Mapping[str, Any] | None = None) -> None:
        found = found or {}
        self._asks_decisions = version.protocol == Protocol.DECISIONS
        self._dispensable = frozenset(DISPENSABLE).intersection(version.sampling)
        self._untried_limits = set(LIMIT_NAMES)
        self.format: str = found.get("format", FORMATS[0])
        self.top_logprobs: int = found.get("top_logprobs", TOP_LOGPROBS[0])
        self.without = frozenset(name for name in DISPENSABLE if found.get(name) is False)
        # OpenAI's own models refuse the older name; many other servers know only the older one.
        by_default = LIMIT_NAMES[0] if "//api.openai.com" in base_url else LIMIT_NAMES[1]
        self.limit_name: str = found.get("limit", by_default)
        self._untried_limits.discard(self.limit_name)
        self.decisions: str = found.get("decisions") or DECISION_FORMS[0]
        # Whether many conversations go in one request. Only what the probe saw: trying costs whole requests.
        self.many: bool = found.get("many", False)

    def request(self, version: JudgeVersion, question: Question) -> dict[str, Any]:
        """Return the body of one request: a chat completion, or decisions where the version asks for them."""
        if version.protocol == Protocol.DECISIONS:
            body: dict[str, Any] = {
                "model": version.model,
                "input": decision_input(version, question),
                "questions": decision_questions(version, question),
            }
            return system_one(body) if self.decisions == DECISION_FORMS[1] else body
        body = {
            "model": version.model,
            "messages": messages_for(question, version),
            self.limit_name: max_tokens_for(version, question),
        }
        left_out = {"max_tokens", *self.without}
        body |= {name: value for name, value in version.sampling.items() if name not in left_out}
        if self.format == "json_schema":
            schema = {"name": "verdict", "strict": True, "schema": answer_schema(version, question)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self.format == "json_object":
            body["response_format"] = {"type": "json_object"}
        if self.top_logprobs and wants_logprobs(version, question):
            body |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        return body

    def tried(self) -> tuple[object, ...]:
        """Return the present form, to tell whether another question has changed it meanwhile."""
        return (self.format, self.top_logprobs, self.without, self.limit_name, self.decisions)

    def learn_from(self, failure: CallFailed, tried: tuple[object, ...]) -> bool:
        """Take a refused part out; say whether asking again makes sense."""
        unknown_address = self._asks_decisions and failure.status in {404, 405, 501}
        if failure.status not in {400, 422} and not unknown_address:
            return False
        if tried != self.tried():
            return True
        if unknown_address:
            # Once: where neither form is known, the second refusal stands.
            known, self.decisions = self.decisions, DECISION_FORMS[1]
            return known != self.decisions
        said = failure.detail.casefold()
        refused = next((name for name in sorted(self._dispensable - self.without) if name in said), "")
        if "logprobs" in said and self.top_logprobs:
            fewer = [number for number in TOP_LOGPROBS if number < self.top_logprobs]
            # A refusal that speaks of their number, not of log-probabilities as such, may take fewer.
            self.top_logprobs = fewer[0] if fewer and "top_logprobs" in said else 0
        elif self._untried_limits and all(name in said for name in LIMIT_NAMES):
            self.limit_name = self._untried_limits.pop()
        elif refused:
            self.without |= {refused}
        elif any(word in said for word in _FORMAT_WORDS) and self.format != FORMATS[-1]:
            self.format = FORMATS[FORMATS.index(self.format) + 1]
        else:
            return False
        return True

    def in_words(self) -> dict[str, Any]:
        """Return what a verdict keeps of how it was asked."""
        return {"format": self.format, **({"without": sorted(self.without)} if self.without else {})}


_lock = threading.Lock()
_known: dict[tuple[str, str], tuple[datetime | None, Capabilities]] = {}


def address_of(version: JudgeVersion) -> str:
    """Return the address under which what was found of a version's server is stored."""
    return LOCAL_ADDRESS if version.judge.kind == JudgeKind.LOCAL else version.base_url


def served_of(version: JudgeVersion) -> ServedModel | None:
    """Return what the last probe of a version's model found, None where there was none. One query."""
    return ServedModel.objects.filter(base_url=address_of(version), model=version.model).first()


def capabilities_of(version: JudgeVersion, base_url: str) -> Capabilities:
    """Return what is known of a version's server: the last probe's findings and what this process has learned since.

    One query, so not for the network thread.
    """
    served = served_of(version)
    found: Mapping[str, Any] = served.found if served else {}
    if found.get("reasoning_effort") != version.sampling.get("reasoning_effort"):
        # What a reasoning model takes depends on the effort it was probed with.
        found = {}
    probed_at = served.probed_at if served else None
    identity = (str(version.pk), base_url)
    with _lock:
        known = _known.get(identity)
        if known is None or known[0] != probed_at:
            known = _known[identity] = (probed_at, Capabilities(version, base_url, found))
        return known[1]
