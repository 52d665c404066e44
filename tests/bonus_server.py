"""A platform's bonus API on loopback, as Prolific documents it, and a payer that speaks to it.

An order is taken down (`POST submissions/bonus-payments/`) and carried out (`POST bulk-bonus-payments/<id>/pay/`).
Carrying out is asynchronous and not idempotent: each request pays everybody again, when `pay_up` is called or at once
(`at_once`). Amounts are decimal in what is sent and cents in what is answered. `faults` are taken one a request:

- "lost before": the connection ends before anything is done; "lost after": after it was done, without an answer;
- "late": it is done and the answer comes after the caller gave up;
- "500 before", "500 after": an error of the server, nothing or everything done; "400": refused.

Its orders are called `orders_called` and a number; `next_order` is the name of the next one, whatever names there are.
`cents` is what it takes for a hundredth of a dollar, and `unreadable` keeps its record to itself.
"""

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from annotation.errors import AnnotationError
from annotation.money.errors import PayRefused
from annotation.money.payers import SetUp

CENTS = Decimal(100)
FEE_SHARE = Decimal("0.25")
_OPEN = build_opener(ProxyHandler({})).open


@dataclass
class BonusServer:
    """The platform: who took part in its study, the orders it knows, and what it paid. Use as a context manager."""

    people: set[str]
    at_once: bool = True
    study_id: str = "study-1"
    faults: list[str] = field(default_factory=list)
    orders: dict[str, list[tuple[str, Decimal]]] = field(default_factory=dict)
    orders_called: str = "order"
    next_order: str = ""
    cents: Decimal = CENTS
    unreadable: bool = False
    requests: int = 0
    handled: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    pays: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    paid: list[tuple[str, Decimal]] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/api/v1/"

    @property
    def totals(self) -> dict[str, Decimal]:
        """What each person got."""
        totals: Counter[str] = Counter()
        for recipient, usd in self.paid:
            totals[recipient] += usd  # type: ignore[assignment]
        return {recipient: Decimal(usd) for recipient, usd in totals.items()}

    def wait_for(self, sent: int) -> None:
        """Wait until so many requests were handled: one that its sender gave up on may still be under way."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.handled >= sent, timeout=60), "a request was never handled"

    def pay_up(self) -> None:
        """Do what was accepted: some minutes later, as the platform does."""
        while self.waiting:
            self.paid += self.orders[self.waiting.pop(0)]

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if method == "GET":
            if self.unreadable:
                return 503, {}
            submissions = [
                {"id": f"submission-{name}", "participant_id": name, "bonus_payments": self._bonuses(name)}
                for name in sorted(self.people)
            ]
            return 200, {"results": submissions}
        if path == "submissions/bonus-payments/":
            return self._take_down(body)
        order = path.removeprefix("bulk-bonus-payments/").removesuffix("/pay/")
        if order not in self.orders:
            return 404, {"error": {"title": "Not found"}}
        self.pays.append(order)
        self.waiting.append(order)
        if self.at_once:
            self.pay_up()
        return 202, {"message": "Bonus payments are being processed."}

    def _take_down(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        lines = [line.split(",") for line in str(body["csv_bonuses"]).splitlines()]
        unknown = [name for name, _amount in lines if name not in self.people]
        if unknown or body["study_id"] != self.study_id:
            return 400, {"error": {"detail": {"csv_bonuses": [f"No such participants: {', '.join(unknown)}"]}}}
        order = self.next_order or f"{self.orders_called}-{len(self.orders) + 1}"
        self.orders[order] = [(name, Decimal(amount)) for name, amount in lines]
        total = sum((usd for _name, usd in self.orders[order]), Decimal(0)) * self.cents
        fees = (total * FEE_SHARE).to_integral_value()
        return 201, {"id": order, "amount": int(total), "fees": int(fees), "vat": 0, "total_amount": int(total + fees)}

    def _bonuses(self, name: str) -> list[int]:
        return [int(usd * CENTS) for one, usd in self.paid if one == name]


def _handler(platform: BonusServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply("GET")

        def do_POST(self) -> None:
            self._reply("POST")

        def _reply(self, method: str) -> None:
            try:
                self._take(method)
            finally:
                with platform.changed:
                    platform.handled += 1
                    platform.changed.notify_all()

        def _take(self, method: str) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            platform.requests += 1
            fault = platform.faults.pop(0) if platform.faults and method == "POST" else ""
            self.close_connection = True
            if fault == "lost before":
                return
            if fault in ("400", "500 before"):
                return self._send(int(fault[:3]), {"error": {"title": "as asked"}})
            status, answer = platform.answer(method, self.path.removeprefix("/api/v1/"), body)
            if fault == "lost after":
                return
            if fault == "late":
                self.rfile.read(1)  # until the caller gives up
            self._send(*((500, {"error": {"title": "as asked"}}) if fault == "500 after" else (status, answer)))

        def _send(self, status: int, answer: dict[str, Any]) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:
                return  # the caller gave up

        def log_message(self, *_args: Any) -> None:
            """Say nothing."""

    return Handler


class PlatformDown(AnnotationError):
    """The platform gave no clear answer."""


@dataclass
class ApiPayer:
    """A payer as an adapter of the platform is: one request a call, a refusal told from what is unclear."""

    url: str
    name: str = "prolific"
    patience_seconds: float = 30.0
    sent: int = 0

    def set_up_bonuses(self, study_id: str, lines: Any) -> SetUp:
        text = "\n".join(f"{recipient},{usd:.2f}" for recipient, usd in lines)
        said = self._ask("POST", "submissions/bonus-payments/", {"study_id": study_id, "csv_bonuses": text})
        return SetUp(said["id"], Decimal(said["amount"]) / CENTS, Decimal(said["fees"] + said["vat"]) / CENTS)

    def pay_bonuses(self, bonus_id: str) -> None:
        self._ask("POST", f"bulk-bonus-payments/{bonus_id}/pay/", {})

    def bonuses_paid(self, study_id: str) -> dict[str, Decimal]:
        said = self._ask("GET", f"studies/{study_id}/submissions/")
        return {one["participant_id"]: Decimal(sum(one["bonus_payments"])) / CENTS for one in said["results"]}

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        content = None if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data=content, method=method)
        self.sent += 1
        try:
            with _OPEN(request, timeout=self.patience_seconds) as reply:
                said: dict[str, Any] = json.load(reply)
                return said
        except HTTPError as error:
            with error:
                if error.code in (400, 401, 403, 404):
                    raise PayRefused(f"HTTP {error.code}: {error.read().decode()}") from error
            raise PlatformDown(f"HTTP {error.code}") from error
        except (OSError, HTTPException) as error:
            raise PlatformDown(str(error)) from error
