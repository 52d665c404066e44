"""The Celery application: queues, schedule, and how work survives a killed worker.

The database is the queue of record; a message only says "look again". So every task takes ids, is idempotent, and a
sweeper (`beat_schedule`) finds what a lost message or a dead worker left behind.
"""

import os
from typing import Any

from amqp.exceptions import PreconditionFailed
from celery import Celery
from celery.app.amqp import AMQP
from celery.signals import celeryd_init
from django.core.exceptions import ImproperlyConfigured
from kombu import Exchange, Queue
from kombu.messaging import Consumer
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# The module, not django.conf: this runs while Django is still reading settings that import from this package.
from config import settings

# Its worker computes in its own process for minutes at a time.
GPU_QUEUE = "judges.gpu"
QUEUES = ("default", "judges", GPU_QUEUE, "routing", "exports")
ON_RABBITMQ = settings.BROKER_URL.startswith("amqp")
# Messages that RabbitMQ gave up on lie here, for a person to look at; nothing reads them, since their work is in rows.
DEAD_LETTERS = Queue(
    "dead",
    Exchange("tiebreak.dead", type="fanout"),
    # The oldest go first, so that letters nobody looks at cannot fill the disk.
    queue_arguments={"x-queue-type": "quorum", "x-max-length": 10_000},
)
DELIVERY_LIMIT = 5
POOLS_OF_ONE_PROCESS = ("solo", "thread")
# What RabbitMQ is told about each queue. Once declared it cannot be changed (docs/operating.md, 'The broker').
QUEUE_ARGUMENTS = {
    # Survives a broker that is killed: classic queues lose what they had not written.
    "x-queue-type": "quorum",
    # A message whose worker dies again and again is set aside; without a limit it would come back for ever (RabbitMQ 3)
    # or vanish after 20 times without a trace (RabbitMQ 4).
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-dead-letter-exchange": DEAD_LETTERS.exchange.name,
    # Milliseconds without an acknowledgement. Four times the longest chunk of judgements (10 minutes, and the deadlines
    # of the last questions). From RabbitMQ 3.12; before, the server's own (30 minutes) stands.
    "x-consumer-timeout": 3_600_000,
}


class Queues(AMQP):
    """Declares all queues whenever a worker connects, not only those it serves.

    Celery binds each queue it knows to its exchange for delayed messages, and fails where one was never declared: the
    first worker on a new broker, or any on one that lost its disk.
    """

    def TaskConsumer(self, channel: Any, queues: Any = None, accept: Any = None, **options: Any) -> Consumer:
        """Declare, then consume. Raises `ImproperlyConfigured` where a queue exists with other arguments."""
        for queue in [DEAD_LETTERS, *self.queues.values()] if ON_RABBITMQ else []:
            try:
                queue(channel).declare()
            except PreconditionFailed as error:
                raise ImproperlyConfigured(
                    f"The queue {queue.name} exists with other arguments, which RabbitMQ cannot change ({error}). "
                    f"Stop the workers and delete it (rabbitmqctl delete_queue {queue.name}): nothing is lost, since "
                    "work is kept in the database (docs/operating.md, 'The broker')."
                ) from None
        return super().TaskConsumer(channel, queues, accept, **options)


def _transport_options(broker_url: str) -> dict[str, Any]:
    """Return kombu's transport options for this broker."""
    if broker_url.startswith("filesystem://"):
        TRANSPORT_ALIASES["filesystem"] = "config.filesystem_broker:Transport"
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


def _sweep(task: str, seconds: float) -> dict[str, Any]:
    # A look that nobody took before the next one is due is dropped: they do not pile up while workers are away.
    return {"task": task, "schedule": seconds, "options": {"expires": seconds}}


app = Celery("tiebreak", amqp=Queues)
app.conf.update(
    broker_url=settings.BROKER_URL,
    broker_transport_options=_transport_options(settings.BROKER_URL),
    # A worker may be started before its broker.
    broker_connection_retry_on_startup=True,
    # The default gives up after 100 tries; a worker waits for its broker for as long as it takes.
    broker_connection_max_retries=None,
    # Seconds for one try to connect. A web request makes one try: it must not hang on a host that swallows packets.
    broker_connection_timeout=2,
    # Seconds to wait for a free connection of the pool, then the message counts as not sent; the default is for ever.
    broker_pool_acquire_timeout=2,
    # Results are rows.
    task_ignore_result=True,
    # Nothing that could run code when it is read.
    task_serializer="json",
    accept_content=["json"],
    # A message is acknowledged when its work is stored, not when it arrives ...
    task_acks_late=True,
    # ... and comes back when the process working on it is killed (a pool of processes; a killed worker's always do).
    task_reject_on_worker_lost=True,
    # One message a thread: a killed worker takes no waiting work with it.
    worker_prefetch_multiplier=1,
    # A message that comes again while its task still runs finds its rows claimed, and asks nothing. Ending the task
    # would throw away the calls it has under way, and the pools used here cannot (threads, solo: a traceback a task).
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # An ordinary stop (SIGTERM) begins no question and waits for those under way. A stop in a hurry (SIGQUIT) lets
    # chunks go on for so many seconds before it cuts them off: Celery tells us of it only afterwards (measured).
    worker_soft_shutdown_timeout=10,
    # There is no task_time_limit: pools of threads and solo ignore it (measured). A chunk bounds itself: it begins
    # nothing after ten minutes (judges.running.CHUNK_SECONDS), and each call has a deadline.
    worker_hijack_root_logger=False,
    task_default_queue="default",
    task_queues=[
        Queue(
            name,
            # Without an exchange and key of its own every queue is bound alike, and gets a copy of every message.
            Exchange("tiebreak", type="topic"),
            routing_key=name,
            queue_arguments=QUEUE_ARGUMENTS if ON_RABBITMQ else None,
        )
        for name in QUEUES
    ],
    task_routes={
        # Not behind the chunks: a sweep may have to heal them, and what is late by one period is dropped.
        "judges.tasks.sweep_runs": {"queue": "default"},
        "judges.tasks.poll_batches": {"queue": "default"},
        "judges.tasks.forget_replies": {"queue": "default"},
        "judges.tasks.judge_on_gpu": {"queue": GPU_QUEUE},
        "judges.*": {"queue": "judges"},
        # A study takes minutes, and the sweep must not wait behind it.
        "routing.tasks.send_waiting_studies": {"queue": "default"},
        "routing.tasks.send_waiting_plans": {"queue": "default"},
        "routing.tasks.send_waiting_applications": {"queue": "default"},
        # It waits for a server, not for a processor.
        "routing.tasks.embed_project": {"queue": "judges"},
        "routing.*": {"queue": "routing"},
        "exports.*": {"queue": "exports"},
    },
    beat_schedule_filename=str(settings.VAR_DIR / "beat-schedule"),
    beat_schedule={
        "ring-unpublished-events": _sweep("annotation.tasks.ring_unpublished", settings.SWEEP_SECONDS),
        "expire-leases": _sweep("annotation.tasks.expire_leases", settings.SWEEP_SECONDS),
        "forget-old-tries-and-links": _sweep("annotation.tasks.forget_old", 24 * 3600.0),
        "doubt-payments": _sweep("annotation.tasks.doubt_payments", 2 * settings.SWEEP_SECONDS),
        "send-waiting-imports": _sweep("annotation.tasks.send_waiting_imports", 2 * settings.SWEEP_SECONDS),
        "send-waiting-snapshots": _sweep("exports.tasks.send_waiting_snapshots", 2 * settings.SWEEP_SECONDS),
        "send-waiting-publications": _sweep("exports.tasks.send_waiting_publications", 2 * settings.SWEEP_SECONDS),
        "send-waiting-plans": _sweep("routing.tasks.send_waiting_plans", 2 * settings.SWEEP_SECONDS),
        "send-waiting-applications": _sweep("routing.tasks.send_waiting_applications", 2 * settings.SWEEP_SECONDS),
        "send-waiting-studies": _sweep("routing.tasks.send_waiting_studies", 2 * settings.SWEEP_SECONDS),
        "sweep-judge-runs": _sweep("judges.tasks.sweep_runs", settings.SWEEP_SECONDS),
        "poll-judge-batches": _sweep("judges.tasks.poll_batches", settings.JUDGE_BATCH_POLL_SECONDS),
        "forget-old-replies": _sweep("judges.tasks.forget_replies", 24 * 3600.0),
    },
)
app.autodiscover_tasks(["annotation", "judges", "routing", "exports"])


@celeryd_init.connect
def prepare_for_gpu(conf: Any, options: dict[str, Any], **_kwargs: Any) -> None:
    """Set a worker of the queue judges.gpu up for tasks that compute for minutes; refuse it a pool of forked processes.

    With the pool solo a task holds up everything the worker does, its heartbeats too, and RabbitMQ would close a
    connection that misses two. So it has none: a machine that is gone is noticed by TCP, which keeps asking (py-amqp
    sets SO_KEEPALIVE), and work whose worker died by its lease.
    """
    if GPU_QUEUE not in _named(options.get("queues")):
        return
    pool = options.get("pool") or options.get("pool_cls") or conf.worker_pool
    name = pool if isinstance(pool, str) else getattr(pool, "__module__", "")
    if not any(one in name for one in POOLS_OF_ONE_PROCESS):
        # Celery only logs other errors of whom it tells of a start.
        raise SystemExit(
            f"The queue {GPU_QUEUE} is for workers of one process: the pool {name.rpartition('.')[2]} forks, and CUDA "
            f"cannot be used after a fork. Start it with: celery -A config worker -Q {GPU_QUEUE} -P solo"
        )
    conf.broker_heartbeat = 0


def _named(queues: Any) -> list[str]:
    return queues.split(",") if isinstance(queues, str) else list(queues or ())
