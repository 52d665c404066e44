"""A project's people as `annotation.noticing` looks at them: their answers and repeats as frames, and their signs."""

import pandas as pd
from django.db.models import TextField
from django.db.models.functions import Cast, Length

from annotation.aggregating import repeat_frame
from annotation.models import Preference, Project
from annotation.noticing import Sign, notice
from annotation.scoring import marks_of
from annotation.standards import standards_of

COLUMNS = ("rater", "pair_id", "choice", "shown_order", "seconds", "characters", "counts")


def signs_of(project: Project) -> dict[str, list[Sign]]:
    """Return the signs of everybody who answered here or whose answers were imported, by name. Four queries."""
    answers = observed_answers(project)
    return notice(answers, repeat_frame(project), good_accuracy=standards_of(project).good_accuracy)


def observed_answers(project: Project) -> pd.DataFrame:
    """Return people's answers that stand, in the order given, gold and those beside the count too. Three queries.

    Columns as `notice` takes them. `characters` counts those of the pair's prompt and responses as stored: what the
    JSON around them adds is the same for all. A ranking's pairs have no time of their own.
    """
    answers = Preference.objects.current().of_people().filter(pair__project=project, criterion__isnull=True)
    lengths = [
        Length(Cast(f"pair__{texts}__messages", TextField())) for texts in ("prompt", "response_a", "response_b")
    ]
    rows = answers.annotate(characters=lengths[0] + lengths[1] + lengths[2]).order_by("created_at", "pk")
    fields = ("rater__name", "pair_id", "choice", "shown_order", "seconds", "characters", "is_extra", "ranking_id")
    frame = pd.DataFrame.from_records(list(rows.values_list(*fields).iterator()), columns=[*COLUMNS, "ranking"])
    frame["counts"] = ~frame["counts"].astype(bool)
    frame["seconds"] = frame["seconds"].astype(float).where(frame["ranking"].isna())
    frame["pair_id"] = frame["pair_id"].astype(str)
    names = dict(answers.values_list("rater_id", "rater__name").distinct().order_by("rater_id"))
    is_right = {
        (names[rater], str(mark.pair_id)): float(mark.is_right)
        for rater, marks in marks_of(project).items()
        for mark in marks
    }
    keys = zip(frame["rater"], frame["pair_id"], strict=True)
    frame["is_right"] = pd.Series([is_right.get(key) for key in keys], index=frame.index, dtype=float)
    return frame.drop(columns="ranking")
