"""Calibration: a judge that says 80 % should agree with people in 80 of 100 cases."""

from typing import Any, NamedTuple

import pandas as pd

from annotation.agreeing import Figure, cluster_bootstrap, too_few
from judges.auditing.figures import LEAST_JUDGED, mean_of, share_of
from judges.auditing.reading import Ground

# Equal-mass bins of the calibration error.
BINS = 15
# A page shows fewer: each bin is then wide enough for an interval.
CURVE_BINS = 10


class ReliabilityBin(NamedTuple):
    """Preferences of about the same confidence: its mean, and how often people agree."""

    confidence: float
    right: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return the bin as JSON values."""
        return {"confidence": self.confidence, "right": self.right.as_dict()}


def calibration_error(
    prob_a: "pd.Series[float]", is_a: "pd.Series[bool]", groups: "pd.Series[Any]", *, seed: int = 0
) -> Figure:
    """Return the expected calibration error of stated probabilities that a is better, against people's a (or b).

    ECE = sum_b n_b / N |share right_b - mean confidence_b| over up to 15 bins of equal mass, confidence being the
    larger of p and 1 - p (Guo et al. 2017). Equal confidences share a bin. Biased upwards where bins are small.
    """
    known = prob_a.notna()
    n = int(known.sum())
    if n < LEAST_JUDGED:
        return too_few(n, LEAST_JUDGED, "labels")
    confidence, right = confidence_and_right(prob_a[known].astype(float), is_a[known])
    gaps = pd.get_dummies(_bins(confidence, BINS), dtype=float).mul(right - confidence, axis=0)
    parts = gaps.assign(cases=1.0)

    def error(sums: pd.DataFrame) -> "pd.Series[float]":
        return sums.drop(columns="cases").abs().sum(axis=1) / sums["cases"]

    value = float(error(parts.sum().to_frame().T).iloc[0])
    return Figure(value, n, cluster_bootstrap(parts, groups[known], error, seed=seed))


def reliability_curve(
    prob_a: "pd.Series[float]", is_a: "pd.Series[bool]", groups: "pd.Series[Any]", *, seed: int = 0
) -> list[ReliabilityBin]:
    """Return up to ten bins of equal mass by rising confidence; none with too few labels."""
    known = prob_a.notna()
    if int(known.sum()) < LEAST_JUDGED:
        return []
    confidence, right = confidence_and_right(prob_a[known].astype(float), is_a[known])
    rows = pd.DataFrame({"confidence": confidence, "right": right, "group": groups[known]})
    return [
        ReliabilityBin(float(of["confidence"].mean()), share_of(of["right"], of, seed))
        for _, of in rows.groupby(_bins(confidence, CURVE_BINS), sort=True)
    ]


def brier(labels: pd.DataFrame, ground: Ground, column: str = "prob_a") -> Figure:
    """Return the mean squared distance to people's vote share for a, ties counting half (lower is better)."""
    share = labels["pair_id"].map(ground.people["prob_a"]).astype(float)
    return mean_of((labels[column].astype(float) - share) ** 2, labels["group"], ground.seed)


def confidence_and_right(
    prob_a: "pd.Series[float]", is_a: "pd.Series[bool]"
) -> tuple["pd.Series[float]", "pd.Series[float]"]:
    """Return the larger of p and 1 - p, and 1.0 where that side is people's; at one half, half of it is right."""
    confidence = prob_a.clip(lower=0.5).where(prob_a >= 0.5, 1.0 - prob_a)
    # At one half both answers are as likely, so half of them count as right.
    right = (is_a.astype(bool) == (prob_a > 0.5)).astype(float).mask(prob_a == 0.5, 0.5)
    return confidence, right


def _bins(confidence: "pd.Series[float]", bins: int) -> "pd.Series[int]":
    ranks = confidence.rank(method="min") - 1
    return (ranks * bins // len(confidence)).astype(int)
