"""How far judgements agree: shares, chance-corrected coefficients, rating-ranking consistency, and their intervals.

Pure: frames in, named results out. Every figure comes with its n and an interval that resamples prompt groups, since
pairs of one prompt depend on each other. Where the data do not carry a figure, `Figure.too_few` says so instead.
`docs/reports.md` explains each number.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from annotation.models import Choice

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Below this a share moves by more than ten points with one label.
LEAST_LABELS = 10
# Resampling fewer groups than this says nothing about the spread between them.
LEAST_GROUPS = 5
REPEATS = 1000
LEVEL = 0.95
Z = 1.959963984540054
# The standard normal quantile of 80 %: the power at which an effect counts as detectable.
POWER_Z = 0.8416212335729143
DETECTABLE_WIDTHS = (Z + POWER_Z) / (2 * Z)
# Sides of a choice: "both bad" prefers neither response, as "tie" does.
SIDES = ("a", "b", "tie")
SIDE_OF = {Choice.A.value: "a", Choice.B.value: "b", Choice.TIE.value: "tie", Choice.BOTH_BAD.value: "tie"}
# With more groups they are first merged at random into this many, of equal size: the interval stays the same within
# its own error, and its cost no longer grows with the project.
MOST_GROUPS = 2000

Statistic = Callable[[pd.DataFrame], "pd.Series[float]"]


class Interval(NamedTuple):
    """Where 95 % of the resampled values lie."""

    low: float
    high: float


class Figure(NamedTuple):
    """A number for a report: `value` over `n` cases, or `too_few` saying what is missing (`value` is then None)."""

    value: float | None
    n: int
    interval: Interval | None = None
    too_few: str = ""

    @property
    def detectable(self) -> float | None:
        """The smallest true difference that a sample like this one shows in four of five cases (two-sided 5 %).

        1.96 + 0.84 standard errors, from the interval's width, so dependence within groups is counted in. None without
        an interval.
        """
        return None if self.interval is None else DETECTABLE_WIDTHS * (self.interval.high - self.interval.low)

    def as_dict(self) -> dict[str, Any]:
        """Return the figure as JSON values: value, n, low, high, detectable, too_few."""
        low, high = self.interval or (None, None)
        return {
            "value": self.value,
            "n": self.n,
            "low": low,
            "high": high,
            "detectable": self.detectable,
            "too_few": self.too_few,
        }


class Agreement(NamedTuple):
    """How far people agree with each other. `n_pairs` counts the pairs that two or more people decided.

    `three_way` and `two_way` are shares of couples of people on the same pair: with a tie as an answer like the
    others, and where neither of the two said tie.
    """

    n_pairs: int
    n_labels: int
    three_way: Figure
    two_way: Figure
    alpha: Figure
    ac1: Figure
    ties: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return the agreement as JSON values."""
        return _plain(self)


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
        return _plain(self)


def too_few(n: int, wanted: int, what: str = "labels") -> Figure:
    """Return the figure that says there is too little data."""
    return Figure(None, n, too_few=f"too few {what} ({n} of {wanted})")


# --- Intervals ------------------------------------------------------------------------------------------------------


def cluster_bootstrap(
    frame: pd.DataFrame,
    groups: "pd.Series[Any]",
    statistic: Statistic,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Interval | None:
    """Return the 95 % percentile interval of a statistic, resampling whole groups with replacement.

    `frame` holds a row a case and numeric columns that add up; `groups` has the group of each row. `statistic` gets
    the column sums of every resample (a row a resample) and returns a value a row, NaN where it is not defined. Since
    only sums are needed, a resample is one row of a matrix product and texts or labels are never copied. None with
    fewer than five groups, or where most resamples leave the statistic undefined.
    """
    codes, names = pd.factorize(groups.to_numpy(), sort=True)
    if len(names) < LEAST_GROUPS:
        return None
    parts = _summed(frame.to_numpy(dtype=float), codes, len(names))
    if len(names) > MOST_GROUPS:
        places = np.random.default_rng(seed).permutation(len(names)) % MOST_GROUPS
        parts = _summed(parts, places, MOST_GROUPS)
    totals = _weights(len(parts), repeats, seed) @ parts
    values = statistic(pd.DataFrame(totals, columns=frame.columns)).to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    if len(values) < repeats / 2:
        return None
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return Interval(float(low), float(high))


def _summed(rows: "NDArray[np.float64]", places: "NDArray[np.int64]", n_places: int) -> "NDArray[np.float64]":
    """Return the sums of the rows that share a place."""
    sums = np.zeros((n_places, rows.shape[1]))
    np.add.at(sums, places, rows)
    return sums


@lru_cache(maxsize=4)
def _weights(n_groups: int, repeats: int, seed: int) -> "NDArray[np.float64]":
    """Return how often each resample holds each group (repeats x groups). Kept: a card asks for the same ones often."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_groups, np.full(n_groups, 1.0 / n_groups), size=repeats).astype(float)


def wilson(successes: float, n: int) -> Interval:
    """Return the Wilson score interval (95 %) of a share of n > 0 independent cases (Wilson 1927)."""
    share, z2 = successes / n, Z * Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z / (1 + z2 / n) * float(np.sqrt(share * (1 - share) / n + z2 / (4 * n * n)))
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def share(
    hits: "pd.Series[Any]",
    groups: "pd.Series[Any]",
    *,
    at_least: int = LEAST_LABELS,
    what: str = "labels",
    repeats: int = REPEATS,
    seed: int = 0,
) -> Figure:
    """Return the share of true cases among those that are not NaN, with its interval.

    The interval is the wider, on each side, of the cluster bootstrap and Wilson's: resampling sees no spread where
    all cases are alike, and Wilson sees no clusters.
    """
    known = hits.notna()
    n = int(known.sum())
    if n < at_least:
        return too_few(n, at_least, what)
    parts = pd.DataFrame({"hits": hits[known].astype(float), "cases": 1.0})
    total = float(parts["hits"].sum())
    interval = cluster_bootstrap(
        parts, groups[known], lambda sums: sums["hits"] / sums["cases"], repeats=repeats, seed=seed
    )
    return Figure(total / n, n, _wider(interval, wilson(total, n)))


# --- Coefficients ---------------------------------------------------------------------------------------------------


def answer_counts(votes: pd.DataFrame) -> pd.DataFrame:
    """Return how many people chose each side: a row a `pair_id`, columns a, b, tie. "Unsure" is left out."""
    sides = votes["choice"].map(SIDE_OF)
    decided = sides.notna()
    counts = pd.crosstab(votes.loc[decided, "pair_id"], sides[decided])
    return counts.reindex(columns=list(SIDES), fill_value=0).rename_axis(columns=None)


def agreement(votes: pd.DataFrame, *, repeats: int = REPEATS, seed: int = 0) -> Agreement:
    """Return how far the raters of a frame of votes (`pair_id`, `group`, `choice`) agree with each other."""
    counts = answer_counts(votes)
    groups = votes.drop_duplicates("pair_id").set_index("pair_id")["group"].reindex(counts.index)
    labels = counts.sum(axis=1)
    several = labels >= 2
    couples = _couples(counts)

    def estimate(parts: pd.DataFrame, statistic: Statistic, n: int, at_least: int, what: str) -> Figure:
        return _estimate(parts, groups, statistic, n, at_least=at_least, what=what, repeats=repeats, seed=seed)

    ties = counts["tie"]
    return Agreement(
        n_pairs=int(several.sum()),
        n_labels=int(labels.sum()),
        three_way=estimate(
            couples, _ratio("same", "couples"), int(couples["couples"].sum()), LEAST_LABELS, "couples of answers"
        ),
        two_way=estimate(
            couples,
            _ratio("same_decisive", "decisive"),
            int(couples["decisive"].sum()),
            LEAST_LABELS,
            "couples of decisive answers",
        ),
        alpha=estimate(
            _alpha_parts(counts), _alpha, int(several.sum()), LEAST_LABELS, "pairs with two or more answers"
        ),
        ac1=estimate(_ac1_parts(counts), _ac1, int(several.sum()), LEAST_LABELS, "pairs with two or more answers"),
        ties=estimate(
            pd.DataFrame({"ties": ties, "labels": labels}),
            _ratio("ties", "labels"),
            int(labels.sum()),
            LEAST_LABELS,
            "labels",
        ),
    )


def krippendorff_alpha(
    ratings: pd.DataFrame, *, level: Literal["nominal", "ordinal", "interval", "ratio"] = "nominal"
) -> Figure:
    """Return Krippendorff's alpha of a matrix of numbers: raters x units, NaN where not rated.

    alpha = 1 - D_o / D_e over the coincidence matrix (Krippendorff 2018, ch. 12). n counts the units that two or more
    raters rated. The arithmetic is evalica's.
    """
    # Half a second that most processes never need.
    import evalica

    several = ratings.notna().sum() >= 2
    n = int(several.sum())
    if n < LEAST_LABELS:
        return too_few(n, LEAST_LABELS, "units with two or more ratings")
    values = np.unique(ratings.loc[:, several].to_numpy(dtype=float))
    if np.isfinite(values).sum() < 2:
        return too_few(1, 2, "different ratings")
    return Figure(float(evalica.alpha(ratings, distance=level).alpha), n)


def gwet_ac1(counts: pd.DataFrame) -> Figure:
    """Return Gwet's AC1 of a frame of counts: a row a unit, a column a category (all that could be chosen).

    AC1 = (p_a - p_e) / (1 - p_e); p_a over units with two or more ratings, p_e = sum_k pi_k (1 - pi_k) / (q - 1) with
    pi_k the mean over units of n_ik / n_i (Gwet 2008). It stays meaningful where nearly all ratings fall into one
    category, which is where alpha and kappa collapse.
    """
    n = int((counts.sum(axis=1) >= 2).sum())
    if n < LEAST_LABELS:
        return too_few(n, LEAST_LABELS, "units with two or more ratings")
    return Figure(float(_ac1(_one_row(_ac1_parts(counts))).iloc[0]), n)


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


# --- Ratings against rankings ---------------------------------------------------------------------------------------


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

    def part(*names: str) -> Figure:
        return estimate(lambda sums: sums[list(names)].sum(axis=1) / sums.sum(axis=1), n)

    return Consistency(
        n=n,
        table=table.tolist(),
        inconsistency=estimate(lambda sums: 1.0 - _observed(sums), n),
        contradiction=estimate(
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


# --- Sums that add up over groups -----------------------------------------------------------------------------------


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
        # All answers alike: the coefficient divides by the disagreement expected by chance, which is 0.
        return too_few(1, 2, "different answers")
    return Figure(value, n, cluster_bootstrap(parts, groups, statistic, repeats=repeats, seed=seed))


def _one_row(parts: pd.DataFrame) -> pd.DataFrame:
    return parts.sum().to_frame().T.astype(float)


def _ratio(over: str, under: str) -> Statistic:
    return lambda sums: sums[over] / sums[under]


def _couples(counts: pd.DataFrame) -> pd.DataFrame:
    """Return how many couples of raters each pair has and how many of them agree, 3-way and among decisive answers."""
    decisive = counts["a"] + counts["b"]
    same = counts * (counts - 1) / 2
    labels = counts.sum(axis=1)
    return pd.DataFrame(
        {
            "couples": labels * (labels - 1) / 2,
            "same": same.sum(axis=1),
            "decisive": decisive * (decisive - 1) / 2,
            "same_decisive": same["a"] + same["b"],
        }
    )


def _alpha_parts(counts: pd.DataFrame) -> pd.DataFrame:
    """Return, a unit, the disagreement it adds to the coincidence matrix and its values (0 for units rated once)."""
    raters = counts.sum(axis=1)
    pairable = counts.where(raters >= 2, 0)
    disagreeing = (pairable.mul(raters, axis=0) - pairable**2).sum(axis=1) / (raters - 1).clip(lower=1)
    return pairable.assign(_disagreeing=disagreeing)


def _alpha(sums: pd.DataFrame) -> "pd.Series[float]":
    values = sums.drop(columns="_disagreeing")
    n = values.sum(axis=1)
    expected = (n**2 - (values**2).sum(axis=1)) / (n * (n - 1))
    return 1.0 - (sums["_disagreeing"] / n) / expected


def _ac1_parts(counts: pd.DataFrame) -> pd.DataFrame:
    raters = counts.sum(axis=1)
    rated = counts[raters >= 1]
    raters = raters[raters >= 1]
    same = (rated * (rated - 1)).sum(axis=1) / (raters * (raters - 1)).clip(lower=1)
    several = (raters >= 2).astype(float)
    parts = rated.div(raters, axis=0).assign(_same=same * several, _several=several, _units=1.0)
    return parts.reindex(counts.index, fill_value=0.0)


def _ac1(sums: pd.DataFrame) -> "pd.Series[float]":
    categories = sums.drop(columns=["_same", "_several", "_units"]).div(sums["_units"], axis=0)
    observed = sums["_same"] / sums["_several"]
    expected = (categories * (1.0 - categories)).sum(axis=1) / (categories.shape[1] - 1)
    return (observed - expected) / (1.0 - expected)


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


def _wider(first: Interval | None, second: Interval) -> Interval:
    return second if first is None else Interval(min(first.low, second.low), max(first.high, second.high))


def _plain(result: Any) -> dict[str, Any]:
    return {name: value.as_dict() if isinstance(value, Figure) else value for name, value in result._asdict().items()}
