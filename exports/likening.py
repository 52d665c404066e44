"""Near-duplicate texts, found without comparing each with each.

A text is the set of its runs of three words, lower case. Two are near-duplicates when these sets share 0.8 or more of
all runs of both (Jaccard). MinHash signatures (Broder 1997) in 16 bands of 5 find candidates: at a likeness of 0.8 all
but 0.2 % of them, at 0.9 all. Each candidate is then compared exactly, so that texts of one template stay apart.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

NEAR = 0.8
BANDS, ROWS = 16, 5
WORDS_PER_RUN = 3
# Runs of so few words are shared by chance ("What is the"): such texts are alike only when they are the same.
LEAST_WORDS = 8
# Within a bucket this many are compared; the others are taken for near-duplicates, which can leak nothing.
MOST_COMPARED = 64
_WORD = re.compile(r"\w+")

_rng = np.random.default_rng(20_250)
# Odd, so that multiplying modulo 2^64 loses nothing.
_FACTORS = _rng.integers(1, 1 << 63, size=(BANDS * ROWS, 1), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_SHIFTS = _rng.integers(0, 1 << 63, size=(BANDS * ROWS, 1), dtype=np.uint64)


def normalise(text: str) -> str:
    """Return a text's words in lower case, with one space between: what counts when texts are held to be the same."""
    return " ".join(_WORD.findall(text.lower()))


def runs_of(text: str) -> frozenset[int]:
    """Return the hashes of a text's runs of three words; none for a text of fewer than eight."""
    words = _WORD.findall(text.lower())
    if len(words) < LEAST_WORDS:
        return frozenset()
    joined = (" ".join(words[start : start + WORDS_PER_RUN]) for start in range(len(words) - WORDS_PER_RUN + 1))
    return frozenset(zlib.crc32(run.encode()) for run in joined)


def bands_of(runs: frozenset[int]) -> NDArray[np.uint64] | None:
    """Return a hash for each band of a text's signature; None for a text without runs."""
    if not runs:
        return None
    hashes = np.fromiter(sorted(runs), dtype=np.uint64, count=len(runs))
    # Multiply and shift modulo 2^64: universal enough for minima, and the product may overflow.
    mixed = (hashes * _FACTORS + _SHIFTS) >> np.uint64(16)
    lowest = mixed.min(axis=1).reshape(BANDS, ROWS)
    powers = np.power(np.uint64(1_099_511_628_211), np.arange(ROWS, dtype=np.uint64))
    summed: NDArray[np.uint64] = (lowest * powers).sum(axis=1, dtype=np.uint64)
    return summed


def likeness(one: frozenset[int], other: frozenset[int]) -> float:
    """Return the share of runs that two texts have in common (Jaccard)."""
    either = len(one | other)
    return len(one & other) / either if either else 0.0


def find_near(
    bands: NDArray[np.uint64], numbers: NDArray[np.int64], text_of: Callable[[int], str]
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


def _buckets(bands: NDArray[np.uint64], numbers: NDArray[np.int64]) -> Iterator[list[int]]:
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
