"""The application on loopback, for the length of a simulation, and the looks at gold that a worker takes."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.utils import timezone

from annotation.models import OutboxEvent, Project, Rater
from annotation.ruling import look_at
from annotation.simulating.registering import CannotSimulate
from annotation.submitting import GOLD_ANSWERED


class _Quiet(WSGIRequestHandler):
    """Writes no line a request."""

    def log_message(self, *args: Any) -> None:
        """Write nothing."""


@contextmanager
def served(**options: Any) -> Iterator[str]:
    """Serve the application at a free port of this machine only, and give its address. Raises `CannotSimulate`."""
    if getattr(settings, "PRODUCTION", False):
        raise CannotSimulate("In production the application is served already: name it with --url https://….")
    server = ThreadedWSGIServer(("127.0.0.1", 0), _Quiet, **options)
    server.set_app(WSGIHandler())
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    # That somebody is refused is part of a crowd, and is counted.
    refusals = logging.getLogger("django.request")
    level = refusals.level
    refusals.setLevel(logging.ERROR)
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        refusals.setLevel(level)
        server.shutdown()
        server.server_close()
        thread.join()


def gold_looker(project: Project) -> Callable[[], None]:
    """Return what looks at everybody who answered gold since the last look, as a worker does (`gold_answered`).

    A simulation may run without workers; where one runs as well, a second look changes nothing.
    """
    looked: set[UUID] = set()

    def look() -> None:
        told = OutboxEvent.objects.filter(published_at__isnull=True, topic=GOLD_ANSWERED, created_at__gte=since[0])
        for event in told.order_by("created_at"):
            since[0] = event.created_at
            if event.pk not in looked:
                looked.add(event.pk)
                theirs = Rater.objects.select_related("project").filter(project=project, pk=event.payload["rater_id"])
                for rater in theirs:
                    look_at(rater, now=timezone.now())

    since = [timezone.now()]
    return look
