"""Whether ratings contradict rankings, and Cohen's kappa of two aligned columns of choices.

Pure: aligned series in, named results out.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing.figures import (
    LEAST_LABELS,
    ONE_ANSWER,
    REPEATS,
    SIDE_OF,
    SIDES,
    Figure,
    Statistic,
    cluster_bootstrap,
    plain,
    too_few,
    wider,
    wilson,
)


class Consistency(NamedTuple):
    """Ratings of two responses against the ranking of the pair (Peering Through Preferences), row by row.

    `table[r][k]` counts rating side r and ranking side k in the order a, b, tie. `contradiction` is over the pairs
    where both decide. `chance_inconsistency` is what the two sets of marginals alone would give.
    """

    n: int
    table: list[list[int]]
    inconsistency: Figure
    contradiction: Figure
    chance_inconsistency: Figure
    kappa: Figure
    rating_ties: Figure
    ranking_ties: Figure
    rating_tie_ranking_decides: Figure
    rating_decides_ranking_tie: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return the consistency as JSON values."""
        return plain(self)


def cohen_kappa(
    first: "pd.Series[Any]",
    second: "pd.Series[Any]",
    groups: "pd.Series[Any]",
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Figure:
    """Return Cohen's kappa of two raters' choices, aligned row by row: (p_o - p_e) / (1 - p_e) over a, b, tie."""
    cells = _cells(first, second)
    return _estimate(cells, groups[cells.index], _kappa, len(cells), what="labelled pairs", repeats=repeats, seed=seed)


def sides_of_ratings(rating_a: "pd.Series[float]", rating_b: "pd.Series[float]") -> "pd.Series[Any]":
    """Return the side that two ratings imply: a, b, tie where they are equal; NaN where one is missing."""
    difference = rating_a - rating_b
    sides = pd.Series("tie", index=difference.index, dtype=object)
    return sides.mask(difference > 0, "a").mask(difference < 0, "b").where(difference.notna())


def consistency(
    rating_sides: "pd.Series[Any]",
    rankings: "pd.Series[Any]",
    groups: "pd.Series[Any] | None" = None,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Consistency:
    """Return how far rankings contradict ratings, aligned row by row; rows where either is missing are left out.

    `rating_sides` comes from `sides_of_ratings`, `rankings` holds choices. Inconsistency = 1 - (number of rows with
    the same side of three) / rows, which counts ties as in the paper's shipped code. Without `groups` every row is
    its own group.
    """
    cells = _cells(rating_sides, rankings)
    row_groups = (pd.Series(rankings.index, index=rankings.index) if groups is None else groups)[cells.index]
    n = len(cells)
    table = cells.sum().astype(int).to_numpy().reshape(3, 3)

    def estimate(statistic: Statistic, cases: int) -> Figure:
        return _estimate(
            cells, row_groups, statistic, cases, what="pairs with ratings and a ranking", repeats=repeats, seed=seed
        )

    def counted(statistic: Statistic, cases: int) -> Figure:
        """Return a share of cases; never surer than that many cases of their own could be."""
        found = estimate(statistic, cases)
        if found.value is None:
            return found
        return found._replace(interval=wider(found.interval, wilson(found.value * cases, cases)))

    def part(*names: str) -> Figure:
        return counted(lambda sums: sums[list(names)].sum(axis=1) / sums.sum(axis=1), n)

    return Consistency(
        n=n,
        table=table.tolist(),
        inconsistency=counted(lambda sums: 1.0 - _observed(sums), n),
        contradiction=counted(
            lambda sums: (sums["a b"] + sums["b a"]) / sums[["a a", "a b", "b a", "b b"]].sum(axis=1),
            int(table[:2, :2].sum()),
        ),
        chance_inconsistency=estimate(lambda sums: 1.0 - _expected(sums), n),
        kappa=estimate(_kappa, n),
        rating_ties=part("tie a", "tie b", "tie tie"),
        ranking_ties=part("a tie", "b tie", "tie tie"),
        rating_tie_ranking_decides=part("tie a", "tie b"),
        rating_decides_ranking_tie=part("a tie", "b tie"),
    )


def _estimate(
    parts: pd.DataFrame,
    groups: "pd.Series[Any]",
    statistic: Statistic,
    n: int,
    *,
    what: str,
    at_least: int = LEAST_LABELS,
    repeats: int,
    seed: int,
) -> Figure:
    if n < at_least:
        return too_few(n, at_least, what)
    value = float(statistic(_one_row(parts)).iloc[0])
    if not np.isfinite(value):
        return Figure(None, n, too_few=ONE_ANSWER)
    return Figure(value, n, cluster_bootstrap(parts, groups, statistic, repeats=repeats, seed=seed))


def _one_row(parts: pd.DataFrame) -> pd.DataFrame:
    return parts.sum().to_frame().T.astype(float)


def _cells(first: "pd.Series[Any]", second: "pd.Series[Any]") -> pd.DataFrame:
    """Return a row a case that both decided, and a column "r k" a cell of the 3 x 3 table: 1 in its own cell."""
    sides = pd.DataFrame({"first": first.map(SIDE_OF), "second": second.map(SIDE_OF)}).dropna()
    cell = sides["first"] + " " + sides["second"]
    return pd.DataFrame({f"{r} {k}": (cell == f"{r} {k}").astype(float) for r in SIDES for k in SIDES})


def _observed(sums: pd.DataFrame) -> "pd.Series[float]":
    return sums[[f"{side} {side}" for side in SIDES]].sum(axis=1) / sums.sum(axis=1)


def _expected(sums: pd.DataFrame) -> "pd.Series[float]":
    total = sums.sum(axis=1)
    rows = {side: sums[[f"{side} {other}" for other in SIDES]].sum(axis=1) / total for side in SIDES}
    columns = {side: sums[[f"{other} {side}" for other in SIDES]].sum(axis=1) / total for side in SIDES}
    return rows["a"] * columns["a"] + rows["b"] * columns["b"] + rows["tie"] * columns["tie"]


def _kappa(sums: pd.DataFrame) -> "pd.Series[float]":
    expected = _expected(sums)
    return (_observed(sums) - expected) / (1.0 - expected)
