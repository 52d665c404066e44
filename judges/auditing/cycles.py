"""Transitivity: a judge that prefers x to y and y to z should prefer x to z.

Definitions of TrustJudge (Wang et al. 2025): a set of k responses to one prompt, all compared with each other, is
violated where any triple in it is not a weak order; NTR_k is the share of violated sets, pooled over prompts.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing import Figure, too_few, wilson
from judges.auditing.figures import ratio_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZES = (3, 4, 5)
# C(20, 5) is 15,504: of a prompt with more responses, so many drawn at random are looked at.
MOST_RESPONSES = 20
SIGN = {"a": 1.0, "b": -1.0, "tie": 0.0}
# Log-odds of certainty are endless; beyond this a probability says no more.
SUREST = 0.98

TripleKind = Literal["order", "circular", "equality"]


class Cycles(NamedTuple):
    """How often a judge's preferences contradict each other.

    `violated_3` to `violated_5` are NTR_3 to NTR_5 with the number of complete sets as n: only sets whose responses
    were all compared count, `sets` has them by size. `circular` and `equality` split the violated triples: the direct
    comparison is strictly against the chain, or an equality clashes with the rest. `zeta` is Kendall's coefficient of
    consistence over prompts whose responses were all compared without a tie (1: no circle, 0: as many as can be);
    `curl` the share of the log-odds' squared length that no ranking explains (Hodge), over complete prompts.
    """

    prompts: int
    sets: dict[str, int]
    violated_3: Figure
    violated_4: Figure
    violated_5: Figure
    circular: Figure
    equality: Figure
    zeta: Figure
    curl: Figure


def kind_of_triple(xy: float, yz: float, xz: float) -> TripleKind:
    """Return what three comparisons are; each is 1 (the first is better), 0 (equal) or -1.

    Of the 27 there are, 13 are weak orders, 6 circular and 8 contradict an equality. Which of the last two a violated
    triple is depends on the order of its responses, whether it is violated does not.
    """
    expected = _expected(np.array(xy), np.array(yz))
    if np.isnan(expected) or expected == xz:
        return "order"
    return "circular" if expected * xz < 0 else "equality"


def cycles(labels: pd.DataFrame, pairs: pd.DataFrame, seed: int) -> Cycles:
    """Return how often preferences (`pair_id`, `side`, `prob_a`) contradict each other over the pairs of a project."""
    counted = [_counted(prompt, seed) for prompt in _prompts(labels, pairs)]
    columns = ["group", *(f"{what}_{k}" for k in SIZES for what in ("sets", "violated")), "circular", "equality"]
    sums = pd.DataFrame.from_records(counted, columns=[*columns, "zeta", "strict", "unexplained", "length"])
    groups, parts = sums["group"], sums.drop(columns="group").astype(float)

    def rate(over: str, under: str, what: str, at_least: int = 10) -> Figure:
        known = parts[under] > 0
        n = int(parts[under].sum())
        figure = ratio_of(
            parts.loc[known, [over, under]],
            groups[known],
            lambda totals: totals[over] / totals[under],
            n,
            seed,
            at_least=at_least,
            what=what,
        )
        # Resampling sees no spread where all are alike: as many cases as there are prompts' groups bound it.
        if figure.value in (0.0, 1.0):
            n_groups = groups[known].nunique()
            return figure._replace(interval=wilson(figure.value * n_groups, n_groups))
        return figure

    violated = {k: rate(f"violated_{k}", f"sets_{k}", f"sets of {k} responses compared throughout") for k in SIZES}
    complete = int((parts["length"] > 0).sum())
    throughout = "prompts compared throughout"
    curl = rate("unexplained", "length", throughout, 0) if complete else too_few(0, 1, throughout)
    return Cycles(
        prompts=len(sums),
        sets={str(k): int(parts[f"sets_{k}"].sum()) for k in SIZES},
        violated_3=violated[3],
        violated_4=violated[4],
        violated_5=violated[5],
        circular=rate("circular", "violated_3", "violated triples"),
        equality=rate("equality", "violated_3", "violated triples"),
        zeta=rate("zeta", "strict", "prompts compared throughout without a tie"),
        curl=curl._replace(n=complete) if curl.value is not None else curl,
    )


def violated_triples(labels: pd.DataFrame, pairs: pd.DataFrame, seed: int) -> Figure:
    """Return NTR_3 alone, for cards."""
    return cycles(labels, pairs, seed).violated_3


class _Prompt(NamedTuple):
    group: str
    # Skew-symmetric: 1 where the row's response is better, NaN where not compared.
    signs: "NDArray[np.float64]"
    log_odds: "NDArray[np.float64]"


def _prompts(labels: pd.DataFrame, pairs: pd.DataFrame) -> Iterator[_Prompt]:
    """Yield the prompts with three comparisons or more, as matrices over their responses."""
    joined = labels[labels["side"].notna()].join(pairs[["prompt", "response_a", "response_b"]], on="pair_id")
    joined = joined[joined["prompt"].map(joined["prompt"].value_counts()) >= SIZES[0]]
    sign = joined["side"].map(SIGN).to_numpy(dtype=float)
    prob = joined["prob_a"].astype(float).fillna(pd.Series(0.5 + 0.5 * sign, index=joined.index))
    prob = prob.clip(1.0 - SUREST, SUREST)
    odds = np.asarray(np.log(prob / (1.0 - prob)), dtype=float)
    # Responses are numbered by their ids, so that the same data give the same sets.
    codes = pd.factorize(pd.concat([joined["response_a"], joined["response_b"]]).to_numpy(), sort=True)[0]
    a, b = codes[: len(joined)], codes[len(joined) :]
    groups = joined["group"].to_numpy()
    for rows in joined.groupby("prompt", sort=True).indices.values():
        names, places = np.unique(np.concatenate([a[rows], b[rows]]), return_inverse=True)
        if len(names) < SIZES[0]:
            continue
        at = places[: len(rows)], places[len(rows) :]
        summed = [np.zeros((len(names), len(names))) for _ in range(3)]
        for matrix, values in zip(summed, (sign[rows], odds[rows], np.ones(len(rows))), strict=True):
            np.add.at(matrix, at, values)
        signs, flow, count = summed
        times = count + count.T
        compared = np.where(times > 0, times, np.nan)
        # Two pairs of the same two responses count as one comparison: what they say together.
        yield _Prompt(groups[rows[0]], np.sign((signs - signs.T) / compared), (flow - flow.T) / compared)


def _counted(prompt: _Prompt, seed: int) -> tuple[Any, ...]:
    signs, odds = prompt.signs, prompt.log_odds
    if len(signs) > MOST_RESPONSES:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(signs))[:MOST_RESPONSES])
        signs, odds = signs[np.ix_(chosen, chosen)], odds[np.ix_(chosen, chosen)]
    x, y, z = _subsets(len(signs), 3).T
    expected, direct = _expected(signs[x, y], signs[y, z]), signs[x, z]
    complete = ~np.isnan(signs[x, y] + signs[y, z] + direct)
    wrong = complete & ~np.isnan(expected) & (expected != direct)
    circular = wrong & (expected * direct < 0)
    # NaN marks a triple that was not compared throughout, and then every set it is in.
    violated = np.full((len(signs),) * 3, np.nan)
    violated[x, y, z] = np.where(complete, wrong.astype(float), np.nan)
    counts: list[float] = []
    for k in SIZES:
        sets = _subsets(len(signs), k)
        inside = _subsets(k, 3)
        triples = violated[tuple(sets[:, inside[:, place]] for place in range(3))]
        whole = ~np.isnan(triples).any(axis=1)
        counts += [float(whole.sum()), float((triples[whole] > 0).any(axis=1).sum())]
    return (
        prompt.group,
        *counts,
        float(circular.sum()),
        float((wrong & ~circular).sum()),
        *_consistence(signs),
        *_unexplained(odds),
    )


def _consistence(signs: "NDArray[np.float64]") -> tuple[float, float]:
    """Return Kendall's zeta and 1, or zeros where the tournament is not complete and strict."""
    n = len(signs)
    off = signs[~np.eye(n, dtype=bool)]
    if np.isnan(off).any() or (off == 0).any():
        return 0.0, 0.0
    wins = (signs > 0).sum(axis=1)
    circles = n * (n - 1) * (n - 2) / 6 - float((wins * (wins - 1) / 2).sum())
    most = (n**3 - n) / 24 if n % 2 else (n**3 - 4 * n) / 24
    return 1.0 - circles / most, 1.0


def _unexplained(odds: "NDArray[np.float64]") -> tuple[float, float]:
    """Return the squared length of what no potential explains, and of all; zeros where not complete.

    In a complete graph the least-squares potential is the mean of each row.
    """
    off = ~np.eye(len(odds), dtype=bool)
    if np.isnan(odds[off]).any():
        return 0.0, 0.0
    flow = np.where(off, odds, 0.0)
    potential = flow.mean(axis=1)
    rest = np.where(off, flow - (potential[:, None] - potential[None, :]), 0.0)
    return float((rest**2).sum()), float((flow**2).sum())


def _expected(xy: "NDArray[np.float64]", yz: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Return what x against z must be in a weak order; NaN where anything may be."""
    return np.where(xy * yz < 0, np.nan, np.where(xy + yz > 0, 1.0, np.where(xy + yz < 0, -1.0, 0.0)))


@lru_cache(maxsize=64)
def _subsets(n: int, k: int) -> "NDArray[np.int64]":
    """Return the sets of k of n places, a row a set, ascending."""
    return np.array(list(combinations(range(n), k)), dtype=int).reshape(-1, k)
