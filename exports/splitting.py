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
from exports.likening import BANDS, bands_of, find_near, normalise, runs_of

Split = Literal["train", "test"]
# Short answers ("Yes.", an empty one) recur under unrelated prompts and would tie the whole set together.
SHARED_RESPONSE_CHARACTERS = 40


class SplitKeys(NamedTuple):
    """What ties a pair to others: its prompt group, the hash of its prompt, its response texts, its prompt's text."""

    group: str
    prompt: str
    responses: tuple[str, ...]
    text: str = ""


class Splitter:
    """Takes pairs one by one, then says on which side each falls. Some 90 bytes a pair, 200 a different prompt."""

    def __init__(self) -> None:
        self._pairs = array("q")
        self._ties = array("Q")
        self._groups = array("Q")
        self._bands = bytearray()
        self._banded = array("q")
        self._texts: set[int] = set()

    def add(self, keys: SplitKeys) -> None:
        """Note what the next pair shares with others."""
        number = len(self._groups)
        group = digest(f"group\x1f{keys.group}")
        ties = {group, digest(f"prompt\x1f{keys.prompt}")}
        ties |= {digest(f"response\x1f{text}") for text in keys.responses if len(text) >= SHARED_RESPONSE_CHARACTERS}
        if same := normalise(keys.text):
            tie = digest(f"text\x1f{same}")
            ties.add(tie)
            self._band(tie, number, keys.text)
        self._pairs.extend([number] * len(ties))
        self._ties.extend(sorted(ties))
        self._groups.append(group)

    def _band(self, tie: int, number: int, text: str) -> None:
        """Note a text's signature the first time it comes: pairs of the same text are tied anyway."""
        if tie not in self._texts:
            self._texts.add(tie)
            if (bands := bands_of(runs_of(text))) is not None:
                self._bands += bands.tobytes()
                self._banded.append(number)

    def components(self, text_of: Callable[[int], str] | None = None) -> NDArray[np.int64]:
        """Return for each pair the number of its component, the place of the component's first pair.

        `text_of` gives the prompt's text of a pair by its place again; without it near-duplicates are not looked for.
        """
        size = len(self._groups)
        if not size:
            return np.zeros(0, dtype=np.int64)
        _, ties = np.unique(np.frombuffer(self._ties, dtype=np.uint64), return_inverse=True)
        one, other = np.frombuffer(self._pairs, dtype=np.int64), ties.astype(np.int64) + size
        nodes = size + int(ties.max()) + 1
        if text_of is not None and self._bands:
            bands = np.frombuffer(self._bands, dtype=np.uint64).reshape(-1, BANDS)
            near = list(find_near(bands, np.frombuffer(self._banded, dtype=np.int64), text_of))
            if near:
                one, other = (
                    np.r_[side, np.array([pair[place] for pair in near])] for place, side in ((0, one), (1, other))
                )
        graph = coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=(nodes, nodes))
        numbered = connected_components(graph, directed=False)[1][:size]
        _, first, component = np.unique(numbered, return_index=True, return_inverse=True)
        return first[component].astype(np.int64)

    def split(self, components: NDArray[np.int64], *, test_share: float, seed: int) -> list[Split]:
        """Return the side of each pair: a component's is drawn by the hash of the seed and its smallest group."""
        smallest = np.full(len(components), np.iinfo(np.uint64).max, dtype=np.uint64)
        np.minimum.at(smallest, components, np.frombuffer(self._groups, dtype=np.uint64))
        drawn = {int(one): _share_of(int(smallest[one]), seed) < test_share for one in np.unique(components)}
        return ["test" if drawn[one] else "train" for one in components.tolist()]


def split_pairs(pairs: Sequence[SplitKeys], *, test_share: float, seed: int) -> list[Split]:
    """Return the side of each pair.

    Pairs are tied into connected components by group, by prompt (the same words whatever their case and signs, or a
    near-duplicate: `exports.likening`), and by response texts of 40 characters or more. A component goes to the test
    side when the hash of its smallest group and the seed is below `test_share`, so `n` components give about
    `n * test_share`, a pair added to a known group changes no other pair's side unless it joins two components, and
    what is left out of an export moves nothing.
    """
    splitter = _filled(pairs)
    return splitter.split(splitter.components(lambda number: pairs[number].text), test_share=test_share, seed=seed)


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
