"""The columns of a profile, once for Parquet, for the card and for the documentation."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import pyarrow as pa

Row = dict[str, Any]

MESSAGES = "messages"
TEXT = "string"
TEXTS = "strings"
INTEGER = "int64"
NUMBER = "float64"
TRUTH = "bool"

_ARROW: dict[str, pa.DataType] = {
    MESSAGES: pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])),
    TEXT: pa.string(),
    TEXTS: pa.list_(pa.string()),
    INTEGER: pa.int64(),
    NUMBER: pa.float64(),
    TRUTH: pa.bool_(),
}


class Column(NamedTuple):
    """A column: its name, its type (one of the constants above) and what it means."""

    name: str
    kind: str
    meaning: str

    def feature(self) -> dict[str, Any]:
        """Return the column as an entry of `dataset_info.features`, the form `datasets` reads."""
        if self.kind == MESSAGES:
            parts = [{"name": "role", "dtype": "string"}, {"name": "content", "dtype": "string"}]
            return {"name": self.name, "list": parts}
        if self.kind == TEXTS:
            return {"name": self.name, "list": "string"}
        return {"name": self.name, "dtype": self.kind}


class LeftOut(StrEnum):
    """Why a pair makes no row."""

    NO_LABEL = "no_label"
    CONTESTED = "contested"
    FLAGGED = "flagged"
    JUDGES_SPLIT = "judges_split"
    NOT_GUARANTEED = "not_guaranteed"
    TIE = "tie"
    BOTH_BAD = "both_bad"
    UNSURE = "unsure"
    IDENTICAL_TEXT = "identical_text"
    LOW_AGREEMENT = "low_agreement"
    SIMULATED_PEOPLE = "simulated_people"


LEFT_OUT_IN_WORDS = {
    LeftOut.NO_LABEL: "nobody has labelled the pair yet",
    LeftOut.CONTESTED: "people share the first place between two answers",
    LeftOut.FLAGGED: "a response speaks to the judge, and no person has answered",
    LeftOut.JUDGES_SPLIT: "two judges answer differently, and no person has answered",
    LeftOut.NOT_GUARANTEED: "the judge's label lies beyond the plan's guarantee, and no person has answered",
    LeftOut.TIE: "neither response is better",
    LeftOut.BOTH_BAD: "both responses are bad",
    LeftOut.UNSURE: "the pair could not be judged",
    LeftOut.IDENTICAL_TEXT: "both responses are the same text",
    LeftOut.LOW_AGREEMENT: "fewer of the people agree than the export asks for",
    LeftOut.SIMULATED_PEOPLE: "simulated people answered it and the export leaves them out",
}


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of a profile's columns, in their order."""
    return pa.schema([pa.field(column.name, _ARROW[column.kind]) for column in columns])
