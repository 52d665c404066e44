"""Files of requests and of answers at a server with OpenAI's Batch API, and how their lines are written and read.

The lines are those of `vllm run-batch` as well, so a file may also be answered by hand.
"""

import asyncio
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import quote

import httpx2
import openai

from judges.clients.calling import Exchange, exchange, persist
from judges.clients.completing import UNKNOWN_ADDRESS, Reply, read_object, read_reply
from judges.clients.failing import clean, host_of, refused, unreachable
from judges.clients.network import Endpoint, network
from judges.clients.transports import CONNECT_TIMEOUT_SECONDS, RESPONSE_LIMIT_BYTES, ResponseTooLarge, at_most
from judges.errors import CallFailed, JudgeError

URL = "/v1/chat/completions"
WINDOW = "24h"
# The name under which a batch at a server carries our own id: how it is found again after a crash.
MARK = "tiebreak_batch"
# One file, up or down.
TRANSFER_SECONDS = 900.0
# A line of answers may be as long as an answer that is asked for alone.
LINE_LIMIT_BYTES = RESPONSE_LIMIT_BYTES
# What a file of answers may hold a request, on average: a choice with its rationale is 2 kB, twenty log-probabilities
# a token over a short answer some 20 kB.
BYTES_A_REQUEST = 128 * 1024
_PAGE = 100
_PAGES = 20
_ENDED = {"completed", "failed", "expired", "cancelled"}
# Codes of requests that a server did not get to: not done, not charged.
_NOT_REACHED = {"batch_expired", "batch_cancelled"}


class Problem(NamedTuple):
    """What a server found wrong with a file of requests; `line` counts from 1, 0 for the file as a whole."""

    line: int
    message: str


class ServerBatch(NamedTuple):
    """A batch as its server tells of it."""

    id: str
    state: str
    output_file_id: str
    error_file_id: str
    completed: int
    failed: int
    problems: tuple[Problem, ...]

    @property
    def ended(self) -> bool:
        """Say whether the server will do no more of it."""
        return self.state in _ENDED


class Result(NamedTuple):
    """One line of a file of answers: a reply, or why there is none."""

    custom_id: str
    reply: Reply | None
    failure: CallFailed | None


class BadLine(JudgeError):
    """A line of a file of answers that cannot be read."""


async def upload(endpoint: Endpoint, path: Path, name: str) -> str:
    """Send a file of requests and return its id at the server. Raises `CallFailed`."""
    patient = endpoint._replace(timeout=TRANSFER_SECONDS, deadline=TRANSFER_SECONDS)

    async def call() -> str:
        client = network().client(endpoint)
        # Read in pieces while it is sent, so that it is never in memory whole.
        with path.open("rb") as file:
            try:
                async with asyncio.timeout(TRANSFER_SECONDS):
                    raw = await client.files.with_raw_response.create(
                        file=(name, file),
                        purpose="batch",
                        timeout=httpx2.Timeout(endpoint.timeout, connect=CONNECT_TIMEOUT_SECONDS),
                    )
            except (openai.APITimeoutError, TimeoutError):
                raise _too_slow(endpoint) from None
            except openai.APIStatusError as error:
                raise _without_files(refused(error, endpoint), endpoint) from None
            except openai.APIConnectionError as error:
                raise _free(unreachable(error, endpoint)) from None
        found = read_object(raw.http_response.content.decode("utf-8", "replace"), "file")
        return _named(found, "file")

    file_id, _ = await persist(patient, call)
    return file_id


async def create(endpoint: Endpoint, file_id: str, mark: str) -> ServerBatch:
    """Have a server answer an uploaded file. Tried once: after a failure it may exist all the same (`find`)."""
    body = {
        "input_file_id": file_id,
        "endpoint": URL,
        "completion_window": WINDOW,
        "metadata": {MARK: mark},
    }
    return _batch(await exchange(endpoint, "/batches", body), endpoint)


async def find(endpoint: Endpoint, mark: str, file_id: str) -> ServerBatch | None:
    """Return the newest batch that carries our mark or answers our file, None where there is none.

    Looks at the newest 2,000. Raises `CallFailed`.
    """
    after = ""
    for _page in range(_PAGES):
        path = f"/batches?limit={_PAGE}" + (f"&after={quote(after, safe='')}" if after else "")
        page = await _got(endpoint, path)
        listed = page.get("data")
        rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
        for row in rows:
            metadata = row.get("metadata")
            marked = isinstance(metadata, dict) and metadata.get(MARK) == mark
            if marked or (file_id and row.get("input_file_id") == file_id):
                return _read_batch(row, endpoint)
        after = _text(rows[-1].get("id")) if rows else ""
        if not after or page.get("has_more") is not True:
            return None
    return None


async def retrieve(endpoint: Endpoint, batch_id: str) -> ServerBatch:
    """Return a batch as it is now. Raises `CallFailed`."""
    return _read_batch(await _got(endpoint, f"/batches/{quote(batch_id, safe='')}"), endpoint)


async def cancel(endpoint: Endpoint, batch_id: str) -> ServerBatch:
    """Ask a server to stop; what is finished stays finished. Raises `CallFailed`."""

    async def call() -> ServerBatch:
        return _batch(await exchange(endpoint, f"/batches/{quote(batch_id, safe='')}/cancel", {}), endpoint)

    batch, _ = await persist(endpoint, call)
    return batch


async def download(endpoint: Endpoint, file_id: str, path: Path, *, limit_bytes: int) -> None:
    """Write a file of answers to a path, whole or not at all, piece by piece. Raises `CallFailed`."""
    patient = endpoint._replace(timeout=TRANSFER_SECONDS, deadline=TRANSFER_SECONDS)
    part = path.with_name(path.name + ".part")

    async def call() -> None:
        client = network().client(endpoint)
        try:
            async with asyncio.timeout(TRANSFER_SECONDS):
                with at_most(limit_bytes), private(part) as file:
                    async with client.files.with_streaming_response.content(
                        file_id, timeout=httpx2.Timeout(endpoint.timeout, connect=CONNECT_TIMEOUT_SECONDS)
                    ) as response:
                        async for piece in response.iter_bytes():
                            file.write(piece)
        except (openai.APITimeoutError, TimeoutError, httpx2.TimeoutException):
            raise _too_slow(endpoint) from None
        except openai.APIStatusError as error:
            raise refused(error, endpoint) from None
        except openai.APIConnectionError as error:
            raise _free(unreachable(error, endpoint)) from None
        except ResponseTooLarge as error:
            raise CallFailed(f"The file of answers from {host_of(endpoint)} is refused: {error}.") from None
        except httpx2.TransportError as error:
            raise CallFailed(
                f"The server at {host_of(endpoint)} broke off while sending the answers: {error}.", retryable=True
            ) from None

    try:
        await persist(patient, call)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def private(path: Path) -> BinaryIO:
    """Open a new file that only this user can read: prompts and answers are nobody else's."""
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def request_line(custom_id: str, body: Mapping[str, Any]) -> bytes:
    """Return one line of a file of requests."""
    line = {"custom_id": custom_id, "method": "POST", "url": URL, "body": body}
    # Escaped: a lone surrogate or a line separator in a prompt must not break the file.
    return json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


class Line(NamedTuple):
    """A line of a file: where it begins, its number from 1, and its bytes, None where it is too long to be read."""

    offset: int
    number: int
    content: bytes | None


def lines_of(path: Path) -> Iterator[Line]:
    """Yield the lines of a file that are not blank; never more of it than one line is in memory."""
    with path.open("rb") as file:
        number = offset = 0
        while content := file.readline(LINE_LIMIT_BYTES + 1):
            number += 1
            start, offset = offset, offset + len(content)
            if len(content) > LINE_LIMIT_BYTES:
                while content and not content.endswith(b"\n"):
                    content = file.readline(LINE_LIMIT_BYTES)
                    offset += len(content)
                yield Line(start, number, None)
            elif content.strip():
                yield Line(start, number, content)


def line_at(file: BinaryIO, offset: int) -> bytes:
    """Return the line of an open file that begins at an offset."""
    file.seek(offset)
    return file.readline(LINE_LIMIT_BYTES)


def request_id_of(content: bytes) -> str:
    """Return the custom_id of a line that `request_line` wrote."""
    return str(json.loads(content)["custom_id"])


def heading_of(line: Line) -> tuple[str, bool]:
    """Return what a line of answers is joined by, and whether it holds an answer or an error. Raises `BadLine`."""
    if line.content is None:
        raise BadLine(f"is longer than {LINE_LIMIT_BYTES:,} bytes")
    custom_id, data = _line_of(line.content)
    response = data.get("response")
    answered = isinstance(response, dict) and response.get("status_code", 200) == 200
    return custom_id, answered and data.get("error") is None


def read_result(content: bytes, key: str = "") -> Result:
    """Read one line of answers, of OpenAI's form or of `vllm run-batch`. Raises `BadLine` where it names no request."""
    custom_id, data = _line_of(content)
    response, error = data.get("response"), data.get("error")
    status = response.get("status_code", 200) if isinstance(response, dict) else 0
    body = response.get("body") if isinstance(response, dict) else None
    if error is None and status == 200 and isinstance(body, dict):
        try:
            return Result(custom_id, read_reply(body, key=key), None)
        except CallFailed as failure:
            return Result(custom_id, None, failure)
    code = error.get("code") if isinstance(error, dict) else None
    said = clean(_words(error) or _words(body), key)[:300] or "no reason"
    if code in _NOT_REACHED:
        words = "expired" if code == "batch_expired" else "was cancelled"
        return Result(custom_id, None, CallFailed(f"The batch {words} before this was answered.", retryable=True))
    if not isinstance(status, int) or isinstance(status, bool):
        status = 0
    again = status in {0, 200, 408, 409, 429} or status >= 500
    what = f"failed this request (HTTP {status})" if again and status else "refused this request"
    if not status:
        what = "did not answer this request"
    elif not again:
        what += f" (HTTP {status})"
    return Result(
        custom_id,
        None,
        CallFailed(
            f"The server {what}: {said}",
            retryable=again,
            maybe_billed=status in {200, 408, 504},
            status=status,
            detail=said,
        ),
    )


def _line_of(content: bytes) -> tuple[str, dict[str, Any]]:
    try:
        data = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise BadLine("is no JSON, or is cut off") from None
    if not isinstance(data, dict):
        raise BadLine("is no JSON object")
    custom_id = data.get("custom_id")
    if not isinstance(custom_id, str) or not custom_id:
        raise BadLine("has no custom_id, so it answers no question of ours")
    if not ("response" in data or "error" in data):
        raise BadLine("has neither a response nor an error: is this a file of answers?")
    return custom_id, data


def _words(value: object) -> str:
    """Return the message in an error, however deep: OpenAI nests it once, vLLM gives a text or nests it."""
    for _depth in range(3):
        if not isinstance(value, dict):
            break
        value = value.get("message") or value.get("error")
    return value if isinstance(value, str) else ""


async def _got(endpoint: Endpoint, path: str) -> dict[str, Any]:
    async def call() -> dict[str, Any]:
        try:
            return read_object((await exchange(endpoint, path)).text, "batch")
        except CallFailed as failure:
            # Looking costs nothing, so it may be repeated.
            raise _free(failure) from None

    found, _ = await persist(endpoint, call)
    return found


def _batch(answer: Exchange, endpoint: Endpoint) -> ServerBatch:
    return _read_batch(read_object(answer.text, "batch"), endpoint)


def _read_batch(data: Mapping[str, Any], endpoint: Endpoint) -> ServerBatch:
    counts, errors = data.get("request_counts"), data.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else None
    return ServerBatch(
        id=_named(data, "batch"),
        state=_text(data.get("status"))[:40],
        output_file_id=_text(data.get("output_file_id")),
        error_file_id=_text(data.get("error_file_id")),
        completed=_count(counts, "completed"),
        failed=_count(counts, "failed"),
        problems=tuple(
            Problem(_count(one, "line"), clean(one.get("message") or one.get("code"), endpoint.key)[:300])
            for one in (listed if isinstance(listed, list) else [])[:1000]
            if isinstance(one, dict)
        ),
    )


def _named(data: Mapping[str, Any], what: str) -> str:
    """Return the id in a server's answer: a plain word, since it becomes part of an address."""
    found = data.get("id")
    if not isinstance(found, str) or not re.fullmatch(r"[\w.:=-]{1,200}", found):
        raise CallFailed(f"The server's answer is no {what}: it has no id.", status=200)
    return found


def _without_files(failure: CallFailed, endpoint: Endpoint) -> CallFailed:
    if failure.status not in UNKNOWN_ADDRESS:
        return failure
    return CallFailed(
        f"The server at {host_of(endpoint)} takes no files of requests (HTTP {failure.status}). Ask it with a judge of "
        "kind openai, or write a file for its own batch program with export_batch.",
        whole_judge=True,
        status=failure.status,
    )


def _too_slow(endpoint: Endpoint) -> CallFailed:
    return CallFailed(f"The server at {host_of(endpoint)} was too slow with a file.", retryable=True, whole_judge=True)


def _free(failure: CallFailed) -> CallFailed:
    failure.maybe_billed = False
    return failure


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(data: object, name: str) -> int:
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9 else 0
