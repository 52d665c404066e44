"""Sides, joins and the two kinds of figure that all parts of a card share. Pure: frames in, figures out."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from annotation.agreeing import LEAST_LABELS, SIDE_OF, Figure, cluster_bootstrap, share, too_few
from judges.auditing.reading import Ground
from judges.models import SECOND_PASSES, Order

FIRST_SIDE = {Order.AB.value: "a", Order.BA.value: "b"}
# With fewer labelled pairs a rate is 28 points wide.
LEAST_JUDGED = 50


def with_sides(verdicts: pd.DataFrame, ground: Ground) -> pd.DataFrame:
    """Return the verdicts that answer (no second passes) with `side`, `people` and `first` (the side shown first)."""
    calls = verdicts[~verdicts["order"].isin(SECOND_PASSES)]
    return calls.assign(
        side=calls["choice"].map(SIDE_OF),
        people=calls["pair_id"].map(ground.people["choice"].map(SIDE_OF)),
        first=calls["order"].map(FIRST_SIDE),
    )


def with_ground(preferences: pd.DataFrame, ground: Ground) -> pd.DataFrame:
    """Return the preferences with `side`, `people` and `longer`, each a, b or tie, NaN where not known."""
    return preferences.assign(
        side=preferences["choice"].map(SIDE_OF),
        people=preferences["pair_id"].map(ground.people["choice"].map(SIDE_OF)),
        longer=preferences["pair_id"].map(ground.longer),
    )


def decided_by_both(labels: pd.DataFrame) -> pd.DataFrame:
    """Return the rows where the judge and people both take a side."""
    return labels[labels["side"].isin(["a", "b"]) & labels["people"].isin(["a", "b"])]


def right(given: "pd.Series[Any]", people: "pd.Series[Any]", *, two_way: bool = False) -> "pd.Series[Any]":
    """Return 1.0 where the sides are the same, 0.0 where not, NaN where one is missing (`two_way`: or is a tie)."""
    known = given.notna() & people.notna()
    if two_way:
        known &= (given != "tie") & (people != "tie")
    return (given == people).astype(float).where(known)


def is_side(sides: "pd.Series[Any]", side: str) -> "pd.Series[Any]":
    """Return 1.0 where a side is the one asked for, 0.0 where not, NaN where it is missing."""
    return (sides == side).astype(float).where(sides.notna())


def half_for_ties(sides: "pd.Series[Any]", wanted: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return 1.0 where the side is the one wanted, 0.5 where it is a tie, 0.0 otherwise, NaN where it is missing."""
    return (sides == wanted).astype(float).mask(sides == "tie", 0.5).where(sides.notna())


def share_of(hits: "pd.Series[Any]", rows: pd.DataFrame, seed: int, what: str = "labels") -> Figure:
    """Return the share of hits with an interval over the `group` of the rows."""
    return share(hits, rows["group"], what=what, seed=seed)


def mean_of(
    values: "pd.Series[Any]",
    groups: "pd.Series[Any]",
    seed: int,
    *,
    at_least: int = LEAST_LABELS,
    what: str = "labels",
) -> Figure:
    """Return the mean of what is known, with the cluster bootstrap's interval."""
    known = values.notna()
    n = int(known.sum())
    if n < at_least:
        return too_few(n, at_least, what)
    parts = pd.DataFrame({"total": values[known].astype(float), "cases": 1.0})
    interval = cluster_bootstrap(parts, groups[known], lambda sums: sums["total"] / sums["cases"], seed=seed)
    return Figure(float(parts["total"].mean()), n, interval)


def ratio_of(
    parts: pd.DataFrame,
    groups: "pd.Series[Any]",
    statistic: "Callable[[pd.DataFrame], pd.Series[float]]",
    n: int,
    seed: int,
    *,
    at_least: int = LEAST_LABELS,
    what: str = "labels",
) -> Figure:
    """Return a statistic of column sums with its interval; too few below `at_least` or where it is not defined."""
    if n < at_least:
        return too_few(n, at_least, what)
    value = float(statistic(parts.sum().to_frame().T.astype(float)).iloc[0])
    if not np.isfinite(value):
        return too_few(0, 1, "cases that differ")
    return Figure(value, n, cluster_bootstrap(parts, groups, statistic, seed=seed))


def rate_of(count: int, n: int, what: str) -> Figure:
    """Return a plain share with Wilson's interval, for calls whose prompts are not read."""
    cases = pd.Series([1.0] * count + [0.0] * (n - count))
    return share(cases, pd.Series(0, index=cases.index), what=what)


def quantile_of(values: "pd.Series[Any]", quantile: float) -> float | None:
    """Return a quantile of what is known, None without any."""
    known = values.dropna()
    return float(np.quantile(known, quantile)) if len(known) else None
