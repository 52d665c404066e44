"""The DPO profile: explicit conversational `prompt`, `chosen`, `rejected`, and flat columns beside them.

The prompt is never left implicit and never a string beside message lists: trainers guess wrongly about both.
"""

import json
from statistics import fmean, median
from typing import Any, NamedTuple

from annotation.models import Choice, Origin
from exports.profiles.columns import INTEGER, MESSAGES, NUMBER, TEXT, TEXTS, TRUTH, Column, LeftOut, Row
from exports.reading import Judgement, Record, Vote
from exports.settings import SnapshotSettings
from routing.labels.resolving import NOT_GUARANTEED, SPLIT, WITHHELD
from routing.models import Label, LabelSource

COLUMNS = (
    Column("prompt", MESSAGES, "what the responses answer"),
    Column("chosen", MESSAGES, "the better response"),
    Column("rejected", MESSAGES, "the other response"),
    Column("id", TEXT, "hash of prompt, both responses and external id; unique"),
    Column("content_id", TEXT, "the same without the external id: repeats of one content share it"),
    Column("prompt_id", TEXT, "hash of prompt and group"),
    Column("prompt_group", TEXT, "pairs of one group are on one side of the split"),
    Column("external_id", TEXT, "the pair's id in the imported file"),
    Column("source", TEXT, "the data set it comes from"),
    Column("language", TEXT, "language of the prompt, where known"),
    Column("category", TEXT, "category of the prompt, where known"),
    Column("context", TEXT, "material raters saw beside the prompt; not part of `prompt`"),
    Column("label_source", TEXT, "`human`, `ai` or `adjudicated`"),
    Column("n_votes", INTEGER, "people's answers that decided"),
    Column("agreement", NUMBER, "share of those answers for `chosen` (null without people)"),
    Column("aggregation", TEXT, "how people's votes became the label, as the project chose; empty without people"),
    Column("is_contested", TRUTH, "no answer has strictly most of people's votes"),
    Column("suspected_flip", TRUTH, "the label is not what most people said, or is likelier wrong than right"),
    Column("prob", NUMBER, "probability that `chosen` is preferred: share of votes, the method's, or the judge's"),
    Column("p_correct", NUMBER, "probability that the label is right, where it can be told"),
    Column("strength", NUMBER, "mean strength, 1 slightly to 3 much better"),
    Column("len_chosen", INTEGER, "characters"),
    Column("len_rejected", INTEGER, "characters"),
    Column("pair_similarity", NUMBER, "shared words over all words of both responses, 0 to 1"),
    Column("rationale", TEXT, "why `chosen` won, by somebody who chose it; empty without one"),
    Column("rationale_source", TEXT, "`person`, `judge` or `none`"),
    Column("rationale_origin", TEXT, "`live`, `recorded` or `simulated`; empty without a rationale"),
    Column("rationale_by", TEXT, "pseudonym of the person, or the judge; empty without a rationale"),
    Column("rationale_timing", TEXT, "`before` or `after` the choice; empty where not known"),
    Column("rationale_order", TEXT, "`chosen_first` or `rejected_first`: what its writer saw; empty where not known"),
    Column("annotator_ids", TEXTS, "pseudonyms of the people who answered"),
    Column("annotator_choices", TEXTS, "`chosen`, `rejected`, `tie`, `both_bad` or `unsure`, in the same order"),
    Column("annotator_origins", TEXTS, "`live`, `recorded` or `simulated`, in the order of `annotator_ids`"),
    Column("basis", TEXTS, "how each was asked: `choice`, `ratings`, `ranking` or `best_worst`, in the same order"),
    Column("seconds", NUMBER, "median active seconds of those who were timed; an order's time is shared by its pairs"),
    Column("confidence", NUMBER, "mean of those who said how sure they were, 1 unsure to 3 sure"),
    Column("reasons_chosen", TEXTS, "reasons from the project's list that people marked for `chosen`, each once"),
    Column("reasons_rejected", TEXTS, "the same for `rejected`"),
    Column("content_flags", TEXTS, "what people marked the content with, each once"),
    Column("judge", TEXT, "the judge whose label this is; empty where people's"),
    Column("judge_protocol", TEXT, "how that judge was asked"),
    Column("judge_version", INTEGER, "its version number"),
    Column("judge_prompt_hash", TEXT, "hash of its prompt; empty where not known"),
    Column("plan", TEXT, "the routing plan that decided about the pair; empty before any plan"),
    Column("route_source", TEXT, "`people`, `audit` or `ai` under that plan"),
    Column("is_audit", TRUTH, "drawn at random for people"),
    Column("selection_prob", NUMBER, "probability under the plan that people are asked"),
    Column("p_wrong", NUMBER, "the router's doubt about the judge's label"),
    Column("second_judge", TEXT, "the judge that was asked in doubt and answered the same; empty where none was"),
    Column("model_chosen", TEXT, "the model that wrote `chosen`"),
    Column("model_rejected", TEXT, "the model that wrote `rejected`"),
    Column("meta", TEXT, "what the imported record said beside this, as a JSON string"),
)

PROTOCOL_MARK = " · "
# Why a label without a choice makes no row, by the rule that left it open; else people disagree.
LEFT_OPEN = {WITHHELD: LeftOut.FLAGGED, SPLIT: LeftOut.JUDGES_SPLIT, NOT_GUARANTEED: LeftOut.NOT_GUARANTEED}


class Rationale(NamedTuple):
    """A reason for the label, and whose it is."""

    text: str = ""
    source: str = "none"
    origin: str = ""
    by: str = ""
    timing: str = ""
    order: str = ""


def build_rows(record: Record, settings: SnapshotSettings) -> list[Row] | LeftOut:
    """Return the record's row (two for a tie under the rule "both"), or why it makes none."""
    label = record.label
    if label is None:
        return LeftOut.NO_LABEL
    if reason := why_left_out(record, label, settings):
        return reason
    if label.choice == Choice.TIE:
        return [_row(record, label, Choice.A, f"{record.id}-1"), _row(record, label, Choice.B, f"{record.id}-2")]
    return [_row(record, label, Choice(label.choice), record.id)]


def why_left_out(record: Record, label: Label, settings: SnapshotSettings) -> LeftOut | None:
    """Return the first reason against a labelled record, or None."""
    if record.a.text == record.b.text:
        return LeftOut.IDENTICAL_TEXT
    if not label.choice:
        return LEFT_OPEN.get(label.provenance.get("rule", ""), LeftOut.CONTESTED)
    if label.choice == Choice.TIE and settings.tie_rule == "drop":
        return LeftOut.TIE
    if label.choice in (Choice.BOTH_BAD, Choice.UNSURE):
        return LeftOut(label.choice)
    if label.source != LabelSource.AI:
        if not settings.include_simulated and any(vote.origin == Origin.SIMULATED for vote in record.votes):
            return LeftOut.SIMULATED_PEOPLE
        if label.agreement is not None and label.agreement < settings.min_agreement:
            return LeftOut.LOW_AGREEMENT
    return None


def opposing_rationales(record: Record) -> int:
    """Return how many reasons on a labelled pair argue for another answer than the label: none of them is exported."""
    choice = record.label.choice if record.label else ""
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
    origin = Origin.RECORDED if one.recorded else Origin.LIVE
    return Rationale(one.rationale, "judge", origin, _name(one), one.timing, _order(one.shown_order, choice))


def _name(judgement: Judgement) -> str:
    return f"{judgement.judge}{PROTOCOL_MARK}{judgement.protocol}" if judgement.protocol else judgement.judge


def _order(shown_order: str, choice: str) -> str:
    """Return what the writer of a rationale saw first, in terms of the row."""
    if not shown_order:
        return ""
    return "chosen_first" if shown_order.startswith(choice) else "rejected_first"


def _row(record: Record, label: Label, choice: Choice, row_id: str) -> Row:
    chosen, rejected = (record.a, record.b) if choice == Choice.A else (record.b, record.a)
    is_tie = label.choice == Choice.TIE
    rationale = Rationale() if is_tie else pick_rationale(record, choice)
    return {
        "prompt": record.prompt,
        "chosen": chosen.messages,
        "rejected": rejected.messages,
        "id": row_id,
        "content_id": record.content_id,
        "prompt_id": record.prompt_id,
        "prompt_group": record.prompt_group,
        "external_id": record.external_id,
        "source": record.source,
        "language": record.language,
        "category": record.category,
        "context": record.context,
        "label_source": label.source,
        "n_votes": label.n_votes,
        "agreement": label.agreement,
        "aggregation": label.provenance.get("method", ""),
        "is_contested": label.provenance.get("contested", False),
        "suspected_flip": label.provenance.get("suspected_flip", False),
        "prob": 0.5 if is_tie else _prob(label.prob_a, choice),
        "p_correct": label.p_correct,
        "strength": label.strength,
        "len_chosen": len(chosen.text),
        "len_rejected": len(rejected.text),
        "pair_similarity": record.similarity,
        "rationale": rationale.text,
        "rationale_source": rationale.source,
        "rationale_origin": rationale.origin,
        "rationale_by": rationale.by,
        "rationale_timing": rationale.timing,
        "rationale_order": rationale.order,
        "annotator_ids": [vote.person for vote in record.votes],
        "annotator_choices": [_seen_from(choice, vote.choice) for vote in record.votes],
        "annotator_origins": [vote.origin for vote in record.votes],
        **_told(record, choice),
        **_provenance(record.plan, label.provenance),
        "model_chosen": chosen.model,
        "model_rejected": rejected.model,
        "meta": json.dumps(record.meta, sort_keys=True, ensure_ascii=False),
    }


def _seen_from(choice: Choice, said: str) -> str:
    """Return what a person said of the row's chosen and rejected response."""
    if said not in {Choice.A, Choice.B}:
        return said
    return "chosen" if said == choice else "rejected"


def _told(record: Record, choice: Choice) -> Row:
    """Return what the people who answered said beside their choices."""
    timed = [vote.seconds for vote in record.votes if vote.seconds is not None]
    sure = [vote.confidence for vote in record.votes if vote.confidence is not None]
    marked = [one for vote in record.votes for one in vote.reasons]
    return {
        "basis": [vote.basis for vote in record.votes],
        "seconds": median(timed) if timed else None,
        "confidence": fmean(sure) if sure else None,
        "reasons_chosen": sorted({reason for side, reason in marked if side == choice}),
        "reasons_rejected": sorted({reason for side, reason in marked if side != choice}),
        "content_flags": sorted({flag for vote in record.votes for flag in vote.content_flags}),
    }


def _prob(prob_a: float | None, choice: Choice) -> float | None:
    if prob_a is None:
        return None
    return prob_a if choice == Choice.A else 1 - prob_a


def _provenance(plan: str, provenance: dict[str, Any]) -> dict[str, Any]:
    judge, _, protocol = provenance.get("judge", "").partition(PROTOCOL_MARK)
    return {
        "judge": judge,
        "judge_protocol": protocol,
        "judge_version": provenance.get("judge_version"),
        "judge_prompt_hash": provenance.get("prompt_hash") or "",
        "plan": plan,
        "route_source": provenance.get("route", ""),
        "is_audit": provenance.get("audit", False),
        "selection_prob": provenance.get("selection_prob"),
        "p_wrong": provenance.get("p_wrong"),
        "second_judge": provenance.get("second_judge", ""),
    }
