"""Train and test without leaks: what shares a prompt, nearly all of one, a group or a response is on one side."""

import hashlib
from array import array
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from exports.digesting import digest
from exports.likening import BAND, BANDS, bands_of, find_near, runs_in, words_of

Split = Literal["train", "test"]
# By whether a pair is tested.
SIDES: tuple[Split, Split] = ("train", "test")
# Short answers ("Yes.", an empty one) recur under unrelated prompts and would tie the whole set together.
SHARED_RESPONSE_CHARACTERS = 40
TIES_PER_CHUNK = 1_000_000
# Signatures are made of so many runs together: numpy's calls take longer than the few runs of one prompt.
RUNS_AT_ONCE = 2000


class SplitKeys(NamedTuple):
    """What ties a pair to others: its prompt group, the hash of its prompt, its response texts, its prompt's text."""

    group: str
    prompt: str
    responses: tuple[str, ...]
    text: str = ""


class Splitter:
    """Takes pairs one by one, then says on which side each falls. Some 70 bytes a pair, 170 a different prompt."""

    def __init__(self) -> None:
        self._pairs = array("I")
        self._ties = array("Q")
        self._groups = array("Q")
        self._bands = bytearray()
        self._banded = array("I")
        self._texts: set[int] = set()
        self._unsigned: list[frozenset[int]] = []

    def add(self, keys: SplitKeys) -> None:
        """Note what the next pair shares with others."""
        number = len(self._groups)
        group = digest(f"group\x1f{keys.group}")
        ties = {group, digest(f"prompt\x1f{keys.prompt}")}
        ties |= {digest(f"response\x1f{text}") for text in keys.responses if len(text) >= SHARED_RESPONSE_CHARACTERS}
        if words := words_of(keys.text):
            tie = digest(f"text\x1f{' '.join(words)}")
            ties.add(tie)
            self._band(tie, number, words)
        self._pairs.extend([number] * len(ties))
        self._ties.extend(sorted(ties))
        self._groups.append(group)

    def _band(self, tie: int, number: int, words: Sequence[str]) -> None:
        """Note a text's signature the first time it comes: pairs of the same text are tied anyway."""
        if tie not in self._texts:
            self._texts.add(tie)
            if runs := runs_in(words):
                self._banded.append(number)
                self._unsigned.append(runs)
                if sum(map(len, self._unsigned)) >= RUNS_AT_ONCE:
                    self._sign()

    def _sign(self) -> None:
        """Put the signatures of the last texts behind the others."""
        if self._unsigned:
            self._bands += bands_of(self._unsigned).tobytes()
            self._unsigned = []

    def components(self, text_of: Callable[[int], str] | None = None) -> NDArray[np.int64]:
        """Return for each pair the number of its component, the place of the component's first pair.

        `text_of` gives the prompt's text of a pair by its place again; without it near-duplicates are not looked for.
        """
        size = len(self._groups)
        if not size:
            return np.zeros(0, dtype=np.int64)
        one, other, ties = self._shared()
        self._sign()
        if text_of is not None and self._bands:
            bands = np.frombuffer(self._bands, dtype=BAND).reshape(-1, BANDS)
            near = list(find_near(bands, np.frombuffer(self._banded, dtype=np.uint32), text_of))
            pairs = np.array(near, dtype=np.int64).reshape(-1, 2)
            one, other = np.r_[one, pairs[:, 0]], np.r_[other, pairs[:, 1]]
        nodes = size + ties
        graph = coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=(nodes, nodes))
        numbered = connected_components(graph, directed=False)[1][:size]
        _, first, component = np.unique(numbered, return_index=True, return_inverse=True)
        return first[component].astype(np.int64)

    def _shared(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Return the pairs with a tie that others have too, each such tie's node, and how many of these ties there are.

        Most ties are of one pair alone; without them the graph is small.
        """
        pairs, ties = np.frombuffer(self._pairs, dtype=np.uint32), np.frombuffer(self._ties, dtype=np.uint64)
        ordered = np.sort(ties)
        shared = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        del ordered
        one, other = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        for start in range(0, len(ties) if len(shared) else 0, TIES_PER_CHUNK):
            mine = ties[start : start + TIES_PER_CHUNK]
            place = np.minimum(np.searchsorted(shared, mine), len(shared) - 1)
            known = shared[place] == mine
            one.append(pairs[start : start + TIES_PER_CHUNK][known].astype(np.int64))
            other.append(place[known] + len(self._groups))
        return np.concatenate(one), np.concatenate(other), len(shared)

    def split(self, components: NDArray[np.int64], *, test_share: float, seed: int) -> NDArray[np.bool_]:
        """Say of each pair whether it is tested: drawn by the hash of the seed and its component's smallest group."""
        smallest = np.full(len(components), np.iinfo(np.uint64).max, dtype=np.uint64)
        np.minimum.at(smallest, components, np.frombuffer(self._groups, dtype=np.uint64))
        drawn = np.zeros(len(components), dtype=np.bool_)
        for one in np.unique(components):
            drawn[one] = _share_of(int(smallest[one]), seed) < test_share
        return np.asarray(drawn[components])


def split_pairs(pairs: Sequence[SplitKeys], *, test_share: float, seed: int) -> list[Split]:
    """Return the side of each pair.

    Pairs are tied into connected components by group, by prompt (the same words whatever their case and signs, or a
    near-duplicate: `exports.likening`), and by response texts of 40 characters or more. A component goes to the test
    side when the hash of its smallest group and the seed is below `test_share`, so `n` components give about
    `n * test_share`, a pair added to a known group changes no other pair's side unless it joins two components, and
    what is left out of an export moves nothing.
    """
    splitter = _filled(pairs)
    tested = splitter.split(splitter.components(lambda number: pairs[number].text), test_share=test_share, seed=seed)
    return [SIDES[one] for one in tested.tolist()]


def find_components(pairs: Sequence[SplitKeys]) -> list[int]:
    """Return for each pair the number of its component, the position of the component's first pair."""
    return [int(one) for one in _filled(pairs).components(lambda number: pairs[number].text)]


def _filled(pairs: Sequence[SplitKeys]) -> Splitter:
    splitter = Splitter()
    for keys in pairs:
        splitter.add(keys)
    return splitter


def _share_of(group: int, seed: int) -> float:
    """Return a number from 0 to 1, drawn evenly by hashing."""
    drawn = hashlib.sha256(f"{seed}\x1f{group}".encode()).digest()
    return int.from_bytes(drawn[:8]) / 2**64
