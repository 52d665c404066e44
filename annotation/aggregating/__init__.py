"""People's votes as frames, and the one human answer they give a pair.

Where no method is named the answer is a plurality, not a model of raters, so that it can be checked by counting: judges
are measured against that. A project's labels go by the method it chose (`learning`, `deciding`).
"""

from annotation.aggregating.reading import (
    VOTE_COLUMNS,
    answer_frame,
    dated_vote_frame,
    rating_frame,
    repeat_frame,
    vote_frame,
    work_counts,
    work_frame,
)
from annotation.aggregating.voting import CONSENSUS_COLUMNS, DECIDING, consensus

__all__ = [
    "CONSENSUS_COLUMNS",
    "DECIDING",
    "VOTE_COLUMNS",
    "answer_frame",
    "consensus",
    "dated_vote_frame",
    "rating_frame",
    "repeat_frame",
    "vote_frame",
    "work_counts",
    "work_frame",
]
