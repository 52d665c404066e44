"""Files of requests: written, submitted, polled, read and joined to their verdicts by `custom_id`, the request's key.

A batch goes through steps that are each a row's change: its verdicts are claimed and their money reserved, its file is
written, uploaded, submitted, and its answers are stored. Whoever dies between two of them is followed by another that
begins at the step that is not recorded yet. The one step that must not be done twice, having the server begin, is
recorded before it is tried; a second try looks for the batch by its mark first.
"""

import contextlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from annotation.models import User
from judges.asking import endpoint_of
from judges.caching import find_keys, from_cache, request_key
from judges.capabilities import Capabilities, capabilities_of
from judges.claiming import Claim, claim, give_back, questions_of
from judges.clients import Endpoint, filing
from judges.clients import submit as on_network
from judges.clients.filing import BadLine, ServerBatch
from judges.defining import key_of
from judges.errors import CallFailed, JudgeError
from judges.models import Batch, BatchState, Judge, JudgeKind, JudgeRun, JudgeVersion, RunState, Verdict, VerdictState
from judges.options import read_options
from judges.parsing import storable
from judges.paying import hold, largest_cost
from judges.questions import Answer, Protocol, Question
from judges.reading import answer_of
from judges.running import RunReport, finish_if_done, report_on, resume, start_run, unfinished_run
from judges.storing import pause_run, store_answers
from judges.working import stopping

logger = logging.getLogger(__name__)

OPEN = (BatchState.WRITTEN, BatchState.SUBMITTED)
# Verdicts claimed, or answers stored, in one transaction.
PORTION = 250
# How long one step may keep others off a batch: the longest transfer, which begins as late as it may, and some.
STEP = timedelta(seconds=2.5 * filing.TRANSFER_SECONDS)
# A verdict in an open batch is nobody else's, however long it takes; this only says so to a person who looks.
LEASE_SECONDS = 30 * 24 * 3600.0
# No new step is begun after this long in one task, well below the broker's 30 minutes.
POLL_SECONDS = 600.0
# How long a call may take that somebody waits for.
STOP_SECONDS = 10.0
REASONS_SHOWN = 3
BAD_LINES_KEPT = 1000

Item = TypeVar("Item")


class Exported(NamedTuple):
    """What `export_file` wrote: `requests` lines for `questions` verdicts. `waiting`: too many, or unaffordable."""

    run: JudgeRun
    batch: Batch | None
    requests: int
    questions: int
    waiting: int


class BadAnswer(NamedTuple):
    """A line of a file of answers that answers nothing, and why."""

    line: int
    reason: str


class Imported(NamedTuple):
    """What `import_file` found: verdicts answered, failed, and put back to be asked again.

    `known`: requests with a line that were answered before. `open`: questions of exported files still without an
    answer. `bad`: the first lines that are of no use, `n_bad`: how many there are.
    """

    answered: int
    failed: int
    again: int
    known: int
    open: int
    bad: list[BadAnswer]
    n_bad: int


class _Lines(NamedTuple):
    """Where in files of answers the lines are: {custom_id: (file, offset)}; the bad ones; how many hold an answer."""

    found: dict[str, tuple[Path, int]]
    bad: list[BadAnswer]
    n_bad: int
    answers: int


class _Tally:
    """What became of the verdicts of a batch."""

    def __init__(self) -> None:
        self.answered = self.failed = self.again = 0
        self.reasons: dict[str, int] = {}

    def add(self, states: Mapping[uuid.UUID, str], answers: Sequence[Answer]) -> None:
        """Count some answers as they were stored."""
        for answer in answers:
            state = states.get(answer.verdict_id) if answer.verdict_id else None
            self.answered += state == VerdictState.DONE
            self.failed += state == VerdictState.FAILED
            self.again += state == VerdictState.PENDING
            if answer.error:
                self.reasons[answer.error] = self.reasons.get(answer.error, 0) + 1

    def in_words(self) -> str:
        """Return why questions have no answer: the most frequent reasons."""
        most = sorted(self.reasons.items(), key=lambda item: (-item[1], item[0]))[:REASONS_SHOWN]
        return " ".join(f"{count} without an answer: {reason}" for reason, count in most)


# --- At a server ----------------------------------------------------------------------------------------------------


def submit(run: JudgeRun, *, until: float | None = None) -> int:
    """Send a run's waiting questions to its server in files; return the number of batches submitted.

    First what an earlier process wrote and did not get there. Answers that are known already are taken from the cache.
    Nothing new is begun after `until` (monotonic seconds), or while the run is not running. Slow: never call it while
    somebody waits for a page.
    """
    submitted = 0
    for batch in run.batches.filter(state=BatchState.WRITTEN, by_hand=False):
        if _may_go_on(run, until) and _take_hold(batch):
            submitted += _send(batch)
    while _may_go_on(run, until):
        gathered = _gather(run)
        if gathered is None:
            break
        submitted += _send(gathered)
    return submitted


def poll(*, now: datetime) -> int:
    """Ask about every open batch, store the answers of those that ended, and submit what waits; return how many ended.

    Safe to run several at once: a batch is held by one of them.
    """
    until = time.monotonic() + POLL_SECONDS
    ended = 0
    for batch in Batch.objects.filter(state=BatchState.SUBMITTED, by_hand=False).filter(_free(now)):
        if time.monotonic() < until and _take_hold(batch):
            ended += _look_after(batch)
    waiting = JudgeRun.objects.filter(state=RunState.RUNNING, version__judge__kind=JudgeKind.BATCH)
    for run in waiting.select_related("version__judge"):
        submit(run, until=until)
        finish_if_done(run)
    return ended


def cancel_batches(run: JudgeRun, reason: str = "Its batches were cancelled. Resume the run to ask the rest.") -> int:
    """Pause a run and have its server stop; return the number of batches concerned.

    What the server has finished by then is paid, and is stored when the server says that it has stopped; the rest goes
    back. A batch that never reached the server, or that the server does not know, goes back at once.
    """
    pause_run(run.pk, reason)
    count = 0
    for batch in run.batches.filter(state__in=OPEN, by_hand=False):
        if not _take_hold(batch):
            # Somebody stores its answers or submits it at this moment; that one is asked to stop at the next call.
            continue
        count += 1
        try:
            _stop(batch)
        except JudgeError as error:
            _could_not(batch, error)
    finish_if_done(run)
    return count


def work_off(run: JudgeRun, *, progress: Callable[[int, int], None] | None = None) -> RunReport:
    """Submit and poll in this process until nothing of a run is open, or it is paused and nothing is at the server."""
    total = run.verdicts.count()
    while True:
        for batch in run.batches.filter(state=BatchState.SUBMITTED, by_hand=False).filter(_free(timezone.now())):
            if _take_hold(batch):
                _look_after(batch)
        submit(run)
        report = report_on(run)
        if progress:
            progress(report.done + report.failed, total)
        at_server = run.batches.filter(state=BatchState.SUBMITTED, by_hand=False).exists()
        if finish_if_done(run) or not (at_server or run.state == RunState.RUNNING):
            return report_on(run)
        if stopping.wait(settings.JUDGE_BATCH_POLL_SECONDS):
            return report_on(run)


# --- By hand --------------------------------------------------------------------------------------------------------


def export_file(
    version: JudgeVersion,
    path: Path,
    *,
    limit: int | None = None,
    budget_usd: Decimal | None = None,
    fresh: bool = False,
    again: bool = False,
    started_by: User | None = None,
) -> Exported:
    """Write the questions of a new run to a file for `vllm run-batch` or the like, and claim them.

    At most `limit` pairs. With `again`, the questions of files that were exported before and not answered come first.
    The run is paused, so that no worker asks what is in the file or did not fit into it. Raises `JudgeError`.
    """
    if version.judge.kind not in {JudgeKind.OPENAI, JudgeKind.BATCH} or version.protocol == Protocol.DECISIONS:
        raise JudgeError(f"{version} is no judge whose questions are chat completions, so they cannot be exported.")
    if path.exists():
        raise JudgeError(f"There is a file {path} already. Choose another name, or remove it.")
    if not path.parent.is_dir():
        raise JudgeError(f"There is no folder {path.parent} to write the file to.")
    run = _run_by_hand(version, limit=limit, budget_usd=budget_usd, fresh=fresh, again=again, started_by=started_by)
    batch = _gather(run, by_hand=True, limit=limit)
    if batch is not None:
        _write(batch, path)
        _let_go(batch)
        # No trouble, so without the warning of `pause_run`: nobody else shall ask these.
        JudgeRun.objects.filter(pk=run.pk, state=RunState.RUNNING).update(
            state=RunState.PAUSED, reason=f"Its questions are in the file {path}. Import the answers with import_batch."
        )
    finish_if_done(run)
    run.refresh_from_db()
    waiting = run.verdicts.filter(state=VerdictState.PENDING)
    waiting.update(lease_until=None)
    questions = 0 if batch is None else batch.verdicts.count()
    return Exported(run, batch, 0 if batch is None else batch.n_requests, questions, waiting.count())


def import_file(judge: Judge, path: Path, *, finish: bool = False) -> Imported:
    """Store the answers of a file to the questions that were exported; reading it again changes nothing.

    Lines are joined by `custom_id` to the questions of any file exported for this judge. A bad line is reported and
    does not keep the others from being stored. With `finish`, questions that no line answers go back. Raises
    `JudgeError` for a file that cannot be read at all.
    """
    if not path.is_file():
        raise JudgeError(f"There is no file {path}.")
    exported = Verdict.objects.filter(version__judge=judge, batch__by_hand=True).exclude(request_key="")
    wanted: set[str] = set()
    for version in judge.versions.all():
        keys = set(exported.filter(version=version).values_list("request_key", flat=True))
        wanted |= {custom_id for key in keys for custom_id in _custom_ids(key, _samples(version))}
    if not wanted:
        raise JudgeError(f"Nothing was exported for {judge}. Write a file of requests first, with export_batch.")
    lines = _index([path], wanted)
    answered_before = set(exported.exclude(state=VerdictState.CLAIMED).values_list("request_key", flat=True))
    known = len({_key_of(custom_id) for custom_id in lines.found} & answered_before)
    tally = _Tally()
    missing = Answer(None, error="The file of answers held none to this.", retry=True) if finish else None
    batches = Batch.objects.filter(run__version__judge=judge, by_hand=True, state__in=OPEN)
    for batch in batches.select_related("run__version__judge"):
        if not _take_hold(batch):
            raise JudgeError(f"Somebody imports the answers to {batch.path} at this moment. Wait until it is done.")
        _store_all(batch, lines, tally, missing=missing)
        _end_by_hand(batch, tally)
        finish_if_done(batch.run)
    still_open = exported.filter(state=VerdictState.CLAIMED).count()
    return Imported(tally.answered, tally.failed, tally.again, known, still_open, lines.bad, lines.n_bad)


def _run_by_hand(
    version: JudgeVersion,
    *,
    limit: int | None,
    budget_usd: Decimal | None,
    fresh: bool,
    again: bool,
    started_by: User | None,
) -> JudgeRun:
    """Return the run whose waiting questions are exported: the unfinished one, or a new one. No worker is told."""
    with transaction.atomic():
        open_run = unfinished_run(version)
        if open_run is None:
            run = start_run(version, limit=limit, budget_usd=budget_usd, started_by=started_by, send=False, fresh=fresh)
        else:
            run = resume(open_run, budget_usd=budget_usd, send=False)
        # A waiting row that a message speaks for is not sent again: the sweeper leaves these to us meanwhile.
        run.verdicts.filter(state=VerdictState.PENDING).update(lease_until=timezone.now() + STEP)
    if again:
        for batch in run.batches.filter(by_hand=True, state__in=OPEN):
            if _take_hold(batch):
                _give_up(batch, "Its questions were exported again.")
    return run


def _give_up(batch: Batch, words: str) -> None:
    """End a held batch whose questions nobody was asked; they go back as if they had not been claimed.

    Answers to an exported file may be imported all the same: they are joined by the requests' keys.
    """
    rows = batch.verdicts.filter(state=VerdictState.CLAIMED).order_by("pair_id", "order")
    with transaction.atomic():
        # At once: a batch that is not ended is submitted by whoever finds it, and its questions are another's by then.
        hold(batch.run.payer_id)
        for portion in _portions(list(rows.values_list("pk", "pair_id", "attempts", "reserved_usd"))):
            give_back(batch.run, [Claim(*row) for row in portion])
        _end(batch, BatchState.CANCELLED, words)


def _end_by_hand(batch: Batch, tally: _Tally) -> None:
    batch.n_done = batch.verdicts.filter(state=VerdictState.DONE).values("request_key").distinct().count()
    batch.polled_at = timezone.now()
    batch.save(update_fields=["n_done", "polled_at"])
    if not batch.verdicts.filter(state=VerdictState.CLAIMED).exists():
        _end(batch, BatchState.FETCHED, tally.in_words())
    else:
        _let_go(batch)


# --- Claiming and writing -------------------------------------------------------------------------------------------


class _Gathered:
    """What a batch holds so far: the keys of its requests, its lines and its bytes; and what the cache knew."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.lines = self.size = self.known = 0
        self.full = self.short_of_money = self.stopped = False

    def has_room(self, lines: int, size: int) -> bool:
        """Say whether so many lines and bytes more fit into a file; note it where they do not."""
        fits = self.lines + lines <= settings.JUDGE_BATCH_REQUESTS and self.size + size <= settings.JUDGE_BATCH_BYTES
        self.full = self.full or not fits
        return fits


def _gather(run: JudgeRun, *, by_hand: bool = False, limit: int | None = None) -> Batch | None:
    """Claim as many waiting questions as one file and the money allow; return their batch, held, or None.

    Known answers are stored at once. One process at a time gathers for a run.
    """
    now = timezone.now()
    with transaction.atomic():
        hold(run.payer_id)
        if run.batches.filter(state=BatchState.WRITTEN, by_hand=by_hand, lease_until__gt=now).exists():
            return None
        ids = _waiting_ids(run, limit)
        if not ids:
            return None
        batch = Batch.objects.create(run=run, by_hand=by_hand, lease_until=now + STEP)
    gathered = _Gathered()
    for portion in _portions(ids):
        _claim_portion(batch, portion, gathered)
        _keep_hold(batch)
        if gathered.full or gathered.short_of_money or gathered.stopped:
            break
    if not gathered.keys:
        batch.delete()
        if gathered.short_of_money:
            _pause_for_money(run)
        elif gathered.known and not gathered.stopped:
            # All that was looked at is answered from the cache: look further.
            return _gather(run, by_hand=by_hand, limit=limit)
        return None
    return batch


def _waiting_ids(run: JudgeRun, limit: int | None) -> list[uuid.UUID]:
    """Return the waiting verdicts that one file may hold, of at most `limit` pairs, in the order of prompts."""
    waiting = _in_order(run.verdicts.filter(state=VerdictState.PENDING)).values_list("pk", "pair_id")
    by_pair = groupby(waiting[: settings.JUDGE_BATCH_REQUESTS], key=itemgetter(1))
    return [pk for _, rows in islice(by_pair, limit) for pk, _ in rows]


def _claim_portion(batch: Batch, ids: Sequence[uuid.UUID], gathered: _Gathered) -> None:
    run, version = batch.run, batch.run.version
    asked = {one.verdict_id: one for one in questions_of(version, ids) if one.verdict_id}
    fresh_in = run.pk if run.fresh else None
    keys = {pk: request_key(version, question, fresh_in=fresh_in) for pk, question in asked.items()}
    known = find_keys(set(keys.values()))
    answers = [
        answer._replace(request_key=keys[pk])
        for pk, question in asked.items()
        if keys[pk] in known and (answer := from_cache(version, question, known[keys[pk]])) is not None
    ]
    if answers and not _store_known(run, answers):
        gathered.stopped = True
        return
    gathered.known += len(answers)
    under_way = _under_way(version, set(keys.values())) - gathered.keys
    wanted: list[tuple[uuid.UUID, Decimal]] = []
    first_of: dict[str, uuid.UUID] = {}
    sizes: dict[str, tuple[int, int]] = {}
    can, samples = _capabilities(version), _samples(version)
    stored = {answer.verdict_id for answer in answers}
    lines, size = 0, 0
    for pk, question in asked.items():
        key = keys[pk]
        if pk in stored or key in under_way:
            # What is in another open file waits for that file's answer.
            continue
        if key in gathered.keys or key in first_of:
            # One line answers them all, and the first of them pays.
            wanted.append((pk, Decimal(0)))
            continue
        body = can.request(version, question)
        mine = samples, sum(len(line) for line in _request_lines(key, body, samples))
        # One that is too long alone goes alone: the server says so in its words, and the rest is not held up.
        if (gathered.keys or first_of) and not gathered.has_room(lines + mine[0], size + mine[1]):
            break
        sizes[key], first_of[key] = mine, pk
        lines, size = lines + mine[0], size + mine[1]
        wanted.append((pk, largest_cost(version, question) or Decimal(0)))
    if not wanted:
        return
    with transaction.atomic():
        claims = claim(run, wanted, lease_seconds=LEASE_SECONDS, columns={"batch": batch})
        held = {one.verdict_id for one in claims.held}
        Verdict.objects.bulk_update([Verdict(pk=pk, request_key=keys[pk]) for pk in held], ["request_key"])
        taken = {key for key, pk in first_of.items() if pk in held}
        without = [one for one in claims.held if keys[one.verdict_id] not in taken | gathered.keys]
        if without:
            # The one that would pay was taken by somebody else.
            give_back(run, without)
    for key in taken:
        gathered.keys.add(key)
        gathered.lines += sizes[key][0]
        gathered.size += sizes[key][1]
    gathered.stopped = not claims.running
    gathered.short_of_money = claims.running and claims.affordable < len(wanted)


def _store_known(run: JudgeRun, answers: Sequence[Answer]) -> bool:
    """Store answers from the cache; False where the run was paused meanwhile."""
    by_verdict = {answer.verdict_id: answer for answer in answers}
    claims = claim(run, [(answer.verdict_id, Decimal(0)) for answer in answers if answer.verdict_id])
    store_answers(run, run.version, claims.held, [by_verdict[one.verdict_id] for one in claims.held])
    return claims.running


def _under_way(version: JudgeVersion, keys: set[str]) -> set[str]:
    """Return those of the keys that are in an open file of this version."""
    in_files = Verdict.objects.filter(version=version, state=VerdictState.CLAIMED, batch__state__in=OPEN)
    return set(in_files.filter(request_key__in=keys).values_list("request_key", flat=True))


def _write(batch: Batch, path: Path) -> None:
    """Write a batch's file from its rows, whole or not at all: one line a sample of each request."""
    version = batch.run.version
    can, samples = _capabilities(version), _samples(version)
    rows = _in_order(batch.verdicts.filter(state=VerdictState.CLAIMED)).values_list("pk", "request_key")
    first_of: dict[str, uuid.UUID] = {}
    for pk, key in rows:
        first_of.setdefault(key, pk)
    keys: dict[uuid.UUID | None, str] = {pk: key for key, pk in first_of.items()}
    lines = 0
    part = path.with_name(f"{path.name}.part")
    try:
        with filing.private(part) as file:
            for portion in _portions(list(first_of.values())):
                for question in questions_of(version, portion, state=VerdictState.CLAIMED):
                    for line in _request_lines(keys[question.verdict_id], can.request(version, question), samples):
                        file.write(line)
                        lines += 1
                _keep_hold(batch)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    batch.path, batch.n_requests = str(path), lines
    batch.save(update_fields=["path", "n_requests"])


# --- Talking to the server ------------------------------------------------------------------------------------------


def _send(batch: Batch) -> bool:
    """Bring a held batch to its server, from whatever step it is at, and let go of it; say whether it is there."""
    try:
        endpoint = endpoint_of(batch.run.version)
        if not batch.server_file_id:
            if not batch.path or not Path(batch.path).exists():
                settings.BATCH_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
                _write(batch, settings.BATCH_DIR / f"{batch.pk}.jsonl")
            if not batch.n_requests:
                # Its process died before it claimed anything.
                Path(batch.path).unlink(missing_ok=True)
                batch.delete()
                return False
            uploaded = filing.upload(endpoint, Path(batch.path), f"tiebreak-{batch.pk}.jsonl")
            batch.server_file_id = on_network(uploaded).result()
            batch.save(update_fields=["server_file_id"])
            _keep_hold(batch)
        server = _begin(batch, endpoint)
    except JudgeError as error:
        _could_not(batch, error)
        return False
    if server is None:
        return False
    batch.server_batch_id, batch.state, batch.error = server.id, BatchState.SUBMITTED, ""
    batch.save(update_fields=["server_batch_id", "state", "error"])
    _note(batch, server)
    _let_go(batch)
    return True


def _begin(batch: Batch, endpoint: Endpoint) -> ServerBatch | None:
    """Have the server begin, unless an earlier try did: that is what must not happen twice.

    None where the hold ran out meanwhile and somebody else took the batch.
    """
    mark = str(batch.pk)
    if batch.submitted_at is not None:
        found = on_network(filing.find(endpoint, mark, batch.server_file_id)).result()
        if found is not None:
            return found
    batch.submitted_at = timezone.now()
    if not _mine(batch).update(submitted_at=batch.submitted_at):
        logger.warning("batch %s: another process took it over", batch.pk)
        return None
    try:
        return on_network(filing.create(endpoint, batch.server_file_id, mark)).result()
    except CallFailed as failure:
        if failure.status in {400, 404}:
            # Perhaps the file is gone there: it is uploaded again before the next try.
            batch.server_file_id = ""
            batch.save(update_fields=["server_file_id"])
        raise


def _look_after(batch: Batch) -> bool:
    """Ask about a held batch at its server; store its answers where it ended. Lets go of it; says whether it ended."""
    files: list[Path] = []
    try:
        endpoint = endpoint_of(batch.run.version)
        server = on_network(filing.retrieve(endpoint, batch.server_batch_id)).result()
        _note(batch, server)
        if server.ended:
            files = _downloaded(batch, server, endpoint)
    except JudgeError as error:
        if isinstance(error, CallFailed) and error.status == 404:
            error = JudgeError(
                "The server does not know this batch any more. Cancel the run's batches to ask its questions again."
            )
        _could_not(batch, error)
        return False
    if not server.ended:
        _let_go(batch)
        return False
    _fetch(batch, server, files)
    return True


def _downloaded(batch: Batch, server: ServerBatch, endpoint: Endpoint) -> list[Path]:
    """Return the files of answers and of errors, fetched into our folder. Raises `CallFailed`."""
    settings.BATCH_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    limit = filing.LINE_LIMIT_BYTES + batch.n_requests * filing.BYTES_A_REQUEST
    paths = []
    for file_id, name in ((server.output_file_id, "answers"), (server.error_file_id, "errors")):
        if not file_id:
            continue
        path = settings.BATCH_DIR / f"{batch.pk}.{name}.jsonl"
        on_network(filing.download(endpoint, file_id, path, limit_bytes=limit)).result()
        _keep_hold(batch)
        paths.append(path)
    return paths


def _fetch(batch: Batch, server: ServerBatch, files: Sequence[Path]) -> None:
    """Store what the files of an ended batch hold; put the rest back. Doing it again changes nothing."""
    keys = set(batch.verdicts.exclude(request_key="").values_list("request_key", flat=True))
    samples = _samples(batch.run.version)
    lines = _index(files, {custom_id for key in keys for custom_id in _custom_ids(key, samples)})
    tally = _Tally()
    if server.state == "failed":
        _take_refusal(batch, server, tally)
        state, words = BatchState.FAILED, _problems_in_words(server)
    else:
        reason = {
            "expired": "The batch expired before this was answered.",
            "cancelled": "The batch was cancelled before this was answered.",
        }.get(server.state, "The server's files hold no answer to this.")
        # A server that answered more than can be read has charged for what is missing.
        unread = server.completed > lines.answers
        missing = Answer(None, error=reason, retry=True, maybe_billed=unread)
        _store_all(batch, lines, tally, missing=missing)
        state = BatchState.CANCELLED if server.state == "cancelled" else BatchState.FETCHED
        words = tally.in_words()
        if server.state == "cancelled":
            pause_run(batch.run_id, "A batch was cancelled at the server. Resume the run to ask the rest again.")
    if lines.bad:
        first = lines.bad[0]
        words = f"{words} {lines.n_bad} lines of its answers were of no use; line {first.line} {first.reason}.".strip()
    for path in files:
        path.unlink(missing_ok=True)
    _end(batch, state, words)
    finish_if_done(batch.run)


def _take_refusal(batch: Batch, server: ServerBatch, tally: _Tally) -> None:
    """Take a file that the server refused before it asked anything: the lines it names failed, the rest goes back."""
    wrong = {problem.line: problem.message for problem in server.problems if problem.line}
    refused: dict[str, str] = {}
    if wrong and Path(batch.path).exists():
        for line in filing.lines_of(Path(batch.path)):
            if line.number in wrong and line.content is not None:
                refused[_key_of(filing.request_id_of(line.content))] = wrong[line.number]
    words = _problems_in_words(server)
    for portion in _portions(_open_rows(batch)):
        claims = [row.claim for row in portion]
        answers = [
            Answer(row.claim.verdict_id, error=f"The server refused this request: {refused[row.key]}")
            if row.key in refused
            else Answer(row.claim.verdict_id, error=words, retry=True)
            for row in portion
        ]
        tally.add(store_answers(batch.run, batch.run.version, claims, answers), answers)
        _keep_hold(batch)
    if not refused:
        pause_run(batch.run_id, f"{words} Then resume the run.")


def _problems_in_words(server: ServerBatch) -> str:
    said = " ".join(dict.fromkeys(one.message for one in server.problems if one.message)) or "it gives no reason."
    return f"The server refused the file of requests: {said}"[:1000]


def _stop(batch: Batch) -> None:
    """Have a held batch stopped, and let go of it. Raises `JudgeError`."""
    if batch.state == BatchState.WRITTEN and batch.submitted_at is None:
        _give_up(batch, "The batch was cancelled before it was submitted.")
        return
    # Somebody may wait for a page: no long patience.
    endpoint = endpoint_of(batch.run.version)._replace(timeout=STOP_SECONDS, deadline=STOP_SECONDS)
    if batch.state == BatchState.WRITTEN:
        found = on_network(filing.find(endpoint, str(batch.pk), batch.server_file_id)).result()
        if found is None:
            _give_up(batch, "The batch was cancelled before it was submitted.")
            return
        batch.server_batch_id, batch.state = found.id, BatchState.SUBMITTED
        batch.save(update_fields=["server_batch_id", "state"])
    try:
        _note(batch, on_network(filing.cancel(endpoint, batch.server_batch_id)).result())
    except CallFailed as failure:
        if failure.status == 404:
            words = "The server does not know this batch any more."
            # Whether it was answered and charged nobody knows.
            unknown = Answer(None, error=words, retry=True, maybe_billed=True)
            _store_all(batch, _Lines({}, [], 0, 0), _Tally(), missing=unknown)
            _end(batch, BatchState.CANCELLED, words)
            return
        if failure.status not in {400, 409}:
            raise
        # It has ended already: the next look stores its answers.
    _let_go(batch)


def _could_not(batch: Batch, error: JudgeError) -> None:
    """Note a failed step and let go of the batch until it may be tried again; pause the run where trying is no use."""
    # What is no failed call: the judge cannot be asked at all, as when its host is not allowed any more.
    failure = error if isinstance(error, CallFailed) else CallFailed(str(error))
    batch.error = str(failure)
    batch.save(update_fields=["error"])
    _let_go(batch, timezone.now() + timedelta(seconds=failure.retry_after) if failure.retry_after else None)
    logger.warning("batch %s: %s", batch.pk, failure)
    if not failure.retryable:
        pause_run(batch.run_id, f"{failure} Then resume the run.")


def _note(batch: Batch, server: ServerBatch) -> None:
    batch.server_state, batch.polled_at, batch.error = server.state, timezone.now(), ""
    batch.n_done, batch.n_failed = server.completed, server.failed
    batch.save(update_fields=["server_state", "polled_at", "error", "n_done", "n_failed"])


def _end(batch: Batch, state: BatchState, words: str) -> None:
    if batch.path and not batch.by_hand:
        # Before its row says that it ended: nobody would look for the file afterwards.
        Path(batch.path).unlink(missing_ok=True)
    batch.state, batch.error, batch.lease_until, batch.finished_at = state, words, None, timezone.now()
    batch.save(update_fields=["state", "error", "lease_until", "finished_at"])


# --- Reading answers ------------------------------------------------------------------------------------------------


class _Row(NamedTuple):
    """A verdict of a batch that is still claimed. `pays`: of those that one request answers, it carries the cost."""

    claim: Claim
    key: str
    pays: bool


def _open_rows(batch: Batch) -> list[_Row]:
    """Return the claimed verdicts of a batch, in pair order."""
    rows = list(
        _in_order(batch.verdicts.exclude(request_key="")).values_list(
            "pk", "pair_id", "attempts", "reserved_usd", "request_key", "state"
        )
    )
    # Whose key was stored before, in a read that did not come to its end, was paid then.
    paid = {key for *_, key, state in rows if state != VerdictState.CLAIMED}
    payers: dict[str, uuid.UUID] = {}
    for pk, _, _, reserved, key, state in rows:
        if state == VerdictState.CLAIMED and (reserved or key not in paid):
            payers.setdefault(key, pk)
    return [
        _Row(Claim(pk, pair_id, attempts, reserved), key, payers.get(key) == pk)
        for pk, pair_id, attempts, reserved, key, state in rows
        if state == VerdictState.CLAIMED
    ]


def _index(paths: Iterable[Path], wanted: set[str]) -> _Lines:
    """Find the lines of files of answers: of several for one request the first that is an answer counts."""
    found: dict[str, tuple[Path, int]] = {}
    answered: set[str] = set()
    bad: list[BadAnswer] = []
    n_bad = 0
    for path in paths:
        for line in filing.lines_of(path):
            try:
                custom_id, is_answer = filing.heading_of(line)
                if custom_id not in wanted:
                    raise BadLine(f"answers no question that was asked: custom_id {custom_id[:80]!a}")
                if custom_id in found and (custom_id in answered or not is_answer):
                    raise BadLine(f"repeats the custom_id {custom_id[:80]}")
            except BadLine as error:
                n_bad += 1
                if len(bad) < BAD_LINES_KEPT:
                    bad.append(BadAnswer(line.number, str(error)))
                continue
            found[custom_id] = (path, line.offset)
            if is_answer:
                answered.add(custom_id)
    return _Lines(found, bad, n_bad, len(answered))


def _store_all(batch: Batch, lines: _Lines, tally: _Tally, *, missing: Answer | None) -> None:
    """Store the answers to a held batch's claimed verdicts; those without a line get `missing`, or are left."""
    run, version = batch.run, batch.run.version
    samples, can = _samples(version), _capabilities(version)
    key, tried = key_of(version.base_url), can.tried()
    rows = [
        row
        for row in _open_rows(batch)
        if missing is not None or any(one in lines.found for one in _custom_ids(row.key, samples))
    ]
    with contextlib.ExitStack() as stack:
        files = {path: stack.enter_context(path.open("rb")) for path in {path for path, _ in lines.found.values()}}
        for portion in _portions(rows):
            ids = [row.claim.verdict_id for row in portion]
            asked = {one.verdict_id: one for one in questions_of(version, ids, state=VerdictState.CLAIMED)}
            claims, answers = [], []
            for row in portion:
                question = asked.get(row.claim.verdict_id)
                if question is None:
                    # Its pair was deleted meanwhile, and the row with it.
                    continue
                results = [
                    filing.read_result(filing.line_at(files[path], offset), key)
                    for custom_id in _custom_ids(row.key, samples)
                    if custom_id in lines.found
                    for path, offset in [lines.found[custom_id]]
                ]
                claims.append(row.claim)
                answers.append(_answer(version, question, row, results, missing, can, tried))
            tally.add(store_answers(run, version, claims, answers), answers)
            _keep_hold(batch)


def _answer(
    version: JudgeVersion,
    question: Question,
    row: _Row,
    results: Sequence[filing.Result],
    missing: Answer | None,
    can: Capabilities,
    tried: tuple[object, ...],
) -> Answer:
    """Return what the lines of one request come to for one verdict."""
    replies = [result.reply for result in results if result.reply is not None]
    failures = [result.failure for result in results if result.failure is not None]
    if replies:
        answer = answer_of(version, question, replies)
        complete = len(replies) == _samples(version)
        answer = answer._replace(
            # When it was asked is the server's affair: there is no time of one call.
            seconds=None,
            meta={**can.in_words(), **answer.meta},
            request_key=row.key,
            replies=[reply.as_json() for reply in replies] if complete else (),
            maybe_billed=True,
        )
    elif failures:
        failure = failures[0]
        learned = can.learn_from(failure, tried)
        answer = Answer(
            question.verdict_id,
            error=storable(str(failure)),
            retry=failure.retryable or learned,
            maybe_billed=any(one.maybe_billed for one in failures),
        )
    else:
        answer = (missing or Answer(None))._replace(verdict_id=question.verdict_id)
    return answer if row.pays else _at_no_cost(answer)


def _at_no_cost(answer: Answer) -> Answer:
    """Return an answer that another verdict's request brought along."""
    return answer._replace(
        from_cache=not answer.error,
        cost_usd=Decimal(0),
        prompt_tokens=None,
        completion_tokens=None,
        cached_tokens=None,
        maybe_billed=False,
        replies=(),
    )


# --- Holding --------------------------------------------------------------------------------------------------------


def _free(now: datetime) -> Q:
    return Q(lease_until=None) | Q(lease_until__lt=now)


def _take_hold(batch: Batch) -> bool:
    """Keep others off a batch for one step, by one conditional update, and read it again."""
    now = timezone.now()
    free = Batch.objects.filter(pk=batch.pk, state__in=OPEN).filter(_free(now))
    if not free.update(lease_until=now + STEP):
        return False
    batch.refresh_from_db()
    return True


def _mine(batch: Batch) -> QuerySet[Batch]:
    """Return a query of the batch's row, by the lease as a token: none where somebody else took the batch over."""
    return Batch.objects.filter(pk=batch.pk, lease_until=batch.lease_until)


def _keep_hold(batch: Batch) -> None:
    until = timezone.now() + STEP
    if _mine(batch).update(lease_until=until):
        batch.lease_until = until


def _let_go(batch: Batch, until: datetime | None = None) -> None:
    if _mine(batch).update(lease_until=until):
        batch.lease_until = until


def _may_go_on(run: JudgeRun, until: float | None) -> bool:
    if stopping.is_set() or (until is not None and time.monotonic() > until):
        return False
    return JudgeRun.objects.filter(pk=run.pk, state=RunState.RUNNING).exists()


def _pause_for_money(run: JudgeRun) -> None:
    payer = JudgeRun.objects.get(pk=run.payer_id)
    if payer.reserved_usd or payer.budget_usd is None:
        # What is at the server may give money back.
        return
    waiting = run.verdicts.filter(state=VerdictState.PENDING).count()
    pause_run(
        run.pk,
        f"The budget of ${payer.budget_usd:.4f} is used up: ${payer.spent_usd:.4f} is spent, and the next question may "
        f"cost more than is left. {waiting} questions wait. Raise the budget and resume the run.",
    )


# --- Small things ---------------------------------------------------------------------------------------------------


def _capabilities(version: JudgeVersion) -> Capabilities:
    return capabilities_of(version, version.base_url)


def _samples(version: JudgeVersion) -> int:
    return read_options(version.options).samples


def _custom_ids(key: str, samples: int) -> list[str]:
    return [key] if samples == 1 else [f"{key}.{number}" for number in range(1, samples + 1)]


def _key_of(custom_id: str) -> str:
    return custom_id.partition(".")[0]


def _in_order(verdicts: QuerySet[Verdict]) -> QuerySet[Verdict]:
    """Both orders of a pair, and the pairs of a prompt, next to each other: servers reuse the prefix they share."""
    return verdicts.order_by("pair__prompt_id", "pair_id", "order")


def _request_lines(key: str, body: Mapping[str, Any], samples: int) -> Iterator[bytes]:
    """Yield a request's lines, one a sample. The same seed would give the same sample each time."""
    for number, custom_id in enumerate(_custom_ids(key, samples)):
        seed = {"seed": body["seed"] + number} if "seed" in body else {}
        yield filing.request_line(custom_id, {**body, **seed})


def _portions(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[start : start + PORTION] for start in range(0, len(items), PORTION))
