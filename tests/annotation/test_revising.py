"""Changing an answer: a new row for each change, the earlier ones kept, and the pair's task looked at again."""

from datetime import UTC, datetime, timedelta

import pytest

from annotation.answering import ByCriterion
from annotation.assigning import Answer, Opening, next_assignment, open_tasks, revise, submit
from annotation.checking import check_invariants
from annotation.creating import create_project
from annotation.errors import AlreadyAnswered, LeaseLost, TooLate
from annotation.models import Assignment, Membership, OutboxEvent, Preference, Project, Rater, Role, Task
from tests.builders import make_pair, make_person, make_project, make_user

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def study(pairs: int = 1, *, votes_wanted: int = 1, most_votes: int | None = None) -> Project:
    project = make_project()
    openings = [Opening(make_pair(project).pk, float(-number)) for number in range(pairs)]
    open_tasks(project, openings, votes_wanted=votes_wanted, most_votes=most_votes)
    return project


def answered(project: Project, rater: Rater, answer: Answer, minute: int = 0) -> Assignment:
    now = NOW + timedelta(minutes=minute)
    held = next_assignment(project, rater, now=now).assignment
    assert held is not None
    submit(held.pk, rater, answer, now=now, sent={"answer": "first2"})
    return Assignment.objects.get(pk=held.pk)


def test_a_changed_answer_stands_and_the_earlier_one_is_kept() -> None:
    project = study()
    ben = make_person(project)
    given = answered(project, ben, Answer("a", 2, "Clear.", seconds=10.0))
    changed = revise(given.pk, ben, Answer("b", 1, "Wrong, in fact.", seconds=4.0), now=NOW, sent={"answer": "second1"})
    assert isinstance(changed, Preference)
    assert [(row.choice, row.is_current, row.seconds) for row in Preference.objects.order_by("created_at")] == [
        ("a", False, 10.0),
        ("b", True, 14.0),
    ]
    assert changed.replaces == given.preference
    given.refresh_from_db()
    assert (given.preference, given.draft) == (changed, {"answer": "second1"})
    assert OutboxEvent.objects.count() == 2
    assert [check for check in check_invariants(now=NOW) if check.broken] == []


def test_the_same_answer_again_changes_nothing() -> None:
    project = study()
    ben = make_person(project)
    given = answered(project, ben, Answer("a", 2, "Clear.", seconds=10.0))
    assert revise(given.pk, ben, Answer("a", 2, "Clear.", seconds=99.0), now=NOW) == given.preference
    assert Preference.objects.count() == 1


def test_without_saying_so_another_answer_is_refused() -> None:
    project = study()
    ben = make_person(project)
    given = answered(project, ben, Answer("a"))
    with pytest.raises(AlreadyAnswered, match="open it from your last answers"):
        submit(given.pk, ben, Answer("b"), now=NOW)


def test_only_the_last_ten_can_be_changed() -> None:
    project = study(11)
    ben = make_person(project)
    given = [answered(project, ben, Answer("a"), minute) for minute in range(11)]
    with pytest.raises(TooLate, match="last 10"):
        revise(given[0].pk, ben, Answer("b"), now=NOW)
    assert isinstance(revise(given[1].pk, ben, Answer("b"), now=NOW), Preference)


def test_what_has_no_answer_cannot_be_changed() -> None:
    project = study()
    ben = make_person(project)
    held = next_assignment(project, ben, now=NOW).assignment
    assert held is not None
    with pytest.raises(LeaseLost, match="no answer of yours"):
        revise(held.pk, ben, Answer("b"), now=NOW)


def test_a_change_that_splits_people_asks_one_more() -> None:
    project = study(votes_wanted=2, most_votes=3)
    given = {}
    for name in ("ben", "cyd"):
        given[name] = answered(project, make_person(project, name), Answer("a"))
    assert Task.objects.get().state == "done"
    revise(given["cyd"].pk, make_person(project, "cyd"), Answer("b"), now=NOW)
    task = Task.objects.get()
    assert (task.state, task.votes_wanted, task.answered) == ("open", 3, 2)
    assert [check for check in check_invariants(now=NOW) if check.broken] == []


def test_rows_by_criterion_are_replaced_one_by_one() -> None:
    project = create_project(slug="tone", criteria={"tone": "Friendly?"})
    Membership.objects.create(project=project, user=make_user("ben"), role=Role.ANNOTATOR)
    open_tasks(project, [Opening(make_pair(project).pk)], votes_wanted=1)
    tone = project.criteria.get(name="tone")
    ben = make_person(project)
    given = answered(project, ben, Answer("a", by_criterion=(ByCriterion(tone.pk, "b", 1),)))
    revise(given.pk, ben, Answer("a", by_criterion=(ByCriterion(tone.pk, "tie"),)), now=NOW)
    rows = Preference.objects.filter(criterion=tone).order_by("created_at")
    assert [(row.choice, row.is_current) for row in rows] == [("b", False), ("tie", True)]
    assert rows[1].replaces == rows[0]
    assert Preference.objects.current().filter(criterion__isnull=True).count() == 1


def test_the_same_again_is_the_same_when_a_criterion_is_not_asked_any_more() -> None:
    project = create_project(slug="tone", criteria={"tone": "Friendly?"})
    Membership.objects.create(project=project, user=make_user("ben"), role=Role.ANNOTATOR)
    open_tasks(project, [Opening(make_pair(project).pk)], votes_wanted=1)
    ben = make_person(project)
    tone = project.criteria.get(name="tone")
    given = answered(project, ben, Answer("a", by_criterion=(ByCriterion(tone.pk, "b"),)))
    changed = revise(given.pk, ben, Answer("b"), now=NOW)
    assert revise(given.pk, ben, Answer("b"), now=NOW) == changed
    assert Preference.objects.filter(criterion__isnull=True).count() == 2
