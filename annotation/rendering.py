"""From what a model wrote to HTML that is safe to show: Markdown, code and formulas, and nothing that runs or loads.

Two walls stand behind each other: the parser passes no HTML through, and the result is cleaned against a list of what
is allowed. Images are never loaded (a picture's address can tell its owner who reads what); their text is shown.
"""

import hashlib
import re
from collections.abc import MutableMapping, Sequence
from html import escape
from typing import Any
from urllib.parse import urlsplit

import latex2mathml.converter
import latex2mathml.exceptions
import nh3
from django.core.cache import cache
from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.texmath import texmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

# Part of the cache key: raise it when the HTML for the same text changes.
VERSION = 1
# Beyond these sizes a text is shown as it is: parsing takes about 2 ms per 1,000 characters.
MARKDOWN_LIMIT = 100_000
HIGHLIGHT_LIMIT = 20_000
FORMULA_LIMIT = 2_000


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


MATH_TAGS = _names(
    "math mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow mspace msqrt mstyle "
    "msub msubsup msup mtable mtd mtext mtr munder munderover none menclose"
)
MATH_ATTRIBUTES = _names(
    "accent accentunder columnalign columnlines columnspacing depth display displaystyle fence form "
    "height largeop linethickness lspace mathvariant maxsize minsize movablelimits notation rowlines "
    "rowspacing rspace scriptlevel separator stretchy symmetric voffset width"
)
TEXT_TAGS = _names(
    "a blockquote br code del div em h3 h4 h5 h6 hr li ol p pre s span strong table tbody td th thead tr ul"
)
SCHEMES = frozenset({"http", "https", "mailto"})
# What the formula converter raises for TeX it cannot read (20,000 random formulas raised nothing else).
FORMULA_ERRORS: tuple[type[Exception], ...] = (
    *(error for error in vars(latex2mathml.exceptions).values() if isinstance(error, type)),
    IndexError,
    KeyError,
    RecursionError,
    StopIteration,
    ValueError,
)

_formatter = HtmlFormatter(nowrap=True, classprefix="hl-")


def render_markdown(text: str, *, keep_breaks: bool = False) -> SafeString:
    """Return a text's Markdown as safe HTML; `keep_breaks` keeps single line breaks, as people type them.

    Cached by the content's hash, so a response is parsed once a process however many people read it.
    """
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    key = f"markdown:{VERSION}:{int(keep_breaks)}:{digest}"
    html = cache.get_or_set(key, lambda: _rendered(text, keep_breaks=keep_breaks), timeout=24 * 3600)
    return SafeString(html)  # cleaned or escaped in _rendered


def _rendered(text: str, *, keep_breaks: bool) -> str:
    # Half of a broken character can be neither parsed nor sent; the reader sees that something is wrong.
    text = text.encode("utf-8", "replace").decode()
    if len(text) > MARKDOWN_LIMIT:
        return f"""<pre class="plain">{escape(text)}</pre>"""
    return _cleaned((_prompt_parser if keep_breaks else _response_parser).render(text))


def _cleaned(html: str) -> str:
    return nh3.clean(
        html,
        tags=set(TEXT_TAGS | MATH_TAGS),
        attributes={
            "a": {"href", "title"},
            "ol": {"start"},
            "div": {"class"},
            "span": {"class"},
            "code": {"class"},
            "pre": {"class"},
            "th": {"class"},
            "td": {"class"},
            **{tag: set(MATH_ATTRIBUTES) for tag in MATH_TAGS},
        },
        attribute_filter=_allowed_attribute,
        url_schemes=set(SCHEMES),
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


def _allowed_attribute(tag: str, name: str, value: str) -> str | None:
    # A relative link in a response would lead into this site.
    if tag == "a" and name == "href" and _scheme(value) not in SCHEMES:
        return None
    return value


def _scheme(address: str) -> str:
    """Return an address's scheme in lower case, '' for a relative or unreadable one."""
    try:
        return urlsplit(address.strip()).scheme.lower()
    except ValueError:
        return ""


def _formula(tex: str, *, block: bool) -> str:
    """Return a formula as MathML, or its source where it cannot be read."""
    source = f'<code class="tex">{escape(tex)}</code>'
    if len(tex) > FORMULA_LIMIT:
        return source
    try:
        mathml = str(latex2mathml.converter.convert(tex, display="block" if block else "inline"))
    except FORMULA_ERRORS:
        return source
    # The converter passes the inside of \text{...} through as it is: anything but MathML is shown as source.
    tags = re.findall(r"</?([^\s>/]*)", mathml)
    return mathml if MATH_TAGS.issuperset(tags) else source


def _render_fence(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    token = tokens[index]
    words = token.info.split()
    language = words[0][:40] if words else ""
    head = f'<div class="code__head"><span class="code__language">{escape(language)}</span></div>'
    return f'<div class="code">{head}<pre><code>{_highlighted(token.content, language)}</code></pre></div>\n'


def _highlighted(code: str, language: str) -> str:
    if not language or len(code) > HIGHLIGHT_LIMIT:
        return escape(code)
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escape(code)
    return str(highlight(code, lexer, _formatter))


def _render_image(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    alt = self.renderInlineAsText(tokens[index].children or [], options, env)
    return f'<span class="image-text">[image: {escape(alt) or "no description"}]</span>'


def _render_table_open(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    return '<div class="table-scroll"><table>\n'


def _render_table_close(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    return "</table></div>\n"


def _render_inline_formula(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    return _formula(tokens[index].content.strip(), block=False)


def _render_block_formula(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    return f'<div class="formula">{_formula(tokens[index].content.strip(), block=True)}</div>\n'


def _fit_into_page(state: StateCore) -> None:
    """Sink headings below the page's own two levels, and say a cell's alignment by class instead of by style."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
        elif token.type in ("th_open", "td_open"):
            style = str(token.attrs.pop("style", ""))
            if style.endswith(("center", "right")):
                token.attrs["class"] = f"to-{style.rpartition(':')[2].strip()}"


def _parser(*, keep_breaks: bool) -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": keep_breaks}).enable(["table", "strikethrough"])
    # "$5 or $10" is money, not a formula: no space inside the dollars and no digit outside them.
    dollarmath_plugin(parser, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    texmath_plugin(parser, delimiters="brackets")
    parser.core.ruler.push("fit_into_page", _fit_into_page)
    for name in ("math_inline", "math_inline_double", "math_single"):
        parser.add_render_rule(name, _render_inline_formula)
    for name in ("math_block", "math_block_eqno"):
        parser.add_render_rule(name, _render_block_formula)
    parser.add_render_rule("fence", _render_fence)
    parser.add_render_rule("image", _render_image)
    parser.add_render_rule("table_open", _render_table_open)
    parser.add_render_rule("table_close", _render_table_close)
    return parser


_response_parser = _parser(keep_breaks=False)
_prompt_parser = _parser(keep_breaks=True)
