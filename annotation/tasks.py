"""Celery tasks of annotation: each takes ids and calls one function."""

from celery import shared_task
from django.utils import timezone

from annotation import assigning, importing, publishing
from annotation.money import sending


@shared_task(name="annotation.tasks.ring_unpublished")
def ring_unpublished() -> int:
    """Ring the events whose message never left (the broker was down when they happened)."""
    return publishing.ring_unpublished()


@shared_task(name="annotation.tasks.expire_leases")
def expire_leases() -> int:
    """Give back the slots of leases that have run out."""
    return assigning.expire_leases(now=timezone.now())


@shared_task(name="annotation.tasks.doubt_payments")
def doubt_payments() -> int:
    """Call payments unclear whose process ended before the platform's answer was stored."""
    return sending.doubt_left_behind(now=timezone.now())


@shared_task(name="annotation.tasks.run_import")
def run_import(import_id: str) -> None:
    """Read an uploaded file into its project."""
    importing.run_import(import_id)


@shared_task(name="annotation.tasks.send_waiting_imports")
def send_waiting_imports() -> int:
    """Send the imports again whose message or worker was lost."""
    return importing.send_waiting_imports(now=timezone.now())
