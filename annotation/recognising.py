"""Which of the public shapes a record has, and the pairs it holds.

Where a file says which response is better (`chosen`, ranks, scores), the stored order a/b is drawn by a hash of the
content, so that neither the order in the file nor the label can be read off it.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from annotation.completions import Completion, completions_of, paired
from annotation.errors import GoldInvalid
from annotation.gilding import KnownAnswer, read_answer
from annotation.mapping import FieldMap, apply_map, mapped_choice
from annotation.models import GoldKind
from annotation.models.pairs import content_hash
from annotation.reading.json_files import kind_of
from annotation.recorded_people import answers_of, check_raters
from annotation.records import Message, PairRecord, Reading, RecordedAnswer, RowProblem
from annotation.transcripts import is_transcript, parse_transcript, part_transcripts, without_prompt
from annotation.validating import check_value, long_text, messages_of, prompt_of, response_of, short_text

LABEL_RATER = "imported label"
OTHER_SIDE = {"a": "b", "b": "a"}
COMPLETIONS = ("completions", "responses")
# Read for every shape, from the record or from its `meta`, with the longest length the database holds.
LIMITS = {"group": 200, "category": 120, "language": 16, "model_a": 200, "model_b": 200}
COMMON = {"id", "source", "meta", "reference", "context", "human", "judges", "system", "choice", "rater", "rationale",
          "judge", "judge_choice", "model_chosen", "model_rejected", "models"}  # fmt: skip
# Read only where the map names them: public files call other things so. Kept out of what is stored with a pair.
GOLD = {"gold", "gold_kind"}
# How a cell says that the row's own label is the known answer, or that nothing is known.
ITS_LABEL, NOT_KNOWN = {"true", "yes", "1"}, {"", "false", "no", "0"}


class _Side(NamedTuple):
    """One response of a pair before the order is drawn. `rank`: lower is better; None: not said."""

    messages: list[Message]
    model: str
    rank: float | None = None


class _Body(NamedTuple):
    """What a shape found: the prompt, the two responses of each pair, and the columns it used."""

    shape: str
    prompt: list[Message]
    pairs: list[tuple[_Side, _Side]]
    used: set[str]
    drawn: bool


def read_record(record: dict[str, Any], line: int, fields: FieldMap) -> Reading:
    """Return the pairs of one record. Raises `RowProblem` naming the field.

    The values are checked first, all of them, so that nothing reaches a database that one of the two would refuse.
    """
    check_value(record, "")
    named = apply_map(record, fields)
    remarks: list[str] = []
    body = _body(named, fields, remarks)
    meta, common = _meta_and_common(named, body.used, GOLD & fields.named, remarks)
    answers = answers_of(named.get("human"), remarks) + _mapped_answers(named, fields)
    check_raters(answers)
    pairs = []
    for index, sides in enumerate(body.pairs):
        first, second = _drawn(body.prompt, *sides) if body.drawn else sides
        label = _label(first, second)
        judges, labelled = _labels(named, fields, label)
        ending = "" if len(body.pairs) == 1 else f"#{index + 1}"
        pair = _pair_record(
            line, named, body.prompt, first, second, common, meta, (*answers, *labelled), judges, ending
        )
        pairs.append(pair._replace(known=_known(named, fields, label, drawn=body.drawn)))
    return Reading(body.shape, pairs, sorted(set(remarks)))


# --- Shapes ---------------------------------------------------------------------------------------------------------


def _body(record: dict[str, Any], fields: FieldMap, remarks: list[str]) -> _Body:
    """Recognise the shape by the names of the columns."""
    if "response_a" in record or "response_b" in record:
        return _two_responses(record, fields, remarks)
    if "chosen" in record or "rejected" in record:
        return _chosen_rejected(record, fields, remarks)
    column = next((name for name in COMPLETIONS if name in record), "")
    if column and _has_prompt(record):
        return _several_completions(record, column, fields, remarks)
    raise RowProblem("", _what_is_missing(record))


def _two_responses(record: dict[str, Any], fields: FieldMap, remarks: list[str]) -> _Body:
    prompt, used = _prompt(record, fields, remarks)
    sides = [response_of(record.get(name), fields.column_of(name), remarks) for name in ("response_a", "response_b")]
    models = [short_text(_common_value(record, name), name, LIMITS[name]) for name in ("model_a", "model_b")]
    own = "human" in record or "judges" in record
    shape = "the project's own record" if own else "a prompt with response_a and response_b"
    first, second = (_Side(side, model) for side, model in zip(sides, models, strict=True))
    _refuse_same(first, second, fields.column_of("response_b"), fields.column_of("response_a"))
    return _Body(shape, prompt, [(first, second)], used | {"response_a", "response_b"}, drawn=False)


def _chosen_rejected(record: dict[str, Any], fields: FieldMap, remarks: list[str]) -> _Body:
    values = {name: record.get(name) for name in ("chosen", "rejected")}
    for name, value in values.items():
        if value is None:
            raise RowProblem(fields.column_of(name), "is missing (an empty text would be a response that says nothing)")
    used = {"chosen", "rejected"}
    if _has_prompt(record):
        prompt, more = _prompt(record, fields, remarks)
        sides = [_side_after_prompt(value, prompt, fields.column_of(name), remarks) for name, value in values.items()]
        used |= more
        shape = "a prompt with chosen and rejected"
        if "conversations" in more:
            shape = "conversations with chosen and rejected (ShareGPT)"
        elif "instruction" in more:
            shape = "an instruction with chosen and rejected (Alpaca)"
    else:
        turns = [_whole(value, fields.column_of(name), remarks) for name, value in values.items()]
        prompt, *sides = part_transcripts(turns[0], turns[1])
        prompt_of(prompt, "the prompt that chosen and rejected share", remarks)
        transcript = isinstance(values["chosen"], str)
        shape = "chosen and rejected transcripts (HH-RLHF)" if transcript else "chosen and rejected conversations"
    models = [short_text(record.get(name), name, 200) for name in ("model_chosen", "model_rejected")]
    better, worse = _Side(sides[0], models[0], 1.0), _Side(sides[1], models[1], 2.0)
    _refuse_same(better, worse, fields.column_of("rejected"), fields.column_of("chosen"))
    return _Body(shape, _with_system(record, prompt), [(better, worse)], used, drawn=True)


def _several_completions(record: dict[str, Any], column: str, fields: FieldMap, remarks: list[str]) -> _Body:
    prompt, used = _prompt(record, fields, remarks)
    found: list[Completion] = completions_of(record, column, remarks)
    pairs = [
        tuple(_Side(item.messages, item.model, item.rank) for item in two)
        for two in paired(found, adjacent=fields.pairing == "adjacent", field=column, remarks=remarks)
    ]
    used |= {column, "ranks", "scores"}
    return _Body("a prompt with several completions", prompt, pairs, used, drawn=True)  # type: ignore[arg-type]


def _side_after_prompt(value: Any, prompt: list[Message], field: str, remarks: list[str]) -> list[Message]:
    """Return a response; a list may repeat the prompt before it."""
    if isinstance(value, list):
        turns = without_prompt(messages_of(value, field, remarks), prompt, field)
        return response_of(turns or None, field, remarks)
    return response_of(value, field, remarks)


def _whole(value: Any, field: str, remarks: list[str]) -> list[Message]:
    """Return a conversation that holds prompt and response."""
    if isinstance(value, str):
        if not is_transcript(value):
            raise RowProblem("prompt", f"is missing, and {field} is no transcript that would hold it")
        return parse_transcript(value, field)
    if isinstance(value, dict):
        raise RowProblem("prompt", f"is missing, and {field} is one message only")
    return messages_of(value, field, remarks)


# --- Prompts --------------------------------------------------------------------------------------------------------


def _has_prompt(record: dict[str, Any]) -> bool:
    if any(record.get(name) is not None for name in ("prompt", "conversations", "instruction")):
        return True
    return "messages" in record and "chosen" in record and not isinstance(record["chosen"], list)


def _prompt(record: dict[str, Any], fields: FieldMap, remarks: list[str]) -> tuple[list[Message], set[str]]:
    """Return the prompt and the columns it was made of."""
    if record.get("prompt") is not None:
        found = prompt_of(record["prompt"], fields.column_of("prompt"), remarks)
        return _with_system(record, found), {"prompt"}
    for name in ("conversations", "messages"):
        if record.get(name) is not None:
            if isinstance(record[name], str):
                raise RowProblem(name, "is a text, not a list of messages")
            return _with_system(record, prompt_of(record[name], name, remarks)), {name}
    if record.get("instruction") is not None:
        return _with_system(record, _alpaca_prompt(record, remarks)), {"instruction", "input", "history"}
    raise RowProblem(fields.column_of("prompt"), "is missing")


def _alpaca_prompt(record: dict[str, Any], remarks: list[str]) -> list[Message]:
    """Return instruction and input, joined by a line break as LLaMA-Factory does, after the turns of `history`."""
    turns: list[Message] = []
    history = record.get("history") or []
    if not isinstance(history, list):
        raise RowProblem("history", f"is {kind_of(history)}, not a list of [question, answer]")
    for index, turn in enumerate(history):
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(text, str) for text in turn):
            raise RowProblem(f"history[{index}]", "is not a list of question and answer")
        turns += [{"role": "user", "content": turn[0]}, {"role": "assistant", "content": turn[1]}]
    parts = [long_text(record.get(name), name) for name in ("instruction", "input")]
    question = "\n".join(part for part in parts if part)
    prompt_of(question, "instruction", remarks)
    return [*turns, {"role": "user", "content": question}]


def _with_system(record: dict[str, Any], prompt: list[Message]) -> list[Message]:
    """Return the prompt behind the system message of the column `system`, if there is one."""
    system = long_text(record.get("system"), "system")
    if not system or prompt[0] == {"role": "system", "content": system}:
        return prompt
    if prompt[0]["role"] == "system":
        raise RowProblem("system", "is given, but the prompt begins with a system message of its own")
    return [{"role": "system", "content": system}, *prompt]


def _what_is_missing(record: dict[str, Any]) -> str:
    """Say what a record lacks to be a pair."""
    names = ", ".join(f"{name[:40]!a}" + (" (nested)" if isinstance(value, dict) else "")
                      for name, value in list(record.items())[:12])  # fmt: skip
    lower = [name.lower() for name in record]
    ids = [name for name in lower if name.endswith("_id") and any(word in name for word in ("answer", "response"))]
    lacking = ["a prompt"] if not _has_prompt(record) else []
    if len(ids) >= 2:
        hint = f"The responses are named by identifier only ({', '.join(ids)}); join their texts and the prompt first."
    elif any(isinstance(value, dict) for value in record.values()):
        hint = "Nested objects are not unfolded: write one record a pair."
    elif any(name in lower for name in ("completion", "response", "output", "answer")):
        hint = "There is one response a row; a pair needs two to the same prompt."
    else:
        hint = "Say which columns they are with field=column; if a table has no header, name its columns by number."
    return f"missing: {' and '.join([*lacking, 'two responses'])}. Columns: {names}. {hint}"


# --- What every shape shares ----------------------------------------------------------------------------------------


def _refuse_same(first: _Side, second: _Side, field: str, other: str) -> None:
    if first.messages == second.messages:
        raise RowProblem(field, f"is the same as {other}: there is nothing to compare")


def _drawn(prompt: list[Message], one: _Side, other: _Side) -> tuple[_Side, _Side]:
    """Return two responses in an order that depends on their content alone."""
    if content_hash([prompt, one.messages]) < content_hash([prompt, other.messages]):
        return one, other
    return other, one


def _label(first: _Side, second: _Side) -> str | None:
    if first.rank is None or second.rank is None:
        return None
    if first.rank == second.rank:
        return "tie"
    return "a" if first.rank < second.rank else "b"


def _common_value(record: dict[str, Any], name: str) -> Any:
    value = record.get(name)
    meta = record.get("meta")
    return meta.get(name) if value is None and isinstance(meta, dict) else value


def _meta_and_common(
    record: dict[str, Any], used: set[str], mapped: Collection[str], remarks: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what the pair keeps beside its fields (columns we have no place for, with a remark), and the fields."""
    given = record.get("meta")
    if given is not None and not isinstance(given, dict):
        raise RowProblem("meta", f"is {kind_of(given)}, not an object")
    meta = {name: value for name, value in (given or {}).items() if name not in LIMITS}
    sides = "response_a" in used
    # Without fixed sides a column model_a says nothing about our a.
    taken = {name: limit for name, limit in LIMITS.items() if sides or name not in ("model_a", "model_b")}
    common = {name: short_text(_common_value(record, name), name, limit) for name, limit in taken.items()}
    common["source"] = short_text(record.get("source"), "source", 200)
    common |= {name: long_text(record.get(name), name) for name in ("reference", "context")}
    for name, value in record.items():
        if name not in used and name not in COMMON and name not in taken and name not in mapped:
            remarks.append(f"the column {name[:60]!a} is kept with the pair as it is")
            meta[name if name not in meta else f"{name} (column)"] = value
    return meta, common


def _mapped_answers(record: dict[str, Any], fields: FieldMap) -> list[RecordedAnswer]:
    """Return the answers of the columns mapped to `choice`: each column is a person, or `rater` names the one."""
    cells = record.get("choice")
    if "choice" not in fields.columns or not isinstance(cells, dict):
        return []
    rater = short_text(record.get("rater"), "rater", 200)
    if rater and len(cells) > 1:
        raise RowProblem("rater", "names one person, but several columns are mapped to choice")
    rationale = long_text(record.get("rationale"), "rationale") if len(cells) == 1 else ""
    found = []
    for column, value in cells.items():
        choice = mapped_choice(value, f"choice (column {column})", fields)
        if choice is not None:
            name = rater or (f"column {column}" if fields.numbered else column)
            found.append(RecordedAnswer(rater=short_text(name, "rater", 200), choice=choice, rationale=rationale))
    return found


def _labels(
    record: dict[str, Any], fields: FieldMap, label: str | None
) -> tuple[list[dict[str, Any]], list[RecordedAnswer]]:
    """Return the label as a judge's judgement where the map names a judge, or else as a recorded person's answer."""
    judge = short_text(record.get("judge"), "judge", 200)
    rationale = long_text(record.get("rationale"), "rationale")
    if "judge_choice" in fields.columns:
        label = mapped_choice(record.get("judge_choice"), fields.column_of("judge_choice"), fields)
    if label is None:
        return [], []
    if judge:
        entry = dict.fromkeys(("swapped", "score_a", "score_b", "prob_a"))
        return [{**entry, "model": judge, "choice": label, "rationale": rationale or None, "protocol": "imported"}], []
    rater = short_text(record.get("rater"), "rater", 200) or LABEL_RATER
    return [], [RecordedAnswer(rater=rater, choice=label, rationale=rationale)]


def _known(record: dict[str, Any], fields: FieldMap, label: str | None, *, drawn: bool) -> KnownAnswer | None:
    """Return the known answer of the column mapped to `gold`: choices, or yes for the label that the row gives."""
    if "gold" not in fields.named:
        return None
    field = fields.column_of("gold")
    value = record.get("gold")
    cells = value if isinstance(value, list) else "" if value is None else str(value).split(",")
    cells = [str(cell).strip() for cell in cells]
    if fields.missing.intersection(cells) or {cell.lower() for cell in cells} <= NOT_KNOWN:
        return None
    if {cell.lower() for cell in cells} <= ITS_LABEL:
        if label is None:
            raise RowProblem(field, "says that the row's label is the known answer, but the row says no better one")
        accepted = [label]
    elif drawn:
        raise RowProblem(field, f"is {str(value)[:40]!a}; beside chosen, ranks or scores it is yes or no")
    else:
        accepted = [choice for cell in cells if (choice := mapped_choice(cell, field, fields)) is not None]
    kind = short_text(record.get("gold_kind"), "gold_kind", 40) if "gold_kind" in fields.named else ""
    try:
        return read_answer(accepted, kind or GoldKind.KNOWN)
    except GoldInvalid as error:
        raise RowProblem(field, str(error)) from error


def _pair_record(
    line: int,
    record: dict[str, Any],
    prompt: list[Message],
    first: _Side,
    second: _Side,
    common: dict[str, str],
    meta: dict[str, Any],
    answers: tuple[RecordedAnswer, ...],
    judges: list[dict[str, Any]],
    ending: str,
) -> PairRecord:
    hashes = content_hash(prompt), content_hash(first.messages), content_hash(second.messages)
    external_id = short_text(record.get("id"), "id", 200)
    if record.get("id") is not None and not external_id:
        raise RowProblem("id", "is empty")
    group = common["group"] or hashes[0]
    # The same texts in another group or by other models are another pair.
    beside = [group, first.model, second.model]
    recorded = record.get("judges")
    own: list[Any] = recorded if isinstance(recorded, list) else []
    whole = record if recorded is not None and not isinstance(recorded, list) else {**record, "judges": own + judges}
    return PairRecord(
        line=line,
        external_id=short_text(external_id + ending, "id", 200) if external_id else content_hash([*hashes, *beside]),
        id_given=bool(external_id),
        prompt=prompt,
        response_a=first.messages,
        response_b=second.messages,
        prompt_hash=hashes[0],
        hash_a=hashes[1],
        hash_b=hashes[2],
        group=group,
        model_a=first.model,
        model_b=second.model,
        language=common["language"],
        category=common["category"],
        reference=common["reference"],
        context=common["context"],
        source=common["source"],
        meta=meta,
        answers=answers,
        record=whole,
    )
