"""What people answered, as frames."""

from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from uuid import UUID

import pandas as pd
from django.db.models import Count, Q, QuerySet, Sum, Value

from annotation.aggregating.framing import ROWS_PER_FETCH, read_frame
from annotation.ids import id_text
from annotation.models import Choice, Origin, Pair, Preference, Project, Ranking, RaterKind, Rating
from annotation.sampling import Sample, in_sample

VOTE_COLUMNS = ("pair_id", "group", "rater_id", "rater", "origin", "choice", "strength", "seconds", "shown_order")
# SQLite binds at most 32,766 values in a statement.
IDS_PER_QUERY = 10_000


def vote_frame(
    project: Project,
    pair_ids: Iterable[UUID | str] | None = None,
    *,
    origins: Collection[Origin] | None = None,
    sample: Sample | None = None,
) -> pd.DataFrame:
    """Return people's counted answers: a row a preference, in the order of pairs and raters.

    Columns: `pair_id`, `group` (of the prompt), `rater_id`, `rater` (name) and `origin` are strings, `choice` is one of
    `Choice`; `strength` (1 to 3) and `seconds` are floats, NaN where not given; `shown_order` is '' where not known.
    Replaced and extra answers are left out. `pair_ids`, `origins` and `sample` narrow the rows. One query for
    every 10,000 ids.
    """
    votes = Preference.objects.counted().of_people().filter(in_sample(sample, "pair__prompt"), pair__project=project)
    if origins is not None:
        votes = votes.filter(rater__origin__in=origins)
    fields = votes.order_by("pair_id", "rater_id").values_list(
        id_text("pair_id"),
        "pair__prompt__group",
        id_text("rater_id"),
        "rater__name",
        "rater__origin",
        "choice",
        "strength",
        "seconds",
        "shown_order",
    )
    rows = fields.iterator(chunk_size=ROWS_PER_FETCH)
    if pair_ids is not None:
        rows = chain.from_iterable(fields.filter(pair_id__in=ids) for ids in _chunks(pair_ids))
    return read_frame(rows, VOTE_COLUMNS, ids=("pair_id", "rater_id"), numbers=("strength", "seconds"))


def answer_frame(project: Project, *, sample: Sample | None = None) -> pd.DataFrame:
    """Return people's answers on pairs that stand, extra ones too: a row an answer. One query.

    Columns: `rater` (name), `origin`, `group` (of the prompt), `choice`, `shown_order` ('' where not known).
    """
    answers = (
        Preference.objects.current()
        .of_people()
        .filter(in_sample(sample, "pair__prompt"), pair__project=project, criterion__isnull=True)
    )
    fields = answers.order_by("pair_id", "rater_id").values_list(
        "rater__name", "rater__origin", "pair__prompt__group", "choice", "shown_order"
    )
    return read_frame(fields.iterator(chunk_size=ROWS_PER_FETCH), ["rater", "origin", "group", "choice", "shown_order"])


def repeat_frame(project: Project, *, sample: Sample | None = None) -> pd.DataFrame:
    """Return the answered hidden repeats: a row each, with the answer that it repeats as it stood then. One query.

    Columns: `rater` (name), `origin`, `group` (of the prompt), `before`, `choice`, `shown_order`. Of a repeat whose
    answer was changed the last one counts.
    """
    repeats = Preference.objects.of_people().filter(
        in_sample(sample, "pair__prompt"),
        pair__project=project,
        repeats__isnull=False,
        criterion__isnull=True,
        replaced_by__isnull=True,
    )
    fields = repeats.order_by("pair_id", "rater_id").values_list(
        "rater__name", "rater__origin", "pair__prompt__group", "repeats__choice", "choice", "shown_order"
    )
    return read_frame(
        fields.iterator(chunk_size=ROWS_PER_FETCH), ["rater", "origin", "group", "before", "choice", "shown_order"]
    )


def work_frame(project: Project, *, sample: Sample | None = None) -> pd.DataFrame:
    """Return how long people took: a row an answer that counts, an order of several responses as one row. Two queries.

    Columns: `rater` (name), and as floats `seconds`, `reading_seconds` and `deciding_seconds`, NaN where not given.
    """
    columns = ["rater", "seconds", "reading_seconds", "deciding_seconds"]
    fields = ["rater__name", *columns[1:]]
    answers = [
        work.filter(in_sample(sample, prompt)).order_by("id").values_list(*fields).iterator(chunk_size=ROWS_PER_FETCH)
        for work, prompt in zip(_work(project), ("pair__prompt", "slate__prompt"), strict=True)
    ]
    return read_frame(chain.from_iterable(answers), columns, numbers=columns[1:])


def work_counts(project: Project) -> pd.DataFrame:
    """Return what people answered: a row a person (the index, their name), sorted. Two queries that count.

    `origin`; `answers`, an order of several responses being one; `unsure` ("cannot judge") and `revised` (that replaced
    an earlier one of theirs) of them; `with_seconds` and `with_confidence`, those that say so, with `total_seconds` and
    `total_confidence` over them (NaN where none does).
    """
    counts = {
        "answers": Count("id"),
        "revised": Count("replaces_id"),
        "with_seconds": Count("seconds"),
        "total_seconds": Sum("seconds"),
        "with_confidence": Count("confidence"),
        "total_confidence": Sum("confidence"),
    }
    single, orders = _work(project)
    unsure = Count("id", filter=Q(choice=Choice.UNSURE))
    rows = [*single.values("rater__name", "rater__origin").annotate(**counts, unsure=unsure).order_by("rater__name")]
    rows += orders.values("rater__name", "rater__origin").annotate(**counts, unsure=Value(0)).order_by("rater__name")
    frame = pd.DataFrame.from_records(rows, columns=["rater__name", "rater__origin", *counts, "unsure"])
    frame = frame.rename(columns={"rater__name": "rater", "rater__origin": "origin"})
    whole = ["answers", "unsure", "revised", "with_seconds", "with_confidence"]
    totals = ["total_seconds", "total_confidence"]
    people = frame.astype(dict.fromkeys(totals, float)).groupby("rater", sort=True)
    return people[["origin"]].first().join(people[whole].sum()).join(people[totals].sum(min_count=1))


def _work(project: Project) -> tuple[QuerySet[Preference], QuerySet[Ranking]]:
    """Return the answers that count: those on single pairs, and the orders of several responses."""
    return (
        Preference.objects.counted().of_people().filter(pair__project=project, ranking__isnull=True),
        Ranking.objects.filter(slate__project=project, is_current=True, is_extra=False),
    )


def dated_vote_frame(project: Project, *, sample: Sample | None = None, by_criterion: bool = False) -> pd.DataFrame:
    """Return people's counted answers, by criterion too, with when each was given: a row a preference. One query.

    Columns: `criterion` ('' for the whole pair), `pair_id`, `group` (of the prompt), `rater` (name), `choice`,
    `strength` (1 to 3, NaN where not given) and `answered_at` (UTC; of a recorded answer the time of its import).
    With `by_criterion` there are those alone that are by a criterion.
    """
    votes = (
        Preference.objects.current()
        .of_people()
        .filter(in_sample(sample, "pair__prompt"), pair__project=project, is_extra=False)
    )
    if by_criterion:
        votes = votes.filter(criterion__isnull=False)
    fields = votes.order_by("pair_id", "rater_id", "id").values_list(
        "criterion__name", id_text("pair_id"), "pair__prompt__group", "rater__name", "choice", "strength", "created_at"
    )
    columns = ["criterion", "pair_id", "group", "rater", "choice", "strength", "answered_at"]
    frame = read_frame(fields.iterator(chunk_size=ROWS_PER_FETCH), columns, ids=("pair_id",), numbers=("strength",))
    frame["answered_at"] = pd.to_datetime(frame["answered_at"], utc=True)
    return frame


def rating_frame(project: Project, *, sample: Sample | None = None) -> pd.DataFrame:
    """Return people's ratings of responses: a row a person, criterion and response. One query.

    A response that a person rated in several pairs has the mean. Columns: `criterion`, `unit` (of a
    response), `group` (of the prompt), `rater` (name), `value`.
    """
    ratings = Rating.objects.filter(
        in_sample(sample, "response__prompt"), rater__project=project, rater__kind=RaterKind.PERSON
    )
    fields = ratings.order_by("id").values_list(
        "criterion__name", "response_id", "response__prompt__group", "rater__name", "value"
    )
    columns = ["criterion", "unit", "group", "rater", "value"]
    frame = pd.DataFrame.from_records(list(fields.iterator()), columns=columns)
    texts = columns[:4]
    frame[texts] = frame[texts].astype(str).astype(object)
    frame["value"] = frame["value"].astype(float)
    return frame.groupby(texts, sort=True)["value"].mean().reset_index()


def contender_frame(
    project: Project, pair_ids: Iterable[UUID | str] | None = None, *, sample: Sample | None = None
) -> pd.DataFrame:
    """Return what each pair compares.

    A row a pair that shares its prompt with one of these pairs (default: all): the index is `pair_id`, the columns
    `response_a`, `response_b` and `prompt_id` are strings. One query for every 10,000 ids.
    """
    pairs = Pair.objects.filter(in_sample(sample, "prompt"), project=project)
    columns = ["pair_id", "response_a", "response_b", "prompt_id"]
    fields = pairs.order_by("id").values_list(
        id_text("id"), id_text("response_a_id"), id_text("response_b_id"), id_text("prompt_id")
    )
    rows = fields.iterator(chunk_size=ROWS_PER_FETCH)
    if pair_ids is not None:
        named = [
            prompt
            for ids in _chunks(pair_ids)
            for prompt in pairs.filter(pk__in=ids).values_list("prompt_id", flat=True).distinct()
        ]
        rows = chain.from_iterable(fields.filter(prompt_id__in=prompts) for prompts in _chunks(named))
    return read_frame(rows, columns, ids=columns).set_index("pair_id")


def _chunks(pair_ids: Iterable[UUID | str]) -> Iterator[list[UUID | str]]:
    # Sorted, so that the rows of several queries follow each other in the order of one.
    ids = sorted(set(pair_ids), key=str)
    for start in range(0, len(ids), IDS_PER_QUERY):
        yield ids[start : start + IDS_PER_QUERY]
