"""People's votes as a frame, and the one human answer they give a pair.

The vote is a plurality, not a model of raters: a label can then be checked by counting.
"""

from collections.abc import Collection, Iterable, Iterator
from uuid import UUID

import pandas as pd

from annotation.models import Choice, Origin, Preference, Project

VOTE_COLUMNS = ("pair_id", "group", "rater_id", "rater", "origin", "choice", "strength", "seconds")
CONSENSUS_COLUMNS = ("choice", "n_votes", "agreement", "prob_a", "strength")
# What a vote may decide for; "cannot judge" says nothing about the pair.
DECIDING = (Choice.A.value, Choice.B.value, Choice.TIE.value, Choice.BOTH_BAD.value)
# SQLite binds at most 32,766 values in a statement.
IDS_PER_QUERY = 10_000


def vote_frame(
    project: Project, pair_ids: Iterable[UUID | str] | None = None, *, origins: Collection[Origin] | None = None
) -> pd.DataFrame:
    """Return people's counted answers: a row a preference, in the order of pairs and raters.

    Columns: `pair_id`, `group` (of the prompt), `rater_id`, `rater` (name) and `origin` are strings, `choice` is one of
    `Choice`; `strength` (1 to 3) and `seconds` are floats, NaN where not given. Replaced and extra answers are left
    out. `pair_ids` and `origins` narrow the rows. One query for every 10,000 ids.
    """
    votes = Preference.objects.counted().of_people().filter(pair__project=project)
    if origins is not None:
        votes = votes.filter(rater__origin__in=origins)
    fields = votes.order_by("pair_id", "rater_id").values_list(
        "pair_id",
        "pair__prompt__group",
        "rater_id",
        "rater__name",
        "rater__origin",
        "choice",
        "strength",
        "seconds",
    )
    if pair_ids is None:
        rows = list(fields.iterator())
    else:
        rows = [row for ids in _chunks(pair_ids) for row in fields.filter(pair_id__in=ids)]
    frame = pd.DataFrame.from_records(rows, columns=list(VOTE_COLUMNS))
    texts = ["pair_id", "group", "rater_id", "rater", "origin", "choice"]
    frame[texts] = frame[texts].astype(str).astype(object)
    frame[["strength", "seconds"]] = frame[["strength", "seconds"]].astype(float)
    return frame


def consensus(votes: pd.DataFrame) -> pd.DataFrame:
    """Return one human answer a pair from a frame of votes (`pair_id`, `choice`, `strength` are read).

    The index is `pair_id`, sorted; pairs on which everybody answered "unsure" are not in it. Columns:

    - `choice`: the answer with strictly most votes among a, b, tie and both_bad; '' where the first place is shared.
    - `n_votes`: votes that decide, "unsure" left out.
    - `agreement`: share of the votes for `choice`; where it is empty, for one of those that share the first place.
    - `prob_a`: `(n_a + n_tie / 2 + n_both_bad / 2) / n_votes`, the chance that a random vote prefers a, an undecided
      vote counting half for each side.
    - `strength`: mean strength (1 to 3) of the votes for `choice`; NaN without one.
    """
    deciding = votes[votes["choice"].isin(DECIDING)]
    counts = pd.crosstab(deciding["pair_id"], deciding["choice"]).reindex(columns=list(DECIDING), fill_value=0)
    if counts.empty:
        return _empty_consensus()
    total = counts.sum(axis=1)
    top = counts.max(axis=1)
    contested = counts.eq(top, axis=0).sum(axis=1) > 1
    choice = counts.idxmax(axis=1).mask(contested, "")
    for_winner = deciding[deciding["choice"] == deciding["pair_id"].map(choice)]
    result = pd.DataFrame(
        {
            "choice": choice.astype(object),
            "n_votes": total.astype(int),
            "agreement": top / total,
            "prob_a": (counts["a"] + 0.5 * counts["tie"] + 0.5 * counts["both_bad"]) / total,
            "strength": for_winner.groupby("pair_id")["strength"].mean().reindex(counts.index).astype(float),
        },
        columns=list(CONSENSUS_COLUMNS),
    )
    return result.rename_axis(columns=None)


def _empty_consensus() -> pd.DataFrame:
    kinds = {"choice": object, "n_votes": int, "agreement": float, "prob_a": float, "strength": float}
    columns = {name: pd.Series(dtype=kind) for name, kind in kinds.items()}
    return pd.DataFrame(columns, index=pd.Index([], name="pair_id", dtype=object))


def _chunks(pair_ids: Iterable[UUID | str]) -> Iterator[list[UUID | str]]:
    # Sorted, so that the rows of several queries follow each other in the order of one.
    ids = sorted(set(pair_ids), key=str)
    for start in range(0, len(ids), IDS_PER_QUERY):
        yield ids[start : start + IDS_PER_QUERY]
