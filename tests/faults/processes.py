"""Real Celery processes for the fault tests: workers, and the scheduler that heals without a hand."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
from django.db import connection

from tests.faults.servers import wait_until

ROOT = Path(__file__).resolve().parents[2]
LEASE_SECONDS = 5
CALL_SECONDS = 2.0
SWEEP_SECONDS = 1.0


class Plant(NamedTuple):
    """What the processes of one test share: database, broker, folder for logs, and settings of their own."""

    database_url: str
    broker_url: str
    folder: Path
    calls_a_task: int = 2
    chunk_size: int = 8
    more: Mapping[str, str] = {}

    def environment(self) -> dict[str, str]:
        """Return a process's environment: short leases, so that a test sees them run out."""
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DATABASE_URL": self.database_url,
            "BROKER_URL": self.broker_url,
            "TIEBREAK_VAR": str(self.folder / "var"),
            "TIEBREAK_JUDGE_LEASE_SECONDS": str(LEASE_SECONDS),
            "TIEBREAK_JUDGE_TIMEOUT_SECONDS": str(CALL_SECONDS),
            "TIEBREAK_JUDGE_CONCURRENCY": str(self.calls_a_task),
            "TIEBREAK_JUDGE_CHUNK_SIZE": str(self.chunk_size),
            "TIEBREAK_SWEEP_SECONDS": str(SWEEP_SECONDS),
            **self.more,
        }


class CeleryProcess:
    """One `celery -A ...` in a process group of its own."""

    def __init__(self, plant: Plant, name: str, arguments: Sequence[str], *, application: str = "config") -> None:
        self.name, self._plant, self._arguments, self._application = name, plant, arguments, application
        self.log = plant.folder / f"{name}.log"
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self.log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", self._application, *self._arguments],
                env=self._plant.environment(),
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def require_alive(self) -> None:
        """Fail at once, with its log, when the process ended by itself."""
        if self.process.poll() is not None:
            pytest.fail(f"{self.name} ended with status {self.process.returncode}:\n{self.log.read_text()[-3000:]}")

    def children(self) -> list[int]:
        """Return the process ids of its children, oldest first."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def kill(self) -> None:
        """SIGKILL for it and all its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)

    def restart(self) -> None:
        """Kill it and start another."""
        self.kill()
        self.process = self._start()

    def revive(self) -> bool:
        """Start another where it has ended, as a supervisor does; say whether it had."""
        if self.process.poll() is None:
            return False
        self.kill()
        self.process = self._start()
        return True

    def stop(self, *, seconds: float) -> float:
        """SIGTERM, as a supervisor stops it; return after how many seconds it was gone. Fails when it stays."""
        begun = time.monotonic()
        self.process.terminate()
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.name} did not stop within {seconds:g} seconds:\n{self.log.read_text()[-3000:]}")
        return time.monotonic() - begun


def worker(plant: Plant, *, pool: str = "threads", size: int = 2, application: str = "config") -> CeleryProcess:
    """Return a worker on the queue `judges`. Production's pool is threads; prefork must work too."""
    arguments = ["worker", "-Q", "judges", "-P", pool, "-c", str(size), "-n", "judges@localhost", "--loglevel", "INFO"]
    return CeleryProcess(plant, "worker", [*arguments, "--without-gossip", "--without-mingle"], application=application)


def solo_worker(plant: Plant, *, queue: str = "judges.gpu", application: str = "config") -> CeleryProcess:
    """Return a worker of one process; on its own queue it runs models, as it is started in production."""
    arguments = ["worker", "-Q", queue, "-P", "solo", "-n", "gpu@localhost", "--loglevel", "INFO"]
    return CeleryProcess(plant, "gpu", [*arguments, "--without-gossip", "--without-mingle"], application=application)


@contextmanager
def scheduler(plant: Plant) -> Iterator[Mapping[str, CeleryProcess]]:
    """Run a real beat and the worker that does its sweeps; inside, runs heal without a hand."""
    arguments = ["worker", "-Q", "default", "-P", "threads", "-c", "1", "-n", "default@localhost"]
    running = {
        "beat": CeleryProcess(plant, "beat", ["beat", "--pidfile", "", "--loglevel", "INFO"]),
        "default": CeleryProcess(plant, "default", [*arguments, "--without-gossip", "--without-mingle"]),
    }
    try:
        yield running
        for process in running.values():
            process.require_alive()
    finally:
        for process in running.values():
            process.kill()


def database_url() -> str:
    """Return the address of the test's database for other processes."""
    database = connection.settings_dict
    password = f":{quote(database['PASSWORD'], safe='')}" if database["PASSWORD"] else ""
    login = quote(database["USER"], safe="") + password
    return f"postgres://{login}@{database['HOST'] or '127.0.0.1'}:{database['PORT'] or 5432}/{database['NAME']}"


def wait_for_start(process: CeleryProcess) -> None:
    """Wait until a worker says it takes work."""

    def ready() -> bool:
        process.require_alive()
        return " ready." in process.log.read_text()

    wait_until(ready, seconds=120, what=f"{process.name} is ready")
