"""Runs: have a judge version label pairs, as messages for workers or in this process, and keep at it until the end.

The rows are the queue. A message only says "look again"; `sweep` sends it again when it, or its worker, was lost.
"""

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import Avg, Count, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from annotation.models import Choice, Pair, Preference, Project, User
from annotation.publishing import publish, wake
from judges import flagging
from judges.errors import JudgeError
from judges.models import (
    COMBINED,
    RULES,
    JudgeKind,
    JudgeRun,
    JudgeVersion,
    Order,
    RunPurpose,
    RunState,
    Verdict,
    VerdictState,
)
from judges.options import example_pairs
from judges.paying import cap_again, cap_for
from judges.questions import Protocol, orders_of
from judges.working import Work, pause_run, release_expired

TASK = "judges.tasks.judge_chunk"
GPU_TASK = "judges.tasks.judge_on_gpu"
# Millions of questions wait for a few GPUs: so many messages of a run at once, and more by the sweeps, so that fewer
# wait for longer than they are trusted and are sent a second time.
GPU_MESSAGES = 64
SUBMIT_TASK = "judges.tasks.submit_batches"
FINISHED = "judge_run_finished"
OPEN = (VerdictState.PENDING, VerdictState.CLAIMED)
CREATE_BATCH = 1000
# What a failed question loses when it waits again.
WAITS_AGAIN = ("state", "attempts", "error", "lease_until", "cost_usd", "finished_at", "meta")
# A message's work stops beginning questions after this long: well below RabbitMQ's 30 minutes without an
# acknowledgement, even when the last questions take their whole deadline.
CHUNK_SECONDS = 600.0
# What `progress_of` measures the present rate and the times of answers by.
RATE_SECONDS = 60.0
TIMED_ANSWERS = 1000
REASONS = 5
# The one order of runs that ask for no label.
_ORDERS = {RunPurpose.EXPLAIN.value: (Order.WHY.value,), RunPurpose.TAG.value: (Order.TAGS.value,)}


class RunReport(NamedTuple):
    """Where a run is: counts of verdicts, money, state and, when paused or in vain, why."""

    done: int
    failed: int
    pending: int
    spent_usd: Decimal
    state: str
    reason: str


class RunProgress(NamedTuple):
    """What the page of a run shows while it works; a jury's counts its members' questions too.

    `rate_per_second` is over the last minute. `predicted_usd` is what it will have cost in all, `seconds_left` until
    its end at the present rate; None where nothing can be said yet. `errors` are the most frequent reasons of failed
    questions with their counts. Percentiles are of the last thousand calls.
    """

    done: int
    failed: int
    open: int
    from_cache: int
    state: str
    reason: str
    spent_usd: Decimal
    budget_usd: Decimal | None
    predicted_usd: Decimal | None
    rate_per_second: float
    seconds_left: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    errors: list[tuple[str, int]]


def start_run(
    version: JudgeVersion,
    *,
    limit: int | None = None,
    budget_usd: Decimal | None = None,
    started_by: User | None = None,
    pairs: Iterable[Pair] | None = None,
    send: bool = True,
    parent: JudgeRun | None = None,
    fresh: bool = False,
) -> JudgeRun:
    """Make the verdict rows for pairs that this version has not been asked about, and send them to workers.

    At most `limit` pairs; of `pairs`, or of the whole project. With `send=False` no message leaves: the caller goes on
    with `work_off`. The cap is the smaller of `budget_usd` and what is left of the project's budget for models; a run
    with a `parent` is paid by it. `fresh` takes no answer that was kept from another run. A run with nothing to ask
    is done at once. Raises `JudgeError`.
    """
    if version.judge.kind == JudgeKind.RECORDED:
        raise JudgeError(f"{version} holds imported judgements and cannot be asked.")
    if limit is not None and limit < 1:
        raise JudgeError(f"The limit is {limit}; it takes a number of pairs, from 1.")
    if version.judge.kind == JudgeKind.GPU:
        _require_room(version, pairs, limit)
    if parent is None:
        flagging.flag_responses(version.judge.project)
    with transaction.atomic():
        project = Project.objects.select_for_update(no_key=True).get(pk=version.judge.project_id)
        cap = None if parent else cap_for(project, version, budget_usd)
        run = JudgeRun.objects.create(
            project=project, version=version, parent=parent, budget_usd=cap, created_by=started_by, fresh=fresh
        )
        _make_rows(run, unasked_pairs(version, pairs), limit)
    _set_off(run, send=send)
    return run


def start_explaining(
    version: JudgeVersion,
    pairs: Iterable[Pair],
    *,
    budget_usd: Decimal | None = None,
    started_by: User | None = None,
    send: bool = True,
) -> JudgeRun:
    """Ask a version for the reasons of the preferences it has on these pairs: the second pass.

    Pairs on which it prefers nothing yet, or whose reason was asked for already, are left out. Raises `JudgeError`
    for a judge that cannot write.
    """
    if not writes(version):
        raise JudgeError(f"{version} gives no reasons: it is no model that writes.")
    with transaction.atomic():
        project = Project.objects.select_for_update(no_key=True).get(pk=version.judge.project_id)
        run = JudgeRun.objects.create(
            project=project,
            version=version,
            purpose=RunPurpose.EXPLAIN,
            budget_usd=cap_for(project, version, budget_usd),
            created_by=started_by,
        )
        decided = Preference.objects.filter(
            rater_id=version.rater_id,
            criterion=None,
            is_current=True,
            choice__in=(Choice.A, Choice.B, Choice.TIE),
            pair__in=_ids_of(pairs),
        )
        asked = Verdict.objects.filter(version=version, order=Order.WHY)
        wanted = Pair.objects.filter(project=project, pk__in=decided.values("pair")).exclude(
            pk__in=asked.values("pair")
        )
        _make_rows(run, wanted.order_by("prompt_id", "id"), None)
    _set_off(run, send=send)
    return run


def start_tagging(
    version: JudgeVersion,
    *,
    limit: int | None = None,
    budget_usd: Decimal | None = None,
    started_by: User | None = None,
    send: bool = True,
) -> JudgeRun:
    """Ask a version what kind of prompt each of its project's prompts is, once a prompt: one pair stands for all.

    Prompts that it was asked about already are left out; at most `limit` others. The tags go into `meta["tags"]` of
    the verdicts; nobody's preference is made or changed. Raises `JudgeError` for a judge that cannot write, a limit
    below 1 or a budget that cannot be kept.
    """
    if not writes(version):
        raise JudgeError(f"{version} cannot sort prompts: it is no model that writes.")
    if limit is not None and limit < 1:
        raise JudgeError(f"The limit is {limit}; it takes a number of prompts, from 1.")
    with transaction.atomic():
        project = Project.objects.select_for_update(no_key=True).get(pk=version.judge.project_id)
        run = JudgeRun.objects.create(
            project=project,
            version=version,
            purpose=RunPurpose.TAG,
            budget_usd=cap_for(project, version, budget_usd),
            created_by=started_by,
        )
        _make_rows(run, untagged_pairs(version), limit)
    _set_off(run, send=send)
    return run


def writes(version: JudgeVersion) -> bool:
    """Say whether a version is a model that writes text, so that it can give reasons and tags."""
    unable = RULES | COMBINED | {JudgeKind.RECORDED}
    return version.judge.kind not in unable and version.protocol not in {Protocol.DECISIONS, Protocol.REWARD}


def untagged_pairs(version: JudgeVersion) -> QuerySet[Pair]:
    """Return the first pair of each prompt of the project that this version was not asked to tag, by prompt."""
    asked = Verdict.objects.filter(version=version, order=Order.TAGS)
    first = Pair.objects.filter(prompt=OuterRef("prompt")).order_by("id").values("pk")[:1]
    wanted = Pair.objects.filter(project=version.judge.project_id, pk=Subquery(first))
    return wanted.exclude(prompt__in=asked.values("pair__prompt")).order_by("prompt_id", "id")


def work_off(run: JudgeRun, *, progress: Callable[[int, int], None] | None = None) -> RunReport:
    """Answer a run's waiting verdicts in this process, to the end or to its pause.

    May run beside workers: each verdict is claimed once. `progress(finished, total)` is told after each answer.
    """
    kind = run.version.judge.kind
    if kind in COMBINED:
        return _work_off_combined(run, progress)
    if kind == JudgeKind.BATCH:
        # Its requests travel in files, which are written by claiming.
        from judges import batching

        batching.work_off(run, progress=progress)
        finish_if_done(run, send=False)
        return report_on(run)
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
        size = settings.JUDGE_CHUNK_SIZE if kind in RULES else max(1, len(ids))
        for chunk in _batched(ids, size):
            work = Work(run, chunk, on_finished=count_one)
            work.do()
            asked += work.asked
        run.refresh_from_db()
        if not asked or run.state != RunState.RUNNING:
            break
    finish_if_done(run, send=False)
    return report_on(run)


def judge_chunk(run_id: uuid.UUID, verdict_ids: Sequence[uuid.UUID]) -> None:
    """Answer those of the given verdicts that still wait. A run that is gone, paused or done is left alone.

    Questions that were under way when a worker died may be what ended it. They come in messages of their own and are
    asked one by one, while no other of them is under way in the run: so one that ends its worker every time takes no
    other with it every time. What could not be asked (no time or money left, or the worker is told to stop) is sent
    again at the next sweep.
    """
    runs = JudgeRun.objects.select_related("version__judge", "version__rater", "parent")
    run = runs.filter(pk=run_id, state=RunState.RUNNING).first()
    if run is None:
        return
    waiting = Verdict.objects.filter(pk__in=verdict_ids, run=run, state=VerdictState.PENDING)
    fresh = set(waiting.filter(attempts=0).values_list("pk", flat=True))
    # A message that is delivered again has both kinds: its suspects get, or have, another.
    mine = [pk for pk in verdict_ids if pk in fresh] if fresh else list(verdict_ids)
    if fresh or not run.verdicts.filter(state=VerdictState.CLAIMED, attempts__gt=1).exists():
        Work(run, mine, until=time.monotonic() + CHUNK_SECONDS, alone=not fresh).do()
    _speak_for(Verdict.objects.filter(pk__in=mine, run=run, state=VerdictState.PENDING), until=None)
    finish_if_done(run)


def sweep(*, now: datetime) -> int:
    """Heal what a dead worker or a lost message left behind; return how many messages were sent.

    Expired leases go back; waiting rows of running runs whose message is older than a lease get another; juries and
    cascades go on where their members are ready; runs with nothing open are done.
    """
    release_expired(now=now)
    sent = 0
    for run in JudgeRun.objects.filter(state=RunState.RUNNING).select_related("version__judge", "parent"):
        if finish_if_done(run):
            continue
        if run.version.judge.kind in COMBINED:
            _advance(run, send=True)
        else:
            sent += send_waiting(run, now=now)
    return sent


def send_waiting(run: JudgeRun, *, now: datetime) -> int:
    """Send a run's waiting verdicts that no message speaks for; return the number of messages.

    A waiting row's `lease_until` is how long its message is trusted. A broker that is down costs nothing: the rows
    stay, and the sweeper tries again. Juries and cascades wait for their members, and files of requests are looked
    after by `judges.batching`: neither has messages of this kind.
    """
    if run.version.judge.kind in COMBINED | {JudgeKind.BATCH}:
        return 0
    unsent = _waiting(run).filter(Q(lease_until=None) | Q(lease_until__lt=now))
    on_gpu = run.version.judge.kind == JudgeKind.GPU
    task, size = (GPU_TASK, settings.GPU_CHUNK_SIZE) if on_gpu else (TASK, settings.JUDGE_CHUNK_SIZE)
    if on_gpu:
        spoken_for = _waiting(run).filter(lease_until__gte=now).count()
        unsent = unsent[: max(0, GPU_MESSAGES * size - spoken_for)]
    sent = 0
    waiting = list(unsent.values_list("pk", "attempts"))
    fresh = [pk for pk, attempts in waiting if not attempts]
    # What was asked when a worker died may be what ended it: apart from the others, and one at a time (`judge_chunk`).
    suspects = [pk for pk, attempts in waiting if attempts]
    for chunk in (*_batched(fresh, size), *_batched(suspects, size)):
        rows = Verdict.objects.filter(pk__in=chunk, state=VerdictState.PENDING)
        _speak_for(rows, until=now + timedelta(seconds=settings.JUDGE_LEASE_SECONDS))
        if not wake([task], {"run_id": str(run.pk), "verdict_ids": [str(pk) for pk in chunk]}):
            _speak_for(rows, until=None)
            break
        sent += 1
    return sent


def pause(run: JudgeRun, reason: str = "Paused by a manager. Resume the run to go on.") -> bool:
    """Begin no further question, of its members' runs neither; those under way are still stored.

    False when the run was not running.
    """
    paused = pause_run(run.pk, reason)
    run.refresh_from_db()
    return paused


def resume(run: JudgeRun, *, budget_usd: Decimal | None = None, send: bool = True) -> JudgeRun:
    """Go on with a run, with another cap if one is given; questions that failed because of the judge itself go back.

    The runs of a jury's members go on with it. Raises `JudgeError` for a cap below what is spent and reserved, or one
    that cannot be kept.
    """
    with transaction.atomic():
        project, run = _held(run)
        if run.parent_id is None and budget_usd is not None and budget_usd != run.budget_usd:
            held = run.spent_usd + run.reserved_usd
            if held and budget_usd <= held:
                raise JudgeError(f"The budget must be above what is spent and reserved: ${held:.4f}.")
            # Only what this run holds now stands against its new cap, not its old one.
            run.budget_usd = None
            run.save(update_fields=["budget_usd"])
            run.budget_usd = cap_again(project, run, budget_usd)
        elif run.parent_id is None and run.state == RunState.DONE:
            run.budget_usd = cap_again(project, run, run.budget_usd)
        children = list(_held_children(run))
        for one in (run, *children):
            if one is run or one.state == RunState.PAUSED:
                _go_on(one, one.verdicts.filter(state=VerdictState.FAILED, meta__at_fault="judge"))
        _speak_for(run.verdicts.filter(state=VerdictState.PENDING), until=None)
    for child in children:
        _set_off(child, send=send)
    _set_off(run, send=send)
    return run


def retry_failed(run: JudgeRun, *, verdict_ids: Iterable[uuid.UUID] | None = None, send: bool = True) -> int:
    """Ask a run's failed questions again, all or the given ones; return how many, its members' included.

    What they cost stays in the books (`meta.lost_usd`). What a finished run left of its cap may be promised to other
    runs by now: it gets what there is. Raises `JudgeError` where nothing is.
    """
    with transaction.atomic():
        project, run = _held(run)
        failed = run.verdicts.filter(state=VerdictState.FAILED)
        if verdict_ids is not None:
            failed = failed.filter(pk__in=list(verdict_ids))
        children = list(_held_children(run))
        pairs = list(failed.values_list("pair_id", flat=True)) if verdict_ids is not None else None
        theirs = {run.pk: failed}
        for child in children:
            # A jury's question fails where its members' on the same pair did.
            asked = child.verdicts.filter(state=VerdictState.FAILED)
            theirs[child.pk] = asked if pairs is None else asked.filter(pair_id__in=pairs)
        gone_on = [one for one in (*children, run) if theirs[one.pk].exists()]
        if not gone_on:
            return 0
        if run.state == RunState.DONE and run.parent_id is None:
            run.budget_usd = cap_again(project, run, run.budget_usd)
        if run not in gone_on:
            gone_on.append(run)
        count = sum(_go_on(one, theirs[one.pk]) for one in gone_on)
    for one in gone_on:
        _set_off(one, send=send)
    return count


def unfinished_run(version: JudgeVersion, *, tagging: bool = False) -> JudgeRun | None:
    """Return the version's newest run that has questions open or is paused, if there is one.

    With `tagging`, of those that tag prompts; otherwise of all others.
    """
    goes_on = Q(verdicts__state__in=OPEN) | Q(state=RunState.PAUSED)
    of_kind = Q(purpose=RunPurpose.TAG) if tagging else ~Q(purpose=RunPurpose.TAG)
    return version.runs.exclude(state=RunState.DONE).filter(goes_on, of_kind).order_by("-created_at").first()


def finish_if_done(run: JudgeRun, *, send: bool = True) -> bool:
    """Mark a run done when nothing of it is open; say whether it is.

    The run's row is locked while its verdicts are counted, as it is by whoever puts some back, so that a run is never
    done that has work. Its end is published with it. A run in vain says so in its reason; one that was paused because
    its judge failed stays paused with that reason, since resuming asks those questions again. A jury goes on when a
    member's run ends: `send` says whether by messages.
    """
    if run.verdicts.filter(state__in=OPEN).exists():
        return False
    with transaction.atomic():
        locked = JudgeRun.objects.select_for_update(no_key=True).filter(pk=run.pk).first()
        if locked is None:
            return True
        children = JudgeRun.objects.filter(parent=locked).exclude(state=RunState.DONE)
        if locked.verdicts.filter(state__in=OPEN).exists() or children.exists():
            return False
        at_fault = locked.verdicts.filter(state=VerdictState.FAILED, meta__at_fault="judge")
        if locked.state == RunState.PAUSED and at_fault.exists():
            return False
        ended = locked.state != RunState.DONE
        if ended:
            locked.state, locked.finished_at, locked.reason = RunState.DONE, timezone.now(), _in_vain(locked)
            locked.save(update_fields=["state", "finished_at", "reason"])
            publish(FINISHED, {"run_id": str(locked.pk)})
    run.refresh_from_db(fields=["state", "reason", "finished_at"])
    if ended and locked.parent_id:
        parent = JudgeRun.objects.select_related("version__judge").get(pk=locked.parent_id)
        _advance(parent, send=send)
    return True


def report_on(run: JudgeRun) -> RunReport:
    """Count a run's verdicts by state, from the rows."""
    run.refresh_from_db()
    states = dict(run.verdicts.values_list("state").annotate(n=Count("id")).order_by())
    return RunReport(
        done=states.get(VerdictState.DONE, 0),
        failed=states.get(VerdictState.FAILED, 0),
        pending=sum(states.get(state, 0) for state in OPEN),
        spent_usd=run.spent_usd,
        state=run.state,
        reason=run.reason,
    )


def progress_of(run: JudgeRun) -> RunProgress:
    """Return where a run is, how fast it goes and what it will cost. Four queries whatever its size."""
    run = JudgeRun.objects.select_related("parent").get(pk=run.pk)
    now = timezone.now()
    verdicts = Verdict.objects.filter(Q(run=run) | Q(run__parent=run))
    done = Q(state=VerdictState.DONE)
    counts = verdicts.aggregate(
        done=Count("id", filter=done),
        failed=Count("id", filter=Q(state=VerdictState.FAILED)),
        open=Count("id", filter=Q(state__in=OPEN)),
        kept=Count("id", filter=done & Q(from_cache=True)),
        lately=Count("id", filter=Q(finished_at__gt=now - timedelta(seconds=RATE_SECONDS)) & ~Q(state__in=OPEN)),
        mean_cost=Avg("cost_usd", filter=done & Q(from_cache=False)),
    )
    errors = verdicts.filter(state=VerdictState.FAILED).values_list("error").annotate(n=Count("id"))
    calls = verdicts.filter(done, seconds__isnull=False).order_by("-finished_at")
    seconds = sorted(filter(None, calls.values_list("seconds", flat=True)[:TIMED_ANSWERS]))
    ended = run.finished_at or now
    measured = min(RATE_SECONDS, max(1.0, (now - run.created_at).total_seconds()))
    rate = counts["lately"] / measured if ended == now else 0.0
    mean_cost = counts["mean_cost"]
    predicted = None
    if mean_cost is not None:
        predicted = (run.spent_usd + Decimal(mean_cost) * counts["open"]).quantize(Decimal("0.000001"))
    return RunProgress(
        done=counts["done"],
        failed=counts["failed"],
        open=counts["open"],
        from_cache=counts["kept"],
        state=run.state,
        reason=run.reason,
        spent_usd=run.spent_usd,
        budget_usd=run.budget_usd,
        predicted_usd=predicted,
        rate_per_second=rate,
        seconds_left=counts["open"] / rate if rate else None,
        p50_seconds=_quantile(seconds, 0.50),
        p95_seconds=_quantile(seconds, 0.95),
        errors=list(errors.order_by("-n", "error")[:REASONS]),
    )


def _set_off(run: JudgeRun, *, send: bool) -> None:
    """Have a run's questions answered by whoever does that for its kind; done at once where it has none."""
    if finish_if_done(run, send=send) or run.state != RunState.RUNNING:
        return
    if run.version.judge.kind in COMBINED:
        _advance(run, send=send)
    elif send and run.version.judge.kind == JudgeKind.BATCH:
        transaction.on_commit(lambda: wake([SUBMIT_TASK], {"run_id": str(run.pk)}))
    elif send:
        transaction.on_commit(lambda: send_waiting(run, now=timezone.now()))


def _advance(run: JudgeRun, *, send: bool) -> None:
    # A combined judge's module starts runs, so it imports this one.
    from judges.combining import advance

    advance(run, send=send)


def _work_off_combined(run: JudgeRun, progress: Callable[[int, int], None] | None) -> RunReport:
    """Answer a jury's or cascade's questions: its members' first, as far as they go."""
    seen: object = None
    while True:
        _advance(run, send=False)
        for child in run.children.filter(state=RunState.RUNNING).select_related("version__judge", "parent"):
            work_off(child)
        report = report_on(run)
        members = Verdict.objects.filter(run__parent=run).aggregate(
            all=Count("id"), open=Count("id", filter=Q(state__in=OPEN))
        )
        if progress:
            progress(report.done + report.failed, report.done + report.failed + report.pending)
        if report.state != RunState.RUNNING or (report.pending, members) == seen:
            break
        seen = report.pending, members
    finish_if_done(run, send=False)
    return report_on(run)


def _held(run: JudgeRun) -> tuple[Project, JudgeRun]:
    """Lock and return a run and its project. Caller holds a transaction."""
    project = Project.objects.select_for_update(no_key=True).get(pk=run.project_id)
    locked = JudgeRun.objects.select_for_update(no_key=True, of=("self",)).select_related("version__judge")
    return project, locked.get(pk=run.pk)


def _held_children(run: JudgeRun) -> QuerySet[JudgeRun]:
    """Lock and return the runs of a jury's members. Caller holds a transaction and the parent's row."""
    locked = JudgeRun.objects.select_for_update(no_key=True, of=("self",)).select_related("version__judge")
    return locked.filter(parent=run).order_by("id")


def _go_on(run: JudgeRun, failed: QuerySet[Verdict]) -> int:
    """Put failed questions back and have the run go on; return how many. Caller holds the run's row."""
    count = _put_back(failed)
    run.state, run.reason, run.finished_at = RunState.RUNNING, "", None
    run.save(update_fields=["state", "reason", "finished_at", "budget_usd"])
    return count


def _in_vain(run: JudgeRun) -> str:
    """Return a reason for a run whose every question failed, '' for any other."""
    failed = run.verdicts.filter(state=VerdictState.FAILED)
    if run.verdicts.exclude(state=VerdictState.FAILED).exists() or not failed.exists():
        return ""
    error, count = failed.values_list("error").annotate(n=Count("id")).order_by("-n", "error")[0]
    return f"All {failed.count()} questions failed, {count} of them so: {error} Mend the cause, then ask them again."


def unasked_pairs(version: JudgeVersion, pairs: Iterable[Pair] | None = None) -> QuerySet[Pair]:
    """Return the pairs of a version's project, or of the given ones, that it was not asked about and may be."""
    # A pair that stood for its prompt when tags were asked is not asked about its label by that.
    asked = Verdict.objects.of_labels().filter(version=version)
    wanted = Pair.objects.filter(project=version.judge.project_id).exclude(pk__in=asked.values("pair"))
    if pairs is not None:
        wanted = wanted.filter(pk__in=_ids_of(pairs))
    if shown := example_pairs(version):
        wanted = wanted.exclude(pk__in=shown)
    # Pairs of one prompt next to each other: servers reuse the prefix they share.
    return wanted.order_by("prompt_id", "id")


def _require_room(version: JudgeVersion, pairs: Iterable[Pair] | None, limit: int | None) -> None:
    """Raise `JudgeError` before a run where its model cannot judge, or where a pair does not fit into its context."""
    from judges.preparing import require_room

    wanted = unasked_pairs(version, pairs)
    if limit is not None:
        wanted = Pair.objects.filter(pk__in=wanted.values("pk")[:limit])
    require_room(version, wanted)


def _ids_of(pairs: Iterable[Pair]) -> Any:
    """Return what a lookup takes: a query as a query, since a list of many ids does not fit a statement of SQLite."""
    return pairs.values("pk") if isinstance(pairs, QuerySet) else [pair.pk for pair in pairs]


def _make_rows(run: JudgeRun, pairs: QuerySet[Pair], limit: int | None) -> None:
    orders = _ORDERS.get(run.purpose) or orders_of(run.version)
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


def _speak_for(waiting: QuerySet[Verdict], *, until: datetime | None) -> None:
    """Write until when a message speaks for waiting rows. They are locked in pair order, as everybody locks them."""
    with transaction.atomic():
        locked = waiting.select_for_update(no_key=True).order_by("pair_id", "order")
        if list(locked.values_list("pk", flat=True)):
            waiting.update(lease_until=until)


def _put_back(failed: QuerySet[Verdict]) -> int:
    """Have failed questions wait again, as if they had never been asked but for what that cost; return how many."""
    locked = failed.select_for_update(no_key=True).order_by("pair_id", "order")
    rows = list(locked.values_list("pk", "version_id", "pair_id", "order", "meta", "cost_usd"))
    for batch in _batched(rows, CREATE_BATCH):
        waiting = [
            Verdict(id=pk, version_id=version_id, pair_id=pair_id, order=order, meta=_only_lost(meta, cost))
            for pk, version_id, pair_id, order, meta, cost in batch
        ]
        # They exist and are locked, so the conflict is certain: one statement for many.
        Verdict.objects.bulk_create(waiting, update_conflicts=True, unique_fields=["id"], update_fields=WAITS_AGAIN)
    return len(rows)


def _only_lost(meta: Mapping[str, Any], cost: Decimal | None) -> dict[str, Any]:
    lost = Decimal(meta.get("lost_usd", "0")) + (cost or 0)
    return {"lost_usd": str(lost)} if lost else {}


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return the value that so large a share of the ordered values does not pass (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


Item = TypeVar("Item")


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
