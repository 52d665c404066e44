"""Two verdicts make one preference: the probabilities of both orders are averaged first, then the choice is made."""

import uuid

from annotation.models import Preference, RationaleTiming
from judges.averaging import VerdictValues, settle
from judges.models import JudgeVersion, Order, Verdict, VerdictState
from judges.questions import Protocol

# A judge whose two orders differ and whose mean ends within this distance of one half has not decided: a tie.
TIE_BAND = 0.05


def settle_pair(version: JudgeVersion, pair_id: uuid.UUID, *, tie_band: float = TIE_BAND) -> Preference | None:
    """Make the version's preference on a pair once all its orders are answered; None while they are not.

    An unchanged answer is left as it is, a changed one becomes a new row that replaces it. Caller holds a transaction
    with the pair's verdicts of this version locked.
    """
    verdicts = list(Verdict.objects.filter(version=version, pair_id=pair_id).order_by("order"))
    wanted = {Order.AB, Order.BA} if version.asks_both_orders else {Order.NONE}
    answered = [one for one in verdicts if one.state == VerdictState.DONE and one.order in wanted]
    if {one.order for one in answered} != wanted:
        return None
    values = [VerdictValues(one.order, one.choice, one.prob_a) for one in answered]
    # A rule sees no order and has no noise: any distance from one half decides.
    settled = settle(values, tie_band=tie_band if version.asks_both_orders else 0.0)
    current = (
        Preference.objects.select_for_update()
        .filter(pair_id=pair_id, rater=version.rater, criterion=None, is_current=True)
        .first()
    )
    speaker = None if settled.rationale_from is None else answered[settled.rationale_from]
    rationale = speaker.rationale if speaker else ""
    if current and (current.choice, current.prob_a, current.rationale) == (settled.choice, settled.prob_a, rationale):
        return current
    if current:
        Preference.objects.filter(pk=current.pk).update(is_current=False)
    seconds = [one.seconds for one in answered if one.seconds is not None]
    return Preference.objects.create(
        pair_id=pair_id,
        rater=version.rater,
        choice=settled.choice,
        prob_a=settled.prob_a,
        # A rationale speaks of "the first response": this is the order it was written in.
        shown_order=speaker.order if speaker and rationale else "",
        seconds=sum(seconds) if seconds else None,
        rationale=rationale,
        rationale_timing=_timing(version) if rationale else RationaleTiming.UNKNOWN,
        replaces=current,
        meta={} if settled.consistent is None else {"consistent": settled.consistent},
    )


def _timing(version: JudgeVersion) -> RationaleTiming:
    return RationaleTiming.BEFORE if version.protocol == Protocol.PAIRWISE else RationaleTiming.AFTER
