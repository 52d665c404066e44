"""Celery tasks of annotation: each takes ids and calls one function."""

from celery import shared_task
from django.utils import timezone, translation

from annotation import assigning, importing, publishing, ruling
from annotation.joining import links, throttling
from annotation.models import Project, Rater
from annotation.money import sending


@shared_task(name="annotation.tasks.ring_unpublished")
def ring_unpublished() -> int:
    """Ring the events whose message never left (the broker was down when they happened)."""
    return publishing.ring_unpublished()


@shared_task(name="annotation.tasks.expire_leases")
def expire_leases() -> int:
    """Give back the slots of leases that have run out."""
    return assigning.expire_leases(now=timezone.now())


@shared_task(name="annotation.tasks.mail_link")
def mail_link(named: str, site: str, language: str) -> None:
    """Mail a link that signs in, if there is whom to."""
    with translation.override(language):
        links.mail_link(named, site=site, now=timezone.now())


@shared_task(name="annotation.tasks.forget_old")
def forget_old() -> int:
    """Delete what only counted or opened something for a while."""
    now = timezone.now()
    return throttling.forget_old(now) + links.forget_old(now)


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


@shared_task(name="annotation.tasks.look_at_rater")
def look_at_rater(rater_id: str) -> None:
    """Look at somebody after an answer on gold. Idempotent; a person who was deleted needs no look."""
    rater = Rater.objects.select_related("project").filter(pk=rater_id).first()
    if rater is not None:
        ruling.look_at(rater, now=timezone.now())


@shared_task(name="annotation.tasks.look_again")
def look_again(project_id: str) -> None:
    """Look again at the people whom a rule paused, after a known answer was revoked. Idempotent."""
    project = Project.objects.filter(pk=project_id).first()
    if project is not None:
        ruling.look_again(project, now=timezone.now())
