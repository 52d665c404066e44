"""What a row of a file means, before it is stored."""

from typing import Any, NamedTuple

from annotation.gilding import KnownAnswer
from annotation.models import Basis, Origin

Message = dict[str, str]


class RowProblem(Exception):
    """A row that cannot be stored: which field, and why. `field` may be '' for the row as a whole."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class RecordedAnswer(NamedTuple):
    """What a person answered on a pair, as a file records it. `ratings` holds a name, a's and b's score.

    `origin` is `recorded`, or `simulated` where the file says that a program answered. `reasons` are (side, reason).
    """

    rater: str
    choice: str
    strength: int | None = None
    rationale: str = ""
    shown_order: str = ""
    seconds: float | None = None
    criteria: tuple[tuple[str, str], ...] = ()
    ratings: tuple[tuple[str, float | None, float | None], ...] = ()
    meta: dict[str, Any] = {}
    origin: str = Origin.RECORDED
    timing: str = ""
    basis: str = Basis.CHOICE
    confidence: int | None = None
    reasons: tuple[tuple[str, str], ...] = ()
    content_flags: tuple[str, ...] = ()


class PairRecord(NamedTuple):
    """One pair of a file, checked. `record` is the row with its `judges[]` in the stored order, for consumers.

    `known` is the answer that makes the pair gold.
    """

    line: int
    external_id: str
    id_given: bool
    prompt: list[Message]
    response_a: list[Message]
    response_b: list[Message]
    prompt_hash: str
    hash_a: str
    hash_b: str
    group: str
    model_a: str
    model_b: str
    language: str
    category: str
    reference: str
    context: str
    source: str
    meta: dict[str, Any]
    answers: tuple[RecordedAnswer, ...]
    record: dict[str, Any]
    known: KnownAnswer | None = None

    @property
    def content(self) -> tuple[str, ...]:
        """What must be the same when the same id comes again."""
        return (self.prompt_hash, self.group, self.hash_a, self.hash_b, self.model_a, self.model_b)


class RejectedRow(NamedTuple):
    """A row that was not stored: the line it starts on (0: the file as a whole), the field ('': the row), and why."""

    line: int
    field: str
    reason: str


class Reading(NamedTuple):
    """What one row gave: its shape in words, its pairs, and remarks to be counted over the file."""

    shape: str
    pairs: list[PairRecord]
    remarks: list[str]
