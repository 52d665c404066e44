"""Public identifiers."""

import uuid

from uuid_utils.compat import uuid7


def new_id() -> uuid.UUID:
    """Return a UUIDv7: unguessable enough to be public, ordered by time so that indexes stay compact."""
    return uuid7()
