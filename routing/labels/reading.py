"""One judge version's preferences, for the pairs asked for."""

from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from annotation.models import Choice, Preference
from judges.models import JudgeVersion

# SQLite binds at most 32,766 values in a statement.
IDS_PER_QUERY = 10_000


class JudgeAnswer(NamedTuple):
    """What a judge version prefers on a pair."""

    choice: str
    prob_a: float | None
    strength: int | None


def answers_of(version: JudgeVersion, pair_ids: Iterable[UUID]) -> dict[UUID, JudgeAnswer]:
    """Return the version's counted preferences by pair; pairs it could not judge are left out."""
    ids = list(pair_ids)
    counted = Preference.objects.counted().filter(rater_id=version.rater_id).exclude(choice=Choice.UNSURE)
    fields = counted.values_list("pair_id", "choice", "prob_a", "strength")
    return {
        pair_id: JudgeAnswer(choice, prob_a, strength)
        for start in range(0, len(ids), IDS_PER_QUERY)
        for pair_id, choice, prob_a, strength in fields.filter(pair_id__in=ids[start : start + IDS_PER_QUERY])
    }
