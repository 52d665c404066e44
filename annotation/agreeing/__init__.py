"""How far judgements agree: shares, chance-corrected coefficients, rating-ranking consistency, and their intervals.

Pure: frames in, named results out. Every figure comes with its n and an interval that resamples prompt groups, since
pairs of one prompt depend on each other. Where the data do not carry a figure, `Figure.too_few` says so instead.
`docs/reports.md` explains each number.
"""

from annotation.agreeing.coefficients import Coefficients, coefficients, interval_alpha
from annotation.agreeing.consistency import Consistency, cohen_kappa, consistency, sides_of_ratings
from annotation.agreeing.figures import (
    LEAST_GROUPS,
    LEAST_LABELS,
    LEVEL,
    ONE_ANSWER,
    POWER_Z,
    REPEATS,
    SIDE_OF,
    Figure,
    Interval,
    Z,
    cluster_bootstrap,
    share,
    too_few,
    wilson,
)
from annotation.agreeing.people import Agreement, agreement, answer_counts

__all__ = [
    "LEAST_GROUPS",
    "LEAST_LABELS",
    "LEVEL",
    "ONE_ANSWER",
    "POWER_Z",
    "REPEATS",
    "SIDE_OF",
    "Agreement",
    "Coefficients",
    "Consistency",
    "Figure",
    "Interval",
    "Z",
    "agreement",
    "answer_counts",
    "cluster_bootstrap",
    "coefficients",
    "cohen_kappa",
    "consistency",
    "interval_alpha",
    "share",
    "sides_of_ratings",
    "too_few",
    "wilson",
]
