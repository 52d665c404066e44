"""Prolific on loopback for tests: its documented API with state, errors and oddities, and keys that sign arrivals.

Written from docs.prolific.com/api-reference (November 2026). Odd as documented: answers count money in pence or cents
and requests in pounds or dollars; a submission names its person `participant` alone and `participant_id` in a list;
paying twice pays twice; a rejection needs 100 characters and a category; events are confirmed by a header.
"""

import json
import threading
import time
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

TOKEN = "prolific-token-of-tests"
WORKSPACE = "workspace0000000000000001"
STUDY = "study00000000000000000001"
PAGE = 2


class Asked(NamedTuple):
    """One request: method, path and JSON body."""

    method: str
    path: str
    body: Any


class Refusal(Exception):
    """What the server answers instead of doing something."""

    def __init__(self, status: int, said: str = "no") -> None:
        super().__init__(said)
        self.status = status
        self.said = said


@cache
def _key(number: int) -> rsa.RSAPrivateKey:
    """Return one of a few keys; making one takes a third of a second."""
    return rsa.generate_private_key(65537, 2048)


@dataclass
class Signer:
    """A key that signs arrivals, and its public half as the platform publishes it; `number` chooses the key."""

    kid: str = "key-1"
    number: int = 0

    @property
    def key(self) -> rsa.RSAPrivateKey:
        return _key(self.number)

    def public(self) -> dict[str, Any]:
        published = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return {**published, "kid": self.kid, "alg": "RS256", "use": "sig"}

    def token(self, *, kid: str | None = None, algorithm: str = "RS256", **changed: Any) -> str:
        """Return an arrival of one person, with what is changed of its claims; `prolific__NAME` changes the payload."""
        payload = {
            "PROLIFIC_PID": "person0000000000000000001",
            "STUDY_ID": STUDY,
            "SESSION_ID": "session000000000000000001",
            "workspace_id": WORKSPACE,
        }
        payload |= {name.removeprefix("prolific__"): v for name, v in changed.items() if name.startswith("prolific__")}
        claims = {"aud": "testserver", "exp": int(time.time()) + 300, "prolific": payload}
        claims |= {name: value for name, value in changed.items() if not name.startswith("prolific__")}
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, self.key, algorithm=algorithm, headers={"kid": kid or self.kid})


class ProlificServer:
    """The server with its rows; `faults` answers a path with a status, `drops` closes the connection instead."""

    def __init__(self) -> None:
        self.signer = Signer()
        self.keys = [self.signer.public()]
        self.studies: dict[str, dict[str, Any]] = {}
        self.submissions: dict[str, dict[str, Any]] = {}
        self.bonuses: dict[str, dict[str, Any]] = {}
        self.paid: list[str] = []
        self.subscriptions: dict[str, dict[str, Any]] = {}
        self.asked: list[Asked] = []
        self.faults: dict[str, int] = {}
        self.drops: set[str] = set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                server._serve(self, "GET")

            def do_POST(self) -> None:
                server._serve(self, "POST")

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.origin = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()

    # --- Rows -------------------------------------------------------------------------------------------------------

    def add_study(self, study_id: str = STUDY, **changed: Any) -> dict[str, Any]:
        study = {
            "id": study_id,
            "name": "Which answer is better",
            "status": "ACTIVE",
            "external_study_url": "",
            "is_external_study_url_secure": True,
            "reward": 150,
            "presentment_currency_code": "USD",
            "total_available_places": 10,
            "places_taken": 0,
            "completion_codes": [],
        }
        self.studies[study_id] = {**study, **changed}
        return self.studies[study_id]

    def add_submission(
        self,
        submission_id: str = "session000000000000000001",
        participant: str = "person0000000000000000001",
        status: str = "ACTIVE",
        study_id: str = STUDY,
    ) -> dict[str, Any]:
        self.submissions[submission_id] = {
            "id": submission_id,
            "study_id": study_id,
            "participant": participant,
            "status": status,
            "entered_code": None,
            "bonus_payments": [],
            "started_at": "2026-11-30T08:00:00Z",
            "completed_at": None,
        }
        return self.submissions[submission_id]

    # --- Requests ---------------------------------------------------------------------------------------------------

    def _serve(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        parts = urlsplit(handler.path)
        sent = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        body = json.loads(sent) if sent else None
        self.asked.append(Asked(method, parts.path, body))
        headers: dict[str, str] = {}
        answer: Any
        try:
            if parts.path == "/.well-known/study/jwks.json":
                status, answer = 200, {"keys": self.keys}
            else:
                if handler.headers.get("Authorization") != f"Token {TOKEN}":
                    # What it quotes of a token must not come through to anybody.
                    raise Refusal(401, f"unknown {handler.headers.get('Authorization')}")
                path = parts.path.removeprefix("/api/v1/").rstrip("/")
                status, answer = self._answer(method, path.split("/"), body, parse_qs(parts.query), headers)
            if parts.path in self.faults:
                raise Refusal(self.faults[parts.path], "a fault")
        except Refusal as refusal:
            status, answer = refusal.status, {"error": {"detail": refusal.said}}
        except KeyError:
            status, answer = 404, {"error": {"detail": "not found"}}
        if parts.path in self.drops:
            handler.close_connection = True
            return
        content = json.dumps(answer).encode()
        handler.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    def _answer(
        self, method: str, path: list[str], body: Any, query: dict[str, list[str]], headers: dict[str, str]
    ) -> tuple[int, Any]:
        match method, path:
            case "POST", ["studies"]:
                return 201, self.add_study(f"study{len(self.studies) + 100:020}", status="UNPUBLISHED", **body)
            case "GET", ["studies", study_id]:
                return 200, self.studies[study_id]
            case "POST", ["studies", study_id, "transition"]:
                states = {"PUBLISH": "ACTIVE", "PAUSE": "PAUSED", "START": "ACTIVE", "STOP": "AWAITING REVIEW"}
                self.studies[study_id]["status"] = states[body["action"]]
                return 200, self.studies[study_id]
            case "GET", ["studies", study_id, "submissions"]:
                return 200, self._listed(study_id, int(query.get("page", ["1"])[0]))
            case "POST", ["studies", study_id, "screen-out-submissions"]:
                self._move(study_id, body["submission_ids"], "ACTIVE", "SCREENED OUT")
                return 200, {"message": "done"}
            case "GET", ["submissions", submission_id]:
                return 200, self.submissions[submission_id]
            case "POST", ["submissions", "bulk-approve"]:
                self._move(body["study_id"], body["submission_ids"], "AWAITING REVIEW", "APPROVED")
                return 200, {"message": "The request to bulk approve has been made successfully."}
            case "POST", ["submissions", "bonus-payments"]:
                return 201, self._set_up(body["study_id"], body["csv_bonuses"])
            case "POST", ["submissions", submission_id, "transition"]:
                return 200, self._transition(self.submissions[submission_id], body)
            case "POST", ["bulk-bonus-payments", bonus_id, "pay"]:
                return self._pay(bonus_id)
            case "GET", ["hooks", "event-types"]:
                names = ("study.status.change", "submission.status.change")
                return 200, {"results": [{"event_type": name, "description": ""} for name in names]}
            case "POST", ["hooks", "secrets"]:
                return 201, {"id": "secret1", "value": "the-signing-secret", "workspace_id": body["workspace_id"]}
            case "GET", ["hooks", "subscriptions"]:
                return 200, {"results": list(self.subscriptions.values())}
            case "POST", ["hooks", "subscriptions"]:
                made = {"id": f"hook{len(self.subscriptions)}", "is_enabled": False, **body}
                self.subscriptions[made["id"]] = made
                headers["X-Hook-Secret"] = f"confirm-{made['id']}"
                return 201, {"results": [made]}
            case "POST", ["hooks", "subscriptions", hook_id]:
                if body["secret"] != f"confirm-{hook_id}":
                    raise Refusal(400, "wrong secret")
                self.subscriptions[hook_id]["is_enabled"] = True
                return 200, self.subscriptions[hook_id]
        raise Refusal(404)

    def _listed(self, study_id: str, number: int) -> dict[str, Any]:
        rows = [row for row in self.submissions.values() if row["study_id"] == study_id]
        shown = [
            {
                **{name: value for name, value in row.items() if name not in ("participant", "study_id")},
                "participant_id": row["participant"],
            }
            for row in rows[(number - 1) * PAGE : number * PAGE]
        ]
        more = len(rows) > number * PAGE
        href = f"{self.origin}/api/v1/studies/{study_id}/submissions/?page={number + 1}" if more else None
        return {"results": shown, "_links": {"next": {"href": href, "title": "Next"}}}

    def _move(self, study_id: str, ids: list[str], before: str, after: str) -> None:
        rows = [self.submissions[one] for one in ids]
        if any(row["study_id"] != study_id or row["status"] != before for row in rows):
            raise Refusal(400, f"not all of them are {before}")
        for row in rows:
            row["status"] = after

    def _transition(self, row: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        match body["action"]:
            case "APPROVE":
                row["status"] = "APPROVED"
            case "REJECT":
                if len(body.get("message", "")) < 100 or not body.get("rejection_category"):
                    raise Refusal(400, "message must be at least 100 chars long")
                row["status"] = "REJECTED"
            case "COMPLETE":
                codes = self.studies[row["study_id"]]["completion_codes"]
                mine = [one for one in codes if one["code"] == body.get("completion_code")]
                if not mine or mine[0].get("actor") != "researcher":
                    raise Refusal(400, "the actor of the code is not the researcher")
                row["status"], row["entered_code"] = "AWAITING REVIEW", body["completion_code"]
            case other:
                raise Refusal(400, f"no action {other}")
        return row

    def _set_up(self, study_id: str, lines: str) -> dict[str, Any]:
        known = {row["id"]: row for row in self.submissions.values() if row["study_id"] == study_id}
        known |= {row["participant"]: row for row in known.values()}
        amounts = dict(line.split(",") for line in lines.splitlines())
        if unknown := [one for one in amounts if one not in known]:
            raise Refusal(400, f"these ids took no part in the study: {', '.join(unknown)}")
        cents = sum(int(Decimal(amount) * 100) for amount in amounts.values())
        bonus_id = f"bonus{len(self.bonuses) + 1}"
        self.bonuses[bonus_id] = {"known": known, "amounts": amounts}
        fees = round(cents / 3, 2)
        return {
            "id": bonus_id,
            "study": study_id,
            "amount": cents,
            "fees": fees,
            "vat": 0,
            "total_amount": round(cents + fees, 2),
        }

    def _pay(self, bonus_id: str) -> tuple[int, Any]:
        set_up = self.bonuses[bonus_id]
        self.paid.append(bonus_id)
        for one, amount in set_up["amounts"].items():
            set_up["known"][one]["bonus_payments"].append(int(Decimal(amount) * 100))
        return 202, f"Bulk bonus payment with ID {bonus_id} is being processed asynchronously."
