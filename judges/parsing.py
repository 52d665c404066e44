"""Read a judge's words. Tolerant of wrapping, never guessing: what cannot be read is an error text, not a choice."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from judges.prompting import LABELS
from judges.questions import Protocol

RAW_LIMIT = 20_000
# An answer may be fenced as code; nothing but the fence and white space may follow the object.
_AFTER_OBJECT = re.compile(r"\s*(?:```\s*)?\Z")
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


class ParsedVerdict(NamedTuple):
    """A choice in the order shown, or why there is none. `prob_first` is 0 to 1; `meta` says where it comes from."""

    choice: Literal["first", "second", "tie", ""]
    prob_first: float | None
    rationale: str
    error: str
    meta: Mapping[str, Any]

    @classmethod
    def unscored(cls, reason: str) -> "ParsedVerdict":
        """Return the verdict of an answer that could not be read."""
        return cls("", None, "", reason, {})


class _Ambiguous(ValueError):
    pass


def storable(text: str) -> str:
    """Return a text that every database takes: no NUL, no lone surrogate, at most 20,000 characters."""
    return _NOT_STORABLE.sub("\N{REPLACEMENT CHARACTER}", text[:RAW_LIMIT])


def parse_verdict(text: str, *, protocol: str, logprobs: Sequence[Mapping[str, Any]] = ()) -> ParsedVerdict:
    """Read one answer. The verdict comes only from the object's own fields, never from prose or a quoted text."""
    if not text.strip():
        return ParsedVerdict.unscored("The judge's answer is empty.")
    try:
        fields = _last_object(text)
    except _Ambiguous as error:
        return ParsedVerdict.unscored(str(error))
    if fields is None and protocol == Protocol.LETTER and text.strip() in LABELS[protocol]:
        fields = {"choice": text.strip()}
    if fields is None:
        return ParsedVerdict.unscored("The judge's answer does not end in a JSON object with a choice.")
    choice = _choice(fields.get("choice"), protocol)
    if not choice:
        known = ", ".join(LABELS[protocol])
        return ParsedVerdict.unscored(f"The judge's choice is none of those asked for ({known}): {_brief(fields)}")
    rationale = fields.get("rationale")
    prob_first, meta = _probability(choice, fields, protocol, logprobs)
    return ParsedVerdict(choice, prob_first, storable(rationale) if isinstance(rationale, str) else "", "", meta)


def label_probability(
    logprobs: Sequence[Mapping[str, Any]], labels: tuple[str, str]
) -> tuple[float | None, float | None]:
    """Return (P(first label) among the two labels, the mass the two held together) at the last token that is a label.

    Servers differ in what their log-probabilities mean, so only the labels' are kept and renormalised. (None, None)
    where the token or either label's probability is missing.
    """
    for token in reversed(logprobs):
        if _bare(token.get("token")) not in labels:
            continue
        alternatives = token.get("top_logprobs")
        mass = dict.fromkeys(labels, 0.0)
        for one in alternatives if isinstance(alternatives, list) else []:
            label, logprob = _bare(one.get("token")), one.get("logprob")
            if label in mass and isinstance(logprob, int | float) and logprob <= 0.0:
                mass[label] += math.exp(logprob)
        total = sum(mass.values())
        if total <= 0.0:
            return None, None
        return mass[labels[0]] / total, min(1.0, total)
    return None, None


def _probability(
    choice: str, fields: Mapping[str, Any], protocol: str, logprobs: Sequence[Mapping[str, Any]]
) -> tuple[float, dict[str, Any]]:
    first, second = LABELS[protocol]
    if protocol == Protocol.LETTER:
        prob_first, mass = label_probability(logprobs, (first, second))
        # A token list that contradicts the text belongs to something else.
        if prob_first is not None and mass is not None and (prob_first >= 0.5) == (choice == "first"):
            return prob_first, {"prob_from": "logprobs", "label_mass": round(mass, 6)}
    if choice == "tie":
        return 0.5, {"prob_from": "choice"}
    confidence = fields.get("confidence")
    sign = 1.0 if choice == "first" else -1.0
    if isinstance(confidence, int | float) and not isinstance(confidence, bool) and 0 <= confidence <= 100:
        # 0 says "could as well have chosen otherwise", which is a probability of one half; 100 says certain.
        return 0.5 + sign * confidence / 200.0, {"prob_from": "confidence", "confidence": confidence}
    return 0.5 + sign * 0.5, {"prob_from": "choice"}


def _last_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object the text ends in, if it has a choice.

    Raises `_Ambiguous` where an earlier object chooses otherwise or a key stands twice.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_without_twins, parse_constant=lambda _name: None)
    found: list[dict[str, Any]] = []
    last_end = 0
    position = text.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(text, position)
        except (json.JSONDecodeError, RecursionError):
            position = text.find("{", position + 1)
            continue
        if isinstance(value, dict) and "choice" in value:
            found.append(value)
            last_end = end
        # Past the object: a text quoted inside it is not read again.
        position = text.find("{", end)
    if not found or not _AFTER_OBJECT.match(text, last_end):
        return None
    if any(one["choice"] != found[-1]["choice"] for one in found):
        raise _Ambiguous("The judge's answer holds several choices that differ.")
    return found[-1]


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _Ambiguous("The judge's answer gives one field twice.")
    return fields


def _choice(value: object, protocol: str) -> Literal["first", "second", "tie", ""]:
    if not isinstance(value, str):
        return ""
    given = value.strip().casefold()
    first, second = (label.casefold() for label in LABELS[protocol])
    if given == first:
        return "first"
    if given == second:
        return "second"
    return "tie" if given == "tie" and protocol == Protocol.PAIRWISE else ""


def _bare(token: object) -> str:
    """Return a token without the quotes, brackets and spaces a tokenizer glues to it."""
    return token.strip(" \t\r\n\"'{}[]():*`") if isinstance(token, str) else ""


def _brief(fields: Mapping[str, Any]) -> str:
    return storable(json.dumps(fields.get("choice"), ensure_ascii=False))[:80]
