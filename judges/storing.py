"""Store what has come: many answers in one transaction of a handful of statements, with their money and their pairs."""

import logging
import uuid
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from django.db import DataError, IntegrityError, transaction
from django.utils import timezone

from judges import caching, paying
from judges.claiming import MAX_ATTEMPTS, Claim, with_lost
from judges.models import JudgeRun, JudgeVersion, Order, RunState, Verdict, VerdictState
from judges.questions import Answer, orders_of
from judges.settling import settle_pairs
from judges.writing import update_rows

logger = logging.getLogger(__name__)

LOCKED = (
    "pk",
    "pair_id",
    "order",
    "state",
    "attempts",
    "reserved_usd",
    "cost_usd",
    "meta",
    "lease_until",
    "run_id",
    "batch_id",
)
# What an answer writes into its verdict.
WRITTEN = (
    "state",
    "lease_until",
    "reserved_usd",
    "choice",
    "prob_a",
    "distribution",
    "label_mass",
    "samples",
    "criteria",
    "from_cache",
    "score_a",
    "score_b",
    "rationale",
    "raw",
    "error",
    "answered_by",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "cost_usd",
    "seconds",
    "meta",
    "finished_at",
)


class _Books(NamedTuple):
    """What a batch of answers does to its run's money."""

    reserved: Decimal = Decimal(0)
    booked: Decimal = Decimal(0)

    def plus(self, reserved: Decimal, booked: Decimal) -> "_Books":
        return _Books(self.reserved + reserved, self.booked + booked)


def store_answers(
    run: JudgeRun, version: JudgeVersion, claims: Sequence[Claim], answers: Sequence[Answer]
) -> dict[uuid.UUID, str]:
    """Write answers (one a claim, in the same order), settle their money and the pairs that are whole now.

    Returns each verdict's new state. One transaction; it locks the run's row (where money is reserved), then all
    verdicts of the pairs in one order, so that two workers that finish both orders of a pair do not each think the
    other is missing. An answer that comes after its lease ran out is still taken, if no other came first: it was paid
    for. An answer that the database refuses becomes a failure of its own verdict and of no other.
    """
    try:
        states = _store(run, version, claims, answers)
    except (DataError, IntegrityError, OverflowError, ValueError) as error:
        if len(claims) > 1:
            middle = len(claims) // 2
            states = store_answers(run, version, claims[:middle], answers[:middle])
            return states | store_answers(run, version, claims[middle:], answers[middle:])
        if answers[0].error and answers[0].raw == "":
            raise
        logger.warning("the answer to verdict %s cannot be stored", claims[0].verdict_id, exc_info=error)
        reason = f"The judge's answer holds something that cannot be stored ({type(error).__name__})."
        refused = Answer(answers[0].verdict_id, error=reason, maybe_billed=True, meta={"unanswered": "unreadable"})
        states = _store(run, version, claims, [refused])
    _check_bounds(run, claims, answers)
    return states


def pause_run(run_id: uuid.UUID, reason: str) -> bool:
    """Stop a run with a reason for a person; no question is begun after it. False when it was not running."""
    running = JudgeRun.objects.filter(state=RunState.RUNNING)
    paused = running.filter(pk=run_id).update(state=RunState.PAUSED, reason=reason)
    if paused:
        # The runs of a jury's members stop with it.
        running.filter(parent_id=run_id).update(state=RunState.PAUSED, reason=reason)
        logger.warning("run %s paused: %s", run_id, reason)
    return paused == 1


def _store(
    run: JudgeRun, version: JudgeVersion, claims: Sequence[Claim], answers: Sequence[Answer]
) -> dict[uuid.UUID, str]:
    books = _Books()
    answered: list[Verdict] = []
    with transaction.atomic():
        if any(claim.reserved for claim in claims):
            paying.hold(run.payer_id)
        rows = _locked(version, {claim.pair_id for claim in claims})
        for claim, answer in zip(claims, answers, strict=True):
            row = rows.get(claim.verdict_id)
            booked = _booked(run, claim, answer)
            if row is None:
                # Its pair was deleted while it was asked.
                books = books.plus(claim.reserved, booked)
                continue
            in_time = row.attempts == claim.attempt and (row.state == VerdictState.CLAIMED or row.reserved_usd > 0)
            if in_time:
                books = books.plus(row.reserved_usd, booked)
                row.reserved_usd = Decimal(0)
            else:
                booked = Decimal(0)
            if row.state == VerdictState.DONE:
                _book_only(row, booked)
            elif not answer.error:
                if not in_time:
                    # The sweeper booked this call as lost; it is not. What a later one cost that failed, is.
                    row.meta = with_lost(row.meta, (row.cost_usd or Decimal(0)) - claim.reserved)
                    booked = claim.reserved
                _fill(row, version, answer, booked)
                row.state = VerdictState.DONE
                row.lease_until = row.lease_until if row.reserved_usd else None
                answered.append(row)
            elif in_time and answer.retry and row.attempts < MAX_ATTEMPTS:
                row.state = VerdictState.PENDING
                _book_only(row, booked)
            elif in_time:
                _fail(row, version, answer, booked)
                answered.append(row)
        update_rows(answered, WRITTEN)
        paying.settle(run.payer_id, reserved=books.reserved, booked=books.booked)
        if whole := _whole_pairs(version, rows.values(), answered):
            settle_pairs(version, whole, known=_all_there_is(rows.values(), answered))
        # Last: it waits for other workers with the same requests, so it may hold up nothing that they need.
        caching.keep(answers)
    return {claim.verdict_id: _state(rows, claim) for claim in claims}


def _locked(version: JudgeVersion, pair_ids: Iterable[uuid.UUID]) -> dict[uuid.UUID, Verdict]:
    """Lock all verdicts of these pairs, in the order of the pairs, and return them by id with what storing needs."""
    rows = Verdict.objects.select_for_update(no_key=True).filter(version=version, pair_id__in=list(pair_ids))
    return {row.pk: row for row in rows.order_by("pair_id", "order").only(*LOCKED)}


def _book_only(row: Verdict, booked: Decimal) -> None:
    """Book a call whose answer is not taken: the row has one already, or will be asked again. One statement."""
    row.meta = with_lost(row.meta, booked)
    # While a later call is under way, its lease is how the sweeper finds what is reserved for it.
    row.lease_until = row.lease_until if row.reserved_usd else None
    Verdict.objects.filter(pk=row.pk).update(
        state=row.state, lease_until=row.lease_until, reserved_usd=row.reserved_usd, meta=row.meta
    )


def _whole_pairs(version: JudgeVersion, rows: Iterable[Verdict], answered: Sequence[Verdict]) -> list[uuid.UUID]:
    """Return the pairs that have a new answer and all their orders answered, in the order of their ids."""
    changed = {row.pair_id for row in answered if row.state == VerdictState.DONE}
    done: dict[uuid.UUID, set[str]] = {pair_id: set() for pair_id in changed}
    for row in rows:
        if row.pair_id in changed and row.state == VerdictState.DONE:
            done[row.pair_id].add(row.order)
    wanted = set(orders_of(version))
    return sorted(pair_id for pair_id, orders in done.items() if wanted <= orders)


def _all_there_is(rows: Iterable[Verdict], answered: Sequence[Verdict]) -> list[Verdict]:
    """Return the new answers on pairs that have no others: these need not be read again to settle them."""
    new = {row.pk: row for row in answered if row.state == VerdictState.DONE}
    older = {row.pair_id for row in rows if row.state == VerdictState.DONE and row.pk not in new}
    return [row for row in new.values() if row.pair_id not in older]


def _state(rows: dict[uuid.UUID, Verdict], claim: Claim) -> str:
    return rows[claim.verdict_id].state if claim.verdict_id in rows else VerdictState.FAILED


def _booked(run: JudgeRun, claim: Claim, answer: Answer) -> Decimal:
    """Return what a call is taken to have cost: its usage, or all that was reserved where that is not known."""
    if answer.cost_usd is None:
        return claim.reserved if answer.maybe_billed else Decimal(0)
    # A cap is never passed, whatever a server says it used; the run is paused in that case.
    return answer.cost_usd if _payer(run).budget_usd is None else min(answer.cost_usd, claim.reserved)


def _check_bounds(run: JudgeRun, claims: Sequence[Claim], answers: Sequence[Answer]) -> None:
    if _payer(run).budget_usd is None:
        return
    for claim, answer in zip(claims, answers, strict=True):
        if answer.cost_usd is not None and answer.cost_usd > claim.reserved:
            pause_run(
                run.pk,
                f"The server reports more tokens, or our own worker took longer, than a question can (verdict "
                f"{claim.verdict_id}), so the budget cannot be kept. Check its usage figures, then resume the run.",
            )
            return


def _payer(run: JudgeRun) -> JudgeRun:
    return run.parent or run


def _fill(row: Verdict, version: JudgeVersion, answer: Answer, booked: Decimal) -> None:
    row.choice, row.prob_a = answer.choice, answer.prob_a
    row.distribution, row.label_mass, row.samples = dict(answer.distribution), answer.label_mass, answer.samples
    row.criteria, row.from_cache = dict(answer.criteria), answer.from_cache
    row.score_a = answer.score if row.order == Order.ONLY_A else None
    row.score_b = answer.score if row.order == Order.ONLY_B else None
    row.rationale, row.raw, row.error = answer.rationale, answer.raw, answer.error
    row.answered_by = answer.answered_by
    row.prompt_tokens, row.completion_tokens = answer.prompt_tokens, answer.completion_tokens
    row.cached_tokens = answer.cached_tokens
    row.cost_usd = booked if version.price_input_usd_per_million is not None else None
    row.seconds, row.finished_at = answer.seconds, timezone.now()
    row.meta = {**row.meta, **answer.meta}


def _fail(row: Verdict, version: JudgeVersion, answer: Answer, booked: Decimal) -> None:
    _fill(row, version, answer, booked)
    row.state, row.lease_until = VerdictState.FAILED, None
    if row.attempts > 1:
        row.error = f"Gave up after {row.attempts} attempts: {answer.error}"
    if answer.whole_judge:
        # `resume` asks these again: the cause was not the pair.
        row.meta["at_fault"] = "judge"
