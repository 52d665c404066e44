"""What each signal is worth by itself, against the labels there are: what the page of signals shows."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from routing.predicting.scoring import Bools, Floats, Strings
from routing.signals.wording import COLUMN, DIFFERS, TAG, signal_of
from routing.studies.resampling import Ints, Levels, draw_groups

# With fewer pairs of either kind an AUROC is chance.
LEAST_WRONG = 20
LEAST_RIGHT = 20
RESAMPLES = 200
# A single signal that tells right from wrong this well has probably seen the answer.
SUSPICIOUS = 0.97
OWN = {
    "flipped",
    "asked_both_orders",
    "margin",
    "label_mass",
    "tie",
    "picked_first",
    "score_gap",
    "self_disagrees",
    "pick_form",
    "tie_form",
    "pairing_form",
    "pick_record",
    "group_flips",
    "length_pull",
}
JURY = {"other_judges", "prob_spread", "jury_margin", "group_disagreement", "learned_differs"}
KINDS = {
    "own": "The judge's own answers",
    "jury": "Other judges",
    "text": "The texts",
    "tag": "Tags of the prompt",
    "column": "Your columns",
}


class Surveyed(NamedTuple):
    """One signal: what it is, how far it is known, and how well it tells wrong from right by itself.

    `high` says whether a high value means "wrong more often": as expected, or, where `turned`, the other way, because
    these labels say so beyond doubt. `auroc` is in that direction, with its 95 % interval over prompt groups; 0.5 tells
    nothing. It is None where there are too few labels, and `too_few` says of what.
    """

    name: str
    kind: str
    example: str
    known: float
    high: bool
    n: int
    auroc: float | None
    low: float | None
    upper: float | None
    too_few: str = ""
    turned: bool = False

    @property
    def suspicious(self) -> bool:
        """Say whether it knows more than a signal can know."""
        return self.auroc is not None and self.auroc >= SUSPICIOUS


def survey_signals(
    signals: pd.DataFrame, rows: Bools, wrong: Bools, groups: Strings, *, judge: str, seed: int = 0
) -> list[Surveyed]:
    """Return what is known of each column of `signals` (n pairs), by kind and then the most telling first.

    `rows` (n,) marks the pairs that people answered, `wrong` and `groups` (m,) are theirs alone. Pure; the same seed
    gives the same intervals.
    """
    draws = list(draw_groups(groups, RESAMPLES, np.random.default_rng(seed))) if len(wrong) else []
    found = [_surveyed(str(name), signals[name].to_numpy(dtype=float), rows, wrong, draws, judge) for name in signals]
    order = list(KINDS)
    return sorted(found, key=lambda one: (order.index(one.kind), -(one.auroc or 0.0), one.name))


def kind_of(name: str) -> str:
    """Return where a signal comes from: a key of `KINDS`."""
    if name.startswith(TAG):
        return "tag"
    if name.startswith(COLUMN):
        return "column"
    if name in JURY or name.startswith(("others_", "judges_", DIFFERS)):
        return "jury"
    return "own" if name in OWN or name.startswith(("form_", "record_")) else "text"


def _surveyed(name: str, values: Floats, rows: Bools, wrong: Bools, draws: list[Ints], judge: str) -> Surveyed:
    signal = signal_of(name)
    known = ~np.isnan(values)
    labelled = known[rows]
    n, bad = int(labelled.sum()), int(wrong[labelled].sum())
    high = signal.direction > 0
    words = signal.words(_telling(values[known], high=high), judge)
    base = Surveyed(name, kind_of(name), words, float(known.mean()), high, n, None, None, None)
    if n == 0:
        return base._replace(too_few=f"too few labels (0 of {LEAST_WRONG + LEAST_RIGHT})")
    if bad < LEAST_WRONG:
        return base._replace(too_few=f"too few labels ({bad} of {LEAST_WRONG} where the judge is wrong)")
    if n - bad < LEAST_RIGHT:
        return base._replace(too_few=f"too few labels ({n - bad} of {LEAST_RIGHT} where the judge is right)")
    levels = Levels(signal.direction * values[rows][labelled], wrong[labelled])
    drawn = np.array([levels.auroc(counts[labelled]) for counts in draws])
    low, upper = np.nanquantile(drawn, [0.025, 0.975])
    value = levels.auroc(np.ones(n, dtype=np.int64))
    if upper >= 0.5:
        return base._replace(auroc=value, low=float(low), upper=float(upper))
    words = signal.words(_telling(values[known], high=not high), judge)
    return base._replace(
        example=words, high=not high, auroc=1 - value, low=float(1 - upper), upper=float(1 - low), turned=True
    )


def _telling(values: Floats, *, high: bool) -> float:
    """Return a value that speaks for a mistake, so that the sentence made of it says what to look for."""
    if set(np.unique(values)) <= {0.0, 1.0}:
        return float(high)
    return float(np.quantile(values, 0.9 if high else 0.1, method="nearest"))
