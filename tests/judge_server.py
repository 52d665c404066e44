"""An OpenAI-compatible server on loopback for tests: it judges by a rule, logs every call, and fails on demand."""

import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

SECTION = re.compile(r"<(response-(?:first|second|A|B))-([0-9a-f]{8})>\n(.*?)\n</\1-\2>", re.DOTALL)


class Call(NamedTuple):
    """One request: when it came (`time.time()`), what it showed, and its whole body and headers."""

    number: int
    at: float
    first: str
    second: str
    body: dict[str, Any]
    headers: dict[str, str]


class Served(NamedTuple):
    """What the server sends. `cut` closes the connection after that many bytes; `delay` is seconds before."""

    status: int = 200
    content: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None
    delay: float = 0.0


Behaviour = Callable[[Call], Served]


def verdict(
    choice: str = "first",
    *,
    confidence: int = 80,
    rationale: str = "It answers the question.",
    text: str | None = None,
    usage: Any = None,
    finish_reason: str = "stop",
    **extra: Any,
) -> Served:
    """Return a well-formed chat completion that holds a verdict, or `text` instead of one."""
    if text is None:
        text = json.dumps({"rationale": rationale, "choice": choice, "confidence": confidence})
    data = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "stub-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120} if usage is None else usage,
    }
    return Served(content=json.dumps({**data, **extra}).encode())


def failure(status: int, message: str = "no", **headers: str) -> Served:
    """Return an error in OpenAI's form; `retry_after="1"` becomes the header Retry-After."""
    names = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Served(status, json.dumps({"error": {"message": message, "type": "error"}}).encode(), names)


def prefer_longer(call: Call) -> Served:
    """Judge without position bias: the longer response wins."""
    if len(call.first) == len(call.second):
        return verdict("tie")
    return verdict("first" if len(call.first) > len(call.second) else "second")


def prefer_first(_call: Call) -> Served:
    """Judge by position alone."""
    return verdict("first")


class JudgeServer:
    """A context manager: inside it, `base_url` answers. `behave` may be changed at any time."""

    def __init__(self, behave: Behaviour = prefer_longer, *, latency: float = 0.0) -> None:
        self.behave = behave
        self.latency = latency
        self.calls: list[Call] = []
        self._lock = threading.Lock()
        # Set on leaving, so that a handler that hangs ends with the test.
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                server.serve(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Keep quiet: the calls are the log."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """Keep quiet: a killed or timed-out client leaves a broken pipe, which is what tests do."""

        self._http = Server(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Log one call and send what the behaviour says."""
        body = json.loads(request.rfile.read(int(request.headers.get("Content-Length", 0))) or b"{}")
        with self._lock:
            headers = {name.lower(): value for name, value in request.headers.items()}
            call = self._read(len(self.calls) + 1, body, headers)
            self.calls.append(call)
        served = self.behave(call)
        if self.closing.wait(self.latency + served.delay):
            return
        request.send_response(served.status)
        names = {name.lower() for name, _ in served.headers}
        if "content-type" not in names:
            request.send_header("Content-Type", "application/json")
        for name, value in served.headers:
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(served.content)))
        request.end_headers()
        request.wfile.write(served.content if served.cut is None else served.content[: served.cut])
        if served.cut is not None:
            request.close_connection = True

    @staticmethod
    def _read(number: int, body: dict[str, Any], headers: dict[str, str]) -> Call:
        text = body["messages"][-1]["content"]
        shown = {name: content for name, _, content in SECTION.findall(text)}
        first = shown.get("response-first", shown.get("response-A", ""))
        second = shown.get("response-second", shown.get("response-B", ""))
        return Call(number, time.time(), first, second, body, headers)
