"""A judge's verdicts, filtered by what went wrong or is worth a look, and the questions that failed, by reason."""

import hashlib
import uuid
from collections.abc import Callable
from typing import NamedTuple

from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet

from annotation.models import Choice, Pair, Preference, Project
from dashboard.quoting import PairOfQuotes, by_pair, with_texts
from judges.models import JudgeRun, JudgeVersion, Order, ResponseFlag, Verdict, VerdictState
from routing.models import Label, LabelSource

PAGE_SIZE = 20
FINISHED = (VerdictState.DONE, VerdictState.FAILED)
# So many reasons are listed; the rest are counted together.
REASONS_SHOWN = 30
BY_PEOPLE = (LabelSource.HUMAN, LabelSource.ADJUDICATED)

Pairs = QuerySet[Pair]


class QuotePage(NamedTuple):
    """A page of pairs with what a judge was asked about them; `next_after` is the pair to go on from, or None."""

    pairs: list[PairOfQuotes]
    next_after: uuid.UUID | None


class Reason(NamedTuple):
    """Why questions failed: the sentence, how many, of how many judges, and the key that addresses it."""

    key: str
    error: str
    questions: int
    judges: int


def _of(version: JudgeVersion) -> QuerySet[Verdict]:
    return Verdict.objects.filter(version=version, pair=OuterRef("pk"))


def _all(pairs: Pairs, version: JudgeVersion) -> Pairs:
    return pairs.filter(Exists(_of(version).filter(state__in=FINISHED)))


def _failed(pairs: Pairs, version: JudgeVersion) -> Pairs:
    return pairs.filter(Exists(_of(version).filter(state=VerdictState.FAILED)))


def _cached(pairs: Pairs, version: JudgeVersion) -> Pairs:
    return pairs.filter(Exists(_of(version).filter(from_cache=True)))


def _flips(pairs: Pairs, version: JudgeVersion) -> Pairs:
    other = Verdict.objects.filter(
        version=version, pair=OuterRef("pair"), order=Order.BA, state=VerdictState.DONE, choice__in=(Choice.A, Choice.B)
    )
    first = _of(version).filter(order=Order.AB, state=VerdictState.DONE, choice__in=(Choice.A, Choice.B))
    return pairs.filter(Exists(first.filter(Exists(other.exclude(choice=OuterRef("choice"))))))


def _answers(version: JudgeVersion) -> QuerySet[Preference]:
    return Preference.objects.counted().filter(pair=OuterRef("pk"), rater=version.rater_id, criterion__isnull=True)


def _ties(pairs: Pairs, version: JudgeVersion) -> Pairs:
    return pairs.filter(Exists(_answers(version).filter(choice=Choice.TIE)))


def _against_people(pairs: Pairs, version: JudgeVersion) -> Pairs:
    by_people = Label.objects.filter(pair=OuterRef("pair"), source__in=BY_PEOPLE).exclude(choice="")
    return pairs.filter(Exists(_answers(version).filter(Exists(by_people.exclude(choice=OuterRef("choice"))))))


def _flagged(pairs: Pairs, version: JudgeVersion) -> Pairs:
    flags = ResponseFlag.objects.filter(Q(response=OuterRef("response_a")) | Q(response=OuterRef("response_b")))
    return _all(pairs, version).filter(Exists(flags))


# What the filter of a judge's answers offers, under the name its link carries.
FILTERS: dict[str, tuple[str, Callable[[Pairs, JudgeVersion], Pairs]]] = {
    "": ("Everything", _all),
    "failed": ("Failed", _failed),
    "flips": ("Changed sides with the order", _flips),
    "people": ("Differs from people", _against_people),
    "tie": ("Came out as a tie", _ties),
    "flagged": ("A response speaks to the judge", _flagged),
    "cached": ("Answered from the cache", _cached),
}


def page_of_quotes(version: JudgeVersion, *, show: str = "", after: uuid.UUID | None = None) -> QuotePage:
    """Return 20 pairs with this version's finished verdicts, in the order of import; two queries.

    `show` is a key of `FILTERS`; unknown ones show everything.
    """
    pairs = FILTERS.get(show, FILTERS[""])[1](Pair.objects.filter(project=version.judge.project_id), version)
    if after is not None:
        pairs = pairs.filter(pk__gt=after)
    ids = list(pairs.order_by("pk").values_list("pk", flat=True)[: PAGE_SIZE + 1])
    wanted = ids[:PAGE_SIZE]
    verdicts = with_texts(Verdict.objects.filter(version=version, pair__in=wanted, state__in=FINISHED))
    found = by_pair(verdicts.order_by("pair", "order"))
    return QuotePage(found, wanted[-1] if len(ids) > PAGE_SIZE else None)


def quotes_of_run(run: JudgeRun, *, most: int) -> list[PairOfQuotes]:
    """Return what a small run asks, whatever state its questions are in; one query."""
    return by_pair(with_texts(run.verdicts.all()).order_by("pair", "order")[:most])


# --- Failed questions -----------------------------------------------------------------------------------------------


def failed_verdicts(project: Project, *, version_id: uuid.UUID | None = None) -> QuerySet[Verdict]:
    """Return the failed questions of a project, or of one of its judge versions."""
    failed = Verdict.objects.filter(version__judge__project=project, state=VerdictState.FAILED)
    return failed if version_id is None else failed.filter(version=version_id)


def reasons_of(failed: QuerySet[Verdict]) -> list[Reason]:
    """Return why these failed, the most frequent reason first; one query."""
    counted = failed.order_by().values("error").annotate(n=Count("id"), judges=Count("version", distinct=True))
    rows = counted.order_by("-n", "error")[:REASONS_SHOWN]
    return [Reason(key_of_reason(row["error"]), row["error"], row["n"], row["judges"]) for row in rows]


def of_reason(failed: QuerySet[Verdict], key: str) -> QuerySet[Verdict]:
    """Return those of the failed that failed for the reason with this key."""
    known = next((reason.error for reason in reasons_of(failed) if reason.key == key), None)
    return failed.none() if known is None else failed.filter(error=known)


def page_of_failed(
    failed: QuerySet[Verdict], *, after: uuid.UUID | None = None
) -> tuple[list[PairOfQuotes], uuid.UUID | None]:
    """Return 20 failed questions with their requests, and the verdict to go on from (None: the end)."""
    rows = with_texts(failed).order_by("pk")
    if after is not None:
        rows = rows.filter(pk__gt=after)
    found = list(rows[: PAGE_SIZE + 1])
    page = found[:PAGE_SIZE]
    return by_pair(page), page[-1].pk if len(found) > PAGE_SIZE else None


def by_run(failed: QuerySet[Verdict]) -> dict[uuid.UUID, list[uuid.UUID]]:
    """Return the ids of failed questions by the run they belong to."""
    runs: dict[uuid.UUID, list[uuid.UUID]] = {}
    for run_id, verdict_id in failed.exclude(run=None).order_by(F("run")).values_list("run_id", "pk"):
        runs.setdefault(run_id, []).append(verdict_id)
    return runs


def key_of_reason(error: str) -> str:
    """Return what stands for a reason in an address."""
    return hashlib.sha256(error.encode()).hexdigest()[:16]
