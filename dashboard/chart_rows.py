"""A chart before it is drawn: its rows, and how its table writes them."""

import hashlib
import json
from typing import Any, NamedTuple


class Column(NamedTuple):
    """A column of a chart's table; `kind` is 'text', 'count', 'share' or 'usd'."""

    key: str
    title: str
    kind: str


class Chart(NamedTuple):
    """A chart with data: `key` changes with what it draws, so an image can be kept for ever."""

    name: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: list[dict[str, Any]]
    extra: dict[str, Any]

    @property
    def key(self) -> str:
        """Return a hash of everything that is drawn."""
        drawn = json.dumps([self.name, self.rows, self.extra], sort_keys=True)
        return hashlib.sha256(drawn.encode()).hexdigest()[:16]

    def table(self) -> list[list[tuple[Any, str]]]:
        """Return the rows as cells of value and kind, in the order of the columns."""
        return [[(row[column.key], column.kind) for column in self.columns] for row in self.rows]
