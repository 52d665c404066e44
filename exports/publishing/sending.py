"""An export goes to a place: looked at, staged, committed once, tagged, read back, and only then public.

A commit is never sent blindly. Its parent and the intent are stored first; whatever happens to the call, the place is
looked at before another, and the parent sees to it that of two calls one is taken. So a process that dies anywhere is
gone on with from the row and the place alone, and the same export twice makes no second commit.
"""

from datetime import datetime
from pathlib import Path

from django.utils import timezone

from exports.models import Publication, PublicationState
from exports.publishing.errors import (
    NotConfirmed,
    PlaceBusy,
    PlaceTaken,
    PlaceUnreachable,
    PublishingError,
    ReadBackDiffers,
    StaleParent,
    TagTaken,
)
from exports.publishing.places import (
    MANIFEST,
    MANIFEST_LIMIT_BYTES,
    Export,
    Publisher,
    Seen,
    Tell,
    parse_manifest,
    read_export,
)

# Looks and calls of one commit before a person is asked.
COMMIT_TRIES = 3
# What a repository has from the start.
FROM_THE_START = frozenset({".gitattributes"})
MARK = "tiebreak-publication"


def publish(publication: Publication, publisher: Publisher, *, tell: Tell) -> None:
    """Carry out a publication, or go on with it from wherever it stopped.

    Stores every step before the next. Raises `PublishingError` (and `ExportError` for an export that changed) in
    words; what was stored stays, so that it can be gone on with. Not to be called in a transaction.
    """
    tell("check the export")
    export = read_export(Path(publication.folder))
    if export.content_hash != publication.content_hash:
        raise PublishingError(f"{export.folder} holds another export than the one that was to be published.")
    if not publication.commit:
        _commit(publication, publisher, export, tell)
    tell(f"tag {publication.tag}")
    publisher.tag(publication.tag, publication.commit)
    _read_back(publication, publisher, export, tell)
    _show(publication, publisher, tell)


def _commit(publication: Publication, publisher: Publisher, export: Export, tell: Tell) -> None:
    """Have the place hold the export, and store the commit by which it does."""
    tell("look at the place")
    seen = publisher.look()
    if seen is None:
        tell("make the place")
        publisher.create()
        seen = publisher.look()
    if seen is None:
        raise PublishingError(f"{publication.target} was made and cannot be seen. Try again in a minute.")
    if _settled(publication, publisher, export, seen):
        return
    parent = _parent(publication, seen)
    _check(publication, seen, parent)
    publisher.stage(export.files, tell)
    for left in reversed(range(COMMIT_TRIES)):
        # Staging takes time, and so does a wait: what is there now counts.
        seen = publisher.look()
        if seen is None:
            raise PublishingError(f"{publication.target} is gone. Publish again to make it anew.")
        if _settled(publication, publisher, export, seen):
            return
        _check(publication, seen, parent)
        _store(publication, parent=parent, sent_at=timezone.now(), is_public=seen.is_public)
        tell("commit")
        try:
            commit = publisher.commit(
                export.files,
                delete=_no_longer(publisher, export, seen),
                parent=parent,
                title=f"{publication.tag}: export of {export.project_slug}, content {export.content_hash[:12]}",
                mark=mark_of(publication),
            )
        except PublishingError as error:
            if _was_taken(publication, publisher, export):
                return
            if not left or not isinstance(error, PlaceBusy | PlaceUnreachable):
                raise
            tell("wait")
            publisher.wait_after(error)
        else:
            _store(publication, commit=commit)
            return


def _settled(publication: Publication, publisher: Publisher, export: Export, seen: Seen) -> bool:
    """Store the commit where there is one already: ours from before, or a head that holds the very same export."""
    ours = publisher.find(mark_of(publication), after=publication.parent) if publication.sent_at else ""
    if ours:
        _store(publication, commit=ours, is_public=seen.is_public)
    elif seen.holds(export):
        _confirm(publication, seen)
        _check_tag(publication, seen, seen.head)
        _store(publication, commit=seen.head, was_there=True, is_public=seen.is_public)
    return bool(publication.commit)


def _was_taken(publication: Publication, publisher: Publisher, export: Export) -> bool:
    """Say whether a commit was taken whose answer did not arrive. What cannot be looked at now is looked at later."""
    try:
        seen = publisher.look()
        return seen is not None and _settled(publication, publisher, export, seen)
    except (PlaceBusy, PlaceUnreachable):
        return False


def _parent(publication: Publication, seen: Seen) -> str:
    """Return the state that the commit goes onto: one that a person named, the last that we made, or an empty place."""
    if publication.onto:
        return publication.onto
    before = (
        Publication.objects.filter(
            place=publication.place,
            address=publication.address,
            target=publication.target,
            project_slug=publication.project_slug,
        )
        .exclude(commit="")
        .exclude(pk=publication.pk)
        .order_by("-created_at")
        .first()
    )
    if before is not None:
        return before.commit
    if set(seen.files) - FROM_THE_START:
        raise PlaceTaken(
            f"{publication.target} holds files that {publication.project_slug} did not publish there from this site: "
            f"{', '.join(sorted(seen.files)[:5])}. Name another place; or look at it, and to write over it publish "
            f"again onto {seen.head} (--onto)."
        )
    return seen.head


def _check(publication: Publication, seen: Seen, parent: str) -> None:
    """Raise unless the place is as it has to be for a commit: unchanged, and public only where that was confirmed."""
    if seen.head != parent:
        raise StaleParent(
            f"{publication.target} was changed since this site published there: it stands at {seen.head}, not at "
            f"{parent}. Look at what was changed; to write over it, publish again onto {seen.head} (--onto)."
        )
    _confirm(publication, seen)
    _check_tag(publication, seen, "")


def _confirm(publication: Publication, seen: Seen) -> None:
    if seen.is_public and not publication.wants_public:
        raise NotConfirmed(
            f"{publication.target} is public: everybody would see the export. Make it private first, or publish again "
            f"and name it a second time (--public {publication.target})."
        )


def _check_tag(publication: Publication, seen: Seen, commit: str) -> None:
    if publication.tag in seen.tags and seen.tags[publication.tag] != commit:
        raise TagTaken(
            f"The tag {publication.tag} of {publication.target} stands for another state "
            f"({seen.tags[publication.tag][:12]}). Nothing was sent; publish again under another tag (--tag)."
        )


def _no_longer(publisher: Publisher, export: Export, seen: Seen) -> list[str]:
    """Return the files that the export there now had and this one has not. What others put beside them stays."""
    if MANIFEST not in seen.files:
        return []
    manifest = parse_manifest(publisher.read(MANIFEST, commit=seen.head, limit=MANIFEST_LIMIT_BYTES))
    there = set(manifest["files"] if manifest else ()) & set(seen.files)
    return sorted(there - {file.path for file in export.files})


def _read_back(publication: Publication, publisher: Publisher, export: Export, tell: Tell) -> None:
    """Read every file of the commit and compare. Raises `ReadBackDiffers`, and then nothing is made public."""
    for number, file in enumerate(export.files, start=1):
        tell(f"read back {number} of {len(export.files)}: {file.path}")
        found = publisher.hash_of(file.path, commit=publication.commit)
        if found != file.sha256:
            came = f"with the SHA-256 {found[:12]}" if found else "not at all"
            raise ReadBackDiffers(
                f"{file.path} came back {came}, not with {file.sha256[:12]} as it was sent (commit "
                f"{publication.commit[:12]} of {publication.target}). Do not use that commit. Try again to read it "
                "once more; if it stays so, remove it there."
            )


def _show(publication: Publication, publisher: Publisher, tell: Tell) -> None:
    """Make the place public where a person confirmed that, now that all of it is known to be right."""
    if publication.wants_public and not publication.is_public:
        tell("make public")
        publisher.make_public()
        _store(publication, is_public=True)


def mark_of(publication: Publication) -> str:
    """Return what finds a publication's commit among others."""
    return f"{MARK}: {publication.pk}"


def _store(publication: Publication, **values: str | bool | datetime) -> None:
    for name, value in values.items():
        setattr(publication, name, value)
    Publication.objects.filter(pk=publication.pk, state=PublicationState.RUNNING).update(**values)
