"""A simulated crowd at work: everybody's doings, one after the other in the order of a simulated clock.

The clock of the simulation says when somebody arrives, how long a pair takes them and when they come back; the server's
own clock is real. Without a speed the next thing is done as soon as the last one is, so what the server's clock says is
not what it would be: the active seconds it stores are at most the real ones, and shares of a day mean nothing. Leases
that somebody lets end are ended when they would have on the simulated clock.
"""

import heapq
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NamedTuple
from uuid import UUID

from django.db import connection
from django.urls import reverse

from annotation.assigning import Waiting
from annotation.crowd.studies import set_state
from annotation.leasing import give_back_if
from annotation.models import Assignment, AssignmentState, CrowdStudy, Project, Rater, Submission, Task, TaskState, Tier
from annotation.simulating.behaving import (
    Item,
    Times,
    Turn,
    answer_of,
    hours_until_back,
    is_late,
    strength_of,
    times_of,
    turn_of,
)
from annotation.simulating.browsing import Browser, Door, Form, Page, Reply, filled_in
from annotation.simulating.knowing import Knowledge
from annotation.simulating.people import USUAL, Habits, Person
from annotation.simulating.registering import (
    PERSON_PARAMETER,
    VISIT_PARAMETER,
    CannotSimulate,
    Registered,
    id_of,
    register,
    require_marked,
)

# Somebody who finds everything in others' hands looks again so often, after so long.
LOOKS, LOOK_AGAIN_SECONDS = 5, 120.0
LATE_SECONDS = 60.0
# After so many replies that no browser of a person should get, the run stops.
MOST_FAULTS = 20


class Run(NamedTuple):
    """What a run did.

    `hours` are of the simulated clock, from the first arrival to the last answer; `seconds` are real. `events` counts
    what people did: arrivals, doubles, left, lapsed, late, refused, ended. `faults` are replies that no person should
    get. `meant` and `times` are what each answer of this run was meant to be (stored order), and how long it took.
    """

    registered: Registered
    hours: float
    seconds: float
    answers: int
    events: Counter[str]
    faults: list[str]
    meant: dict[UUID, str]
    times: dict[UUID, Times]
    interrupted: bool


@dataclass
class _Visitor:
    """Somebody and their browser."""

    person: Person
    rater: Rater
    browser: Browser
    visit: int = 1
    turns: int = 0
    looks: int = 0
    hand: dict[UUID, Form] = field(default_factory=dict)
    waiting: str = ""
    to_end: Form | None = None
    to_break: Form | None = None


class _Event(NamedTuple):
    """What happens when, in simulated seconds; the number decides between two at once."""

    at: float
    number: int
    do: Callable[[float], None]


def simulate(
    project: Project,
    people: Sequence[Person],
    *,
    seed: int,
    door: Door,
    habits: Habits = USUAL,
    answers_a_visit: int = 20,
    look: Callable[[], None] | None = None,
    speed: float | None = None,
    at_once: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Run:
    """Let a crowd work on a project through its pages until nobody has anything left to do, or Ctrl-C.

    `look` is called after each answer, for what a worker would do. `speed` is simulated seconds a real one; None: no
    waiting. Of `at_once` above 1 so many requests are under way at a time, and who gets which pair is no longer decided
    by the seed. `progress` hears the number of answers. Raises `CannotSimulate` and `ServerUnreachable`; the same call
    goes on where another one stopped.
    """
    registered = register(project, people, habits, seed=seed, answers_a_visit=answers_a_visit)
    crowd = _Crowd(project, registered, door, habits, seed, look, speed, progress)
    began = time.monotonic()
    try:
        crowd.require_same_database()
        interrupted = crowd.run(people, at_once)
    finally:
        set_state(registered.study, CrowdStudy.State.CLOSED)
    return Run(
        registered,
        max(0.0, crowd.last - crowd.first) / 3600 if crowd.meant else 0.0,
        time.monotonic() - began,
        len(crowd.meant),
        crowd.counts,
        crowd.faults,
        crowd.meant,
        crowd.times,
        interrupted,
    )


class _Crowd:
    """A run: the events to come, and what is counted."""

    def __init__(
        self,
        project: Project,
        registered: Registered,
        door: Door,
        habits: Habits,
        seed: int,
        look: Callable[[], None] | None,
        speed: float | None,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.project = project
        self.study = registered.study
        self.raters = registered.raters
        self.door = door
        self.habits = habits
        self.seed = seed
        self.look = look
        self.speed = speed
        self.progress = progress
        self.knowledge = Knowledge(project, seed=seed)
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.meant: dict[UUID, str] = {}
        self.times: dict[UUID, Times] = {}
        self.first, self.last = float("inf"), 0.0
        self._events: list[_Event] = []
        self._numbers = itertools.count()
        self._turn = threading.Condition()
        self._busy = 0
        self._stopped = False
        self._began = 0.0

    # --- The clock --------------------------------------------------------------------------------------------------

    def run(self, people: Sequence[Person], at_once: int) -> bool:
        """Do everything; return whether somebody pressed Ctrl-C."""
        self._began = time.monotonic()
        for person in people:
            self._expect(person)
        try:
            if at_once == 1:
                self._work()
            else:
                self._work_at_once(at_once)
        except KeyboardInterrupt:
            return True
        return False

    def _work_at_once(self, number: int) -> None:
        with ThreadPoolExecutor(number) as pool:
            working = [pool.submit(self._work_in_thread) for _ in range(number)]
            try:
                for one in working:
                    one.result()
            finally:
                with self._turn:
                    self._stopped = True
                    self._turn.notify_all()

    def _work_in_thread(self) -> None:
        try:
            self._work()
        finally:
            connection.close()

    def _work(self) -> None:
        while (event := self._next()) is not None:
            is_done = False
            try:
                event.do(event.at)
                is_done = True
            finally:
                with self._turn:
                    self._busy -= 1
                    # What went wrong, or Ctrl-C, is for whoever started this; the others stop after what they are at.
                    self._stopped = self._stopped or not is_done
                    self._turn.notify_all()

    def _next(self) -> _Event | None:
        """Return what happens next, once its time has come; None where nothing does any more."""
        with self._turn:
            while not self._stopped:
                if self._events:
                    wait = 0.0
                    if self.speed is not None:
                        wait = self._events[0].at / self.speed - (time.monotonic() - self._began)
                    if wait <= 0:
                        self._busy += 1
                        return heapq.heappop(self._events)
                    self._turn.wait(wait)
                elif self._busy:
                    self._turn.wait()
                else:
                    break
            self._turn.notify_all()
            return None

    def _at(self, at: float, do: Callable[[float], None]) -> None:
        with self._turn:
            heapq.heappush(self._events, _Event(at, next(self._numbers), do))
            self._turn.notify_all()

    # --- Arriving and leaving ---------------------------------------------------------------------------------------

    def require_same_database(self) -> None:
        """Raise `CannotSimulate` where the server does not know this crowd's study: nobody of it is marked there."""
        reply = Browser(self.door).get(reverse("arrive", args=[self.study.pk]))
        # Without an id of a person nobody is let in: 403 where the study is known, 404 where it is not.
        if reply.status != HTTPStatus.FORBIDDEN:
            raise CannotSimulate(
                f"The server answers the study's arrival link with HTTP {reply.status}, as one that works on another"
                " database does: nobody would be marked as simulated there. Give this command the server's own"
                " DATABASE_URL."
            )

    def _expect(self, person: Person) -> None:
        """Have somebody arrive at their time; who was here before goes on where they stopped."""
        rater = self.raters[person.name]
        visits = Submission.objects.filter(study=self.study, guest__rater=rater)
        number, over = visits.count(), visits.filter(ended_at__isnull=False).count()
        answered = Assignment.objects.answered().filter(rater=rater).count()
        visitor = _Visitor(person, rater, Browser(self.door), max(1, number), answered)
        if not number or over < number:
            self._at(person.arrives_seconds, lambda at: self._arrive(visitor, at))
        else:
            self._come_back(visitor, person.arrives_seconds)

    def _arrive(self, visitor: _Visitor, at: float) -> None:
        if not Task.objects.filter(project=self.project, state=TaskState.OPEN, tier=Tier.CROWD).exists():
            self.counts["not needed"] += 1
            return
        visit_id = f"{id_of(visitor.person)}-{visitor.visit}"
        path = reverse("arrive", args=[self.study.pk])
        reply = visitor.browser.get(f"{path}?{PERSON_PARAMETER}={id_of(visitor.person)}&{VISIT_PARAMETER}={visit_id}")
        self.counts["arrived"] += 1
        self.first = min(self.first, at)
        if reply.status != HTTPStatus.OK:
            self._fault(reply)
            return
        require_marked(self.study, visitor.person, visit_id)
        self._read(visitor, reply)
        self._go_on(visitor, at)

    def _end(self, visitor: _Visitor, at: float) -> None:
        """Press the button of the page that ends a visit, and perhaps come back for another."""
        if visitor.to_end is not None:
            reply = visitor.browser.send(visitor.to_end)
            if reply.status == HTTPStatus.OK:
                self.counts["ended"] += 1
            else:
                self._fault(reply)
        if visitor.waiting != Waiting.PERSON_PAUSED:
            self._come_back(visitor, at)

    def _come_back(self, visitor: _Visitor, at: float) -> None:
        hours = hours_until_back(visitor.person, visitor.visit, self.habits, seed=self.seed)
        if hours is not None:
            visitor.visit += 1
            visitor.looks = 0
            visitor.browser = Browser(self.door)
            self._at(at + hours * 3600, lambda then: self._arrive(visitor, then))

    # --- A pair -----------------------------------------------------------------------------------------------------

    def _go_on(self, visitor: _Visitor, at: float) -> None:
        """Decide what somebody does next, and when."""
        if not visitor.hand:
            if visitor.waiting in (Waiting.NONE_FREE, Waiting.BUDGET_SPENT) and visitor.looks < LOOKS:
                visitor.looks += 1
                self._at(at + LOOK_AGAIN_SECONDS, lambda then: self._look_again(visitor, then))
            else:
                self._end(visitor, at)
            return
        visitor.looks = 0
        visitor.turns += 1
        turn = turn_of(visitor.person, visitor.turns, self.habits, seed=self.seed)
        lease = next(iter(visitor.hand))
        known, _ = self.knowledge.behind(lease)
        times = times_of(visitor.person, known.item, self.habits, seed=self.seed)
        if turn is Turn.LEAVE:
            self._at(at + times.reading, lambda then: self._leave(visitor, then))
        elif turn is Turn.LAPSE:
            self.counts["lapsed"] += 1
            self._at(at + self.project.lease_seconds, lambda then: self._lapse(visitor, then))
        else:
            self._at(at + times.total, lambda then: self._answer(visitor, lease, turn, then))

    def _answer(self, visitor: _Visitor, lease: UUID, turn: Turn, at: float) -> None:
        form = visitor.hand.pop(lease)
        known, first = self.knowledge.behind(lease)
        item, person = known.item, visitor.person
        choice = answer_of(person, item, first, self.habits, seed=self.seed)
        times = times_of(person, item, self.habits, seed=self.seed)
        values = filled_in(
            form,
            choice,
            first,
            strength_of(person, item, choice, seed=self.seed),
            times=times,
            reason=_reason(person, item, choice.value, known.why, self.project),
        )
        values["held"] = ",".join(str(one) for one in visitor.hand)
        reply = visitor.browser.send(form, values, by_script=True)
        if turn is Turn.DOUBLE:
            self.counts["sent twice"] += 1
            again = visitor.browser.send(form, values, by_script=True)
            if again.status != reply.status:
                self.faults.append(f"sent twice: HTTP {reply.status}, then HTTP {again.status}")
        if reply.status == HTTPStatus.OK:
            with self._turn:
                self.meant[lease], self.times[lease] = choice.value, times
                self.last = max(self.last, at)
            if self.look is not None:
                self.look()
            if self.progress is not None:
                self.progress(len(self.meant))
            self._read(visitor, reply)
        elif reply.status == HTTPStatus.CONFLICT:
            # Paused meanwhile, or the pair went to somebody else: see what there is now.
            self.counts["refused"] += 1
            self._open(visitor)
        else:
            self._fault(reply)
            return
        self._go_on(visitor, at)

    def _leave(self, visitor: _Visitor, at: float) -> None:
        """Take a break, which gives back what is held, and go."""
        self.counts["left"] += 1
        visitor.hand.clear()
        if visitor.to_break is not None:
            reply = visitor.browser.send(visitor.to_break)
            if reply.status != HTTPStatus.OK:
                self._fault(reply)
        self._come_back(visitor, at)

    def _lapse(self, visitor: _Visitor, at: float) -> None:
        """End the leases of somebody who closed the page, as the scheduler does when their time is over."""
        held = Assignment.objects.filter(rater=visitor.rater, state=AssignmentState.LEASED)
        for pk in list(held.values_list("pk", flat=True)):
            if give_back_if(pk, visitor.rater, lambda _assignment: True):
                self.counts["leases ended"] += 1
        lease = next(iter(visitor.hand))
        if is_late(visitor.person, visitor.turns, self.habits, seed=self.seed):
            self.counts["late"] += 1
            visitor.hand = {lease: visitor.hand[lease]}
            self._at(at + LATE_SECONDS, lambda then: self._answer(visitor, lease, Turn.ANSWER, then))
        else:
            visitor.hand.clear()
            self._come_back(visitor, at)

    def _look_again(self, visitor: _Visitor, at: float) -> None:
        self._open(visitor)
        self._go_on(visitor, at)

    def _open(self, visitor: _Visitor) -> None:
        """Load the page anew."""
        visitor.hand.clear()
        reply = visitor.browser.get(reverse("annotate", args=[self.project.slug]))
        if reply.status == HTTPStatus.OK:
            self._read(visitor, reply)
        else:
            self._fault(reply)

    def _read(self, visitor: _Visitor, reply: Reply) -> None:
        page = Page(reply.text)
        visitor.hand.update(page.answers())
        visitor.waiting = "" if visitor.hand else page.waiting
        visitor.to_end = page.form_to("/end/") or visitor.to_end
        visitor.to_break = page.form_to("/break/") or visitor.to_break

    def _fault(self, reply: Reply) -> None:
        self.faults.append(f"HTTP {reply.status}: {' '.join(reply.text.split())[:200]}")
        if len(self.faults) >= MOST_FAULTS:
            raise CannotSimulate(
                f"The run stopped after {MOST_FAULTS} replies that nobody should get: {self.faults[0]}"
            )


def _reason(person: Person, item: Item, choice: str, why: str, project: Project) -> str:
    """Return a reason, labelled as simulated: the file's own for the true answer, else only where one is asked."""
    if why and person.is_good and choice == item.better:
        return f"(simulated) {why}"
    return "(simulated) no reason" if project.rationale_required else ""
