"""What a server can do: tried, learned from its refusals, and remembered in this process for each version.

A server that refuses a part of a request with HTTP 400 or 422 and names it is asked again without that part:
JSON schema, then JSON object, then plain text; log-probabilities; temperature; the name of the token limit.
"""

import threading
from collections.abc import Sequence
from typing import Any

from judges.errors import CallFailed
from judges.models import JudgeVersion
from judges.prompting import answer_schema
from judges.questions import Protocol

_FORMATS = ("json_schema", "json_object", "text")
_FORMAT_WORDS = ("response_format", "json_schema", "json_object", "schema", "structured", "grammar")
TOP_LOGPROBS = 20


class Capabilities:
    """The form of request one server takes for one version. Changed on the network thread only."""

    def __init__(self, base_url: str) -> None:
        self.format = _FORMATS[0]
        self.logprobs = True
        self.temperature = True
        # OpenAI's own models refuse the older name; many other servers know only the older one.
        self.limit_name = "max_completion_tokens" if "//api.openai.com" in base_url else "max_tokens"

    def request(self, version: JudgeVersion, messages: Sequence[dict[str, str]]) -> dict[str, Any]:
        """Return the body of one chat completion."""
        sampling = dict(version.sampling)
        body: dict[str, Any] = {
            "model": version.model,
            "messages": list(messages),
            self.limit_name: sampling.pop("max_tokens"),
        }
        if not self.temperature:
            sampling.pop("temperature", None)
        body.update(sampling)
        if self.format == "json_schema":
            schema = {"name": "verdict", "strict": True, "schema": answer_schema(version.protocol)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self.format == "json_object":
            body["response_format"] = {"type": "json_object"}
        if version.protocol == Protocol.LETTER and self.logprobs:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        return body

    def tried(self) -> tuple[object, ...]:
        """Return the present form, to tell whether another question has changed it meanwhile."""
        return (self.format, self.logprobs, self.temperature, self.limit_name)

    def learn_from(self, failure: CallFailed, tried: tuple[object, ...]) -> bool:
        """Take a refused part out; say whether asking again makes sense."""
        if failure.status not in {400, 422}:
            return False
        if tried != self.tried():
            return True
        said = failure.detail.casefold()
        if "logprobs" in said and self.logprobs:
            self.logprobs = False
        elif "temperature" in said and self.temperature:
            self.temperature = False
        elif "max_tokens" in said and "max_completion_tokens" in said and self.limit_name == "max_tokens":
            self.limit_name = "max_completion_tokens"
        elif any(word in said for word in _FORMAT_WORDS) and self.format != _FORMATS[-1]:
            self.format = _FORMATS[_FORMATS.index(self.format) + 1]
        else:
            return False
        return True

    def in_words(self) -> dict[str, Any]:
        """Return what a verdict keeps of how it was asked."""
        return {"format": self.format}


_lock = threading.Lock()
_known: dict[tuple[str, str], Capabilities] = {}


def capabilities_of(version: JudgeVersion, base_url: str) -> Capabilities:
    """Return what this process has learned about a version's server."""
    with _lock:
        return _known.setdefault((str(version.pk), base_url), Capabilities(base_url))
