"""A crowd at the real application: people who click twice, break off requests, leave, come late, are paused.

Beside them somebody ends every lease at random moments and pauses people in the midst of their work, and somebody
recounts all the time. `Ledger` holds what each person was told is stored.
"""

import http.client
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from typing import NamedTuple, Protocol
from urllib.parse import urlencode, urlsplit

from django.db import connection
from django.db.models import Q
from django.test import Client
from django.utils import timezone

from annotation.assigning import expire_leases
from annotation.checking import check_invariants
from annotation.models import Assignment, Preference, Project, Rater
from annotation.pausing import pause_person
from exports.pseudonymising import pseudonym, pseudonym_key
from exports.reading import read_records

# Requests at a time, as a web server has so many threads; each has a connection to the database.
AT_ONCE = 40
CSRF = "c" * 32
FORM = re.compile(r'action="(?P<action>/annotate/[^"]*/(?P<assignment>[0-9a-f-]{36})/submit/)"')
WAITING = re.compile(r'data-waiting-for="(\w+)"')
ANSWERS = ("first2", "second2", "tie")
# What holds at every instant; the others hold at rest.
ALWAYS = {"no_overshoot", "counters", "one_answer", "states", "leases_are_fresh", "budget", "purses", "answers_belong"}


class Stored(NamedTuple):
    """An answer that came back as stored."""

    assignment: str
    answer: str


@dataclass
class Person:
    """One person and their browser: what is in hand, what came back as stored."""

    server: "Server"
    slug: str
    session: str
    random: random.Random
    hand: dict[str, str] = field(default_factory=dict)
    ledger: set[Stored] = field(default_factory=set)
    said: dict[str, str] = field(default_factory=dict)
    waiting: str = ""
    faults: list[str] = field(default_factory=list)

    def work(self, until: float) -> None:
        """Answer until nothing is left for this person."""
        while self.waiting not in ("all_done", "person_paused", "budget_spent", "share_done"):
            if time.monotonic() > until:
                self.faults.append(f"still waits: {self.waiting or 'has pairs'}")
                return
            if not self.hand:
                if self.waiting:
                    threading.Event().wait(0.1)  # somebody looks again after a while
                self.open()
            else:
                self.act()

    def act(self) -> None:
        draw = self.random.random()
        if draw < 0.05:
            self.open()
        elif draw < 0.12:
            self.break_off()
        elif draw < 0.22:
            self.click_twice()
        else:
            self.submit(self.random.choice(list(self.hand)))

    def open(self) -> None:
        """Load the page anew, as after a reload or a broken connection."""
        self.hand.clear()
        self.read(*self.request("GET", f"/annotate/{self.slug}/"))

    def submit(self, assignment: str) -> None:
        status, text = self.send(assignment)
        self.hand.pop(assignment, None)
        self.read(status, text)

    def send(self, assignment: str) -> tuple[int, str]:
        """Send an answer, the same one each time, and note it where it came back as stored."""
        answer = self.said.setdefault(assignment, self.random.choice(ANSWERS))
        fields = {"answer": answer, "held": ",".join(one for one in self.hand if one != assignment)}
        action = self.hand.get(assignment, f"/annotate/{self.slug}/{assignment}/submit/")
        status, text = self.request("POST", action, fields)
        if status == http.client.OK:
            self.ledger.add(Stored(assignment, answer))
        elif status != http.client.CONFLICT:
            self.faults.append(f"HTTP {status}: {text[:200]}")
        return status, text

    def click_twice(self) -> None:
        assignment = self.random.choice(list(self.hand))
        self.said.setdefault(assignment, self.random.choice(ANSWERS))
        with ThreadPoolExecutor(2) as pool:
            replies = list(pool.map(lambda _: self.send(assignment), range(2)))
        self.hand.pop(assignment, None)
        for reply in replies:
            self.read(*reply)

    def break_off(self) -> None:
        """Send an answer and go away before the reply: nobody knows whether it is stored until it is sent again."""
        assignment = self.random.choice(list(self.hand))
        answer = self.said.setdefault(assignment, self.random.choice(ANSWERS))
        self.server.send_and_leave(self.session, self.hand[assignment], {"answer": answer})
        if self.random.random() < 0.5:
            self.submit(assignment)
        else:
            self.open()

    def request(self, method: str, path: str, fields: dict[str, str] | None = None) -> tuple[int, str]:
        status, text = self.server.ask(self.session, method, path, fields)
        if status >= http.client.INTERNAL_SERVER_ERROR:
            self.faults.append(f"HTTP {status}")
        return status, text

    def read(self, status: int, text: str) -> None:
        if status != http.client.OK:
            # The pair takes no answer any more: look at what there is now.
            self.hand.clear()
            return
        # One that was sent and not heard of, or came too late, may come again: it gets the same answer.
        self.hand.update({form["assignment"]: unescape(form["action"]) for form in FORM.finditer(text)})
        waiting = WAITING.search(text)
        self.waiting = waiting[1] if waiting and not self.hand else ""


class Server(Protocol):
    """Answers requests of somebody's session, `AT_ONCE` at a time."""

    def ask(self, session: str, method: str, path: str, fields: dict[str, str] | None) -> tuple[int, str]:
        """Return the status and the text of the reply."""

    def send_and_leave(self, session: str, path: str, fields: dict[str, str]) -> None:
        """Send a form and go away before the reply."""

    def close(self) -> None:
        """Give everything back."""


class OverHttp:
    """The live server, over a connection a request."""

    def __init__(self, url: str) -> None:
        self._port = urlsplit(url).port
        self._gate = threading.Semaphore(AT_ONCE)

    def ask(self, session: str, method: str, path: str, fields: dict[str, str] | None) -> tuple[int, str]:
        with self._gate:
            kept = self._sent(session, method, path, fields)
            reply = kept.getresponse()
            text = reply.read().decode()
            kept.close()
        return reply.status, text

    def send_and_leave(self, session: str, path: str, fields: dict[str, str]) -> None:
        with self._gate:
            self._sent(session, "POST", path, fields).close()

    def close(self) -> None:
        """Leave the live server to its fixture."""

    def _sent(self, session: str, method: str, path: str, fields: dict[str, str] | None) -> http.client.HTTPConnection:
        kept = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        headers = {
            "Cookie": f"sessionid={session}; csrftoken={CSRF}",
            "X-CSRFToken": CSRF,
            "HX-Request": "true",
            "Content-Type": "application/x-www-form-urlencoded",
            "Connection": "close",
        }
        kept.request(method, path, urlencode(fields) if fields else None, headers)
        return kept


class InProcess:
    """The application behind its middleware, in threads that keep their connections: for crowds that take minutes.

    Who leaves before the reply leaves a request that runs to its end, as behind any server of synchronous workers.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(AT_ONCE)

    def ask(self, session: str, method: str, path: str, fields: dict[str, str] | None) -> tuple[int, str]:
        return self._threads.submit(self._reply, session, method, path, fields).result()

    def send_and_leave(self, session: str, path: str, fields: dict[str, str]) -> None:
        self._threads.submit(self._reply, session, "POST", path, fields)

    def close(self) -> None:
        together = threading.Barrier(AT_ONCE)
        for one in [self._threads.submit(self._end, together) for _ in range(AT_ONCE)]:
            one.result()
        self._threads.shutdown()

    @staticmethod
    def _end(together: threading.Barrier) -> None:
        together.wait()
        connection.close()

    @staticmethod
    def _reply(session: str, method: str, path: str, fields: dict[str, str] | None) -> tuple[int, str]:
        client = Client(raise_request_exception=False)
        client.cookies["sessionid"] = session
        reply = client.generic(
            method,
            path,
            urlencode(fields or {}),
            content_type="application/x-www-form-urlencoded",
            headers={"HX-Request": "true"},
        )
        return reply.status_code, reply.content.decode()


class Crowd(NamedTuple):
    """What became of a crowd's work."""

    people: list[Person]
    seen: list[str]
    looks: int
    paused: list[Rater]

    @property
    def faults(self) -> list[str]:
        """Return what a person saw that no person should see."""
        return [fault for person in self.people for fault in person.faults]


def let_work(
    project: Project, raters: list[Rater], server: Server, *, seed: int, pauses: int, seconds: float = 900
) -> Crowd:
    """Let everybody work at once to the end, while leases end and people are paused; return what was seen."""
    crowd = [Person(server, project.slug, _session(rater), random.Random(f"{seed} {rater.name}")) for rater in raters]
    until = time.monotonic() + seconds
    seen: list[str] = []
    paused: list[Rater] = []
    draw = random.Random(seed)
    with closing(server), ThreadPoolExecutor(len(crowd) + 1) as pool:
        working = [pool.submit(person.work, until) for person in crowd]
        watching = pool.submit(_watch, project, working, seen, paused)
        tick = 0
        while not all(one.done() for one in working):
            tick += 1
            if draw.random() < 0.02:
                expire_leases(now=timezone.now() + timedelta(hours=1), project=project)
            if tick % 5 == 0 and len(paused) < pauses:
                rater = Rater.objects.get(pk=draw.choice(raters).pk)
                pause_person(rater, reason="A manager wants to talk to you.", now=timezone.now())
                paused.append(rater)  # from here on they hold nothing
            threading.Event().wait(0.1)
        looks = watching.result()
        for one in working:
            one.result()
    return Crowd(crowd, seen, looks, paused)


def _watch(project: Project, working: list[Future[None]], seen: list[str], paused: list[Rater]) -> int:
    """Recount over and over while people work, and note what is broken; return how often."""
    looks = 0
    try:
        while not all(one.done() for one in working):
            looks += 1
            stopped = list(paused)
            seen += [c.name for c in check_invariants(project, now=timezone.now()) if c.broken and c.name in ALWAYS]
            held = Assignment.objects.filter(state="leased", rater__in=stopped)
            seen += ["paused_hold_nothing"] * held.count()
            threading.Event().wait(0.2)
    finally:
        connection.close()
    return looks


def _session(rater: Rater) -> str:
    client = Client()
    assert rater.user is not None
    client.force_login(rater.user)
    return client.cookies["sessionid"].value


def found_in_export(project: Project) -> Callable[[Stored], int]:
    """Return how often an answer that was told to be stored is in the next export, by person, pair and choice.

    An extra and a hidden repeat are in no label: they are looked for among the stored answers.
    """
    key = pseudonym_key(project, 0)
    exported: dict[tuple[str, str, str], int] = {}
    for record in read_records(project, key=key):
        for vote in record.votes:
            found = (record.external_id, vote.person, vote.choice)
            exported[found] = exported.get(found, 0) + 1
    rows = Assignment.objects.filter(task__project=project).select_related("rater", "task__pair")
    by_id = {str(row.pk): row for row in rows}

    def times(stored: Stored) -> int:
        row = by_id[stored.assignment]
        sides = row.shown_order
        choice = {"first2": sides[0], "second2": sides[1], "tie": "tie"}[stored.answer]
        if row.state == "extra" or row.repeats_id is not None:
            beside = Q(is_extra=True) | Q(repeats__isnull=False)
            return Preference.objects.filter(beside, assignment=row, choice=choice).count()
        return exported.get((row.task.pair.external_id, pseudonym(key, row.rater.name), choice), 0)

    return times
