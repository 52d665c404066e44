"""What a profile's rows come to, counted as they are written."""

from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from exports.digesting import digest
from exports.leaving_out import LeftOut
from exports.profiles.columns import Row

TALLIED = {
    "label_sources": "label_source",
    "licenses": "license",
    "rationale_sources": "rationale_source",
    "rationale_origins": "rationale_origin",
    "route_sources": "route_source",
    "orders": "order",
    "label_rules": "label_rule",
    "annotator_types": "annotator_type",
}


class Tally:
    """Counts of one profile. 16 bytes a row are held, to find contents that repeat or contradict each other."""

    def __init__(self, splits: tuple[str, ...]) -> None:
        self.splits: dict[str, int] = dict.fromkeys(splits, 0)
        self.left_out: Counter[str] = Counter()
        self._values: dict[str, Counter[str]] = {name: Counter() for name in TALLIED}
        self._origins: Counter[str] = Counter()
        self._contents, self._winners = array("Q"), array("Q")

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(self.splits.values())

    def add(self, split: str, row: Row) -> None:
        """Count a row."""
        self.splits[split] += 1
        for name, column in TALLIED.items():
            if value := row.get(column):
                self._values[name][str(value)] += 1
        self._origins.update(set(row.get("annotator_origins", ())))
        if "content_id" in row and "chosen" in row:
            self._contents.append(digest(row["content_id"]))
            self._winners.append(digest(row["chosen"][0]["content"]))

    def leave_out(self, reason: LeftOut) -> None:
        """Count a pair that makes no row."""
        self.left_out[reason.value] += 1

    def to_json(self) -> dict[str, Any]:
        """Return the counts."""
        contents = np.frombuffer(self._contents, dtype=np.uint64) if self._contents else np.zeros(0, dtype=np.uint64)
        winners = np.frombuffer(self._winners, dtype=np.uint64) if self._winners else np.zeros(0, dtype=np.uint64)
        answers = np.unique(np.stack([contents, winners], axis=1), axis=0)[:, 0]
        different, answered = np.unique(answers, return_counts=True)
        return {
            "rows": self.rows,
            "splits": self.splits,
            "left_out": _sorted(self.left_out),
            **{name: _sorted(counted) for name, counted in self._values.items()},
            "annotator_origins": _sorted(self._origins),
            "repeated_content": len(contents) - len(different),
            "contradicting_content": int((answered > 1).sum()),
        }


def _sorted(counted: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counted.items()))
