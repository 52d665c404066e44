"""Any order of next, submit, skip, renew, break, expire, close and waiting agrees with a small model of the rules."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from annotation.assigning import (
    Answer,
    Opening,
    Waiting,
    close_untouched,
    expire_leases,
    next_assignment,
    open_tasks,
    release,
    renew,
    skip,
    submit,
)
from annotation.checking import check_invariants
from annotation.errors import AlreadyAnswered, LeaseLost
from annotation.models import Assignment, Membership, Preference, Rater, Task, TaskState
from tests.builders import make_pair, make_project, make_user

PAIRS, VOTES = 3, 2
NAMES = ("ben", "cyd", "dee")
LEASE = timedelta(minutes=10)


class Held(NamedTuple):
    """What the model knows of one assignment."""

    id: UUID
    state: str
    until: datetime
    choice: str = ""


class Assigning(RuleBasedStateMachine):
    """The rules with fixed votes; with `most` above them a pair on which people differ wants one vote more."""

    most: int | None = None
    # Pairs held beyond the one that is read.
    ahead = 0

    def __init__(self) -> None:
        super().__init__()
        self.example = transaction.atomic()
        self.example.__enter__()
        self.now = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
        self.project = make_project(with_people=False, lease_seconds=int(LEASE.total_seconds()))
        self.raters = {name: self._member(name) for name in NAMES}
        pairs = [make_pair(self.project) for _ in range(PAIRS)]
        openings = [Opening(pair.id, float(-number)) for number, pair in enumerate(pairs)]
        open_tasks(self.project, openings, votes_wanted=VOTES, most_votes=self.most)
        tasks = {task.pair_id: task.id for task in Task.objects.all()}
        self.tasks = [tasks[pair.id] for pair in pairs]
        self.pairs = {task: pair for pair, task in tasks.items()}
        self.held: dict[tuple[UUID, str], Held] = {}
        self.wanted = dict.fromkeys(self.tasks, VOTES)
        self.closed: set[UUID] = set()

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.example.__exit__(None, None, None)

    def _member(self, name: str) -> Rater:
        user = make_user(name)
        Membership.objects.create(project=self.project, user=user, role="annotator")
        return Rater.objects.create(project=self.project, user=user, kind="person", name=name)

    # --- the model ---

    def slots(self, task: UUID) -> int:
        return sum(held.state in ("leased", "submitted") for (key, _), held in self.held.items() if key == task)

    def free_slots(self, task: UUID) -> bool:
        return task not in self.closed and self.slots(task) < self.wanted[task]

    def counted(self, task: UUID) -> list[str]:
        return [held.choice for (key, _), held in self.held.items() if key == task and held.state == "submitted"]

    def complete(self, task: UUID) -> bool:
        return len(self.counted(task)) == self.wanted[task]

    def grow_if_split(self, task: UUID) -> None:
        choices = [choice for choice in self.counted(task) if choice != "unsure"]
        agree = any(choices.count(choice) >= 2 and choices.count(choice) > len(choices) / 2 for choice in choices)
        if self.most is not None and self.complete(task) and not agree and self.wanted[task] < self.most:
            self.wanted[task] += 1

    def fits(self, task: UUID, name: str) -> bool:
        """Say whether a person may still get a task, now or later."""
        held = self.held.get((task, name))
        return not self.complete(task) and task not in self.closed and (held is None or held.state == "expired")

    def task_state(self, task: UUID) -> TaskState:
        if task in self.closed:
            return TaskState.CLOSED
        return TaskState.DONE if self.complete(task) else TaskState.OPEN

    def lapse(self) -> int:
        lapsed = [key for key, held in self.held.items() if held.state == "leased" and held.until <= self.now]
        for key in lapsed:
            self.held[key] = self.held[key]._replace(state="expired")
        return len(lapsed)

    def expected_next(self, name: str) -> set[UUID] | Waiting:
        """Return the tasks a person holds then, or why none; gives back what ran out, like the reaper on reading."""
        mine = [task for (task, who), held in self.held.items() if who == name and held.state == "leased"]
        fitting = [task for task in self.tasks if task not in mine and self.fits(task, name)]
        free = [task for task in fitting if self.free_slots(task)]
        if holding := mine + free[: 1 + self.ahead - len(mine)]:
            return set(holding)
        if not fitting:
            return Waiting.ALL_DONE
        return self.expected_next(name) if self.lapse() else Waiting.NONE_FREE

    # --- what people do ---

    @rule(name=st.sampled_from(NAMES))
    def get_next(self, name: str) -> None:
        expected = self.expected_next(name)
        found = next_assignment(self.project, self.raters[name], now=self.now, ahead=self.ahead)
        if found.assignment is None:
            assert found.waiting == expected
            return
        assert {one.task_id for one in found.held} == expected
        for one in found.held:
            before = self.held.get((one.task_id, name))
            alive = before is not None and before.state == "leased" and before.until > self.now
            until = before.until if before is not None and alive else self.now + LEASE
            assert one.lease_until == until
            assert before is None or before.id == one.id
            self.held[one.task_id, name] = Held(one.id, "leased", until)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), choice=st.sampled_from(["a", "b", "tie", "unsure"]), clicks=st.integers(1, 2))
    def answer(self, data: st.DataObject, choice: str, clicks: int) -> None:
        task, name = key = data.draw(st.sampled_from(sorted(self.held)))
        held = self.held[key]
        for _ in range(clicks):
            self._answer_once(key, choice)
        assert Preference.objects.filter(pair__tasks=task, rater=self.raters[name]).count() == (held.state != "skipped")

    def _answer_once(self, key: tuple[UUID, str], choice: str) -> None:
        task, name = key
        held = self.held[key]
        answered = held.state in ("submitted", "extra")
        if held.state == "skipped":
            with pytest.raises(LeaseLost):
                submit(held.id, self.raters[name], Answer(choice), now=self.now)
        elif answered and held.choice != choice:
            with pytest.raises(AlreadyAnswered):
                submit(held.id, self.raters[name], Answer(choice), now=self.now)
        else:
            counts = held.state in ("leased", "submitted") or (held.state == "expired" and self.free_slots(task))
            stored = submit(held.id, self.raters[name], Answer(choice), now=self.now)
            assert isinstance(stored, Preference)
            assert (stored.choice, stored.is_extra) == (choice, not counts)
            self.held[key] = held._replace(state="submitted" if counts else "extra", choice=choice)
            if counts and not answered:
                self.grow_if_split(task)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def pass_on(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)))
        held = self.held[key]
        if held.state in ("submitted", "extra"):
            with pytest.raises(AlreadyAnswered):
                skip(held.id, self.raters[key[1]], reason="unclear", now=self.now)
        else:
            skip(held.id, self.raters[key[1]], reason="unclear", now=self.now)
            self.held[key] = held._replace(state="skipped")

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.held)))
        held = self.held[key]
        if held.state == "leased":
            assert renew(held.id, self.raters[key[1]], now=self.now).lease_until == self.now + LEASE
            for other, one in self.held.items():
                if other[1] == key[1] and one.state == "leased":
                    self.held[other] = one._replace(until=self.now + LEASE)
        else:
            with pytest.raises((AlreadyAnswered, LeaseLost)):
                renew(held.id, self.raters[key[1]], now=self.now)

    @rule(name=st.sampled_from(NAMES))
    def take_a_break(self, name: str) -> None:
        mine = [key for key, held in self.held.items() if key[1] == name and held.state == "leased"]
        assert release(self.project, self.raters[name]) == len(mine)
        for key in mine:
            self.held[key] = self.held[key]._replace(state="expired")

    @rule(minutes=st.integers(1, 15))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def reap(self) -> None:
        assert expire_leases(now=self.now) == self.lapse()

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        named = data.draw(st.sets(st.sampled_from(self.tasks)))
        used = {task for (task, _), held in self.held.items() if held.state in ("leased", "submitted", "extra")}
        expected = named - used - self.closed
        assert close_untouched(self.project, [self.pairs[task] for task in named]) == {
            self.pairs[task] for task in expected
        }
        self.closed |= expected

    @precondition(lambda self: self.closed)
    @rule()
    def open_again(self) -> None:
        openings = [Opening(self.pairs[task], float(-self.tasks.index(task))) for task in self.closed]
        assert open_tasks(self.project, openings, votes_wanted=VOTES, most_votes=self.most) == len(self.closed)
        self.closed.clear()

    # --- what always holds ---

    @invariant()
    def rows_are_the_model(self) -> None:
        stored = {
            (row.task_id, row.rater.name): (row.id, row.state) for row in Assignment.objects.select_related("rater")
        }
        assert stored == {key: (held.id, held.state) for key, held in self.held.items()}
        tasks = {task.pk: (task.state, task.votes_wanted) for task in Task.objects.all()}
        assert tasks == {task: (self.task_state(task), self.wanted[task]) for task in self.tasks}

    @invariant()
    def promises_hold(self) -> None:
        # Here nobody reaps unless a rule says so, so a lease may be overdue.
        assert [c for c in check_invariants(now=self.now) if c.broken and c.name != "leases_end"] == []


class AssigningAdaptively(Assigning):
    most = 3


class AssigningAhead(Assigning):
    most = 3
    ahead = 1


@pytest.mark.django_db
@pytest.mark.parametrize("machine", [Assigning, AssigningAdaptively, AssigningAhead])
def test_any_order_of_actions_agrees_with_the_model(machine: type[Assigning]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
