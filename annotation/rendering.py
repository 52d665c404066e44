"""From what a model wrote to HTML that is safe to show: Markdown, code and formulas, and nothing that runs or loads.

Two walls stand behind each other: the parser passes no HTML through, and the result is cleaned against a list of what
is allowed. An image from elsewhere is never loaded by what is made here (a picture's address can tell its owner who
reads what): its text is shown, and where images are wanted the address lies beside it for a person's click to load.

Nothing of a text is cut: what Markdown or TeX would swallow without a trace (link definitions that no link uses, cells
beyond a table's header, comments in formulas, levels beyond the parser's depth) is shown as it was written.
"""

import base64
import binascii
import re
import time
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from functools import lru_cache
from html import escape
from typing import Any, Literal
from urllib.parse import urlsplit

import latex2mathml.converter
import latex2mathml.exceptions
import nh3
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_block.table import escapedSplit
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import format as format_tokens
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.token import Text
from pygments.util import ClassNotFound

# How many texts' HTML a process keeps: those of the pairs that are being read.
KEPT_TEXTS = 1000
# Beyond these sizes a text is shown as it is: parsing takes about 2 ms per 1,000 characters.
MARKDOWN_LIMIT = 100_000
FORMULA_LIMIT = 2_000
# Of all the code in a text together. Many lexers need quadratic time on text made for it, so time is bounded too.
HIGHLIGHT_LIMIT = 20_000
HIGHLIGHT_SECONDS = 0.5
# The parser drops blocks that are nested deeper than its limit; a text that reaches it is shown as it is. Inside a line
# nothing is dropped, and the time for brackets grows with the limit.
NESTING_LIMIT = 100
INLINE_NESTING_LIMIT = 20
# How far the end of a formula is looked for; from each of many beginnings it takes its time.
FORMULA_REACH = 5 * FORMULA_LIMIT
# An image inside the text, in characters of its address.
DATA_IMAGE_LIMIT = 64_000
# So many characters say which way a text runs.
DIRECTION_SAMPLE = 20_000


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
IMAGE_TAGS = frozenset({"img"})
IMAGE_DATA = ("data-image-src", "data-image-alt", "data-image-host")
SCHEMES = frozenset({"http", "https", "mailto"})
# The first bytes of the raster formats that may lie in a text. SVG is a document, not a picture, and is never shown.
RASTER_STARTS = {
    "png": (b"\x89PNG\r\n\x1a\n",),
    "jpeg": (b"\xff\xd8\xff",),
    "gif": (b"GIF87a", b"GIF89a"),
    "webp": (b"RIFF",),
}
_RASTER = re.compile(r"data:image/(png|jpeg|gif|webp);base64,([A-Za-z0-9+/]+={0,2})", re.IGNORECASE)
# What the formula converter raises for TeX it cannot read (20,000 random formulas raised nothing else).
FORMULA_ERRORS: tuple[type[Exception], ...] = (
    *(error for error in vars(latex2mathml.exceptions).values() if isinstance(error, type)),
    IndexError,
    KeyError,
    RecursionError,
    StopIteration,
    ValueError,
)

# TeX that the converter would drop with what it holds: comments ("$50%$" is money, not a comment), addresses, and what
# takes room unseen.
_SWALLOWED = re.compile(r"(?<!\\)(?:\\\\)*(?:%|\\(?:href|[hv]?phantom)(?![a-zA-Z]))")
_LENGTH_ATTRIBUTES = _names(
    "columnspacing depth height linethickness lspace maxsize minsize rowspacing rspace voffset width"
)
_LENGTH = re.compile(r"([+-]?)(\d*\.?\d+)(em|ex|px|pt|pc|mu|cm|mm|in|)")
_IN_EM = {"em": 1, "ex": 0.5, "px": 1 / 16, "pt": 1 / 12, "pc": 1, "mu": 1 / 18, "cm": 2.4, "mm": 0.24, "in": 6, "": 1}
# What a formula may move backwards and take up, in em: more would lay it over the text around it.
_MOST_BACK, _MOST_FORTH = 2, 20

_formatter = HtmlFormatter(nowrap=True, classprefix="hl-")


def render_markdown(text: str, *, keep_breaks: bool = False, images: bool = False) -> SafeString:
    """Return a text's Markdown as safe HTML; `keep_breaks` keeps single line breaks, as people type them.

    With `images` a small picture inside the text is shown, and one from elsewhere becomes a `.image-consent` with its
    address in `data-image-src`: nothing is fetched until a script loads it on a person's click.
    The last ones are kept, so that a response is parsed once a process though several people read it.
    """
    if len(text) > MARKDOWN_LIMIT:
        return render_plain(text)
    return SafeString(_rendered(text, keep_breaks, images, get_language()))  # cleaned or escaped there


def render_plain(text: str) -> SafeString:
    """Return a text of any length as it was written, spaces and line breaks included; linear and not cached."""
    # A line break right after <pre> is taken for the markup's own.
    first = "\n" if text.startswith(("\n", "\r")) else ""
    return SafeString(f"""<pre class="plain">{first}{escape(printable(text))}</pre>""")  # escaped


def render_code(text: str, language: str = "") -> SafeString:
    """Return a whole text as one block of code, coloured where its language is named and known; no guessing."""
    code = printable(text).replace("\r\n", "\n").replace("\r", "\n")
    html = _code_block(code, language, _Budget())
    # Beyond the limit nothing is coloured, so there is nothing but escaped text to clean.
    return SafeString(html if len(code) > HIGHLIGHT_LIMIT else _cleaned(html))


def direction_of(text: str) -> Literal["rtl", "ltr", "auto"]:
    """Return which way a text runs by its letters; "auto" where it has none with a direction.

    A right-to-left text often begins with a name in Latin letters and is full of terms and code, so neither its first
    letter nor a bare majority says it: code, addresses and formulas are left out of the count, and a quarter of
    right-to-left letters is enough where the text begins with one.
    """
    sample = text[:DIRECTION_SAMPLE]
    if sample.isascii():
        return "ltr" if any(letter.isalpha() for letter in sample) else "auto"
    kinds = _letter_directions(_NOT_PROSE.sub(" ", sample)) or _letter_directions(sample)
    if not kinds:
        return "auto"
    share = kinds.count("R") / len(kinds)
    return "rtl" if share >= 0.5 or (share >= 0.25 and kinds[0] == "R") else "ltr"


_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]+`|\$[^$\n]+\$|\w+://\S+", re.DOTALL)


def _letter_directions(text: str) -> str:
    """Return an R or L for each letter that runs one way."""
    kinds = (unicodedata.bidirectional(letter) for letter in text if letter.isalpha())
    return "".join("L" if kind == "L" else "R" for kind in kinds if kind in ("L", "R", "AL"))


class _Budget:
    """What is left for colouring the code of one text."""

    def __init__(self) -> None:
        self.characters = HIGHLIGHT_LIMIT
        self.seconds = HIGHLIGHT_SECONDS


def printable(text: str) -> str:
    """Return a text without what cannot be sent or would vanish on the way; the reader sees that something is wrong."""
    # Half of a broken character can be neither parsed nor encoded, and a browser drops NUL.
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


@lru_cache(maxsize=KEPT_TEXTS)
def _rendered(text: str, keep_breaks: bool, images: bool, _language: str) -> str:
    # The language is that of words about images.
    parser = _prompt_parser if keep_breaks else _response_parser
    env: dict[str, Any] = {"images": images, "budget": _Budget()}
    tokens = parser.parse(printable(text), env)
    # A list and its items are a level each: the last that is parsed opens one below the limit.
    if any(token.level >= NESTING_LIMIT - 1 for token in tokens):
        return render_plain(text)
    return _cleaned(str(parser.renderer.render(tokens, parser.options, env)), images=images)


def _cleaned(html: str, *, images: bool = False) -> str:
    return (_picture_cleaner if images else _text_cleaner).clean(html)


def _allowed_attribute(tag: str, name: str, value: str) -> str | None:
    if tag == "a" and name == "href" and not _leads_outside(value):
        return None
    if tag == "img" and name == "src" and not _is_raster(value):
        return None
    if name == "data-image-src" and not _web_host(value):
        return None
    if tag in MATH_TAGS and name in _LENGTH_ATTRIBUTES and not all(map(_fits, value.split())):
        return None
    return value


def _leads_outside(address: str) -> bool:
    """Say whether an address is allowed in a link: a relative one in a response would lead into this site."""
    return _scheme(address) == "mailto" or bool(_web_host(address))


def _scheme(address: str) -> str:
    """Return an address's scheme in lower case, '' for a relative or unreadable one."""
    try:
        return urlsplit(address.strip()).scheme.lower()
    except ValueError:
        return ""


def _web_host(address: str) -> str:
    """Return the host that a web address names, '' for any other address.

    `https:sign-out/` names none: browsers read it as a path of this site.
    """
    if _scheme(address) not in ("http", "https"):
        return ""
    try:
        return urlsplit(address.strip()).hostname or ""
    except ValueError:
        return ""


def _is_raster(address: str) -> bool:
    """Say whether an address holds a small picture of a format that can only be a picture."""
    found = _RASTER.fullmatch(address) if len(address) <= DATA_IMAGE_LIMIT else None
    if not found:
        return False
    kind, data = found[1].lower(), found[2]
    try:
        content = base64.b64decode(data, validate=True)
    except binascii.Error:
        return False
    return content.startswith(RASTER_STARTS[kind]) and (kind != "webp" or content[8:12] == b"WEBP")


def _fits(length: str) -> bool:
    """Say whether a length of a formula stays near its place; a name ("thickmathspace") always does."""
    found = _LENGTH.fullmatch(length)
    if not found:
        return length.isalpha()
    most = _MOST_BACK if found[1] == "-" else _MOST_FORTH
    return float(found[2]) * _IN_EM[found[3]] <= most


def _formula(tex: str, *, block: bool) -> str:
    """Return a formula as MathML, or its source where it cannot be read."""
    source = f'<code class="tex">{escape(tex)}</code>'
    if len(tex) > FORMULA_LIMIT or _SWALLOWED.search(tex):
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
    return _code_block(tokens[index].content, tokens[index].info, env["budget"])


def _code_block(code: str, info: str, budget: _Budget) -> str:
    """Return code under its fence's words, the first of which names the language."""
    words = info.split()
    coloured = _highlighted(code, words[0][:40] if words else "", budget)
    head = f'<div class="code__head"><span class="code__language">{escape(" ".join(words))}</span></div>'
    return f'<div class="code">{head}<pre><code>{coloured}</code></pre></div>\n'


def _highlighted(code: str, language: str, budget: _Budget) -> str:
    if not language or len(code) > budget.characters or budget.seconds <= 0:
        return escape(code)
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escape(code)
    started = time.monotonic()
    try:
        tokens = list(_until(started + budget.seconds, lexer.get_tokens(code), code))
    except Exception:  # noqa: BLE001 (hundreds of lexers, none written for hostile text: Pascal's raises EndOfText)
        tokens = []
    budget.characters -= len(code)
    budget.seconds -= time.monotonic() - started
    # Colours must not change the text: some lexers lose or move pieces of it (here-documents).
    whole = "".join(value for _kind, value in tokens) == code
    if not whole:
        return escape(code)
    html = str(format_tokens(tokens, _formatter))
    return html if code.endswith("\n") else html.removesuffix("\n")


def _until(deadline: float, tokens: Iterable[tuple[Any, str]], code: str) -> Iterator[tuple[Any, str]]:
    """Yield a lexer's tokens until the deadline, and what is left of the code as plain text."""
    done = 0
    for kind, value in tokens:
        yield kind, value
        done += len(value)
        if time.monotonic() > deadline:
            yield Text, code[done:]
            return


def _render_image(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    alt = self.renderInlineAsText(tokens[index].children or [], options, env)
    address = str(tokens[index].attrs.get("src", ""))
    if env["images"] and _is_raster(address):
        return f'<img class="image" src="{escape(address)}" alt="{escape(alt)}">'
    text = f'<span class="image-text">{escape(_("[image: %s]") % (alt or _("no description")))}</span>'
    if env["images"] and (host := _web_host(address)):
        values = (address, alt, host)
        data = " ".join(f'{name}="{escape(value)}"' for name, value in zip(IMAGE_DATA, values, strict=True))
        return f'<span class="image-consent" {data}>{text} <span class="image-host">{escape(host)}</span></span>'
    return text


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


def _render_displayed_formula(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    return _formula(tokens[index].content.strip(), block=True)


def _render_block_formula(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    return f'<div class="formula">{_formula(tokens[index].content.strip(), block=True)}</div>\n'


def _render_unused_definitions(
    self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    return f'<pre class="plain">{escape(tokens[index].content)}</pre>\n'


def _bracket_formula(state: StateInline, silent: bool) -> bool:
    r"""Read a formula between \( and \), or \[ and \], inside a line."""
    opening = state.src[state.pos : state.pos + 2]
    if opening not in ("\\(", "\\["):
        return False
    end = state.src.find("\\)" if opening == "\\(" else "\\]", state.pos + 2, state.pos + FORMULA_REACH)
    if end <= state.pos + 2 or end + 2 > state.posMax:
        return False
    if not silent:
        token = state.push("math_inline" if opening == "\\(" else "math_inline_double", "math", 0)
        token.content = state.src[state.pos + 2 : end]
        token.markup = opening
    state.pos = end + 2
    return True


def _block_formula(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    r"""Read a formula between $$ and $$, or \[ and \], that has its lines for itself.

    The plugins' own rules drop what follows a formula on its last line, and look for an end line by line, from every
    line again.
    """
    begin = state.bMarks[start_line] + state.tShift[start_line]
    opening = state.src[begin : begin + 2]
    if opening not in ("$$", "\\[") or state.is_code_block(start_line):
        return False
    end = state.src.find("$$" if opening == "$$" else "\\]", begin + 2, begin + FORMULA_REACH)
    if end < 0 or not state.src[begin + 2 : end].strip():
        return False
    last_line = bisect_left(state.eMarks, end, lo=start_line)
    if last_line >= end_line or state.src[end + 2 : state.eMarks[last_line]].strip():
        return False
    inner = range(start_line + 1, last_line + 1)
    if any(state.sCount[line] < state.blkIndent and not state.isEmpty(line) for line in inner):
        return False  # the list item ends before the formula does
    if not silent:
        token = state.push("math_block", "math", 0)
        token.block = True
        token.map = [start_line, last_line + 1]
        token.markup = opening
        # Line by line, without the marks of the quotes around it.
        stops = [*state.eMarks[start_line:last_line], end]
        starts = [begin + 2, *(state.bMarks[line] for line in inner)]
        token.content = "\n".join(state.src[a:b] for a, b in zip(starts, stops, strict=True))
    state.line = last_line + 1
    return True


def _keep_surplus_cells(state: StateCore) -> None:
    """Put cells beyond a table's header into the row's last cell; Markdown drops them."""
    lines: list[str] = []
    for index, token in enumerate(state.tokens):
        if token.type != "tr_close" or state.tokens[index - 1].type != "td_close":
            continue
        content = state.tokens[index - 2]
        first = index - 1
        while state.tokens[first].type != "tr_open":
            first -= 1
        lines = lines or state.src.split("\n")
        line = lines[(content.map or [0])[0]]
        cells = escapedSplit(line.strip().strip("|"))
        surplus = cells[(index - first - 1) // 3 :]
        if surplus:
            content.content = " | ".join([content.content, *(cell.strip() for cell in surplus)])


def _show_unused_definitions(state: StateCore) -> None:
    """Show definitions of links that no link uses ("[//]: # (a comment)"): text that only machines would read."""
    used = {child.meta.get("label") for token in state.tokens for child in token.children or []}
    definitions = [
        *(found["map"] for label, found in state.env.get("references", {}).items() if label not in used),
        *(found["map"] for found in state.env.get("duplicate_refs", [])),
    ]
    if definitions:
        lines = state.src.split("\n")
        token = Token("unused_definitions", "pre", 0, block=True)
        token.content = "\n".join("\n".join(lines[first:end]) for first, end in sorted(definitions))
        state.tokens.append(token)


def _fit_into_page(state: StateCore) -> None:
    """Sink headings below the page's own two levels, and say a cell's alignment by class instead of by style."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
        elif token.type in ("th_open", "td_open"):
            style = str(token.attrs.pop("style", ""))
            if style.endswith(("center", "right")):
                token.attrs["class"] = f"to-{style.rpartition(':')[2].strip()}"


def _rules(*, keep_breaks: bool, nesting: int) -> MarkdownIt:
    options = {"html": False, "breaks": keep_breaks, "maxNesting": nesting, "store_labels": True}
    parser = MarkdownIt("commonmark", options).enable(["table", "strikethrough"])
    # "$5 or $10" is money, not a formula: no space inside the dollars and no digit outside them.
    dollarmath_plugin(parser, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    # No HTML passes through, so nothing has to look for it.
    parser.disable(["math_block", "html_block", "html_inline"])
    parser.inline.ruler.before("escape", "bracket_formula", _bracket_formula)
    parser.block.ruler.before("fence", "block_formula", _block_formula)
    return parser


def _parser(*, keep_breaks: bool) -> MarkdownIt:
    parser = _rules(keep_breaks=keep_breaks, nesting=NESTING_LIMIT)
    lines = _rules(keep_breaks=keep_breaks, nesting=INLINE_NESTING_LIMIT)

    def parse_lines(state: StateCore) -> None:
        """Parse the inside of each block; the core's own rule knows one nesting limit for both."""
        for token in state.tokens:
            if token.type == "inline":
                token.children = token.children or []
                lines.inline.parse(token.content, lines, state.env, token.children)

    parser.core.ruler.at("inline", parse_lines)
    parser.core.ruler.after("block", "keep_surplus_cells", _keep_surplus_cells)
    parser.core.ruler.push("fit_into_page", _fit_into_page)
    parser.core.ruler.push("show_unused_definitions", _show_unused_definitions)
    parser.add_render_rule("math_inline", _render_inline_formula)
    parser.add_render_rule("math_inline_double", _render_displayed_formula)
    parser.add_render_rule("math_block", _render_block_formula)
    parser.add_render_rule("unused_definitions", _render_unused_definitions)
    parser.add_render_rule("fence", _render_fence)
    parser.add_render_rule("image", _render_image)
    parser.add_render_rule("table_open", _render_table_open)
    parser.add_render_rule("table_close", _render_table_close)
    return parser


_response_parser = _parser(keep_breaks=False)
_prompt_parser = _parser(keep_breaks=True)


def _cleaner(*, images: bool) -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=set(TEXT_TAGS | MATH_TAGS | (IMAGE_TAGS if images else frozenset())),
        attributes={
            "a": {"href", "title"},
            "ol": {"start"},
            "div": {"class"},
            "span": {"class", *(IMAGE_DATA if images else ())},
            "code": {"class"},
            "pre": {"class"},
            "th": {"class"},
            "td": {"class"},
            **({"img": {"src", "alt", "class"}} if images else {}),
            **{tag: set(MATH_ATTRIBUTES) for tag in MATH_TAGS},
        },
        attribute_filter=_allowed_attribute,
        url_schemes=set(SCHEMES | ({"data"} if images else frozenset())),
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


# Made once: to read the lists of tags anew for each text took four times as long as to clean it.
_text_cleaner = _cleaner(images=False)
_picture_cleaner = _cleaner(images=True)
