"""Guidelines as people have them: versions, what changed since somebody read them, and that they read them."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from annotation.answering import NOTE_LIMIT, storable
from annotation.errors import AnnotationError, GuidelinesChanged
from annotation.models import GuidelinesVersion, Project, Rater, User

GUIDELINES_LIMIT = 100_000
# Lines shown around a change, so that a reader finds the place.
CONTEXT = 1


class DiffLine(NamedTuple):
    """One line of a comparison; a gap stands for lines that are the same and not shown."""

    kind: Literal["same", "added", "removed", "gap"]
    text: str


class Notice(NamedTuple):
    """What changed since somebody read the guidelines: each newer version, and old against new line by line."""

    number: int
    versions: list[GuidelinesVersion]
    changes: list[DiffLine]


class Revision(NamedTuple):
    """A version and how it differs from the one before."""

    version: GuidelinesVersion
    changes: list[DiffLine]


def normalised(text: str) -> str:
    """Return a text with the line ends and edges that guidelines are stored with, however a form sent it."""
    return text.replace("\r\n", "\n").strip()


def revise_guidelines(
    project: Project, *, text: str, note: str = "", by: User | None = None, based_on: int | None = None
) -> GuidelinesVersion:
    """Store a text as the next version and as the project's guidelines; the same text again makes none.

    `based_on` is the number that the author began from: a newer one raises `GuidelinesChanged`. Raises
    `AnnotationError` for a first text that is empty and for what cannot be stored. Locks the project.
    """
    text = storable(normalised(text), field="guidelines", limit=GUIDELINES_LIMIT)
    note = storable(normalised(note), field="note", limit=NOTE_LIMIT)
    with transaction.atomic():
        locked = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        latest = _latest_with_what_was_set_directly(locked)
        if based_on is not None and latest is not None and based_on != latest.number:
            raise GuidelinesChanged(
                f"Version {latest.number} was stored while you wrote, so yours would undo it. Compare the two, then "
                "store yours again."
            )
        if latest is None and not text:
            raise AnnotationError("There are no guidelines yet, and this text is empty. Write something first.")
        if latest is None or latest.text != text:
            latest = _add_version(locked, text, note=note, by=by)
    project.guidelines, project.guidelines_number = locked.guidelines, locked.guidelines_number
    return latest


def _latest_with_what_was_set_directly(project: Project) -> GuidelinesVersion | None:
    """Return the newest version; guidelines that were set past this module become one first, so that none is lost."""
    latest = versions_of(project).first()
    if project.guidelines != (latest.text if latest else ""):
        return _add_version(project, project.guidelines)
    return latest


def _add_version(project: Project, text: str, *, note: str = "", by: User | None = None) -> GuidelinesVersion:
    """Caller holds the project's row, or has just made it."""
    project.guidelines, project.guidelines_number = text, project.guidelines_number + 1
    project.save(update_fields=["guidelines", "guidelines_number"])
    return GuidelinesVersion.objects.create(
        project=project, number=project.guidelines_number, text=text, note=note, created_by=by
    )


def begin_guidelines(project: Project, *, by: User | None = None) -> None:
    """Make version 1 of a project that was just made with guidelines. Caller holds a transaction."""
    if project.guidelines:
        _add_version(project, project.guidelines, by=by)


def versions_of(project: Project) -> "QuerySet[GuidelinesVersion]":
    """Return a project's versions, the newest first."""
    return GuidelinesVersion.objects.filter(project=project).select_related("created_by").order_by("-number")


def history_of(project: Project, *, limit: int) -> list[Revision]:
    """Return the newest versions, each with what it changed; one query."""
    versions = list(versions_of(project)[: limit + 1])
    earlier = [version.text for version in versions[1:]]
    return [
        Revision(version, changed_lines(before, version.text) if before is not None else [])
        for version, before in zip(versions[:limit], [*earlier, None], strict=False)
    ]


def notice_for(project: Project, rater: Rater) -> Notice | None:
    """Return what changed since this person read the guidelines; None where nothing did, or they never read any.

    No query where there is nothing to tell, one otherwise.
    """
    if not 0 < rater.guidelines_read < project.guidelines_number:
        return None
    since = list(versions_of(project).filter(number__gte=rater.guidelines_read))
    if len(since) < 2:
        return None
    *newer, read = since
    return Notice(number=newer[0].number, versions=newer, changes=changed_lines(read.text, newer[0].text))


def mark_read(rater: Rater, number: int) -> None:
    """Keep that a person read the guidelines up to this version; an older one than they read changes nothing.

    Raises `AnnotationError` for a version that is not there: it would hide the notice of a later one.
    """
    if not GuidelinesVersion.objects.filter(project_id=rater.project_id, number=number).exists():
        raise AnnotationError(_("There is no such version of the guidelines. Open them again."))
    Rater.objects.filter(pk=rater.pk, guidelines_read__lt=number).update(guidelines_read=number)
    rater.guidelines_read = max(rater.guidelines_read, number)


def changed_lines(old: str, new: str) -> list[DiffLine]:
    """Return two texts line by line: what was removed and added, a line around it, gaps for the rest; no lines if same.

    Empty lines that come or go are left out: they are no change of what is asked.
    """
    before, after = ([line for line in text.splitlines() if line.strip()] for text in (old, new))
    groups = difflib.SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(CONTEXT)
    lines: list[DiffLine] = []
    shown_to = 0
    for group in groups:
        if group[0][1] > shown_to:
            lines.append(DiffLine("gap", ""))
        lines.extend(_lines_of(group, before, after))
        shown_to = group[-1][2]
    if lines and shown_to < len(before):
        lines.append(DiffLine("gap", ""))
    return lines


def _lines_of(
    group: Sequence[tuple[str, int, int, int, int]], before: list[str], after: list[str]
) -> Iterator[DiffLine]:
    for tag, old_from, old_to, new_from, new_to in group:
        if tag == "equal":
            yield from (DiffLine("same", line) for line in before[old_from:old_to])
        else:
            yield from (DiffLine("removed", line) for line in before[old_from:old_to])
            yield from (DiffLine("added", line) for line in after[new_from:new_to])
