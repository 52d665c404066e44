"""How many calls a server gets at once and how many a minute: one rule for all workers, kept in the server's row.

A worker counts in memory what it meets and says so about once a second, in one short transaction, which also gives it
its share: what the controller allows, divided by the workers whose heartbeat is fresh. Nothing is written per call.

The controller follows what servers say, not how long they take: the allowance doubles with every round (as many clean
answers as calls are allowed) that used all of it; after the first HTTP 429 it grows by a twentieth instead. An episode
of 429s cuts it by a fifth, once. Server errors stop the growth for a while without a cut.

vLLM has no 429s: it takes everything and lets it wait. Where the probe found that it tells its load, more than a tenth
as many waiting as computed is an episode too: what waits there can be neither stopped nor given to another server.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from typing import NamedTuple

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import Count, Sum
from django.utils import timezone

from judges.clients import Endpoint, Load, load_of, submit
from judges.clients.network import network
from judges.defining import key_of
from judges.errors import CallFailed
from judges.models import ModelServer, ServedModel, ServerShare

logger = logging.getLogger(__name__)

SYNC_SECONDS = 1.0
# How long a server may take to tell its load.
LOAD_SECONDS = 5.0
# A worker that has not been heard of for so long has no share.
ALIVE_SECONDS = 10.0
FIRST_CONCURRENCY = 16
CUT, SLOW_GROWTH = 0.8, 1.05
# 429s so soon after a cut were asked for before it: the same episode.
EPISODE_SECONDS = 15.0
# A short queue keeps a server busy between two answers. After a cut it takes a while until the longer one is gone.
QUEUE_SHARE = 0.1
QUEUE_SECONDS = 5.0
PAUSE_SECONDS = 15.0
# A bucket holds a tenth of a minute's allowance and is refilled with the rest, so that no minute gets more than it.
BUCKET_SHARE = 0.1


class Standing(NamedTuple):
    """Where the controller of a server stands. Times are seconds since the epoch.

    `clean` and `saturated` are of this round: answers so far, and whether all that is allowed was under way once.
    `limited`: it has met a rate limit. `cut_until`: 429s until then belong to the episode that was cut for.
    `paused_until`: the server failed lately.
    """

    concurrency: int
    clean: int = 0
    saturated: bool = False
    limited: bool = False
    cut_until: float = 0.0
    paused_until: float = 0.0


class Seen(NamedTuple):
    """What one worker met since it last said so. `rest`: seconds from now that the server asked not to be asked.

    `load`: what the server says of itself, None where it says nothing.
    """

    answers: int = 0
    rate_limits: int = 0
    server_errors: int = 0
    saturated: bool = False
    rest: float = 0.0
    load: Load | None = None

    @property
    def queued(self) -> bool:
        """Whether more waits in the server than it needs to be busy."""
        return self.load is not None and self.load.waiting > max(1.0, QUEUE_SHARE * self.load.running)


def adjusted(standing: Standing, seen: Seen, *, now: float, largest: int) -> Standing:
    """Return where the controller stands after what a worker has seen. Pure."""
    concurrency = min(standing.concurrency, largest)
    if seen.rate_limits:
        if now >= standing.cut_until:
            concurrency = max(1, int(concurrency * CUT))
            standing = standing._replace(cut_until=now + max(EPISODE_SECONDS, seen.rest))
        return standing._replace(concurrency=concurrency, clean=0, saturated=False, limited=True)
    if seen.server_errors:
        return standing._replace(
            concurrency=concurrency, clean=0, saturated=False, paused_until=now + max(PAUSE_SECONDS, seen.rest)
        )
    if seen.queued:
        if now >= standing.cut_until:
            concurrency = max(1, int(concurrency * CUT))
            standing = standing._replace(cut_until=now + QUEUE_SECONDS)
        return standing._replace(concurrency=concurrency, clean=0, saturated=False, limited=True)
    clean, saturated = standing.clean + seen.answers, standing.saturated or seen.saturated
    if clean < concurrency:
        return standing._replace(concurrency=concurrency, clean=clean, saturated=saturated)
    if saturated and now >= max(standing.cut_until, standing.paused_until):
        grown = int(concurrency * SLOW_GROWTH) if standing.limited else concurrency * 2
        concurrency = min(largest, max(concurrency + 1, grown))
    return standing._replace(concurrency=concurrency, clean=0, saturated=False)


def refilled(left: float | None, *, a_minute: int, seconds: float) -> float:
    """Return what a bucket holds after so many seconds (None: it is new, so full). Pure."""
    capacity = max(1.0, a_minute * BUCKET_SHARE)
    if left is None:
        return capacity
    return min(capacity, left + a_minute * (1.0 - BUCKET_SHARE) * max(0.0, seconds) / 60.0)


class Gate:
    """One server as this process asks it: how many calls may begin now. All methods may be called by any thread."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.share = 1
        self._worker = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._works = 0
        self._under_way = 0
        self._seen = Seen()
        self._synced = float("-inf")
        # What may still begin until the next sync; None: no limit a minute.
        self._requests: float | None = None
        self._tokens: float | None = None
        # What the server says of its load: asked for at one sync, and heard of at the next; None where it says nothing.
        self._tells_load = False
        self._load: Future[Load] | None = None
        # A running mean of the tokens of an answer, to know before what a call takes from the bucket.
        self._answer_tokens: float | None = None

    @contextmanager
    def working(self) -> Iterator[None]:
        """Take part in this process's share. The last one to leave hands it back."""
        with self._lock:
            self._works += 1
        self._tells_load = tells_load(self.base_url)
        try:
            self.sync()
            yield
        finally:
            with self._lock:
                self._works -= 1
                last = not self._works
            if last:
                self.sync(leaving=True)

    def room(self, mine: int) -> int:
        """Return how many calls a part of this process with `mine` under way may begin now."""
        with self._lock:
            if network().not_before.get(self.base_url, 0.0) > time.monotonic():
                return 0
            fair = -(-self.share // max(1, self._works))
            room = min(self.share - self._under_way, fair - mine)
            if self._requests is not None:
                room = min(room, int(self._requests))
            if self._tokens is not None and self._tokens <= 0:
                room = 0
            return max(0, room)

    def expected_tokens(self, prompt_characters: int, most: int) -> int:
        """Return the tokens a call is expected to take, its prompt's and its answer's (at most `most`)."""
        answer = self._answer_tokens
        return prompt_characters // 4 + int(min(most, answer) if answer is not None else most)

    def begin(self, calls: int, tokens: int) -> None:
        """Count calls that begin and the tokens they are expected to take."""
        with self._lock:
            self._under_way += calls
            if self._under_way >= self.share:
                self._seen = self._seen._replace(saturated=True)
            if self._requests is not None:
                self._requests -= calls
            if self._tokens is not None:
                self._tokens -= tokens

    def end(
        self,
        calls: int,
        *,
        expected: int,
        prompt_tokens: int | None,
        completion_tokens: int | None,
        rate_limits: int,
        server_errors: int,
    ) -> None:
        """Count calls that ended: what they met, and what of the expected tokens they did not take."""
        with self._lock:
            seen = self._seen
            self._under_way -= calls
            self._seen = seen._replace(
                answers=seen.answers + calls,
                rate_limits=seen.rate_limits + rate_limits,
                server_errors=seen.server_errors + server_errors,
            )
            if self._requests is not None:
                # Each of these was one more request than was counted.
                self._requests -= rate_limits + server_errors
            if completion_tokens is not None:
                mean = self._answer_tokens
                self._answer_tokens = completion_tokens if mean is None else 0.9 * mean + 0.1 * completion_tokens
            if self._tokens is not None and prompt_tokens is not None and completion_tokens is not None:
                self._tokens += expected - prompt_tokens - completion_tokens

    def abandon(self, calls: int) -> None:
        """Count calls as ended that nobody waits for any more."""
        with self._lock:
            self._under_way -= calls

    def sync(self, *, leaving: bool = False) -> None:
        """Say what was seen and take this process's share, at most once a second; one short transaction.

        A database that does not answer changes nothing: the share stays as it was.
        """
        with self._lock:
            now = time.monotonic()
            if not leaving and now - self._synced < SYNC_SECONDS:
                return
            self._synced = float("-inf") if leaving else now
            seen, self._seen = self._seen, Seen()
            requests, tokens, under_way = self._requests or 0.0, self._tokens or 0.0, self._under_way
            # Given back: what begins meanwhile is owed to the next share.
            self._requests, self._tokens = (
                None if self._requests is None else 0.0,
                None if self._tokens is None else 0.0,
            )
        rest = network().not_before.get(self.base_url, 0.0) - now
        seen = seen._replace(rest=max(0.0, rest), load=self._heard(leaving=leaving))
        try:
            granted = self._agree(seen, requests, tokens, under_way, leaving)
        except DatabaseError:
            if connection.in_atomic_block:
                raise
            logger.warning("the limits of %s could not be shared", self.base_url, exc_info=True)
            return
        with self._lock:
            self.share = granted.share
            self._requests = None if granted.requests is None else granted.requests + (self._requests or 0.0)
            self._tokens = None if granted.tokens is None else granted.tokens + (self._tokens or 0.0)
        if granted.rest > 0:
            until = time.monotonic() + granted.rest
            network().not_before[self.base_url] = max(until, network().not_before.get(self.base_url, 0.0))

    def _heard(self, *, leaving: bool) -> Load | None:
        """Return what the server has said of its load since the last sync, and ask it again; nobody waits for it."""
        asked, heard = self._load, None
        if asked is not None and asked.done():
            self._load = None
            if (fault := asked.exception()) is None:
                heard = asked.result()
            elif not isinstance(fault, CallFailed):
                logger.error("reading the load of %s failed", self.base_url, exc_info=fault)
        if self._tells_load and not leaving and self._load is None:
            endpoint = Endpoint(self.base_url, key_of(self.base_url), LOAD_SECONDS, LOAD_SECONDS)
            self._load = submit(load_of(endpoint))
        return heard

    def _agree(self, seen: Seen, requests: float, tokens: float, under_way: int, leaving: bool) -> "_Granted":
        now = timezone.now()
        with transaction.atomic():
            server = _held_server(self.base_url)
            before = server.concurrency
            _control(server, seen, now)
            shares = ServerShare.objects.filter(server=server)
            shares.filter(seen_at__lt=now - timedelta(seconds=ALIVE_SECONDS)).delete()
            others = shares.exclude(worker=self._worker).aggregate(n=Count("id"), calls=Sum("in_flight"))
            fair = -(-server.concurrency // (others["n"] + 1))
            # What others hold is theirs until they have heard of the new share.
            share = max(1, min(fair, server.concurrency - (others["calls"] or 0)))
            granted = _draw(server, share, others["n"] + 1, requests, tokens, now, leaving)
            server.save()
            if leaving:
                shares.filter(worker=self._worker).delete()
            else:
                row = ServerShare(server=server, worker=self._worker, in_flight=max(share, under_way), seen_at=now)
                ServerShare.objects.bulk_create(
                    [row],
                    update_conflicts=True,
                    unique_fields=["server", "worker"],
                    update_fields=["in_flight", "seen_at"],
                )
        if server.concurrency != before:
            logger.info("%s: %d calls at once, was %d", self.base_url, server.concurrency, before)
        return granted


class _Granted(NamedTuple):
    share: int
    requests: float | None
    tokens: float | None
    rest: float


def tells_load(base_url: str) -> bool:
    """Say whether the last probe of any model at a server found that it tells its load. One query."""
    return ServedModel.objects.filter(base_url=base_url, found__metrics="vllm").exists()


def gate_of(base_url: str) -> Gate:
    """Return this process's gate to a server; a forked child has its own."""
    with _lock:
        return _gate(os.getpid(), base_url)


_lock = threading.Lock()


@cache
def _gate(pid: int, base_url: str) -> Gate:
    return Gate(base_url)


def _held_server(base_url: str) -> ModelServer:
    """Lock and return a server's row, made where there is none yet."""
    most = max(1, settings.JUDGE_MAX_CONCURRENCY)
    new = {"max_concurrency": most, "concurrency": min(FIRST_CONCURRENCY, most)}
    locked = ModelServer.objects.select_for_update(no_key=True)
    return locked.filter(base_url=base_url).first() or locked.get_or_create(base_url=base_url, defaults=new)[0]


def _control(server: ModelServer, seen: Seen, now: datetime) -> None:
    standing = Standing(
        **{**Standing(server.concurrency)._asdict(), **server.rounds, "concurrency": server.concurrency}
    )
    after = adjusted(standing, seen, now=now.timestamp(), largest=server.max_concurrency)
    if after.concurrency < standing.concurrency and seen.rate_limits:
        server.reason = (
            f"It asked for fewer requests (HTTP 429), so it gets {after.concurrency} calls at once "
            f"instead of {standing.concurrency}."
        )
    elif seen.server_errors and not seen.rate_limits:
        server.reason = "It failed (HTTP 5xx or a broken connection), so it gets no more calls at once for a while."
    elif after.concurrency < standing.concurrency and seen.load is not None:
        server.reason = (
            f"{seen.load.waiting} conversations wait in it while it computes {seen.load.running}, so it gets "
            f"{after.concurrency} calls at once instead of {standing.concurrency}."
        )
    elif after.concurrency > standing.concurrency:
        server.reason = ""
    server.concurrency = after.concurrency
    server.rounds = {name: value for name, value in after._asdict().items() if name != "concurrency"}
    if seen.rest:
        server.not_before = max(now + timedelta(seconds=seen.rest), server.not_before or now)


def _draw(
    server: ModelServer, share: int, workers: int, requests: float, tokens: float, now: datetime, leaving: bool
) -> _Granted:
    """Give back what a worker did not use of the buckets, and give it its part of what is there now."""
    seconds = (now - server.refilled_at).total_seconds() if server.refilled_at else 0.0
    rest = (server.not_before - now).total_seconds() if server.not_before else 0.0
    limits = {"requests": server.requests_per_minute, "tokens": server.tokens_per_minute}
    drawn: dict[str, float | None] = {"requests": None, "tokens": None}
    for name, unused in (("requests", requests), ("tokens", tokens)):
        a_minute = limits[name]
        if a_minute is None:
            setattr(server, f"{name}_left", None)
            continue
        left = getattr(server, f"{name}_left")
        left = refilled(None if left is None else left + unused, a_minute=a_minute, seconds=seconds)
        part = 0.0 if leaving or left <= 0 else left / workers
        if name == "requests" and not leaving:
            # Whole calls: a fraction for each worker would be a call for none.
            part = min(left // 1.0, max(1.0, part // 1.0)) if left >= 1.0 else 0.0
        setattr(server, f"{name}_left", left - part)
        drawn[name] = part
    server.refilled_at = now
    return _Granted(share, drawn["requests"], drawn["tokens"], rest)
