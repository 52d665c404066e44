"""Unpaired thumbs for KTO: a response and whether it is desirable.

The winner of a decided pair is desirable and the loser is not, as TRL's own unpairing has it. Of "both bad" neither is.
A tie says nothing absolute: with `good_from` its responses are desirable from that mean score on; otherwise it is left
out, with a count.
"""

from collections.abc import Iterator

from annotation.models import Choice
from exports.deciding import Entry, score_of
from exports.leaving_out import LeftOut
from exports.profiles.columns import COMPLETION, INTEGER, NUMBER, TERMS_KIND, TEXT, TRUTH, Column, Row, one_of
from exports.profiles.contract import Context, Profile, each_pair
from exports.profiles.pairing import IDENTITY, LABEL, PROMPT, TOOLS, identity

RULES = ("pair", "both_bad", "score")
LABEL_NAMES = ("label_source", "n_votes", "agreement", "p_correct", "is_gold", "is_example")
COLUMNS = (
    PROMPT,
    Column("completion", COMPLETION, "the response"),
    Column("label", TRUTH, "whether it is desirable"),
    TOOLS,
    *IDENTITY,
    Column("pair", TEXT, "`id` of the pair in the other profiles"),
    Column("label_rule", one_of(*RULES), "`pair`: won or lost; `both_bad`; `score`: a tie, by `good_from`"),
    Column("score", NUMBER, "mean score over criteria: people's, else judges'"),
    Column("length", INTEGER, "characters"),
    Column("model", TEXT, "the model that wrote it"),
    Column("terms", TERMS_KIND, "whether others may train on that model's outputs, as the export was told"),
    *(column for column in LABEL if column.name in LABEL_NAMES),
    Column("selection_prob", NUMBER, "probability under the plan that people are asked"),
)


def build_rows(entry: Entry, context: Context) -> Iterator[Row | LeftOut]:
    """Yield a row for each response of a pair, or why there is none."""
    decided = _desirable(entry, context)
    if isinstance(decided, LeftOut):
        yield decided
        return
    rule, desirable = decided
    for side in ("a", "b"):
        yield _row(entry, side, rule, side in desirable, context)


def _desirable(entry: Entry, context: Context) -> tuple[str, tuple[str, ...]] | LeftOut:
    """Return the rule and the desirable sides."""
    decision = entry.decision
    if decision.label is not None and decision.label.choice == Choice.BOTH_BAD:
        if decision.left_out in (None, LeftOut.BOTH_BAD):
            return "both_bad", ()
    elif (
        decision.label is not None
        and decision.label.choice == Choice.TIE
        and not decision.tie_broken
        and decision.left_out in (None, LeftOut.TIE)
    ):
        return _by_score(entry, context)
    return decision.left_out or ("pair", decision.winners)


def _by_score(entry: Entry, context: Context) -> tuple[str, tuple[str, ...]] | LeftOut:
    good_from = context.settings.good_from
    scores = {side: score_of(entry.record, side) for side in ("a", "b")}
    if good_from is None or None in scores.values():
        return LeftOut.TIE
    return "score", tuple(side for side, score in scores.items() if score is not None and score >= good_from)


def _row(entry: Entry, side: str, rule: str, is_desirable: bool, context: Context) -> Row:
    record, label = entry.record, entry.decision.label
    assert label is not None  # noqa: S101  (a decided pair has a label)
    response = record.a if side == Choice.A else record.b
    row = {
        "prompt": record.prompt,
        "completion": response.messages,
        "label": is_desirable,
        **identity(record, f"{record.id}-{side}", context),
        "pair": record.id,
        "label_rule": rule,
        "score": score_of(record, side),
        "length": len(response.text),
        "model": response.model,
        "terms": context.settings.terms_of(response.model),
        "label_source": str(label.source),
        "n_votes": label.n_votes,
        "agreement": label.agreement,
        "p_correct": label.p_correct,
        "is_gold": record.is_gold,
        "is_example": record.is_example,
        "selection_prob": label.provenance.get("selection_prob"),
    }
    return {**row, "tools": record.tools or None} if context.has_tools else row


KTO = Profile("kto", 2, "TRL's KTO trainer, and others that take unpaired thumbs", COLUMNS, each_pair(build_rows))
