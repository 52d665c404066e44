"""Publications as rows: begun, carried out by a worker or in this process, gone on with after a death."""

import logging
import re
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from annotation.errors import TiebreakError
from annotation.models import User
from annotation.publishing import wake
from exports.erasing import warning_of
from exports.errors import ExportError
from exports.models import Place, Publication, PublicationState, Snapshot, SnapshotState
from exports.models.publications import UNDER_WAY
from exports.publishing.errors import NotConfirmed, PublishingError
from exports.publishing.folders import LocalFolder
from exports.publishing.places import MANIFEST, Publisher, Tell, check_repository, parse_manifest
from exports.publishing.sending import publish

logger = logging.getLogger(__name__)

TASK = "exports.tasks.publish"
TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
COMMIT = re.compile(r"[0-9a-f]{40}")
# A worker that did not say anything for so long is dead. Two at once do no harm: the parent lets one commit through.
LEASE = timedelta(minutes=15)
LOST_AFTER = timedelta(minutes=2)


def begin(
    export: Snapshot | Path,
    target: str,
    *,
    tag: str = "",
    onto: str = "",
    public: str = "",
    created_by: User | None = None,
) -> Publication:
    """Write down that an export is to be published at `target`, and return the row; nothing is sent.

    `target` is NAMESPACE/NAME on the Hub, or a folder's path that begins with `/`, `./`, `../` or `~`. `onto` is a
    commit there that may be written over. `public` is the target once more, to make it public. Where the same export
    is under way to the same target, that row is returned. Raises `PublishingError` in words.
    """
    folder, snapshot = _folder_of(export)
    manifest = _manifest_of(folder)
    _refuse_erased(snapshot or Snapshot.objects.filter(content_hash=manifest["content_hash"]).first())
    place, named = place_of(target)
    if public and public != target:
        raise NotConfirmed(
            f"To make it public, type its name again as it is: {target}. {public!r} is another; nothing was sent."
        )
    if public and place == Place.FOLDER:
        raise PublishingError(f"{named} is a folder; who may read it is for its permissions to say.")
    if onto and not COMMIT.fullmatch(onto):
        raise PublishingError(f"{onto[:60]!r} is no commit: 40 digits and letters a-f, as the refusal named it.")
    tag = tag or (f"v{snapshot.number}" if snapshot else f"export-{manifest['content_hash'][:12]}")
    if not TAG.fullmatch(tag) or COMMIT.fullmatch(tag):
        raise PublishingError(f"{tag[:60]!r} cannot be a tag: letters, digits, '.', '-' and '_', as in v1.2.")
    publication = Publication(
        project=snapshot.project if snapshot else None,
        snapshot=snapshot,
        place=place,
        address=settings.HUB_URL if place == Place.HUB else "",
        target=named,
        folder=str(folder),
        project_slug=manifest["project"],
        content_hash=manifest["content_hash"],
        tag=tag,
        onto=onto,
        wants_public=bool(public),
        created_by=created_by,
    )
    try:
        with transaction.atomic():
            publication.save(force_insert=True)
    except IntegrityError:
        return _under_way(publication)
    return publication


def _refuse_erased(snapshot: Snapshot | None) -> None:
    """Raise `PublishingError` for an export that may hold answers of people who were erased since."""
    if snapshot is not None and (warning := warning_of(snapshot)):
        raise PublishingError(f"It was not published. {warning}")


def queue_publication(
    snapshot: Snapshot,
    target: str,
    *,
    tag: str = "",
    onto: str = "",
    public: str = "",
    created_by: User | None = None,
) -> Publication:
    """Have a worker publish a snapshot on the Hub. Raises `PublishingError` as `begin` does.

    A broker that is down loses nothing: the row waits, and `send_waiting_publications` sends it again.
    """
    if place_of(target)[0] != Place.HUB:
        raise PublishingError(f"{target[:100]!r} is no repository of the Hub: write NAMESPACE/NAME.")
    with transaction.atomic():
        publication = begin(snapshot, target, tag=tag, onto=onto, public=public, created_by=created_by)
        transaction.on_commit(lambda: _send(publication.pk))
    return publication


def try_again(publication: Publication, *, public: str = "") -> Publication:
    """Have a worker go on with a publication that failed, or make one public that is done (`public` names it again).

    Raises `PublishingError` while it is under way, or another one to the same place is.
    """
    if public and public != publication.target:
        raise NotConfirmed(
            f"To make it public, type its name as it is: {publication.target}. {public[:100]!r} is another; nothing "
            "was sent."
        )
    _refuse_erased(publication.snapshot)
    ended = [PublicationState.DONE, PublicationState.FAILED] if public else [PublicationState.FAILED]
    waiting = Publication.objects.filter(pk=publication.pk, state__in=ended)
    values: dict[str, object] = {"state": PublicationState.QUEUED, "error": "", "stage": "", "lease_until": None}
    if public:
        values["wants_public"] = True
    try:
        with transaction.atomic():
            moved = waiting.update(**values)
    except IntegrityError:
        raise PublishingError(f"Another publication to {publication.target} is under way; wait for its end.") from None
    if not moved:
        raise PublishingError(f"The publication to {publication.target} is not one that has ended.")
    _send(publication.pk)
    publication.refresh_from_db()
    return publication


def carry_out(
    publication: Publication, *, publisher: Publisher | None = None, tell: Tell = lambda stage: None
) -> Publication:
    """Carry a publication out in this process and return it as it ended; what goes wrong is in its `error`.

    Anything but a `TiebreakError` is raised as well. Nothing where it has ended already.
    """
    under_way = Publication.objects.filter(pk=publication.pk, state__in=UNDER_WAY)
    if not under_way.update(state=PublicationState.RUNNING, lease_until=timezone.now() + LEASE):
        publication.refresh_from_db()
        return publication
    publication.refresh_from_db()
    running = Publication.objects.filter(pk=publication.pk, state=PublicationState.RUNNING)

    def said(stage: str) -> None:
        tell(stage)
        running.update(stage=stage[:200], lease_until=timezone.now() + LEASE)

    try:
        publish(publication, publisher or publisher_of(publication), tell=said)
    except TiebreakError as error:
        running.update(state=PublicationState.FAILED, error=str(error), finished_at=timezone.now())
    except Exception as error:
        # The kind of error alone: its text may hold what was sent.
        reason = f"The publication broke off ({type(error).__name__}). Try again: the place is looked at first."
        running.update(state=PublicationState.FAILED, error=reason, finished_at=timezone.now())
        raise
    else:
        running.update(state=PublicationState.DONE, error="", stage="", finished_at=timezone.now())
    publication.refresh_from_db()
    return publication


def work_publication(publication_id: UUID | str) -> None:
    """Carry out a publication that waits, or whose worker died. Idempotent; one that somebody holds is left alone."""
    now = timezone.now()
    free = Q(lease_until__isnull=True) | Q(lease_until__lt=now)
    claimed = Publication.objects.filter(free, pk=publication_id, state__in=UNDER_WAY)
    if not claimed.update(state=PublicationState.RUNNING, lease_until=now + LEASE):
        return
    publication = carry_out(Publication.objects.get(pk=publication_id))
    if publication.error:
        logger.info("publication %s ended: %s", publication.pk, publication.error)


def send_waiting_publications(*, now: datetime) -> int:
    """Send the publications again whose message or worker was lost; return how many messages left."""
    lost = Q(lease_until__isnull=True, created_at__lt=now - LOST_AFTER) | Q(lease_until__lt=now)
    sent = 0
    for publication_id in Publication.objects.filter(lost, state__in=UNDER_WAY).values_list("id", flat=True):
        if not _send(publication_id):
            break
        sent += 1
    return sent


def place_of(target: str) -> tuple[Place, str]:
    """Return what a target names: a repository of the Hub as it is, or a folder by its absolute path."""
    if target.startswith(("/", "./", "../", "~")):
        return Place.FOLDER, str(Path(target).expanduser().resolve())
    check_repository(target)
    return Place.HUB, target


def publisher_of(publication: Publication) -> Publisher:
    """Return the publisher of a publication's place. Raises `PublishingError` where the site names another Hub now."""
    if publication.place == Place.FOLDER:
        return LocalFolder(Path(publication.target))
    if publication.address != settings.HUB_URL:
        raise PublishingError(
            f"It was begun at {publication.address}, and this site publishes at {settings.HUB_URL} now "
            "(TIEBREAK_HUB_URL)."
        )
    # Only here, as its client takes a third of a second to import.
    from exports.publishing.hub import HfHub

    return HfHub(publication.target)


def _send(publication_id: UUID) -> bool:
    return wake([TASK], {"publication_id": str(publication_id)})


def _under_way(wanted: Publication) -> Publication:
    """Return the row that is under way to the same place, if it is of the same export and asks for the same."""
    there = Publication.objects.filter(
        place=wanted.place, address=wanted.address, target=wanted.target, state__in=UNDER_WAY
    ).first()
    if there is None:
        raise PublishingError(f"Another publication to {wanted.target} ended this moment. Publish again.")
    same = ("content_hash", "tag", "onto", "wants_public")
    if any(getattr(there, name) != getattr(wanted, name) for name in same):
        raise PublishingError(
            f"The publication of {there.tag} to {there.target} is under way since {there.created_at:%d %B, %H:%M} UTC. "
            "Wait for its end, then publish again."
        )
    return there


def _folder_of(export: Snapshot | Path) -> tuple[Path, Snapshot | None]:
    if isinstance(export, Path):
        folder = export.resolve()
        snapshot = Snapshot.objects.filter(folder=str(folder), state=SnapshotState.DONE).order_by("-created_at").first()
        return folder, snapshot
    if export.state != SnapshotState.DONE:
        raise ExportError(f"Export {export.number} of {export.project} is not finished, so it cannot be published.")
    return Path(export.folder), export


def _manifest_of(folder: Path) -> dict[str, str]:
    path = folder / MANIFEST
    manifest = parse_manifest(path.read_bytes()) if path.is_file() else None
    if manifest is None:
        raise ExportError(
            f"{folder} holds no finished export (no {MANIFEST} of one). Write it: manage.py export_dataset."
        )
    return manifest
