"""What a consumer takes: each profile turns records into rows of one fixed schema."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from exports.profiles import dpo
from exports.profiles.columns import Column, LeftOut, Row
from exports.reading import Record
from exports.settings import SnapshotSettings


class Profile(NamedTuple):
    """A profile: its columns in order, and the rows (or the reason for none) of one record."""

    name: str
    columns: Sequence[Column]
    build_rows: Callable[[Record, SnapshotSettings], list[Row] | LeftOut]


PROFILES: dict[str, Profile] = {"dpo": Profile("dpo", dpo.COLUMNS, dpo.build_rows)}

__all__ = ["PROFILES", "Column", "LeftOut", "Profile", "Row"]
