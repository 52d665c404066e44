"""One process's share of a run: claim some verdicts, ask, store what has come, and again.

Everything is done in batches: verdicts are claimed under a lease just before their calls, and whatever has come is
stored in one transaction. A killed process leaves at most what it had under way; and nothing answered is asked again,
because only waiting rows can be claimed.
"""

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction

from judges import caching
from judges.asking import ANSWERED_HERE, Asking, answered_here, asking_of
from judges.claiming import MAX_ATTEMPTS, Claim, Claims, claim, give_back, questions_of, release_expired, renew
from judges.errors import JudgeError
from judges.limiting import Gate, gate_of
from judges.models import JudgeRun, Verdict, VerdictState
from judges.paying import largest_cost
from judges.questions import Answer, Question
from judges.stopping import stopping
from judges.storing import pause_run, store_answers

__all__ = [
    "MAX_ATTEMPTS",
    "Claim",
    "Claims",
    "Work",
    "claim",
    "give_back",
    "pause_run",
    "questions_of",
    "release_expired",
    "stopping",
    "store_answers",
]

if TYPE_CHECKING:
    from judges.computing import Computing

logger = logging.getLogger(__name__)

# So many answers in a row that fail because of the judge itself pause the run.
FAILURES_BEFORE_PAUSE = 5
# Questions read at once, and answers stored at once.
READ_BATCH, STORE_BATCH = 128, 64
# Where several questions go in one request: as many as this may be under way, and are stored at once.
MOST_TOGETHER, STORE_TOGETHER = 256, 128
# While nothing may begin (the server rests, or its calls are shared out), look again after so long.
LOOK_AGAIN_SECONDS = 0.05
# A database that does not answer is tried again after these rests: what has been paid for waits to be stored.
DATABASE_RESTS = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0)

Result = TypeVar("Result")


class _Group:
    """The questions of one request: it ends with the last of them."""

    def __init__(self, size: int) -> None:
        self.left = size


class _Held(NamedTuple):
    claim: Claim
    key: str
    expected_tokens: int = 0
    group: _Group | None = None


class _Ready(NamedTuple):
    """A question that is read and may be claimed next; answered already where its request is in the cache."""

    question: Question
    key: str
    kept: Answer | None


class Work:
    """Asks the given waiting verdicts of a run, as far as its state, its money, its server and the time allow."""

    def __init__(
        self,
        run: JudgeRun,
        verdict_ids: Sequence[uuid.UUID],
        *,
        until: float | None = None,
        alone: bool = False,
        on_finished: Callable[[], object] = lambda: None,
    ) -> None:
        """Keep the list. `until`: when to begin no more (monotonic seconds)."""
        self.run, self.version = run, run.version
        # One question at a time: a worker that dies of one takes no other with it.
        self._alone = alone
        self.asked = 0
        self._fresh_in = run.pk if run.fresh else None
        self._ids = deque(verdict_ids)
        self._until = until
        self._on_finished = on_finished
        self._ready: deque[_Ready] = deque()
        self._held: dict[uuid.UUID, _Held] = {}
        # Verdicts whose very request is under way for another one, by its key.
        self._aside: dict[str, list[uuid.UUID]] = {}
        self._came: list[Answer] = []
        self._refused = self._out_of_money = False
        self._failures = 0
        self._renewed = time.monotonic()

    def do(self) -> None:
        """Work to the end of the list. Answers are stored as they arrive, 64 or 128 in a transaction."""
        try:
            if self.version.judge.kind in ANSWERED_HERE:
                self._answer_here()
            else:
                self._ask()
        except JudgeError as error:
            # The judge cannot be asked at all: its host is not allowed any more, or its packages are gone.
            pause_run(self.run.pk, str(error))
        if self._out_of_money:
            self._pause_for_money()

    # --- Judges that answer in this process ---------------------------------------------------------------------

    def _answer_here(self) -> None:
        while self._ids and not self._must_stop():
            # Thousands a second: claimed and stored in one transaction, since nothing is paid or waited for. No more
            # than one batch: verdicts are locked in pair order within it, and two workers' batches may cross.
            with transaction.atomic():
                questions = questions_of(self.version, self._next_ids(READ_BATCH))
                claims = claim(self.run, [(_id(question), Decimal(0)) for question in questions])
                self._refused = bool(questions) and not claims.running
                held = {one.verdict_id: one for one in claims.held}
                mine = [question for question in questions if question.verdict_id in held]
                self._store([held[_id(one)] for one in mine], answered_here(self.version, mine))
                self.asked += len(mine)

    # --- Judges behind a server ---------------------------------------------------------------------------------

    def _ask(self) -> None:
        asking = asking_of(self.version)
        gate = gate_of(asking.server) if asking.server else None
        with gate.working() if gate else nullcontext(), self._counted(gate), _stopped_at_last(asking):
            while True:
                begun = self._begin(asking, gate)
                if self._came or asking.under_way:
                    wait = 0.0 if self._came else 1.0
                    most = STORE_BATCH if asking.a_request == 1 else STORE_TOGETHER
                    enough = max(1, min(most - len(self._came), asking.under_way))
                    came = asking.arrived(seconds=wait, enough=enough) if asking.under_way else []
                    self._take([*self._came, *came], gate)
                    self._give_back(asking)
                    if not asking.server:
                        self._renew()
                elif self._must_stop() or not (self._ids or self._ready):
                    return
                elif not begun:
                    stopping.wait(LOOK_AGAIN_SECONDS)
                if gate:
                    gate.sync()

    @contextmanager
    def _counted(self, gate: Gate | None) -> Iterator[None]:
        """Whatever happens, count no call as under way that nobody waits for any more."""
        try:
            yield
        finally:
            abandoned = {id(one.group): one.group for one in self._held.values() if one.group}
            if gate and abandoned:
                gate.abandon(len(abandoned))

    def _begin(self, asking: "Asking | Computing", gate: Gate | None) -> bool:
        """Claim and begin what may begin now; say whether anything was claimed."""
        if self._must_stop() or asking.failure is not None:
            return False
        room = self._room(asking, gate)
        if room <= 0 or (asking.under_way and room < self._worth_a_claim(asking)):
            return False
        batch = self._next_batch(room)
        return bool(batch) and self._claim(batch, asking, gate)

    def _room(self, asking: "Asking | Computing", gate: Gate | None) -> int:
        if gate is None:
            return (1 if self._alone else asking.most) - asking.under_way
        if self._alone:
            return min(gate.room(asking.under_way), 1 - asking.under_way)
        together = asking.a_request
        if together == 1:
            return min(gate.room(asking.under_way), settings.JUDGE_CONCURRENCY - asking.under_way)
        under_way = -(-asking.under_way // together)
        return min(gate.room(under_way) * together, MOST_TOGETHER - asking.under_way)

    def _worth_a_claim(self, asking: "Asking | Computing") -> int:
        """Return how many questions are worth a transaction while others are under way."""
        if not asking.server:
            # A whole group: what is computed together shares what its texts have in common.
            return max(1, asking.most // 2)
        most = settings.JUDGE_CONCURRENCY if asking.a_request == 1 else MOST_TOGETHER
        return max(1, min(most // 4, asking.under_way // 3))

    def _next_batch(self, room: int) -> list[_Ready]:
        """Return the next questions: at most `room` to ask, and up to a batch that are answered already."""
        batch: list[_Ready] = []
        while room > 0 and len(batch) < STORE_BATCH * 4:
            if not self._ready:
                if not self._ids:
                    break
                self._read()
                continue
            one = self._ready.popleft()
            if one.kept is None and one.key in self._aside:
                self._aside[one.key].append(_id(one.question))
                continue
            if one.kept is None:
                self._aside[one.key] = []
                room -= 1
            batch.append(one)
        return batch

    def _read(self) -> None:
        ids = self._next_ids(READ_BATCH)
        questions = _patiently(lambda: questions_of(self.version, ids))
        keys = [caching.request_key(self.version, question, fresh_in=self._fresh_in) for question in questions]
        found = _patiently(lambda: caching.find_keys(set(keys)))
        for question, key in zip(questions, keys, strict=True):
            kept = caching.from_cache(self.version, question, found[key]) if key in found else None
            self._ready.append(_Ready(question, key, kept))

    def _claim(self, batch: list[_Ready], asking: "Asking | Computing", gate: Gate | None) -> bool:
        wanted = [
            (_id(one.question), Decimal(0) if one.kept else largest_cost(self.version, one.question) or Decimal(0))
            for one in batch
        ]
        claims: Claims = _patiently(lambda: claim(self.run, wanted))
        if not claims.running:
            # Paused meanwhile; whatever is left of the list would be refused too.
            self._refused = True
        held = {one.verdict_id: one for one in claims.held}
        # What is not affordable now waits at the front; what is not held although it was, somebody else has asked.
        self._ready.extendleft(reversed(batch[claims.affordable :]))
        begun: list[tuple[_Ready, Claim]] = []
        for one in batch:
            mine = held.get(_id(one.question))
            if mine is None:
                self._free(one.key)
            elif one.kept:
                self._held[mine.verdict_id] = _Held(mine, "")
                self._came.append(one.kept)
            else:
                begun.append((one, mine))
        self.asked += len(held)
        if begun:
            self._begin_calls(begun, asking, gate)
        if not held and not claims.affordable and claims.running and not self._held:
            self._out_of_money = self._still_waiting(batch[0])
        return bool(held)

    def _begin_calls(self, begun: list[tuple[_Ready, Claim]], asking: "Asking | Computing", gate: Gate | None) -> None:
        together, tokens = asking.a_request, 0
        groups = [_Group(len(begun[start : start + together])) for start in range(0, len(begun), together)]
        for place, (one, mine) in enumerate(begun):
            expected = self._expected_tokens(one.question, gate)
            tokens += expected
            self._held[mine.verdict_id] = _Held(mine, one.key, expected, groups[place // together])
        if gate:
            gate.begin(len(groups), tokens)
        asking.begin([one.question._replace(attempt=mine.attempt) for one, mine in begun])

    def _expected_tokens(self, question: Question, gate: Gate | None) -> int:
        if gate is None:
            return 0
        prompt = sum(len(str(message.get("content", ""))) for message in question.prompt)
        shown = len(question.first) + len(question.second) + len(question.context) + len(question.reference)
        most = int(self.version.sampling.get("max_tokens", 0))
        return gate.expected_tokens(len(self.version.prompt_template) + prompt + shown, most)

    def _still_waiting(self, one: _Ready) -> bool:
        waiting = Verdict.objects.filter(pk=_id(one.question), state=VerdictState.PENDING)
        waits = _patiently(waiting.exists)
        if not waits:
            # Somebody else has asked it since it was read: no lack of money.
            self._ready = deque(ready for ready in self._ready if ready.question != one.question)
        return waits

    def _take(self, answers: Sequence[Answer], gate: Gate | None) -> None:
        """Store what has come, and see what it says about the judge."""
        self._came = []
        claims: list[Claim] = []
        stored: list[Answer] = []
        for answer in answers:
            held = self._held.pop(_id(answer))
            claims.append(held.claim)
            stored.append(answer._replace(request_key=held.key) if answer.replies else answer)
            if gate and held.group is not None:
                held.group.left -= 1
                gate.end(
                    0 if held.group.left else 1,
                    expected=held.expected_tokens,
                    prompt_tokens=answer.prompt_tokens,
                    completion_tokens=answer.completion_tokens,
                    rate_limits=answer.rate_limits,
                    server_errors=answer.server_errors,
                )
            self._free(held.key)
        self._store(claims, stored)

    def _give_back(self, asking: "Asking | Computing") -> None:
        """Have those questions wait again that were not begun. Raises `JudgeError` where no other can be answered."""
        if asking.left:
            held = [self._held.pop(_id(question)) for question in asking.left]
            asking.left = []
            _patiently(lambda: give_back(self.run, [one.claim for one in held]))
            for one in held:
                self._free(one.key)
        if asking.failure is not None and not asking.under_way:
            raise asking.failure

    def _renew(self) -> None:
        """Keep the leases of what is under way: a long group, or one behind it, may take longer than a lease lasts."""
        if self._held and time.monotonic() - self._renewed > settings.JUDGE_LEASE_SECONDS / 3:
            self._renewed = time.monotonic()
            _patiently(lambda: renew([one.claim for one in self._held.values()]))

    def _store(self, claims: Sequence[Claim], answers: Sequence[Answer]) -> None:
        if not claims:
            return
        states = _patiently(lambda: store_answers(self.run, self.version, claims, answers))
        for answer in answers:
            if states[_id(answer)] == VerdictState.PENDING:
                self._ids.append(_id(answer))
            else:
                self._on_finished()
            self._failures = self._failures + 1 if answer.whole_judge else 0
            if self._failures == FAILURES_BEFORE_PAUSE:
                reason = f"{self._failures} questions in a row failed. {answer.error} Then resume the run."
                _patiently(partial(pause_run, self.run.pk, reason))

    def _free(self, key: str) -> None:
        """Let those be read again that waited for this request's answer: it is in the cache now, or there is none."""
        self._ids.extend(self._aside.pop(key, ()))

    def _must_stop(self) -> bool:
        late = self._until is not None and time.monotonic() > self._until
        return late or self._refused or self._out_of_money or stopping.is_set()

    def _next_ids(self, number: int) -> list[uuid.UUID]:
        return [self._ids.popleft() for _ in range(min(number, len(self._ids)))]

    def _pause_for_money(self) -> None:
        run = JudgeRun.objects.get(pk=self.run.payer_id)
        if run.reserved_usd or run.budget_usd is None:
            # Another worker's calls are still under way and may give money back; the sweeper comes again.
            return
        waiting = self.run.verdicts.filter(state=VerdictState.PENDING).count()
        most = largest_cost(self.version, self._ready[0].question) if self._ready else None
        pause_run(
            run.pk,
            f"The budget of ${run.budget_usd:.4f} is used up: ${run.spent_usd:.4f} is spent, and the next call may "
            f"cost {'more than is left' if most is None else f'up to ${most:.4f}'}. {waiting} questions wait. Raise "
            "the budget and resume the run.",
        )


@contextmanager
def _stopped_at_last(asking: "Asking | Computing") -> Iterator[None]:
    """Whatever happens, have nothing computed that nobody waits for any more."""
    try:
        yield
    finally:
        asking.stop()


def _patiently(work: Callable[[], Result]) -> Result:
    """Return what the work gives, trying again while the database is away, for about a minute."""
    for rest in DATABASE_RESTS:
        try:
            return work()
        except (OperationalError, InterfaceError) as error:
            if connection.in_atomic_block:
                raise
            logger.warning("the database does not answer, trying again in %g s: %s", rest, error)
            connection.close()
            time.sleep(rest)
    return work()


def _id(one: Question | Answer) -> uuid.UUID:
    if one.verdict_id is None:
        raise ValueError("a stored question and its answer name their verdict")
    return one.verdict_id
