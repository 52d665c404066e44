"""OpenAI's files and batches on loopback for tests: it answers each line as a judge server would."""

import json
import random
import re
import threading
from collections.abc import Callable, Sequence
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qs

from tests.judge_server import Behaviour, Call, JudgeServer, Served, failure, prefer_longer, shown_in

Rewrite = Callable[[list[bytes]], bytes]


def joined(lines: Sequence[bytes]) -> bytes:
    """Return lines as a file."""
    return b"".join(line + b"\n" for line in lines)


def output_line(custom_id: str, served: Served) -> bytes:
    """Return one line of a file of answers, in OpenAI's form."""
    response = {"status_code": served.status, "request_id": "req-1", "body": json.loads(served.content)}
    return json.dumps({"id": "batch_req_1", "custom_id": custom_id, "response": response, "error": None}).encode()


def vllm_line(custom_id: str, served: Served) -> bytes:
    """Return one line as `vllm run-batch` writes it: the body of a failure is null and its error stands beside."""
    failed = served.status != 200
    content = json.loads(served.content)
    response = {"status_code": served.status, "request_id": "vllm-batch-1", "body": None if failed else content}
    error = {"error": {**content["error"], "code": served.status}} if failed else None
    return json.dumps({"id": "vllm-1", "custom_id": custom_id, "response": response, "error": error}).encode()


def unreached_line(custom_id: str, code: str) -> bytes:
    """Return the line of a request that the server did not get to."""
    error = {"code": code, "message": "This request could not be executed."}
    return json.dumps({"id": "batch_req_1", "custom_id": custom_id, "response": None, "error": error}).encode()


def answers_to(requests: bytes, behave: Behaviour = prefer_longer, *, line: Any = output_line) -> list[bytes]:
    """Answer every line of a file of requests, in its order."""
    asked = [json.loads(one) for one in requests.splitlines()]
    return [line(one["custom_id"], behave(call_of(number, one))) for number, one in enumerate(asked, 1)]


def call_of(number: int, request: dict[str, Any]) -> Call:
    """Return a line of requests as the call it stands for."""
    first, second = shown_in(request["body"]["messages"])
    return Call(number, 0.0, first, second, request["body"], {})


class BatchServer(JudgeServer):
    """A context manager: inside it, `base_url` takes files and batches.

    A batch stays `in_progress` for `looks` looks and ends in `ending`: completed, expired, cancelled or failed; of the
    requests of one that did not complete, the first `reached` are answered. `refuse` may answer any call instead.
    """

    def __init__(self, behave: Behaviour = prefer_longer) -> None:
        super().__init__(behave)
        self.looks = 0
        self.ending = "completed"
        self.reached: int | None = None
        self.problems: list[dict[str, Any]] = []
        self.rewrite: Rewrite = joined
        self.refuse: Callable[[Call], Served | None] = lambda call: None
        self.files: dict[str, bytes] = {}
        self.names: dict[str, str] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        # Requests that were answered, and so charged.
        self.answered: list[str] = []
        self._guard = threading.Lock()
        for route in ("POST /v1/files", "GET /v1/files", "POST /v1/batches", "GET /v1/batches"):
            self.routes[route] = self._visited

    def requests_of(self, batch_id: str) -> list[dict[str, Any]]:
        """Return the lines that a batch asks."""
        return [json.loads(line) for line in self.files[self.batches[batch_id]["input_file_id"]].splitlines()]

    def count(self, method: str, path: str) -> int:
        """Return how often something was asked for; the path is a regular expression."""
        return sum(one.method == method and re.fullmatch(path, one.path) is not None for one in self.others)

    def _visited(self, call: Call) -> Served:
        with self._guard:
            return self.refuse(call) or self._serve(call)

    def _serve(self, call: Call) -> Served:
        path = call.path.removeprefix("/v1")
        match call.method, path:
            case "POST", "/files":
                return self._take_file(call.headers["content-type"], call.content)
            case "POST", "/batches":
                return self.begin(call.body)
            case "GET", "/batches":
                query = parse_qs(call.query)
                return self._list(int(query.get("limit", ["20"])[0]), query.get("after", [""])[0])
        if found := re.fullmatch(r"/files/([\w-]+)/content", path):
            content = self.files.get(found[1])
            return failure(404, "no such file") if content is None else Served(content=content)
        if (found := re.fullmatch(r"/batches/([\w-]+)(/cancel)?", path)) and found[1] in self.batches:
            batch = self.batches[found[1]]
            return self._cancel(batch) if found[2] else self._look(batch)
        return failure(404, "not found")

    def _take_file(self, content_type: str, body: bytes) -> Served:
        message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
        parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
        content: Any = parts["file"].get_payload(decode=True)
        assert parts["purpose"].get_content().strip() == "batch"
        file_id = f"file-{len(self.files) + 1}"
        self.files[file_id] = content
        self.names[file_id] = str(parts["file"].get_filename())
        return self._json({"id": file_id, "object": "file", "bytes": len(content), "purpose": "batch"})

    def begin(self, asked: dict[str, Any]) -> Served:
        """Begin a batch, as if it had been asked for."""
        if asked["input_file_id"] not in self.files:
            return failure(400, "no such input file")
        batch_id = f"batch_{len(self.batches) + 1}"
        lines = len(self.files[asked["input_file_id"]].splitlines())
        self.batches[batch_id] = {
            "id": batch_id,
            "object": "batch",
            **asked,
            "status": "validating",
            "request_counts": {"total": lines, "completed": 0, "failed": 0},
            "output_file_id": None,
            "error_file_id": None,
            "errors": None,
            "looks": self.looks,
        }
        return self._json(self.batches[batch_id])

    def _list(self, limit: int, after: str) -> Served:
        newest = list(reversed(self.batches))
        start = newest.index(after) + 1 if after else 0
        page = newest[start : start + limit]
        return self._json(
            {"object": "list", "data": [self.batches[one] for one in page], "has_more": start + limit < len(newest)}
        )

    def _look(self, batch: dict[str, Any]) -> Served:
        if batch["status"] in {"validating", "in_progress"}:
            if batch["looks"]:
                batch["looks"] -= 1
                batch["status"] = "in_progress"
            else:
                self._finish(batch, self.ending)
        elif batch["status"] == "cancelling":
            self._finish(batch, "cancelled")
        return self._json(batch)

    def _cancel(self, batch: dict[str, Any]) -> Served:
        if batch["status"] in {"completed", "failed", "expired", "cancelled"}:
            return failure(409, f"Cannot cancel a batch with status '{batch['status']}'.")
        batch["status"] = "cancelling"
        return self._json(batch)

    def _finish(self, batch: dict[str, Any], ending: str) -> None:
        batch["status"] = ending
        if ending == "failed":
            batch["errors"] = {"object": "list", "data": self.problems}
            return
        requests = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        reached = len(requests) if ending == "completed" else self.reached or 0
        good, errors = [], []
        for number, one in enumerate(requests, 1):
            if number > reached:
                errors.append(unreached_line(one["custom_id"], f"batch_{ending}"))
                continue
            served = self.behave(call_of(number, one))
            if served.status == 200:
                self.answered.append(one["custom_id"])
                good.append(output_line(one["custom_id"], served))
            else:
                errors.append(output_line(one["custom_id"], served))
        batch["request_counts"] = {"total": len(requests), "completed": len(good), "failed": len(errors)}
        random.Random(len(good)).shuffle(good)
        for name, content in (("output", self.rewrite(good) if good else b""), ("error", joined(errors))):
            if content:
                batch[f"{name}_file_id"] = f"file-{name}-{batch['id']}"
                self.files[f"file-{name}-{batch['id']}"] = content

    @staticmethod
    def _json(data: dict[str, Any]) -> Served:
        return Served(content=json.dumps(data).encode())
