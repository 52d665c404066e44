"""Replay: how good the labels would be, had only a share of the human labels been bought.

Runs on pairs that both a judge and people answered. The routed share gets its human label, the rest keeps the judge's,
and agreement with people's consensus is counted, for a random choice, the best single signal, the learned predictor
and an oracle that knows where the judge is wrong.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from annotation.models import Project
from routing.deriving import signal_of
from routing.errors import RoutingError, TooFewLabels
from routing.labelling import label_pairs, signals_known
from routing.predictor import fit_predictor, shortage
from routing.scoring import Bools, Floats, Strings, auroc, brier, expected_calibration_error, grouped_folds
from routing.signals import read_judged
from routing.trusting import find_versions

TARGETS = (0.9, 0.95)
FOLDS = 5
# Inside a fold the predictor is chosen and calibrated by folds of its own.
INNER_FOLDS = 3
RESAMPLES = 1000
Progress = Callable[[int, int], None]


class Held(NamedTuple):
    """What held-out folds said: P(wrong) by repeat (r, n), tie-breaking numbers (r, n) and the kinds chosen."""

    p: Floats
    ties: Floats
    kinds: list[str]


def replay_routing(
    project: Project,
    *,
    judge: str,
    budgets: Sequence[float],
    repeats: int,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return the replay of one judge as the JSON that docs/routing.md describes.

    `judge` is a name: alone, all its protocols are taken together; with a protocol, that one. `budgets` are shares.
    Each repeat splits the prompt groups into other folds and orders ties anew. `progress(done, repeats)` is called
    after each. Raises `RoutingError` for an unknown judge or a budget that is no share, `TooFewLabels` where a
    predictor could not be fitted.
    """
    if repeats < 1 or not budgets or not all(0 < budget <= 1 for budget in budgets):
        raise RoutingError(f"A replay takes budgets between 0 and 1 and at least one repeat, not {budgets}, {repeats}.")
    versions = find_versions(project, judge)
    judged = read_judged(project, versions)
    labelled = label_pairs(project, judged)
    groups = judged.groups.to_numpy(dtype=object)[labelled.rows]
    signals = signals_known(judged, labelled.rows)
    if reason := shortage(signals, labelled.wrong, groups):
        raise TooFewLabels(f"Replay of {judge} in {project}: {reason}. Let people answer more of the judge's pairs.")
    frame = replay_frame(
        signals,
        labelled.wrong,
        groups,
        budgets=budgets,
        repeats=repeats,
        seed=seed,
        progress=progress,
    )
    excluded = {"contested": labelled.contested, "without_people": labelled.unanswered}
    excluded["without_judge"] = int((judged.choice == "").sum())
    protocols = sorted({version.protocol for version in versions})
    return {"judge": versions[0].judge.name, "protocols": protocols, "excluded": excluded, **frame}


def replay_frame(
    signals: pd.DataFrame,
    wrong: Bools,
    groups: Strings,
    *,
    budgets: Sequence[float],
    repeats: int,
    seed: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return the figures of a replay of n pairs: `signals` (n, k), `wrong` (n,), `groups` (n,). Reads no database."""
    held = _hold_out(signals, wrong, groups, repeats, seed, progress)
    single = {name: _oriented(signals[name], wrong) for name in signals.columns}
    by_signal = {name: auroc(scores, wrong) for name, scores in single.items()}
    best = max(sorted(by_signal), key=lambda name: by_signal[name])
    learned = float(np.mean([auroc(p, wrong) for p in held.p]))
    samples = _resample(groups, repeats, np.random.default_rng([seed, 1]))
    gains = [auroc(held.p[r][rows], wrong[rows]) - auroc(single[best][rows], wrong[rows]) for r, rows in samples]
    curves = _Curves(held, single[best], wrong)
    return {
        "pairs": len(wrong),
        "groups": len(set(groups)),
        "judge_accuracy": float(1 - wrong.mean()),
        "repeats": repeats,
        "seed": seed,
        "predictor": Counter(held.kinds).most_common(1)[0][0],
        "predictors_chosen": dict(sorted(Counter(held.kinds).items())),
        "auroc": {"learned": learned, **by_signal},
        "auroc_best_signal": {"name": best, "value": by_signal[best]},
        "learned_minus_best_signal": _interval(learned - by_signal[best], gains),
        "calibration": {
            "ece": float(np.mean([expected_calibration_error(p, wrong) for p in held.p])),
            "brier": float(np.mean([brier(p, wrong) for p in held.p])),
        },
        "budgets": [_at_budget(budget, curves, samples) for budget in budgets],
        "share_for_target": [{"target": target, **curves.share_for(target)} for target in TARGETS],
    }


def _hold_out(
    signals: pd.DataFrame, wrong: Bools, groups: Strings, repeats: int, seed: int, progress: Progress | None
) -> Held:
    """Return P(wrong) of every pair from folds that never saw its prompt group, choice and calibration included."""
    p = np.zeros((repeats, len(wrong)))
    ties = np.zeros_like(p)
    kinds = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, 0, repeat])
        ties[repeat] = rng.random(len(wrong))
        for mask in grouped_folds(groups, FOLDS, rng):
            fitted = fit_predictor(
                signals[~mask], wrong[~mask], groups[~mask], seed=int(rng.integers(2**31)), folds=INNER_FOLDS
            )
            p[repeat, mask] = fitted.predictor.predict(signals[mask])
            kinds.append(fitted.predictor.kind)
        if progress:
            progress(repeat + 1, repeats)
    return Held(p, ties, kinds)


def _oriented(values: pd.Series, wrong: Bools) -> Floats:
    """Return a signal as a score of doubt: unknown values in the middle, turned the way that fits the labels best.

    Choosing the direction, and then the best signal, with hindsight makes the single signal harder to beat.
    """
    scores = (values * signal_of(str(values.name)).direction).to_numpy(dtype=float)
    scores = np.where(np.isnan(scores), np.nanmedian(scores), scores)
    return scores if auroc(scores, wrong) >= 0.5 else -scores


def _resample(groups: Strings, repeats: int, rng: np.random.Generator) -> list[tuple[int, npt.NDArray[np.intp]]]:
    """Return bootstrap samples: a repeat and the rows of prompt groups drawn with replacement."""
    names, inverse = np.unique(groups.astype(str), return_inverse=True)
    rows_of = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    samples = []
    for number in range(RESAMPLES):
        drawn = rng.integers(len(names), size=len(names))
        samples.append((number % repeats, np.concatenate([rows_of[group] for group in drawn])))
    return samples


class _Curves:
    """Agreement after the pairs with the highest scores got their human label."""

    def __init__(self, held: Held, best_signal: Floats, wrong: Bools) -> None:
        self.held, self.wrong = held, wrong
        self.scores = {"learned": held.p, "best_signal": np.tile(best_signal, (len(held.p), 1))}

    def agreement(self, way: str, budget: float) -> float:
        """Return the mean over the repeats."""
        everything = np.arange(len(self.wrong))
        return float(np.mean([self.sampled(way, budget, r, everything) for r in range(len(self.held.p))]))

    def sampled(self, way: str, budget: float, repeat: int, rows: npt.NDArray[np.intp]) -> float:
        """Return the agreement in one sample of rows; 'random' is its exact expectation, not a draw."""
        wrong = self.wrong[rows]
        n, asked = len(rows), int(budget * len(rows) + 1e-9)
        if way == "random":
            return float(1 - wrong.mean() * (1 - asked / n))
        if way == "oracle":
            return float(1 - max(0, int(wrong.sum()) - asked) / n)
        order = np.lexsort((self.held.ties[repeat][rows], -self.scores[way][repeat][rows]))
        return float(1 - wrong[order[asked:]].sum() / n)

    def share_for(self, target: float) -> dict[str, float]:
        """Return the human share each way needs for this agreement, the mean over the repeats."""
        n, errors = len(self.wrong), int(self.wrong.sum())
        allowed = int((1 - target) * n + 1e-9)
        fixed = max(0, errors - allowed)
        shares = {"random": fixed / errors, "oracle": fixed / n}
        for way, scores in self.scores.items():
            needed = []
            for repeat, ties in enumerate(self.held.ties):
                found = np.cumsum(self.wrong[np.lexsort((ties, -scores[repeat]))])
                needed.append(0 if fixed == 0 else int(np.searchsorted(found, fixed)) + 1)
            shares[way] = float(np.mean(needed)) / n
        return {way: shares[way] for way in ("random", "best_signal", "learned", "oracle")}


def _at_budget(budget: float, curves: _Curves, samples: list[tuple[int, npt.NDArray[np.intp]]]) -> dict[str, Any]:
    agreement = {way: curves.agreement(way, budget) for way in ("random", "best_signal", "learned", "oracle")}
    gains = [
        curves.sampled("learned", budget, repeat, rows) - curves.sampled("random", budget, repeat, rows)
        for repeat, rows in samples
    ]
    return {
        "budget": budget,
        "agreement": agreement,
        "learned_minus_random": _interval(agreement["learned"] - agreement["random"], gains),
    }


def _interval(mean: float, resampled: Sequence[float]) -> dict[str, float]:
    """Return a figure with the 95 % percentile interval of its bootstrap."""
    # A sample of groups may hold no wrong pair at all; it says nothing about a ranking.
    known = np.array(resampled)[~np.isnan(resampled)]
    low, high = np.quantile(known, [0.025, 0.975])
    return {"mean": mean, "low": float(low), "high": float(high)}
