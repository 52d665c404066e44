"""One process's share of a run: claim a verdict, ask, store the answer, settle its money and its pair.

A verdict is claimed under a lease just before its call, so a killed process leaves at most what it had under way; and
nothing answered is asked again, because only waiting rows can be claimed.
"""

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from judges import paying
from judges.asking import Answer, Question, ask, largest_cost
from judges.errors import JudgeError
from judges.models import RULES, JudgeRun, JudgeVersion, Order, RunState, Verdict, VerdictState
from judges.settling import settle_pair

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
# So many answers in a row that fail because of the judge itself pause the run.
FAILURES_BEFORE_PAUSE = 5
BATCH = 64
# Set when the process is told to stop: no new question is begun, those under way are waited for.
stopping = threading.Event()


class Claim(NamedTuple):
    """A verdict held by this process: its attempt is the token that tells a later claim from this one."""

    verdict_id: uuid.UUID
    pair_id: uuid.UUID
    attempt: int
    reserved: Decimal


class Work:
    """Asks the given waiting verdicts of a run, as far as its state, its money and the time allow."""

    def __init__(
        self,
        run: JudgeRun,
        verdict_ids: Sequence[uuid.UUID],
        *,
        until: float | None = None,
        on_finished: Callable[[], object] = lambda: None,
    ) -> None:
        self.run, self.version = run, run.version
        self.asked = 0
        self._ids = verdict_ids
        self._until = until
        self._on_finished = on_finished
        self._held: dict[uuid.UUID, Claim] = {}
        self._again: deque[uuid.UUID] = deque()
        self._refused = self._out_of_money = False
        self._failures = 0

    def do(self) -> None:
        """Work to the end of the list. Each answer is stored as it arrives, in a transaction of its own."""
        try:
            with self._transaction():
                for answer in ask(self.version, self._questions(), concurrency=settings.JUDGE_CONCURRENCY):
                    self._take(answer)
        except JudgeError as error:
            # The judge cannot be asked at all: its host is not allowed any more, or its packages are gone.
            pause_run(self.run.pk, str(error))
        if self._out_of_money:
            self._pause_for_money()

    def _transaction(self) -> AbstractContextManager[object]:
        # A rule answers thousands a second: one transaction for all of them, since nothing is paid or waited for.
        return transaction.atomic() if self.version.judge.kind in RULES else nullcontext()

    def _questions(self) -> Iterator[Question | None]:
        ids = iter(self._ids)
        while batch := list(islice(ids, BATCH)):
            for verdict in _waiting(batch):
                yield from self._offered(verdict)
                if self._must_stop():
                    return
        while self._again or self._held:
            if not self._again:
                yield None
                continue
            for verdict in _waiting([self._again.popleft()]):
                yield from self._offered(verdict)
            if self._must_stop():
                return

    def _must_stop(self) -> bool:
        late = self._until is not None and time.monotonic() > self._until
        return late or self._refused or self._out_of_money or stopping.is_set()

    def _offered(self, verdict: Verdict) -> Iterator[Question | None]:
        """Yield the verdict's question once it is claimed; None while money may come back from calls under way."""
        question = question_of(verdict)
        amount = largest_cost(self.version, question) or Decimal(0)
        while not self._must_stop():
            claim = claim_verdict(self.run.pk, verdict, amount)
            if claim:
                self._held[verdict.pk] = claim
                self.asked += 1
                yield question._replace(attempt=claim.attempt)
                return
            if not JudgeRun.objects.filter(pk=self.run.pk, state=RunState.RUNNING).exists():
                # Paused meanwhile; whatever is left of the list would be refused too.
                self._refused = True
                return
            if not _unclaimed(verdict).exists():
                # Somebody else has asked it since it was read.
                return
            if not self._held:
                self._out_of_money = True
                return
            yield None

    def _take(self, answer: Answer) -> None:
        if answer.verdict_id is None:
            raise ValueError("an answer to a stored question names its verdict")
        claim = self._held.pop(answer.verdict_id)
        state = store(self.run, self.version, claim, answer)
        if state == VerdictState.PENDING:
            self._again.append(claim.verdict_id)
        else:
            self._on_finished()
        self._failures = self._failures + 1 if answer.whole_judge else 0
        if self._failures == FAILURES_BEFORE_PAUSE:
            pause_run(self.run.pk, f"{self._failures} questions in a row failed. {answer.error} Then resume the run.")

    def _pause_for_money(self) -> None:
        run = JudgeRun.objects.get(pk=self.run.pk)
        if run.reserved_usd or run.budget_usd is None:
            # Another worker's calls are still under way and may give money back; the sweeper comes again.
            return
        waiting = run.verdicts.filter(state=VerdictState.PENDING).count()
        pause_run(
            run.pk,
            f"The budget of ${run.budget_usd:.4f} is used up: ${run.spent_usd:.4f} is spent, and the next call may "
            f"cost more than is left. {waiting} questions wait. Raise the budget and resume the run.",
        )


def claim_verdict(run_id: uuid.UUID, verdict: Verdict, amount: Decimal) -> Claim | None:
    """Take a waiting verdict and reserve its money, both or neither, each by one conditional update."""
    now = timezone.now()
    with transaction.atomic():
        if not paying.reserve(run_id, amount):
            return None
        taken = _unclaimed(verdict).update(
            state=VerdictState.CLAIMED,
            attempts=F("attempts") + 1,
            lease_until=now + timedelta(seconds=settings.JUDGE_LEASE_SECONDS),
            reserved_usd=amount,
        )
        if not taken:
            transaction.set_rollback(True)
            return None
    return Claim(verdict.pk, verdict.pair_id, verdict.attempts + 1, amount)


def _unclaimed(verdict: Verdict) -> QuerySet[Verdict]:
    return Verdict.objects.filter(pk=verdict.pk, state=VerdictState.PENDING, attempts=verdict.attempts)


def question_of(verdict: Verdict) -> Question:
    """Return a verdict's pair as the judge sees it. Pair, prompt and responses are fetched already."""
    pair = verdict.pair
    first, second = pair.response_a.text, pair.response_b.text
    if verdict.order == Order.BA:
        first, second = second, first
    return Question(
        verdict_id=verdict.pk,
        prompt=pair.prompt.messages,
        first=first,
        second=second,
        order=verdict.order,
        context=pair.prompt.context,
        reference=pair.prompt.reference,
        group=pair.prompt.group,
    )


def store(run: JudgeRun, version: JudgeVersion, claim: Claim, answer: Answer) -> str:
    """Write one answer, settle its money, and settle its pair when both orders are there. Return the row's state.

    One short transaction that locks the pair's verdicts in a fixed order, so that two workers that finish both orders
    at once do not each think the other is missing. An answer that comes after its lease ran out is still taken, if
    no other came first: it was paid for.
    """
    with transaction.atomic():
        if claim.reserved:
            paying.hold(run.pk)
        locked = Verdict.objects.select_for_update().filter(version=version, pair_id=claim.pair_id).order_by("order")
        row = next((one for one in locked if one.pk == claim.verdict_id), None)
        if row is None:
            # Its pair was deleted while it was asked.
            paying.settle(run.pk, reserved=claim.reserved, booked=_booked(run, claim, answer))
            return VerdictState.FAILED
        in_time = row.attempts == claim.attempt and (row.state == VerdictState.CLAIMED or row.reserved_usd > 0)
        booked = Decimal(0)
        if in_time:
            booked = _booked(run, claim, answer)
            paying.settle(run.pk, reserved=row.reserved_usd, booked=booked)
            row.reserved_usd = Decimal(0)
        if row.state == VerdictState.DONE:
            _add_lost(row, booked)
            row.lease_until = None
        elif not answer.error:
            if not in_time:
                # The sweeper booked this call as lost; it is not.
                _add_lost(row, -claim.reserved)
                booked = claim.reserved
            _fill(row, version, answer, booked)
            row.state = VerdictState.DONE
            row.lease_until = row.lease_until if row.reserved_usd else None
        elif in_time:
            _fail(row, version, answer, booked)
        row.save()
        if row.state == VerdictState.DONE:
            settle_pair(version, claim.pair_id)
    if answer.cost_usd is not None and run.budget_usd is not None and answer.cost_usd > claim.reserved:
        pause_run(
            run.pk,
            f"The server reports more tokens than a question can have (verdict {row.pk}), so the budget cannot be "
            "kept. Check the server's usage figures, then resume the run.",
        )
    return row.state


def release_expired(*, now: datetime, run: JudgeRun | None = None) -> int:
    """Put verdicts back whose lease ran out, or give them up after five attempts; return how many.

    Their reservation is booked as spent (`meta.lost_usd`): the lost call may have been charged.
    """
    expired = Verdict.objects.filter(
        Q(state=VerdictState.CLAIMED) | Q(reserved_usd__gt=0, run__reserved_usd__gt=0), lease_until__lt=now
    )
    if run is not None:
        expired = expired.filter(run=run)
    released = 0
    for verdict_id, run_id in list(expired.values_list("pk", "run_id")):
        with transaction.atomic():
            paying.hold(run_id)
            row = Verdict.objects.select_for_update().filter(pk=verdict_id, lease_until__lt=now).first()
            if row is None or not (row.state == VerdictState.CLAIMED or row.reserved_usd):
                continue
            if row.run_id:
                paying.settle(row.run_id, reserved=row.reserved_usd, booked=row.reserved_usd)
            _add_lost(row, row.reserved_usd)
            row.reserved_usd, row.lease_until = Decimal(0), None
            if row.state == VerdictState.CLAIMED and row.attempts >= MAX_ATTEMPTS:
                row.state, row.finished_at = VerdictState.FAILED, now
                row.error = f"Gave up after {row.attempts} attempts: each worker that asked ended before the answer."
            elif row.state == VerdictState.CLAIMED:
                row.state = VerdictState.PENDING
            row.save()
            released += 1
    return released


def pause_run(run_id: uuid.UUID, reason: str) -> bool:
    """Stop a run with a reason for a person; no question is begun after it. False when it was not running."""
    paused = JudgeRun.objects.filter(pk=run_id, state=RunState.RUNNING).update(state=RunState.PAUSED, reason=reason)
    if paused:
        logger.warning("run %s paused: %s", run_id, reason)
    return paused == 1


def _waiting(ids: Sequence[uuid.UUID]) -> list[Verdict]:
    """Return the rows of these that still wait, with their texts, in the order given."""
    rows = Verdict.objects.filter(pk__in=ids, state=VerdictState.PENDING).select_related(
        "pair__prompt", "pair__response_a", "pair__response_b"
    )
    place = {verdict_id: number for number, verdict_id in enumerate(ids)}
    return sorted(rows, key=lambda row: place[row.pk])


def _booked(run: JudgeRun, claim: Claim, answer: Answer) -> Decimal:
    """Return what a call is taken to have cost: its usage, or all that was reserved where that is not known."""
    if answer.cost_usd is None:
        return claim.reserved if answer.maybe_billed else Decimal(0)
    # A cap is never passed, whatever a server says it used; `store` pauses the run in that case.
    return answer.cost_usd if run.budget_usd is None else min(answer.cost_usd, claim.reserved)


def _fill(row: Verdict, version: JudgeVersion, answer: Answer, booked: Decimal) -> None:
    row.choice, row.prob_a = answer.choice, answer.prob_a
    row.rationale, row.raw, row.error = answer.rationale, answer.raw, answer.error
    row.answered_by = answer.answered_by
    row.prompt_tokens, row.completion_tokens = answer.prompt_tokens, answer.completion_tokens
    row.cost_usd = booked if version.price_input_usd_per_million is not None else None
    row.seconds, row.finished_at = answer.seconds, timezone.now()
    row.meta = {**row.meta, **answer.meta}


def _fail(row: Verdict, version: JudgeVersion, answer: Answer, booked: Decimal) -> None:
    row.lease_until = None
    if answer.retry and row.attempts < MAX_ATTEMPTS:
        _add_lost(row, booked)
        row.state = VerdictState.PENDING
        return
    _fill(row, version, answer, booked)
    row.state = VerdictState.FAILED
    if row.attempts > 1:
        row.error = f"Gave up after {row.attempts} attempts: {answer.error}"
    if answer.whole_judge:
        # `resume` asks these again: the cause was not the pair.
        row.meta["at_fault"] = "judge"


def _add_lost(row: Verdict, amount: Decimal) -> None:
    """Keep what calls without a stored answer cost, so that a run's spending is the sum of its rows."""
    if amount:
        meta: dict[str, Any] = dict(row.meta)
        meta["lost_usd"] = str(Decimal(meta.get("lost_usd", "0")) + amount)
        row.meta = meta
