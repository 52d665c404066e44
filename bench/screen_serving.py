"""What the bench of the annotation screen starts and reads from outside: databases, gunicorn, processor time."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from config.gunicorn import workers

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "var" / "bench"
# What a worker says once it has the application (`config.gunicorn`).
SERVES = " serves."
START_SECONDS = 60.0
STOP_SECONDS = 20.0
PREFIX = "tiebreak_bench_"


class Spec(NamedTuple):
    """What a world holds."""

    pairs: int
    votes: int = 1
    history: int = 0

    @property
    def name(self) -> str:
        """The name of its database."""
        votes = f"_v{self.votes}" if self.votes > 1 else ""
        return f"{PREFIX}{self.pairs}{votes}{f'_h{self.history}' if self.history else ''}"


def run_step(step: str, environment: Mapping[str, str], *arguments: object) -> dict[str, Any]:
    """Run a step of `screen_worlds` in a process of its own and return what it found."""
    command = [sys.executable, str(ROOT / "bench" / "screen_worlds.py"), step, *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- Databases ------------------------------------------------------------------------------------------------------


class Store(Protocol):
    """Where worlds are kept, and copied for a run that may write in them."""

    vendor: str

    def worlds(self) -> set[str]:
        """Return the names of the finished worlds."""

    def url(self, name: str) -> str:
        """Return the address of a database."""

    def create(self, name: str) -> None:
        """Make an empty database."""

    def copy(self, source: str, target: str) -> None:
        """Copy a database nobody is connected to."""

    def rename(self, source: str, target: str) -> None:
        """Give a database nobody is connected to another name."""

    def drop(self, name: str) -> None:
        """Throw a database away, if there is one."""


class SqliteStore:
    """Worlds as files below var/bench."""

    vendor = "sqlite"

    def worlds(self) -> set[str]:
        """Return the names of the finished worlds."""
        return {path.stem for path in KEPT.glob(f"{PREFIX}*.sqlite3")}

    def url(self, name: str) -> str:
        """Return the address of a database."""
        return f"sqlite:///{self._path(name)}"

    def create(self, name: str) -> None:
        """Make room for a database; SQLite makes the file."""
        KEPT.mkdir(parents=True, exist_ok=True)
        self.drop(name)

    def copy(self, source: str, target: str) -> None:
        """Copy a database nobody is connected to: its journal is empty then."""
        self.drop(target)
        shutil.copyfile(self._path(source), self._path(target))

    def rename(self, source: str, target: str) -> None:
        """Give a database nobody is connected to another name."""
        self._path(source).rename(self._path(target))

    def drop(self, name: str) -> None:
        """Throw a database away, if there is one, with its journal."""
        for ending in ("", "-wal", "-shm"):
            Path(f"{self._path(name)}{ending}").unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return KEPT / f"{name}.sqlite3"


class PostgresStore:
    """Worlds as template databases of a server whose role may create databases."""

    vendor = "postgres"

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)

    def worlds(self) -> set[str]:
        """Return the names of the finished worlds."""
        with self._connect() as connection:
            rows = connection.execute("SELECT datname FROM pg_database").fetchall()
        return {str(name) for (name,) in rows if str(name).startswith(PREFIX)}

    def url(self, name: str) -> str:
        """Return the address of a database."""
        return self._url._replace(path=f"/{name}").geturl()

    def create(self, name: str) -> None:
        """Make an empty database."""
        self.drop(name)
        self._execute("CREATE DATABASE {}", name)

    def copy(self, source: str, target: str) -> None:
        """Copy a database nobody is connected to, by files where the server can: the other way logs every page."""
        self.drop(target)
        with self._connect() as connection:
            by_files = connection.info.server_version >= 15_00_00
        self._execute(f"CREATE DATABASE {{}} TEMPLATE {{}}{' STRATEGY file_copy' if by_files else ''}", target, source)

    def rename(self, source: str, target: str) -> None:
        """Give a database nobody is connected to another name."""
        self._execute("ALTER DATABASE {} RENAME TO {}", source, target)

    def drop(self, name: str) -> None:
        """Throw a database away, if there is one."""
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def backends(self, name: str) -> list[int]:
        """Return the processes that serve a database's connections."""
        with self._connect() as connection:
            rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", [name]).fetchall()
        return [int(str(pid)) for (pid,) in rows]

    def commit_ms(self, name: str, tries: int = 30) -> float:
        """Return how long a transaction of one small row takes in a database, in ms: mostly the disk's share."""
        with self._connect(name) as connection:
            connection.execute("CREATE TABLE bench_commits (number integer)")
            began = time.perf_counter()
            for number in range(tries):
                connection.execute("INSERT INTO bench_commits VALUES (%s)", [number])
            seconds = time.perf_counter() - began
            connection.execute("DROP TABLE bench_commits")
        return 1000 * seconds / tries

    def _execute(self, statement: str, *names: str) -> None:
        with self._connect() as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _connect(self, name: str = "") -> "psycopg.Connection[tuple[object, ...]]":
        # Unless a database is named, to the address's own: nobody may be connected to one that is copied.
        address = self.url(name) if name else self._url.geturl()
        return psycopg.connect(address.replace("postgres://", "postgresql://", 1), autocommit=True)


def make_world(store: Store, spec: Spec, environment: Mapping[str, str]) -> float:
    """Make a world, or bring a kept one to this version; return the seconds that took.

    It bears another name until it is finished, so that an interrupted run leaves no half of one.
    """
    began = time.monotonic()
    if spec.name in store.worlds():
        run_step("upgrade", {**environment, "DATABASE_URL": store.url(spec.name)})
        return time.monotonic() - began
    unfinished = f"{spec.name}_unfinished"
    store.create(unfinished)
    options = ("--pairs", spec.pairs, "--votes", spec.votes, "--history", spec.history)
    run_step("fill", {**environment, "DATABASE_URL": store.url(unfinished)}, *options)
    store.rename(unfinished, spec.name)
    return time.monotonic() - began


# --- Processor time -------------------------------------------------------------------------------------------------


class ProcessTimes(NamedTuple):
    """The parent of a process and the seconds of processor time it has used, its threads' included."""

    parent: int
    cpu_seconds: float


def read_stat(text: str, ticks: int) -> ProcessTimes:
    """Read a line of /proc/PID/stat; the program's name may hold spaces and brackets."""
    fields = text[text.rindex(")") + 2 :].split()
    return ProcessTimes(parent=int(fields[1]), cpu_seconds=(int(fields[11]) + int(fields[12])) / ticks)


def family(parents: Mapping[int, int], ancestor: int) -> set[int]:
    """Return a process with all its descendants."""
    found, edge = {ancestor}, {ancestor}
    while edge:
        edge = {child for child, parent in parents.items() if parent in edge} - found
        found |= edge
    return found


def process_times() -> dict[int, ProcessTimes]:
    """Return the times of every process there is."""
    ticks = os.sysconf("SC_CLK_TCK")
    times = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        # It may have ended since it was listed.
        with contextlib.suppress(OSError):
            times[int(path.parent.name)] = read_stat(path.read_text(), ticks)
    return times


def cpu_of(processes: Iterable[int], times: Mapping[int, ProcessTimes]) -> float:
    """Return the seconds of processor time that these processes have used."""
    return sum(times[one].cpu_seconds for one in processes if one in times)


def busy_seconds() -> float:
    """Return the processor time that everything on this machine has used, what its host took away included."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = fields
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


# --- The server -----------------------------------------------------------------------------------------------------


class Gunicorn:
    """The application as it is deployed, on a free port of loopback; what it says goes to a file."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        self.port = free_port()
        self._log = log
        command = [
            *(sys.executable, "-m", "gunicorn", "-c", "python:config.gunicorn"),
            *("--bind", f"127.0.0.1:{self.port}", "config.wsgi"),
        ]
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output
            )

    def wait(self) -> None:
        """Wait until every worker has the application; end with its log where one does not."""
        deadline = time.monotonic() + START_SECONDS
        while self.says().count(SERVES) < workers:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start:\n{self.says()}")
            time.sleep(0.1)

    def cpu_seconds(self) -> dict[int, float]:
        """Return the processor time that the server and its workers have used, by process."""
        times = process_times()
        parents = {process: one.parent for process, one in times.items()}
        return {process: times[process].cpu_seconds for process in family(parents, self.process.pid)}

    def says(self) -> str:
        """Return the end of its log."""
        return self._log.read_text(errors="replace")[-3000:]

    def stop(self) -> None:
        """End it and its workers."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    """Return a port of loopback that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def served(environment: Mapping[str, str], log: Path) -> Iterator[Gunicorn]:
    """Serve the application with this environment."""
    server = Gunicorn(environment, log)
    try:
        server.wait()
        yield server
    finally:
        server.stop()


LINK = re.compile(r'<(?:link|script)\b[^>]*\b(?:href|src)="([^"]+)"')


def linked_files(html: str) -> Sequence[str]:
    """Return the addresses of this site's own that a page's head links to, each once."""
    return list(dict.fromkeys(link for link in LINK.findall(html) if link.startswith("/")))
