"""The outbox: facts leave the database as messages, at least once, after the transaction that made them true."""

import logging
import threading
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from amqp.exceptions import AMQPError, MessageNacked
from celery import current_app
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from kombu import Connection, Producer
from kombu.exceptions import KombuError

from annotation.models import OutboxEvent
from annotation.preparing import PreparedSave

logger = logging.getLogger(__name__)

# How long the broker may take to say that it has a message (measured: 2 ms). One that is out of memory or disk says
# nothing at all.
CONFIRM_SECONDS = 2.0
# Events read and marked at a time.
BATCH = 100


def publish(topic: str, payload: dict[str, Any]) -> OutboxEvent:
    """Record a fact, and have its consumers rung soon after. Caller holds the transaction that makes the fact true.

    A broker that is down costs nothing: the row stays and `ring_unpublished` tries again.
    """
    event = OutboxEvent(topic=topic, payload=payload)
    _EVENT.save(event)
    transaction.on_commit(_relay.ring_soon)
    return event


_EVENT = PreparedSave(OutboxEvent)


class _Relay:
    """Asks a worker to ring what was published, once for all that comes in within a moment.

    Every answer of a person is a fact. Ringing each in its request took two confirmed messages and two queries; so a
    request only sees to it that a message leaves within `OUTBOX_DELAY_SECONDS` of its commit. A process that dies
    before loses nothing: the sweep finds the row.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = False

    def ring_soon(self) -> None:
        """Send the message now where no delay is set, else with the next that leaves."""
        if not settings.OUTBOX_DELAY_SECONDS:
            wake([RING], {})
            return
        with self._lock:
            if self._waiting:
                return
            self._waiting = True
        timer = threading.Timer(settings.OUTBOX_DELAY_SECONDS, self._ring)
        timer.daemon = True
        timer.start()

    def _ring(self) -> None:
        with self._lock:
            # What commits from here on asks for a message of its own.
            self._waiting = False
        wake([RING], {})


RING = "annotation.tasks.ring_unpublished"
_relay = _Relay()


def wake(tasks: Sequence[str], payload: dict[str, Any]) -> bool:
    """Send a message with the same arguments to each task; say whether the broker took them, in seconds at most.

    Raises nothing for a broker that is down or refuses: what the message is about is a row, and a sweeper sends it
    again.
    """
    try:
        _send(tasks, payload)
    # OSError: the folder of a filesystem broker is gone or full. AMQPError: RabbitMQ has the queue otherwise declared.
    except (KombuError, AMQPError, MessageNacked, OSError) as error:
        logger.warning("%s of %s waits: the broker does not take it (%s)", ", ".join(tasks), _shown(payload), error)
        return False
    return True


def _shown(payload: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in payload.items())[:200]


def _send(tasks: Sequence[str], payload: dict[str, Any]) -> None:
    if not tasks:
        return
    with current_app.producer_or_acquire() as producer:
        connection = producer.connection
        kept = connection.connected
        try:
            _send_once(producer, connection, tasks, payload)
        except Exception as error:
            # Not for the next one: a late confirmation would be taken for its own, and a connection that RabbitMQ
            # has stopped reading never answers again.
            connection.collect()
            if not kept or isinstance(error.__cause__, TimeoutError):
                raise
            # Kept from before the broker was started anew.
            producer.revive(connection)
            _send_once(producer, connection, tasks, payload)


def _send_once(producer: Producer, connection: Connection, tasks: Sequence[str], payload: dict[str, Any]) -> None:
    # One try to connect: a web request must never wait for a broker, and the row is there for the next round.
    # `retry=False` alone is not enough: a producer without a connection asks for one again and again (measured: 6 s).
    connection.ensure_connection(max_retries=0)
    for task in tasks:
        current_app.send_task(task, kwargs=payload, producer=producer, retry=False, confirm_timeout=CONFIRM_SECONDS)


def ring_unpublished(limit: int = 1000) -> int:
    """Ring events whose message never left, oldest first; stop at the first refusal. Return how many left.

    Consumers are idempotent: an event may ring twice when two relays meet. Three queries a hundred events.
    """
    waiting = OutboxEvent.objects.filter(published_at__isnull=True).order_by("created_at", "pk")
    rung = 0
    while rung < limit:
        batch = list(waiting[: min(BATCH, limit - rung)])
        left = list(takewhile(_ring, batch))
        OutboxEvent.objects.filter(pk__in=[event.pk for event in left]).update(published_at=timezone.now())
        rung += len(left)
        if len(left) < BATCH:
            break
    return rung


def _ring(event: OutboxEvent) -> bool:
    """Send an event to the tasks that `OUTBOX_CONSUMERS` names; say whether the broker took it."""
    return wake(settings.OUTBOX_CONSUMERS.get(event.topic, []), event.payload)
