"""`human[]` of the project's own record: what named people answered, before it is stored."""

import math
from collections.abc import Sequence
from typing import Any

from annotation.models import Basis, Choice, Origin, RationaleTiming
from annotation.reading.json_files import kind_of
from annotation.records import RecordedAnswer, RowProblem
from annotation.validating import long_text, number_or_none, short_text

KNOWN = {
    "annotator", "choice", "strength", "ratings", "rationale", "criteria", "shown_swapped", "time_spent", "simulated",
}  # fmt: skip
# Read where they are as our own exports write them (`exports.carrying`), and else kept beside the answer.
OWN = {"rationale_timing": RationaleTiming.values, "basis": Basis.values, "confidence": (1, 2, 3)}
STRENGTH_REMARK = "a strength outside 1 to 3 is kept beside the answer, not as its strength"


def choice_of(value: Any, field: str) -> str:
    """Return a choice of the vocabulary. Raises `RowProblem` listing what there is."""
    if not isinstance(value, str) or value not in Choice.values:
        raise RowProblem(field, f"{value!a} is no choice ({', '.join(Choice.values)})"[:200])
    return value


def _strength(value: Any, field: str, meta: dict[str, Any], remarks: list[str]) -> int | None:
    number = number_or_none(value, field)
    if number is None:
        return None
    if number in (1.0, 2.0, 3.0):
        return int(number)
    meta["strength"] = value
    remarks.append(STRENGTH_REMARK)
    return None


def _ratings(value: Any, field: str) -> tuple[tuple[str, float | None, float | None], ...]:
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise RowProblem(field, f"is {kind_of(value)}, not an object of name: [for a, for b]")
    found = []
    for name, scores in value.items():
        path = f"{field}.{name}"
        if scores is None:
            continue
        if not isinstance(scores, list) or len(scores) != 2:
            raise RowProblem(path, "is not a list of two scores [for a, for b]")
        short_text(name, path, 120)
        found.append((name, number_or_none(scores[0], f"{path}[0]"), number_or_none(scores[1], f"{path}[1]")))
    return tuple(found)


def _criteria(value: Any, field: str) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, dict):
        raise RowProblem(field, f"is {kind_of(value)}, not an object of name: choice")
    found = []
    for name, choice in value.items():
        short_text(name, f"{field}.{name}", 120)
        if choice is not None:
            found.append((name, choice_of(choice, f"{field}.{name}")))
    return tuple(found)


def _shown_order(value: Any, field: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, bool):
        raise RowProblem(field, f"is {kind_of(value)}, not true or false")
    return "ba" if value else "ab"


def _seconds(value: Any, meta: dict[str, Any]) -> float | None:
    """Return active seconds; what is no number of seconds stays beside the answer as it is."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return float(value)
    if value is not None:
        meta["time_spent"] = value
    return None


def _is_among(value: Any, values: Sequence[Any]) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value in values


def _origin(value: Any, field: str) -> str:
    """Return whether a person answered or a program: what was simulated stays so wherever it goes."""
    if value is None:
        return Origin.RECORDED.value
    if not isinstance(value, bool):
        raise RowProblem(field, f"is {kind_of(value)}, not true or false")
    return Origin.SIMULATED.value if value else Origin.RECORDED.value


def _reasons(value: Any) -> tuple[tuple[str, str], ...]:
    """Return `[{"side": "a", "reason": ...}]` as (side, reason); nothing where it has another form."""
    if not isinstance(value, list) or not all(
        isinstance(one, dict)
        and one.keys() == {"side", "reason"}
        and one["side"] in (Choice.A, Choice.B)
        and isinstance(one["reason"], str)
        for one in value
    ):
        return ()
    return tuple((str(one["side"]), one["reason"]) for one in value)


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return ()
    return tuple(value)


def answer_of(entry: Any, field: str, remarks: list[str]) -> RecordedAnswer:
    """Return one entry of `human[]`. Raises `RowProblem` naming the field by its path."""
    if not isinstance(entry, dict):
        raise RowProblem(field, f"is {kind_of(entry)}, not an object")
    rater = short_text(entry.get("annotator"), f"{field}.annotator", 200)
    if not rater.strip():
        raise RowProblem(f"{field}.annotator", "is missing: whose answer is it?")
    if entry.get("choice") is None:
        raise RowProblem(f"{field}.choice", "is missing")
    own = {key: entry[key] for key, values in OWN.items() if _is_among(entry.get(key), values)}
    reasons, flags = _reasons(entry.get("reasons")), _texts(entry.get("content_flags"))
    own |= {key: value for key, value in (("reasons", reasons), ("content_flags", flags)) if value}
    meta = {key: value for key, value in entry.items() if key not in KNOWN and key not in own and value is not None}
    return RecordedAnswer(
        rater=rater,
        choice=choice_of(entry["choice"], f"{field}.choice"),
        strength=_strength(entry.get("strength"), f"{field}.strength", meta, remarks),
        rationale=long_text(entry.get("rationale"), f"{field}.rationale"),
        shown_order=_shown_order(entry.get("shown_swapped"), f"{field}.shown_swapped"),
        seconds=_seconds(entry.get("time_spent"), meta),
        criteria=_criteria(entry.get("criteria"), f"{field}.criteria"),
        ratings=_ratings(entry.get("ratings"), f"{field}.ratings"),
        meta=meta,
        origin=_origin(entry.get("simulated"), f"{field}.simulated"),
        timing=own.get("rationale_timing", ""),
        basis=own.get("basis", Basis.CHOICE.value),
        confidence=own.get("confidence"),
        reasons=reasons,
        content_flags=flags,
    )


def answers_of(value: Any, remarks: list[str]) -> list[RecordedAnswer]:
    """Return the answers of `human[]`; each person answers a pair once."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise RowProblem("human", f"is {kind_of(value)}, not a list of people's answers")
    found = [answer_of(entry, f"human[{index}]", remarks) for index, entry in enumerate(value)]
    check_raters(found)
    return found


def check_raters(answers: list[RecordedAnswer]) -> None:
    """Raise `RowProblem` when somebody answers the same pair twice."""
    names = set()
    for index, answer in enumerate(answers):
        if answer.rater in names:
            raise RowProblem(f"human[{index}].annotator", f"{answer.rater!a} answers this pair a second time")
        names.add(answer.rater)
