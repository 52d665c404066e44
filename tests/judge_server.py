"""An OpenAI-compatible server on loopback for tests: it judges by a rule, logs every call, and fails on demand.

Chat completions are answered by `behave` and logged in `calls`. Other addresses are answered by `routes`, by method and
path ("GET /v1/models"; the longest beginning wins), logged in `others`, and are 404 where there is none.
"""

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

CHAT = "/v1/chat/completions"
SECTION = re.compile(r"<(response(?:-(?:first|second|A|B))?)-([0-9a-f]{8})>\n(.*?)\n</\1-\2>", re.DOTALL)


class Call(NamedTuple):
    """One request: when it came (`time.time()`), what it showed, and its whole body and headers.

    `body` is {} where the request is no JSON object; `content` is what was sent, byte for byte.
    """

    number: int
    at: float
    first: str
    second: str
    body: dict[str, Any]
    headers: dict[str, str]
    method: str = "POST"
    path: str = "/v1/chat/completions"
    query: str = ""
    content: bytes = b""


class Served(NamedTuple):
    """What the server sends. `cut` closes the connection after that many bytes; `delay` is seconds before.

    With `drip` it sends the content a byte at a time, that many seconds apart, and never ends: no length is told.
    """

    status: int = 200
    content: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None
    delay: float = 0.0
    drip: float | None = None


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


def listing(*models: str, **fields: Any) -> Behaviour:
    """Return a list of models, each with the same further fields."""
    data = [{"id": name, "object": "model", "owned_by": "tests", **fields} for name in models]
    return lambda _call: Served(content=json.dumps({"object": "list", "data": data}).encode())


def vllm_metrics(*, running: int, waiting: int) -> Served:
    """Return what vLLM says of itself, of two engines, among much else."""
    lines = [
        "# HELP vllm:num_requests_running Number of requests in model execution batches.",
        "# TYPE vllm:num_requests_running gauge",
        f'vllm:num_requests_running{{engine="0",model_name="m"}} {running - 1}.0',
        'vllm:num_requests_running{engine="1",model_name="m"} 1.0',
        "# TYPE vllm:num_requests_waiting gauge",
        f'vllm:num_requests_waiting{{engine="0",model_name="m"}} {waiting}.0',
        'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 99.0',
        'vllm:prompt_tokens_total{engine="0",model_name="m"} 1.048576e+06',
    ]
    return Served(content="\n".join(lines).encode(), headers=(("Content-Type", "text/plain; version=0.0.4"),))


def decided(*answers: dict[str, Any], usage: Any = None) -> Served:
    """Return a well-formed decision in OpenAI's form."""
    counted = {"input_tokens": 50, "output_tokens": 0, "input_tokens_details": {"cached_tokens": 8}, "total_tokens": 50}
    data = {"model": "stub-decider", "answers": list(answers), "usage": counted if usage is None else usage}
    return Served(content=json.dumps(data).encode())


def decided_by_system_one(answers: dict[str, Any]) -> Served:
    """Return a well-formed decision in System One's form: answers by name."""
    usage = {"input_tokens": 50, "output_tokens": 2}
    return Served(content=json.dumps({"model": "stub-one", "answers": answers, "usage": usage}).encode())


@dataclass(frozen=True)
class Talent:
    """What a stand-in server can do; a behaviour for chat completions that refuses the rest, or ignores it."""

    schema: bool = True
    json_object: bool = True
    top_logprobs: int = 20
    limits: tuple[str, ...] = ("max_completion_tokens", "max_tokens")
    temperature: bool = True
    seed: bool = True
    # Whether what it cannot do is refused with HTTP 400, as by most, or left unheeded.
    refuses: bool = True
    usage: Any = None

    def __call__(self, call: Call) -> Served:
        """Answer one chat completion."""
        body = call.body
        form = body.get("response_format", {}).get("type", "text")
        known = {"json_schema": self.schema, "json_object": self.json_object, "text": True}[form]
        if self.refuses:
            for name in ("max_completion_tokens", "max_tokens"):
                if name in body and name not in self.limits:
                    other = self.limits[0]
                    return failure(400, f"Unsupported parameter: '{name}' is not supported. Use '{other}' instead.")
            if not known:
                return failure(400, f"response_format of type {form} is not supported by this server")
            if body.get("top_logprobs", 0) > self.top_logprobs:
                wrong = "top_logprobs is too large" if self.top_logprobs else "logprobs are not supported"
                return failure(400, wrong)
            for name in ("temperature", "seed"):
                if name in body and not getattr(self, name):
                    return failure(400, f"Unsupported value: '{name}' is not supported with this model.")
        text = "hello"
        if "Count" in str(body["messages"][-1]["content"]):
            text = ", ".join(str(number) for number in range(1, 61))
        if call.first or call.second:
            text = json.dumps({"rationale": "It is longer.", "choice": "first", "confidence": 80})
        elif known and form == "json_schema":
            text = json.dumps({"choice": "A"})
        elif known and form == "json_object":
            text = json.dumps({"greeting": "hello"})
        limit = next((body[name] for name in self.limits if name in body), None)
        shown = text if limit is None else text[: 3 * limit]
        extra: dict[str, Any] = {}
        if body.get("logprobs") and self.top_logprobs:
            number = min(body["top_logprobs"], self.top_logprobs)
            tops = [{"token": str(place), "logprob": -float(place)} for place in range(1, number + 1)]
            extra["logprobs"] = {"content": [{"token": "1", "logprob": -1.0, "bytes": [49], "top_logprobs": tops}]}
        return _with_choice(verdict(text=shown, usage=self.usage), extra)


def _with_choice(served: Served, extra: dict[str, Any]) -> Served:
    data = json.loads(served.content)
    data["choices"][0] |= extra
    return served._replace(content=json.dumps(data).encode())


def many(behave: Behaviour) -> Behaviour:
    """Return the many-conversations form of a behaviour: one choice a conversation, their usage added up."""

    def answer(call: Call) -> Served:
        choices: list[dict[str, Any]] = []
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        for place, messages in enumerate(call.body["messages"]):
            first, second = shown_in(messages)
            one = behave(call._replace(first=first, second=second, body={**call.body, "messages": messages}))
            if one.status != 200:
                return one
            data = json.loads(one.content)
            choices.append({**data["choices"][0], "index": place})
            usage = {name: number + data["usage"][name] for name, number in usage.items()}
        return Served(content=json.dumps({"model": "stub-model", "choices": choices, "usage": usage}).encode())

    return answer


def shown_in(messages: Any) -> tuple[str, str]:
    """Return the two responses that a conversation shows, '' where it shows none or only one."""
    text = str(messages[-1]["content"]) if messages else ""
    shown = {name: content for name, _, content in SECTION.findall(text)}
    first = shown.get("response-first", shown.get("response-A", shown.get("response", "")))
    return first, shown.get("response-second", shown.get("response-B", ""))


class JudgeServer:
    """A context manager: inside it, `base_url` answers. `behave` may be changed at any time."""

    def __init__(self, behave: Behaviour = prefer_longer, *, latency: float = 0.0) -> None:
        self.behave = behave
        self.routes: dict[str, Behaviour] = {}
        self.latency = latency
        self.calls: list[Call] = []
        self.others: list[Call] = []
        self._lock = threading.Lock()
        # Set on leaving, so that a handler that hangs ends with the test.
        self.closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                server.serve(self)

            def do_GET(self) -> None:
                server.serve(self)

            def do_DELETE(self) -> None:
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
        content = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        with self._lock:
            call = self._read(request, content)
            is_chat = (call.method, call.path) == ("POST", CHAT)
            log = self.calls if is_chat else self.others
            call = call._replace(number=len(log) + 1)
            log.append(call)
        served = (self.behave if is_chat else self._route_of(call))(call)
        if self.closing.wait(self.latency + served.delay):
            return
        request.send_response(served.status)
        names = {name.lower() for name, _ in served.headers}
        if "content-type" not in names:
            request.send_header("Content-Type", "application/json")
        for name, value in served.headers:
            request.send_header(name, value)
        if served.drip is not None:
            self._drip(request, served.content, served.drip)
            return
        request.send_header("Content-Length", str(len(served.content)))
        request.end_headers()
        request.wfile.write(served.content if served.cut is None else served.content[: served.cut])
        if served.cut is not None:
            request.close_connection = True

    def _route_of(self, call: Call) -> Behaviour:
        asked = f"{call.method} {call.path}"
        found = max((one for one in self.routes if asked.startswith(one)), key=len, default="")
        return self.routes[found] if found else lambda _call: failure(404, "Not Found")

    def _drip(self, request: BaseHTTPRequestHandler, content: bytes, seconds: float) -> None:
        request.send_header("Connection", "close")
        request.end_headers()
        request.close_connection = True
        place = 0
        while not self.closing.wait(seconds):
            request.wfile.write(content[place : place + 1] or b" ")
            place += 1

    @staticmethod
    def _read(request: BaseHTTPRequestHandler, content: bytes) -> Call:
        path, _, query = request.path.partition("?")
        try:
            body = json.loads(content or b"{}")
        except ValueError:
            body = {}
        body = body if isinstance(body, dict) else {}
        first, second = shown_in(body.get("messages")) if path == CHAT else ("", "")
        headers = {name.lower(): value for name, value in request.headers.items()}
        return Call(0, time.time(), first, second, body, headers, request.command or "", path, query, content)
