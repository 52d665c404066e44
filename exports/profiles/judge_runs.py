"""What judges returned, call by call: for studies of judges, their order bias and their calibration."""

import json
from collections.abc import Iterator

from exports.deciding import Entry
from exports.leaving_out import LeftOut
from exports.profiles.annotators import ANNOTATIONS_COLUMNS, CHOICES
from exports.profiles.columns import INTEGER, MAYBE_INTEGER, NUMBER, SHARE, TEXT, Column, Row, one_of
from exports.profiles.contract import Context, Profile, each_pair
from exports.profiles.pairing import PROMPT

_RESPONSES = tuple(column for column in ANNOTATIONS_COLUMNS if column.name in ("response_a", "response_b"))
COLUMNS = (
    PROMPT,
    *_RESPONSES,
    Column("id", TEXT, "the pair, the judge with its version, and the order; unique"),
    Column("pair", TEXT, "`id` of the pair in the other profiles"),
    Column("prompt_id", TEXT, "hash of prompt and group"),
    Column("prompt_group", TEXT, "pairs of one group are on one side of the split"),
    Column("model_a", TEXT, "the model that wrote `response_a`"),
    Column("model_b", TEXT, "the model that wrote `response_b`"),
    Column("judge", TEXT, "its name"),
    Column("judge_protocol", TEXT, "how it was asked"),
    Column("judge_version", INTEGER, "its version number"),
    Column("judge_kind", TEXT, "how it comes to its answer"),
    Column("judge_prompt_hash", TEXT, "hash of its prompt; empty where not known"),
    Column("order", TEXT, "`ab` or `ba`: what it saw first; `a` or `b`: one alone; empty: no order"),
    Column("choice", one_of(*CHOICES, ""), "in the stored order, whatever it saw; empty where it only scored"),
    Column("prob_a", SHARE, "its probability that a is better, half of a tie's counted in"),
    Column("score_a", NUMBER, "its score of a"),
    Column("score_b", NUMBER, "its score of b"),
    Column("rationale", TEXT, "its reason, in the words of the order it saw"),
    Column("answered_by", TEXT, "the model that the server says it used"),
    Column("samples", INTEGER, "calls whose answers this one sums up"),
    Column("prompt_tokens", MAYBE_INTEGER, "where the server told"),
    Column("completion_tokens", MAYBE_INTEGER, "where the server told"),
    Column("label", one_of(*CHOICES, ""), "the pair's label; empty where it has none"),
    Column("label_source", TEXT, "`human`, `ai`, `adjudicated`; empty where it has none"),
    Column("meta", TEXT, "what the imported record said beside this, as a JSON string"),
)
CALL_NAMES = (
    "order",
    "choice",
    "prob_a",
    "score_a",
    "score_b",
    "rationale",
    "answered_by",
    "samples",
    "prompt_tokens",
    "completion_tokens",
)


def build_rows(entry: Entry, _: Context) -> Iterator[Row | LeftOut]:
    """Yield a row for each call about a pair."""
    record = entry.record
    if not record.calls:
        yield LeftOut.NO_CALLS
    for call in record.calls:
        yield {
            "prompt": record.prompt,
            "response_a": record.a.messages,
            "response_b": record.b.messages,
            "id": f"{record.id}-{call.judge}-{call.version}-{call.order}",
            "pair": record.id,
            "prompt_id": record.prompt_id,
            "prompt_group": record.prompt_group,
            "model_a": record.a.model,
            "model_b": record.b.model,
            "judge": call.judge,
            "judge_protocol": call.protocol,
            "judge_version": call.version,
            "judge_kind": call.kind,
            "judge_prompt_hash": call.prompt_hash,
            **{name: getattr(call, name) for name in CALL_NAMES},
            "label": record.label.choice if record.label else "",
            "label_source": str(record.label.source) if record.label else "",
            "meta": json.dumps(record.meta, sort_keys=True, ensure_ascii=False),
        }


JUDGE_RUNS = Profile(
    "judge_runs", 1, "every call to a judge, in the order it saw", COLUMNS, each_pair(build_rows), wants_calls=True
)
