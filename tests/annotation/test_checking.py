"""`check_invariants` sees every broken promise, and nothing in healthy rows."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from annotation.assigning import Answer, Opening, next_assignment, open_tasks, submit
from annotation.checking import SWEEP, check_invariants
from annotation.models import Assignment, AssignmentState, Preference, Project, Ranking, Slate, Task, TaskState
from tests.builders import make_pair, make_person, make_preference, make_project

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def worked_on(slug: str = "helpfulness") -> Project:
    """Return a project with one pair answered by ben, of two votes wanted, and held by cyd."""
    project = make_project(slug, lease_seconds=600)
    open_tasks(project, [Opening(make_pair(project).id)], votes_wanted=2)
    for name in ("ben", "cyd"):
        held = next_assignment(project, make_person(project, name), now=NOW).assignment
        assert held is not None
        if name == "ben":
            submit(held.id, held.rater, Answer("a"), now=NOW)
    return project


def broken(project: Project | None = None, now: datetime = NOW) -> dict[str, int]:
    return {check.name: check.broken for check in check_invariants(project, now=now) if check.broken}


def give_a_third_slot() -> None:
    """Leave behind what a lost lock would."""
    task = Task.objects.get()
    Assignment.objects.create(
        task=task,
        rater=make_person(task.project, "ada"),
        slot=2,
        place=0,
        shown_order="ab",
        leased_at=NOW,
        lease_until=NOW + timedelta(seconds=600),
    )


def answer_twice() -> None:
    preference = Preference.objects.get()
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX one_current_preference_per_pair_and_rater")
    make_preference(preference.pair, preference.rater, "b")


def close_too_early() -> None:
    Task.objects.update(state=TaskState.DONE)


def miscount() -> None:
    Task.objects.update(answered=0)


def swap_the_person() -> None:
    Preference.objects.update(rater=make_person(Project.objects.get(), "ada"))


def lose_the_extra() -> None:
    Preference.objects.update(is_extra=True)


def hold_what_was_passed_on() -> None:
    Assignment.objects.filter(state=AssignmentState.LEASED).update(skip_reason="unclear")


def repeat_on_the_same_sides() -> None:
    first = Assignment.objects.get(state=AssignmentState.SUBMITTED)
    Assignment.objects.create(
        task=first.task,
        rater=first.rater,
        repeats=first,
        place=0,
        shown_order=first.shown_order,
        leased_at=NOW,
        lease_until=NOW + timedelta(seconds=600),
    )


def order_that_was_replaced() -> None:
    pair = Preference.objects.get().pair
    slate = Slate.objects.create(project=pair.project, prompt=pair.prompt)
    rater = make_person(pair.project, "ada")
    ranking = Ranking.objects.create(slate=slate, rater=rater, ranks=[1, 2], basis="ranking", is_current=False)
    make_preference(pair, rater, "a", ranking=ranking)


def test_healthy_rows_break_nothing() -> None:
    assert broken(worked_on()) == {}


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (give_a_third_slot, {"no_overshoot": 1, "counters": 1}),
        (answer_twice, {"one_answer": 1}),
        (close_too_early, {"states": 1}),
        (miscount, {"counters": 1}),
        (swap_the_person, {"answers_belong": 1}),
        (lose_the_extra, {"answers_belong": 1}),
        (hold_what_was_passed_on, {"leases_are_fresh": 1}),
        (repeat_on_the_same_sides, {"repeats_are_same": 1}),
        (order_that_was_replaced, {"orders_hold": 1}),
    ],
)
def test_damage_is_found(damage: Callable[[], None], found: dict[str, int]) -> None:
    worked_on()
    damage()
    assert broken() == found


def test_lease_two_sweeps_late_is_found() -> None:
    project = worked_on()
    end = Assignment.objects.get(state=AssignmentState.LEASED).lease_until
    assert broken(project, end + SWEEP) == {}
    assert broken(project, end + SWEEP + timedelta(seconds=1)) == {"leases_end": 1}


def test_only_the_named_project_is_checked() -> None:
    worked_on()
    miscount()
    other = make_project("other", with_people=False)
    assert (broken(other), broken()) == ({}, {"counters": 1})


def test_command_prints_every_promise_and_one_object_on_the_last_line() -> None:
    make_project()
    out = StringIO()
    call_command("check_invariants", "helpfulness", "--json", stdout=out)
    lines = out.getvalue().splitlines()
    report = json.loads(lines[-1])
    assert (report["ok"], len(report["checks"])) == (True, len(lines) - 1)


def test_command_fails_on_a_broken_promise_and_still_prints_the_object() -> None:
    worked_on()
    miscount()
    out = StringIO()
    with pytest.raises(CommandError, match="promises are broken: leases_end, counters"):
        call_command("check_invariants", "--json", stdout=out)
    report = json.loads(out.getvalue().splitlines()[-1])
    assert report["ok"] is False
    assert [check["examples"] for check in report["checks"] if check["name"] == "counters"] == [
        [str(Task.objects.get().id)]
    ]


def test_command_names_the_projects_there_are() -> None:
    make_project()
    with pytest.raises(CommandError, match=r"There is no project 'helpful'\. Projects: helpfulness"):
        call_command("check_invariants", "helpful")
