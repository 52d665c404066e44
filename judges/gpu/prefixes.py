"""What of several token sequences is computed once: arithmetic on tuples, without torch.

Sequences sorted as tuples have their common beginnings beside each other, so that the tree of their prefixes is read
off the lengths that neighbours share. Two levels of it are used. A *trunk* is the beginning of many (the rubric):
computed alone, and kept for later batches. A *branch* is the beginning of a few beyond their trunk (a prompt in both
orders, or a prompt with one response): the branches of a batch are one pass. What follows is a sequence's own *leaf*.
It is never empty: its last position is what is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import NamedTuple

Tokens = tuple[int, ...]


class Grove(NamedTuple):
    """Sequences (`places`, sorted by their tokens) that share a trunk of so many tokens, 0 for none."""

    trunk: int
    places: tuple[int, ...]


class Family(NamedTuple):
    """Sequences that share `branch` tokens beyond their trunk, 0 for one alone."""

    branch: int
    places: tuple[int, ...]


def shared_length(one: Tokens, other: Tokens) -> int:
    """Return how many tokens two sequences begin with alike, one less than the shorter has at most."""
    low, high = 0, min(len(one), len(other)) - 1
    # By halves: slices compare far quicker than a loop over tokens.
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def find_trunks(sequences: Sequence[Tokens], *, least: int, fill: int) -> list[Grove]:
    """Return groves that hold every place once. A trunk saves more than `least` tokens over the one it is part of.

    A grove that is not all there is has `fill` tokens beyond its trunk at least, since each is batched apart: what few
    share is a branch.
    """
    order = sorted(range(len(sequences)), key=lambda place: sequences[place])
    shared = _shared_by_neighbours(sequences, order)
    until = [0, *accumulate(len(sequences[place]) for place in order)]

    def pays(first: int, end: int, length: int, trunk: int) -> bool:
        """Say whether a range is worth a trunk of a length, within a trunk. Less length never pays more."""
        apart = (first, end) != (0, len(order))
        beyond = until[end] - until[first] - (end - first) * trunk
        return (length - trunk) * (end - first - 1) > least and (beyond >= fill or not apart)

    # By the range of the trunk's own sequences in the sorted list, which names it.
    groves: dict[tuple[int, int], tuple[int, list[int]]] = {}
    waiting = [(0, len(order), 0, (0, 0))]
    while waiting:
        first, end, trunk, name = waiting.pop()
        if not pays(first, end, max(shared[first : end - 1], default=0), trunk):
            groves.setdefault(name, (trunk, []))[1].extend(range(first, end))
            continue
        length = min(shared[first : end - 1])
        if pays(first, end, length, trunk):
            trunk, name = length, (first, end)
        start = first
        for place in range(first, end):
            if place == end - 1 or shared[place] == length:
                waiting.append((start, place + 1, trunk, name))
                start = place + 1
    found = [(trunk, sorted(ranks)) for trunk, ranks in groves.values() if ranks]
    return [
        Grove(trunk, tuple(order[rank] for rank in ranks)) for trunk, ranks in sorted(found, key=lambda one: one[1])
    ]


@dataclass
class _Open:
    """A range of neighbours from `first` on that share `length`; `saved` and `families` are the best of its parts."""

    length: int
    first: int
    saved: int = 0
    families: list[tuple[int, int, int]] = field(default_factory=list)

    def close(self, end: int, trunk: int) -> None:
        """Take the whole range as one family where that saves no less than its parts."""
        saved = (end - self.first - 1) * (self.length - trunk)
        if saved >= self.saved:
            self.saved, self.families = saved, [(self.first, end, self.length)]

    def add(self, part: "_Open") -> None:
        """Take over the best of a part."""
        self.saved += part.saved
        self.families += part.families


def find_families(sequences: Sequence[Tokens], grove: Grove) -> list[Family]:
    """Return the families of a grove, every place once, that together leave the fewest tokens to compute."""
    shared = [*_shared_by_neighbours(sequences, grove.places), grove.trunk]
    whole = _Open(grove.trunk, 0)
    opened: list[_Open] = [whole]
    for place, length in enumerate(shared):
        first, part = place, None
        while opened[-1].length > length:
            closed = opened.pop()
            if part is not None:
                closed.add(part)
            closed.close(place + 1, grove.trunk)
            first, part = closed.first, closed
        if length > opened[-1].length:
            opened.append(_Open(length, first))
        if part is not None:
            opened[-1].add(part)
    alone = set(range(len(grove.places)))
    found = []
    for first, end, length in whole.families:
        found.append(Family(length - grove.trunk, grove.places[first:end]))
        alone -= set(range(first, end))
    return found + [Family(0, (grove.places[rank],)) for rank in sorted(alone)]


def _shared_by_neighbours(sequences: Sequence[Tokens], order: Sequence[int]) -> list[int]:
    return [shared_length(sequences[a], sequences[b]) for a, b in pairwise(order)]
