"""A worker is killed in the middle of a run, three times; nothing is lost and nothing stored is asked again."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from annotation.models import Preference
from config.celery import app
from judges.defining import add_judge
from judges.models import RunState, Verdict, VerdictState
from judges.running import start_run, sweep
from tests.builders import make_pair, make_project
from tests.judge_server import JudgeServer
from tests.services import RABBITMQ_URL

PAIRS = 40
KILLS = 3
THREADS, CALLS_A_TASK = 2, 2
ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """A real Celery worker on the queue `judges`, in a process group of its own."""

    def __init__(self, log: Path) -> None:
        self.log = log
        database = connection.settings_dict
        password = f":{quote(database['PASSWORD'], safe='')}" if database["PASSWORD"] else ""
        login = quote(database["USER"], safe="") + password
        place = f"{database['HOST'] or '127.0.0.1'}:{database['PORT'] or 5432}"
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DATABASE_URL": f"postgres://{login}@{place}/{database['NAME']}",
            "BROKER_URL": RABBITMQ_URL,
            "TIEBREAK_JUDGE_LEASE_SECONDS": "3",
            "TIEBREAK_JUDGE_TIMEOUT_SECONDS": "2",
            "TIEBREAK_JUDGE_CONCURRENCY": str(CALLS_A_TASK),
        }
        command = [sys.executable, "-m", "celery", "-A", "config", "worker", "-Q", "judges", "-P", "threads"]
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*command, "-c", str(THREADS), "--without-gossip", "--without-mingle", "--loglevel", "WARNING"],
                env=environment,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def require_alive(self) -> None:
        """Fail at once, with its log, when the worker ended by itself."""
        if self.process.poll() is not None:
            pytest.fail(f"the worker ended with status {self.process.returncode}:\n{self.log.read_text()[-3000:]}")

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)


def wait_until(holds: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Poll a condition; fail with its name when it does not hold in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} seconds: {what}")
        time.sleep(0.05)


def empty_queue() -> None:
    with app.connection_for_write() as broker:
        queue = next(one for one in app.conf.task_queues if one.name == "judges")
        bound = queue(broker.default_channel)
        bound.declare()
        bound.purge()


@pytest.mark.postgres
@pytest.mark.rabbitmq
@pytest.mark.django_db(transaction=True)
def test_worker_killed_three_times_loses_no_verdict_and_repeats_no_stored_call(
    settings: Settings, tmp_path: Path
) -> None:
    settings.JUDGE_CHUNK_SIZE = 8
    settings.JUDGE_LEASE_SECONDS = 3
    log = tmp_path / "worker.log"
    empty_queue()
    project = make_project()
    for number in range(PAIRS):
        make_pair(project, response_a=f"a long answer {number}", response_b=f"short {number}")

    def done() -> int:
        worker.require_alive()
        return Verdict.objects.filter(state=VerdictState.DONE).count()

    def finished() -> bool:
        # What the scheduler does every 30 seconds.
        worker.require_alive()
        sweep(now=timezone.now())
        run.refresh_from_db()
        return run.state != RunState.RUNNING

    with JudgeServer(latency=0.3) as server:
        version = add_judge(project, "stub", kind="openai", base_url=server.base_url, model="m")
        run = start_run(version)
        worker = Worker(log)
        try:
            for kill in range(1, KILLS + 1):
                wait_until(lambda: done() >= 12 * kill, seconds=60, what=f"{12 * kill} verdicts stored")  # noqa: B023
                worker.kill()
                worker = Worker(log)
                assert done() < 2 * PAIRS, "the run ended before the worker was killed"
            wait_until(finished, seconds=90, what="the run is done")
        finally:
            worker.kill()
            empty_queue()

    verdicts = list(Verdict.objects.select_related("pair__response_a", "pair__response_b"))
    assert (run.state, run.reason) == (RunState.DONE, "")
    assert len(verdicts) == 2 * PAIRS
    assert {one.state for one in verdicts} == {VerdictState.DONE}
    assert Preference.objects.filter(rater=version.rater, choice="a").count() == PAIRS

    stored_at: dict[tuple[str, str], float] = {}
    for one in verdicts:
        assert one.finished_at
        a, b = one.pair.response_a.text, one.pair.response_b.text
        stored_at[(a, b) if one.order == "ab" else (b, a)] = one.finished_at.timestamp()
    late = [call for call in server.calls if call.at > stored_at[(call.first, call.second)]]
    assert late == []
    calls = Counter((call.first, call.second) for call in server.calls)
    assert set(calls) == set(stored_at)
    # Only what was under way when a worker died may have been asked twice.
    assert sum(calls.values()) - len(calls) <= KILLS * THREADS * CALLS_A_TASK
