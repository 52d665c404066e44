"""Runs: have a judge version label pairs, as messages for workers or in this process, and keep at it until the end.

The rows are the queue. A message only says "look again"; `sweep` sends it again when it, or its worker, was lost.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import NamedTuple, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from annotation.models import Pair, Project, User
from annotation.publishing import wake
from judges.errors import JudgeError
from judges.models import RULES, JudgeKind, JudgeRun, JudgeVersion, Order, RunState, Verdict, VerdictState
from judges.paying import cap_again, cap_for
from judges.working import Work, pause_run, release_expired

TASK = "judges.tasks.judge_chunk"
OPEN = (VerdictState.PENDING, VerdictState.CLAIMED)
CREATE_BATCH = 1000
# A message's work stops beginning questions after this long: well below RabbitMQ's 30 minutes without an
# acknowledgement, even when the last questions take their whole deadline.
CHUNK_SECONDS = 600.0


class RunReport(NamedTuple):
    """Where a run is: counts of verdicts, money, state and, when paused, why."""

    done: int
    failed: int
    pending: int
    spent_usd: Decimal
    state: str
    reason: str


def start_run(
    version: JudgeVersion,
    *,
    limit: int | None = None,
    budget_usd: Decimal | None = None,
    started_by: User | None = None,
    pairs: Iterable[Pair] | None = None,
    send: bool = True,
) -> JudgeRun:
    """Make the verdict rows for pairs that this version has not been asked about, and send them to workers.

    At most `limit` pairs; of `pairs`, or of the whole project. With `send=False` no message leaves: the caller goes on
    with `work_off`. The cap is the smaller of `budget_usd` and what is left of the project's budget for models. A run
    with nothing to ask is done at once. Raises `JudgeError`.
    """
    if version.judge.kind == JudgeKind.RECORDED:
        raise JudgeError(f"{version} holds imported judgements and cannot be asked.")
    if limit is not None and limit < 1:
        raise JudgeError(f"The limit is {limit}; it takes a number of pairs, from 1.")
    with transaction.atomic():
        project = Project.objects.select_for_update(no_key=True).get(pk=version.judge.project_id)
        cap = cap_for(project, version, budget_usd)
        run = JudgeRun.objects.create(project=project, version=version, budget_usd=cap, created_by=started_by)
        _make_rows(run, _unasked(version, project, pairs), limit)
        if not finish_if_done(run) and send:
            transaction.on_commit(lambda: send_waiting(run, now=timezone.now()))
    return run


def work_off(run: JudgeRun, *, progress: Callable[[int, int], None] | None = None) -> RunReport:
    """Answer a run's waiting verdicts in this process, to the end or to its pause.

    May run beside workers: each verdict is claimed once. `progress(finished, total)` is told after each answer.
    """
    total = run.verdicts.count()
    finished = total - run.verdicts.filter(state__in=OPEN).count()

    def count_one() -> None:
        nonlocal finished
        finished += 1
        if progress:
            progress(finished, total)

    if progress:
        progress(finished, total)
    while True:
        release_expired(now=timezone.now(), run=run)
        ids = list(_waiting(run).values_list("pk", flat=True))
        asked = 0
        # A rule works in one transaction: in pieces, so that others can write between them.
        size = settings.JUDGE_CHUNK_SIZE if run.version.judge.kind in RULES else max(1, len(ids))
        for chunk in _batched(ids, size):
            work = Work(run, chunk, on_finished=count_one)
            work.do()
            asked += work.asked
        run.refresh_from_db()
        if not asked or run.state != RunState.RUNNING:
            break
    finish_if_done(run)
    return report_on(run)


def judge_chunk(run_id: uuid.UUID, verdict_ids: Sequence[uuid.UUID]) -> None:
    """Answer those of the given verdicts that still wait. A run that is gone, paused or done is left alone.

    What it could not ask (no time or money left, or the worker is told to stop) is sent again at the next sweep.
    """
    run = JudgeRun.objects.select_related("version__judge").filter(pk=run_id, state=RunState.RUNNING).first()
    if run is None:
        return
    Work(run, verdict_ids, until=time.monotonic() + CHUNK_SECONDS).do()
    Verdict.objects.filter(pk__in=verdict_ids, run=run, state=VerdictState.PENDING).update(lease_until=None)
    finish_if_done(run)


def sweep(*, now: datetime) -> int:
    """Heal what a dead worker or a lost message left behind; return how many messages were sent.

    Expired leases go back; waiting rows of running runs whose message is older than a lease get another; runs with
    nothing open are done.
    """
    release_expired(now=now)
    sent = 0
    for run in JudgeRun.objects.filter(state=RunState.RUNNING).select_related("version__judge"):
        if not finish_if_done(run):
            sent += send_waiting(run, now=now)
    return sent


def send_waiting(run: JudgeRun, *, now: datetime) -> int:
    """Send a run's waiting verdicts that no message speaks for; return the number of messages.

    A waiting row's `lease_until` is how long its message is trusted. A broker that is down costs nothing: the rows
    stay, and the sweeper tries again.
    """
    unsent = _waiting(run).filter(Q(lease_until=None) | Q(lease_until__lt=now))
    sent = 0
    for chunk in _batched(list(unsent.values_list("pk", flat=True)), settings.JUDGE_CHUNK_SIZE):
        rows = Verdict.objects.filter(pk__in=chunk, state=VerdictState.PENDING)
        rows.update(lease_until=now + timedelta(seconds=settings.JUDGE_LEASE_SECONDS))
        if not wake([TASK], {"run_id": str(run.pk), "verdict_ids": [str(pk) for pk in chunk]}):
            rows.update(lease_until=None)
            break
        sent += 1
    return sent


def pause(run: JudgeRun, reason: str = "Paused by a manager. Resume the run to go on.") -> bool:
    """Begin no further question; those under way are still stored. False when the run was not running."""
    paused = pause_run(run.pk, reason)
    run.refresh_from_db()
    return paused


def resume(run: JudgeRun, *, budget_usd: Decimal | None = None, send: bool = True) -> JudgeRun:
    """Go on with a run, with another cap if one is given; questions that failed because of the judge itself go back.

    Raises `JudgeError` for a cap below what is spent and reserved, or one that cannot be kept.
    """
    with transaction.atomic():
        project, run = _held(run)
        if budget_usd is not None and budget_usd != run.budget_usd:
            # What this run holds now does not stand against its own new cap.
            run.budget_usd = run.spent_usd + run.reserved_usd
            run.save(update_fields=["budget_usd"])
            if budget_usd < run.budget_usd:
                raise JudgeError(f"The budget must be above what is spent and reserved: ${run.budget_usd:.4f}.")
            run.budget_usd = cap_again(project, run, budget_usd)
        elif run.state == RunState.DONE:
            run.budget_usd = cap_again(project, run, run.budget_usd)
        run.state, run.reason, run.finished_at = RunState.RUNNING, "", None
        run.save()
        _put_back(run.verdicts.filter(state=VerdictState.FAILED, meta__at_fault="judge"))
        _waiting(run).update(lease_until=None)
        if not finish_if_done(run) and send:
            transaction.on_commit(lambda: send_waiting(run, now=timezone.now()))
    return run


def retry_failed(run: JudgeRun, *, send: bool = True) -> int:
    """Ask a run's failed questions again; return how many. What they cost stays in the books (`meta.lost_usd`).

    What a finished run left of its cap may be promised to other runs by now: it gets what there is. Raises `JudgeError`
    where nothing is.
    """
    with transaction.atomic():
        project, run = _held(run)
        count = _put_back(run.verdicts.filter(state=VerdictState.FAILED))
        if count:
            if run.state == RunState.DONE:
                run.budget_usd = cap_again(project, run, run.budget_usd)
            run.state, run.reason, run.finished_at = RunState.RUNNING, "", None
            run.save(update_fields=["state", "reason", "finished_at", "budget_usd"])
            if send:
                transaction.on_commit(lambda: send_waiting(run, now=timezone.now()))
    return count


def _held(run: JudgeRun) -> tuple[Project, JudgeRun]:
    """Lock and return a run and its project. Caller holds a transaction."""
    project = Project.objects.select_for_update(no_key=True).get(pk=run.project_id)
    locked = JudgeRun.objects.select_for_update(no_key=True, of=("self",)).select_related("version__judge")
    return project, locked.get(pk=run.pk)


def unfinished_run(version: JudgeVersion) -> JudgeRun | None:
    """Return the version's newest run that has questions open, if there is one."""
    return version.runs.exclude(state=RunState.DONE).filter(verdicts__state__in=OPEN).order_by("-created_at").first()


def finish_if_done(run: JudgeRun) -> bool:
    """Mark a run done when nothing of it is open; say whether it is."""
    if run.verdicts.filter(state__in=OPEN).exists():
        return False
    JudgeRun.objects.filter(pk=run.pk).exclude(state=RunState.DONE).update(
        state=RunState.DONE, reason="", finished_at=timezone.now()
    )
    run.refresh_from_db(fields=["state", "reason", "finished_at"])
    return True


def report_on(run: JudgeRun) -> RunReport:
    """Count a run's verdicts by state, from the rows."""
    run.refresh_from_db()
    states = list(run.verdicts.values_list("state", flat=True))
    return RunReport(
        done=states.count(VerdictState.DONE),
        failed=states.count(VerdictState.FAILED),
        pending=sum(state in OPEN for state in states),
        spent_usd=run.spent_usd,
        state=run.state,
        reason=run.reason,
    )


def _unasked(version: JudgeVersion, project: Project, pairs: Iterable[Pair] | None) -> QuerySet[Pair]:
    wanted = Pair.objects.filter(project=project).exclude(verdicts__version=version)
    if pairs is not None:
        wanted = wanted.filter(pk__in=[pair.pk for pair in pairs])
    # Pairs of one prompt next to each other: servers reuse the prefix they share.
    return wanted.order_by("prompt_id", "id")


def _make_rows(run: JudgeRun, pairs: QuerySet[Pair], limit: int | None) -> None:
    orders = (Order.AB, Order.BA) if run.version.asks_both_orders else (Order.NONE,)
    rows = (
        Verdict(version=run.version, run=run, pair_id=pair_id, order=order)
        for pair_id in pairs.values_list("pk", flat=True)[:limit].iterator(chunk_size=CREATE_BATCH)
        for order in orders
    )
    for batch in _batched(rows, CREATE_BATCH):
        # Another run may have taken a pair meanwhile; it stays that run's.
        Verdict.objects.bulk_create(batch, ignore_conflicts=True)


def _waiting(run: JudgeRun) -> QuerySet[Verdict]:
    waiting = run.verdicts.filter(state=VerdictState.PENDING)
    return waiting.order_by("pair__prompt_id", "pair_id", "order")


def _put_back(failed: QuerySet[Verdict]) -> int:
    count = 0
    for verdict in failed.select_for_update():
        lost = Decimal(verdict.meta.get("lost_usd", "0")) + (verdict.cost_usd or 0)
        verdict.meta = {key: value for key, value in verdict.meta.items() if key not in {"lost_usd", "at_fault"}}
        if lost:
            verdict.meta["lost_usd"] = str(lost)
        verdict.state, verdict.attempts, verdict.error, verdict.lease_until = VerdictState.PENDING, 0, "", None
        verdict.cost_usd = verdict.finished_at = None
        verdict.save()
        count += 1
    return count


Item = TypeVar("Item")


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
