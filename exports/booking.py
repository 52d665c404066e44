"""One cost book: what people earn and are paid, what platforms take, and what models cost, in the same rows.

People's entries are rows of the ledger (`annotation.money`); a model's are the verdicts themselves, each of which
holds its own price once. Nothing is copied, so the two cannot disagree with what they are about.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from django.db.models import Q, Sum
from django.db.models.functions import TruncWeek

from annotation.models import EntryKind, LedgerEntry, Project
from annotation.models.money import EARNED
from annotation.money.booking import rounded
from judges.models import Verdict

ZERO = Decimal(0)
CALL, LOST = "call", "lost_call"


class BookRow(NamedTuple):
    """One amount in US dollars: when, of what kind, for whom (a person or a judge's version), for what; once by `key`.

    Above 0 it was earned or charged, below 0 paid to a person. `reverses` is the key of the row it undoes.
    """

    at: datetime | None
    kind: str
    whom: str
    usd: Decimal
    key: str
    reverses: str
    note: str


class Week(NamedTuple):
    """What a week (from Monday, UTC) came to, in US dollars; `paid_usd` is what was put into payments."""

    week: date
    people_usd: Decimal
    models_usd: Decimal
    fees_usd: Decimal
    paid_usd: Decimal


def book_of(project: Project) -> Iterator[BookRow]:
    """Yield the whole book: people's entries by time, then the judges' calls. Two queries, read as they come."""
    entries = LedgerEntry.objects.in_project(project).order_by("at", "pk")
    rows = entries.values_list("at", "kind", "rater__name", "amount_usd", "key", "reverses__key", "note")
    for at, kind, name, amount, key, reverses, note in rows.iterator(chunk_size=2000):
        yield BookRow(at, kind, name or "", amount, key, reverses or "", note)
    verdicts = Verdict.objects.filter(version__judge__project=project)
    charged = verdicts.filter(Q(cost_usd__gt=0) | Q(meta__has_key="lost_usd")).order_by("finished_at", "pk")
    calls = charged.values_list(
        "pk", "finished_at", "version__judge__name", "version__number", "cost_usd", "meta__lost_usd"
    )
    for pk, finished_at, judge, number, cost, lost in calls.iterator(chunk_size=2000):
        whom = f"{judge} v{number}"
        if cost:
            yield BookRow(finished_at, CALL, whom, cost, f"{CALL}:{pk}", "", "")
        if lost:
            yield BookRow(finished_at, LOST, whom, Decimal(lost), f"{LOST}:{pk}", "", "brought no answer")


def csv_of(rows: Iterator[BookRow]) -> Iterator[str]:
    """Yield rows as lines of CSV with a header; a text that a spreadsheet would run is quoted with an apostrophe."""
    writer = csv.writer(_Echo())
    yield writer.writerow(BookRow._fields)
    for row in rows:
        at = row.at.isoformat() if row.at else ""
        yield writer.writerow(
            [at, row.kind, *map(_inert, (row.whom,)), row.usd, row.key, row.reverses, _inert(row.note)]
        )


class _Echo:
    """A file that hands back what is written."""

    def write(self, text: str) -> str:
        return text


def _inert(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def weeks_of(project: Project) -> list[Week]:
    """Return what each week came to, from the first with anything. Three queries."""
    found: dict[date, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    entries = LedgerEntry.objects.in_project(project).annotate(week=TruncWeek("at")).order_by()
    sums = entries.values_list("week").annotate(
        people=Sum("amount_usd", filter=Q(kind__in=EARNED)),
        fees=Sum("amount_usd", filter=Q(kind=EntryKind.FEE)),
        paid=Sum("amount_usd", filter=Q(kind__in=[EntryKind.PAYMENT, EntryKind.REWARD])),
    )
    for week, people, fees, paid in sums:
        found[week.date()] |= {"people": rounded(people), "fees": rounded(fees), "paid": -rounded(paid)}
    finished = Verdict.objects.filter(version__judge__project=project, finished_at__isnull=False)
    verdicts = finished.annotate(week=TruncWeek("finished_at")).order_by()
    for week, usd in verdicts.filter(cost_usd__gt=0).values_list("week").annotate(usd=Sum("cost_usd")):
        found[week.date()]["models"] += round(usd, 6)
    for week, lost in verdicts.filter(meta__has_key="lost_usd").values_list("week", "meta__lost_usd"):
        found[week.date()]["models"] += Decimal(lost)
    return [
        Week(week, *(sums.get(name, ZERO) for name in ("people", "models", "fees", "paid")))
        for week, sums in sorted(found.items())
    ]
