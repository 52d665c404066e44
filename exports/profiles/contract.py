"""What a profile is: rows of one fixed schema, made from a snapshot's records by a pure function.

A profile gets all pairs of one prompt at a time, in a fixed order, each with the decision about it, and gives rows, or
for a pair that makes none the reason. Rows depend on the records and the context alone: no clock, no database, no order
of a set. The columns are the same in every row; a text is never a list elsewhere; an object becomes a JSON string
unless its parts are fixed. A change of a profile's rows raises its version.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from exports.deciding import Entry
from exports.leaving_out import LeftOut
from exports.profiles.columns import Column, Row
from exports.settings import SnapshotSettings


class Context(NamedTuple):
    """What all rows of an export share.

    `margin` is the unit of its margins ("strength", "scores" or "prob"; empty: none is written), `has_tools` whether
    any prompt offers tools, `people` and `judges` who answered, by the names that the rows have.
    """

    settings: SnapshotSettings
    margin: str = ""
    has_tools: bool = False
    people: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()

    def writes(self, column: Column) -> bool:
        """Say whether an export of this context has the column."""
        return {"": True, "margin": bool(self.margin), "tools": self.has_tools}[column.only_with]


Build = Callable[[Sequence[Entry]], Iterable[Row | LeftOut]]


class Profile(NamedTuple):
    """A profile: its columns in order, and what starts a pass over the records of one split.

    `title` says who takes the rows. A profile with `always_lines` is written as plain JSON lines whatever the
    export's format, since its consumers take nothing else; in Parquet as well where the others are, since `datasets`
    reads all configurations of a folder in one format. `finish` makes the small files that go with the rows.
    """

    name: str
    version: int
    title: str
    columns: Sequence[Column]
    start: Callable[[Context], Build]
    always_lines: bool = False
    wants_calls: bool = False
    document_head: Callable[[Context, str], dict[str, Any]] | None = None

    def written_columns(self, context: Context) -> list[Column]:
        """Return the columns that an export of this context has."""
        return [column for column in self.columns if context.writes(column)]


def each_pair(build: Callable[[Entry, Context], Iterable[Row | LeftOut]]) -> Callable[[Context], Build]:
    """Return a profile's `start` from a function of one pair, decided or not."""

    def start(context: Context) -> Build:
        return lambda entries: (row for entry in entries for row in build(entry, context))

    return start
