"""How often a judge agrees with people, from answers that were not drawn evenly."""

from typing import Any

import numpy as np
import pandas as pd

from annotation.aggregating import consensus, vote_frame
from annotation.models import Origin
from judges.models import JudgeVersion
from routing.models import Plan, RouteSource
from routing.reading import answers_of
from routing.scoring import Bools, Floats
from routing.trusting import judged_right

ANSWERS_NEEDED = 30
NORMAL_95 = 1.959963984540054


def estimate_accuracy(expected: Floats, right: Floats, answered: Bools, odds: Floats) -> tuple[float, float, float]:
    """Return the mean of `right` over all pairs and its 95 % interval, from the pairs that were answered.

    Augmented inverse-propensity estimate (Robins, Rotnitzky & Zhao 1994): mean of f + (y - f) * answered / odds, with
    f `expected`, P(right) of every pair. Its error stays small where f is good and it has no bias where f is not, as
    long as `odds` are the probabilities that pairs were answered with. `right` is read only where `answered`.
    """
    terms = expected + np.where(answered, (right - expected) / odds, 0.0)
    mean, error = float(terms.mean()), float(terms.std(ddof=1) / np.sqrt(len(terms)))
    return mean, max(0.0, mean - NORMAL_95 * error), min(1.0, mean + NORMAL_95 * error)


def judge_accuracy(plan: Plan, version: JudgeVersion | None = None) -> dict[str, Any]:
    """Return how often a judge (the plan's own by default) agrees with people over the pairs the plan was drawn from.

    Another judge is measured on the pairs it labelled, by the same draw, so there is no bias either way.
    `{"estimate", "low", "high", "answers", "from"}`, or `{"note": "too few labels (n of 30)"}`. Until every pair asked
    has an answer only the audit slice counts: it is drawn at random and its pairs are served in random order, while
    the router's are served most doubtful first. Contested pairs are left out. Four queries.
    """
    routes = list(
        plan.routes.exclude(p_wrong__isnull=True)
        .order_by("pair_id")
        .values_list("pair_id", "source", "p_wrong", "selection_prob")
    )
    asked = {str(pair_id) for pair_id, source, *_ in routes if source != RouteSource.AI}
    votes = vote_frame(plan.project, asked, origins=[Origin.LIVE, Origin.SIMULATED])
    people = consensus(votes)["choice"]
    contested = set(people.index[people == ""])
    own = JudgeVersion.objects.get(pk=plan.figures["judge"]["version_id"])
    judged = answers_of(version or own, [route[0] for route in routes])
    routes = [route for route in routes if route[0] in judged and str(route[0]) not in contested]
    ids = [str(route[0]) for route in routes]
    choices = pd.Series([judged[route[0]].choice for route in routes], index=ids, dtype=object)
    right = judged_right(choices, people.reindex(ids)).to_numpy(dtype=float)
    sources = np.array([route[1] for route in routes], dtype=object)
    answered = ~np.isnan(right) & (sources != RouteSource.AI)
    odds = np.array([route[3] for route in routes], dtype=float)
    complete = asked <= set(people.index)
    if not complete:
        answered &= sources == RouteSource.AUDIT
        odds = np.full(len(ids), answered.mean() if len(ids) else 0.0)
    if answered.sum() < ANSWERS_NEEDED or not (odds[answered] > 0).all():
        return {"note": f"too few labels ({int(answered.sum())} of {ANSWERS_NEEDED})"}
    # P(wrong) was predicted for the plan's own judge; for another its mean is the best guess for every pair.
    own_expected = 1 - np.array([route[2] for route in routes], dtype=float)
    expected = own_expected if version in (None, own) else np.full(len(ids), right[answered].mean())
    mean, low, high = estimate_accuracy(expected, right, answered, odds)
    source = "all pairs asked" if complete else "audit slice"
    return {"estimate": mean, "low": low, "high": high, "answers": int(answered.sum()), "from": source}
