"""Two responses word by word: what only one of them says, and how long each is. Pure, and bounded on any text.

Neither text is the older one, so nothing is "deleted": what stands on one side only is marked on that side.
"""

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import cache
from html import escape
from math import isqrt
from typing import NamedTuple

from django.utils.safestring import SafeString

from annotation.rendering import printable, render_plain

# A longer text is shown without marks: nobody compares so many words by eye.
WORD_LIMIT = 20_000
# difflib looks at every pair of equal words, again for each stretch it finds; beyond so many such pairs the words that
# are unique on both sides divide the texts first, and where there are none, their lengths do, into small parts.
PAIR_LIMIT = 10_000
PART_PAIR_LIMIT = 1_000
# Fewer equal words than this between two longer changes are chance ("the", a comma), and marking around them confuses.
SHORT_RUN = 2

# Scripts written without spaces: each character is a word.
_SPACELESS = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)


class Diff(NamedTuple):
    """Both texts as safe HTML, what only one side says in `<mark class="diff">`.

    `shared_share` is the share of the words of both that both say; None where a text was too long to compare, and then
    nothing is marked.
    """

    first: SafeString
    second: SafeString
    shared_share: float | None


class Lengths(NamedTuple):
    """How long a text is; a word of a script without spaces is a character."""

    words: int
    characters: int
    lines: int


def word_diff(first: str, second: str) -> Diff:
    """Compare two texts word by word; spaces and line breaks are shown and not compared."""
    sides = _split(first), _split(second)
    if any(len(side.words) > WORD_LIMIT for side in sides):
        return Diff(render_plain(first), render_plain(second), None)
    shared = [[False] * len(side.words) for side in sides]
    runs = _equal_runs(sides[0].words, sides[1].words)
    for a, b, size in _without_chance(runs, len(sides[0].words), len(sides[1].words)):
        shared[0][a : a + size] = shared[1][b : b + size] = [True] * size
    total = sum(map(len, shared))
    share = sum(map(sum, shared)) / total if total else 1.0
    return Diff(_marked(sides[0], shared[0]), _marked(sides[1], shared[1]), share)


def lengths(text: str) -> Lengths:
    """Count a text's words, characters and lines; punctuation is no word."""
    words = sum(word[0].isalnum() for word in _split(text).words)
    return Lengths(words, len(text), len(text.splitlines()))


@cache
def _word_pattern() -> re.Pattern[str]:
    r"""Return what a word is, and the space after it.

    Vowel signs and accents of many scripts are marks, which `\w` leaves out: they belong to the letter before them.
    """
    marks = "".join(
        f"{chr(first)}-{chr(last)}"
        for first, last in _ranges(code for code in range(0x300, 0x1F000) if unicodedata.category(chr(code))[0] == "M")
    )
    joined = f"[{marks}\u200c\u200d]"
    letter = f"(?![{_SPACELESS}])\\w"
    word = f"{letter}(?:{letter}|{joined}|['\u2019](?={letter}))*"
    return re.compile(f"({word}|[^\\s]{joined}*)(\\s*)")


def _ranges(codes: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = last = -1
    for code in codes:
        if code != last + 1 and last >= 0:
            yield first, last
        if code != last + 1 or last < 0:
            first = code
        last = code
    yield first, last


class _Split(NamedTuple):
    """A text in words; `spaces` holds what follows each."""

    lead: str
    words: list[str]
    spaces: list[str]


def _split(text: str) -> _Split:
    lead = text[: len(text) - len(text.lstrip())]
    found: list[tuple[str, str]] = _word_pattern().findall(text, len(lead))
    return _Split(lead, [word for word, _space in found], [space for _word, space in found])


def _equal_runs(first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return (start in first, start in second, length) of the runs that both share, in order."""
    runs: list[tuple[int, int, int]] = []
    waiting = [(0, len(first), 0, len(second))]
    while waiting:
        a, a_end, b, b_end = waiting.pop()
        start = a
        while a < a_end and b < b_end and first[a] == second[b]:
            a, b = a + 1, b + 1
        if a > start:
            runs.append((start, b - (a - start), a - start))
        tail = 0
        while a < a_end and b < b_end and first[a_end - 1] == second[b_end - 1]:
            a_end, b_end, tail = a_end - 1, b_end - 1, tail + 1
        if tail:
            runs.append((a_end, b_end, tail))
        if a == a_end or b == b_end:
            continue
        counts = Counter(first[a:a_end]), Counter(second[b:b_end])
        pairs = sum(count * counts[1][word] for word, count in counts[0].items())
        if pairs <= PAIR_LIMIT:
            matcher = SequenceMatcher(None, first[a:a_end], second[b:b_end], autojunk=False)
            runs += [(a + block.a, b + block.b, block.size) for block in matcher.get_matching_blocks() if block.size]
            continue
        anchors = _anchors(first, second, (a, a_end), (b, b_end), counts)
        for anchor_a, anchor_b in anchors:
            waiting.append((a, anchor_a, b, anchor_b))
            runs.append((anchor_a, anchor_b, 1))
            a, b = anchor_a + 1, anchor_b + 1
        # Without anchors, n parts of each side hold about 1/n² of the pairs each.
        parts = 1 if anchors else isqrt(pairs // PART_PAIR_LIMIT) + 1
        cuts_a = [a + (a_end - a) * part // parts for part in range(parts + 1)]
        cuts_b = [b + (b_end - b) * part // parts for part in range(parts + 1)]
        waiting += zip(cuts_a, cuts_a[1:], cuts_b, cuts_b[1:], strict=False)
    return _joined(sorted(runs))


def _anchors(
    first: Sequence[str],
    second: Sequence[str],
    within_first: tuple[int, int],
    within_second: tuple[int, int],
    counts: tuple[Counter[str], Counter[str]],
) -> list[tuple[int, int]]:
    """Return the longest row of words that occur once on each side, in the same order on both (patience diff)."""
    places = {second[b]: b for b in range(*within_second) if counts[1][second[b]] == 1}
    found = [(a, places[first[a]]) for a in range(*within_first) if counts[0][first[a]] == 1 and first[a] in places]
    # The longest increasing row: the last place of the best row of each length, and who came before whom.
    ends: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for index, (_a, b) in enumerate(found):
        length = bisect_left(ends, b)
        before.append(last[length - 1] if length else -1)
        ends[length : length + 1] = [b]
        last[length : length + 1] = [index]
    row: list[tuple[int, int]] = []
    index = last[-1] if last else -1
    while index >= 0:
        row.append(found[index])
        index = before[index]
    return row[::-1]


def _joined(runs: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Join runs that touch on both sides."""
    joined: list[tuple[int, int, int]] = []
    for a, b, size in runs:
        if joined and joined[-1][0] + joined[-1][2] == a and joined[-1][1] + joined[-1][2] == b:
            joined[-1] = (joined[-1][0], joined[-1][1], joined[-1][2] + size)
        else:
            joined.append((a, b, size))
    return joined


def _without_chance(runs: list[tuple[int, int, int]], end_a: int, end_b: int) -> list[tuple[int, int, int]]:
    """Leave out the short runs that stand between two changes longer than themselves."""
    kept = []
    for index, (a, b, size) in enumerate(runs):
        before = runs[index - 1] if index else (0, 0, 0)
        after = runs[index + 1] if index + 1 < len(runs) else (end_a, end_b, 0)
        gap_before = max(a - before[0] - before[2], b - before[1] - before[2])
        gap_after = max(after[0] - a, after[1] - b) - size
        if size > SHORT_RUN or min(gap_before, gap_after) <= 2 * size:
            kept.append((a, b, size))
    return kept


def _marked(side: _Split, shared: Sequence[bool]) -> SafeString:
    """Return the text as HTML, each stretch of words that are not shared in one mark that ends with its last word."""
    parts = [_shown(side.lead)]
    for index, (word, space) in enumerate(zip(side.words, side.spaces, strict=True)):
        begins = not shared[index] and (index == 0 or shared[index - 1])
        ends = not shared[index] and (index + 1 == len(shared) or shared[index + 1])
        parts += ['<mark class="diff">' * begins, _shown(word), "</mark>" * ends, _shown(space)]
    inner = "".join(parts)
    # A line break right after <pre> is taken for the markup's own.
    first = "\n" if inner.startswith(("\n", "\r")) else ""
    return SafeString(f'<pre class="plain">{first}{inner}</pre>')  # every word and space is escaped


def _shown(text: str) -> str:
    return escape(printable(text))
