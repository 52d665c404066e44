"""A leaderboard of the models that wrote the responses, from the labels of their pairs.

Pure. Davidson's model (1970): P(i wins) is to P(j wins) is to P(tie) as pi_i : pi_j : nu sqrt(pi_i pi_j). evalica fits
it (`newman`, whose tie parameter is nu / 2). Its estimate exists only where every model can be reached from every other
by wins and ties, so models that nothing connects are never put into one order.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from annotation.agreeing import LEAST_GROUPS, LEAST_LABELS, Figure, Interval
from annotation.agreeing.figures import Bundles, bundle, interval_of, plain, resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Elo's scale: 400 points are odds of ten to one; the mean of all is 1000.
POINTS, CENTRE = 400.0 / np.log(10.0), 1000.0
RESAMPLES = 300
# Fewer comparisons of a model leave its place to chance.
LEAST_COMPARED = LEAST_LABELS
MOST_NAMED = 5
# Resamples need fewer digits than the scores themselves.
ITERATIONS, TOLERANCE, RESAMPLED_TOLERANCE = 2000, 1e-9, 1e-5


class Standing(NamedTuple):
    """One model: its place, its score with interval, and the interval of its place over the resamples."""

    model: str
    place: int
    score: Figure
    place_low: int | None
    place_high: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return the standing as JSON values."""
        return plain(self)


class Leaderboard(NamedTuple):
    """Models by score; without one `reason` says why. `ties` is Davidson's nu; `left_out` models have few pairs."""

    comparisons: int
    standings: list[Standing]
    ties: float | None
    left_out: list[str]
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return the leaderboard as JSON values."""
        return {**self._asdict(), "standings": [one.as_dict() for one in self.standings]}


def leaderboard(games: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0) -> Leaderboard:
    """Return the leaderboard of games: `group` (of the prompt), `model_a`, `model_b`, `side` (a, b or tie).

    Pairs of one model with itself, or with a model that is not stated, say nothing and are left out. Intervals draw
    whole prompt groups again; a resample in which the models are not connected has no estimate and counts for none.
    """
    games = games[(games["model_a"] != "") & (games["model_b"] != "") & (games["model_a"] != games["model_b"])]
    games, left_out = _often_compared(games)
    n = len(games)
    models = sorted({*games["model_a"], *games["model_b"]})
    if len(models) < 2:
        reason = f"too few models with {LEAST_COMPARED} labelled pairs ({len(models)} of 2)"
        return Leaderboard(n, [], None, left_out, reason)
    k = len(models)
    a, b = (pd.Index(models).get_indexer(pd.Index(games[name])) for name in ("model_a", "model_b"))
    cells = np.where(games["side"] == "tie", 2 * k * k, 0)
    wins = np.where(games["side"] == "b", b * k + a, a * k + b)
    column, used = np.unique(
        np.where(cells > 0, k * k + np.minimum(a, b) * k + np.maximum(a, b), wins), return_inverse=True
    )
    bundles = bundle(games["group"], seed)
    counted = np.bincount(bundles.places * len(column) + used, minlength=bundles.n * len(column))
    each = Bundles(np.arange(bundles.n), bundles.n, bundles.n_groups)
    parts = counted.reshape(bundles.n, len(column)).astype(float)
    drawn = resample(parts, each, repeats=resamples, seed=seed)
    results = [_Result.of(int(one), k) for one in column]
    parted = _parted(results, drawn.whole[0], k)
    if len(parted) > 1:
        return Leaderboard(n, [], None, left_out, _why_parted(parted, models))
    scores, ties = _scores(results, drawn.whole[0], k)
    often = [] if drawn.drawn is None or bundles.n_groups < LEAST_GROUPS else list(drawn.drawn)
    again = np.array(
        [_scores(results, one, k, RESAMPLED_TOLERANCE)[0] for one in often if len(_parted(results, one, k)) == 1]
    )
    known = len(again) > 0 and len(again) >= len(often) / 2
    # Enough digits for a page; more would differ with the order of sums.
    places = np.array([(-row).argsort(kind="stable").argsort(kind="stable") + 1 for row in again.round(6)])
    order = sorted(range(k), key=lambda place: (-round(float(scores[place]), 6), models[place]))
    standings = []
    for rank, place in enumerate(order, 1):
        interval: Interval | None = interval_of(again[:, place]) if known else None
        low, high = np.quantile(places[:, place], [0.025, 0.975], method="nearest") if known else (None, None)
        compared = int(((a == place) | (b == place)).sum())
        standings.append(
            Standing(
                models[place],
                rank,
                Figure(float(scores[place]), compared, interval),
                None if low is None else int(low),
                None if high is None else int(high),
            )
        )
    return Leaderboard(n, standings, ties, left_out, "")


class _Result(NamedTuple):
    """One kind of game: who met whom and who won, or neither."""

    winner: int
    loser: int
    is_tie: bool

    @classmethod
    def of(cls, cell: int, k: int) -> "_Result":
        return cls(*divmod(cell % (k * k), k), is_tie=cell >= k * k)


def _often_compared(games: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Return the games among models with ten each or more, and the models left out."""
    everybody = {*games["model_a"], *games["model_b"]}
    while len(games):
        sizes = pd.concat([games["model_a"], games["model_b"]]).value_counts()
        often = sizes.index[sizes >= LEAST_COMPARED]
        kept = games["model_a"].isin(often) & games["model_b"].isin(often)
        if kept.all():
            break
        games = games[kept]
    return games, sorted(everybody - {*games["model_a"], *games["model_b"]})


def _parted(results: list[_Result], counts: "Array", k: int) -> list[list[int]]:
    """Return the sets of models that wins and ties lead to and back from; one set where the order is known."""
    there = [one for one, n in zip(results, counts, strict=True) if n > 0]
    edges = [(one.winner, one.loser) for one in there] + [(one.loser, one.winner) for one in there if one.is_tie]
    rows, columns = zip(*edges, strict=True)
    graph = sparse.csr_array((np.ones(len(edges)), (rows, columns)), shape=(k, k))
    _, of = sparse.csgraph.connected_components(graph, directed=True, connection="strong")
    return [np.flatnonzero(of == part).tolist() for part in sorted(set(of.tolist()), key=of.tolist().index)]


def _why_parted(parted: list[list[int]], models: list[str]) -> str:
    named = [
        "; ".join(models[place] for place in part[:MOST_NAMED]) + ("; ..." if len(part) > MOST_NAMED else "")
        for part in parted
    ]
    shown = " | ".join(named[:MOST_NAMED]) + (" | ..." if len(named) > MOST_NAMED else "")
    return (
        f"no common scale: wins and ties do not lead from each model to each other and back ({len(parted)} parts: "
        f"{shown}). Label pairs between the parts, or until nobody wins or loses all."
    )


def _scores(results: list[_Result], counts: "Array", k: int, tolerance: float = TOLERANCE) -> tuple["Array", float]:
    """Return each model's points and Davidson's nu."""
    import evalica

    outcome = [evalica.Winner.Draw if one.is_tie else evalica.Winner.X for one in results]
    found = evalica.newman(
        [one.winner for one in results],
        [one.loser for one in results],
        outcome,
        index=pd.Index(range(k)),
        weights=[float(n) for n in counts],
        tolerance=tolerance,
        limit=ITERATIONS,
    )
    logs = np.log(found.scores.sort_index().to_numpy(dtype=float))
    return np.asarray(CENTRE + POINTS * (logs - logs.mean())), 2.0 * float(found.v)
