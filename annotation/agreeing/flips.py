"""How often an answer is flipped: the noise that two people who answered the same pair give away.

Pure. Where each of two independent answers is wrong with the same chance e, they differ with d = 2 e (1 - e), so
e = (1 - sqrt(1 - 2 d)) / 2. It takes no truth, only pairs that were answered twice. `docs/reports.md` says what it
takes for granted.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing.figures import (
    LEAST_LABELS,
    REPEATS,
    SIDE_OF,
    Bundles,
    Figure,
    bundle,
    plain,
    resample,
    too_few,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

DECISIVE_COUPLES = "couples of decisive answers on one pair"
# More parts make a table that nobody reads.
MOST_PARTS = 12


class FlipRate(NamedTuple):
    """`differing` is the share of couples of decisive answers on one pair that differ, `flip_rate` what follows."""

    differing: Figure
    flip_rate: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return both as JSON values."""
        return plain(self)


class Part(NamedTuple):
    """The flip rate of some of the pairs: what they are parted by, and which part it is."""

    by: str
    name: str
    flip_rate: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return the part as JSON values."""
        return plain(self)


def flip_rate(votes: pd.DataFrame, *, repeats: int = REPEATS, seed: int = 0) -> FlipRate:
    """Return the flip rate of a frame of votes (`pair_id`, `group`, `choice`); ties and "unsure" are left out."""
    couples = _couples(votes)
    return _estimate(couples, bundle(couples["group"], seed), repeats=repeats, seed=seed)


def flip_rates(
    votes: pd.DataFrame,
    parted: Mapping[str, "pd.Series[Any]"],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> list[Part]:
    """Return the flip rate part by part, those with most couples first.

    `parted` names the part of each pair (index `pair_id`) for everything that pairs are parted by. A division into one
    part alone says nothing new and is left out.
    """
    couples = _couples(votes)
    found = []
    for by, names in parted.items():
        named = couples.index.to_series().map(names).astype(object).fillna("").astype(str)
        sizes = couples["couples"].groupby(named).sum()
        sizes = sizes[sizes.index != ""].sort_index().sort_values(ascending=False, kind="stable")
        if len(sizes) > 1:
            for name in sizes.index[:MOST_PARTS]:
                mine = couples[named == name]
                estimate = _estimate(mine, bundle(mine["group"], seed), repeats=repeats, seed=seed)
                found.append(Part(by, str(name), estimate.flip_rate))
    return found


def flips_of(differing: "Array") -> "Array":
    """Return e of 2 e (1 - e) = d for each share d; more than half differing is taken as half."""
    return np.asarray((1.0 - np.sqrt(1.0 - 2.0 * np.minimum(differing, 0.5))) / 2.0)


def _couples(votes: pd.DataFrame) -> pd.DataFrame:
    """Return a row a pair that two people decided: `differing` and all `couples` of decisive answers, and `group`."""
    side = votes["choice"].map(SIDE_OF)
    decisive = votes[side.isin(["a", "b"])].assign(a=(side == "a").astype(float))
    by_pair = decisive.groupby("pair_id", sort=True).agg(a=("a", "sum"), n=("a", "size"), group=("group", "first"))
    by_pair = by_pair[by_pair["n"] >= 2]
    return pd.DataFrame(
        {
            "differing": by_pair["a"] * (by_pair["n"] - by_pair["a"]),
            "couples": by_pair["n"] * (by_pair["n"] - 1) / 2.0,
            "group": by_pair["group"],
        }
    )


def _estimate(couples: pd.DataFrame, bundles: Bundles, *, repeats: int, seed: int) -> FlipRate:
    n = int(couples["couples"].sum())
    if n < LEAST_LABELS:
        none = too_few(n, LEAST_LABELS, DECISIVE_COUPLES)
        return FlipRate(none, none)
    drawn = resample(couples[["differing", "couples"]].to_numpy(dtype=float), bundles, repeats=repeats, seed=seed)

    def share(sums: "Array") -> "Array":
        return np.asarray(sums[:, 0] / sums[:, 1])

    differing = drawn.estimate(share, n, at_least=LEAST_LABELS, what=DECISIVE_COUPLES)
    if differing.value is None or differing.value > 0.5:
        said = "no flip rate: more couples of answers differ than if everybody tossed a coin"
        return FlipRate(differing, Figure(None, n, too_few=said))
    flips = drawn.estimate(lambda sums: flips_of(share(sums)), n, at_least=LEAST_LABELS, what=DECISIVE_COUPLES)
    return FlipRate(differing, flips)
