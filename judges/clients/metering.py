"""How much a server has to do, as it says itself: the metrics of vLLM in Prometheus' text form."""

import re
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from judges.clients.calling import exchange
from judges.clients.network import Endpoint
from judges.errors import CallFailed

_SAMPLE = re.compile(r"^vllm:num_requests_(running|waiting)(?:\{[^\n]*\})?\s+([0-9.eE+]+)\s*$", re.MULTILINE)


class Load(NamedTuple):
    """Conversations that a server computes now, and those that wait in it for their turn; of all its engines."""

    running: int
    waiting: int


async def load_of(endpoint: Endpoint) -> Load:
    """Return what a server says of its load. Raises `CallFailed`, also where it says nothing of it."""
    parts = urlsplit(endpoint.base_url)
    # Beside the interface, not below it: /v1/chat/completions and /metrics.
    root = urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/").removesuffix("/v1"), "", ""))
    answer = await exchange(endpoint._replace(base_url=root), "/metrics")
    load = read_load(answer.text)
    if load is None:
        raise CallFailed("The server's metrics say nothing of its queue.", status=200)
    return load


def read_load(text: str) -> Load | None:
    """Read metrics in Prometheus' text form; None where those of a queue are not among them. Pure."""
    found: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        found[name] = found.get(name, 0.0) + float(value)
    if set(found) != {"running", "waiting"}:
        return None
    return Load(int(found["running"]), int(found["waiting"]))
