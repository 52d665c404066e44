"""Train and test without leaks: whatever shares a prompt, a group or a response falls on the same side."""

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

Split = Literal["train", "test"]
# Short answers ("Yes.", an empty one) recur under unrelated prompts and would tie the whole set together.
SHARED_RESPONSE_CHARACTERS = 40


class SplitKeys(NamedTuple):
    """What ties a pair to others: its prompt group, the hash of its prompt, and its response texts."""

    group: str
    prompt: str
    responses: tuple[str, ...]


def split_pairs(pairs: Sequence[SplitKeys], *, test_share: float, seed: int) -> list[Split]:
    """Return the side of each pair.

    Pairs are tied into connected components by group, by prompt, and by response texts of 40 characters or more. A
    component goes to the test side when the hash of its smallest group and the seed is below `test_share`, so `n`
    components give about `n * test_share`, a pair added to a known group changes no other pair's side, and what is
    left out of an export moves nothing.
    """
    components = find_components(pairs)
    smallest: dict[int, str] = {}
    for component, keys in zip(components, pairs, strict=True):
        smallest[component] = min(smallest.get(component, keys.group), keys.group)
    sides: dict[int, Split] = {
        component: "test" if _share_of(group, seed) < test_share else "train" for component, group in smallest.items()
    }
    return [sides[component] for component in components]


def find_components(pairs: Sequence[SplitKeys]) -> list[int]:
    """Return for each pair the number of its component, the position of the component's first pair."""
    parents = list(range(len(pairs)))

    def root(position: int) -> int:
        while parents[position] != position:
            parents[position] = parents[parents[position]]
            position = parents[position]
        return position

    first: dict[tuple[str, str], int] = {}
    for position, keys in enumerate(pairs):
        long_responses = (text for text in keys.responses if len(text) >= SHARED_RESPONSE_CHARACTERS)
        ties = [("group", keys.group), ("prompt", keys.prompt), *(("response", text) for text in long_responses)]
        for tie in ties:
            one, other = root(position), root(first.setdefault(tie, position))
            parents[max(one, other)] = min(one, other)
    return [root(position) for position in range(len(pairs))]


def _share_of(group: str, seed: int) -> float:
    """Return a number from 0 to 1, drawn evenly by hashing."""
    digest = hashlib.sha256(f"{seed}\x1f{group}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
