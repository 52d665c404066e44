"""Coefficients of agreement: Krippendorff's alpha, Fleiss', Cohen's and Conger's kappa, Gwet's AC1 and AC2.

Pure. Any number of people may answer a unit and any answer may be missing. All coefficients of a set of answers come
from one table of sums that add up over units, so that a resample of prompt groups is a row of a matrix product: a
thousand draws over a hundred thousand answers take a second or two. `docs/reports.md` has the formulas.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing.figures import (
    LEAST_LABELS,
    ONE_ANSWER,
    REPEATS,
    Bundles,
    Figure,
    Resamples,
    bundle,
    plain,
    resample,
    too_few,
    wider,
    wilson,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Level = Literal["nominal", "ordinal", "interval", "ratio"]
Weights = Literal["identity", "linear", "quadratic", "ordinal"]

SEVERAL = "pairs with two or more answers"
COUPLES = "couples of answers"


class Sums(NamedTuple):
    """What the coefficients read, a row a resample: q categories, units that nobody rated left out.

    `coincidences` (rows x q x q) is Krippendorff's matrix: each unit with m >= 2 answers adds its ordered couples,
    divided by m - 1. `couples` holds the same couples divided by m (m - 1), so a unit adds one in all. `shares`
    (rows x q) sums n_ik / n_i over units, `several` counts those with two answers or more and `units` all.
    """

    coincidences: "Array"
    couples: "Array"
    shares: "Array"
    several: "Array"
    units: "Array"


class Coefficients(NamedTuple):
    """How far several people agree on units whose categories have an order, by every usual coefficient.

    `raw` is the share of couples of people on the same unit with the same answer. `kappa` and `ac2` give partial
    credit to answers that are close (linear weights); the others count an answer as the same or not, except alpha's
    ordinal and interval forms. `n_units` counts the units that two or more people answered.
    """

    n_units: int
    n_answers: int
    n_people: int
    raw: Figure
    alpha_nominal: Figure
    alpha_ordinal: Figure
    alpha_interval: Figure
    fleiss: Figure
    kappa: Figure
    ac1: Figure
    ac2: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return the coefficients as JSON values."""
        return plain(self)


# --- Formulas -------------------------------------------------------------------------------------------------------


def alpha(coincidences: "Array", values: "Array", level: Level) -> "Array":
    """Return Krippendorff's alpha of coincidence matrices (rows x q x q) whose categories have these values.

    1 - D_o / D_e with D_o = sum_ck o_ck d_ck / n and D_e = sum_ck n_c n_k d_ck / (n (n - 1)) (Krippendorff 2018,
    ch. 12). `d` is 1 for different categories (nominal), the squared distance of their mid-ranks (ordinal), of their
    values (interval), or that by their squared sum (ratio).
    """
    totals = coincidences.sum(axis=2)
    n = totals.sum(axis=1)
    distances = _distances(level, values, totals)
    observed = (coincidences * distances).sum(axis=(1, 2)) / n
    expected = (totals[:, :, None] * totals[:, None, :] * distances).sum(axis=(1, 2)) / (n * (n - 1))
    return np.asarray(1.0 - observed / expected)


def gwet(sums: Sums, weights: "Array") -> "Array":
    """Return Gwet's AC2 with these weights (q x q); with the identity it is AC1.

    (p_a - p_e) / (1 - p_e); p_a is the weighted agreement of couples, averaged over units with two or more answers;
    p_e = sum_kl w_kl / (q (q - 1)) sum_k pi_k (1 - pi_k), pi_k the mean of n_ik / n_i over units (Gwet 2008; 2014,
    ch. 4). It stays meaningful where nearly all answers fall into one category, where alpha and kappa collapse.
    """
    shares = sums.shares / sums.units[:, None]
    q = shares.shape[1]
    expected = weights.sum() / (q * (q - 1)) * (shares * (1.0 - shares)).sum(axis=1)
    return _above_chance(_weighted(sums, weights), expected)


def fleiss(sums: Sums) -> "Array":
    """Return Fleiss' kappa: p_a the share of couples that agree, averaged over units, and p_e = sum_k pi_k^2.

    With the same number of answers a unit it is Fleiss 1971, eq. 7 and 8; otherwise pi_k is the mean over units of
    n_ik / n_i (Gwet 2014, ch. 2).
    """
    shares = sums.shares / sums.units[:, None]
    return _above_chance(_weighted(sums, np.eye(shares.shape[1])), (shares**2).sum(axis=1))


def conger(sums: Sums, marginals: "Array", weights: "Array") -> "Array":
    """Return Conger's weighted kappa for many raters (1980); for two who answered the same units it is Cohen's (1968).

    `marginals` (rows x raters x q) counts each rater's answers. p_e is the mean over couples of raters g, h of
    sum_kl w_kl p_gk p_hl; raters without an answer in a resample are left out of it.
    """
    answers = marginals.sum(axis=2)
    shares = np.divide(marginals, answers[:, :, None], out=np.zeros_like(marginals), where=answers[:, :, None] > 0)
    raters = (answers > 0).sum(axis=1)
    total = shares.sum(axis=1)
    with_all = np.einsum("rk,kl,rl->r", total, weights, total)
    with_self = np.einsum("rgk,rgk->r", shares @ weights, shares)
    return _above_chance(_weighted(sums, weights), (with_all - with_self) / (raters * (raters - 1)))


def weights_of(q: int, kind: Weights) -> "Array":
    """Return the credit (1 to 0) for two answers so many categories apart, q x q (Gwet 2014, ch. 3).

    Linear 1 - |k - l| / (q - 1), quadratic with both squared, ordinal 1 - C(|k - l| + 1, 2) / C(q, 2).
    """
    apart = np.abs(np.subtract.outer(np.arange(q), np.arange(q))).astype(float)
    if kind == "identity":
        return np.eye(q)
    if kind == "linear":
        return np.asarray(1.0 - apart / (q - 1))
    if kind == "quadratic":
        return np.asarray(1.0 - (apart / (q - 1)) ** 2)
    return np.asarray(1.0 - apart * (apart + 1) / (q * (q - 1)))


# --- Sums -----------------------------------------------------------------------------------------------------------


def sums_of_counts(counts: "Array") -> "Array":
    """Return what each unit adds, as one row of `Sums` laid flat. `counts` (units x q): answers a category."""
    q = counts.shape[1]
    raters = counts.sum(axis=1)
    ordered = counts[:, :, None] * counts[:, None, :]
    ordered[:, np.arange(q), np.arange(q)] -= counts
    ordered = ordered.reshape(len(counts), q * q)
    several = raters >= 2
    fewer = np.where(several, raters - 1, 1.0)[:, None]
    some = np.where(raters >= 1, raters, 1.0)[:, None]
    parts = [
        ordered / fewer,
        ordered / (fewer * some),
        counts / some,
        several[:, None].astype(float),
        (raters >= 1)[:, None].astype(float),
    ]
    return np.hstack(parts)


def sums_from(flat: "Array", q: int) -> Sums:
    """Return rows that `sums_of_counts` laid flat, and that were added up since, by name."""
    square = q * q
    return Sums(
        flat[:, :square].reshape(-1, q, q),
        flat[:, square : 2 * square].reshape(-1, q, q),
        flat[:, 2 * square : 2 * square + q],
        flat[:, -2],
        flat[:, -1],
    )


# --- Answers --------------------------------------------------------------------------------------------------------


def coefficients(
    answers: pd.DataFrame,
    values: Sequence[float],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    what: str = SEVERAL,
) -> Coefficients:
    """Return every coefficient of a frame of answers: `unit`, `group`, `rater`, `value`, a row an answer.

    `values` are all that could be answered, in their order; a missing answer is no row. `what` names the units in the
    words of a figure that has too few of them. The intervals resample groups.
    """
    q = len(values)
    rows = answers[answers["value"].isin(values)]
    category = np.searchsorted(np.asarray(values, dtype=float), rows["value"].to_numpy(dtype=float))
    unit, units = pd.factorize(rows["unit"].to_numpy(), sort=True)
    rater, raters = pd.factorize(rows["rater"].to_numpy(), sort=True)
    counts = np.bincount(unit * q + category, minlength=len(units) * q).reshape(len(units), q).astype(float)
    first = np.unique(unit, return_index=True)[1]
    bundles = bundle(rows["group"], seed)
    of_units = Bundles(bundles.places[first], bundles.n, bundles.n_groups)
    n = int((counts.sum(axis=1) >= 2).sum())
    drawn = resample(sums_of_counts(counts), of_units, repeats=repeats, seed=seed)
    raw = _raw(counts, of_units, n, repeats=repeats, seed=seed)
    if n < LEAST_LABELS or _is_alike(counts):
        none = too_few(n, LEAST_LABELS, what) if n < LEAST_LABELS else Figure(None, n, too_few=ONE_ANSWER)
        return Coefficients(n, len(rows), len(raters), raw, none, none, none, none, none, none, none)
    numbers = np.asarray(values, dtype=float)
    near, same = weights_of(q, "linear"), np.eye(q)

    def level(name: Level) -> Figure:
        return drawn.estimate(
            lambda flat: alpha(sums_from(flat, q).coincidences, numbers, name), n, at_least=LEAST_LABELS, what=what
        )

    return Coefficients(
        n_units=n,
        n_answers=len(rows),
        n_people=len(raters),
        raw=raw,
        alpha_nominal=level("nominal"),
        alpha_ordinal=level("ordinal"),
        alpha_interval=level("interval"),
        fleiss=drawn.estimate(lambda flat: fleiss(sums_from(flat, q)), n, at_least=LEAST_LABELS, what=what),
        kappa=_kappa(drawn, bundles, rater * q + category, (len(raters), q), n, repeats=repeats, seed=seed, what=what),
        ac1=drawn.estimate(lambda flat: gwet(sums_from(flat, q), same), n, at_least=LEAST_LABELS, what=what),
        ac2=drawn.estimate(lambda flat: gwet(sums_from(flat, q), near), n, at_least=LEAST_LABELS, what=what),
    )


def interval_alpha(answers: pd.DataFrame, *, repeats: int = REPEATS, seed: int = 0, what: str = SEVERAL) -> Figure:
    """Return Krippendorff's interval alpha of numbers of any scale: `unit`, `group`, `rater`, `value`, a row an answer.

    From counts, sums and sums of squares a unit, since sum_ij (x_i - x_j)^2 = 2 (m sum x^2 - (sum x)^2); numbers are
    taken from their mean first, so that no digits are lost.
    """
    value = answers["value"].astype(float) - answers["value"].mean()
    by_unit = pd.DataFrame({"m": 1.0, "x": value, "xx": value**2}).groupby(answers["unit"], sort=True).sum()
    by_unit = by_unit[by_unit["m"] >= 2]
    n = len(by_unit)
    groups = answers.drop_duplicates("unit").set_index("unit")["group"].reindex(by_unit.index)
    within = 2 * (by_unit["m"] * by_unit["xx"] - by_unit["x"] ** 2) / (by_unit["m"] - 1)
    parts = by_unit.assign(within=within)[["m", "x", "xx", "within"]].to_numpy()
    alike = n > 0 and answers["value"].nunique() == 1

    def statistic(sums: "Array") -> "Array":
        m, x, xx, disagreeing = sums.T
        expected = 2 * (m * xx - x**2) / (m * (m - 1))
        return np.asarray(1.0 - disagreeing / m / expected)

    if alike and n >= LEAST_LABELS:
        return Figure(None, n, too_few=ONE_ANSWER)
    drawn = resample(parts, bundle(groups, seed), repeats=repeats, seed=seed)
    return drawn.estimate(statistic, n, at_least=LEAST_LABELS, what=what)


# --- Parts ----------------------------------------------------------------------------------------------------------


def _distances(level: Level, values: "Array", totals: "Array") -> "Array":
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "ordinal":
        places = totals.cumsum(axis=1) - totals / 2.0
        return np.asarray((places[:, :, None] - places[:, None, :]) ** 2)
    apart = np.subtract.outer(values, values)
    if level == "interval":
        return np.asarray(apart**2)
    both = np.add.outer(values, values)
    return np.asarray(np.divide(apart, both, out=np.zeros_like(apart), where=both != 0) ** 2)


def _is_alike(counts: "Array") -> bool:
    return int((counts.sum(axis=0) > 0).sum()) < 2


def _weighted(sums: Sums, weights: "Array") -> "Array":
    return np.asarray((sums.couples * weights).sum(axis=(1, 2)) / sums.several)


def _above_chance(observed: "Array", expected: "Array") -> "Array":
    return np.asarray((observed - expected) / (1.0 - expected))


def _raw(counts: "Array", bundles: Bundles, n: int, *, repeats: int, seed: int) -> Figure:
    """Return the share of couples that agree; never surer than that many units, each a case of its own, could be."""
    raters = counts.sum(axis=1)
    parts = np.column_stack([(counts * (counts - 1)).sum(axis=1) / 2, raters * (raters - 1) / 2])
    couples = int(parts[:, 1].sum())
    drawn = resample(parts, bundles, repeats=repeats, seed=seed)
    found = drawn.estimate(lambda sums: sums[:, 0] / sums[:, 1], couples, at_least=LEAST_LABELS, what=COUPLES)
    if found.value is None:
        return found
    return found._replace(interval=wider(found.interval, wilson(found.value * n, n)))


def _kappa(
    drawn: Resamples,
    bundles: Bundles,
    cells: "NDArray[np.int64]",
    shape: tuple[int, int],
    n: int,
    *,
    repeats: int,
    seed: int,
    what: str,
) -> Figure:
    """Return Conger's kappa with linear weights. `cells` numbers each answer by rater and category."""
    raters, q = shape
    width = drawn.whole.shape[1]
    marginals = np.bincount(bundles.places * (raters * q) + cells, minlength=bundles.n * raters * q)
    each = Bundles(np.arange(bundles.n), bundles.n, bundles.n_groups)
    of_raters = resample(marginals.reshape(bundles.n, raters * q).astype(float), each, repeats=repeats, seed=seed)
    both = Resamples(
        np.hstack([drawn.whole, of_raters.whole]),
        None if drawn.drawn is None or of_raters.drawn is None else np.hstack([drawn.drawn, of_raters.drawn]),
    )
    weights = weights_of(q, "linear")
    return both.estimate(
        lambda flat: conger(sums_from(flat[:, :width], q), flat[:, width:].reshape(-1, raters, q), weights),
        n,
        at_least=LEAST_LABELS,
        what=what,
    )
