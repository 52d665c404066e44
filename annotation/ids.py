"""Public identifiers."""

import uuid
from collections.abc import Iterable

from django.db.models import CharField
from django.db.models.functions import Cast
from uuid_utils.compat import uuid7


def new_id() -> uuid.UUID:
    """Return a UUIDv7: unguessable enough to be public, ordered by time so that indexes stay compact."""
    return uuid7()


def id_text(name: str) -> Cast:
    """Return the column of that name for `values_list`, as text: making UUIDs of many takes long.

    The text is the database's own; `spelled_ids` makes of it what `str` makes of a UUID.
    """
    return Cast(name, CharField())


def spelled_ids(texts: Iterable[str]) -> list[str]:
    """Return what `id_text` brought as ids are written: SQLite leaves the hyphens out."""
    return [f"{one[:8]}-{one[8:12]}-{one[12:16]}-{one[16:20]}-{one[20:]}" if len(one) == 32 else one for one in texts]
