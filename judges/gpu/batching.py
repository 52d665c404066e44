"""Which sequences are computed together: batches of like lengths within a budget of positions. Without torch."""

from collections.abc import Sequence
from typing import NamedTuple

from judges.gpu.prefixes import Family, Grove, Tokens, find_families, find_trunks


class Batch(NamedTuple):
    """Families with one trunk (of `trunk` tokens). Without branches every family is one sequence."""

    trunk: int
    families: tuple[Family, ...]

    @property
    def places(self) -> tuple[int, ...]:
        """Return the sequences of the batch, row by row."""
        return tuple(place for family in self.families for place in family.places)

    def renamed(self, places: Sequence[int]) -> "Batch":
        """Return the batch with its places taken as indices into these."""
        families = [one._replace(places=tuple(places[number] for number in one.places)) for one in self.families]
        return Batch(self.trunk, tuple(families))


class Shape(NamedTuple):
    """How large a batch is: `branches` rows of `branch` tokens, then `rows` of `leaf` tokens, as padded."""

    trunk: int
    branches: int
    branch: int
    rows: int
    leaf: int

    @property
    def positions(self) -> int:
        """Return the positions held when the last pass ends, reused ones and padding included."""
        return self.rows * (self.trunk + self.branch + self.leaf)

    def cost(self, pass_tokens: int) -> int:
        """Return what it costs in tokens: positions computed, and what each pass costs by itself."""
        branches = self.branches * self.branch + pass_tokens if self.branch else 0
        return branches + self.rows * self.leaf + pass_tokens


def plan(sequences: Sequence[Tokens], *, budget: int, pass_tokens: int, reuse: bool) -> list[Batch]:
    """Return batches that hold every sequence once, none above `budget` positions unless it is one sequence alone.

    The plan depends on nothing but the arguments. With `reuse` common beginnings are computed once, where that costs
    less. The longest come first, so that a want of memory shows at once.
    """
    everything = Grove(0, tuple(range(len(sequences))))
    groves = find_trunks(sequences, least=pass_tokens, fill=budget) if reuse else [everything]
    batches: list[tuple[Batch, int]] = []
    for grove in groves:
        ways = [[Family(0, (place,)) for place in grove.places]]
        if reuse:
            ways.append(find_families(sequences, grove))
        packed = [_pack(sequences, grove.trunk, families, budget, pass_tokens) for families in ways]
        batches += min(packed, key=lambda way: sum(cost for _, cost in way))
    return [batch for batch, _ in batches]


def shape_of(sequences: Sequence[Tokens], batch: Batch) -> Shape:
    """Return how large a batch is."""
    branch = max(family.branch for family in batch.families)
    leaf = max(_leaf(sequences, batch.trunk, family) for family in batch.families)
    return Shape(batch.trunk, len(batch.families) if branch else 0, branch, len(batch.places), leaf)


def _pack(
    sequences: Sequence[Tokens], trunk: int, families: Sequence[Family], budget: int, pass_tokens: int
) -> list[tuple[Batch, int]]:
    """Return batches with their costs. Families and single sequences go apart: only those have a pass of branches."""
    parts = [part for family in families for part in _fitting(sequences, trunk, family, budget)]
    parts.sort(key=lambda family: (-_leaf(sequences, trunk, family), -family.branch, family.places))
    return [
        batch
        for some in ([part for part in parts if part.branch], [part for part in parts if not part.branch])
        for batch in _cut(sequences, trunk, some, budget, pass_tokens)
    ]


def _cut(
    sequences: Sequence[Tokens], trunk: int, families: Sequence[Family], budget: int, pass_tokens: int
) -> list[tuple[Batch, int]]:
    """Cut a list sorted by length where the sum of costs is least: the shortest way over its places."""
    leaves = [_leaf(sequences, trunk, family) for family in families]
    best: list[tuple[int, int]] = [(0, 0)]
    for end in range(1, len(families) + 1):
        rows = branch = 0
        options = []
        for first in range(end - 1, -1, -1):
            rows += len(families[first].places)
            branch = max(branch, families[first].branch)
            shape = Shape(trunk, end - first, branch, rows, leaves[first])
            if shape.positions > budget and first < end - 1:
                break
            options.append((best[first][0] + shape.cost(pass_tokens), first))
        best.append(min(options))
    batches: list[tuple[Batch, int]] = []
    end = len(families)
    while end:
        cost, first = best[end]
        batches.append((Batch(trunk, tuple(families[first:end])), cost - best[first][0]))
        end = first
    return batches[::-1]


def _fitting(sequences: Sequence[Tokens], trunk: int, family: Family, budget: int) -> list[Family]:
    """Return a family in parts of no more rows than the budget holds, at least one each."""
    most = max(1, budget // (trunk + family.branch + _leaf(sequences, trunk, family)))
    parts = [family.places[start : start + most] for start in range(0, len(family.places), most)]
    return [Family(family.branch if len(part) > 1 else 0, part) for part in parts]


def _leaf(sequences: Sequence[Tokens], trunk: int, family: Family) -> int:
    """Return the longest leaf of a family, in tokens."""
    return max(len(sequences[place]) for place in family.places) - trunk - family.branch
