"""The processes of the embedded profile: started together, stopped together."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NamedTuple

from annotation.errors import TiebreakError

# Longer than the workers' soft shutdown, so that a running chunk can store its answers.
GRACE_SECONDS = 20.0
# Ctrl-C, a supervisor's stop, and a closed terminal.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class PortTaken(TiebreakError):
    """Something else answers at the address the web server wants."""


class Program(NamedTuple):
    """One process: the name it is reported under and its command line."""

    name: str
    command: Sequence[str]


def embedded_programs(host: str, port: int, *, gpu: bool = False) -> list[Program]:
    """Return the embedded profile's processes: web, two workers, scheduler, and with `gpu` one that runs models."""
    gunicorn = [sys.executable, "-m", "gunicorn", "config.wsgi", "--worker-class", "gthread"]
    celery = [sys.executable, "-m", "celery", "-A", "config"]
    worker = [*celery, "worker", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
    # Its model is loaded with the first question, so until then it costs what any worker does.
    computing = Program("gpu", [*worker, "-Q", "judges.gpu", "-P", "solo", "-n", "gpu@localhost"])
    return [
        Program(
            "web",
            [*gunicorn, "--workers", "1", "--threads", "8", "--bind", f"{host}:{port}", "--log-level", "warning"],
        ),
        # Waiting on judges is waiting on the network: threads.
        Program(
            "worker", [*worker, "-Q", "default,judges,exports", "-P", "threads", "-c", "4", "-n", "embedded@localhost"]
        ),
        # LightGBM hangs in a forked child whose parent has trained before: one process, no fork.
        Program("router", [*worker, "-Q", "routing", "-P", "solo", "-n", "routing@localhost"]),
        *([computing] if gpu else []),
        Program("scheduler", [*celery, "beat", "--loglevel", "WARNING", "--pidfile", ""]),
    ]


def require_free_port(host: str, port: int) -> None:
    """Raise `PortTaken` when something already listens there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex((host, port)) == 0:
            raise PortTaken(f"Something already listens at {host}:{port}. Stop it, or choose another with --port.")


def supervise(programs: Sequence[Program], *, say: Callable[[str], object]) -> int:
    """Run the programs until one ends or this process is told to stop; then stop them all.

    Returns 0 after a signal, 1 when a program ended by itself (its name and status are said).
    """
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    previous = {number: signal.signal(number, stop) for number in STOPPING}
    # Own sessions: Ctrl-C reaches this process alone, which then stops the others in good order.
    children = {
        program.name: subprocess.Popen(program.command, start_new_session=True)  # noqa: S603  (fixed commands)
        for program in programs
    }
    ended = ""
    try:
        while not stopping and not ended:
            for name, child in children.items():
                if (status := child.poll()) is not None:
                    ended = f"{name} ended with status {status}; stopping the others."
                    say(ended)
                    break
            time.sleep(0.2)
    finally:
        _stop_all(children, say)
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 1 if ended else 0


def _stop_all(children: dict[str, "subprocess.Popen[bytes]"], say: Callable[[str], object]) -> None:
    for child in children.values():
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for name, child in children.items():
        try:
            child.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            say(f"{name} did not stop within {GRACE_SECONDS:.0f} seconds; killed.")
            child.kill()
            child.wait()
