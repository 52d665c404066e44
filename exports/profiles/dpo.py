"""The DPO profile: explicit conversational `prompt`, `chosen`, `rejected`, and flat columns beside them.

The prompt is never left implicit and never a string beside message lists: trainers guess wrongly about both.
"""

from collections.abc import Iterator, Sequence

from exports.deciding import Entry
from exports.leaving_out import LeftOut
from exports.profiles.columns import Row
from exports.profiles.contract import Build, Context, Profile
from exports.profiles.pairing import (
    ABOUT,
    CHOSEN,
    MARGIN,
    PROMPT,
    REJECTED,
    TOOLS,
    Won,
    about,
    core,
    each_winner,
    winners_of,
)

COLUMNS = (PROMPT, CHOSEN, REJECTED, MARGIN, TOOLS, *ABOUT)


def build_row(won: Won, context: Context) -> Row:
    """Return the row of a decided pair."""
    return {**core(won, context), **about(won, context)}


def _start_curriculum(context: Context) -> Build:
    def rows(entries: Sequence[Entry]) -> Iterator[Row | LeftOut]:
        yield from (entry.decision.left_out for entry in entries if entry.decision.left_out)
        for won in sorted(winners_of(entries, context), key=lambda won: won.rank):
            yield build_row(won, context)

    return rows


DPO = Profile("dpo", 3, "TRL's DPO, CPO and ORPO trainers", COLUMNS, each_winner(build_row))
REWARD = Profile(
    "reward", 2, "TRL's reward trainer, with a margin where every row has one", COLUMNS, each_winner(build_row)
)
CURRICULUM = Profile(
    "curriculum",
    2,
    "DPO from easy to hard (Curry-DPO): the pairs of a prompt in that order",
    COLUMNS,
    _start_curriculum,
)
