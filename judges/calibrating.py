"""Calibration: a map from a judge's stated probability to how often people agree, fitted to people's answers.

The map is symmetric: swapping the responses gives the other probability, so it favours no side and turns no preference
round. It belongs to the version but is not content: it is fitted again as labels arrive, and the stated probabilities
stay as they are.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from django.utils import timezone

from annotation.aggregating import consensus, vote_frame
from judges.errors import JudgeError
from judges.models import JudgeVersion
from judges.options import example_pairs
from judges.rules import fold_of

Floats = npt.NDArray[np.float64]
Strings = npt.NDArray[np.object_]

LEAST_PAIRS = 30
LEAST_GROUPS = 5
# A map with a step for each level of probability needs more labels than a map with one number.
ISOTONIC_FROM = 200
FOLDS = 5
# A stated 0 or 1 is taken for this sure: a judge without probabilities then gets its accuracy.
SUREST = 1.0 - 1e-6
STEEPEST = 20.0
BISECTIONS = 60
DIGITS = 10
# Equal-mass bins of the calibration error.
BINS = 15
# No held-out answer may cost infinity.
CLIP = 1e-6


class Cases(NamedTuple):
    """Pairs that the judge has a probability for and people took a side on, in the order of their ids.

    `prob_a` and `is_a` (0 or 1) are (n,), `weights` (above 0) and `groups` (of the prompts) too. `labels` counts all
    pairs that people answered, judged or not.
    """

    prob_a: Floats
    is_a: Floats
    weights: Floats
    groups: Strings
    labels: int


def calibrate(version: JudgeVersion, *, weights: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Fit, store and return the calibration of a judge version.

    Fitted to the pairs on which people's consensus is a or b and the judge has a probability, without those shown to
    it as examples. `weights` are by pair id, 1 where there is none: pairs that were not drawn evenly count by the
    inverse of their odds. A temperature, or from 200 pairs on a monotone map, where its log loss on held-out prompt
    groups is lower by more than a standard error. `..._before` and `..._after` are measured on the same pairs, after
    by the map of the fold that left the pair's group out. Raises `JudgeError` with too few labels; nothing is stored
    then.
    """
    fitted = fit(cases_of(version, weights or {}), seed=version.judge.project.seed)
    calibration = {**fitted, "fitted_at": timezone.now().isoformat()}
    JudgeVersion.objects.filter(pk=version.pk).update(calibration=calibration)
    version.calibration = calibration
    return calibration


def calibrated(version: JudgeVersion, prob_a: float) -> float:
    """Return the calibrated probability that a is better; the stated one where no map was fitted. Pure."""
    return apply_map(version.calibration, prob_a)


def apply_map(calibration: Mapping[str, Any], prob_a: float) -> float:
    """Return a probability under a stored map; that of the swapped responses is 1 less it."""
    parameters = calibration.get("parameters", {})
    if calibration.get("method") == "temperature":
        return 0.5 + 0.5 * math.tanh(parameters["slope"] * _log_odds(prob_a) / 2.0)
    if calibration.get("method") == "isotonic":
        mapped = _between(parameters["stated"], parameters["seen"], max(prob_a, 1.0 - prob_a))
        return mapped if prob_a >= 0.5 else 1.0 - mapped
    return prob_a


def cases_of(version: JudgeVersion, weights: Mapping[str, float]) -> Cases:
    """Return what a version's map is fitted to. Four queries."""
    # Frames show what the maps say.
    from judges.frames import judge_preference_frame

    project = version.judge.project
    people = consensus(vote_frame(project))
    judged = judge_preference_frame(project, [version]).sort_values("pair_id")
    side = judged["pair_id"].map(people["choice"])
    shown = {str(pair_id) for pair_id in example_pairs(version)}
    kept = judged[side.isin(["a", "b"]) & judged["prob_a"].notna() & ~judged["pair_id"].isin(shown)]
    return Cases(
        prob_a=kept["prob_a"].to_numpy(dtype=float),
        is_a=np.array([1.0 if one == "a" else 0.0 for one in side[kept.index]]),
        weights=np.array([weights.get(pair_id, 1.0) for pair_id in kept["pair_id"]], dtype=float),
        groups=kept["group"].to_numpy(dtype=object),
        labels=len(people),
    )


def fit(cases: Cases, *, seed: int = 0) -> dict[str, Any]:
    """Return the map of these cases with its figures, as JSON values. Raises `JudgeError` with too few labels."""
    groups = len(set(cases.groups))
    for n, least, what in ((len(cases.prob_a), LEAST_PAIRS, "pairs"), (groups, LEAST_GROUPS, "prompt groups")):
        if n < least:
            raise JudgeError(
                f"Calibration needs {least} {what} on which people took a side and the judge has a probability; there "
                f"are too few labels ({n} of {least}). Have people answer more pairs."
            )
    held_out = {"temperature": _held_out(cases, _temperature, seed)}
    method, fitter = "temperature", _temperature
    if len(cases.prob_a) >= ISOTONIC_FROM:
        held_out["isotonic"] = _held_out(cases, _isotonic, seed)
        if _is_lower(cases, held_out["isotonic"], held_out["temperature"]):
            method, fitter = "isotonic", _isotonic
    return {
        "method": method,
        "parameters": fitter(cases),
        "n": len(cases.prob_a),
        "groups": groups,
        "labels": cases.labels,
        "weighted": bool((cases.weights != cases.weights[0]).any()),
        "held_out_log_loss": {name: _round(_mean_loss(cases, prob)) for name, prob in held_out.items()},
        **_figures(cases, cases.prob_a, "before"),
        **_figures(cases, held_out[method], "after"),
    }


def calibration_error(prob_a: Floats, is_a: Floats, weights: Floats) -> float:
    """Return the expected calibration error of the larger of p and 1 - p over up to 15 bins of equal mass.

    ECE = sum_b w_b / W |share right_b - mean confidence_b| (Guo et al. 2017). Equal confidences share a bin.
    """
    confidence = np.maximum(prob_a, 1.0 - prob_a)
    right = np.where(prob_a == 0.5, 0.5, (prob_a > 0.5) == (is_a > 0.5)).astype(float)
    rows = pd.DataFrame({"confidence": confidence, "weight": weights}).sort_values("confidence", kind="stable")
    below = (rows["weight"].cumsum() - rows["weight"]).groupby(rows["confidence"]).transform("min")
    bins = (below * BINS / weights.sum()).astype(int).sort_index()
    gaps = pd.Series(weights * (right - confidence)).groupby(bins.to_numpy()).sum()
    return float(gaps.abs().sum() / weights.sum())


# --- Maps -----------------------------------------------------------------------------------------------------------


def _temperature(cases: Cases) -> dict[str, Any]:
    """Return the slope of the log-odds (1 / temperature) with the lowest weighted log loss, from 0 to 20.

    The loss is convex, so its derivative has one zero. Targets are Platt's, so that a judge that is always right does
    not become certain. A judge that is wrong more often than right gets 0: its answers say nothing.
    """
    z = np.array([_log_odds(prob) for prob in cases.prob_a])
    n = len(z)
    target = np.where(cases.is_a > 0.5, (n + 1) / (n + 2), 1 / (n + 2))

    def derivative(slope: float) -> float:
        p = 0.5 + 0.5 * np.tanh(slope * z / 2.0)
        return float(cases.weights @ ((p - target) * z))

    low, high = 0.0, STEEPEST
    if derivative(low) >= 0.0:
        return {"slope": 0.0, "temperature": None}
    if derivative(high) <= 0.0:
        return {"slope": high, "temperature": 1.0 / high}
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if derivative(middle) < 0.0 else (low, middle)
    slope = _round((low + high) / 2.0)
    return {"slope": slope, "temperature": _round(1.0 / slope) if slope else None}


def _isotonic(cases: Cases) -> dict[str, Any]:
    """Return the increasing map of confidence to share right, as points to interpolate, from (0.5, 0.5).

    Pool-adjacent-violators over the levels of confidence; below one half it is the mirror image, which is the isotonic
    fit to every pair seen both ways round.
    """
    sure = np.maximum(cases.prob_a, 1.0 - cases.prob_a)
    right = np.where(cases.prob_a == 0.5, 0.5, (cases.prob_a > 0.5) == (cases.is_a > 0.5)).astype(float)
    levels, inverse = np.unique(sure, return_inverse=True)
    mass = np.bincount(inverse, weights=cases.weights)
    hits = np.bincount(inverse, weights=cases.weights * right)
    # Blocks of [mass, hits, first level, last level].
    blocks: list[list[float]] = []
    for level, weight, hit in zip(levels, mass, hits, strict=True):
        blocks.append([float(weight), float(hit), float(level), float(level)])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][0] >= blocks[-1][1] * blocks[-2][0]:
            weight_2, hit_2, _, last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + weight_2, blocks[-1][1] + hit_2, blocks[-1][2], last]
    surest = 1.0 - 1.0 / (len(sure) + 2)
    stated, seen = [0.5], [0.5]
    for weight, hit, first, last in blocks:
        share = min(max(hit / weight, 0.5), surest)
        for level in (first, last) if last > first else (first,):
            if level > stated[-1]:
                stated.append(level)
                seen.append(share)
    return {"stated": [_round(one) for one in stated], "seen": [_round(one) for one in seen]}


def _log_odds(prob_a: float) -> float:
    margin = min(max(2.0 * prob_a - 1.0, 1.0 - 2.0 * SUREST), 2.0 * SUREST - 1.0)
    return 2.0 * math.atanh(margin)


def _between(stated: Sequence[float], seen: Sequence[float], sure: float) -> float:
    """Return the map's value at a confidence: linear between its points, level beyond the last."""
    place = bisect_right(stated, sure)
    if place == len(stated):
        return seen[-1]
    left, right = stated[place - 1], stated[place]
    return seen[place - 1] + (seen[place] - seen[place - 1]) * (sure - left) / (right - left)


# --- Choosing and measuring -----------------------------------------------------------------------------------------


def _held_out(cases: Cases, fitter: Callable[[Cases], dict[str, Any]], seed: int) -> Floats:
    """Return each case's probability under the map fitted without its prompt group's fold."""
    method = "temperature" if fitter is _temperature else "isotonic"
    fold = np.array([fold_of(str(group), seed, FOLDS) for group in cases.groups])
    prob = cases.prob_a.copy()
    for k in range(FOLDS):
        held, rest = fold == k, fold != k
        if not held.any() or not rest.any():
            continue
        others = Cases(cases.prob_a[rest], cases.is_a[rest], cases.weights[rest], cases.groups[rest], 0)
        fitted = {"method": method, "parameters": fitter(others)}
        prob[held] = [apply_map(fitted, one) for one in cases.prob_a[held]]
    return prob


def _is_lower(cases: Cases, prob: Floats, than: Floats) -> bool:
    """Say whether a log loss is lower by more than its standard error over prompt groups: on a tie it is not."""
    gain = cases.weights * (_losses(cases, than) - _losses(cases, prob))
    mean = gain.sum() / cases.weights.sum()
    _, inverse = np.unique(cases.groups.astype(str), return_inverse=True)
    rest = np.bincount(inverse, weights=gain - mean * cases.weights)
    error = math.sqrt((rest**2).sum() * len(rest) / (len(rest) - 1)) / cases.weights.sum()
    return bool(mean > error)


def _losses(cases: Cases, prob: Floats) -> Floats:
    p = np.clip(prob, CLIP, 1.0 - CLIP)
    return np.asarray(-np.log(np.where(cases.is_a > 0.5, p, 1.0 - p)))


def _mean_loss(cases: Cases, prob: Floats) -> float:
    return float(np.average(_losses(cases, prob), weights=cases.weights))


def _figures(cases: Cases, prob: Floats, when: str) -> dict[str, float]:
    return {
        f"ece_{when}": _round(calibration_error(prob, cases.is_a, cases.weights)),
        f"brier_{when}": _round(float(np.average((prob - cases.is_a) ** 2, weights=cases.weights))),
        f"log_loss_{when}": _round(_mean_loss(cases, prob)),
    }


def _round(value: float) -> float:
    return round(float(value), DIGITS)
