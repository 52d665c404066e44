"""Reasons beside the winners, and as a task of their own.

`rationale` is for losses that add the reason's likelihood. `rationale_sft` asks a model which of two responses is
better and why. Its order of the responses is drawn anew for each row and recorded, with the chosen response first in
half of the rows, so that the place gives nothing away; hence a reason that names a response by its place ("Assistant
1", "the second response") makes no row there.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence

from exports.deciding import Entry
from exports.leaving_out import LeftOut
from exports.profiles.columns import MESSAGES, Column, Row, one_of
from exports.profiles.contract import Build, Context, Profile
from exports.profiles.dpo import build_row
from exports.profiles.pairing import (
    ABOUT,
    BRIEF,
    CHOSEN,
    MARGIN,
    PROMPT,
    REASONS,
    REJECTED,
    TOOLS,
    Won,
    about,
    each_winner,
    winners_of,
)
from exports.profiles.reasoning import opposing_rationales
from exports.records import as_text

COLUMNS = (PROMPT, CHOSEN, REJECTED, MARGIN, TOOLS, *ABOUT)
SFT_COLUMNS = (
    Column("messages", MESSAGES, "the question with both responses, and the reason with the winner's letter"),
    Column("order", one_of("chosen_first", "rejected_first"), "which response stands first; drawn anew for each row"),
    *BRIEF,
    *REASONS,
)
# How far chance may lead before the next rows make it good; 8 of 1,000 rows is below one percent.
MOST_UNEVEN = 8

_THINGS = r"(?:assistant|response|answer|model|option|output|summary|completion|candidate|text|reply|story|system)"
_NAMES = r"(?:\#?\s*[12]\b|one\b|two\b|[ab]\b|\(?[ab]\))"
_ORDINALS = r"(?:first|second|1st|2nd|former|latter|left|right|top|bottom|upper|lower)"
# A letter alone, or an ordinal before a thing (or before "one"), names a place; "first, it explains ..." does not.
NAMES_A_PLACE = re.compile(
    rf"\b{_THINGS}s?\s*['\"]?{_NAMES}"
    rf"|\b{_ORDINALS}\s+(?:\w+\s+)?(?:{_THINGS}|one)\b"
    r"|\bthe\s+(?:former|latter|first|second)\b"
    r"|\b(?-i:B)\b"
    r"|(?<![\w'])(?-i:A)(?:'s)?\s+(?:is|was|has|does|did|gives?|gave|provides?|offers?|explains?|answers?|wins|and|or|vs)\b"
    r"|\bthan\s+(?-i:A)\b"
    r"|\b[12]\s+(?:is|was)\s+(?:better|worse|more|less)\b",
    re.IGNORECASE,
)
TASK = (
    "Two responses to the same prompt follow. Say which is better and why.\n\n"
    "# Prompt\n\n{prompt}\n\n# Response A\n\n{first}\n\n# Response B\n\n{second}"
)
VERDICT = "{reason}\n\nBetter response: {letter}"


def build_rationale(won: Won, context: Context) -> Row | LeftOut:
    """Return the row of a pair whose winner somebody gave a reason for."""
    row = build_row(won, context)
    return row if row["rationale"] else _why_without(won)


def _why_without(won: Won) -> LeftOut:
    return LeftOut.OPPOSING_RATIONALE if opposing_rationales(won.record, won.winner) else LeftOut.NO_RATIONALE


class Coin:
    """Draws which response stands first: by hashing, but never so that one order leads by more than 8 rows."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._lead = 0

    def chosen_first(self, row_id: str) -> bool:
        """Draw for a row."""
        digest = hashlib.sha256(f"order\x1f{self._seed}\x1f{row_id}".encode()).digest()
        first = digest[0] % 2 == 0 if abs(self._lead) < MOST_UNEVEN else self._lead < 0
        self._lead += 1 if first else -1
        return first


def _start_sft(context: Context) -> Build:
    coin = Coin(context.settings.seed)

    def rows(entries: Sequence[Entry]) -> Iterator[Row | LeftOut]:
        yield from (entry.decision.left_out for entry in entries if entry.decision.left_out)
        for won in winners_of(entries, context):
            yield _sft_row(won, context, coin)

    return rows


def _sft_row(won: Won, context: Context, coin: Coin) -> Row | LeftOut:
    told = about(won, context)
    reason = told["rationale"].strip()
    if not reason:
        return _why_without(won)
    if NAMES_A_PLACE.search(reason):
        return LeftOut.NAMES_A_PLACE
    first = coin.chosen_first(won.row_id)
    sides = (won.chosen, won.rejected) if first else (won.rejected, won.chosen)
    question = TASK.format(prompt=as_text(won.record.prompt), first=sides[0].text, second=sides[1].text)
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": VERDICT.format(reason=reason, letter="A" if first else "B")},
        ],
        "order": "chosen_first" if first else "rejected_first",
        **{column.name: told[column.name] for column in (*BRIEF, *REASONS)},
    }


RATIONALE = Profile(
    "rationale", 2, "losses that add the likelihood of the reason", COLUMNS, each_winner(build_rationale)
)
RATIONALE_SFT = Profile("rationale_sft", 1, "fine-tuning a judge on reasons, in random order", SFT_COLUMNS, _start_sft)
