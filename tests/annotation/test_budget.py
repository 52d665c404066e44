"""The budget for people is a hard stop: what is held and answered never costs more, whoever reaches for the last."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from annotation import promising, repeating
from annotation.assigning import (
    Answer,
    Next,
    Opening,
    Waiting,
    expire_leases,
    next_assignment,
    open_tasks,
    release,
    skip,
    submit,
)
from annotation.errors import AnnotationError, BudgetSpent
from annotation.models import Assignment, AssignmentState, Origin, Project, Purse, Rater
from annotation.promising import committed_usd, set_people_budget
from tests.annotation.test_assigning_races import at_once, broken, people
from tests.builders import make_pair, make_person, make_project

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
LATE = NOW + timedelta(hours=1)


def study(pairs: int, budget: str | None, *, votes: int = 1, **settings: Any) -> Project:
    project = make_project(people_budget_usd=budget and Decimal(budget), lease_seconds=600, **settings)
    openings = [Opening(make_pair(project).pk, float(-number)) for number in range(pairs)]
    open_tasks(project, openings, votes_wanted=votes)
    project.refresh_from_db()
    return project


def get(project: Project, rater: Rater, *, ahead: int = 0, now: datetime = NOW, **more: Any) -> Next:
    return next_assignment(project, rater, now=now, ahead=ahead, **more)


def answer(found: Next, rater: Rater, *, now: datetime = NOW) -> Any:
    assert found.assignment is not None
    return submit(found.assignment.pk, rater, Answer("a"), now=now)


# --- One person -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_leases_stop_where_the_money_does_and_go_on_where_some_comes_back() -> None:
    project = study(5, "0.95")
    ben, cyd = make_person(project), make_person(project, "cyd")
    found = get(project, ben, ahead=3)
    assert (len(found.held), committed_usd(project)) == (3, Decimal("0.9"))
    assert get(project, cyd).waiting is Waiting.BUDGET_SPENT
    answer(found, ben)
    assert committed_usd(project) == Decimal("0.9")
    assert get(project, cyd).waiting is Waiting.BUDGET_SPENT
    skip(found.held[1].pk, ben, reason="unclear", now=NOW)
    assert committed_usd(project) == Decimal("0.6")
    assert get(project, cyd).assignment is not None
    assert broken(NOW) == []


@pytest.mark.django_db
def test_money_of_leases_that_ran_out_is_looked_for_before_the_budget_is_called_spent() -> None:
    project = study(2, "0.30")
    ben, cyd = make_person(project), make_person(project, "cyd")
    get(project, ben)
    assert get(project, cyd).waiting is Waiting.BUDGET_SPENT
    assert get(project, cyd, now=LATE).assignment is not None
    assert broken(LATE) == []


@pytest.mark.django_db
def test_a_late_answer_is_paid_from_the_budget_or_refused_and_not_stored() -> None:
    project = study(3, "0.60")
    ben, cyd = make_person(project), make_person(project, "cyd")
    late, later = get(project, ben, ahead=1).held
    expire_leases(now=LATE)
    assert committed_usd(project) == 0
    answer(get(project, cyd, now=LATE), cyd, now=LATE)
    submit(late.pk, ben, Answer("b"), now=LATE)
    assert committed_usd(project) == Decimal("0.6")
    with pytest.raises(BudgetSpent, match="no money left"):
        submit(later.pk, ben, Answer("b"), now=LATE)
    later.refresh_from_db()
    assert (later.state, later.preference) == ("expired", None)
    assert later.promised_usd == 0
    # The same answer again is the stored one, though nothing is left to pay it with.
    submit(late.pk, ben, Answer("b"), now=LATE)
    assert broken(LATE) == []


@pytest.mark.django_db
def test_extras_and_hidden_repeats_are_paid_from_the_same_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeating, "GAP", 0)
    project = study(1, "0.90")
    ben, cyd = make_person(project), make_person(project, "cyd")
    late = get(project, ben)
    expire_leases(now=LATE)
    answer(get(project, cyd, now=LATE), cyd, now=LATE)
    assert answer(late, ben, now=LATE).is_extra
    assert committed_usd(project) == Decimal("0.6")
    repeat = get(project, cyd, now=LATE, repeat_percent=100).assignment
    assert repeat is not None
    assert repeat.repeats_id is not None
    assert committed_usd(project) == Decimal("0.9")
    assert set(Purse.objects.values_list("left_micros", flat=True)) == {0}
    assert broken(LATE) == []


@pytest.mark.django_db
def test_what_was_promised_stays_whatever_is_paid_for_the_next() -> None:
    project = study(3, "1.00")
    ben = make_person(project)
    first = get(project, ben)
    Project.objects.update(pay_per_answer_usd=Decimal("0.50"))
    project.refresh_from_db()
    answer(first, ben)
    answer(get(project, ben), ben)
    assert sorted(Assignment.objects.values_list("promised_usd", flat=True)) == [Decimal("0.3"), Decimal("0.5")]
    assert get(project, ben).waiting is Waiting.BUDGET_SPENT


@pytest.mark.django_db
def test_simulated_people_cost_nothing() -> None:
    project = study(3, "0.00")
    robot = Rater.objects.create(project=project, kind="person", name="robot", origin=Origin.SIMULATED)
    answer(get(project, robot), robot)
    assert committed_usd(project) == 0
    assert get(project, make_person(project)).waiting is Waiting.BUDGET_SPENT


@pytest.mark.django_db
def test_a_budget_can_be_raised_lifted_and_not_set_below_what_is_promised() -> None:
    project = study(9, "0.30")
    ben = make_person(project)
    get(project, ben)
    with pytest.raises(AnnotationError, match=r"\$0\.30 already"):
        set_people_budget(project, Decimal("0.29"))
    assert project.people_budget_usd == Project.objects.get().people_budget_usd == Decimal("0.3")
    with pytest.raises(AnnotationError, match="0 US dollars or more"):
        set_people_budget(project, Decimal(-1))
    set_people_budget(project, Decimal("0.60"))
    assert len(get(project, ben, ahead=3).held) == 2
    set_people_budget(project, None)
    assert len(get(project, ben, ahead=3).held) == 4
    set_people_budget(project, Decimal("1.20"))
    assert len(get(project, ben, ahead=9).held) == 4
    assert broken(NOW) == []


@pytest.mark.django_db
def test_a_request_that_still_knows_another_budget_keeps_to_the_stored_one() -> None:
    project = study(9, "3.00")
    ben = make_person(project)
    get(project, ben)
    before = Project.objects.get()
    set_people_budget(project, Decimal("0.60"))
    assert len(get(before, ben, ahead=4).held) == 2
    assert before.people_budget_usd == Decimal("0.6")


@pytest.mark.django_db
def test_releasing_gives_the_money_back() -> None:
    project = study(4, "0.60")
    ben = make_person(project)
    get(project, ben, ahead=1)
    assert release(project, ben) == 2
    assert committed_usd(project) == 0
    assert broken(NOW) == []


@pytest.mark.django_db
def test_a_recount_finds_money_that_is_missing_and_money_that_is_too_much() -> None:
    project = study(9, "12.34", pay_per_answer_usd=Decimal("0.07"))
    ben = make_person(project)
    get(project, ben, ahead=2)
    assert broken(NOW) == []
    Purse.objects.filter(number=0).update(left_micros=F("left_micros") - 100)
    assert [check.name for check in broken(NOW)] == ["purses"]
    Project.objects.update(people_budget_usd=Decimal("0.2099"))
    assert [check.name for check in broken(NOW)] == ["budget"]


# --- What it costs --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_lease_in_a_project_with_a_budget_is_one_query_more() -> None:
    counted = []
    for slug, budget in (("free", None), ("bound", "99.00")):
        project = study(4, budget, slug=slug)
        ben = make_person(project)
        answer(get(project, ben), ben)
        with CaptureQueriesContext(connection) as queries:
            get(project, ben)
        counted.append(len(queries))
    assert counted[1] == counted[0] + 1


@pytest.mark.django_db
def test_while_there_is_plenty_people_take_from_purses_of_their_own() -> None:
    project = study(1, "300.00")
    set_people_budget(project, Decimal("300.00"))
    lefts = Purse.objects.order_by("number").values_list("left_micros", flat=True)
    assert list(lefts.all()) == [37_500_000] * promising.PURSES
    set_people_budget(project, Decimal("30.00"))
    assert list(lefts.all()) == [30_000_000] + [0] * (promising.PURSES - 1)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_lease_under_way_keeps_nobody_with_another_purse_waiting() -> None:
    """Somebody's lease is not stored yet; somebody else takes one meanwhile, which a single counter would hold up."""
    project = study(9, "300.00", with_people=False)
    raters = people(project, 12)
    ann = raters[0]
    other = next(one for one in raters if one.pk.int % promising.PURSES not in (0, ann.pk.int % promising.PURSES))
    get(project, ann)
    taken = threading.Event()

    def take_slowly() -> None:
        with transaction.atomic():
            get(project, ann, ahead=1)
            assert taken.wait(timeout=10)

    def take() -> None:
        assert get(project, other).assignment is not None
        taken.set()

    at_once([take_slowly, take])
    assert broken(NOW) == []


# --- Many at once ---------------------------------------------------------------------------------------------------


def rush(project: Project, rater: Rater, *, ahead: int = 0) -> int:
    """Answer until no pair is left or no money, like somebody with a request of their own each time."""
    answers = 0
    while True:
        found = get(Project.objects.get(pk=project.pk), rater, ahead=ahead)
        if found.assignment is None:
            if found.waiting in (Waiting.BUDGET_SPENT, Waiting.ALL_DONE):
                return answers
            continue
        answer(found, rater)
        answers += 1


@pytest.mark.django_db(transaction=True)
def test_the_last_ten_payable_slots_are_paid_to_exactly_ten(settings: Any) -> None:
    """Thirty-two people reach for them at once, each for one and for one ahead."""
    settings.OUTBOX_CONSUMERS = {}
    project = study(60, "3.10", with_people=False)
    raters = people(project, 32)
    answers = at_once([partial(rush, project, rater, ahead=1) for rater in raters])
    assert sum(answers) == Assignment.objects.paid().count() == 10
    assert committed_usd(project) == Decimal("3.0")
    assert not Assignment.objects.filter(state=AssignmentState.LEASED).exists()
    assert broken(NOW) == []


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("run", range(20))
def test_the_last_ten_payable_slots_twenty_times(run: int, settings: Any) -> None:
    """Run by: pytest -m slow tests/annotation/test_budget.py ."""
    test_the_last_ten_payable_slots_are_paid_to_exactly_ten(settings)


@pytest.mark.django_db(transaction=True)
def test_money_that_lies_in_many_purses_is_spent_to_the_last_answer(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OUTBOX_CONSUMERS = {}
    monkeypatch.setattr(promising, "PLENTY", 1)
    project = study(80, "15.20", with_people=False)
    answers = at_once([partial(rush, project, rater) for rater in people(project, 12)])
    assert sum(answers) == 50
    assert broken(NOW) == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_budget_that_is_checked_and_then_promised_would_be_passed(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a program does that adds up first and then leases: everybody finds the money that everybody takes."""
    settings.OUTBOX_CONSUMERS = {}
    project = study(60, "3.10", with_people=False)

    def check_then_promise(project: Project, rater: Rater, assignments: list[Assignment]) -> None:
        with transaction.atomic():
            if assignments and committed_usd(project) > Decimal("3.10"):
                raise promising.PurseEmpty(300_000)

    monkeypatch.setattr("annotation.assigning.promise", check_then_promise)
    monkeypatch.setattr("annotation.assigning.affordable", lambda *_: 0)
    at_once([partial(rush, project, rater, ahead=1) for rater in people(project, 32)])
    assert "budget" in {check.name for check in broken(NOW)}
