"""What must hold after a fault, counted from the rows and from the calls that the judge server got."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from annotation.models import Preference
from judges.models import JudgeRun, Verdict, VerdictState
from tests.judge_server import Call


class Books(NamedTuple):
    """A run's verdicts against the judge server's calls.

    `extra_calls` counts calls beyond one a question; `repeated_answered` those of them that came after the answer was
    stored, which no fault excuses.
    """

    questions: int
    answered: int
    failed: int
    open: int
    never_asked: int
    extra_calls: int
    repeated_answered: int
    preferences: int


def read_books(runs: JudgeRun | Sequence[JudgeRun], calls: Sequence[Call]) -> Books:
    """Count over runs of one judge. Every pair's two responses must have texts that no other pair has."""
    runs = [runs] if isinstance(runs, JudgeRun) else runs
    verdicts = list(Verdict.objects.filter(run__in=runs).select_related("pair__response_a", "pair__response_b"))
    stored_at: dict[tuple[str, str], float] = {}
    for one in verdicts:
        a, b = one.pair.response_a.text, one.pair.response_b.text
        shown = (a, b) if one.order == "ab" else (b, a)
        answered = one.state == VerdictState.DONE and one.finished_at
        stored_at[shown] = answered.timestamp() if answered else float("inf")
    asked = Counter((call.first, call.second) for call in calls)
    assert set(asked) <= set(stored_at), "the judge was asked what no verdict asks"
    states = Counter(one.state for one in verdicts)
    return Books(
        questions=len(verdicts),
        answered=states[VerdictState.DONE],
        failed=states[VerdictState.FAILED],
        open=states[VerdictState.PENDING] + states[VerdictState.CLAIMED],
        never_asked=len(set(stored_at) - set(asked)),
        extra_calls=sum(asked.values()) - len(asked),
        repeated_answered=sum(call.at > stored_at[call.first, call.second] for call in calls),
        preferences=Preference.objects.filter(rater=runs[0].version.rater, criterion=None, is_current=True).count(),
    )
