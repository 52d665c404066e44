"""A person's last answers, as they see them: what the pair was and what they said."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from annotation.answering import choice_in_words
from annotation.leasing import ANSWERED
from annotation.models import Assignment, Rater
from annotation.questions import LETTERS
from annotation.submitting import CHANGEABLE

EXCERPT = 120


class Recent(NamedTuple):
    """One of the last answers."""

    assignment_id: UUID
    excerpt: str
    answer: str
    finished_at: datetime | None


def recent_answers(rater: Rater) -> list[Recent]:
    """Return a person's last answers that they may change, the newest first. One query."""
    mine = Assignment.objects.filter(rater=rater, state__in=ANSWERED).order_by("-finished_at")
    rows = mine.select_related("task__pair__prompt", "preference", "ranking")[:CHANGEABLE]
    return [Recent(row.pk, _excerpt(row.task.pair.prompt.messages), _in_words(row), row.finished_at) for row in rows]


def _excerpt(messages: list[dict[str, str]]) -> str:
    text = " ".join(messages[-1]["content"].split()) if messages else ""
    return text if len(text) <= EXCERPT else f"{text[: EXCERPT - 1]}…"


def _in_words(assignment: Assignment) -> str:
    """Say an answer by the letters that its person saw."""
    if assignment.ranking is not None:
        ranks = assignment.ranking.ranks
        shown = [
            (ranks[int(position)], letter) for position, letter in zip(assignment.shown_order, LETTERS, strict=False)
        ]
        steps = sorted({rank for rank, _letter in shown})
        return " > ".join(" = ".join(letter for rank, letter in shown if rank == step) for step in steps)
    return choice_in_words(assignment.preference, assignment.shown_order) if assignment.preference else ""
