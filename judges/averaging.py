"""How the verdicts of one judge version on a pair become its one preference.

Probabilities are averaged over both orders before deciding, never decided per order and reconciled: a judge that leans
to the first response then cancels itself, and one that is only unsure keeps what it knew.
"""

from collections.abc import Sequence
from typing import NamedTuple

from annotation.models import Choice

# P(a is better) of a choice without a stated probability; "cannot judge" says nothing.
CHOICE_PROB_A = {Choice.A.value: 1.0, Choice.B.value: 0.0, Choice.TIE.value: 0.5, Choice.BOTH_BAD.value: 0.5}
# Averages of decimal fractions miss 0.5 by rounding.
ROUNDING = 1e-9


class VerdictValues(NamedTuple):
    """What one verdict says, in the stored order. `order` is 'ab', 'ba' or ''; `prob_a` may be unknown."""

    order: str
    choice: str
    prob_a: float | None = None


class Settled(NamedTuple):
    """One preference from several verdicts.

    `prob_a` is None where no verdict decides. `consistent` says whether all verdicts that decide prefer the same side,
    None where fewer than two do. `rationale_from` is the index of the first verdict that agrees with `choice`, None
    where none does (two orders that contradict each other and average to a tie).
    """

    choice: str
    prob_a: float | None
    consistent: bool | None
    rationale_from: int | None


def settle(verdicts: Sequence[VerdictValues], *, tie_band: float = 0.0) -> Settled:
    """Return the preference that the answered verdicts of one pair and judge version give together.

    Where all choices agree they stand. Otherwise the mean probability decides: above `0.5 + tie_band` is a, below
    `0.5 - tie_band` is b, between is a tie. Verdicts of "unsure" are left out unless there is nothing else. Raises
    `ValueError` without a verdict.
    """
    if not verdicts:
        raise ValueError("A preference needs at least one verdict.")
    deciding = [verdict for verdict in verdicts if verdict.choice in CHOICE_PROB_A]
    if not deciding:
        return Settled(Choice.UNSURE.value, None, None, 0)
    probabilities = [prob_a_of(verdict.choice, verdict.prob_a) for verdict in deciding]
    prob_a = sum(probabilities) / len(probabilities)
    choices = {verdict.choice for verdict in deciding}
    choice = choices.pop() if len(choices) == 1 else choice_of(prob_a, tie_band=tie_band)
    sides = {CHOICE_PROB_A[verdict.choice] for verdict in deciding}
    consistent = len(sides) == 1 if len(deciding) > 1 else None
    agreeing = (index for index, verdict in enumerate(verdicts) if verdict.choice == choice)
    return Settled(choice, prob_a, consistent, next(agreeing, None))


def prob_a_of(choice: str, prob_a: float | None) -> float:
    """Return the stated probability that a is better, or 1, 0.5 or 0 for a choice without one."""
    return CHOICE_PROB_A[choice] if prob_a is None else prob_a


def choice_of(prob_a: float, *, tie_band: float = 0.0) -> str:
    """Return a, b or tie for a probability that a is better."""
    margin = prob_a - 0.5
    if abs(margin) <= max(tie_band, ROUNDING):
        return Choice.TIE.value
    return Choice.A.value if margin > 0 else Choice.B.value
