"""An OpenID Connect provider on loopback for tests: discovery, authorize, token, keys and userinfo, and its bad days.

Written from OpenID Connect Core 1.0, Discovery 1.0, RFC 6749, RFC 7636 (PKCE) and RFC 9207. It checks what a provider
checks of its client: the secret, the registered redirect address, the verifier, and that a code comes once.
"""

import base64
import hashlib
import hmac
import json
import threading
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

CLIENT_ID = "tiebreak"
CLIENT_SECRET = "secret-of-tests/+ ünd"


@cache
def private_key(number: int, kind: str = "RSA", bits: int = 2048) -> Any:
    """Return one of a few keys; making one takes a third of a second."""
    return ec.generate_private_key(ec.SECP256R1()) if kind == "EC" else rsa.generate_private_key(65537, bits)


@dataclass
class Signer:
    """A key by its name; `number` chooses it."""

    kid: str = "key-1"
    number: int = 1
    algorithm: str = "RS256"
    bits: int = 2048

    @property
    def key(self) -> Any:
        return private_key(self.number, "EC" if self.algorithm.startswith("ES") else "RSA", self.bits)

    def public(self) -> dict[str, Any]:
        kinds: dict[str, Any] = {"E": jwt.algorithms.ECAlgorithm, "R": jwt.algorithms.RSAAlgorithm}
        published = json.loads(kinds[self.algorithm[0]].to_jwk(self.key.public_key()))
        return {**published, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self.key, algorithm=self.algorithm, headers={"kid": self.kid})

    def sign_by_public_key(self, claims: dict[str, Any]) -> str:
        """Sign by HS256 with the public key as if it were a secret: what a careless client takes."""
        pem = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        head = _encoded(json.dumps({"alg": "HS256", "typ": "JWT", "kid": self.kid}).encode())
        body = _encoded(json.dumps(claims).encode())
        return f"{head}.{body}." + _encoded(hmac.digest(pem, f"{head}.{body}".encode(), "sha256"))


def unsigned(claims: dict[str, Any]) -> str:
    """Return a token by the algorithm `none`."""
    return jwt.encode(claims, "", algorithm="none")


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@dataclass
class Code:
    """What was granted to whom: the query that asked, and who was signed in."""

    query: dict[str, str]
    person: dict[str, Any]


@dataclass
class OIDCServer:
    """The provider. `person` is who is signed in there; what else there is makes it misbehave.

    `claims` changes an ID token's (None leaves one out), `sign` is another way to sign it, `answers` replaces what a
    path answers by status and body, `denies` is the error it sends people back with, `names` is the issuer it says
    it is, `gives` the access token.
    """

    person: dict[str, Any] = field(default_factory=lambda: {"sub": "person-1"})
    claims: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    signer: Signer = field(default_factory=Signer)
    published: list[dict[str, Any]] | None = None
    sign: Callable[[dict[str, Any]], str] | None = None
    denies: str = ""
    gives: str = ""
    names: str | None = None
    drips: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    codes: dict[str, Code] = field(default_factory=dict)
    given: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                server._serve(self, "")

            def do_POST(self) -> None:
                server._serve(self, self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._stopped = threading.Event()
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.issuer = f"http://127.0.0.1:{self._http.server_port}/realm"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._http.shutdown()
        self._http.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler, body: str) -> None:
        parts = urlsplit(handler.path)
        path = parts.path.removeprefix("/realm")
        self.asked.append(path)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        headers = {"Content-Type": "application/json"}
        said: Any = {"error": "not_found"}
        status = 404
        match path:
            case "/.well-known/openid-configuration":
                status, said = 200, self._discovery()
            case "/authorize":
                status, said = self._authorize(query, headers)
            case "/token":
                form = {name: values[-1] for name, values in parse_qs(body).items()}
                status, said = self._token(form, handler.headers.get("Authorization", ""))
            case "/keys":
                status, said = 200, {"keys": [self.signer.public()] if self.published is None else self.published}
            case "/userinfo":
                is_right = handler.headers.get("Authorization", "") in {f"Bearer {one}" for one in self.given}
                status, said = (200, {"sub": self.person["sub"], **self.info}) if is_right else (401, {})
        content = json.dumps(said).encode()
        if path in self.answers:
            status, content = self.answers[path]
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        try:
            for at in range(0, len(content), 1 if path in self.drips else 1 << 20):
                handler.wfile.write(content[at : at + (1 if path in self.drips else 1 << 20)])
                if path in self.drips and self._stopped.wait(0.05):
                    return
        except OSError:
            # The client had enough of it.
            handler.close_connection = True

    def _discovery(self) -> dict[str, Any]:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "authorization_response_iss_parameter_supported": True,
            **self.document,
        }
        return {name: value for name, value in document.items() if value is not None}

    def _authorize(self, query: dict[str, str], headers: dict[str, str]) -> tuple[int, Any]:
        """Send whoever is signed in back with a code; what is not registered or has no PKCE is told so here."""
        if query.get("client_id") != CLIENT_ID or not query.get("redirect_uri", "").endswith("/sign-in/openid/return/"):
            return 400, {"error": "invalid_client"}
        is_right = query.get("response_type") == "code" and "openid" in query.get("scope", "").split()
        if not is_right or query.get("code_challenge_method") != "S256" or not query.get("nonce"):
            return 400, {"error": "invalid_request"}
        back = {"state": query["state"], "iss": self.issuer if self.names is None else self.names}
        if self.denies:
            back["error"] = self.denies
            back["error_description"] = "described <b>by the provider</b>"
        else:
            back["code"] = f"code-{len(self.codes) + 1}"
            self.codes[back["code"]] = Code(query, dict(self.person))
        headers["Location"] = query["redirect_uri"] + "?" + urlencode({k: v for k, v in back.items() if v})
        return 302, {}

    def _token(self, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        if not self._is_client(form, authorization):
            return 401, {"error": "invalid_client", "error_description": f"quoting {form} {authorization}"}
        code = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if code is None or form.get("redirect_uri") != code.query["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        if _encoded(digest) != code.query["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": code.query["nonce"],
            **code.person,
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        self.given.append(self.gives or f"access-token-{len(self.given) + 1}")
        token = (self.sign or self.signer.sign)(claims)
        return 200, {"token_type": "Bearer", "access_token": self.given[-1], "id_token": token}

    def _is_client(self, form: dict[str, str], authorization: str) -> bool:
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
        if authorization.startswith("Basic "):
            sent = b64decode(authorization.removeprefix("Basic ")).decode()
            name, _colon, secret = (part if part == ":" else _unquoted(part) for part in sent.partition(":"))
        return (name, secret) == (CLIENT_ID, CLIENT_SECRET)


def _unquoted(text: str) -> str:
    return parse_qs(f"x={text}").get("x", [""])[0]
