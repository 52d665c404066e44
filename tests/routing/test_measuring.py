"""What is counted in texts: form that prompts ask for, languages, and what was counted before."""

import math
import re
from typing import Any

import pytest

from routing.signals.measuring import PairTexts, measure_texts
from routing.signals.recognising import ASKED, asked_of, language_of


def measured(prompt: str, a: str, b: str, *, language: str = "") -> dict[str, Any]:
    def message(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    frame = measure_texts([PairTexts("p1", "g", message(prompt), language, message(a), message(b), "m1", "m2")])
    return {str(name): value for name, value in frame.loc["p1"].items()}


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("Return the result as JSON.", {"asks_json"}),
        ("Give me 5 ideas for a party", {"asks_list"}),
        ("Explain it in bullet points", {"asks_list"}),
        ("Explain it in at most 50 words", {"asks_length"}),
        ("Write a 200-word essay on trade", {"asks_length"}),
        ("Answer in one sentence.", {"asks_length"}),
        ("Compare both phones in a table", {"asks_table"}),
        ("Write a Python function that adds two numbers", {"asks_code"}),
        ("Reply with only the code.", {"asks_code"}),
        ("Write three sentences as a JSON list of at most 9 words", {"asks_json", "asks_length"}),
        ("Why is my table wobbly, and what is list comprehension?", set()),
        ("What does the function of the heart consist in?", set()),
    ],
)
def test_forms_that_a_prompt_asks_for(prompt: str, asked: set[str]) -> None:
    assert {name for name, value in zip(ASKED, asked_of(prompt), strict=True) if value} == asked


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the capital of France?", "en"),
        ("Wie heißt du, und was ist das?", "de"),
        ("Quelle est la capitale de la France, et pourquoi pas Lyon ?", "fr"),
        ("¿Qué es el amor y cómo se siente?", "es"),
        ("Привет, как дела? Version 2", "ru"),
        ("こんにちは、元気ですか", "ja"),
        ("你好,我的朋友", "zh"),
        ("print(x)", ""),
        ("", ""),
        ("The", ""),
    ],
)
def test_language_is_told_by_letters_or_small_words(text: str, language: str) -> None:
    assert language_of(text, frozenset(re.findall(r"\w+", text.lower()))) == language


def test_response_in_another_language_than_the_prompt_is_foreign_and_unknown_stays_unknown() -> None:
    row = measured("What is this and how does it work?", "Das ist nicht für dich und auch nicht für mich.", "42")
    assert row["foreign_a"] == 1.0
    assert math.isnan(row["foreign_b"])
    assert row["language"] == "en"
    assert row["language_known"] == 0.0


def test_a_language_that_is_given_goes_before_the_one_the_text_looks_like() -> None:
    row = measured("What is this and how does it work?", "It is a thing of the past.", "x", language="de")
    assert (row["language"], row["language_known"], row["foreign_a"]) == ("de", 1.0, 0.0)


def test_words_overlap_and_lists_are_counted_as_before() -> None:
    row = measured("Why? Say it", "one two\n- two\n- three", "two 4 four")
    assert (row["words_a"], row["words_b"], row["prompt_words"], row["turns"]) == (4, 3, 3, 1)
    # "two" of one, two, three, 4, four.
    assert row["similarity"] == pytest.approx(1 / 5)
    assert (row["list_items_a"], row["list_items_b"], row["has_digits"], row["has_code"]) == (2, 0, 1.0, 0.0)
    empty = measured("Why?", "", "")
    assert (empty["similarity"], empty["empty"]) == (1.0, 1.0)
