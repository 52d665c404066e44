"""A simulated person's browser: it keeps cookies, follows redirects, and fills in the forms that the pages have."""

import http.client
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from io import BytesIO
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode, urlsplit
from uuid import UUID

from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.http import HttpResponse

from annotation.errors import AnnotationError
from annotation.models import Choice
from annotation.simulating.behaving import OTHER, Times

TIMEOUT_SECONDS = 60.0
MOST_REDIRECTS = 5
SUBMIT = re.compile(r"/(?P<assignment>[0-9a-f-]{36})/submit/$")


class ServerUnreachable(AnnotationError):
    """Nobody answers at the address."""


class Reply(NamedTuple):
    """What came back: status, text, and headers as (name, value), names in lower case."""

    status: int
    text: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str:
        """Return the first header of that name, or ''."""
        return next((value for key, value in self.headers if key == name), "")


class Door(Protocol):
    """A way to the application."""

    def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Return the reply to a request. Raises `ServerUnreachable`."""

    def close(self) -> None:
        """Give back what is kept; the next request would begin anew."""


class OverHttp:
    """A server at an address, over a kept connection for each thread."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts._replace(scheme="", netloc="").geturl().strip("/")
        ):
            raise AnnotationError(f"{url!r} is no address of a server, such as http://127.0.0.1:8000.")
        self.url = url.rstrip("/")
        self._parts = parts
        self._kept = threading.local()
        self._connections: list[http.client.HTTPConnection] = []

    def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Return the reply; a kept connection that the server has closed is opened again, as browsers do."""
        # Checked by a site that is reached by https.
        sent = {**headers, "Referer": self.url + path}
        for is_last in (False, True):
            try:
                return self._sent(method, path, body, sent)
            except (http.client.HTTPException, OSError) as error:
                self._connection().close()
                if is_last:
                    raise ServerUnreachable(f"{self.url} does not answer ({error}). Is the server running?") from error
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close every thread's connection."""
        for connection in self._connections:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._kept, "connection"):
            is_https = self._parts.scheme == "https"
            made = http.client.HTTPSConnection if is_https else http.client.HTTPConnection
            self._kept.connection = made(str(self._parts.hostname), self._parts.port, timeout=TIMEOUT_SECONDS)
            self._connections.append(self._kept.connection)
        connection: http.client.HTTPConnection = self._kept.connection
        return connection

    def _sent(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        connection = self._connection()
        connection.request(method, path, body=body or None, headers=dict(headers))
        response = connection.getresponse()
        text = response.read().decode("utf-8", "replace")
        return Reply(response.status, text, tuple((name.lower(), value) for name, value in response.getheaders()))


class InProcess:
    """The application itself behind its middleware, without a server: for the demo, and quick tests.

    The caller's connection to the database is used and stays open.
    """

    def __init__(self) -> None:
        self._application = WSGIHandler()

    def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Return the reply of the application."""
        bare, _, query = path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": bare,
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": headers.get("Content-Type", ""),
            "wsgi.url_scheme": "http",
            "wsgi.input": BytesIO(body),
        }
        environ.update({f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()})
        # Not by way of the signals around a request, which would close the caller's connection.
        response = self._application.get_response(WSGIRequest(environ))
        if not isinstance(response, HttpResponse):
            raise AnnotationError(f"{bare} streams its reply; nobody in a crowd asks for such a page.")
        cookies = [("set-cookie", morsel.OutputString()) for morsel in response.cookies.values()]
        given = [(name.lower(), value) for name, value in response.items()]
        return Reply(response.status_code, response.content.decode(), (*given, *cookies))

    def close(self) -> None:
        """Keep the caller's connection as it is."""


# --- Pages ----------------------------------------------------------------------------------------------------------


@dataclass
class Form:
    """A form of a page: where it goes, what it sends unless somebody changes it, and the options of each row."""

    action: str
    hidden: dict[str, str] = field(default_factory=dict)
    options: dict[str, list[str]] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)

    @property
    def assignment(self) -> UUID | None:
        """Return which lease an answer form answers; None for another form."""
        found = SUBMIT.search(self.action)
        return UUID(found["assignment"]) if found else None


class Page(HTMLParser):
    """The forms of a page, or of the parts that a script is sent, and why there is no pair, where it says so."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.waiting = ""
        self._form: Form | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note forms and their fields."""
        given = {name: value or "" for name, value in attrs}
        self.waiting = given.get("data-waiting-for", self.waiting)
        if tag == "form":
            self._form = Form(given.get("action", ""))
            if given.get("method", "").lower() == "post":
                self.forms.append(self._form)
        elif self._form is not None and (name := given.get("name")):
            if tag == "textarea":
                self._form.texts.add(name)
            elif tag == "input" and given.get("type") == "hidden":
                self._form.hidden[name] = given.get("value", "")
            elif tag == "input" and given.get("type") in ("radio", "checkbox"):
                self._form.options.setdefault(name, []).append(given.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        """Note where a form ends."""
        if tag == "form":
            self._form = None

    def answers(self) -> dict[UUID, Form]:
        """Return the answer forms by their leases, in the order of the page."""
        return {form.assignment: form for form in self.forms if form.assignment is not None}

    def form_to(self, ending: str) -> Form | None:
        """Return the form whose address ends so."""
        return next((form for form in self.forms if form.action.endswith(ending)), None)


class Browser:
    """One person's browser."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._cookies: dict[str, str] = {}

    def get(self, path: str) -> Reply:
        """Fetch a page, by way of its redirects."""
        return self._followed(self._ask("GET", path, b"", {}))

    def send(self, form: Form, values: Mapping[str, str] | None = None, *, by_script: bool = False) -> Reply:
        """Send a form with what somebody chose; by the page's script, which gets parts of a page, or as a form."""
        body = urlencode({**form.hidden, **(values or {})}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if by_script:
            return self._ask("POST", form.action, body, {**headers, "HX-Request": "true"})
        return self._followed(self._ask("POST", form.action, body, headers))

    def _followed(self, reply: Reply) -> Reply:
        for _ in range(MOST_REDIRECTS):
            if reply.status not in (301, 302, 303):
                return reply
            to = urlsplit(reply.header("location"))
            reply = self._ask("GET", to.path + (f"?{to.query}" if to.query else ""), b"", {})
        return reply

    def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        reply = self._door.ask(method, path, body, {**headers, **({"Cookie": cookies} if cookies else {})})
        for name, value in reply.headers:
            if name == "set-cookie":
                read = SimpleCookie(value)
                self._cookies.update({key: morsel.value for key, morsel in read.items()})
        return reply


# --- An answer ------------------------------------------------------------------------------------------------------


def filled_in(
    form: Form, choice: Choice, first: Choice, strength: int | None, *, times: Times, reason: str
) -> dict[str, str]:
    """Return what somebody fills in who chose so (in the stored order) where `first` stands first.

    Every row is answered in the sense of the choice: ratings are high for the better response, low for the other.
    """
    values = {"reading_seconds": f"{times.reading}", "deciding_seconds": f"{times.deciding}"}
    values["seconds"] = f"{round(times.total, 2)}"
    if reason and "rationale" in form.texts:
        values["rationale"] = reason
    shown = {first: "first", OTHER[first]: "second"}.get(choice, choice.value)
    for name, options in form.options.items():
        if name.startswith("rating-"):
            side = first if name.split("-")[1] == "A" else OTHER[first]
            place = len(options) // 2 if choice not in OTHER else (-2 if side == choice else 1)
            values[name] = options[place if len(options) > 2 else (-1 if place < 0 else 0)]
        elif name == "confidence":
            values[name] = options[min(len(options), strength or 1) - 1]
        elif name == "answer" or name.startswith("choice-"):
            values[name] = _option(options, shown, strength)
        elif name == "reason" and choice in OTHER:
            values[name] = next((one for one in options if one[:1] == ("A" if choice == first else "B")), options[0])
    return values


def _option(options: list[str], shown: str, strength: int | None) -> str:
    """Return the option for a side or a tie that is nearest to a strength; without one, the next best."""
    of_side = [one for one in options if one.rstrip("123") == shown]
    if not of_side:
        # No tie on this scale: a side, always the same.
        return options[0]
    wanted = strength or 2
    return min(of_side, key=lambda one: abs(int(one[-1]) - wanted) if one[-1].isdigit() else 0)
