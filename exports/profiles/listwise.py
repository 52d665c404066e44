"""All responses to one prompt with their ranks, 0 the best: NeMo RL's preference data, and for listwise losses.

The ranks follow from the pairs' labels: a response ranks below every one it lost to; ties, and responses that beat
each other in a circle, share a rank. Responses that no chain of pairs connects are not comparable and make
rows of their own.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from annotation.models import Choice
from annotation.models.pairs import content_hash
from exports.deciding import Entry, prob_of, score_of
from exports.leaving_out import LeftOut
from exports.profiles.columns import COMPLETION, INTEGER, MESSAGES, NUMBERS, TEXT, TEXTS, Column, Row, list_of, several
from exports.profiles.contract import Build, Context, Profile
from exports.records import Side
from exports.settings import UNKNOWN_LICENCE

# Up to 15 every parser gives the number that was written.
DIGITS = 12
COLUMNS = (
    Column("context", MESSAGES, "what the responses answer"),
    Column("completions", list_of(rank=INTEGER, completion=COMPLETION), "the responses with their ranks, 0 the best"),
    Column("id", TEXT, "hash of the prompt and its responses; unique"),
    Column("prompt_id", TEXT, "hash of prompt and group"),
    Column("prompt_group", TEXT, "rows of one group are on one side of the split"),
    Column("source", TEXT, "the data set it comes from"),
    Column("license", TEXT, "the imported record's licence, else the export's; empty where not known"),
    Column("language", TEXT, "language of the prompt, where known"),
    Column("models", TEXTS, "the model that wrote each, in the order of `completions`"),
    Column("terms", TEXTS, "whether others may train on each model's outputs (`free`, `restricted`, `unknown`)"),
    Column("scores", NUMBERS, "mean score of each over criteria, where known"),
    Column("pairwise_probs", several(NUMBERS), "probability that the row's response beats the column's, where known"),
    Column("pairs", TEXTS, "`id` of the pairs behind it in the other profiles"),
    Column("label_source", TEXT, "`human`, `ai`, `adjudicated`, or `mixed`"),
)


class _Responses:
    """The responses of a prompt, numbered, and who beat whom."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.sides: list[Side] = []
        self.scores: list[float | None] = []
        self._numbers: dict[str, int] = {}
        self.pairs: list[tuple[int, int, Entry]] = []
        for entry in entries:
            a, b = (self._number(side, entry, name) for name, side in (("a", entry.record.a), ("b", entry.record.b)))
            self.pairs.append((a, b, entry))

    def _number(self, side: Side, entry: Entry, name: str) -> int:
        key = content_hash([side.messages, side.model])
        if key not in self._numbers:
            self._numbers[key] = len(self.sides)
            self.sides.append(side)
            self.scores.append(None)
        number = self._numbers[key]
        if self.scores[number] is None:
            self.scores[number] = score_of(entry.record, name)
        return number

    def ranks(self) -> list[int]:
        """Return a rank for each, by the longest way down to it."""
        beats = {pair for a, b, entry in self.pairs for pair in _beaten(a, b, entry)}
        level = _components(len(self.sides), beats, strong=True)
        above = {(level[one], level[other]) for one, other in beats if level[one] != level[other]}
        rank = dict.fromkeys(level, 0)
        # No circle is left between the levels, so this ends after as many rounds as the longest way has steps.
        changed = True
        while changed:
            changed = False
            for one, other in sorted(above):
                if rank[other] <= rank[one]:
                    rank[other], changed = rank[one] + 1, True
        return [rank[one] for one in level]

    def islands(self) -> list[int]:
        """Return for each the number of the group that pairs connect it with."""
        return _components(len(self.sides), {(a, b) for a, b, _ in self.pairs}, strong=False)


def build_rows(entries: Sequence[Entry], context: Context) -> Iterator[Row | LeftOut]:
    """Yield a row for each group of comparable responses to a prompt, and the reasons of the pairs without a say."""
    usable = []
    for entry in entries:
        if reason := _reason_against(entry):
            yield reason
        else:
            usable.append(entry)
    if not usable:
        return
    responses = _Responses(usable)
    ranks, islands = responses.ranks(), responses.islands()
    for island in sorted(set(islands)):
        members = [number for number, mine in enumerate(islands) if mine == island]
        mine = [entry for a, _, entry in responses.pairs if islands[a] == island]
        if len({ranks[number] for number in members}) == 1:
            # A tie, or a circle: there is nothing to learn an order from.
            reason = LeftOut.TIE if all(_is_tie(entry) for entry in mine) else LeftOut.IN_A_CYCLE
            yield from (reason for _ in mine)
        else:
            yield _row(responses, members, ranks, mine, context)


def _reason_against(entry: Entry) -> LeftOut | None:
    """Return why a pair says nothing about an order; a tie does say something."""
    reason = entry.decision.left_out
    return None if reason == LeftOut.TIE else reason


def _is_tie(entry: Entry) -> bool:
    return len(entry.decision.winners) != 1


def _beaten(a: int, b: int, entry: Entry) -> list[tuple[int, int]]:
    """Return who beat whom; a tie goes both ways."""
    if _is_tie(entry):
        return [(a, b), (b, a)]
    return [(a, b)] if entry.decision.winners[0] == Choice.A else [(b, a)]


def _components(size: int, edges: set[tuple[int, int]], *, strong: bool) -> list[int]:
    ordered = sorted(edges)
    rows, columns = ([one[0] for one in ordered], [one[1] for one in ordered])
    graph = coo_array((np.ones(len(ordered)), (rows, columns)), shape=(size, size))
    return [int(one) for one in connected_components(graph, connection="strong" if strong else "weak")[1]]


def _row(responses: _Responses, members: list[int], ranks: list[int], entries: list[Entry], context: Context) -> Row:
    keys = {number: content_hash(responses.sides[number].messages) for number in members}
    ordered = sorted(members, key=lambda number: (ranks[number], keys[number], responses.sides[number].model))
    # Levels that only other groups fill leave no gaps here.
    dense = {rank: place for place, (rank, _) in enumerate(groupby(ranks[number] for number in ordered))}
    record = entries[0].record
    sources = sorted({str(entry.decision.label.source) for entry in entries if entry.decision.label})
    return {
        "context": record.prompt,
        "completions": [
            {"rank": dense[ranks[number]], "completion": responses.sides[number].messages} for number in ordered
        ],
        "id": content_hash([record.prompt_id, [[keys[number], responses.sides[number].model] for number in ordered]]),
        "prompt_id": record.prompt_id,
        "prompt_group": record.prompt_group,
        "source": record.source,
        "license": _licence(entries, context),
        "language": record.language,
        "models": [responses.sides[number].model for number in ordered],
        "terms": [context.settings.terms_of(responses.sides[number].model) for number in ordered],
        "scores": [_rounded(responses.scores[number]) for number in ordered],
        "pairwise_probs": _probs(responses, ordered),
        "pairs": [entry.record.id for entry in entries],
        "label_source": sources[0] if len(sources) == 1 else "mixed",
    }


def _licence(entries: list[Entry], context: Context) -> str:
    """Return the licence of a list: that of all its pairs, or each of theirs."""
    found = sorted({entry.record.license or context.settings.license for entry in entries})
    return found[0] if len(found) == 1 else " AND ".join(one or UNKNOWN_LICENCE for one in found)


def _probs(responses: _Responses, ordered: list[int]) -> list[list[float | None]]:
    """Return the known probabilities; of a pair that was compared twice, the mean."""
    seen: dict[tuple[int, int], list[float]] = {}
    for a, b, entry in responses.pairs:
        prob = prob_of(entry.decision, Choice.A)
        if prob is not None:
            seen.setdefault((a, b), []).append(prob)
            seen.setdefault((b, a), []).append(1 - prob)
    means = {pair: _rounded(sum(probs) / len(probs)) for pair, probs in seen.items()}
    return [[means.get((one, other)) for other in ordered] for one in ordered]


def _rounded(value: float | None) -> float | None:
    """Return a number of a list in as many digits as every reader takes whole.

    `datasets` was seen to read probabilities of JSON lines by a parser that loses the last bit of 16 digits.
    """
    return None if value is None else round(value, DIGITS)


def _start(context: Context) -> Build:
    return lambda entries: build_rows(entries, context)


LISTWISE = Profile("listwise", 2, "NeMo RL, and losses over whole lists", COLUMNS, _start)
