"""Answers become rows, and rows answers again.

An answer is a preference on the whole pair, with one more by each criterion asked and a rating of each response where
asked; or, for a slate, a ranking with the preferences it says pair by pair. A changed answer is a new row that names
the one it replaces; the ratings it had are kept in it (`meta["ratings_before"]`).
"""

from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import QuerySet

from annotation.answering import Answer, ByCriterion, Rated, Reason, Span
from annotation.models import (
    Assignment,
    Basis,
    Choice,
    Pair,
    Preference,
    Ranking,
    Rating,
    RationaleTiming,
    ShownOrder,
    SlateEntry,
    Task,
)
from annotation.preparing import PreparedSave


class Kept(NamedTuple):
    """What an answer became: the preference or the ranking, and the pairs it says something of."""

    answer: Preference | Ranking
    pair_ids: list[UUID]


def keep(task: Task, assignment: Assignment, answer: Answer, *, is_extra: bool, replaces: Any = None) -> Kept:
    """Store an answer. Caller holds both rows; one query for a plain choice, a few for what comes with it.

    `replaces` is the stored answer that this one stands for from now on.
    """
    if answer.is_order:
        return _keep_order(task, assignment, answer, is_extra=is_extra, replaces=replaces)
    return _keep_choice(task, assignment, answer, is_extra=is_extra, replaces=replaces)


def kept_answer(assignment: Assignment) -> Answer:
    """Return what a stored answer says, in the stored order; up to three queries."""
    if assignment.ranking is not None:
        return Answer(ranks=tuple(assignment.ranking.ranks), **_told(assignment.ranking))
    stored = assignment.preference
    assert stored is not None  # noqa: S101  (callers ask of answered ones)
    rows = _standing(stored).filter(criterion__isnull=False)
    sides = {stored.pair.response_a_id: "a", stored.pair.response_b_id: "b"}
    ratings = _ratings_with(stored)
    return Answer(
        choice=stored.choice,
        strength=stored.strength,
        by_criterion=tuple(
            sorted(ByCriterion(row.criterion_id, row.choice, row.strength) for row in rows if row.criterion_id)
        ),
        ratings=tuple(sorted(Rated(sides[row.response_id], row.criterion_id, row.value) for row in ratings)),
        **_told(stored),
    )


def _told(stored: Preference | Ranking) -> dict[str, Any]:
    return {
        "rationale": stored.rationale,
        "seconds": stored.seconds,
        "reading_seconds": stored.reading_seconds,
        "deciding_seconds": stored.deciding_seconds,
        "basis": stored.basis,
        "confidence": stored.confidence,
        "reasons": tuple(Reason(**one) for one in stored.reasons),
        "spans": tuple(Span(**one) for one in stored.rationale_spans),
        "content_flags": tuple(stored.content_flags),
    }


def _telling(answer: Answer) -> dict[str, Any]:
    return {
        "basis": answer.basis,
        "seconds": answer.seconds,
        "reading_seconds": answer.reading_seconds,
        "deciding_seconds": answer.deciding_seconds,
        "confidence": answer.confidence,
        "reasons": [one._asdict() for one in answer.reasons],
        "content_flags": list(answer.content_flags),
        "rationale": answer.rationale,
        "rationale_timing": RationaleTiming.UNKNOWN,
        "rationale_spans": [one._asdict() for one in answer.spans],
    }


# --- A choice between two -------------------------------------------------------------------------------------------


def _keep_choice(
    task: Task, assignment: Assignment, answer: Answer, *, is_extra: bool, replaces: Preference | None
) -> Kept:
    repeats = assignment.repeats
    shared: dict[str, Any] = {
        "pair_id": task.pair_id,
        "rater_id": assignment.rater_id,
        "shown_order": assignment.shown_order,
        "is_extra": is_extra,
        "repeats": repeats.preference if repeats is not None else None,
        "is_current": repeats is None,
    }
    before: dict[UUID, Preference] = {}
    meta: dict[str, Any] = {}
    if replaces is not None:
        shared["exclusion_id"] = replaces.exclusion_id
        before = _put_aside(replaces)
        if answer.ratings and repeats is None:
            meta["ratings_before"] = _ratings_before(replaces)
            _ratings_with(replaces).delete()
    stored = Preference(
        choice=answer.choice, strength=answer.strength, replaces=replaces, meta=meta, **shared, **_telling(answer)
    )
    _PREFERENCE.save(stored)
    if answer.by_criterion:
        Preference.objects.bulk_create(
            Preference(
                criterion_id=one.criterion_id,
                choice=one.choice,
                strength=one.strength,
                replaces=before.get(one.criterion_id),
                **shared,
            )
            for one in answer.by_criterion
        )
    # A repeat tests the choice; the ratings that stand are the first ones.
    if answer.ratings and repeats is None:
        _keep_ratings(stored, answer.ratings)
    return Kept(stored, [task.pair_id])


_PREFERENCE = PreparedSave(Preference)


def _put_aside(replaced: Preference) -> dict[UUID, Preference]:
    """Mark an answer and its rows by criterion as no longer standing; return the latter by criterion."""
    standing = _standing(replaced)
    by_criterion = {row.criterion_id: row for row in standing if row.criterion_id is not None}
    standing.filter(is_current=True).update(is_current=False)
    return by_criterion


def _standing(stored: Preference) -> "QuerySet[Preference]":
    """Return the rows of an answer to a pair, by criterion and on the whole, but for those that were replaced."""
    mine = Preference.objects.filter(pair_id=stored.pair_id, rater_id=stored.rater_id, repeats=stored.repeats_id)
    # A criterion that is not asked any more leaves a row that nothing replaces; a repeat's rows are never current.
    return mine.filter(replaced_by__isnull=True) if stored.repeats_id else mine.filter(is_current=True)


def _ratings_before(replaced: Preference) -> list[dict[str, Any]]:
    rows = _ratings_with(replaced).order_by("criterion__position", "response_id")
    sides = {replaced.pair.response_a_id: "a", replaced.pair.response_b_id: "b"}
    return [
        {"side": sides[response], "criterion": criterion, "value": value}
        for response, criterion, value in rows.values_list("response_id", "criterion__name", "value")
    ]


def _ratings_with(stored: Preference) -> "QuerySet[Rating]":
    """Return the ratings that were given with an answer: those that stand, since a rating has no history of its own."""
    return Rating.objects.filter(pair_id=stored.pair_id, rater_id=stored.rater_id)


def _keep_ratings(stored: Preference, ratings: tuple[Rated, ...]) -> None:
    responses = {"a": stored.pair.response_a_id, "b": stored.pair.response_b_id}
    Rating.objects.bulk_create(
        [
            Rating(
                rater_id=stored.rater_id,
                response_id=responses[one.side],
                criterion_id=one.criterion_id,
                pair_id=stored.pair_id,
                value=one.value,
            )
            for one in ratings
        ]
    )


# --- An order of several --------------------------------------------------------------------------------------------


def _keep_order(
    task: Task, assignment: Assignment, answer: Answer, *, is_extra: bool, replaces: Ranking | None
) -> Kept:
    exclusion_id = None if replaces is None else replaces.exclusion_id
    if replaces is not None:
        Ranking.objects.filter(pk=replaces.pk).update(is_current=False)
        Preference.objects.filter(ranking=replaces).update(is_current=False)
    ranking = Ranking.objects.create(
        slate_id=_slate_of(task),
        rater_id=assignment.rater_id,
        ranks=list(answer.ranks),
        replaces=replaces,
        is_extra=is_extra,
        exclusion_id=exclusion_id,
        **_telling(answer),
    )
    said = _said_by(task, assignment, answer)
    told = _telling(answer)
    seconds = {name: _share(told.pop(name), len(said)) for name in ("seconds", "reading_seconds", "deciding_seconds")}
    # Reasons and citations speak of positions in the slate; they stay with the ranking.
    told.update(reasons=[], rationale_spans=[])
    Preference.objects.bulk_create(
        Preference(
            pair_id=pair_id,
            rater_id=assignment.rater_id,
            choice=choice,
            shown_order=shown,
            is_extra=is_extra,
            exclusion_id=exclusion_id,
            ranking=ranking,
            **told,
            **seconds,
        )
        for pair_id, choice, shown in said
    )
    return Kept(ranking, [pair_id for pair_id, _, _ in said])


def _slate_of(task: Task) -> UUID:
    assert task.slate_id is not None  # noqa: S101  (`submitting` refuses an order of anything else)
    return task.slate_id


def _share(seconds: float | None, pairs: int) -> float | None:
    """Return each pair's part of the time, so that sums over preferences count it once."""
    return None if seconds is None or not pairs else seconds / pairs


def _said_by(task: Task, assignment: Assignment, answer: Answer) -> list[tuple[UUID, str, str]]:
    """Return what an order says of the slate's pairs: pair, choice and which of the two stood first.

    Between two that are neither best nor worst a best-worst answer says nothing. A pair that this person has answered
    otherwise keeps that answer.
    """
    responses = list(
        SlateEntry.objects.filter(slate=task.slate_id).order_by("position").values_list("response", flat=True)
    )
    rank_of = dict(zip(responses, answer.ranks, strict=True))
    place_of = {responses[int(position)]: place for place, position in enumerate(assignment.shown_order)}
    pairs = Pair.objects.filter(response_a__in=responses, response_b__in=responses)
    answered = Preference.objects.current().filter(rater=assignment.rater_id, pair__in=pairs, criterion__isnull=True)
    taken = set(answered.values_list("pair_id", flat=True))
    said = []
    for pair_id, a, b in pairs.order_by("pk").values_list("pk", "response_a", "response_b"):
        silent = answer.basis == Basis.BEST_WORST and rank_of[a] == rank_of[b]
        if pair_id in taken or silent:
            continue
        choice = Choice.TIE if rank_of[a] == rank_of[b] else Choice.A if rank_of[a] < rank_of[b] else Choice.B
        shown = ShownOrder.AB if place_of[a] < place_of[b] else ShownOrder.BA
        said.append((pair_id, choice.value, shown.value))
    return said
