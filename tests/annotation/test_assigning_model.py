"""Any order of what people and managers do agrees with a small model of the rules.

People get pairs, answer, click twice, pass on, reload, go on, take breaks and come too late; managers close and open
pairs, pause people, change the votes wanted and the order, import and export.
"""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import NamedTemporaryFile
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
    reprioritise,
    skip,
    submit,
)
from annotation.checking import check_invariants
from annotation.errors import AlreadyAnswered, BudgetSpent, LeaseLost, PersonPaused
from annotation.importing import import_pairs
from annotation.models import Assignment, Membership, Pair, Preference, Rater, Task, TaskState
from annotation.pausing import pause_person, resume_person
from annotation.promising import committed_usd
from annotation.voting import set_votes
from exports.pseudonymising import pseudonym, pseudonym_key
from exports.reading import read_records
from tests.builders import make_pair, make_project, make_user

PAIRS, VOTES, MOST_PAIRS = 3, 2, 6
PAY = Decimal("0.30")
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
    # How many answers the project pays for in all.
    payable: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self.example = transaction.atomic()
        self.example.__enter__()
        self.steps = 0
        self.now = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
        self.project = make_project(
            with_people=False,
            lease_seconds=int(LEASE.total_seconds()),
            pay_per_answer_usd=PAY,
            people_budget_usd=None if self.payable is None else self.payable * PAY,
        )
        self.raters = {name: self._member(name) for name in NAMES}
        pairs = [make_pair(self.project) for _ in range(PAIRS)]
        openings = [Opening(pair.id, float(-number)) for number, pair in enumerate(pairs)]
        open_tasks(self.project, openings, votes_wanted=VOTES, most_votes=self.most)
        tasks = {task.pair_id: task.id for task in Task.objects.all()}
        self.tasks = [tasks[pair.id] for pair in pairs]
        self.priority = {task: float(-number) for number, task in enumerate(self.tasks)}
        self.pairs = {task: pair for pair, task in tasks.items()}
        self.held: dict[tuple[UUID, str], Held] = {}
        self.wanted: dict[UUID, int] = dict.fromkeys(self.tasks, VOTES)
        self.most_of: dict[UUID, int | None] = dict.fromkeys(self.tasks, self.most)
        self.closed: set[UUID] = set()
        self.paused: set[str] = set()

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
        most = self.most_of[task]
        if most is not None and self.complete(task) and not agree and self.wanted[task] < most:
            self.wanted[task] += 1

    def affordable(self) -> int:
        """Return how many more answers may be promised."""
        if self.payable is None:
            return len(self.tasks) * len(NAMES)
        return self.payable - sum(held.state in ("leased", "submitted", "extra") for held in self.held.values())

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
        if name in self.paused:
            return Waiting.PERSON_PAUSED
        mine = [task for (task, who), held in self.held.items() if who == name and held.state == "leased"]
        queue = sorted(self.tasks, key=lambda task: (-self.priority[task], task))
        fitting = [task for task in queue if task not in mine and self.fits(task, name)]
        free = [task for task in fitting if self.free_slots(task)]
        if holding := mine + free[: max(0, min(1 + self.ahead - len(mine), self.affordable()))]:
            return set(holding)
        if not fitting:
            return Waiting.ALL_DONE
        if self.lapse():
            return self.expected_next(name)
        return Waiting.BUDGET_SPENT if free else Waiting.NONE_FREE

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
        # A reload shows the same.
        again = next_assignment(self.project, self.raters[name], now=self.now, ahead=self.ahead)
        assert {one.id for one in again.held} == {one.id for one in found.held}

    @precondition(lambda self: self.held)
    @rule(data=st.data(), choice=st.sampled_from(["a", "b", "tie", "unsure"]), clicks=st.integers(1, 2))
    def answer(self, data: st.DataObject, choice: str, clicks: int) -> None:
        task, name = key = data.draw(st.sampled_from(sorted(self.held)))
        for _ in range(clicks):
            self._answer_once(key, choice)
        stored = self.held[key].state in ("submitted", "extra")
        assert Preference.objects.filter(pair__tasks=task, rater=self.raters[name]).count() == stored

    def _answer_once(self, key: tuple[UUID, str], choice: str) -> None:
        task, name = key
        held = self.held[key]
        answered = held.state in ("submitted", "extra")
        if held.state == "skipped":
            with pytest.raises(LeaseLost):
                submit(held.id, self.raters[name], Answer(choice), now=self.now)
        elif name in self.paused and not answered:
            with pytest.raises(PersonPaused):
                submit(held.id, self.raters[name], Answer(choice), now=self.now)
        elif held.state == "expired" and self.affordable() < 1:
            with pytest.raises(BudgetSpent):
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
        openings = [Opening(self.pairs[task], self.priority[task]) for task in self.closed]
        assert open_tasks(self.project, openings, votes_wanted=VOTES, most_votes=self.most) == len(self.closed)
        self.wanted.update(dict.fromkeys(self.closed, VOTES))
        self.most_of.update(dict.fromkeys(self.closed, self.most))
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
        # Asking costs more than a step does.
        self.steps += 1
        if self.steps % 5:
            return
        # Here nobody reaps unless a rule says so, so a lease may be overdue.
        assert [c for c in check_invariants(now=self.now) if c.broken and c.name != "leases_end"] == []


class AssigningAdaptively(Assigning):
    most = 3


class AssigningAhead(Assigning):
    most = 3
    ahead = 1


class AssigningUnderManagers(AssigningAhead):
    """What a manager does meanwhile, with money that does not pay for everything."""

    payable = 8

    @rule(name=st.sampled_from(NAMES))
    def pause_or_resume(self, name: str) -> None:
        rater = self.raters[name]
        if name in self.paused:
            assert resume_person(rater)
            self.paused.remove(name)
            return
        mine = [key for key, held in self.held.items() if key[1] == name and held.state == "leased"]
        assert pause_person(rater, reason="A question first.", now=self.now) == len(mine)
        for key in mine:
            self.held[key] = self.held[key]._replace(state="expired")
        self.paused.add(name)

    @rule(votes=st.integers(1, 3), more=st.integers(0, 2))
    def change_votes(self, votes: int, more: int) -> None:
        most = votes + more if more else None
        set_votes(self.project, votes_wanted=votes, most_votes=most)
        for task in self.tasks:
            wanted = max(votes, self.slots(task))
            limit = None if most is None else max(most, wanted)
            if task in self.closed or (self.wanted[task], self.most_of[task]) == (wanted, limit):
                continue
            self.wanted[task], self.most_of[task] = wanted, limit
            self.grow_if_split(task)

    @rule(data=st.data())
    def plan_again(self, data: st.DataObject) -> None:
        places = data.draw(st.permutations(range(len(self.tasks))))
        moved = {task: float(place) for task, place in zip(self.tasks, places, strict=True)}
        openings = [Opening(self.pairs[task], priority) for task, priority in moved.items()]
        reprioritise(self.project, openings)
        opened = [task for task in self.tasks if self.task_state(task) == TaskState.OPEN]
        self.priority.update({task: moved[task] for task in opened})

    @precondition(lambda self: len(self.tasks) < MOST_PAIRS)
    @rule()
    def bring_another_pair(self) -> None:
        number = len(self.tasks)
        record = {"id": f"more-{number}", "prompt": f"More {number}?", "response_a": "Yes.", "response_b": "No."}
        with NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()
            assert import_pairs(self.project, Path(file.name)).added == 1
            assert import_pairs(self.project, Path(file.name)).added == 0
        pair = Pair.objects.get(external_id=record["id"])
        open_tasks(self.project, [Opening(pair.pk, float(-number))], votes_wanted=VOTES, most_votes=self.most)
        task = Task.objects.get(pair=pair).pk
        self.tasks.append(task)
        self.pairs[task], self.priority[task] = pair.pk, float(-number)
        self.wanted[task], self.most_of[task] = VOTES, self.most

    @rule()
    def export(self) -> None:
        """Every counted answer is in the export once, and nothing else; a second export says the same."""
        key = pseudonym_key(self.project, 0)
        records = list(read_records(self.project, key=key))
        ids = dict(Pair.objects.values_list("external_id", "pk"))
        exported = sorted(
            (ids[record.external_id], vote.person, vote.choice) for record in records for vote in record.votes
        )
        assert exported == sorted(
            (self.pairs[task], pseudonym(key, name), held.choice)
            for (task, name), held in self.held.items()
            if held.state == "submitted"
        )
        assert list(read_records(self.project, key=key)) == records

    @invariant()
    def money_is_what_the_model_says(self) -> None:
        assert committed_usd(self.project) == (self.payable - self.affordable()) * PAY


@pytest.mark.django_db
@pytest.mark.parametrize("machine", [Assigning, AssigningAdaptively, AssigningUnderManagers])
def test_any_order_of_actions_agrees_with_the_model(machine: type[Assigning]) -> None:
    run(machine, examples=6, steps=25)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.django_db
@pytest.mark.parametrize("machine", [AssigningAhead, AssigningUnderManagers])
def test_any_order_of_actions_agrees_with_the_model_for_long(machine: type[Assigning]) -> None:
    """Run by: pytest -m slow tests/annotation/test_assigning_model.py ."""
    run(machine, examples=200, steps=50)


def run(machine: type[Assigning], *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
