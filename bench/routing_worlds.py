"""Simulated projects whose truth is known: whether our figures hold as often as they say.

The world of docs/measuring.md: pairs with a confidence c ~ Beta(5, 2), a judge that is right with probability
.5 + .45 c, and a predictor that believes .5 + .4 c. Numpy only; tests run a small number of projects.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from routing.auditing.inferring import estimate_accuracy
from routing.plans.drawing import draw_pairs
from routing.predicting.scoring import Bools, Floats, auroc

PAIRS, AUDIT_SHARE, BUDGET = 4_000, 0.05, 0.25
# The reference design: people get 90 % of the least confident quarter and 5 % of the rest.
MOST_ODDS, LEAST_ODDS = 0.9, 0.05


class World(NamedTuple):
    """A project: where the judge is right (1 or 0), P(right) as believed, what was asked, and its odds."""

    right: Floats
    expected: Floats
    asked: Bools
    odds: Floats


def planned_world(rng: np.random.Generator, n: int = PAIRS) -> World:
    """Return a project whose pairs our own plan drew: 25 % of them, 5 % at random."""
    right, expected, _ = _pairs(rng, n)
    drawn = draw_pairs(1 - expected, asked=round(BUDGET * n), audited=round(AUDIT_SHARE * n), rng=rng)
    return World(right, expected, drawn.audit | drawn.people, drawn.selection_prob)


def reference_world(rng: np.random.Generator, n: int = PAIRS) -> World:
    """Return a project whose pairs were drawn one by one, by the odds of the reference."""
    right, expected, c = _pairs(rng, n)
    odds = np.where(c < np.quantile(c, 0.25), MOST_ODDS, LEAST_ODDS)
    return World(right, expected, rng.random(n) < odds, odds)


def _pairs(rng: np.random.Generator, n: int) -> tuple[Floats, Floats, Floats]:
    c = rng.beta(5, 2, n)
    right = (rng.random(n) < 0.5 + 0.45 * c).astype(float)
    return right, 0.5 + 0.4 * c, c


def simulate_coverage(n_projects: int, seed: int, *, n: int = PAIRS) -> dict[str, Any]:
    """Return how the 95 % intervals of the judge's accuracy did, for our plan and for the reference's design.

    For each: `covered` (share of intervals that hold the truth), `bias` and `naive_bias` (mean error in points, of our
    figure and of the plain share of right labels among the pairs asked), `width` (mean, points).
    """
    designs = {"plan": planned_world, "reference": reference_world}
    return {name: _covered(make, n_projects, seed, n) for name, make in designs.items()}


def _covered(make: Any, n_projects: int, seed: int, n: int) -> dict[str, float]:
    rows = np.zeros((n_projects, 4))
    for number in range(n_projects):
        world = make(np.random.default_rng([seed, number]), n)
        truth = world.right.mean()
        mean, low, high = estimate_accuracy(world.expected, world.right, world.asked, world.odds)
        rows[number] = low <= truth <= high, mean - truth, world.right[world.asked].mean() - truth, high - low
    covered, bias, naive, width = rows.mean(axis=0)
    return {
        "projects": n_projects,
        "covered": float(covered),
        "bias": float(100 * bias),
        "naive_bias": float(100 * naive),
        "width": float(100 * width),
    }


def simulate_narrowing(draws: int, seed: int, *, n: int = PAIRS, labels: int = 200) -> dict[str, float]:
    """Return what a judge's signals add to an audit slice: intervals with them and without, on the same labels.

    P(wrong) is calibrated, as spread as measured on real sets (`auroc` says how well it tells wrong from right), and
    the slice is drawn at random. `narrower` is by how much the mean width falls.
    """
    rows = np.zeros((draws, 4))
    everything = np.ones(n, dtype=bool)
    sharpness = []
    for number in range(draws):
        rng = np.random.default_rng([seed, number])
        p_wrong = rng.beta(0.3, 0.9, n)
        right = (rng.random(n) >= p_wrong).astype(float)
        asked = np.zeros(n, dtype=bool)
        asked[rng.choice(n, labels, replace=False)] = True
        odds = np.full(n, labels / n)
        _, low, high = estimate_accuracy(1 - p_wrong, right, asked, odds)
        _, low_alone, high_alone = estimate_accuracy(np.full(n, 0.5), right, asked, odds)
        truth = right.mean()
        rows[number] = low <= truth <= high, high - low, low_alone <= truth <= high_alone, high_alone - low_alone
        if number < 20:
            sharpness.append(auroc(p_wrong, everything & (right == 0)))
    covered, width, covered_alone, width_alone = rows.mean(axis=0)
    return {
        "draws": draws,
        "labels": labels,
        "auroc": float(np.mean(sharpness)),
        "covered": float(covered),
        "covered_people_only": float(covered_alone),
        "width": float(100 * width),
        "width_people_only": float(100 * width_alone),
        "narrower": float(1 - width / width_alone),
    }


if __name__ == "__main__":
    print(json.dumps({"coverage": simulate_coverage(500, 0), "narrowing": simulate_narrowing(1000, 0)}, indent=2))
