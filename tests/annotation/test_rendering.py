"""What a model wrote is shown, and nothing of it runs, loads or leads into this site."""

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.rendering import MARKDOWN_LIMIT, MATH_TAGS, TEXT_TAGS, render_markdown

HOSTILE = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><animate onbegin=alert(1)></svg>",
    "<style>*{display:none}</style>",
    "<!-- a comment --><iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<math><mtext><style><img src=x onerror=alert(1)></style></mtext></math>",
    "<a href='javascript:alert(1)'>x</a>",
    "<form action=/sign-out/><button>go</button></form>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:msgbox(1))",
    "![x](https://evil.example/pixel.png)",
    "![x](javascript:alert(1))",
    "[x]: javascript:alert(1)\n\n[x]",
    "<javascript:alert(1)>",
    "`<script>alert(1)</script>`",
    "```html\n<script>alert(1)</script>\n```",
    "```<img/src=x/onerror=alert(1)>\ncode\n```",
    '```"onmouseover=alert(1)\ncode\n```',
    r"$\text{<script>alert(1)</script>}$",
    r"$\href{javascript:alert(1)}{x}$",
    r"$\class{x}{y} \style{color:red}{z}$",
    "$$\\frac{1$$",
    "**[bold](javascript:alert(1))**<b onclick=alert(1)>",
    "> " * 200 + "<script>alert(1)</script>",
    "[" * 3_000,
    "*" * 5_000,
    "| a |\n|--|\n| <script>alert(1)</script> |",
    "\u202edeifirret <script>\u202c",
    "\x00<script>\x00alert(1)</script>",
    "\ud800<script>",
]


class Collected(HTMLParser):
    """The elements, attributes and text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_harmless(html: str) -> None:
    for tag, attributes in Collected(html).elements:
        assert tag in TEXT_TAGS | MATH_TAGS
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in {"style", "src", "srcset", "srcdoc", "id", "name", "action"}
            if name == "href":
                assert re.match(r"(https?:|mailto:)", value or "")


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_becomes_harmless_html(text: str) -> None:
    assert_harmless(render_markdown(text))
    assert_harmless(render_markdown(text, keep_breaks=True))


@given(st.text(alphabet=st.sampled_from(list("<>&\"'`*_[]()!|#$\\{}^ \n-=/:.abjstx0")), max_size=200))
def test_no_text_becomes_harmful_html(text: str) -> None:
    assert_harmless(render_markdown(text))


def test_html_in_a_response_is_shown_as_its_text() -> None:
    text = "<script>alert(1)</script>"
    assert Collected(render_markdown(text)).text.strip() == text


def test_an_image_is_named_and_never_loaded() -> None:
    html = render_markdown("![a cat](https://evil.example/pixel.png)")
    assert "[image: a cat]" in html
    assert "evil.example" not in html


def test_a_link_opens_apart_and_tells_nobody_where_it_came_from() -> None:
    ((tag, attributes),) = Collected(render_markdown("[x](https://example.org/)")).elements[1:]
    assert tag == "a"
    assert attributes == {
        "href": "https://example.org/",
        "target": "_blank",
        "rel": "noopener noreferrer nofollow",
    }


@pytest.mark.parametrize("address", ["/sign-out/", "//evil.example", "sign-out/", "?a=b", "#main"])
def test_a_relative_link_leads_nowhere(address: str) -> None:
    assert "href" not in render_markdown(f"[x]({address})")


def test_code_is_coloured_by_class_and_keeps_its_text() -> None:
    html = render_markdown("```python\ndef f(): return '<b>'\n```")
    assert '<span class="hl-k">def</span>' in html
    assert '<span class="code__language">python</span>' in html
    assert "def f(): return '<b>'" in Collected(html).text


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
    assert Collected(html).text == text
