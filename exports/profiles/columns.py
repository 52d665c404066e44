"""The columns of a profile: once for Parquet, for the card, for the JSON schema and for the documentation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from exports.settings import TERMS

Row = dict[str, Any]
Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """A type of a column: its name in the card, its Arrow type, and the JSON schema of its values."""

    name: str
    arrow: pa.DataType
    schema: Schema = field(default_factory=dict)


def object_schema(properties: Mapping[str, Schema]) -> dict[str, Any]:
    """Return the schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def one_object(**parts: Kind) -> Kind:
    """Return one object with exactly these parts."""
    struct = pa.struct([(name, part.arrow) for name, part in parts.items()])
    return Kind("object", struct, object_schema({name: part.schema for name, part in parts.items()}))


def several(part: Kind, **limits: Any) -> Kind:
    """Return a list of values of one kind."""
    return Kind(f"list of {part.name}", pa.list_(part.arrow), {"type": "array", "items": part.schema, **limits})


def list_of(**parts: Kind) -> Kind:
    """Return a list of objects with exactly these parts."""
    return several(one_object(**parts))


def one_of(*known: str) -> Kind:
    """Return a text out of a closed list."""
    return Kind("string", pa.string(), {"enum": list(known)})


TEXT = Kind("string", pa.string(), {"type": "string"})
MAYBE_TEXT = Kind("string", pa.string(), {"type": ["string", "null"]})
INTEGER = Kind("int64", pa.int64(), {"type": "integer"})
MAYBE_INTEGER = Kind("int64", pa.int64(), {"type": ["integer", "null"]})
REAL = Kind("float64", pa.float64(), {"type": "number"})
NUMBER = Kind("float64", pa.float64(), {"type": ["number", "null"]})
SHARE = Kind("float64", pa.float64(), {"type": ["number", "null"], "minimum": 0, "maximum": 1})
TERMS_KIND = one_of(*TERMS)
TRUTH = Kind("bool", pa.bool_(), {"type": "boolean"})
TEXTS = Kind("strings", pa.list_(pa.string()), {"type": "array", "items": {"type": "string"}})
NUMBERS = Kind("numbers", pa.list_(pa.float64()), {"type": "array", "items": NUMBER.schema})

_ROLES = {"enum": ["system", "user", "assistant", "tool"]}
_MESSAGE = object_schema({"role": _ROLES, "content": {"type": "string"}})
_MESSAGE_ARROW = pa.struct([("role", pa.string()), ("content", pa.string())])
MESSAGES = Kind("messages", pa.list_(_MESSAGE_ARROW), {"type": "array", "items": _MESSAGE, "minItems": 1})
# A response: what comes after the prompt, from the assistant (with its tools' answers between).
_SPOKEN = object_schema({"role": {"enum": ["assistant", "tool"]}, "content": {"type": "string"}})
COMPLETION = Kind("messages", pa.list_(_MESSAGE_ARROW), {"type": "array", "items": _SPOKEN, "minItems": 1})
_ANSWER = object_schema({"role": {"const": "assistant"}, "content": {"type": "string"}})
ANSWER = Kind("message", _MESSAGE_ARROW, _ANSWER)
ONE_ANSWER = Kind(
    "messages", pa.list_(_MESSAGE_ARROW), {"type": "array", "items": _ANSWER, "minItems": 1, "maxItems": 1}
)


class Column(NamedTuple):
    """A column: its name, its kind and what it means.

    One `only_with` something ("margin", "tools") is written where every row of the export, or any prompt of it, has
    that, and is absent otherwise: trainers take a column of nulls for one of values.
    """

    name: str
    kind: Kind
    meaning: str
    only_with: str = ""

    def feature(self) -> dict[str, Any]:
        """Return the column as an entry of `dataset_info.features`, the form `datasets` reads."""
        return {"name": self.name, **_feature(self.kind.arrow)}


def _feature(arrow: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(arrow):
        inner = _feature(arrow.value_type)
        return {"list": inner.get("dtype") or inner.get("struct") or inner}
    if pa.types.is_struct(arrow):
        return {"struct": [{"name": part.name, **_feature(part.type)} for part in arrow]}
    return {"dtype": {"double": "float64"}.get(str(arrow), str(arrow))}


def arrow_schema(columns: Sequence[Column]) -> pa.Schema:
    """Return the Arrow schema of a profile's columns, in their order."""
    return pa.schema([pa.field(column.name, column.kind.arrow) for column in columns])


def row_schema(name: str, columns: Sequence[Column]) -> dict[str, Any]:
    """Return the JSON schema of a profile's rows: exactly these columns."""
    properties = {column.name: {**column.kind.schema, "description": column.meaning} for column in columns}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"A row of the profile {name}",
        **object_schema(properties),
    }
