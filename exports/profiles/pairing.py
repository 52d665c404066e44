"""What all profiles of two responses share: winner and loser, and the columns that say where a row comes from."""

import json
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

from annotation.models import Choice
from exports.deciding import Entry, difficulty_of, margin_of, other_side, prob_of, score_of
from exports.leaving_out import LeftOut
from exports.profiles.columns import (
    COMPLETION,
    INTEGER,
    MAYBE_INTEGER,
    MAYBE_TEXT,
    MESSAGES,
    NUMBER,
    NUMBERS,
    REAL,
    SHARE,
    TERMS_KIND,
    TEXT,
    TEXTS,
    TRUTH,
    Column,
    Row,
    one_of,
)
from exports.profiles.contract import Build, Context
from exports.profiles.reasoning import Rationale, pick_rationale
from exports.records import PROTOCOL_MARK, Record, Side

PROMPT = Column("prompt", MESSAGES, "what the responses answer")
CHOSEN = Column("chosen", COMPLETION, "the better response")
REJECTED = Column("rejected", COMPLETION, "the other response")
MARGIN = Column(
    "margin", REAL, "what `chosen` leads by, in the unit that the settings name; in every row or none", "margin"
)
TOOLS = Column("tools", MAYBE_TEXT, "the tools that the prompt offers, as a JSON string", "tools")

IDENTITY = (
    Column("id", TEXT, "hash of prompt, both responses and external id; unique"),
    Column("content_id", TEXT, "the same without the external id: repeats of one content share it"),
    Column("prompt_id", TEXT, "hash of prompt and group"),
    Column("prompt_group", TEXT, "pairs of one group are on one side of the split"),
    Column("external_id", TEXT, "the pair's id in the imported file"),
    Column("source", TEXT, "the data set it comes from"),
    Column("community", TEXT, "community of its people, where the imported record names one"),
    Column("license", TEXT, "the imported record's licence, else the export's; empty where not known"),
    Column("language", TEXT, "language of the prompt, where known"),
    Column("category", TEXT, "category of the prompt, where known"),
    Column("context", TEXT, "material raters saw beside the prompt; not part of `prompt`"),
)
LABEL = (
    Column("label_source", one_of("human", "ai", "adjudicated"), "`human`, `ai` or `adjudicated`"),
    Column("n_votes", INTEGER, "people's answers that decided"),
    Column("agreement", SHARE, "share of those answers for the label (null without people)"),
    Column("aggregation", TEXT, "how people's votes became the label, as the project chose; empty without people"),
    Column("is_contested", TRUTH, "no answer has strictly most of people's votes"),
    Column("suspected_flip", TRUTH, "the label is not what most people said, or is likelier wrong than right"),
    Column("tie_broken", TRUTH, "people left it even and judges decided, as the export asked"),
    Column("is_gold", TRUTH, "its answer was known before: it tests people"),
    Column("is_example", TRUTH, "a judge's prompt or a practice pair shows it"),
    Column("prob", SHARE, "probability that `chosen` is preferred: share of votes, the method's, or the judge's"),
    Column("p_correct", SHARE, "probability that the label is right, where it can be told"),
    Column("strength", NUMBER, "mean strength, 1 slightly to 3 much better"),
    Column("score_chosen", NUMBER, "mean score of `chosen` over criteria: people's, else judges'"),
    Column("score_rejected", NUMBER, "the same of `rejected`"),
    Column("criteria", TEXTS, "criteria that the next two columns speak of"),
    Column("criteria_chosen", NUMBERS, "mean score of `chosen` on each of them"),
    Column("criteria_rejected", NUMBERS, "the same of `rejected`"),
    Column("difficulty", SHARE, "1 - |2 prob - 1|: 0 where nobody doubts it, 1 where it is even"),
    Column("curriculum_rank", INTEGER, "place among the rows of its prompt, 1 the easiest"),
    Column("len_chosen", INTEGER, "characters"),
    Column("len_rejected", INTEGER, "characters"),
    Column("pair_similarity", SHARE, "shared words over all words of both responses, 0 to 1"),
)
REASONS = (
    Column("rationale", TEXT, "why `chosen` won, by somebody who chose it; empty without one"),
    Column("rationale_source", one_of("person", "judge", "none"), "`person`, `judge` or `none`"),
    Column("rationale_origin", TEXT, "`live`, `recorded` or `simulated`; empty without a rationale"),
    Column("rationale_by", TEXT, "pseudonym of the person, or the judge; empty without a rationale"),
    Column("rationale_timing", TEXT, "`before` or `after` the choice; empty where not known"),
    Column("rationale_order", TEXT, "`chosen_first` or `rejected_first`: what its writer saw; empty where not known"),
)
PEOPLE = (
    Column("annotator_ids", TEXTS, "pseudonyms of the people who answered"),
    Column("annotator_choices", TEXTS, "`chosen`, `rejected`, `tie`, `both_bad` or `unsure`, in the same order"),
    Column("annotator_origins", TEXTS, "`live`, `recorded` or `simulated`, in the order of `annotator_ids`"),
    Column("basis", TEXTS, "how each was asked: `choice`, `ratings`, `ranking` or `best_worst`, in the same order"),
    Column("seconds", NUMBER, "median active seconds of those who were timed; an order's time is shared by its pairs"),
    Column("confidence", NUMBER, "mean of those who said how sure they were, 1 unsure to 3 sure"),
    Column("reasons_chosen", TEXTS, "reasons from the project's list that people marked for `chosen`, each once"),
    Column("reasons_rejected", TEXTS, "the same for `rejected`"),
    Column("content_flags", TEXTS, "what people marked the content with, each once"),
)
ORIGIN = (
    Column("judge", TEXT, "the judge whose label this is; empty where people's"),
    Column("judge_protocol", TEXT, "how that judge was asked"),
    Column("judge_version", MAYBE_INTEGER, "its version number"),
    Column("judge_prompt_hash", TEXT, "hash of its prompt; empty where not known"),
    Column("plan", TEXT, "the routing plan that decided about the pair; empty before any plan"),
    Column("route_source", TEXT, "`people`, `audit`, `second` or `ai` under that plan"),
    Column("is_audit", TRUTH, "drawn at random for people"),
    Column("selection_prob", SHARE, "probability under the plan that people are asked"),
    Column("p_wrong", SHARE, "the router's doubt about the judge's label"),
    Column("second_judge", TEXT, "the judge that was asked in doubt and answered the same; empty where none was"),
    Column("model_chosen", TEXT, "the model that wrote `chosen`"),
    Column("model_rejected", TEXT, "the model that wrote `rejected`"),
    Column("terms_chosen", TERMS_KIND, "whether others may train on that model's outputs, as the export was told"),
    Column("terms_rejected", TERMS_KIND, "the same of the model that wrote `rejected`"),
    Column("meta", TEXT, "what the imported record said beside this, as a JSON string"),
)
ABOUT = (*IDENTITY, *LABEL, *REASONS, *PEOPLE, *ORIGIN)
# What the narrower profiles keep: enough to join with the others, to weigh and to filter.
BRIEF_NAMES = (
    "id",
    "prompt_id",
    "external_id",
    "source",
    "license",
    "language",
    "label_source",
    "prob",
    "p_correct",
    "selection_prob",
)
BRIEF = tuple(column for column in ABOUT if column.name in BRIEF_NAMES)


class Won(NamedTuple):
    """A decided pair seen from its winner; `rank` is its place among the rows of its prompt, 1 the easiest."""

    entry: Entry
    winner: str
    rank: int
    row_id: str

    @property
    def record(self) -> Record:
        """The pair's record."""
        return self.entry.record

    @property
    def chosen(self) -> Side:
        """The better response."""
        return self.record.a if self.winner == Choice.A else self.record.b

    @property
    def rejected(self) -> Side:
        """The other response."""
        return self.record.b if self.winner == Choice.A else self.record.a


def each_winner(build: Callable[[Won, Context], Row | LeftOut]) -> Callable[[Context], Build]:
    """Return a profile's `start` from a function of one decided pair, seen from its winner."""

    def start(context: Context) -> Build:
        def rows(entries: Sequence[Entry]) -> Iterator[Row | LeftOut]:
            yield from (entry.decision.left_out for entry in entries if entry.decision.left_out)
            for won in winners_of(entries, context):
                yield build(won, context)

        return rows

    return start


def winners_of(entries: Sequence[Entry], context: Context) -> list[Won]:
    """Return the decided pairs of a prompt in their order, each ranked from easy to hard.

    The easier pair is the one that fewer doubt, then the one with the larger margin, then the less alike.
    """
    found = [
        (entry, winner, entry.record.id if len(entry.decision.winners) == 1 else f"{entry.record.id}-{number}")
        for entry in entries
        for number, winner in enumerate(entry.decision.winners, 1)
    ]

    def hardness(one: tuple[Entry, str, str]) -> tuple[float, float, float, str]:
        entry, winner, row_id = one
        difficulty = difficulty_of(entry.decision, winner)
        margin = margin_of(entry.record, entry.decision, winner, context.margin) if context.margin else None
        return (0.5 if difficulty is None else difficulty, -(margin or 0.0), entry.record.similarity, row_id)

    ranks = {row_id: rank for rank, (_, _, row_id) in enumerate(sorted(found, key=hardness), 1)}
    return [Won(entry, winner, ranks[row_id], row_id) for entry, winner, row_id in found]


def core(won: Won, context: Context) -> Row:
    """Return `prompt`, `chosen` and `rejected` as messages, with `margin` and `tools` where the export has them."""
    record = won.record
    row: Row = {"prompt": record.prompt, "chosen": won.chosen.messages, "rejected": won.rejected.messages}
    if context.margin:
        row["margin"] = margin_of(record, won.entry.decision, won.winner, context.margin)
    if context.has_tools:
        row["tools"] = record.tools or None
    return row


def about(won: Won, context: Context) -> Row:
    """Return the columns `ABOUT` of a row."""
    record, (label, *_), winner = won.record, won.entry.decision, won.winner
    assert label is not None  # noqa: S101  (a decided pair has a label)
    is_even = label.choice not in (Choice.A, Choice.B)
    rationale = Rationale() if is_even and not won.entry.decision.tie_broken else pick_rationale(record, winner)
    names = sorted({scores.criterion for scores in record.scores})
    return {
        **identity(record, won.row_id, context),
        "label_source": str(label.source),
        "n_votes": label.n_votes,
        "agreement": label.agreement,
        "aggregation": label.provenance.get("method", ""),
        "is_contested": label.provenance.get("contested", False),
        "suspected_flip": label.provenance.get("suspected_flip", False),
        "tie_broken": won.entry.decision.tie_broken,
        "is_gold": record.is_gold,
        "is_example": record.is_example,
        "prob": prob_of(won.entry.decision, winner),
        "p_correct": label.p_correct,
        "strength": label.strength,
        "score_chosen": score_of(record, winner),
        "score_rejected": score_of(record, other_side(winner)),
        "criteria": names,
        "criteria_chosen": [score_of(record, winner, name) for name in names],
        "criteria_rejected": [score_of(record, other_side(winner), name) for name in names],
        "difficulty": difficulty_of(won.entry.decision, winner),
        "curriculum_rank": won.rank,
        "len_chosen": len(won.chosen.text),
        "len_rejected": len(won.rejected.text),
        "pair_similarity": record.similarity,
        **rationale.columns(),
        **_people(record, winner),
        **_provenance(record.plan, label.provenance),
        "model_chosen": won.chosen.model,
        "model_rejected": won.rejected.model,
        "terms_chosen": context.settings.terms_of(won.chosen.model),
        "terms_rejected": context.settings.terms_of(won.rejected.model),
        "meta": json.dumps(record.meta, sort_keys=True, ensure_ascii=False),
    }


def identity(record: Record, row_id: str, context: Context) -> Row:
    """Return the columns `IDENTITY` of a row."""
    return {
        "id": row_id,
        "content_id": record.content_id,
        "prompt_id": record.prompt_id,
        "prompt_group": record.prompt_group,
        "external_id": record.external_id,
        "source": record.source,
        "community": record.community,
        "license": record.license or context.settings.license,
        "language": record.language,
        "category": record.category,
        "context": record.context,
    }


def _people(record: Record, winner: str) -> Row:
    """Return what the people who answered said."""
    timed = [vote.seconds for vote in record.votes if vote.seconds is not None]
    sure = [vote.confidence for vote in record.votes if vote.confidence is not None]
    marked = [one for vote in record.votes for one in vote.reasons]
    return {
        "annotator_ids": [vote.person for vote in record.votes],
        "annotator_choices": [_seen_from(winner, vote.choice) for vote in record.votes],
        "annotator_origins": [vote.origin for vote in record.votes],
        "basis": [vote.basis for vote in record.votes],
        "seconds": median(timed) if timed else None,
        "confidence": fmean(sure) if sure else None,
        "reasons_chosen": sorted({reason for side, reason in marked if side == winner}),
        "reasons_rejected": sorted({reason for side, reason in marked if side != winner}),
        "content_flags": sorted({flag for vote in record.votes for flag in vote.content_flags}),
    }


def _seen_from(winner: str, said: str) -> str:
    """Return what a person said of the row's chosen and rejected response."""
    if said not in {Choice.A, Choice.B}:
        return said
    return "chosen" if said == winner else "rejected"


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
