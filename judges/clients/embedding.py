"""Ask for embeddings: a vector a text, in OpenAI's form (`/embeddings`; also vLLM, llama.cpp, Ollama, TEI)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from judges.clients.calling import exchange, persist
from judges.clients.completing import read_object
from judges.clients.network import Endpoint
from judges.clients.transports import at_most
from judges.errors import CallFailed

EMBEDDING = "list of embeddings"
# The largest models give 4,096 numbers, each written with at most 24 characters.
BYTES_A_TEXT = 128 * 1024


async def embed(endpoint: Endpoint, model: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return a row a text (n, k), again where that is free and useful, within the endpoint's deadline.

    One request. Raises `CallFailed`, with the key scrubbed from its text.
    """
    body = {"model": model, "input": list(texts), "encoding_format": "float"}

    async def call() -> npt.NDArray[np.float32]:
        with at_most(BYTES_A_TEXT * (len(texts) + 1)):
            answer = await exchange(endpoint, "/embeddings", body)
        return read_embeddings(read_object(answer.text, EMBEDDING), len(texts))

    vectors, _met = await persist(endpoint, call)
    return vectors


def read_embeddings(data: Mapping[str, Any], wanted: int) -> npt.NDArray[np.float32]:
    """Return the vectors of a 200's body in the order asked. Raises `CallFailed` for anything but one a text."""
    rows = data.get("data")
    found: dict[int, list[float]] = {}
    for place, row in enumerate(rows if isinstance(rows, list) else []):
        if isinstance(row, dict) and _is_vector(row.get("embedding")):
            index = row.get("index", place)
            found[index if isinstance(index, int) else place] = row["embedding"]
    if sorted(found) != list(range(wanted)):
        raise _useless(f"it holds {len(found)} vectors for {wanted} texts")
    lengths = {len(vector) for vector in found.values()}
    if len(lengths) != 1:
        raise _useless("its vectors differ in length")
    vectors = np.array([found[place] for place in range(wanted)], dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise _useless("its vectors hold what is no number")
    return vectors


def _is_vector(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(isinstance(one, int | float) and not isinstance(one, bool) for one in value)


def _useless(why: str) -> CallFailed:
    return CallFailed(f"The server's answer is no {EMBEDDING}: {why}.", maybe_billed=True, whole_judge=True, status=200)
