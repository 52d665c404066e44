"""People at the annotation screen, without thinking time: the dialogue over HTTP, and many of them at once.

`Annotator` is the only place that knows the screen's protocol. The load runs as a process of its own with nothing of
the application in it, so that its processor time is not counted as the server's:

    python bench/screen_people.py --port 8000 --seconds 15 --warm-up 3 < plan.json

It prints "begin" and "end" when the timed window does, and then one JSON object.
"""

import argparse
import gzip
import http.client
import json
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from html import unescape
from math import ceil
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

TIMEOUT_SECONDS = 60.0


class Reply(NamedTuple):
    """What came back: status, text, and the bytes that crossed the wire (compressed body and headers)."""

    status: int
    text: str
    body_bytes: int
    head_bytes: int
    headers: Mapping[str, str]


class Transport(Protocol):
    """A way to the server that keeps a person's cookies."""

    cookies: dict[str, str]

    def get(self, path: str) -> Reply:
        """Fetch a page."""

    def post(self, path: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        """Send a form."""


class UnexpectedReply(Exception):
    """The server said something that is no next pair; the text says what."""


# --- The screen's protocol ------------------------------------------------------------------------------------------


class Form(NamedTuple):
    """A pair in hand: the lease, where its answer goes, and the fields that its form has."""

    assignment: str
    action: str
    fields: set[str]


class Annotator:
    """One person at the screen of one project. Everything the bench knows of the screen's protocol is in this class."""

    FORM = re.compile(r'<form[^>]*\baction="(?P<action>[^"]*/(?P<assignment>[0-9a-f-]{36})/submit/)".*?</form>', re.S)
    TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
    NAME = re.compile(r'<(?:input|textarea|select|button)\b[^>]*\bname="(\w+)"')
    ANSWER: Mapping[str, str] = {"answer": "first2", "rationale": "", "reading_seconds": "9", "deciding_seconds": "3.5"}

    def __init__(self, transport: Transport, slug: str) -> None:
        self.transport = transport
        self.slug = slug
        self.token = ""
        self.hand: list[Form] = []
        self.answered: set[str] = set()

    def sign_in(self, cookie: str, session: str) -> None:
        """Come as somebody who has signed in before: hashing a password would be most of a short run."""
        self.transport.cookies[cookie] = session

    def open(self) -> Reply:
        """Open the screen, which leases a pair and those ahead of it."""
        reply = self.transport.get(f"/annotate/{self.slug}/")
        self._read(reply)
        return reply

    def submit(self) -> Reply:
        """Answer the first pair in hand; the reply brings the one that takes its place. This is a cycle."""
        form, *ahead = self.hand
        answered = {name: value for name, value in self.ANSWER.items() if name in form.fields}
        held = ",".join(one.assignment for one in ahead)
        fields = {"csrfmiddlewaretoken": self.token, "held": held, **answered}
        reply = self.transport.post(form.action, fields, {"HX-Request": "true"})
        self.answered.add(form.assignment)
        self.hand = ahead
        self._read(reply)
        return reply

    def _read(self, reply: Reply) -> None:
        if reply.status != http.client.OK:
            raise UnexpectedReply(f"HTTP {reply.status}: {reply.text[:300]}")
        for form in self.FORM.finditer(reply.text):
            if form["assignment"] in self.answered | {one.assignment for one in self.hand}:
                raise UnexpectedReply("a pair came again")
            if token := self.TOKEN.search(form[0]):
                self.token = token[1]
            self.hand.append(Form(form["assignment"], unescape(form["action"]), set(self.NAME.findall(form[0]))))
        if not self.hand:
            raise UnexpectedReply(f"no pair to answer: {' '.join(reply.text.split())[:300]}")


# --- HTTP -----------------------------------------------------------------------------------------------------------


class KeptConnection:
    """One person's way to the server: compressed replies, cookies kept, the connection as long as the server does."""

    def __init__(self, port: int) -> None:
        self.cookies: dict[str, str] = {}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)

    def get(self, path: str) -> Reply:
        """Fetch a page."""
        return self._ask("GET", path, None, {})

    def post(self, path: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        """Send a form."""
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, urlencode(fields).encode(), {**headers, **form})

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"Accept-Encoding": "gzip", **headers, **({"Cookie": cookies} if cookies else {})}
        try:
            self._connection.request(method, path, body=body, headers=sent)
            response = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            # A server may close a kept connection that lay idle; a browser connects again, and so does this.
            self._connection.close()
            self._connection.request(method, path, body=body, headers=sent)
            response = self._connection.getresponse()
        content = response.read()
        for line in response.headers.get_all("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name.strip()] = value.strip()
        head = sum(len(name) + len(value) + 4 for name, value in response.headers.items()) + len(
            "HTTP/1.1 200 OK\r\n\r\n"
        )
        plain = gzip.decompress(content) if response.headers.get("Content-Encoding") == "gzip" else content
        text = plain.decode("utf-8", "replace")
        return Reply(response.status, text, len(content), head, dict(response.headers.items()))


# --- Many at once ---------------------------------------------------------------------------------------------------


class Cycle(NamedTuple):
    """One cycle: when its reply was whole (monotonic clock), how long it took, and what it weighed."""

    ended: float
    seconds: float
    bytes: int


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of them do not exceed (nearest rank); 0 for no values."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else 0.0


class Load:
    """Threads that each do the same thing again and again until they are told to stop."""

    def __init__(self, port: int, plan: Mapping[str, Any]) -> None:
        self.port = port
        self.plan = plan
        self.stop = threading.Event()
        self.cycles: list[list[Cycle]] = []
        self.errors: list[str] = []
        self.stored = 0
        self._lock = threading.Lock()

    def run(self, *, warm_up: float, seconds: float) -> dict[str, Any]:
        """Load the server; say on stdout when the timed window begins and ends."""
        work = self._fetch if self.plan.get("path") else self._annotate
        sessions: Sequence[str] = self.plan["sessions"]
        ready = threading.Barrier(len(sessions) + 1)
        threads = [threading.Thread(target=work, args=(session, ready)) for session in sessions]
        for thread in threads:
            thread.start()
        ready.wait()
        time.sleep(warm_up)
        print("begin", flush=True)
        began, cpu = time.monotonic(), time.process_time()
        time.sleep(seconds)
        print("end", flush=True)
        ended, cpu = time.monotonic(), time.process_time() - cpu
        self.stop.set()
        for thread in threads:
            thread.join()
        timed = [cycle for cycles in self.cycles for cycle in cycles if began <= cycle.ended < ended]
        times = [1000 * cycle.seconds for cycle in timed]
        return {
            "cycles": len(timed),
            "seconds": ended - began,
            "per_second": len(timed) / (ended - began),
            "p50_ms": percentile(times, 0.50),
            "p95_ms": percentile(times, 0.95),
            "p99_ms": percentile(times, 0.99),
            "bytes": sum(cycle.bytes for cycle in timed) / max(1, len(timed)),
            "client_cpu_s": cpu,
            "stored": self.stored,
            "errors": len(self.errors),
            "first_error": self.errors[0] if self.errors else "",
        }

    def _annotate(self, session: str, ready: threading.Barrier) -> None:
        annotator = Annotator(KeptConnection(self.port), self.plan["slug"])
        annotator.sign_in(self.plan["cookie"], session)
        opened = self._tried(lambda: annotator.open())
        ready.wait()
        if opened is not None:
            self._again_and_again(annotator.submit)

    def _fetch(self, _session: str, ready: threading.Barrier) -> None:
        connection = KeptConnection(self.port)
        path: str = self.plan["path"]
        ready.wait()
        self._again_and_again(lambda: connection.get(path))

    def _again_and_again(self, step: Any) -> None:
        mine: list[Cycle] = []
        with self._lock:
            self.cycles.append(mine)
        while not self.stop.is_set():
            began = time.monotonic()
            reply = self._tried(step)
            ended = time.monotonic()
            if reply is None:
                return
            mine.append(Cycle(ended, ended - began, reply.body_bytes + reply.head_bytes))
            with self._lock:
                self.stored += 1

    def _tried(self, step: Any) -> Reply | None:
        """Do one step; a person who meets an error stops there, and the run has failed."""
        try:
            reply: Reply = step()
        except (UnexpectedReply, OSError, http.client.HTTPException) as error:
            with self._lock:
                self.errors.append(f"{type(error).__name__}: {error}")
            return None
        return reply


def main() -> None:
    """Load a server as the plan on stdin says and print what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--warm-up", type=float, default=3.0)
    options = parser.parse_args()
    load = Load(options.port, json.load(sys.stdin))
    print(json.dumps(load.run(warm_up=options.warm_up, seconds=options.seconds)))


if __name__ == "__main__":
    main()
