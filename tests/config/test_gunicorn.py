"""The web server starts with the settings that the unit, the image and the bench share."""

import subprocess
import sys
from pathlib import Path

from config import gunicorn

ROOT = Path(__file__).resolve().parents[2]
SERVES = "gunicorn -c python:config.gunicorn"


def test_gunicorn_takes_the_settings() -> None:
    command = [sys.executable, "-m", "gunicorn", "--check-config", "-c", "python:config.gunicorn", "config.wsgi"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "Unknown" in done.stderr) == (0, False), done.stderr


def test_what_waits_waits_for_all_workers() -> None:
    # A connection that is kept, or taken before a thread is free, waits for its own worker alone.
    assert (gunicorn.keepalive, gunicorn.worker_connections) == (0, gunicorn.threads)


def test_unit_and_image_serve_by_them() -> None:
    unit = (ROOT / "deploy/systemd/tiebreak-web.service").read_text(encoding="utf-8")
    image = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
    assert f"{SERVES} --bind" in unit
    assert SERVES in image.replace('", "', " ")
