import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler

import pytest
from django.utils import timezone
from pytest_django import Settings

from judges.clients import Load, network
from judges.clients.metering import read_load
from judges.defining import add_judge
from judges.limiting import EPISODE_SECONDS, QUEUE_SECONDS, Gate, Seen, Standing, adjusted, refilled
from judges.models import ModelServer, RunState, ServedModel, ServerShare
from judges.running import start_run, work_off
from tests.builders import make_pair, make_project
from tests.judge_server import Call, JudgeServer, Served, failure, prefer_longer, vllm_metrics
from tests.judge_worker import start_worker

NOW = 1_000_000.0
ADDRESS = "http://127.0.0.1:9/v1"


# --- The controller -------------------------------------------------------------------------------------------------


def after(standing: Standing, *seen: Seen, now: float = NOW, largest: int = 100) -> Standing:
    for one in seen:
        standing = adjusted(standing, one, now=now, largest=largest)
    return standing


def test_clean_round_that_used_everything_doubles_what_is_allowed_up_to_the_largest() -> None:
    assert after(Standing(16), Seen(answers=16, saturated=True)).concurrency == 32
    assert after(Standing(80), Seen(answers=80, saturated=True)).concurrency == 100


def test_round_is_counted_over_several_workers_and_starts_again_when_it_is_over() -> None:
    half = after(Standing(16), Seen(answers=8, saturated=True))
    assert half == Standing(16, clean=8, saturated=True)
    assert after(half, Seen(answers=8)) == Standing(32)


def test_round_that_did_not_need_everything_changes_nothing() -> None:
    assert after(Standing(16), Seen(answers=40)) == Standing(16)


def test_episode_of_rate_limits_cuts_once_and_growth_is_slow_from_then_on() -> None:
    cut = after(Standing(50), Seen(answers=10, rate_limits=3), Seen(rate_limits=9))
    assert (cut.concurrency, cut.limited, cut.cut_until) == (40, True, NOW + EPISODE_SECONDS)
    full = Seen(answers=60, saturated=True)
    assert after(cut, full).concurrency == 40
    later = NOW + EPISODE_SECONDS
    assert after(cut, full, now=later).concurrency == 42
    assert after(cut, Seen(rate_limits=1), now=later).concurrency == 32


def test_queue_in_the_server_cuts_once_an_episode_and_growth_is_slow_from_then_on() -> None:
    queued = Seen(answers=10, load=Load(running=40, waiting=5))
    cut = after(Standing(50), queued, queued)
    assert (cut.concurrency, cut.limited, cut.cut_until) == (40, True, NOW + QUEUE_SECONDS)
    later = NOW + QUEUE_SECONDS
    assert after(cut, queued, now=later).concurrency == 32
    assert after(cut, Seen(answers=60, saturated=True, load=Load(40, 4)), now=later).concurrency == 42


def test_short_queue_and_idle_server_let_it_grow() -> None:
    for load in (Load(40, 4), Load(0, 1), Load(0, 0), None):
        assert after(Standing(16), Seen(answers=16, saturated=True, load=load)).concurrency == 32


def test_long_rest_asked_for_is_one_episode() -> None:
    cut = after(Standing(50), Seen(rate_limits=1, rest=40.0))
    assert after(cut, Seen(rate_limits=1), now=NOW + 39).concurrency == 40
    assert after(cut, Seen(rate_limits=1), now=NOW + 41).concurrency == 32


def test_server_errors_stop_the_growth_for_a_while_without_a_cut() -> None:
    troubled = after(Standing(16), Seen(answers=16, server_errors=2, saturated=True))
    assert (troubled.concurrency, troubled.clean) == (16, 0)
    full = Seen(answers=16, saturated=True)
    assert after(troubled, full).concurrency == 16
    assert after(troubled, full, now=NOW + 60).concurrency == 32


def test_one_call_is_always_allowed_and_a_lower_maximum_holds_at_once() -> None:
    assert after(Standing(1), Seen(rate_limits=5)).concurrency == 1
    assert after(Standing(1, limited=True), Seen(answers=1, saturated=True)).concurrency == 2
    assert after(Standing(64), Seen(), largest=8).concurrency == 8


def test_bucket_gives_no_minute_more_than_its_rate() -> None:
    left, given = refilled(None, a_minute=600, seconds=0), 0.0
    for _ in range(60):
        given, left = given + left, refilled(0.0, a_minute=600, seconds=1.0)
    assert given == pytest.approx(600, rel=0.02)
    assert given <= 600
    assert refilled(-30.0, a_minute=600, seconds=1.0) == pytest.approx(-21.0)


# --- Shares ---------------------------------------------------------------------------------------------------------


def synced(gate: Gate) -> Gate:
    """Have a gate talk to the database although it did a moment ago."""
    gate._synced = float("-inf")
    gate.sync()
    return gate


@pytest.mark.django_db
def test_workers_share_what_is_allowed_and_who_is_silent_loses_its_part() -> None:
    ModelServer.objects.create(base_url=ADDRESS, concurrency=10, max_concurrency=10)
    first = synced(Gate(ADDRESS))
    assert first.share == 10
    second = synced(Gate(ADDRESS))
    # What the first holds is its own until it has heard of the second.
    assert second.share == 1
    assert (synced(first).share, synced(second).share) == (5, 5)
    ServerShare.objects.filter(worker=first._worker).update(seen_at=timezone.now() - timedelta(seconds=30))
    assert synced(second).share == 10


@pytest.mark.django_db
def test_worker_that_leaves_hands_its_share_back() -> None:
    ModelServer.objects.create(base_url=ADDRESS, concurrency=10, max_concurrency=10)
    gate, other = Gate(ADDRESS), Gate(ADDRESS)
    with gate.working(), other.working():
        assert ServerShare.objects.count() == 2
    assert ServerShare.objects.count() == 0


@pytest.mark.django_db
def test_parts_of_one_process_share_its_part_and_calls_under_way_take_room() -> None:
    ModelServer.objects.create(base_url=ADDRESS, concurrency=10, max_concurrency=10)
    gate = Gate(ADDRESS)
    with gate.working(), gate.working():
        assert gate.room(0) == 5
        gate.begin(4, 0)
        assert (gate.room(4), gate.room(0)) == (1, 5)
        gate.begin(5, 0)
        assert (gate.room(4), gate.room(5)) == (1, 0)


@pytest.mark.django_db
def test_rate_limit_that_one_worker_met_cuts_the_rate_and_rests_all_of_them() -> None:
    ModelServer.objects.create(base_url=ADDRESS, concurrency=10, max_concurrency=10)
    gate = synced(Gate(ADDRESS))
    gate.begin(1, 0)
    gate.end(1, expected=0, prompt_tokens=1, completion_tokens=1, rate_limits=2, server_errors=0)
    try:
        network().not_before[ADDRESS] = time.monotonic() + 30.0
        synced(gate)
        server = ModelServer.objects.get(base_url=ADDRESS)
        assert server.concurrency == 8
        assert "HTTP 429" in server.reason
        assert server.not_before is not None
        assert 20 < (server.not_before - timezone.now()).total_seconds() <= 30
        # Another process has not been told to rest by the server itself.
        del network().not_before[ADDRESS]
        other = synced(Gate(ADDRESS))
        assert other.room(0) == 0
        assert network().not_before[ADDRESS] > time.monotonic() + 20
    finally:
        network().not_before.pop(ADDRESS, None)


@pytest.mark.django_db
def test_requests_and_tokens_a_minute_are_drawn_and_given_back() -> None:
    ModelServer.objects.create(
        base_url=ADDRESS, concurrency=64, max_concurrency=64, requests_per_minute=100, tokens_per_minute=100_000
    )
    gate = synced(Gate(ADDRESS))
    # A tenth of a minute's requests may come at once.
    assert gate.room(0) == 10
    gate.begin(3, 3000)
    assert gate.room(3) == 7
    gate.begin(1, 8000)
    assert gate.room(4) == 0, "the tokens are used up"
    gate.end(1, expected=8000, prompt_tokens=500, completion_tokens=100, rate_limits=0, server_errors=0)
    assert gate.room(3) == 6
    synced(gate)
    server = ModelServer.objects.get(base_url=ADDRESS)
    assert server.requests_left == pytest.approx(0, abs=1)
    assert server.tokens_left == pytest.approx(0, abs=1)
    assert gate.room(3) == 6


# --- With a server --------------------------------------------------------------------------------------------------


class CountingServer(JudgeServer):
    """Counts how many calls are under way at once."""

    def __init__(self, *, latency: float) -> None:
        super().__init__(latency=latency)
        self._counting = threading.Lock()
        self.under_way = self.most = 0

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        with self._counting:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        try:
            super().serve(request)
        finally:
            with self._counting:
                self.under_way -= 1


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_three_processes_never_ask_more_at_once_than_the_server_is_allowed() -> None:
    allowed, workers = 6, 3
    project = make_project(with_people=False)
    for number in range(100):
        make_pair(project, response_a=f"a long answer {number}", response_b=f"short {number}")
    with CountingServer(latency=0.1) as server:
        ModelServer.objects.create(base_url=server.base_url, concurrency=allowed, max_concurrency=allowed)
        version = add_judge(project, "stub", kind="openai", base_url=server.base_url, model="m")
        run = start_run(version, send=False)
        processes = [start_worker(run.pk) for _ in range(workers)]
        try:
            for process in processes:
                process.wait(timeout=120)
        finally:
            for process in processes:
                process.kill()
                process.wait()
    run.refresh_from_db()
    assert (run.state, len(server.calls)) == (RunState.DONE, 200)
    # One call for each worker that comes, until the others have heard of it.
    assert 3 <= server.most <= allowed + workers
    assert ServerShare.objects.count() == 0


@pytest.mark.django_db
def test_rate_limited_server_is_asked_less_and_everything_is_answered(settings: Settings) -> None:
    def behave(call: Call) -> Served:
        return failure(429, retry_after="0.05") if call.number % 10 == 0 else prefer_longer(call)

    project = make_project(with_people=False)
    for number in range(30):
        make_pair(project, response_a=f"a long answer {number}", response_b=f"short {number}")
    with JudgeServer(behave) as server:
        version = add_judge(project, "stub", kind="openai", base_url=server.base_url, model="m")
        report = work_off(start_run(version, send=False))
        row = ModelServer.objects.get(base_url=server.base_url)
    assert (report.done, report.failed) == (60, 0)
    assert row.concurrency == 12
    assert row.rounds["limited"] is True


# --- A server that tells its load -----------------------------------------------------------------------------------


def test_load_is_read_from_metrics_of_all_engines_and_of_nothing_else() -> None:
    assert read_load(vllm_metrics(running=3, waiting=7).content.decode()) == Load(3, 7)
    assert read_load("vllm:num_requests_running 4.0\nvllm:num_requests_waiting 1e+02\n") == Load(4, 100)
    assert read_load("vllm:num_requests_running 4.0\n") is None
    assert read_load("<html>no such page</html>") is None


def test_queue_that_metrics_tell_slows_the_asking_down_and_the_reason_is_kept(db: None) -> None:
    with JudgeServer() as server:
        server.routes = {"GET /metrics": lambda _call: vllm_metrics(running=8, waiting=30)}
        ServedModel.objects.create(
            base_url=server.base_url, model="m", found={"metrics": "vllm"}, probed_at=timezone.now()
        )
        gate = Gate(server.base_url)
        with gate.working():
            assert gate._load is not None
            gate._load.result(timeout=30)
            gate._synced = float("-inf")
            gate.sync()
        row = ModelServer.objects.get()
        assert server.others[0].path == "/metrics"
    assert row.concurrency == 12
    assert row.reason == ("30 conversations wait in it while it computes 8, so it gets 12 calls at once instead of 16.")


def test_server_that_tells_nothing_is_not_asked_for_it(db: None) -> None:
    with JudgeServer() as server:
        gate = Gate(server.base_url)
        with gate.working():
            gate._synced = float("-inf")
            gate.sync()
        assert server.others == []
    assert ModelServer.objects.get().concurrency == 16
