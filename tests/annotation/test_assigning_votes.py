"""A pair wants one answer more while people differ, up to its most; two who agree are enough."""

from datetime import UTC, datetime, timedelta

import pytest

from annotation.assigning import (
    Answer,
    Opening,
    Waiting,
    close_untouched,
    is_settled,
    next_assignment,
    open_tasks,
    skip,
    submit,
)
from annotation.checking import check_invariants
from annotation.errors import AnnotationError
from annotation.models import Membership, Preference, Project, Rater, Role, Task, TaskState, Tier
from tests.builders import make_pair, make_person, make_project, make_user

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
NAMES = ("ben", "cyd", "dee", "eli", "fay")


def study(*, most: int | None = 3, expert: bool = False, pairs: int = 1) -> tuple[Project, list[Rater]]:
    """Return a project whose pairs want two answers at first, and five people."""
    project = make_project(lease_seconds=600)
    raters = []
    for name in NAMES:
        user = make_person(project, name).user
        Membership.objects.get_or_create(project=project, user=user, defaults={"role": Role.ANNOTATOR})
        raters.append(make_person(project, name))
    openings = [Opening(make_pair(project).pk) for _ in range(pairs)]
    open_tasks(project, openings, votes_wanted=2, most_votes=most, expert_on_split=expert)
    return project, raters


def answer(project: Project, rater: Rater, choice: str) -> Preference:
    held = next_assignment(project, rater, now=NOW).assignment
    assert held is not None
    stored = submit(held.pk, rater, Answer(choice), now=NOW)
    assert isinstance(stored, Preference)
    return stored


def state() -> tuple[str, int, int, int]:
    task = Task.objects.get(tier=Tier.CROWD)
    return task.state, task.votes_wanted, task.taken, task.answered


def broken() -> list[str]:
    return [check.name for check in check_invariants(now=NOW) if check.broken]


@pytest.mark.parametrize(
    ("choices", "settled"),
    [
        ([], False),
        (["a"], False),
        (["a", "a"], True),
        (["a", "b"], False),
        (["a", "unsure"], False),
        (["a", "unsure", "a"], True),
        (["a", "b", "a"], True),
        (["tie", "both_bad"], False),
        (["a", "b", "tie", "a"], False),
        (["a", "b", "tie", "a", "a"], True),
    ],
)
def test_answers_settle_a_pair_when_more_than_half_and_at_least_two_agree(choices: list[str], settled: bool) -> None:
    assert is_settled(choices) is settled


def test_two_who_agree_are_enough() -> None:
    project, raters = study()
    answer(project, raters[0], "a")
    answer(project, raters[1], "a")
    assert state() == (TaskState.DONE, 2, 2, 2)
    assert next_assignment(project, raters[2], now=NOW).waiting == Waiting.ALL_DONE


@pytest.mark.parametrize("second", ["b", "tie", "unsure"])
def test_a_split_wants_one_more_answer_and_ends_with_it(second: str) -> None:
    project, raters = study()
    answer(project, raters[0], "a")
    answer(project, raters[1], second)
    assert state() == (TaskState.OPEN, 3, 2, 2)
    answer(project, raters[2], "both_bad")
    assert state() == (TaskState.DONE, 3, 3, 3)
    assert broken() == []


def test_votes_grow_one_at_a_time_up_to_the_most() -> None:
    project, raters = study(most=5)
    seen = []
    for rater, choice in zip(raters, ["a", "b", "tie", "a", "both_bad"], strict=True):
        answer(project, rater, choice)
        seen.append(state()[:2])
    assert seen == [("open", 2), ("open", 3), ("open", 4), ("open", 5), ("done", 5)]
    assert broken() == []


def test_votes_that_are_fixed_do_not_grow() -> None:
    project, raters = study(most=None)
    answer(project, raters[0], "a")
    answer(project, raters[1], "b")
    assert state() == (TaskState.DONE, 2, 2, 2)
    assert broken() == []


def test_an_extra_answer_neither_settles_nor_splits() -> None:
    project, raters = study()
    late = next_assignment(project, raters[0], now=NOW).assignment
    assert late is not None
    later = NOW + timedelta(hours=1)
    for rater in raters[1:3]:
        held = next_assignment(project, rater, now=later).assignment
        assert held is not None
        submit(held.pk, rater, Answer("a"), now=later)
    assert submit(late.pk, raters[0], Answer("b"), now=later).is_extra
    assert state() == (TaskState.DONE, 2, 2, 2)


def test_a_late_answer_takes_the_slot_that_a_split_opened() -> None:
    project, raters = study()
    late = next_assignment(project, raters[0], now=NOW).assignment
    assert late is not None
    later = NOW + timedelta(hours=1)
    for rater, choice in zip(raters[1:3], "ab", strict=True):
        held = next_assignment(project, rater, now=later).assignment
        assert held is not None
        submit(held.pk, rater, Answer(choice), now=later)
    assert not submit(late.pk, raters[0], Answer("b"), now=later).is_extra
    assert state() == (TaskState.DONE, 3, 3, 3)


def test_a_split_opens_one_vote_of_an_expert_where_that_was_asked() -> None:
    project, raters = study(expert=True)
    user = make_user("xia")
    Membership.objects.create(project=project, user=user, role=Role.EXPERT)
    expert = make_person(project, "xia")
    answer(project, raters[0], "a")
    assert not Task.objects.filter(tier=Tier.EXPERT).exists()
    answer(project, raters[1], "b")
    assert state() == (TaskState.DONE, 2, 2, 2)
    task = Task.objects.get(tier=Tier.EXPERT)
    assert (task.state, task.votes_wanted, task.most_votes) == (TaskState.OPEN, 1, None)
    # Nobody of the crowd, and none of the two, sees it.
    assert next_assignment(project, raters[2], now=NOW).waiting == Waiting.ALL_DONE
    answer(project, expert, "b")
    task.refresh_from_db()
    assert task.state == TaskState.DONE
    assert broken() == []


def test_checks_see_a_split_that_ended_too_early_and_a_closed_task_in_use() -> None:
    project, raters = study(pairs=2)
    answer(project, raters[0], "a")
    answer(project, raters[0], "a")
    task = Task.objects.order_by("id").first()
    assert task is not None
    Task.objects.filter(pk=task.pk).update(state=TaskState.CLOSED)
    assert broken() == ["closed_are_free"]
    Task.objects.filter(pk=task.pk).update(state=TaskState.DONE, votes_wanted=1)
    assert broken() == ["splits_grow"]


def test_tasks_are_refused_that_may_get_fewer_votes_than_they_want() -> None:
    project = make_project()
    with pytest.raises(AnnotationError, match="at most 2 votes, but 3 are wanted"):
        open_tasks(project, [Opening(make_pair(project).pk)], votes_wanted=3, most_votes=2)


def test_closing_spares_what_is_held_or_answered_and_what_is_closed_opens_again() -> None:
    project, raters = study(pairs=4)
    answer(project, raters[0], "a")
    held = next_assignment(project, raters[1], now=NOW).assignment
    assert held is not None
    tasks = {task.pair_id: task for task in Task.objects.all()}
    free = {pair_id for pair_id, task in tasks.items() if not task.taken}
    assert close_untouched(project, tasks) == free
    assert set(Task.objects.filter(state=TaskState.CLOSED).values_list("pair_id", flat=True)) == free
    assert close_untouched(project, tasks) == set()
    # Nobody is served what is closed: both slots of the one pair that is open are taken.
    assert next_assignment(project, raters[2], now=NOW).waiting == Waiting.NONE_FREE
    assert open_tasks(project, [Opening(pair_id, 2.0) for pair_id in tasks], votes_wanted=1) == len(free)
    reopened = Task.objects.filter(pair_id__in=free)
    assert set(reopened.values_list("state", "votes_wanted", "most_votes", "priority")) == {("open", 1, None, 2.0)}
    assert broken() == []


def test_a_pair_with_an_answer_beyond_its_slots_is_not_closed() -> None:
    project, raters = study(pairs=1)
    late = next_assignment(project, raters[0], now=NOW).assignment
    assert late is not None
    later = NOW + timedelta(hours=1)
    others = [next_assignment(project, rater, now=later).assignment for rater in raters[1:3]]
    submit(late.pk, raters[0], Answer("a"), now=later)
    for rater, other in zip(raters[1:3], others, strict=True):
        assert other is not None
        skip(other.pk, rater, reason="unclear", now=later)
    assert Task.objects.get().taken == 0
    assert close_untouched(project, [Task.objects.get().pair_id]) == set()
