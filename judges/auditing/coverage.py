"""How right a judge is where it is sure: by band of confidence, and over the share of pairs that it keeps."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing import Figure, share
from judges.auditing.calibration import confidence_and_right
from judges.auditing.figures import LEAST_JUDGED, ratio_of

BAND_EDGES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
STEPS = 20
SLACK = 1e-9


class Band(NamedTuple):
    """The preferences whose confidence lies from `low` to below `high` (the last band includes 1)."""

    low: float
    high: float
    right: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return the band as JSON values."""
        return {"low": self.low, "high": self.high, "right": self.right.as_dict()}


class CoveragePoint(NamedTuple):
    """Keeping the surest `coverage` of the pairs, those of at least `confidence`: how often people agree."""

    coverage: float
    confidence: float
    right: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return the point as JSON values."""
        return {"coverage": self.coverage, "confidence": self.confidence, "right": self.right.as_dict()}


class CoverageCurve(NamedTuple):
    """Accuracy over coverage, surest first, and the area below it (the mean accuracy over all coverages)."""

    points: list[CoveragePoint]
    area: Figure


def bands(decided: pd.DataFrame, seed: int, column: str = "prob_a") -> list[Band]:
    """Return the accuracy by band of confidence, of rows with `people`, `group` and a probability."""
    rows = _surest_first(decided, column)
    inner = rows["confidence"].to_numpy() + SLACK
    place = np.clip(np.searchsorted(BAND_EDGES, inner, side="right") - 1, 0, len(BAND_EDGES) - 2)
    return [
        Band(low, high, share(rows["right"][place == index], rows["group"][place == index], seed=seed))
        for index, (low, high) in enumerate(pairwise(BAND_EDGES))
    ]


def coverage_curve(decided: pd.DataFrame, seed: int, column: str = "prob_a") -> CoverageCurve:
    """Return the coverage-accuracy curve in steps of 5 %. Pairs of equal confidence are kept or left together."""
    rows = _surest_first(decided, column)
    n = len(rows)
    if n < LEAST_JUDGED:
        return CoverageCurve([], Figure(None, n, too_few=f"too few labels ({n} of {LEAST_JUDGED})"))
    ends = rows["confidence"].value_counts().sort_index(ascending=False).cumsum()
    wanted = np.ceil(np.arange(1, STEPS + 1) / STEPS * n)
    cuts = sorted({int(ends[ends >= least].iloc[0]) for least in wanted})
    points = [
        CoveragePoint(
            cut / n,
            float(rows["confidence"].iloc[cut - 1]),
            share(rows["right"].iloc[:cut], rows["group"].iloc[:cut], seed=seed),
        )
        for cut in cuts
    ]
    return CoverageCurve(points, _area(rows, cuts, seed))


def _area(rows: pd.DataFrame, cuts: list[int], seed: int) -> Figure:
    """Return the area: accuracies at the cuts, each weighed by the pairs that its step adds."""
    step = np.searchsorted(cuts, np.arange(len(rows)), side="right")
    parts = pd.DataFrame(
        {
            **{f"right {k}": np.where(step == k, rows["right"], 0.0) for k in range(len(cuts))},
            **{f"cases {k}": (step == k).astype(float) for k in range(len(cuts))},
        },
        index=rows.index,
    )

    def area(sums: pd.DataFrame) -> "pd.Series[float]":
        hits = sums[[f"right {k}" for k in range(len(cuts))]].cumsum(axis=1).to_numpy()
        cases = sums[[f"cases {k}" for k in range(len(cuts))]].to_numpy()
        kept = np.maximum(cases.cumsum(axis=1), 1.0)
        return pd.Series((hits / kept * cases).sum(axis=1) / cases.sum(axis=1))

    return ratio_of(parts, rows["group"], area, len(rows), seed)


def _surest_first(decided: pd.DataFrame, column: str) -> pd.DataFrame:
    known = decided[decided[column].notna()]
    confidence, right = confidence_and_right(known[column].astype(float), known["people"] == "a")
    # Sums in another order must not part what is equal.
    frame = pd.DataFrame({"confidence": confidence.round(9), "right": right, "group": known["group"]})
    return frame.sort_values("confidence", ascending=False, kind="stable")
