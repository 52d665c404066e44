"""What an answer is paid: by the answer or the minute, for each tier, at the rate its pair was handed out at."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from annotation.answering import Answer
from annotation.assigning import (
    Opening,
    expire_leases,
    next_assignment,
    open_tasks,
    progress_of,
    revise,
    submit,
)
from annotation.checking import check_invariants
from annotation.errors import AnnotationError
from annotation.models import LedgerEntry, PayRate, Preference, Project, Rater
from annotation.pricing import pay_usd, set_rate, time_usd
from annotation.promising import committed_usd, set_people_budget
from tests.builders import make_pair, make_person, make_project

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def project() -> Project:
    return make_project(lease_seconds=6000)


def answered(project: Project, rater: Rater, *, after: float, seconds: float | None) -> Decimal:
    """Have somebody take a pair and answer it so many seconds later; return what the book has for it."""
    open_tasks(project, [Opening(make_pair(project).pk)], votes_wanted=1)
    held = next_assignment(project, rater, now=NOW).assignment
    assert held is not None
    submit(held.pk, rater, Answer("a", seconds=seconds), now=NOW + timedelta(seconds=after))
    return LedgerEntry.objects.get(assignment=held).amount_usd


@pytest.mark.parametrize(
    ("seconds", "since", "earned"),
    [
        (90.0, 200.0, "0.3000"),
        (90.0, 60.0, "0.2000"),  # never more than since the pair was handed out
        (None, 60.0, "0.2000"),  # no script counted: since it was handed out
        (None, 9000.0, "0.6000"),  # up to the cap of three minutes
        (9000.0, 9000.0, "0.6000"),
        (0.0, 60.0, "0.0000"),
        (1.0, 60.0, "0.0034"),  # a third of a cent, rounded up to a hundredth
    ],
)
def test_minutes_are_paid_up_to_the_cap(project: Project, seconds: float | None, since: float, earned: str) -> None:
    rate = set_rate(project, basis="minute", crowd_usd=Decimal("0.2"), most_minutes=Decimal(3), now=NOW)
    assert time_usd(rate, "crowd", seconds, since) == Decimal(earned)


def test_experts_have_their_own_rate(project: Project) -> None:
    set_rate(project, crowd_usd=Decimal("0.10"), expert_usd=Decimal("0.75"), now=NOW)
    assert (pay_usd(project, "crowd"), pay_usd(project, "expert")) == (Decimal("0.10"), Decimal("0.75"))
    assert answered(project, make_person(project, "ben"), after=30, seconds=20) == Decimal("0.10")


def test_the_most_an_answer_costs_by_the_minute_is_its_cap(project: Project) -> None:
    set_rate(
        project, basis="minute", crowd_usd=Decimal("0.2"), expert_usd=Decimal("0.5"), most_minutes=Decimal(3), now=NOW
    )
    assert (pay_usd(project, "crowd"), pay_usd(project, "expert")) == (Decimal("0.6"), Decimal("1.5"))
    assert project.pay_per_answer_usd == Decimal("0.6")


def test_changed_rate_changes_nothing_that_was_answered(project: Project) -> None:
    ben = make_person(project, "ben")
    assert answered(project, ben, after=30, seconds=20) == Decimal("0.30")
    set_rate(project, crowd_usd=Decimal("0.05"), now=NOW + timedelta(minutes=1))
    assert progress_of(project, ben).earned_usd == Decimal("0.30")
    set_rate(project, crowd_usd=Decimal("2"), now=NOW + timedelta(minutes=2))
    assert progress_of(project, ben).earned_usd == Decimal("0.30")


def test_answer_is_paid_the_rate_its_pair_was_handed_out_at(project: Project) -> None:
    ben = make_person(project, "ben")
    open_tasks(project, [Opening(make_pair(project).pk) for _ in range(2)], votes_wanted=1)
    for minutes, usd in ((0, "0.30"), (10, "0.05")):
        now = NOW + timedelta(minutes=minutes)
        held = next_assignment(project, ben, now=now).assignment
        assert held is not None
        set_rate(project, crowd_usd=Decimal("0.05"), now=NOW + timedelta(minutes=5))
        submit(held.pk, ben, Answer("a"), now=now + timedelta(minutes=8))
        assert LedgerEntry.objects.get(assignment=held).amount_usd == Decimal(usd)
    assert list(PayRate.objects.order_by("number").values_list("number", "crowd_usd")) == [
        (1, Decimal("0.3")),
        (2, Decimal("0.05")),
    ]


def test_same_rate_again_makes_no_version(project: Project) -> None:
    first = set_rate(project, crowd_usd=Decimal("0.05"), now=NOW)
    assert set_rate(project, crowd_usd=Decimal("0.0500"), now=NOW) == first
    assert PayRate.objects.count() == 1


def test_changed_answer_earns_for_the_time_it_adds(project: Project) -> None:
    set_rate(project, basis="minute", crowd_usd=Decimal("0.2"), most_minutes=Decimal(3), now=NOW)
    ben = make_person(project, "ben")
    assert answered(project, ben, after=300, seconds=60) == Decimal("0.2")
    # Ben's own pay stays at his rate.
    set_rate(project, basis="minute", crowd_usd=Decimal("9"), most_minutes=Decimal(3), now=NOW + timedelta(hours=1))
    assignment = LedgerEntry.objects.get().assignment
    assert assignment is not None
    for seconds, in_all in ((30, "0.3"), (0, "0.3"), (900, "0.6")):
        choice = "b" if LedgerEntry.objects.count() % 2 else "a"
        answer = Answer(choice, seconds=seconds, rationale=f"{seconds}")
        revise(assignment.pk, ben, answer, now=NOW + timedelta(minutes=20))
        assert progress_of(project, ben).earned_usd == Decimal(in_all)
    assert list(LedgerEntry.objects.order_by("pk").values_list("kind", flat=True)) == ["answer", "change", "change"]


def test_changed_answer_paid_by_the_answer_earns_nothing_more(project: Project) -> None:
    set_rate(project, crowd_usd=Decimal("0.05"), now=NOW)
    ben = make_person(project, "ben")
    answered(project, ben, after=30, seconds=20)
    assignment = LedgerEntry.objects.get().assignment
    assert assignment is not None
    revise(assignment.pk, ben, Answer("b", seconds=500), now=NOW + timedelta(minutes=20))
    assert progress_of(project, ben).earned_usd == Decimal("0.05")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"basis": "hour"}, "by answer or by minute, not by 'hour'"),
        ({"crowd_usd": Decimal("-1")}, "The pay of the crowd is -1"),
        ({"crowd_usd": Decimal("NaN")}, "The pay of the crowd is NaN"),
        ({"expert_usd": Decimal("1001")}, "The pay of experts is 1001"),
        ({"crowd_usd": Decimal("0.00001")}, "four decimals"),
        ({"most_minutes": Decimal(3)}, "leave the cap out"),
        ({"basis": "minute"}, "needs a cap"),
        ({"basis": "minute", "most_minutes": Decimal(0)}, "more than 0"),
        ({"basis": "minute", "most_minutes": Decimal("1.234")}, "two decimals"),
    ],
)
def test_rate_that_cannot_be_is_refused_in_words(project: Project, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(AnnotationError, match=said):
        set_rate(project, **{"crowd_usd": Decimal("0.1"), **wrong}, now=NOW)
    assert (PayRate.objects.count(), Project.objects.get().rate) == (0, None)


def test_what_somebody_earned_costs_their_screen_no_query(
    project: Project, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    from annotation.money.booking import earned_by

    ben = make_person(project, "ben")
    answered(project, ben, after=30, seconds=20)
    (at_work,) = Rater.objects.at_work(ben.user_id, project.slug)  # type: ignore[arg-type]
    with django_assert_num_queries(0):
        assert earned_by(at_work) == Decimal("0.30")
        assert pay_usd(at_work.project, "crowd") == Decimal("0.30")


# --- The budget -----------------------------------------------------------------------------------------------------


def broken(project: Project) -> list[str]:
    return [check.name for check in check_invariants(project, now=NOW + timedelta(hours=1)) if check.broken]


def test_minutes_that_were_not_needed_go_back_to_the_budget(project: Project) -> None:
    set_people_budget(project, Decimal("0.80"))
    set_rate(project, basis="minute", crowd_usd=Decimal("0.2"), most_minutes=Decimal(3), now=NOW)
    ben = make_person(project, "ben")
    assert answered(project, ben, after=300, seconds=60) == Decimal("0.2")
    assert (committed_usd(project), broken(project)) == (Decimal("0.2"), [])
    # 0.60 is left: one more answer can be promised, which takes the cap.
    assert answered(project, ben, after=300, seconds=300) == Decimal("0.6")
    assert (committed_usd(project), broken(project)) == (Decimal("0.8"), [])


def test_changed_answer_is_paid_for_its_time_as_far_as_the_budget_goes(project: Project) -> None:
    set_people_budget(project, Decimal("0.80"))
    set_rate(project, basis="minute", crowd_usd=Decimal("0.2"), most_minutes=Decimal(3), now=NOW)
    ben = make_person(project, "ben")
    for _ in range(2):
        answered(project, ben, after=300, seconds=60)
    first, second = (entry.assignment_id for entry in LedgerEntry.objects.order_by("pk"))
    revise(first, ben, Answer("b", seconds=120), now=NOW + timedelta(minutes=20))  # type: ignore[arg-type]
    assert (committed_usd(project), broken(project)) == (Decimal("0.8"), [])
    # Nothing is left: the change is stored all the same.
    revise(second, ben, Answer("b", seconds=120), now=NOW + timedelta(minutes=20))  # type: ignore[arg-type]
    assert Preference.objects.current().filter(choice="b").count() == 2
    assert (progress_of(project, ben).earned_usd, broken(project)) == (Decimal("0.8"), [])


def test_late_answer_is_paid_the_rate_its_pair_was_handed_out_at(project: Project) -> None:
    ben = make_person(project, "ben")
    open_tasks(project, [Opening(make_pair(project).pk)], votes_wanted=1)
    held = next_assignment(project, ben, now=NOW).assignment
    assert held is not None
    expire_leases(now=NOW + timedelta(hours=3))
    set_rate(project, crowd_usd=Decimal("0.05"), now=NOW + timedelta(hours=4))
    submit(held.pk, ben, Answer("a"), now=NOW + timedelta(hours=5))
    assert (LedgerEntry.objects.get().amount_usd, broken(project)) == (Decimal("0.30"), [])
