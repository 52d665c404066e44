"""The budget for people as a hard stop: a lease promises its pay, and promises and pay together never pass the budget.

What is not promised yet lies in the project's purses. A lease takes its pay from one purse by a conditional update, and
what is given back without an answer returns to the first; an answer changes nothing, since its lease has paid. Each
person has a purse, so that people who lease at the same moment wait for each other only where they share one; once a
purse is empty they take from the first. When that is empty too, all purses are counted again from the rows and the rest
is dealt out: evenly while there is plenty, and all of it to the first near the end, so that the last payable answer is
leased to exactly one person.

Hidden repeats and answers that come too late to count take their pay from the same purses. Purses are locked after
tasks and assignments, and from the highest number down, so no two transactions wait for each other.
"""

from collections.abc import Iterable
from decimal import Decimal
from sys import maxsize
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet, Sum

from annotation.errors import AnnotationError
from annotation.models import Assignment, Project, Purse, Rater
from annotation.retrying import in_transaction

MICROS_PER_USD = 1_000_000
PURSES = 8
# With fewer answers left than this for each purse, all of the rest lies in one.
PLENTY = 25


class PurseEmpty(Exception):
    """The purses that a lease looks into have too little; the others may have more. `pay_micros`: of one answer."""

    def __init__(self, pay_micros: int) -> None:
        super().__init__()
        self.pay_micros = pay_micros


def committed_usd(project: Project) -> Decimal:
    """Return what held pairs promise and answers have earned, in US dollars. One query over the project's leases."""
    promised = Assignment.objects.filter(task__project=project).aggregate(usd=Sum("promised_usd"))["usd"]
    # SQLite adds decimals in binary; four digits are what an assignment holds.
    return round(promised or Decimal(0), 4)


def promise(project: Project, rater: Rater, assignments: Iterable[Assignment]) -> None:
    """Take the pay of new leases out of the budget. Caller holds a transaction with their rows.

    One query, and none in a project without a budget; a second where the person's purse is empty. Raises `PurseEmpty`
    where the first purse has too little as well: the caller leaves its transaction and asks `affordable`.
    """
    pays = [_micros(assignment.promised_usd) for assignment in assignments]
    _take_out(project, rater, sum(pays), max(pays, default=0))


def promise_more(project: Project, rater: Rater, usd: Decimal) -> None:
    """Take what an answer earns beyond its promise out of the budget, as `promise` does."""
    _take_out(project, rater, _micros(usd), _micros(usd))


def _take_out(project: Project, rater: Rater, micros: int, largest: int) -> None:
    if project.people_budget_usd is None or micros == 0:
        return
    for number in sorted({_purse_of(rater.pk), 0}, reverse=True):
        purse = Purse.objects.filter(
            project=project,
            number=number,
            budget_micros=_micros(project.people_budget_usd),
            left_micros__gte=micros,
        )
        if purse.update(left_micros=F("left_micros") - micros):
            return
    raise PurseEmpty(largest)


def return_promise(assignment: Assignment, project: Project) -> None:
    """Put the pay of a lease that ends without an answer back; one query, none without a budget.

    Caller holds a transaction, and saves the assignment, of which this forgets the promise.
    """
    promised = assignment.promised_usd
    assignment.promised_usd = Decimal(0)
    give_change(project, promised)


def give_change(project: Project, usd: Decimal) -> None:
    """Put money back that was promised and not earned; one query, none without a budget. Caller holds a transaction."""
    micros = _micros(usd)
    if project.people_budget_usd is not None and micros:
        Purse.objects.filter(project=project, number=0).update(left_micros=F("left_micros") + micros)


def affordable(project: Project, empty: PurseEmpty) -> int:
    """Say how many answers the budget still pays for, and have the money where `promise` looks for it.

    Called outside of transactions. Where the purses have too little together: one query; else they are locked.
    """
    budget = _micros(project.people_budget_usd or Decimal(0))
    known = list(_purses(project).filter(budget_micros=budget).values_list("left_micros", flat=True))
    if len(known) == PURSES and sum(known) < empty.pay_micros:
        return 0
    left = in_transaction(lambda: _deal_out(project, empty.pay_micros))
    # Somebody may have lifted the limit since this project was loaded.
    return maxsize if project.people_budget_usd is None else max(0, left // empty.pay_micros)


def set_people_budget(project: Project, usd: Decimal | None) -> None:
    """Set what people may cost in all, in US dollars; None: no limit.

    It holds for what is leased from then on. Raises `AnnotationError` for less than is promised and earned already.
    """
    if usd is not None and usd < 0:
        raise AnnotationError(f"A budget is 0 US dollars or more, not {usd}.")
    before = project.people_budget_usd
    with transaction.atomic():
        Project.objects.filter(pk=project.pk).update(people_budget_usd=usd)
        if usd is not None and _deal_out(project, _micros(project.pay_per_answer_usd)) < 0:
            project.people_budget_usd = before
            raise AnnotationError(
                f"People hold pairs and gave answers for ${committed_usd(project):.2f} already, so the budget cannot "
                f"be ${usd:.2f}. Pause the project to stop it where it is."
            )
    project.people_budget_usd = usd


def _deal_out(project: Project, pay: int) -> int:
    """Count what is left, in millionths of a dollar, deal it out to the purses and return it.

    The budget is the stored one, which `project` has afterwards. Caller holds a transaction. Leases under way hold a
    purse until they are stored, so the count, made once all purses are locked, sees them.
    """
    Purse.objects.bulk_create(
        [Purse(project=project, number=number, budget_micros=0, left_micros=0) for number in range(PURSES)],
        ignore_conflicts=True,
    )
    purses = list(_purses(project).order_by("-number").select_for_update(no_key=True))
    project.people_budget_usd = Project.objects.values_list("people_budget_usd", flat=True).get(pk=project.pk)
    budget = _micros(project.people_budget_usd or Decimal(0))
    left = budget - _micros(committed_usd(project))
    share = left // pay // PURSES * pay if pay and left >= pay * PURSES * PLENTY else 0
    for purse in purses:
        purse.budget_micros = budget
        purse.left_micros = share if purse.number else left - share * (PURSES - 1)
    Purse.objects.bulk_update(purses, ["budget_micros", "left_micros"])
    return left


def _purses(project: Project) -> "QuerySet[Purse]":
    return Purse.objects.filter(project=project)


def _purse_of(rater: UUID) -> int:
    return rater.int % PURSES


def _micros(usd: Decimal) -> int:
    return int(Decimal(usd) * MICROS_PER_USD)
