"""The Celery application: queues, schedule, and how work survives a killed worker.

The database is the queue of record; a message only says "look again". So every task takes ids, is idempotent, and a
sweeper (`beat_schedule`) finds what a lost message or a dead worker left behind.
"""

import os
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# The module, not django.conf: this runs while Django is still reading settings that import from this package.
from config import settings

QUEUES = ("default", "judges", "routing", "exports")


def _transport_options(broker_url: str) -> dict[str, Any]:
    """Return kombu's transport options for this broker."""
    if broker_url.startswith("filesystem://"):
        inbox = settings.BROKER_DIR / "messages"
        control = settings.BROKER_DIR / "control"
        for folder in (inbox, control):
            folder.mkdir(parents=True, exist_ok=True)
        return {
            "data_folder_in": str(inbox),
            "data_folder_out": str(inbox),
            # Its default is a folder below whatever directory the process was started in.
            "control_folder": str(control),
            # Its default of one second is what makes virtual transports slow (measured: 2 tasks/s against 200).
            "polling_interval": 0.1,
            "store_processed": False,
        }
    return {
        # Without confirms a message published while RabbitMQ restarts is lost (measured: 44 of 60).
        "confirm_publish": True,
        # One quick retry: a web request must not wait for a broker that is down (measured: 6.7 s by default), and what
        # it wanted to say is a row that the scheduler sends again.
        **{"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2},
    }


app = Celery("tiebreak")
app.conf.update(
    broker_url=settings.BROKER_URL,
    broker_transport_options=_transport_options(settings.BROKER_URL),
    broker_connection_retry_on_startup=True,
    # The default gives up after 100 tries; a worker waits for its broker for as long as it takes.
    broker_connection_max_retries=None,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    # A message is acknowledged when its work is stored, not when it arrives ...
    task_acks_late=True,
    # ... and comes back when the process working on it is killed.
    task_reject_on_worker_lost=True,
    # One message at a time: a killed worker takes no waiting work with it.
    worker_prefetch_multiplier=1,
    # A task whose broker connection is gone would run twice at once.
    worker_cancel_long_running_tasks_on_connection_loss=True,
    # Gives a running chunk time to store its answers when the process is told to stop.
    worker_soft_shutdown_timeout=10,
    worker_hijack_root_logger=False,
    task_default_queue="default",
    task_queues=[
        Queue(
            name,
            # Without an exchange and key of its own every queue is bound alike, and gets a copy of every message.
            Exchange("tiebreak", type="topic"),
            routing_key=name,
            queue_arguments={"x-queue-type": "quorum"} if settings.BROKER_URL.startswith("amqp") else None,
        )
        for name in QUEUES
    ],
    task_routes={
        "judges.*": {"queue": "judges"},
        "routing.*": {"queue": "routing"},
        "exports.*": {"queue": "exports"},
    },
    beat_schedule_filename=str(settings.VAR_DIR / "beat-schedule"),
    beat_schedule={
        "ring-unpublished-events": {"task": "annotation.tasks.ring_unpublished", "schedule": 30.0},
        "expire-leases": {"task": "annotation.tasks.expire_leases", "schedule": 30.0},
        "send-waiting-imports": {"task": "annotation.tasks.send_waiting_imports", "schedule": 60.0},
        "send-waiting-snapshots": {"task": "exports.tasks.send_waiting_snapshots", "schedule": 60.0},
        "sweep-judge-runs": {"task": "judges.tasks.sweep_runs", "schedule": 30.0},
    },
)
app.autodiscover_tasks(["annotation", "judges", "routing", "exports"])
