"""A crowd at the real application over HTTP: people who click twice, break off requests, leave, come late, are paused.

Beside them somebody ends every lease at random moments and pauses people in the midst of their work, and somebody
recounts all the time. `Ledger` holds what each person was told is stored.
"""

import http.client
import random
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from html import unescape
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

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

    port: int
    slug: str
    session: str
    gate: threading.Semaphore
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
        with self.gate:
            kept = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            body = urlencode({"answer": answer})
            kept.request("POST", self.hand[assignment], body, self.headers())
            kept.close()
        if self.random.random() < 0.5:
            self.submit(assignment)
        else:
            self.open()

    def headers(self) -> dict[str, str]:
        return {
            "Cookie": f"sessionid={self.session}; csrftoken={CSRF}",
            "X-CSRFToken": CSRF,
            "HX-Request": "true",
            "Content-Type": "application/x-www-form-urlencoded",
            "Connection": "close",
        }

    def request(self, method: str, path: str, fields: dict[str, str] | None = None) -> tuple[int, str]:
        with self.gate:
            kept = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            kept.request(method, path, urlencode(fields) if fields else None, self.headers())
            reply = kept.getresponse()
            text = reply.read().decode()
            kept.close()
        if reply.status >= http.client.INTERNAL_SERVER_ERROR:
            self.faults.append(f"HTTP {reply.status}")
        return reply.status, text

    def read(self, status: int, text: str) -> None:
        if status != http.client.OK:
            # The pair takes no answer any more: look at what there is now.
            self.hand.clear()
            return
        # One that was sent and not heard of, or came too late, may come again: it gets the same answer.
        self.hand.update({form["assignment"]: unescape(form["action"]) for form in FORM.finditer(text)})
        waiting = WAITING.search(text)
        self.waiting = waiting[1] if waiting and not self.hand else ""


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


def let_work(project: Project, raters: list[Rater], url: str, *, seed: int, pauses: int, seconds: float = 900) -> Crowd:
    """Let everybody work at once to the end, while leases end and people are paused; return what was seen."""
    gate = threading.Semaphore(AT_ONCE)
    crowd = [
        Person(urlsplit(url).port or 0, project.slug, _session(rater), gate, random.Random(f"{seed} {rater.name}"))
        for rater in raters
    ]
    until = time.monotonic() + seconds
    draw = random.Random(seed)
    seen: list[str] = []
    looks = 0
    paused: list[Rater] = []

    with ThreadPoolExecutor(len(crowd)) as pool:
        working = [pool.submit(person.work, until) for person in crowd]
        while not all(one.done() for one in working):
            looks += 1
            seen += [c.name for c in check_invariants(project, now=timezone.now()) if c.broken and c.name in ALWAYS]
            if draw.random() < 0.2:
                expire_leases(now=timezone.now() + timedelta(hours=1), project=project)
            if len(paused) < pauses and draw.random() < 0.3:
                rater = Rater.objects.get(pk=draw.choice(raters).pk)
                pause_person(rater, reason="A manager wants to talk to you.", now=timezone.now())
                paused.append(rater)
            # From the moment that a pause is stored.
            held = Assignment.objects.filter(state="leased", rater__in=paused)
            seen += ["paused_hold_nothing"] * held.count()
            threading.Event().wait(0.05)
        for one in working:
            one.result()
    return Crowd(crowd, seen, looks, paused)


def _session(rater: Rater) -> str:
    client = Client()
    assert rater.user is not None
    client.force_login(rater.user)
    return client.cookies["sessionid"].value


def found_in_export(project: Project) -> Callable[[Stored], int]:
    """Return how often an answer that was told to be stored is in the next export, by person, pair and choice.

    An extra is in no label: it is looked for among the stored extras.
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
        if row.state == "extra":
            return Preference.objects.filter(assignment=row, is_extra=True, choice=choice).count()
        return exported.get((row.task.pair.external_id, pseudonym(key, row.rater.name), choice), 0)

    return times
