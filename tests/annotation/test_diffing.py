"""What only one of two texts says is marked on its side, nothing else is changed, and no text takes long."""

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.diffing import WORD_LIMIT, Lengths, lengths, word_diff

TEXTS = st.lists(st.sampled_from(["a", "b", "the ", "cat", " ", "\n", "<b>", "&", "字", "学", "é", "."]), max_size=25)


def marked(html: str) -> list[str]:
    """Return what is marked in a side of a diff."""
    return [unescape(found) for found in re.findall(r'<mark class="diff">(.*?)</mark>', html, flags=re.DOTALL)]


def without_marks(html: str) -> str:
    """Return the text that a side of a diff shows."""
    inner = re.sub(r"</?mark[^>]*>", "", html.removeprefix('<pre class="plain">').removesuffix("</pre>"))
    return unescape(inner.removeprefix("\n") if inner.startswith("\n\n") else inner)


def test_only_what_differs_is_marked_on_both_sides() -> None:
    diff = word_diff("The cat sat on the mat.", "The dog sat on the mat today.")
    assert marked(diff.first) == ["cat"]
    assert marked(diff.second) == ["dog", "today"]
    assert diff.shared_share == pytest.approx(12 / 15)


def test_equal_texts_have_no_mark() -> None:
    diff = word_diff("Same <text>\n", "Same <text>\n")
    assert diff.first == diff.second == '<pre class="plain">Same &lt;text&gt;\n</pre>'
    assert diff.shared_share == 1


def test_spaces_are_shown_and_not_compared() -> None:
    diff = word_diff("  one two\n\nthree ", "one  two three")
    assert marked(diff.first) == marked(diff.second) == []
    assert diff.first == '<pre class="plain">  one two\n\nthree </pre>'


@pytest.mark.parametrize(
    ("first", "second", "only_first", "only_second"),
    [
        ("我喜欢吃苹果。", "我喜欢吃香蕉。", ["苹果"], ["香蕉"]),
        ("これは本です", "これは車です", ["本"], ["車"]),
        ("مَرْحَبًا بالعالم", "مَرْحَبًا بالجميع", ["بالعالم"], ["بالجميع"]),
        ("नमस्ते दुनिया", "नमस्ते भारत", ["दुनिया"], ["भारत"]),
        ("don't stop", "don't go", ["stop"], ["go"]),
        ("x = f(a, b)", "x = f(a, c)", ["b"], ["c"]),
    ],
)
def test_words_are_words_in_every_script(
    first: str, second: str, only_first: list[str], only_second: list[str]
) -> None:
    diff = word_diff(first, second)
    assert (marked(diff.first), marked(diff.second)) == (only_first, only_second)


def test_a_word_shared_by_chance_does_not_break_up_a_change() -> None:
    first = "Water boils when its vapour pressure reaches the pressure around it"
    second = "I think everybody should simply try cooking in the mountains some day soon"
    assert len(marked(word_diff(first, second).first)) == 1


@given(TEXTS, TEXTS)
def test_both_sides_show_their_text_to_the_last_character(first: list[str], second: list[str]) -> None:
    diff = word_diff("".join(first), "".join(second))
    assert without_marks(diff.first) == "".join(first)
    assert without_marks(diff.second) == "".join(second)
    assert diff.shared_share is not None
    assert 0 <= diff.shared_share <= 1


def test_a_change_in_a_long_text_is_found_where_it_is() -> None:
    words = [f"w{number % 700}" for number in range(WORD_LIMIT)]
    changed = [*words[:9_000], "other", *words[9_001:]]
    diff = word_diff(" ".join(words), " ".join(changed))
    assert marked(diff.first) == [words[9_000]]
    assert marked(diff.second) == ["other"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a b " * 9_500, "b a a " * 6_000),
        ("字" * 19_000, "字学" * 9_000),
        (" ".join(map(str, range(19_000))), " ".join(map(str, reversed(range(19_000))))),
        (". " * 20_000, "! " * 20_000),
    ],
)
def test_texts_made_to_be_slow_are_compared(first: str, second: str) -> None:
    # The time limit of the test run is the claim: an unbounded comparison takes hours here.
    assert word_diff(first, second).shared_share is not None


def test_texts_beyond_the_limit_are_shown_whole_and_say_that_they_were_not_compared() -> None:
    first = "word " * (WORD_LIMIT + 1)
    diff = word_diff(first, "<b>")
    assert diff.shared_share is None
    assert (without_marks(diff.first), without_marks(diff.second)) == (first, "<b>")
    assert marked(diff.first) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Lengths(0, 0, 0)),
        ("one", Lengths(1, 3, 1)),
        ("a, b.\nc\n", Lengths(3, 8, 2)),
        ("我喜欢。", Lengths(3, 4, 1)),
        ("नमस्ते दुनिया", Lengths(2, 13, 1)),
        ("--- !", Lengths(0, 5, 1)),
    ],
)
def test_lengths_count_words_characters_and_lines(text: str, expected: Lengths) -> None:
    assert lengths(text) == expected
