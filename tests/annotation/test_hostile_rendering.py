"""Every hostile text through every way a text is shown: nothing but allowed HTML, and its words stay readable."""

from collections.abc import Callable

import pytest

from annotation.diffing import word_diff
from annotation.rendering import direction_of, printable, render_code, render_markdown, render_plain
from tests.hostile import HOSTILE, assert_harmless_html, in_code, in_latex, in_markdown, token

# What shows a text exactly as it was written...
AS_WRITTEN: dict[str, Callable[[str], str]] = {
    "plain": render_plain,
    "first of two": lambda text: word_diff(text, f"Another text. {text[::2]}").first,
    "second of two": lambda text: word_diff("Another text.", text).second,
}
# ... and what gives it a form.
FORMED: dict[str, Callable[[str], str]] = {
    "code": lambda text: render_code(text, "html"),
    "code of no language": render_code,
    "Markdown": render_markdown,
    "typed": lambda text: render_markdown(text, keep_breaks=True),
    "inside Markdown, with images": lambda text: render_markdown(in_markdown(text), images=True),
    "inside a formula": lambda text: render_markdown(in_latex(text)),
    "inside code": lambda text: render_markdown(in_code(text)),
}


def test_the_corpus_is_as_large_as_it_says_and_each_text_carries_its_word() -> None:
    assert len(HOSTILE) >= 100
    assert [name for name, text in HOSTILE.items() if token(name) not in text] == []
    assert len({token(name) for name in HOSTILE}) == len(HOSTILE)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_given_a_form_and_does_nothing(name: str) -> None:
    shown = {way: assert_harmless_html(render(HOSTILE[name])).text for way, render in FORMED.items()}
    assert [way for way, text in shown.items() if token(name) not in text] == []


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_shown_to_the_last_character(name: str) -> None:
    for way, render in AS_WRITTEN.items():
        assert assert_harmless_html(render(HOSTILE[name])).text == printable(HOSTILE[name]), way


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_does_not_turn_its_field_around(name: str) -> None:
    assert direction_of(HOSTILE[name]) in {"ltr", "auto"}
