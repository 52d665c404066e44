"""How far people agree with each other: all together, each two of them, each with the others, and over time.

Pure: frames of answers in, named results out. Answers are compared by side of the stored pair.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing.coefficients import (
    COUPLES,
    SEVERAL,
    Coefficients,
    alpha,
    coefficients,
    gwet,
    interval_alpha,
    sums_from,
    sums_of_counts,
    weights_of,
)
from annotation.agreeing.counting import count_by_pair
from annotation.agreeing.figures import (
    LEAST_GROUPS,
    LEAST_LABELS,
    ONE_ANSWER,
    REPEATS,
    SIDE_OF,
    SIDES,
    Bundles,
    Figure,
    Resamples,
    bundle,
    plain,
    resample,
    wider,
    wilson,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# A side as a number: how far the answer leans to the stored a.
LEAN_OF = {"a": 1.0, "tie": 0.0, "b": -1.0}
LEANS = (-1.0, 0.0, 1.0)
# The same with the strength of a preference (1 to 3); 0 is neither.
STRENGTHS = tuple(float(strength) for strength in range(-3, 4))
CELLS = len(LEANS) ** 2
# Tables drawn in one matrix product: more would be quicker and take more memory.
TABLES_AT_ONCE = 250
# A list of couples longer than this is read by nobody; the ones with most pairs in common are kept.
MOST_COUPLES = 500
OTHERS = "answers of others on the same pairs"
COMMON = "pairs in common"
RATED = "responses with two or more ratings"
# Above this a table of all couples of ratings is larger than what it sums up.
MOST_VALUES = 25
# The longest time shown day by day, and week by week; what is longer goes by months.
MOST_DAYS = 21
MOST_WEEK_DAYS = 182


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
        return plain(self)


class Couple(NamedTuple):
    """How far two people agree on the `n` pairs that both decided. `kappa` is Cohen's, with linear weights."""

    first: str
    second: str
    n: int
    raw: Figure
    kappa: Figure
    ac1: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return the couple as JSON values."""
        return plain(self)


class Couples(NamedTuple):
    """Couples of people with ten pairs in common or more, most first, and how many had fewer or found no room."""

    found: list[Couple]
    too_few: int
    left_out: int


class WithOthers(NamedTuple):
    """How far one person agrees with the others; every answer of another on the same pair counts once."""

    raw: Figure
    kappa: Figure
    ac1: Figure


def answer_counts(votes: pd.DataFrame) -> pd.DataFrame:
    """Return how many people chose each side: a row a `pair_id`, columns a, b, tie. "Unsure" is left out."""
    return count_by_pair(votes["pair_id"], votes["choice"].map(SIDE_OF), SIDES)


def agreement(votes: pd.DataFrame, *, repeats: int = REPEATS, seed: int = 0) -> Agreement:
    """Return how far the raters of a frame of votes (`pair_id`, `group`, `choice`) agree with each other."""
    counts = answer_counts(votes)
    groups = votes.drop_duplicates("pair_id").set_index("pair_id")["group"].reindex(counts.index)
    bundles = bundle(groups, seed)
    labels, of = counts.sum(axis=1), counts.to_numpy(dtype=float)
    several, n_labels = int((labels >= 2).sum()), int(labels.sum())
    couples = _couples(counts)
    shares = resample(
        couples.assign(ties=counts["tie"], labels=labels).to_numpy(dtype=float), bundles, repeats=repeats, seed=seed
    )
    chance = resample(sums_of_counts(of), bundles, repeats=repeats, seed=seed)
    q = len(SIDES)
    alike = (of.sum(axis=0) > 0).sum() < 2

    def share(over: int, n: int, what: str) -> Figure:
        return shares.estimate(lambda sums: sums[:, over] / sums[:, over + 1], n, at_least=LEAST_LABELS, what=what)

    def coefficient(statistic: Any) -> Figure:
        if alike and several >= LEAST_LABELS:
            return Figure(None, several, too_few=ONE_ANSWER)
        return chance.estimate(lambda flat: statistic(sums_from(flat, q)), several, at_least=LEAST_LABELS, what=SEVERAL)

    return Agreement(
        n_pairs=several,
        n_labels=n_labels,
        three_way=share(0, int(couples["couples"].sum()), COUPLES),
        two_way=share(2, int(couples["decisive"].sum()), "couples of decisive answers"),
        alpha=coefficient(lambda sums: alpha(sums.coincidences, np.arange(q, dtype=float), "nominal")),
        ac1=coefficient(lambda sums: gwet(sums, np.eye(q))),
        ties=share(4, n_labels, "labels"),
    )


class RatingAgreement(NamedTuple):
    """How far people agree on scores of single responses, by Krippendorff's alpha."""

    alpha_ordinal: Figure
    alpha_interval: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return the agreement as JSON values."""
        return plain(self)


def rating_agreement(ratings: pd.DataFrame, *, repeats: int = REPEATS, seed: int = 0) -> RatingAgreement:
    """Return how far people agree on ratings (`unit`, `group`, `rater`, `value`) of any scale.

    Alpha's ordinal form takes a table of all values, so it is left out where there are more than 25 of them.
    """
    values = np.unique(ratings["value"].to_numpy(dtype=float))
    interval = interval_alpha(ratings, repeats=repeats, seed=seed, what=RATED)
    if len(values) > MOST_VALUES:
        many = Figure(None, interval.n, too_few=f"too many different ratings ({len(values)}, at most {MOST_VALUES})")
        return RatingAgreement(many, interval)
    if len(values) < 2:
        return RatingAgreement(interval, interval)
    found = coefficients(ratings, values.tolist(), repeats=repeats, seed=seed, what=RATED)
    return RatingAgreement(found.alpha_ordinal, interval)


def by_side(votes: pd.DataFrame) -> pd.DataFrame:
    """Return votes as answers for `coefficients`: `value` is -1 (b), 0 (neither) or 1 (a); "unsure" is left out."""
    value = votes["choice"].map(SIDE_OF).map(LEAN_OF).astype(float)
    return _answers(votes, value)


def by_strength(votes: pd.DataFrame) -> pd.DataFrame:
    """Return votes with a strength as answers for `coefficients`: `value` from -3 (b much better) to 3.

    "Neither" is 0 and has no strength of its own; it counts where somebody else said how strong their preference is.
    """
    lean = votes["choice"].map(SIDE_OF).map(LEAN_OF).astype(float)
    value = (lean * votes["strength"]).where(lean != 0, 0.0).where(lean.notna())
    stated = votes["pair_id"].isin(votes.loc[votes["strength"].notna() & (lean != 0), "pair_id"])
    return _answers(votes, value.where(stated))


def with_others(votes: pd.DataFrame, *, repeats: int = REPEATS, seed: int = 0) -> dict[str, WithOthers]:
    """Return, by name, how far each person who shares a pair with others agrees with them.

    `votes`: `pair_id`, `group`, `rater`, `choice`.
    """
    met = _meetings(by_side(votes))
    # Each meeting counts for both of the people in it.
    turned = met.rename(
        columns={"first": "second", "second": "first", "of_first": "of_second", "of_second": "of_first"}
    )
    both = pd.concat([met, turned], ignore_index=True)
    of, names = pd.factorize(both["first"].to_numpy(), sort=True)
    tables = _of_tables(both, of, len(names), what=OTHERS, repeats=repeats, seed=seed)
    return {str(name): WithOthers(*table) for name, table in zip(names, tables, strict=True)}


def couples_of(votes: pd.DataFrame, *, repeats: int = REPEATS, seed: int = 0) -> Couples:
    """Return how far each two people agree, by name; `votes` as for `with_others`.

    Couples with fewer than ten pairs in common are counted; of the others the 500 that share most are measured.
    """
    met = _meetings(by_side(votes))
    sizes = met.groupby(["first", "second"], sort=True).size()
    enough = sizes[sizes >= LEAST_LABELS].sort_values(ascending=False, kind="stable")
    kept = enough.iloc[:MOST_COUPLES].index
    of = kept.get_indexer(pd.MultiIndex.from_frame(met[["first", "second"]]))
    tables = _of_tables(met[of >= 0], of[of >= 0], len(kept), what=COMMON, repeats=repeats, seed=seed)
    found = [
        Couple(str(first), str(second), int(enough[first, second]), *table)
        for (first, second), table in zip(kept, tables, strict=True)
    ]
    return Couples(found, int((sizes < LEAST_LABELS).sum()), len(enough) - len(kept))


def over_time(votes: pd.DataFrame, *, repeats: int = REPEATS, seed: int = 0) -> list[tuple[str, Coefficients]]:
    """Return the agreement on the pairs of each day, week or month, by the day of a pair's last answer (UTC).

    `votes` as for `with_others`, with `answered_at`. Days up to three weeks, weeks (by their Monday) up to half a year,
    months beyond. Periods in which no pair was finished are left out.
    """
    if votes.empty:
        return []
    last = votes.groupby("pair_id")["answered_at"].transform("max")
    period = periods_of(last)
    return [
        (str(name), coefficients(by_side(mine), LEANS, repeats=repeats, seed=seed))
        for name, mine in votes.groupby(period, sort=True)
    ]


def periods_of(times: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return the period of each time: "2026-11-30" for a day or the week from that Monday, "2026-11" for a month."""
    days = times.dt.tz_convert("UTC").dt.tz_localize(None).dt.normalize()
    span = (days.max() - days.min()).days + 1
    if MOST_DAYS < span <= MOST_WEEK_DAYS:
        days = days - pd.to_timedelta(days.dt.day_of_week, unit="D")
    named: pd.Series[Any] = days.dt.strftime("%Y-%m-%d" if span <= MOST_WEEK_DAYS else "%Y-%m")
    return named


# --- Parts ----------------------------------------------------------------------------------------------------------


def _answers(votes: pd.DataFrame, value: "pd.Series[float]") -> pd.DataFrame:
    known = votes.loc[value.notna(), ["pair_id", "group", "rater"]]
    return known.rename(columns={"pair_id": "unit"}).assign(value=value[value.notna()].astype(float))


def _meetings(answers: pd.DataFrame) -> pd.DataFrame:
    """Return every couple of answers on one unit, a row a couple: `group`, `first` < `second`, and what each said."""
    right = answers[["unit", "rater", "value"]].rename(columns={"rater": "second", "value": "of_second"})
    met = answers.rename(columns={"rater": "first", "value": "of_first"}).merge(right, on="unit")
    return met[met["first"] < met["second"]][["unit", "group", "first", "second", "of_first", "of_second"]]


def _of_tables(
    met: pd.DataFrame, of: "NDArray[np.int64]", n: int, *, what: str, repeats: int, seed: int
) -> list[tuple[Figure, Figure, Figure]]:
    """Return share, Cohen's weighted kappa and AC1 of each of `n` tables; `of` says whose each row of `met` is.

    All tables are drawn together, so that they share one matrix of resamples.
    """
    bundles = bundle(met["group"], seed)
    rows = np.searchsorted(LEANS, met["of_first"].to_numpy(dtype=float))
    cells = len(LEANS) * rows + np.searchsorted(LEANS, met["of_second"].to_numpy(dtype=float))
    units = pd.factorize(met["unit"].to_numpy())[0]
    tables = []
    for start in range(0, n, TABLES_AT_ONCE):
        width = min(TABLES_AT_ONCE, n - start)
        mine = (of >= start) & (of < start + width)
        places, owner = bundles.places[mine], of[mine] - start
        shape = (bundles.n, width * CELLS)
        counts = np.bincount(places * shape[1] + owner * CELLS + cells[mine], minlength=bundles.n * shape[1])
        each = Bundles(np.arange(bundles.n), bundles.n, bundles.n_groups)
        drawn = resample(counts.reshape(shape).astype(float), each, repeats=repeats, seed=seed)
        n_groups = _distinct(owner, places, width)
        n_units = _distinct(owner, units[mine], width)
        for one in range(width):
            columns = slice(one * CELLS, (one + 1) * CELLS)
            often = None if drawn.drawn is None or n_groups[one] < LEAST_GROUPS else drawn.drawn[:, columns]
            tables.append(_of_table(Resamples(drawn.whole[:, columns], often), int(n_units[one]), what=what))
    return tables


def _distinct(owner: "NDArray[np.int64]", values: "NDArray[np.int64]", n: int) -> "NDArray[np.int64]":
    """Return how many different values each of `n` owners has."""
    pairs = np.unique(np.column_stack([owner, values]), axis=0)
    return np.bincount(pairs[:, 0], minlength=n)


def _of_table(table: Resamples, n_units: int, *, what: str) -> tuple[Figure, Figure, Figure]:
    n = int(table.whole.sum())
    raw = table.estimate(_table_share, n, at_least=LEAST_LABELS, what=what)
    if raw.value is None:
        return raw, raw, raw
    raw = raw._replace(interval=wider(raw.interval, wilson(raw.value * n_units, n_units)))
    square = table.whole.reshape(len(LEANS), len(LEANS))
    if ((square.sum(axis=0) + square.sum(axis=1)) > 0).sum() < 2:
        none = Figure(None, n, too_few=ONE_ANSWER)
        return raw, none, none
    return (
        raw,
        table.estimate(_table_kappa, n, at_least=LEAST_LABELS, what=what),
        table.estimate(_table_ac1, n, at_least=LEAST_LABELS, what=what),
    )


def _table_share(flat: "Array") -> "Array":
    return np.asarray(np.trace(_square(flat), axis1=1, axis2=2) / flat.sum(axis=1))


def _table_kappa(flat: "Array") -> "Array":
    """Return Cohen's kappa with linear weights: 1 - sum v o / sum v e, v the distance of the answers (Cohen 1968)."""
    table = _square(flat)
    apart = 1.0 - weights_of(len(LEANS), "linear")
    expected = table.sum(axis=2)[:, :, None] * table.sum(axis=1)[:, None, :] / flat.sum(axis=1)[:, None, None]
    return np.asarray(1.0 - (table * apart).sum(axis=(1, 2)) / (expected * apart).sum(axis=(1, 2)))


def _table_ac1(flat: "Array") -> "Array":
    table = _square(flat)
    shares = (table.sum(axis=1) + table.sum(axis=2)) / (2 * flat.sum(axis=1)[:, None])
    expected = (shares * (1.0 - shares)).sum(axis=1) / (len(LEANS) - 1)
    return np.asarray((_table_share(flat) - expected) / (1.0 - expected))


def _square(flat: "Array") -> "Array":
    return flat.reshape(-1, len(LEANS), len(LEANS))


def _couples(counts: pd.DataFrame) -> pd.DataFrame:
    """Return how many couples of raters agree and how many there are, 3-way and among decisive answers."""
    decisive = counts["a"] + counts["b"]
    same = counts * (counts - 1) / 2
    labels = counts.sum(axis=1)
    return pd.DataFrame(
        {
            "same": same.sum(axis=1),
            "couples": labels * (labels - 1) / 2,
            "same_decisive": same["a"] + same["b"],
            "decisive": decisive * (decisive - 1) / 2,
        }
    )
