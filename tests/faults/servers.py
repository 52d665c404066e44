"""A RabbitMQ node and a PostgreSQL cluster of a test's own, which it may kill without hurting the machine's."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
import pytest
from kombu import Connection
from kombu.exceptions import OperationalError

# Measured on two idle cores: 6 seconds for RabbitMQ, 1 for PostgreSQL.
START_SECONDS = 120.0


def wait_until(holds: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Poll a condition; fail with its name when it does not hold in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} seconds: {what}")
        time.sleep(0.05)


def free_port() -> int:
    """Return a port of loopback that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def program(name: str, *folders: str) -> str:
    """Return the path of a server's program. Skips the test without it; with REQUIRE_SERVICES=1 fails it."""
    places = [place for pattern in folders for place in sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)]
    found = next((str(place / name) for place in places if (place / name).exists()), None) or shutil.which(name)
    if found:
        return found
    reason = f"no program {name} for a server of the test's own"
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def amqp_channel(connection: Connection) -> Any:
    """Return a connection's channel with the methods of AMQP, of which the stubs know none."""
    return connection.default_channel


class ServerProcess(ABC):
    """A server in a process group and a folder of its own. A context manager: leaving it kills and removes both."""

    name = ""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"tiebreak-{self.name}-"))
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @abstractmethod
    def prepare(self) -> None:
        """Write what the server needs before its first start."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Return the server's command line."""

    @abstractmethod
    def answers(self) -> bool:
        """Say whether the server takes a client."""

    def environment(self) -> Mapping[str, str]:
        """Return the server's environment."""
        return os.environ

    def user(self) -> str | None:
        """Return the user it runs as, or None for this process's own."""
        return None

    @property
    def log(self) -> Path:
        """Where the server writes what it says."""
        return self.folder / "output.log"

    def start(self, *, wait: bool = True) -> None:
        """Start the server; with `wait` return when it takes clients."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                env=self.environment(),
                cwd=self.folder,
                user=self.user(),
                group=self.user(),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until the server takes clients; fail with its log where it ends instead."""
        process = self._process

        def up() -> bool:
            if process is None or process.poll() is not None:
                pytest.fail(f"{self.name} did not start:\n{self.log.read_text()[-3000:]}")
            return self.answers()

        wait_until(up, seconds=START_SECONDS, what=f"{self.name} takes clients")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the server's whole group, and wait for its end."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        process.wait(timeout=20)
        # What left the group or outlived its leader.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


class PrivateRabbitMQ(ServerProcess):
    """One node with a name server of its own; nothing of it is shared with the machine's RabbitMQ."""

    name = "rabbitmq"
    _scripts = ("/usr/lib/rabbitmq/bin", "/opt/rabbitmq/sbin")

    def __init__(self) -> None:
        super().__init__()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._names_port, self._distribution_port = free_port(), free_port()
        self._names: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Write its configuration, and start Erlang's name server."""
        server = program("rabbitmq-server", *self._scripts)
        names = program("epmd", "/usr/lib/erlang/erts-*/bin", "/usr/local/lib/erlang/erts-*/bin")
        self._server, self._control = server, str(Path(server).with_name("rabbitmqctl"))
        (self.folder / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{self.port}\n")
        (self.folder / "plugins").write_text("[].\n")
        (self.folder / "conf.d").mkdir()
        self._names = subprocess.Popen(
            [names, "-port", str(self._names_port), "-address", "127.0.0.1"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if self._names is not None:
            self._names.kill()
            self._names.wait(timeout=20)

    def command(self) -> Sequence[str]:
        """Return the server's command line."""
        return [self._server]

    def environment(self) -> Mapping[str, str]:
        """Return an environment that keeps every file below the folder and away from /etc."""
        folder = self.folder
        return {
            **os.environ,
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._names_port),
            "RABBITMQ_NODENAME": f"tiebreak{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(folder / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
        }

    def answers(self) -> bool:
        """Say whether the node takes an AMQP connection."""
        try:
            with Connection(self.url, connect_timeout=2) as connection:
                connection.ensure_connection(max_retries=1, interval_start=0)
        except (OSError, OperationalError):
            return False
        return True

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl on the node and return what it says."""
        done = subprocess.run(
            [self._control, "--quiet", *arguments],
            env=self.environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def empty(self, *queues: str) -> int:
        """Throw away what waits in queues; return how many messages that were."""
        with Connection(self.url) as connection:
            return sum(amqp_channel(connection).queue_purge(queue) for queue in queues)

    def waiting(self, queue: str) -> int:
        """Return how many messages wait in a queue, those that a worker holds not counted."""
        with Connection(self.url) as connection:
            count: int = amqp_channel(connection).queue_declare(queue, passive=True).message_count
        return count


class PrivatePostgres(ServerProcess):
    """One cluster. As root it runs as the user postgres, since PostgreSQL refuses root."""

    name = "postgres"
    _programs = ("/usr/lib/postgresql/*/bin",)

    def __init__(self) -> None:
        super().__init__()
        self.database = "tiebreak"

    @property
    def url(self) -> str:
        """The address of its database."""
        return f"postgres://tiebreak@127.0.0.1:{self.port}/{self.database}"

    def user(self) -> str | None:
        """Return postgres for root."""
        return "postgres" if os.geteuid() == 0 else None

    def prepare(self) -> None:
        """Make the cluster."""
        if owner := self.user():
            account = pwd.getpwnam(owner)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        subprocess.run(
            [
                program("initdb", *self._programs),
                "-D",
                str(self.folder / "data"),
                "-U",
                "tiebreak",
                "-A",
                "trust",
                "-E",
                "UTF8",
            ],
            cwd=self.folder,
            user=self.user(),
            group=self.user(),
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def command(self) -> Sequence[str]:
        """Return the server's command line. What a killed server had written survives; a power cut is not tried."""
        settings = ("listen_addresses=127.0.0.1", f"unix_socket_directories={self.folder}", "fsync=off")
        options = [part for setting in settings for part in ("-c", setting)]
        data = str(self.folder / "data")
        return [program("postgres", *self._programs), "-D", data, "-p", str(self.port), *options]

    def start(self, *, wait: bool = True) -> None:
        """Start the server; a first time also makes its database."""
        super().start(wait=wait)
        if not wait:
            return
        with self._connect("postgres") as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self.database]).fetchone()
            if not known:
                connection.execute(f"CREATE DATABASE {self.database}")

    def restart_at_once(self) -> None:
        """Stop without a checkpoint, every connection broken (`pg_ctl -m immediate`), and start again."""
        self.kill(signal.SIGQUIT)
        self.start()

    def kill(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it; the server tells its own children, so only it gets the signal."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.wait(timeout=20)

    def answers(self) -> bool:
        """Say whether the cluster takes a client (it refuses them while it recovers)."""
        try:
            self._connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="tiebreak", dbname=database, connect_timeout=2, autocommit=True
        )
