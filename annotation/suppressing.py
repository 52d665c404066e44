"""Names of erased people: kept as digests, so that a file which is read again brings nothing of theirs back.

Names are compared as people read them: whatever their case, spaces around and signs that are not seen.
Nothing is kept that a name could be read from. Whoever has this installation's `SECRET_KEY` and a name can ask whether
that name was erased; that is what an import does. With another key the list is void.
"""

import hashlib
import hmac
import unicodedata
from collections.abc import Iterable

from django.conf import settings

from annotation.models import Project, SuppressedName


def suppress(project: Project, names: Iterable[str]) -> None:
    """Keep names of an erased person, for `Suppressed`. One query."""
    rows = [SuppressedName(project=project, digest=_digest(project, name)) for name in names]
    SuppressedName.objects.bulk_create(rows, ignore_conflicts=True)


class Suppressed:
    """The erased names of a project, as they were when it was made: `name in Suppressed(project)`. One query."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._digests = frozenset(SuppressedName.objects.filter(project=project).values_list("digest", flat=True))

    def __bool__(self) -> bool:
        return bool(self._digests)

    def __contains__(self, name: str) -> bool:
        return bool(self._digests) and _digest(self._project, name) in self._digests


def _digest(project: Project, name: str) -> str:
    seen = "".join(sign for sign in unicodedata.normalize("NFKC", name) if unicodedata.category(sign) != "Cf")
    message = f"tiebreak/suppressed\x1f{project.pk}\x1f{' '.join(seen.casefold().split())}"
    return hmac.new(settings.SECRET_KEY.encode(), message.encode(), hashlib.sha256).hexdigest()
