"""How the verdicts of one judge version on a pair become its one preference.

Probabilities are averaged over both orders before deciding, never decided per order and reconciled: a judge that leans
to the first response then cancels itself, and one that is only unsure keeps what it knew.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from annotation.models import Choice

# P(a is better) of a choice without a stated probability; "cannot judge" says nothing.
CHOICE_PROB_A = {Choice.A.value: 1.0, Choice.B.value: 0.0, Choice.TIE.value: 0.5, Choice.BOTH_BAD.value: 0.5}
# What a distribution over a pair's outcomes is of, in this order.
OUTCOMES = (Choice.A.value, Choice.TIE.value, Choice.B.value)
# Averages of decimal fractions miss 0.5 by rounding.
ROUNDING = 1e-9
# TrustJudge's code sharpens a distribution over scores by softmax(logit(p) / 0.2).
SHARPENING = 0.2


class VerdictValues(NamedTuple):
    """What one verdict says, in the stored order. `order` is 'ab', 'ba' or ''; `prob_a` may be unknown.

    `distribution` is over a, tie and b, where it was measured.
    """

    order: str
    choice: str
    prob_a: float | None = None
    distribution: Mapping[str, float] = {}


class Settled(NamedTuple):
    """One preference from several verdicts.

    `prob_a` is None where no verdict decides. `consistent` says whether all verdicts that decide prefer the same side,
    None where fewer than two do. `rationale_from` is the index of the first verdict that agrees with `choice`, None
    where none does (two orders that contradict each other and average to a tie). `prob_tie` is the mean probability of
    a tie, None where a verdict that decides has no distribution.
    """

    choice: str
    prob_a: float | None
    consistent: bool | None
    rationale_from: int | None
    prob_tie: float | None = None


def settle(verdicts: Sequence[VerdictValues], *, tie_band: float = 0.0, aggregation: str = "mean") -> Settled:
    """Return the preference that the answered verdicts of one pair and judge version give together.

    With `mean`, the choice stands where all agree. Otherwise a tie that is likelier than either side, by the mean of
    their distributions, is one; else the mean probability decides: above `0.5 + tie_band` is a, below `0.5 - tie_band`
    is b, between is a tie. With `likelihood` (TrustJudge, remedy 2) the likeliest outcome of the summed distributions
    is the choice, and a tie where the first leads the second by less than `tie_band`, as a mean of the orders. Verdicts
    of "unsure" are left out unless there is nothing else. Raises `ValueError` without a verdict.
    """
    if not verdicts:
        raise ValueError("A preference needs at least one verdict.")
    deciding = [verdict for verdict in verdicts if verdict.choice in CHOICE_PROB_A]
    if not deciding:
        return Settled(Choice.UNSURE.value, None, None, 0)
    prob_a = _mean([prob_a_of(verdict.choice, verdict.prob_a) for verdict in deciding])
    measured = all(verdict.distribution for verdict in deciding)
    prob_tie = _mean([verdict.distribution.get(Choice.TIE.value, 0.0) for verdict in deciding]) if measured else None
    choices = {verdict.choice for verdict in deciding}
    if aggregation == "likelihood":
        choice = _likeliest(mean_distribution(deciding), tie_band=tie_band)
    elif len(choices) == 1:
        choice = choices.pop()
    elif prob_tie is not None and prob_tie > max(prob_a, 1.0 - prob_a) - prob_tie / 2.0 + ROUNDING:
        choice = Choice.TIE.value
    else:
        choice = choice_of(prob_a, tie_band=tie_band)
    sides = {CHOICE_PROB_A[verdict.choice] for verdict in deciding}
    consistent = len(sides) == 1 if len(deciding) > 1 else None
    agreeing = (index for index, verdict in enumerate(verdicts) if verdict.choice == choice)
    return Settled(choice, prob_a, consistent, next(agreeing, None), prob_tie)


def prob_a_of(choice: str, prob_a: float | None) -> float:
    """Return the stated probability that a is better, or 1, 0.5 or 0 for a choice without one."""
    return CHOICE_PROB_A[choice] if prob_a is None else prob_a


def choice_of(prob_a: float, *, tie_band: float = 0.0) -> str:
    """Return a, b or tie for a probability that a is better."""
    margin = prob_a - 0.5
    if abs(margin) <= max(tie_band, ROUNDING):
        return Choice.TIE.value
    return Choice.A.value if margin > 0 else Choice.B.value


def distribution_of(verdict: VerdictValues) -> dict[str, float]:
    """Return a deciding verdict's distribution over a, tie and b: the measured one, or what its probability implies.

    An implied one has no tie unless a tie (or "both bad") was chosen, and then as much of it as the probability leaves.
    """
    if verdict.distribution:
        return {outcome: verdict.distribution.get(outcome, 0.0) for outcome in OUTCOMES}
    prob_a = prob_a_of(verdict.choice, verdict.prob_a)
    if CHOICE_PROB_A[verdict.choice] == 0.5:
        lead = 2.0 * prob_a - 1.0
        return {"a": max(lead, 0.0), "tie": 1.0 - abs(lead), "b": max(-lead, 0.0)}
    return {"a": prob_a, "tie": 0.0, "b": 1.0 - prob_a}


def mean_distribution(deciding: Sequence[VerdictValues]) -> dict[str, float]:
    """Return the mean over the verdicts of the distributions over a, tie and b. Raises `ValueError` without one."""
    found = [distribution_of(verdict) for verdict in deciding]
    return {outcome: _mean([one[outcome] for one in found]) for outcome in OUTCOMES}


def score_of(distribution: Mapping[str, float], scoring: str) -> float:
    """Return the score that a distribution over scores (`{"7": 0.6, "8": 0.4}`) stands for.

    `expectation`: its mean; `mode`: its likeliest score, the lower of two; `sharpened`: the mean under TrustJudge's
    softmax(logit(p) / 0.2). Raises `ValueError` for an empty distribution.
    """
    if not distribution:
        raise ValueError("A score needs a distribution.")
    if scoring == "mode":
        return float(min(distribution, key=lambda score: (-distribution[score], int(score))))
    weights = sharpened(distribution) if scoring == "sharpened" else distribution
    return sum(int(score) * weight for score, weight in weights.items()) / sum(weights.values())


def sharpened(distribution: Mapping[str, float]) -> dict[str, float]:
    """Return TrustJudge's softmax(logit(p) / 0.2) of a distribution over scores."""
    clipped = {score: min(max(one, ROUNDING), 1.0 - ROUNDING) for score, one in distribution.items()}
    logits = {score: math.log(one / (1.0 - one)) / SHARPENING for score, one in clipped.items()}
    highest = max(logits.values())
    weights = {score: math.exp(logit - highest) for score, logit in logits.items()}
    total = sum(weights.values())
    return {score: weight / total for score, weight in weights.items()}


class Compared(NamedTuple):
    """What two scores say about a pair: P(a is better) with half of a tie counted in, and P(tie)."""

    prob_a: float
    prob_tie: float


def compare_scores(
    score_a: float,
    score_b: float,
    *,
    distribution_a: Mapping[str, float] | None = None,
    distribution_b: Mapping[str, float] | None = None,
    scoring: str = "expectation",
) -> Compared:
    """Return what the scores of two responses, each judged alone, say about the pair.

    From both distributions where they are known (two independent draws), sharpened where the score is; else, and where
    the score is the mode, from the two scores alone.
    """
    if scoring == "mode" or not distribution_a or not distribution_b:
        if abs(score_a - score_b) <= ROUNDING:
            return Compared(0.5, 1.0)
        return Compared(1.0 if score_a > score_b else 0.0, 0.0)
    if scoring == "sharpened":
        distribution_a, distribution_b = sharpened(distribution_a), sharpened(distribution_b)
    ahead = equal = total = 0.0
    for one, share in distribution_a.items():
        for other, other_share in distribution_b.items():
            both = share * other_share
            total += both
            if one == other:
                equal += both
            elif int(one) > int(other):
                ahead += both
    return Compared(min(1.0, (ahead + equal / 2.0) / total), min(1.0, equal / total))


def prob_of_rewards(score_a: float, score_b: float) -> float:
    """Return P(a is better) of two scores of a reward model: the logistic function of their difference.

    The model of Bradley and Terry (1952), by whose likelihood such heads are trained (Ouyang et al. 2022, eq. 1).
    """
    return 0.5 + 0.5 * math.tanh((score_a - score_b) / 2.0)


def _likeliest(distribution: Mapping[str, float], *, tie_band: float) -> str:
    first, second, *_ = sorted(distribution.values(), reverse=True)
    if first - second <= ROUNDING or first - second < tie_band:
        return Choice.TIE.value
    return max(distribution, key=lambda outcome: distribution[outcome])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
