"""People's votes as a frame, and the one human answer they give a pair.

The vote is a plurality, not a model of raters: a label can then be checked by counting.
"""

from collections.abc import Collection, Iterable, Iterator
from uuid import UUID

import pandas as pd

from annotation.models import Choice, Origin, Preference, Project, Ranking

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


def answer_frame(project: Project) -> pd.DataFrame:
    """Return people's answers on pairs that stand, extra ones too: a row an answer. One query.

    Columns: `rater` (name), `origin`, `group` (of the prompt), `choice`, `shown_order` ('' where not known).
    """
    answers = Preference.objects.current().of_people().filter(pair__project=project, criterion__isnull=True)
    fields = answers.order_by("pair_id", "rater_id").values_list(
        "rater__name", "rater__origin", "pair__prompt__group", "choice", "shown_order"
    )
    columns = ["rater", "origin", "group", "choice", "shown_order"]
    return pd.DataFrame.from_records(list(fields.iterator()), columns=columns).astype(object)


def repeat_frame(project: Project) -> pd.DataFrame:
    """Return the answered hidden repeats: a row each, with the answer that it repeats as it stood then. One query.

    Columns: `rater` (name), `origin`, `group` (of the prompt), `before`, `choice`, `shown_order`. Of a repeat whose
    answer was changed the last one counts.
    """
    repeats = Preference.objects.of_people().filter(
        pair__project=project, repeats__isnull=False, criterion__isnull=True, replaced_by__isnull=True
    )
    fields = repeats.order_by("pair_id", "rater_id").values_list(
        "rater__name", "rater__origin", "pair__prompt__group", "repeats__choice", "choice", "shown_order"
    )
    columns = ["rater", "origin", "group", "before", "choice", "shown_order"]
    return pd.DataFrame.from_records(list(fields.iterator()), columns=columns).astype(object)


def work_frame(project: Project) -> pd.DataFrame:
    """Return what people answered and how: a row an answer that counts, an order of several responses as one row.

    Columns: `rater` (name), `origin`, `choice` ('' for an order), `revised` (whether it replaced an earlier one), and
    as floats `seconds`, `reading_seconds`, `deciding_seconds`, `confidence` (1 to 3), NaN where not given. Two queries.
    """
    told = ("replaces_id", "seconds", "reading_seconds", "deciding_seconds", "confidence")
    single = Preference.objects.counted().of_people().filter(pair__project=project, ranking__isnull=True)
    orders = Ranking.objects.filter(slate__project=project, is_current=True, is_extra=False)
    rows = list(single.order_by("id").values_list("rater__name", "rater__origin", "choice", *told))
    rows += [
        (name, origin, "", *rest)
        for name, origin, *rest in orders.order_by("id").values_list("rater__name", "rater__origin", *told)
    ]
    frame = pd.DataFrame.from_records(rows, columns=["rater", "origin", "choice", *told])
    frame["revised"] = frame.pop("replaces_id").notna()
    numbers = list(told[1:])
    frame[numbers] = frame[numbers].astype(float)
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
