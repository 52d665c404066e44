"""kombu's filesystem transport with whole files only: the broker of the embedded profile.

kombu gives a message its final name before it is written, and truncates an exchange's table before it locks it. A
worker that looks in between reads an empty file and ends ("Unrecoverable error: JSONDecodeError", seen in use).
"""

import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kombu.transport import filesystem
from kombu.utils.json import dumps

# Untyped on purpose: the stubs of kombu are of an older version.
_Channel: Any = filesystem.Channel
_Transport: Any = filesystem.Transport


class Channel(_Channel):  # type: ignore[misc]
    """Files appear under their names when they are whole."""

    def _put(self, queue: str, payload: Any, **_kwargs: Any) -> None:
        # The order of names is the order of messages, as kombu reads them.
        name = f"{round(time.monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        _write_whole(Path(self.data_folder_out) / name, dumps(payload))

    def _queue_bind(self, exchange: str, routing_key: str, pattern: str, queue: str) -> None:
        file = self._exchange_file(exchange)
        self.control_folder.mkdir(exist_ok=True)
        bound = filesystem.exchange_queue_t(routing_key or "", pattern or "", queue or "")
        with _alone(file):
            table = self.get_table(exchange)
            if bound not in table:
                _write_whole(file, dumps([bound, *table]))


class Transport(_Transport):  # type: ignore[misc]
    """What `filesystem://` means here (`config.celery`)."""

    Channel = Channel


def _write_whole(file: Path, text: str) -> None:
    part = file.with_name(f"{file.name}.{uuid.uuid4().hex}.part")
    part.write_text(text)
    os.replace(part, file)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Keep other writers of a file out; its readers need no lock, since it is only ever replaced."""
    with file.with_name(f"{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
