"""Celery tasks of exports: each takes ids and calls one function."""

from celery import shared_task
from django.utils import timezone

from exports import snapshotting
from exports.publishing import queueing


@shared_task(name="exports.tasks.write_snapshot")
def write_snapshot(snapshot_id: str) -> None:
    """Write a queued snapshot."""
    snapshotting.write_snapshot(snapshot_id)


@shared_task(name="exports.tasks.send_waiting_snapshots")
def send_waiting_snapshots() -> int:
    """Send the snapshots again whose message or worker was lost."""
    return snapshotting.send_waiting_snapshots(now=timezone.now())


@shared_task(name="exports.tasks.publish")
def publish(publication_id: str) -> None:
    """Carry out a queued publication, or go on with one whose worker died."""
    queueing.work_publication(publication_id)


@shared_task(name="exports.tasks.send_waiting_publications")
def send_waiting_publications() -> int:
    """Send the publications again whose message or worker was lost."""
    return queueing.send_waiting_publications(now=timezone.now())
