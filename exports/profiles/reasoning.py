"""Which reason goes with a label: always one that argues for it."""

from typing import NamedTuple

from annotation.models import Origin
from exports.records import PROTOCOL_MARK, Judgement, Record, Vote
from judges.models import JudgeKind


class Rationale(NamedTuple):
    """A reason for the label, and whose it is."""

    text: str = ""
    source: str = "none"
    origin: str = ""
    by: str = ""
    timing: str = ""
    order: str = ""

    def columns(self) -> dict[str, str]:
        """Return it as columns of a row."""
        return {
            "rationale": self.text,
            "rationale_source": self.source,
            "rationale_origin": self.origin,
            "rationale_by": self.by,
            "rationale_timing": self.timing,
            "rationale_order": self.order,
        }


def opposing_rationales(record: Record, choice: str) -> int:
    """Return how many reasons on a pair argue for another answer than `choice`: none of them is exported."""
    reasons: list[Vote | Judgement] = [*record.votes, *record.judgements]
    return sum(bool(reason.rationale.strip()) and reason.choice != choice for reason in reasons)


def pick_rationale(record: Record, choice: str) -> Rationale:
    """Return a reason by somebody who chose `choice`.

    People go before judges. Of several people the longest text counts, then the first by text; of several judges the
    one whose label it is, then the first by name.
    """
    people = [vote for vote in record.votes if vote.choice == choice and vote.rationale.strip()]
    if people:
        vote = min(people, key=lambda vote: (-len(vote.rationale), vote.rationale, vote.person))
        return Rationale(
            vote.rationale, "person", vote.origin, vote.person, vote.timing, _order(vote.shown_order, choice)
        )
    owner = record.label.provenance.get("judge", "") if record.label else ""
    judges = [one for one in record.judgements if one.choice == choice and one.rationale.strip()]
    if not judges:
        return Rationale()
    one = min(judges, key=lambda one: (_name(one) != owner, _name(one), one.version))
    origin = Origin.RECORDED if one.kind == JudgeKind.RECORDED else Origin.LIVE
    return Rationale(one.rationale, "judge", origin.value, _name(one), one.timing, _order(one.shown_order, choice))


def _name(judgement: Judgement) -> str:
    return f"{judgement.judge}{PROTOCOL_MARK}{judgement.protocol}" if judgement.protocol else judgement.judge


def _order(shown_order: str, choice: str) -> str:
    """Return what the writer of a rationale saw first, in terms of the row."""
    if not shown_order:
        return ""
    return "chosen_first" if shown_order.startswith(choice) else "rejected_first"
