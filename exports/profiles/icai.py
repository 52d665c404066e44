"""Annotated pairs 2.0, which ICAI and Feedback Forensics read: one JSON file with all annotators side by side.

Its annotations are objects keyed by annotator, so it is no table and `datasets` does not load it: the rows of this
profile are the comparisons, which `exports.writing` puts into one document.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from annotation.models import Choice
from exports.deciding import Entry
from exports.leaving_out import LeftOut
from exports.profiles.annotators import full_name
from exports.profiles.columns import TEXT, Column, Kind, Row, object_schema
from exports.profiles.contract import Context, Profile, each_pair
from exports.records import as_text

LABEL = "label"
REASONS = {Choice.TIE: "tie", Choice.BOTH_BAD: "both bad", Choice.UNSURE: "unsure", "": "left open"}
_RESPONSE = object_schema({"text": TEXT.schema, "model": TEXT.schema})
_ANNOTATION = {
    "type": "object",
    "properties": {"pref": {"enum": ["a", "b", None]}, "no_pref_reason": {"type": "string"}},
    "required": ["pref"],
    "additionalProperties": False,
}
_ANNOTATIONS = {"type": "object", "additionalProperties": _ANNOTATION, "minProperties": 1}
_JSON = pa.string()
COLUMNS = (
    Column("id", TEXT, "`id` of the pair in the other profiles"),
    Column("prompt", TEXT, "the prompt as text"),
    Column("response_a", Kind("object", _JSON, _RESPONSE), "text and model of one response"),
    Column("response_b", Kind("object", _JSON, _RESPONSE), "the same of the other"),
    Column("annotations", Kind("object", _JSON, _ANNOTATIONS), "what each annotator prefers, by their id"),
    Column("metadata", Kind("object", _JSON, {"type": "object"}), "where the pair comes from"),
)


def build_rows(entry: Entry, context: Context) -> Iterator[Row | LeftOut]:
    """Yield the comparison of a pair that anybody answered."""
    record = entry.record
    annotations = {vote.person: _annotation(vote.choice) for vote in record.votes}
    annotations |= {full_name(one): _annotation(one.choice) for one in record.judgements}
    if not annotations:
        yield LeftOut.NO_ANSWERS
        return
    if record.label:
        annotations[LABEL] = _annotation(record.label.choice)
    yield {
        "id": record.id,
        "prompt": as_text(record.prompt),
        "response_a": {"text": record.a.text, "model": record.a.model},
        "response_b": {"text": record.b.text, "model": record.b.model},
        "annotations": annotations,
        "metadata": {
            "external_id": record.external_id,
            "prompt_group": record.prompt_group,
            "source": record.source,
            "language": record.language,
            "category": record.category,
            "license": record.license or context.settings.license,
        },
    }


def _annotation(choice: str) -> dict[str, Any]:
    if choice in (Choice.A, Choice.B):
        return {"pref": str(choice)}
    return {"pref": None, "no_pref_reason": REASONS[choice]}


def document_head(context: Context, name: str) -> dict[str, Any]:
    """Return the document around the comparisons: its metadata and its annotators."""
    annotators = {
        LABEL: {"name": "label", "description": "the resolved label of the project", "type": "aggregate"},
        **{one: {"name": one, "description": "a person, under a pseudonym", "type": "human"} for one in context.people},
        **{one: {"name": one, "description": "a judge with its version", "type": "ai"} for one in context.judges},
    }
    metadata = {"version": "2.0", "dataset_name": name, "default_annotator": LABEL}
    return {"annotators": annotators, "metadata": metadata}


ICAI = Profile(
    "icai",
    1,
    "ICAI and Feedback Forensics (annotated pairs 2.0)",
    COLUMNS,
    each_pair(build_rows),
    document_head=document_head,
)
