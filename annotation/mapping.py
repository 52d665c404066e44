"""The free field map: which column of a file is which of our fields.

`field=column`; a value that begins with "=" is not a column but the value itself (`language==en`). `prompt` and
`choice` take several columns, with commas between them. A map is a renaming: what it yields is read like any
other record.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from annotation.errors import AnnotationError
from annotation.models import Choice
from annotation.reading.json_files import kind_of
from annotation.records import RowProblem

SEVERAL = ("prompt", "choice")
FIELDS = (
    "id", "group", "source", "prompt", "system", "response_a", "response_b", "chosen", "rejected", "completions",
    "ranks", "scores", "models", "model_a", "model_b", "model_chosen", "model_rejected", "language", "category",
    "reference", "context", "choice", "rater", "rationale", "judge", "judge_choice", "gold", "gold_kind",
)  # fmt: skip
OPTIONS = ("choices", "missing", "pairing")
PAIRINGS = ("all", "adjacent")
TOGETHER = (("response_a", "response_b"), ("chosen", "rejected"))


class FieldMap(NamedTuple):
    """A field map, parsed. `numbered`: the columns are numbers, so a table has no header."""

    columns: dict[str, tuple[str, ...]] = {}
    literals: dict[str, str] = {}
    choices: dict[str, str] = {}
    missing: frozenset[str] = frozenset()
    pairing: str = "all"
    numbered: bool = False

    @property
    def named(self) -> set[str]:
        """Return the fields that the map says anything of."""
        return {*self.columns, *self.literals}

    def column_of(self, field: str) -> str:
        """Return a field's name for a message, with the column it comes from where that is another."""
        columns = self.columns.get(field)
        if not columns or columns == (field,):
            return field
        return f"{field} (column {', '.join(columns)})"


def _choices(text: str) -> dict[str, str]:
    """Parse `1:a,2:b,0:tie`."""
    found = {}
    for part in text.split(","):
        value, colon, choice = part.rpartition(":")
        if not colon or choice not in Choice.values:
            raise AnnotationError(
                f"choices={text}: {part!r} is not value:choice; write for example choices=1:a,2:b,0:tie "
                f"(choices: {', '.join(Choice.values)})."
            )
        found[value] = choice
    return found


def parse_field_map(mapping: Mapping[str, str] | None) -> FieldMap:
    """Return a map, checked. Raises `AnnotationError` for a field that does not exist or cannot stand alone."""
    given = dict(mapping or {})
    unknown = sorted(set(given) - set(FIELDS) - set(OPTIONS))
    if unknown:
        raise AnnotationError(
            f"The field map names {', '.join(map(repr, unknown))}, which is no field. "
            f"Fields: {', '.join(FIELDS)}. Options: {', '.join(OPTIONS)}."
        )
    choices = _choices(given.pop("choices")) if "choices" in given else {}
    missing = frozenset(given.pop("missing").split(",")) if "missing" in given else frozenset()
    pairing = given.pop("pairing", "all")
    if pairing not in PAIRINGS:
        raise AnnotationError(f"pairing={pairing}: choose one of {', '.join(PAIRINGS)}.")
    literals = {field: value[1:] for field, value in given.items() if value.startswith("=")}
    columns = {
        field: tuple(value.split(",")) if field in SEVERAL else (value,)
        for field, value in given.items()
        if field not in literals
    }
    named = [column for several in columns.values() for column in several]
    numbered = bool(named) and all(column.isascii() and column.isdigit() for column in named)
    fields = FieldMap(columns, literals, choices, missing, pairing, numbered)
    _check_whole(fields)
    return fields


def _check_whole(fields: FieldMap) -> None:
    """Refuse a map that can never make a pair."""
    for one, other in (*TOGETHER, *(pair[::-1] for pair in TOGETHER)):
        if one in fields.columns and other not in fields.columns:
            raise AnnotationError(
                f"The field map names {one} but not {other}: a pair needs two responses to one prompt. "
                "A file with one response a row (scores or ratings of single responses) cannot be imported as pairs."
            )
    if "judge_choice" in fields.columns and not ("judge" in fields.columns or "judge" in fields.literals):
        raise AnnotationError("judge_choice needs the judge's name: add judge=COLUMN or judge==NAME.")
    if "gold_kind" in fields.named and "gold" not in fields.named:
        raise AnnotationError("gold_kind says what a known answer tests; add gold=COLUMN, which says the answer.")
    if fields.numbered:
        whole = "prompt" in fields.columns and ("response_b" in fields.columns or "rejected" in fields.columns)
        if not whole:
            raise AnnotationError(
                "Columns named by number mean that the file has no header; then prompt, response_a and response_b "
                "(or prompt, chosen and rejected) must all be named."
            )


def _value(record: dict[str, Any], column: str, field: str) -> Any:
    """Return a column's value; `a.b` looks into an object where no column is called that."""
    if column in record:
        return record[column]
    value: Any = record
    for part in column.split("."):
        if not isinstance(value, dict) or part not in value:
            names = ", ".join(name[:40] for name in list(record)[:12])
            raise RowProblem(field, f"there is no column {column!r}; columns: {names}")
        value = value[part]
    return value


def _joined(record: dict[str, Any], columns: tuple[str, ...], missing: frozenset[str]) -> str:
    """Return the texts of several columns, joined by blank lines; empty ones are left out."""
    parts = []
    for column in columns:
        value = _value(record, column, "prompt")
        if value is None or value in missing or value == "":
            continue
        if not isinstance(value, str):
            raise RowProblem(f"prompt (column {column})", f"is {kind_of(value)}, not a text")
        parts.append(value)
    return "\n\n".join(parts)


def apply_map(record: dict[str, Any], fields: FieldMap) -> dict[str, Any]:
    """Return the record under our names. What the map does not use stays under its own name.

    `choice` becomes a dict of column to value, since each column is a person.
    """
    if not fields.columns and not fields.literals:
        return record
    renamed: dict[str, Any] = dict(fields.literals)
    used: set[str] = set()
    for field, columns in fields.columns.items():
        used.update(columns)
        if field == "choice":
            renamed[field] = {column: _value(record, column, field) for column in columns}
        elif field == "prompt" and len(columns) > 1:
            renamed[field] = _joined(record, columns, fields.missing)
        else:
            renamed[field] = _value(record, columns[0], field)
    for name, value in record.items():
        if name not in used:
            renamed[name if name not in renamed else f"{name} (column)"] = value
    return renamed


def mapped_choice(value: Any, field: str, fields: FieldMap) -> str | None:
    """Return the choice a cell stands for by `choices=` (or by our own words); None for a missing one."""
    if value is None or value == "" or (isinstance(value, str) and value in fields.missing):
        return None
    if isinstance(value, bool):
        raise RowProblem(field, f"is {kind_of(value)}, not a choice")
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    choice = fields.choices.get(text) if fields.choices else (text if text in Choice.values else None)
    if choice is None:
        known = ", ".join(fields.choices) if fields.choices else f"{', '.join(Choice.values)}; others need choices=..."
        raise RowProblem(field, f"{text[:60]!a} is no choice here (known: {known})")
    return choice
