"""Several completions of one prompt, and the pairs they make."""

from itertools import combinations, pairwise
from typing import Any, NamedTuple

from annotation.reading.json_files import kind_of
from annotation.records import Message, RowProblem
from annotation.validating import number_or_none, response_of, short_text

COMPLETION_LIMIT = 64
TEXTS = ("response", "completion", "text", "content")
SAME_REMARK = "a pair of two completions with the same text is left out"


class Completion(NamedTuple):
    """One completion; a lower `rank` is better, None: not said."""

    messages: list[Message]
    model: str
    rank: float | None


def _beside(record: dict[str, Any], name: str, count: int) -> list[Any]:
    """Return a column that holds a value a completion, or as many None."""
    values = record.get(name)
    if values is None:
        return [None] * count
    if not isinstance(values, list):
        raise RowProblem(name, f"is {kind_of(values)}, not a list with a value a completion")
    if len(values) != count:
        raise RowProblem(name, f"has {len(values)} values for {count} completions")
    return values


def completions_of(record: dict[str, Any], column: str, remarks: list[str]) -> list[Completion]:
    """Return the completions of a record: texts, messages, or objects with a text and perhaps model, rank or score.

    Ranks count from the best; scores from the worst, and are used where there are no ranks.
    """
    values = record[column]
    if not isinstance(values, list):
        raise RowProblem(column, f"is {kind_of(values)}, not a list of completions")
    if not 2 <= len(values) <= COMPLETION_LIMIT:
        raise RowProblem(column, f"has {len(values)} completions; a row takes 2 to {COMPLETION_LIMIT}")
    beside = {name: _beside(record, name, len(values)) for name in ("models", "ranks", "scores")}
    found = []
    for index, value in enumerate(values):
        field = f"{column}[{index}]"
        model, rank, score = (beside[name][index] for name in ("models", "ranks", "scores"))
        text = value
        if isinstance(value, dict) and "role" not in value and "from" not in value:
            key = next((name for name in TEXTS if name in value), None)
            if key is None:
                raise RowProblem(field, f"has no text ({', '.join(TEXTS)})")
            text = value[key]
            model, rank, score = (
                value.get(name) if before is None else before
                for name, before in (("model", model), ("rank", rank), ("score", score))
            )
            remarks += [
                f"the field {name[:60]!a} of completions is not kept"
                for name in value
                if name not in (key, "model", "rank", "score")
            ]
        place = number_or_none(rank, f"ranks[{index}]")
        points = number_or_none(score, f"scores[{index}]")
        found.append(
            Completion(
                response_of(text, field, remarks),
                short_text(model, f"models[{index}]", 200),
                place if place is not None or points is None else -points,
            )
        )
    _check_ranked(found, column)
    return found


def _check_ranked(found: list[Completion], column: str) -> None:
    ranked = sum(item.rank is not None for item in found)
    if 0 < ranked < len(found):
        raise RowProblem(column, f"has a rank or score for only {ranked} of {len(found)} completions")


def paired(
    found: list[Completion], *, adjacent: bool, field: str, remarks: list[str]
) -> list[tuple[Completion, Completion]]:
    """Return all pairs, or those of neighbouring ranks. Two completions with the same text make no pair."""
    if adjacent:
        if any(item.rank is None for item in found):
            raise RowProblem(field, "has no ranks or scores, so that there are no adjacent ones")
        pairs = list(pairwise(sorted(found, key=lambda item: item.rank or 0.0)))
    else:
        pairs = list(combinations(found, 2))
    different = [(one, other) for one, other in pairs if one.messages != other.messages]
    if len(different) < len(pairs):
        remarks.append(SAME_REMARK)
    if not different:
        raise RowProblem(field, "are all the same: there is nothing to compare")
    return different
