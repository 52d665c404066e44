"""What a model wrote is shown, and nothing of it runs, loads or leads into this site."""

import base64
from html import escape, unescape

import pytest
from django.template import Context, Template
from django.utils import translation
from hypothesis import given
from hypothesis import strategies as st

from annotation.rendering import (
    DATA_IMAGE_LIMIT,
    HIGHLIGHT_LIMIT,
    MARKDOWN_LIMIT,
    direction_of,
    render_code,
    render_markdown,
    render_plain,
)
from tests.hostile import Parsed, assert_harmless_html

PIXEL = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


@given(st.text(alphabet=st.sampled_from(list("<>&\"'`*_[]()!|#$\\{}^ \n-=/:.abjstx0")), max_size=200))
def test_no_text_becomes_harmful_html(text: str) -> None:
    assert_harmless_html(render_markdown(text))
    assert_harmless_html(render_markdown(text, images=True))


def test_html_in_a_response_is_shown_as_its_text() -> None:
    text = "<script>alert(1)</script>"
    assert Parsed(render_markdown(text)).text.strip() == text


def test_an_image_is_named_and_never_loaded() -> None:
    html = render_markdown("![a cat](https://evil.example/pixel.png)")
    assert "[image: a cat]" in html
    assert "evil.example" not in html


def test_a_link_opens_apart_and_tells_nobody_where_it_came_from() -> None:
    ((tag, attributes),) = Parsed(render_markdown("[x](https://example.org/)")).elements[1:]
    assert tag == "a"
    assert attributes == {
        "href": "https://example.org/",
        "target": "_blank",
        "rel": "noopener noreferrer nofollow",
    }


@pytest.mark.parametrize(
    "address",
    ["/sign-out/", "//evil.example", "sign-out/", "?a=b", "#main", "https:sign-out/", "http:/sign-out/", "https:///x"],
)
def test_a_relative_link_leads_nowhere(address: str) -> None:
    assert "href" not in render_markdown(f"[x]({address})")


def test_code_is_coloured_by_class_and_keeps_its_text() -> None:
    html = render_markdown("```python\ndef f(): return '<b>'\n```")
    assert '<span class="hl-k">def</span>' in html
    assert '<span class="code__language">python</span>' in html
    assert "def f(): return '<b>'" in Parsed(html).text


def test_a_table_keeps_its_alignment_without_a_style() -> None:
    html = render_markdown("| a | b |\n|:--|--:|\n| 1 | 2 |")
    assert '<td class="to-right">2</td>' in html
    assert "style" not in html


@pytest.mark.parametrize("text", ["$x^2$", r"\(x^2\)", "$$x^2$$", r"\[x^2\]", "so $$x^2$$ it is"])
def test_a_formula_becomes_mathml(text: str) -> None:
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in render_markdown(text)


@pytest.mark.parametrize("tex", [r"\left(", "x^", r"\text{<b>}", r"\begin{matrix}", "a" * 3_000])
def test_a_formula_that_cannot_be_read_is_shown_as_its_source(tex: str) -> None:
    html = render_markdown(f"${tex}$")
    assert f'<code class="tex">{tex}</code>' in unescape(html)


def test_money_is_not_a_formula() -> None:
    assert "<math" not in render_markdown("It costs $5 or $10, and $3/$4 with a card.")


def test_headings_sink_below_those_of_the_page() -> None:
    assert "<h3>one</h3>" in render_markdown("# one")
    assert "<h6>six</h6>" in render_markdown("###### six")


def test_a_persons_line_breaks_are_kept_and_a_models_are_not() -> None:
    assert "<br>" in render_markdown("a\nb", keep_breaks=True)
    assert "<br>" not in render_markdown("a\nb")


def test_a_very_long_text_is_shown_whole_and_plain() -> None:
    text = "<b>" + "x" * MARKDOWN_LIMIT
    html = render_markdown(text)
    assert html.startswith('<pre class="plain">')
    assert Parsed(html).text == text


def test_a_megabyte_is_shown_whole() -> None:
    text = "\n<p>one & two</p>\n" * 60_000
    assert Parsed(render_plain(text)).text == f"\n{text}"  # the first break is the markup's own
    assert Parsed(render_markdown("x" * 1_000_000)).text == "x" * 1_000_000


def test_without_consent_an_image_from_elsewhere_is_an_address_and_a_host() -> None:
    html = render_markdown('![a "cat"](https://Good@Evil.example:8000/pixel.png?a=1&b=2 "title")', images=True)
    (_paragraph, (tag, attributes), *inner) = assert_harmless_html(html).elements
    assert tag == "span"
    assert attributes == {
        "class": "image-consent",
        "data-image-src": "https://Good@Evil.example:8000/pixel.png?a=1&b=2",
        "data-image-alt": 'a "cat"',
        "data-image-host": "evil.example",
    }
    assert [attributes["class"] for _tag, attributes in inner] == ["image-text", "image-host"]
    assert Parsed(html).text.strip() == '[image: a "cat"] evil.example'


@pytest.mark.parametrize("address", ["/own.png", "//evil.example/x.png", "ftp://evil.example/x", "https:own.png"])
def test_an_image_of_any_other_address_stays_its_text(address: str) -> None:
    html = render_markdown(f"![a cat]({address})", images=True)
    assert "data-image" not in html
    assert Parsed(html).text.strip() == "[image: a cat]"


def test_a_small_picture_inside_the_text_is_shown_where_images_are_wanted() -> None:
    address = f"data:image/gif;base64,{base64.b64encode(PIXEL).decode()}"
    html = render_markdown(f"![dot]({address})", images=True)
    assert f'<img class="image" src="{address}" alt="dot">' in html
    assert "<img" not in render_markdown(f"![dot]({address})")


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("png", PIXEL),
        ("svg+xml", b"<svg onload=alert(1)>"),
        ("gif", b"<svg onload=alert(1)>"),
        ("webp", b"RIFF....WAVE"),
        ("gif", PIXEL + b"x" * DATA_IMAGE_LIMIT),
    ],
)
def test_what_only_says_that_it_is_a_picture_or_is_large_is_not_shown(kind: str, content: bytes) -> None:
    html = render_markdown(f"![dot](data:image/{kind};base64,{base64.b64encode(content).decode()})", images=True)
    assert "<img" not in html
    assert "dot" in Parsed(html).text


def test_the_words_beside_an_image_follow_the_readers_language() -> None:
    with translation.override("en"):
        english = render_markdown("![](https://evil.example/x)")
    with translation.override("de"):
        german = render_markdown("![](https://evil.example/x)")
    assert "no description" in english
    # There is no German catalogue: what matters is that neither language gets the other's cached words.
    assert german


@pytest.mark.parametrize(
    "text",
    [
        "\\[x\\] and seen",
        "\\[x\\] (seen)",
        "$$x$$ and seen",
        "$$\nx\n$$ seen",
        "[//]: # (seen)",
        "[a]: https://example.org 'seen'",
        "[a]: https://example.org\n[a]: https://example.com/seen\n\n[a]",
        "> [a]: seen",
        "| a |\n|--|\n| 1 | 2 | seen |",
        "- | a |\n  |--|\n  | 1 | seen | 3 |",
        "```js title=seen\nx\n```",
        "$x % seen$",
        r"$\phantom{seen}$",
        r"$\href{https://example.org/seen}{x}$",
        "> " * 300 + "seen",
        "- " * 300 + "seen",
        "1. > " * 60 + "seen",
    ],
)
def test_what_markdown_or_tex_would_swallow_is_shown(text: str) -> None:
    assert "seen" in assert_harmless_html(render_markdown(text)).text


def test_a_definition_that_a_link_uses_is_not_shown_again() -> None:
    assert Parsed(render_markdown("See [1].\n\n[1]: https://example.org")).text.strip() == "See 1."


@pytest.mark.parametrize("text", ["so\n\\[x^2\\]\nit is", "- a\n\n  \\[x^2\\]", "> $$\n> x^2\n> $$", "$$\n\nx^2\n\n$$"])
def test_a_formula_is_read_inside_other_blocks(text: str) -> None:
    html = render_markdown(text)
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in html
    assert 'display="block"' in html
    assert "&gt;" not in html


def test_a_formula_ends_with_its_list_item() -> None:
    assert "<math" not in render_markdown("- $$a\n\nb$$")


def test_a_formula_cannot_be_laid_over_the_text_around_it() -> None:
    html = render_markdown(r"$\hspace{-50em}\rule{900em}{900em}\hspace{1em}\!$")
    assert [attributes.get("width") for tag, attributes in Parsed(html).elements if tag == "mspace"] == [
        None,
        None,
        "1em",
        "negativethinmathspace",
    ]


@pytest.mark.parametrize("language", ["csharp", "python", "javascript", "terraform", "pascal", "crystal", "make"])
@pytest.mark.parametrize("pattern", ["a\n", " \n", '"a\\', "<<A\n", "function "])
def test_code_made_to_be_slow_or_to_break_its_lexer_is_shown_whole(language: str, pattern: str) -> None:
    code = (pattern * HIGHLIGHT_LIMIT)[: HIGHLIGHT_LIMIT - 1] + "."
    # Without a bound on its time the colouring of some of these takes minutes.
    assert Parsed(render_code(code, language)).text.removesuffix("\n") == language + code


def test_a_response_that_is_code_is_coloured_in_the_language_it_is_said_to_be_in() -> None:
    html = render_code("def f(): return '<b>'", "python")
    assert '<span class="hl-k">def</span>' in html
    assert Parsed(html).text == "pythondef f(): return '<b>'\n"
    assert "hl-" not in render_code("def f(): return 1")
    assert "hl-" not in render_code("def f(): return 1", "no such language")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello", "ltr"),
        ("שלום עולם", "rtl"),
        ("GPT-4 הוא מודל שפה גדול מאוד של חברה", "rtl"),
        ("מודל GPT-4 Turbo של OpenAI", "rtl"),
        ("The Hebrew word שלום means peace", "ltr"),
        ("مرحبا\n```python\nprint('a long line of code, all of it in Latin letters')\n```", "rtl"),
        ("```python\nprint('a')\n```", "ltr"),
        ("انظر https://example.org/a/very/long/address/in/latin/letters/only", "rtl"),
        ("你好", "ltr"),
        ("\u202e\u200f Hello", "ltr"),
        ("12:30 - 14:00 !", "auto"),
        ("١٢٣ …", "auto"),
        ("", "auto"),
    ],
)
def test_a_text_runs_the_way_of_its_letters(text: str, expected: str) -> None:
    assert direction_of(text) == expected


def test_the_filters_show_a_field_as_its_project_wants_it() -> None:
    source = (
        "{% load reading %}{{ text|as_markdown:images }}{{ text|as_typed:images }}{{ text|as_plain }}"
        '{{ text|as_code:"python" }}{{ text|as_code }}{{ text|direction }}'
    )
    text = "![<b>](https://evil.example/x)"
    html = Template(source).render(Context({"text": text, "images": True}))
    assert html.count('class="image-consent"') == 2
    assert escape(text) in html
    assert html.endswith("ltr")
    assert_harmless_html(html)
