"""Gold and exclusion under many hands: tabs of one person, and answers that come in while others leave the count."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from annotation.assigning import Answer, Opening, next_assignment, open_tasks, submit
from annotation.checking import check_invariants
from annotation.errors import AlreadyAnswered, LeaseLost, PersonPaused
from annotation.excluding import exclude_answers, include_answers
from annotation.models import Assignment, Project, Rater, Task, TaskState
from tests.annotation.test_assigning_races import at_once, people
from tests.builders import make_gold, make_pair, make_project

pytestmark = [pytest.mark.django_db(transaction=True)]

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
TABS, FIRST, PAIRS = 6, 4, 12


@pytest.fixture(autouse=True)
def quiet(settings: Any) -> None:
    settings.OUTBOX_CONSUMERS = {}


def broken() -> list[Any]:
    return [check for check in check_invariants(now=NOW) if check.broken]


def reload(rater: Rater) -> Rater:
    return Rater.objects.select_related("project").get(pk=rater.pk)


def test_tabs_of_one_person_lease_the_first_gold_once_and_end_a_try_once() -> None:
    project = make_project(with_people=False, standards={"first_gold": FIRST, "tries": 2})
    for _ in range(3 * FIRST):
        make_gold(project)
    (ben,) = people(project, 1)

    def tab(number: int) -> None:
        rater = reload(ben)
        for step in range(4 * FIRST):
            now = NOW + timedelta(seconds=100 * step + number)
            found = next_assignment(project, rater, now=now, ahead=2)
            for one in found.held:
                try:
                    submit(one.pk, rater, Answer("b"), now=now)
                except (AlreadyAnswered, LeaseLost, PersonPaused):
                    continue
            rater = reload(rater)

    at_once([partial(tab, number) for number in range(TABS)])
    ben = reload(ben)
    # Both tries failed, each of as many pairs as asked; then nothing more came.
    assert (ben.qualification_tries, ben.qualified_at, ben.paused_reason) == (2, None, "rule:first_gold")
    answered = Assignment.objects.answered().filter(rater=ben)
    assert answered.count() == 2 * FIRST
    assert answered.values("gold").distinct().count() == 2 * FIRST
    assert broken() == []


def test_answers_that_come_in_while_others_leave_the_count_are_none_lost() -> None:
    project: Project = make_project(with_people=False)
    open_tasks(project, [Opening(make_pair(project).pk, float(-n)) for n in range(PAIRS)], votes_wanted=2)
    bad, *good = people(project, 5)

    def answer_all(rater: Rater) -> None:
        mine = reload(rater)
        for step in range(200):
            now = NOW + timedelta(seconds=step)
            one = next_assignment(project, mine, now=now).assignment
            if one is None:
                return
            submit(one.pk, mine, Answer("a"), now=now)

    answer_all(bad)

    def in_and_out() -> None:
        mine = reload(bad)
        for _ in range(3):
            exclude_answers(mine, reason="spam", by=None, now=NOW)
            include_answers(mine, by=None, now=NOW)
        exclude_answers(mine, reason="spam", by=None, now=NOW)

    at_once([in_and_out, *[partial(answer_all, rater) for rater in good]])
    for rater in good:
        answer_all(rater)
    assert broken() == []
    assert set(Task.objects.values_list("state", "answered")) == {(TaskState.DONE.value, 2)}
    assert not Assignment.objects.filter(rater=bad, state="submitted").exists()
    assert Assignment.objects.filter(rater=bad, state="extra").count() == PAIRS
