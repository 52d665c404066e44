"""What can be counted in the texts of a pair: lengths, overlap, code, lists, refusals. No model, no language pack."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pandas as pd

from routing.signals.recognising import ASKED, asked_of, language_of

# Goes up whenever the same texts would be measured differently: kept measures of another version are made again.
VERSION = "2"
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
    language: str


class PromptMeasure(NamedTuple):
    """What is counted in a prompt; `asks` is in the order of `ASKED`."""

    words: int
    language: str
    asks: tuple[float, ...]


def measure_texts(pairs: Iterable[PairTexts]) -> pd.DataFrame:
    """Return a row a pair (index `pair_id`), in the order given, with its group, models and text measures.

    Columns: `group`, `model_a`, `model_b`, `response_a_id`, `response_b_id`, `category` (strings), `language` (of the
    prompt: as given, else as its text looks; '' not known); `words_a`, `words_b`, `prompt_words`, `turns`,
    `list_items_a`, `list_items_b` (counts); `similarity` (shared words over all words of both responses, 0 to 1);
    `has_code`, `has_digits`, `refuses_a`, `refuses_b`, `empty`, `language_known` and a column for each of `ASKED` (0 or
    1); `foreign_a`, `foreign_b` (1 where the response is in another language than the prompt, NaN where one cannot be
    told).
    """
    rows = [(*_about(pair), *measured(pair)) for pair in pairs]
    frame = pd.DataFrame.from_records(rows, columns=["pair_id", *ABOUT, *MEASURES])
    return with_language(frame.set_index("pair_id"))


def with_language(frame: pd.DataFrame) -> pd.DataFrame:
    """Return measures with `language` and `language_known`, from the language given and the one the text looks like."""
    given = frame["language"]
    known = given.ne("").astype(float)
    frame = frame.assign(language=given.where(given != "", frame["prompt_language"]), language_known=known)
    return frame.drop(columns="prompt_language")


def joined(messages: Sequence[dict[str, Any]]) -> str:
    """Return the contents of chat messages, joined by blank lines."""
    return "\n\n".join(str(message.get("content") or "") for message in messages)


@lru_cache(maxsize=CACHED_RESPONSES)
def _measure_response(text: str) -> ResponseMeasure:
    words = WORD.findall(text.lower())
    vocabulary = frozenset(words)
    return ResponseMeasure(
        words=len(words),
        vocabulary=vocabulary,
        has_code=CODE.search(text) is not None,
        has_digits=DIGIT.search(text) is not None,
        list_items=len(LIST_ITEM.findall(text)),
        # Apologies stand at the start; a story may hold one in the middle.
        refuses=REFUSAL.search(text[:300]) is not None,
        language=language_of(text, vocabulary),
    )


@lru_cache(maxsize=CACHED_RESPONSES)
def _measure_prompt(text: str) -> PromptMeasure:
    words = WORD.findall(text)
    return PromptMeasure(
        words=len(words),
        language=language_of(text, frozenset(word.lower() for word in words)),
        asks=asked_of(text),
    )


# What the database says of a pair, and what its texts say; the two are kept apart since only the texts are slow.
ABOUT = ("group", "model_a", "model_b", "response_a_id", "response_b_id", "category", "language")
MEASURES = (
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
    "prompt_language",
    "foreign_a",
    "foreign_b",
    *ASKED,
)


def _about(pair: PairTexts) -> tuple[str, ...]:
    return (pair.pair_id, *(getattr(pair, name) for name in ABOUT))


def measured(pair: PairTexts) -> tuple[Any, ...]:
    """Return what the texts of a pair say, in the order of `MEASURES`."""
    text_a, text_b = joined(pair.response_a), joined(pair.response_b)
    a, b, prompt = _measure_response(text_a), _measure_response(text_b), _measure_prompt(joined(pair.prompt))
    return (
        a.words,
        b.words,
        prompt.words,
        sum(message.get("role") == "user" for message in pair.prompt),
        a.list_items,
        b.list_items,
        _shared(a.vocabulary, b.vocabulary),
        float(a.has_code or b.has_code),
        float(a.has_digits or b.has_digits),
        float(a.refuses),
        float(b.refuses),
        float(not text_a.strip() or not text_b.strip()),
        prompt.language,
        _foreign(a.language, prompt.language),
        _foreign(b.language, prompt.language),
        *prompt.asks,
    )


def similarity(response_a: Sequence[dict[str, Any]], response_b: Sequence[dict[str, Any]]) -> float:
    """Return the words that both responses have over all that either has, 0 to 1: one of the `MEASURES`, alone."""
    a, b = (frozenset(WORD.findall(joined(side).lower())) for side in (response_a, response_b))
    return _shared(a, b)


def _shared(a: frozenset[str], b: frozenset[str]) -> float:
    shared = len(a & b)
    either = len(a) + len(b) - shared
    # Two responses without a word say the same.
    return shared / either if either else 1.0


def _foreign(response: str, prompt: str) -> float:
    return float(response != prompt) if response and prompt else float("nan")
