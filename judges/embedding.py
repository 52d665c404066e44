"""Vectors of texts from a model server, under the rules that hold for judges: hosts, keys, time limits, retries."""

import asyncio
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from django.conf import settings

from judges.clients import Endpoint, embed, submit
from judges.defining import check_address, key_of

# Texts a request, and requests under way at once.
TEXTS_A_REQUEST = 64
REQUESTS_AT_ONCE = 4
TEXTS_AT_ONCE = TEXTS_A_REQUEST * REQUESTS_AT_ONCE


def fetch_embeddings(base_url: str, model: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return a row a text (n, k), as the server gave it, in requests of 64 texts, four of them at a time.

    Nothing is read from the database or stored. Raises `JudgeError` for an address that must not be asked, and
    `CallFailed` where the server fails: what other requests brought meanwhile is lost, so give few texts at a time.
    """
    address = check_address(base_url)
    timeout = settings.JUDGE_TIMEOUT_SECONDS
    endpoint = Endpoint(address, key_of(address), timeout, 2.0 * timeout + 60.0)
    return submit(_all(endpoint, model, texts)).result()


async def _all(endpoint: Endpoint, model: str, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    room = asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def one(start: int) -> npt.NDArray[np.float32]:
        async with room:
            return await embed(endpoint, model, texts[start : start + TEXTS_A_REQUEST])

    parts = await asyncio.gather(*(one(start) for start in range(0, len(texts), TEXTS_A_REQUEST)))
    return np.concatenate(parts)
