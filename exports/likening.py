"""Near-duplicate texts, found without comparing each with each.

A text is the set of its runs of three words, lower case; where a script has no spaces between words (Chinese, Japanese,
Thai, Lao, Khmer, Burmese, Tibetan), of five characters, about as much. Two are near-duplicates when these sets share
0.8 or more of all runs of both (Jaccard). MinHash signatures (Broder 1997) in 16 bands of 5 find candidates: at a
likeness of 0.8 all but 0.2 % of them, at 0.9 all. Each candidate is then compared exactly, so that texts of one
template stay apart.
"""

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

NEAR = 0.8
BANDS, ROWS = 16, 5
# Of a band's hash 32 bits are kept: two that are the same by chance are candidates, and found to be none.
BAND = np.uint32
WORDS_PER_RUN, CHARACTERS_PER_RUN = 3, 5
# Texts of so few runs share them by chance ("What is the"): they are alike only when they are the same. Eight words
# make six, and so do ten characters of a script without spaces.
LEAST_RUNS = 6
# Within a bucket this many are compared; the others are taken for near-duplicates, which can leak nothing.
MOST_COMPARED = 64
# Letters, and the marks that belong to them, of scripts that put no space between words.
UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecd\u0f40-\u0fbc\u1000-\u103f\u1050-\u109f\u1780-\u17d3"
    "\u3005\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff"
)
FIRST_UNSPACED = UNSPACED[0]
_WORD = re.compile(r"\w+")
# What stands between words, where all signs are ASCII.
_NO_WORD = {ord(sign): " " for sign in map(chr, range(128)) if not _WORD.match(sign)}
_WORD_OR_CHARACTER = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
_UNSPACED = re.compile(f"[{UNSPACED}]")

_rng = np.random.default_rng(20_250)
# Odd, so that multiplying modulo 2^64 loses nothing.
_FACTORS = _rng.integers(1, 1 << 63, size=(BANDS * ROWS, 1), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_SHIFTS = _rng.integers(0, 1 << 63, size=(BANDS * ROWS, 1), dtype=np.uint64)
_POWERS = np.power(np.uint64(1_099_511_628_211), np.arange(ROWS, dtype=np.uint64)).reshape(-1, 1)


def plain_words(text: str) -> list[str]:
    """Return a text's runs of letters, digits and underscores in lower case; split, most take a third of the time."""
    lower = text.lower()
    return lower.translate(_NO_WORD).split() if lower.isascii() else _WORD.findall(lower)


def words_of(text: str) -> list[str]:
    """Return a text's words in lower case: what counts when texts are held to be the same.

    Of a script without spaces each character counts as one.
    """
    if text.isascii() or not _UNSPACED.search(text):
        return plain_words(text)
    return _WORD_OR_CHARACTER.findall(text.lower())


def runs_of(text: str) -> frozenset[int]:
    """Return the hashes of a text's runs; none for a text of fewer than six."""
    return runs_in(words_of(text))


def runs_in(words: Sequence[str]) -> frozenset[int]:
    """Return the hashes of the runs of these words: from each word on three, from a character on five."""
    runs: list[Sequence[str]]
    if max(words, default="") < FIRST_UNSPACED:
        runs = list(zip(*(words[start:] for start in range(WORDS_PER_RUN)), strict=False))
    else:
        lengths = [CHARACTERS_PER_RUN if _UNSPACED.match(word) else WORDS_PER_RUN for word in words]
        last = len(words)
        runs = [words[start : start + length] for start, length in enumerate(lengths) if start + length <= last]
    if len(runs) < LEAST_RUNS:
        return frozenset()
    return frozenset(zlib.crc32(" ".join(run).encode()) for run in runs)


def bands_of(texts: Sequence[frozenset[int]]) -> NDArray[np.uint32]:
    """Return a row of hashes for each text, one for each band of its signature; every text has runs.

    Holds 640 bytes a run.
    """
    hashes = np.fromiter(chain.from_iterable(texts), dtype=np.uint64)
    starts = np.cumsum([0, *map(len, texts[:-1])])
    # Multiply and shift modulo 2^64: universal enough for minima, and the product may overflow.
    mixed = (hashes * _FACTORS + _SHIFTS) >> np.uint64(16)
    lowest = np.minimum.reduceat(mixed, starts, axis=1).reshape(BANDS, ROWS, len(texts))
    summed: NDArray[np.uint64] = (lowest * _POWERS).sum(axis=1, dtype=np.uint64)
    return (summed >> np.uint64(32)).astype(BAND).T


def likeness(one: frozenset[int], other: frozenset[int]) -> float:
    """Return the share of runs that two texts have in common (Jaccard)."""
    either = len(one | other)
    return len(one & other) / either if either else 0.0


def find_near(
    bands: NDArray[np.uint32], numbers: NDArray[np.uint32], text_of: Callable[[int], str]
) -> Iterator[tuple[int, int]]:
    """Yield pairs of near-duplicate texts: enough of them that any two are joined by a chain.

    `bands` has a row of hashes for each text, `numbers` the number of each row's text, and `text_of` gives the text of
    a number again (texts themselves are not held).
    """

    @lru_cache(maxsize=4096)
    def runs(number: int) -> frozenset[int]:
        return runs_of(text_of(number))

    for members in _buckets(bands, numbers):
        yield from _near_within(members, runs)


def _buckets(bands: NDArray[np.uint32], numbers: NDArray[np.uint32]) -> Iterator[list[int]]:
    """Yield the numbers of texts that share a band, band by band, each bucket in order and once."""
    seen: set[int] = set()
    for column in range(bands.shape[1]):
        order = np.argsort(bands[:, column], kind="stable")
        ordered = bands[order, column]
        starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        sizes = np.diff(np.r_[starts, len(ordered)])
        for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
            members = sorted(numbers[order[start : start + size]].tolist())
            digest = hash(tuple(members))
            if digest not in seen:
                seen.add(digest)
                yield members


def _near_within(members: list[int], runs: Callable[[int], frozenset[int]]) -> Iterator[tuple[int, int]]:
    """Yield near-duplicates of one bucket, comparing each with those before it, 64 at most."""
    for place, number in enumerate(members):
        for compared, other in enumerate(members[:place]):
            if compared >= MOST_COMPARED or likeness(runs(number), runs(other)) >= NEAR:
                yield other, number
                if compared >= MOST_COMPARED:
                    break
