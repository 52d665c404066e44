"""The embedded profile's processes start together and stop together."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from config.supervising import PortTaken, Program, embedded_programs, require_free_port, supervise

# Writes its process id, then waits for a line that never comes; ends at SIGTERM.
WAITS = "import os, sys, signal; open(sys.argv[1], 'w').write(str(os.getpid())); signal.pause()"


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_when_one_program_ends_the_others_are_stopped_and_its_status_is_said(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    # Ends with status 3 as soon as the other one has written its process id.
    ends = (
        "import os, sys, time\n"
        "while not (os.path.exists(sys.argv[1]) and open(sys.argv[1]).read()): time.sleep(0.01)\n"
        "sys.exit(3)"
    )
    said: list[str] = []
    status = supervise(
        [
            Program("waits", [sys.executable, "-c", WAITS, str(pid_file)]),
            Program("ends", [sys.executable, "-c", ends, str(pid_file)]),
        ],
        say=said.append,
    )
    assert status == 1
    assert said == ["ends ended with status 3; stopping the others."]
    assert not is_alive(int(pid_file.read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_every_program_and_ends_with_status_zero(tmp_path: Path, number: signal.Signals) -> None:
    pid_files = [tmp_path / "one", tmp_path / "two"]
    code = (
        "import sys\n"
        "from config.supervising import Program, supervise\n"
        f"code = {WAITS!r}\n"
        "programs = [Program(path, [sys.executable, '-c', code, path]) for path in sys.argv[1:]]\n"
        "sys.exit(supervise(programs, say=print))"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", code, *map(str, pid_files)])
    for _ in range(300):
        if all(path.exists() and path.read_text() for path in pid_files):
            break
        threading.Event().wait(0.1)
    pids = [int(path.read_text()) for path in pid_files]
    assert all(map(is_alive, pids))
    supervisor.send_signal(number)
    assert supervisor.wait(timeout=30) == 0
    assert not any(map(is_alive, pids))


def test_a_taken_port_is_refused_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"127\.0\.0\.1:{port}.*--port"):
            require_free_port("127.0.0.1", port)


def test_every_queue_has_exactly_one_embedded_worker() -> None:
    from config.celery import QUEUES

    served = [
        queue
        for program in embedded_programs("127.0.0.1", 8000, gpu=True)
        if "-Q" in program.command
        for queue in program.command[list(program.command).index("-Q") + 1].split(",")
    ]
    assert sorted(served) == sorted(QUEUES)


def test_no_worker_waits_for_models_where_none_is_named() -> None:
    assert "gpu" not in {program.name for program in embedded_programs("127.0.0.1", 8000)}
