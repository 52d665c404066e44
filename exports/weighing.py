"""Labels made again from answers and scores by criterion, under weights that a user of the data chose.

Directional Preference Alignment (Wang et al. 2024) trains on the same judgements under several weight vectors; here a
vector makes another label of every pair without a new judgement.
"""

from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean
from typing import NamedTuple

from annotation.models import Choice
from exports.records import Aspect, Record, Resolved, Scores
from routing.models import LabelSource

# Half a point on a scale of five is "slightly"; what a vote without a strength weighs.
PLAIN_STRENGTH = 1
STRONGEST = 3
# Weights this much larger or smaller are near: a label that they turn is fragile.
NEARBY = 0.2
EVEN = 1e-9


class Weighed(NamedTuple):
    """A label under weights, whether the label without them says otherwise, and whether nearby weights turn it."""

    label: Resolved
    is_relabelled: bool
    is_fragile: bool


def weigh(record: Record, weights: Mapping[str, float], ranges: Mapping[str, float]) -> Weighed | None:
    """Return the record's label under `weights`, or None where nobody judged it by a criterion with a weight.

    Each rater's preference by a criterion is from -1 (b much better) to 1: the choice times its strength (1 to 3, a
    third each; 1 where it was not said), or the difference of their scores over `ranges[criterion]`, the largest
    difference in the project. A rater prefers the side of the weighted sum; the label is the side of the mean over
    raters. People's go first; judges count where no person judged by criterion.
    """
    for people in (True, False):
        if views := _views(record, people, weights, ranges):
            return _label(record, views, weights, people)
    return None


def _views(
    record: Record, people: bool, weights: Mapping[str, float], ranges: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Return each rater's preference by criterion, from -1 to 1."""
    views: dict[str, dict[str, float]] = defaultdict(dict)
    for scores in record.scores:
        found = _of_scores(scores, ranges)
        if scores.is_person == people and weights.get(scores.criterion) and found is not None:
            views[scores.by][scores.criterion] = found
    for aspect in record.aspects:
        if aspect.is_person == people and weights.get(aspect.criterion) and aspect.choice != Choice.UNSURE:
            views[aspect.by][aspect.criterion] = _of_aspect(aspect)
    return views


def _of_scores(scores: Scores, ranges: Mapping[str, float]) -> float | None:
    if scores.a is None or scores.b is None:
        return None
    span = ranges.get(scores.criterion, 0.0)
    return (scores.a - scores.b) / span if span else 0.0


def _of_aspect(aspect: Aspect) -> float:
    sign = {Choice.A: 1, Choice.B: -1}.get(Choice(aspect.choice), 0)
    return sign * (aspect.strength or PLAIN_STRENGTH) / STRONGEST


def _label(
    record: Record, views: Mapping[str, Mapping[str, float]], weights: Mapping[str, float], people: bool
) -> Weighed:
    sums = [_sum(view, weights) for view in views.values()]
    choice = _side(fmean(sums))
    sides = [_side(one) for one in sums]
    share_a = fmean({Choice.A: 1.0, Choice.B: 0.0}.get(side, 0.5) for side in sides)
    provenance = dict(record.label.provenance) if record.label else {}
    # What a person or a judge said of the whole is no source of this label.
    for name in ("judge", "judge_version", "prompt_hash", "suspected_flip", "second_judge"):
        provenance.pop(name, None)
    label = Resolved(
        source=LabelSource.HUMAN if people else LabelSource.AI,
        choice=choice,
        prob_a=share_a,
        p_correct=None,
        strength=None,
        n_votes=len(sums) if people else 0,
        agreement=sides.count(choice) / len(sides) if people else None,
        provenance={**provenance, "method": "criterion_weights", "contested": False},
    )
    return Weighed(
        label, record.label is not None and record.label.choice != choice, _is_fragile(views, weights, choice)
    )


def _is_fragile(views: Mapping[str, Mapping[str, float]], weights: Mapping[str, float], choice: Choice) -> bool:
    for name, weight in weights.items():
        for factor in (1 - NEARBY, 1 + NEARBY):
            near = {**weights, name: weight * factor}
            if _side(fmean(_sum(view, near) for view in views.values())) != choice:
                return True
    return False


def _sum(view: Mapping[str, float], weights: Mapping[str, float]) -> float:
    return sum(weights[name] * value for name, value in sorted(view.items()))


def _side(value: float) -> Choice:
    if abs(value) < EVEN:
        return Choice.TIE
    return Choice.A if value > 0 else Choice.B
