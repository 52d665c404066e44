"""How work survives: the queues, routes and schedule of the Celery application, read as a worker would."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

READ = """
import json
from config.celery import DEAD_LETTERS, app
app.loader.import_default_modules()
conf = app.conf
print(json.dumps({
    "tasks": sorted(app.tasks),
    "queues": {queue.name: queue.queue_arguments for queue in conf.task_queues},
    "dead": [DEAD_LETTERS.name, DEAD_LETTERS.exchange.name],
    "schedule": [[entry["task"], entry["schedule"], entry["options"]] for entry in conf.beat_schedule.values()],
    "route": {name: app.amqp.router.route({}, name)["queue"].name for name in app.tasks},
    "options": conf.broker_transport_options,
    "transport": app.connection().get_transport_cls().__module__,
    "late": [conf.task_acks_late, conf.task_reject_on_worker_lost, conf.worker_prefetch_multiplier],
}))
"""


def read_application(tmp_path: Path, broker_url: str) -> dict[str, Any]:
    base = {key: value for key, value in os.environ.items() if key in {"PATH", "HOME", "LANG"}}
    result = subprocess.run(
        [sys.executable, "-c", READ],
        env={**base, "TIEBREAK_VAR": str(tmp_path), "BROKER_URL": broker_url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    application: dict[str, Any] = json.loads(result.stdout)
    return application


@pytest.fixture(scope="module")
def on_rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the application as it is with RabbitMQ; none needs to be there."""
    return read_application(tmp_path_factory.mktemp("var"), "amqp://guest:guest@127.0.0.1:1//")


def test_every_queue_survives_its_broker_and_sets_poison_aside(on_rabbitmq: dict[str, Any]) -> None:
    dead, exchange = on_rabbitmq["dead"]
    assert set(on_rabbitmq["queues"]) == {"default", "judges", "judges.gpu", "routing", "exports"}
    assert dead not in on_rabbitmq["queues"], "a worker would read what was set aside"
    for arguments in on_rabbitmq["queues"].values():
        assert arguments["x-queue-type"] == "quorum"
        assert arguments["x-delivery-limit"] == 5
        assert arguments["x-dead-letter-exchange"] == exchange


def test_messages_are_confirmed_when_sent_and_acknowledged_when_done(on_rabbitmq: dict[str, Any]) -> None:
    assert on_rabbitmq["options"]["confirm_publish"] is True
    assert on_rabbitmq["late"] == [True, True, 1]


def test_a_message_may_go_unacknowledged_for_four_of_the_longest_chunks(on_rabbitmq: dict[str, Any]) -> None:
    from django.conf import settings

    from judges.running import CHUNK_SECONDS

    longest = CHUNK_SECONDS + 2 * settings.JUDGE_TIMEOUT_SECONDS + 60
    for arguments in on_rabbitmq["queues"].values():
        assert arguments["x-consumer-timeout"] / 1000 >= 4 * longest


def test_what_is_scheduled_exists_and_does_not_pile_up(on_rabbitmq: dict[str, Any]) -> None:
    scheduled = {task for task, _, _ in on_rabbitmq["schedule"]}
    assert {"annotation.tasks.ring_unpublished", "judges.tasks.sweep_runs"} <= scheduled
    for task, seconds, options in on_rabbitmq["schedule"]:
        assert task in on_rabbitmq["tasks"]
        assert options == {"expires": seconds}


def test_scheduled_looks_do_not_wait_behind_the_work_they_heal(on_rabbitmq: dict[str, Any]) -> None:
    route = on_rabbitmq["route"]
    assert (route["judges.tasks.judge_chunk"], route["routing.tasks.resolve_pair"]) == ("judges", "routing")
    assert route["judges.tasks.judge_on_gpu"] == "judges.gpu"
    assert route["judges.tasks.sweep_runs"] == "default"


@pytest.mark.parametrize(("pool", "refused"), [("prefork", True), ("gevent", True), ("solo", False), ("thread", False)])
def test_a_worker_that_runs_models_has_one_process_and_no_heartbeats(pool: str, refused: bool) -> None:
    from config.celery import prepare_for_gpu

    # What a command line's -P comes to: the pool's class.
    options = {"queues": ["judges.gpu"], "pool_cls": type("TaskPool", (), {"__module__": f"celery.concurrency.{pool}"})}
    conf = SimpleNamespace(worker_pool="prefork", broker_heartbeat=120)
    if refused:
        with pytest.raises(SystemExit, match=r"celery -A config worker -Q judges\.gpu -P solo"):
            prepare_for_gpu(conf=conf, options=options)
    else:
        prepare_for_gpu(conf=conf, options=options)
    assert conf.broker_heartbeat == (120 if refused else 0)


def test_workers_of_other_queues_keep_their_pool_and_heartbeats() -> None:
    from config.celery import prepare_for_gpu

    conf = SimpleNamespace(worker_pool="prefork", broker_heartbeat=120)
    for queues in ("default,judges", ["judges"], None):
        prepare_for_gpu(conf=conf, options={"queues": queues})
    assert conf.broker_heartbeat == 120


def test_a_broker_in_a_folder_knows_no_queue_arguments(tmp_path: Path) -> None:
    application = read_application(tmp_path, "filesystem://localhost")
    assert set(application["queues"].values()) == {None}
    assert (tmp_path / "broker" / "messages").is_dir()
    # kombu's own shows messages before they are written.
    assert application["transport"] == "config.filesystem_broker"
