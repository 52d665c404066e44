"""What can be counted in the texts of a pair: lengths, overlap, code, lists, refusals. No model, no language pack."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pandas as pd

WORD = re.compile(r"\w+")
DIGIT = re.compile(r"\d")
LIST_ITEM = re.compile(r"^\s*(?:[-*•]|\d{1,3}[.)])\s", re.MULTILINE)
CODE = re.compile(r"```|^(?:    |\t)\S", re.MULTILINE)
REFUSAL = re.compile(
    r"\b(?:I(?:'m| am)? (?:sorry|unable to|can(?:no|')t|won't|must decline)|as an AI(?: language)? model"
    r"|I do not have the ability)\b",
    re.IGNORECASE,
)
# Neighbouring pairs share responses; more would only hold memory.
CACHED_RESPONSES = 4096


class PairTexts(NamedTuple):
    """The texts of one pair as they are stored: chat messages `{role, content}`."""

    pair_id: str
    group: str
    prompt: Sequence[dict[str, Any]]
    language: str
    response_a: Sequence[dict[str, Any]]
    response_b: Sequence[dict[str, Any]]
    model_a: str
    model_b: str
    response_a_id: str = ""
    response_b_id: str = ""
    category: str = ""


class ResponseMeasure(NamedTuple):
    """What is counted in one response."""

    words: int
    vocabulary: frozenset[str]
    has_code: bool
    has_digits: bool
    list_items: int
    refuses: bool


def measure_texts(pairs: Iterable[PairTexts]) -> pd.DataFrame:
    """Return a row a pair (index `pair_id`), in the order given, with its group, models and text measures.

    Columns: `group`, `model_a`, `model_b`, `response_a_id`, `response_b_id`, `category` (strings); `words_a`,
    `words_b`, `prompt_words`, `turns`, `list_items_a`, `list_items_b` (counts); `similarity` (shared words over all
    words of both responses, 0 to 1); `has_code`, `has_digits`, `refuses_a`, `refuses_b`, `empty`, `language_known`
    (0 or 1).
    """
    frame = pd.DataFrame.from_records([_measure_pair(pair) for pair in pairs], columns=list(MEASURES))
    return frame.set_index("pair_id")


def joined(messages: Sequence[dict[str, Any]]) -> str:
    """Return the contents of chat messages, joined by blank lines."""
    return "\n\n".join(str(message.get("content") or "") for message in messages)


@lru_cache(maxsize=CACHED_RESPONSES)
def _measure_response(text: str) -> ResponseMeasure:
    words = WORD.findall(text.lower())
    return ResponseMeasure(
        words=len(words),
        vocabulary=frozenset(words),
        has_code=CODE.search(text) is not None,
        has_digits=DIGIT.search(text) is not None,
        list_items=len(LIST_ITEM.findall(text)),
        # Apologies stand at the start; a story may hold one in the middle.
        refuses=REFUSAL.search(text[:300]) is not None,
    )


MEASURES = (
    "pair_id",
    "group",
    "model_a",
    "model_b",
    "response_a_id",
    "response_b_id",
    "category",
    "words_a",
    "words_b",
    "prompt_words",
    "turns",
    "list_items_a",
    "list_items_b",
    "similarity",
    "has_code",
    "has_digits",
    "refuses_a",
    "refuses_b",
    "empty",
    "language_known",
)


def _measure_pair(pair: PairTexts) -> tuple[Any, ...]:
    text_a, text_b = joined(pair.response_a), joined(pair.response_b)
    a, b = _measure_response(text_a), _measure_response(text_b)
    either = len(a.vocabulary | b.vocabulary)
    return (
        pair.pair_id,
        pair.group,
        pair.model_a,
        pair.model_b,
        pair.response_a_id,
        pair.response_b_id,
        pair.category,
        a.words,
        b.words,
        len(WORD.findall(joined(pair.prompt))),
        sum(message.get("role") == "user" for message in pair.prompt),
        a.list_items,
        b.list_items,
        # Two responses without a word say the same.
        len(a.vocabulary & b.vocabulary) / either if either else 1.0,
        float(a.has_code or b.has_code),
        float(a.has_digits or b.has_digits),
        float(a.refuses),
        float(b.refuses),
        float(not text_a.strip() or not text_b.strip()),
        float(bool(pair.language)),
    )
