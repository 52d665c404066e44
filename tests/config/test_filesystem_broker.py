"""The embedded broker shows a message only when it is whole, and never loses a binding to another process."""

import os
import threading
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from config import filesystem_broker


def connection(folder: Path) -> Any:
    inbox, control = folder / "messages", folder / "control"
    inbox.mkdir(exist_ok=True)
    options = {"data_folder_in": str(inbox), "data_folder_out": str(inbox), "control_folder": str(control)}
    return Connection(transport=filesystem_broker.Transport, transport_options=options)


def test_a_message_is_not_seen_before_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with connection(tmp_path) as broker:
        channel = broker.default_channel
        seen: list[str] = []
        replace = os.replace

        def look_in_between(part: Path, file: Path) -> None:
            with pytest.raises(Empty):
                channel._get("judges")
            seen.append(Path(part).read_text())
            replace(part, file)

        monkeypatch.setattr(os, "replace", look_in_between)
        channel._put("judges", {"body": "x" * 10})
        assert seen == ['{"body": "xxxxxxxxxx"}']
        assert channel._get("judges") == {"body": "x" * 10}
        assert list((tmp_path / "messages").iterdir()) == []


def test_messages_of_two_senders_reach_a_reader_whole_and_once(tmp_path: Path) -> None:
    with connection(tmp_path) as one, connection(tmp_path) as two, connection(tmp_path) as reader:
        senders = [
            threading.Thread(target=send, args=(sender.default_channel, name))
            for sender, name in ((one, "a"), (two, "b"))
        ]
        for sender in senders:
            sender.start()
        got: list[Any] = []
        while len(got) < 400 and (any(sender.is_alive() for sender in senders) or waiting(tmp_path)):
            try:
                got.append(reader.default_channel._get("q")["number"])
            except Empty:
                continue
        for sender in senders:
            sender.join()
    assert sorted(got) == sorted(f"{name}{number}" for name in "ab" for number in range(200))


def send(channel: Any, name: str) -> None:
    for number in range(200):
        channel._put("q", {"number": f"{name}{number}", "body": "y" * 5000})


def waiting(folder: Path) -> bool:
    return any(file.name.endswith(".msg") for file in (folder / "messages").iterdir())


def test_bindings_made_at_once_are_all_kept(tmp_path: Path) -> None:
    exchange = Exchange("tiebreak", type="topic")
    start = threading.Barrier(8)

    def bind(name: str) -> None:
        with connection(tmp_path) as broker:
            channel = broker.default_channel
            start.wait()
            Queue(name, exchange, routing_key=name)(channel).declare()

    binders = [threading.Thread(target=bind, args=(f"q{number}",)) for number in range(8)]
    for binder in binders:
        binder.start()
    for binder in binders:
        binder.join()
    with connection(tmp_path) as broker:
        assert {one.queue for one in broker.default_channel.get_table("tiebreak")} == {f"q{n}" for n in range(8)}
