"""Which side of a pair won, under the settings of an export, or why the pair makes no row of two responses.

Every profile goes by this one decision, so that two profiles of a snapshot never disagree about a pair.
"""

from collections.abc import Mapping
from statistics import fmean
from typing import NamedTuple

from annotation.models import Choice, Origin
from exports.leaving_out import LeftOut
from exports.records import Record, Resolved
from exports.settings import SnapshotSettings
from exports.weighing import weigh
from routing.labels.resolving import NOT_GUARANTEED, SPLIT, WITHHELD
from routing.models import LabelSource

# Why a label without a choice makes no row, by the rule that left it open; else people disagree.
LEFT_OPEN = {WITHHELD: LeftOut.FLAGGED, SPLIT: LeftOut.JUDGES_SPLIT, NOT_GUARANTEED: LeftOut.NOT_GUARANTEED}


class Decision(NamedTuple):
    """The label an export goes by, the winning sides (two for a tie written both ways), or why there is none.

    `tie_broken` says that judges decided what people left even; `is_relabelled` and `is_fragile` that weights of
    criteria turned the label, and that nearby weights would.
    """

    label: Resolved | None
    winners: tuple[str, ...] = ()
    left_out: LeftOut | None = None
    tie_broken: bool = False
    is_relabelled: bool = False
    is_fragile: bool = False


class Entry(NamedTuple):
    """A record with the decision about it: what a profile is made from."""

    record: Record
    decision: Decision


def decide(record: Record, settings: SnapshotSettings, ranges: Mapping[str, float]) -> Decision:
    """Return the decision on a record. `ranges` is the largest difference of scores on each criterion."""
    if reason := _not_allowed(record, settings):
        return Decision(None, left_out=reason)
    label = record.label
    relabelled = fragile = False
    if settings.criterion_weights:
        weighed = weigh(record, settings.criterion_weights, ranges)
        if weighed is None:
            return Decision(None, left_out=LeftOut.NO_CRITERIA)
        label, relabelled, fragile = weighed
    if label is None:
        return Decision(None, left_out=LeftOut.NO_LABEL)
    if reason := _reason_against(record, label, settings):
        return Decision(label, left_out=reason)
    winners, tie_broken = _winners(record, label, settings)
    decision = Decision(label, winners, None, tie_broken, relabelled, fragile)
    if not winners:
        return Decision(label, left_out=LeftOut(label.choice))
    if settings.margin not in ("auto", "none") and margin_of(record, decision, winners[0], settings.margin) is None:
        return Decision(label, left_out=LeftOut.NO_MARGIN)
    return decision


def _not_allowed(record: Record, settings: SnapshotSettings) -> LeftOut | None:
    """Return why a pair may be in no file of this export, or None: its licence, or the terms of its models."""
    licence = record.license or settings.license
    if not settings.allows_licence(licence):
        return LeftOut.LICENCE if licence else LeftOut.LICENCE_UNKNOWN
    terms = {settings.terms_of(record.a.model), settings.terms_of(record.b.model)}
    if settings.terms_allowed != "any" and "restricted" in terms:
        return LeftOut.TERMS
    return LeftOut.TERMS_UNKNOWN if settings.terms_allowed == "free" and "unknown" in terms else None


def _winners(record: Record, label: Resolved, settings: SnapshotSettings) -> tuple[tuple[str, ...], bool]:
    """Return the sides that win, and whether judges broke a tie."""
    if label.choice in (Choice.A, Choice.B):
        return (str(label.choice),), False
    if settings.tie_rule == "both":
        return (Choice.A.value, Choice.B.value), False
    if settings.tie_rule == "judges" and (side := _judges_side(record)):
        return (side,), True
    return (), False


def _reason_against(record: Record, label: Resolved, settings: SnapshotSettings) -> LeftOut | None:
    """Return the first reason against a labelled record whatever its winner, or None."""
    if settings.gold_rule == "exclude" and (record.is_gold or record.is_example):
        return LeftOut.GOLD if record.is_gold else LeftOut.EXAMPLE
    if record.a.text == record.b.text:
        return LeftOut.IDENTICAL_TEXT
    if not label.choice:
        return LEFT_OPEN.get(label.provenance.get("rule", ""), LeftOut.CONTESTED)
    if label.choice == Choice.UNSURE:
        return LeftOut.UNSURE
    if label.choice == Choice.BOTH_BAD and settings.both_bad_rule == "drop":
        return LeftOut.BOTH_BAD
    if label.choice == Choice.TIE and settings.tie_rule == "drop":
        return LeftOut.TIE
    return _doubt(record, label, settings)


def _doubt(record: Record, label: Resolved, settings: SnapshotSettings) -> LeftOut | None:
    if label.source != LabelSource.AI:
        if not settings.include_simulated and any(vote.origin == Origin.SIMULATED for vote in record.votes):
            return LeftOut.SIMULATED_PEOPLE
        if label.agreement is not None and label.agreement < settings.min_agreement:
            return LeftOut.LOW_AGREEMENT
        if label.source == LabelSource.HUMAN and label.n_votes < settings.min_votes:
            return LeftOut.FEW_VOTES
    if label.p_correct is not None and label.p_correct < settings.min_p_correct:
        return LeftOut.LIKELY_WRONG
    return None


def _judges_side(record: Record) -> str:
    """Return the side that most judges take, each version once; nothing where they are even."""
    said = [judgement.choice for judgement in record.judgements]
    a, b = said.count(Choice.A), said.count(Choice.B)
    return "" if a == b else Choice.A.value if a > b else Choice.B.value


def prob_of(decision: Decision, winner: str) -> float | None:
    """Return the probability that `winner` is preferred; one half where a tie is written both ways."""
    label = decision.label
    if label is None or label.choice not in (Choice.A, Choice.B):
        return 0.5 if label else None
    if label.prob_a is None:
        return None
    return label.prob_a if winner == Choice.A else 1 - label.prob_a


def score_of(record: Record, side: str, criterion: str | None = None) -> float | None:
    """Return the mean score of a side on a criterion, or on all (None): people's, else judges'."""
    for people in (True, False):
        mine = [one for one in record.scores if one.is_person == people and criterion in (None, one.criterion)]
        found = [value for one in mine if (value := one.a if side == Choice.A else one.b) is not None]
        if found:
            return fmean(found)
    return None


def margin_of(record: Record, decision: Decision, winner: str, kind: str) -> float | None:
    """Return what the winner leads by: in mean strength, in mean score, or in probability (-1 to 1)."""
    label = decision.label
    if kind == "strength":
        if label is None or label.choice not in (Choice.A, Choice.B):
            return 0.0
        return label.strength
    if kind == "scores":
        chosen, rejected = score_of(record, winner), score_of(record, other_side(winner))
        return None if chosen is None or rejected is None else chosen - rejected
    prob = prob_of(decision, winner)
    return None if prob is None else 2 * prob - 1


def difficulty_of(decision: Decision, winner: str) -> float | None:
    """Return how close the pair is: 1 - |2 prob - 1|, from 0 (nobody doubts it) to 1 (even)."""
    prob = prob_of(decision, winner)
    return None if prob is None else 1 - abs(2 * prob - 1)


def other_side(side: str) -> str:
    """Return b for a, and a for b."""
    return Choice.B.value if side == Choice.A else Choice.A.value
