"""A quarter of a crowd works badly, in four ways: what gold, pausing and excluding leave of the harm."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple

import pandas as pd
import pytest

from annotation.aggregating import consensus, vote_frame
from annotation.assigning import Answer, Opening, next_assignment, open_tasks, submit
from annotation.checking import check_invariants
from annotation.models import Assignment, Choice, Membership, Project, Rater, Role, ShownOrder, Task, TaskState
from annotation.ruling import look_at
from annotation.scoring import alarm_at
from annotation.standards import Standards
from tests.builders import make_gold, make_pair, make_person, make_project

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
OTHER = {"a": "b", "b": "a"}
VOTES = 3


class Worker(NamedTuple):
    """Somebody simulated: what they do, and how often somebody who reads is right."""

    name: str
    does: str
    accuracy: float

    def answer(self, truth: str, first: str, draw: Random) -> str:
        """Return the stored choice on a pair with this known answer, of which this side stood first."""
        right = draw.random() < self.accuracy
        match self.does:
            case "clicks":
                return draw.choice(["a", "b"])
            case "keeps to one side":
                return first
            case "says tie":
                return "tie"
            case "turns it round":
                return OTHER[truth] if right else truth
            case _:
                return truth if right else OTHER[truth]


KINDS = ("clicks", "keeps to one side", "says tie", "turns it round")


def crowd(size: int, *, bad: bool, draw: Random) -> list[Worker]:
    """Return people of whom a quarter are bad, one of each kind in turn; the good are right 85 to 95 % of the time."""
    return [
        Worker(f"w{n:02}", KINDS[(n // 4) % 4] if bad and n % 4 == 3 else "reads", draw.uniform(0.85, 0.95))
        for n in range(size)
    ]


class Outcome(NamedTuple):
    """What came of a study: the share of right answers, who was paused, and everybody's gold answers."""

    right: float
    paused: set[str]
    gold: dict[str, int]


def share_right(votes: pd.DataFrame, truth: dict[str, str]) -> float:
    """Return the share of pairs whose answer by plurality is the true one; a contested pair is not right."""
    choice = consensus(votes)["choice"]
    return sum(str(choice.get(pair)) == true for pair, true in truth.items()) / len(truth)


# --- In memory: many studies ----------------------------------------------------------------------------------------

RULES = Standards(gold_percent=10.0, pause_on_gold=True, exclude_on_pause=True)


def study(seed: int, *, bad: bool, pairs: int = 1000, people: int = 16) -> Outcome:
    """Run a study as the project does: votes in turn, a tenth gold, a look after each, slots of the paused refilled."""
    draw = Random(seed)
    workers = crowd(people, bad=bad, draw=draw)
    truth = {str(n): draw.choice(["a", "b"]) for n in range(pairs)}
    votes: dict[str, dict[str, str]] = {pair: {} for pair in truth}
    marks: dict[str, list[bool]] = {worker.name: [] for worker in workers}
    paused: set[str] = set()
    seen: dict[str, set[str]] = {worker.name: set() for worker in workers}
    while True:
        answered = False
        for worker in workers:
            if worker.name in paused:
                continue
            if draw.random() < RULES.gold_percent / 100:
                true = draw.choice(["a", "b"])
                marks[worker.name].append(worker.answer(true, draw.choice(["a", "b"]), draw) == true)
                if alarm_at(marks[worker.name], RULES) is not None:
                    paused.add(worker.name)
                    for given in votes.values():
                        given.pop(worker.name, None)
                    continue
            mine = seen[worker.name]
            free = next((pair for pair, given in votes.items() if len(given) < VOTES and pair not in mine), None)
            if free is None:
                continue
            mine.add(free)
            votes[free][worker.name] = worker.answer(truth[free], draw.choice(["a", "b"]), draw)
            answered = True
        if not answered:
            break
    rows = [(pair, choice, None) for pair, given in votes.items() for choice in given.values()]
    frame = pd.DataFrame(rows, columns=["pair_id", "choice", "strength"]).astype({"strength": float})
    return Outcome(share_right(frame, truth), paused, {name: len(theirs) for name, theirs in marks.items()})


def check(outcomes: list[Outcome], control: list[Outcome], *, people: int) -> None:
    """Assert what the issue asks for, and print it."""
    bad = [f"w{n:02}" for n in range(people) if n % 4 == 3]
    loss = sum(good.right - one.right for good, one in zip(control, outcomes, strict=True)) / len(outcomes)
    found = [name in one.paused for one in outcomes for name in bad]
    # Who was not paused by the end counts with all the gold they answered.
    gold = sum(one.gold[name] for one in outcomes for name in bad) / len(found)
    good = [name in one.paused for one in outcomes for name in (f"w{n:02}" for n in range(people)) if name not in bad]
    wrong = sum(good) / len(good)
    print(  # noqa: T201
        f"a quarter bad, {len(outcomes)} studies: consensus loses {100 * loss:.2f} points; {sum(found)} of"
        f" {len(found)} bad people paused, after {gold:.1f} gold pairs on average; {wrong:.2%} of the"
        f" good paused"
    )
    assert loss <= 0.01
    assert gold <= 15
    assert wrong <= 0.02
    assert sum(found) >= 0.9 * len(found)


def test_a_quarter_of_bad_workers_costs_a_point_at_most() -> None:
    seeds = range(4)
    check([study(s, bad=True) for s in seeds], [study(s, bad=False) for s in seeds], people=16)


@pytest.mark.slow
def test_a_quarter_of_bad_workers_costs_a_point_at_most_in_many_studies() -> None:
    """`python -m pytest -m slow -s tests/annotation/test_bad_workers.py`: some minutes."""
    seeds = range(60)
    check([study(s, bad=True) for s in seeds], [study(s, bad=False) for s in seeds], people=16)


# --- Through the assignment code ------------------------------------------------------------------------------------


def run(slug: str, *, bad: bool, seed: int, people: int, pairs: int) -> Outcome:
    """Run a study through leases, submits, looks, pauses and exclusions of the project itself."""
    draw = Random(seed)
    standards = {"gold_percent": 25.0, "pause_on_gold": True, "exclude_on_pause": True}
    project = make_project(slug, standards=standards, seed=seed)
    truth: dict[str, str] = {}
    made = [make_pair(project) for _ in range(pairs)]
    for pair in made:
        truth[str(pair.pk)] = draw.choice(["a", "b"])
    open_tasks(project, [Opening(pair.pk, float(-n)) for n, pair in enumerate(made)], votes_wanted=VOTES)
    known = {}
    for _ in range(60):
        true = draw.choice(["a", "b"])
        known[str(make_gold(project, [true]).pair_id)] = true
    workers = crowd(people, bad=bad, draw=draw)
    raters = {worker: member(project, f"{slug}-{worker.name}") for worker in workers}
    paused: set[str] = set()
    busy, step = list(workers), 0
    while busy:
        for worker in list(busy):
            step += 1
            rater, now = raters[worker], NOW + timedelta(seconds=step)
            leased = next_assignment(project, rater, now=now).assignment
            if leased is None:
                busy.remove(worker)
                continue
            asked_of = str(leased.task.pair_id)
            first = "a" if leased.shown_order == ShownOrder.AB else "b"
            choice = worker.answer({**truth, **known}[asked_of], first, draw)
            submit(leased.pk, rater, Answer(Choice(choice).value), now=now)
            if leased.gold_id is not None and look_at(rater, now=now) is not None:
                paused.add(worker.name)
                # What was theirs is open again: who had nothing left has.
                busy = [one for one in workers if one.name not in paused]
                break
    assert [one for one in check_invariants(project, now=NOW) if one.broken] == []
    assert not Task.objects.filter(project=project, state=TaskState.OPEN).exists()
    assert int(vote_frame(project).groupby("pair_id").size().min()) == VOTES
    asked = Assignment.objects.answered().filter(gold__isnull=False)
    gold = {worker.name: asked.filter(rater=rater).count() for worker, rater in raters.items()}
    return Outcome(share_right(vote_frame(project, list(truth)), truth), paused, gold)


def member(project: Project, name: str) -> Rater:
    rater = make_person(project, name)
    assert rater.user is not None
    Membership.objects.create(project=project, user=rater.user, role=Role.ANNOTATOR)
    return rater


@pytest.mark.slow
@pytest.mark.django_db
def test_the_same_through_the_assignment_code() -> None:
    """`python -m pytest -m slow -s tests/annotation/test_bad_workers.py`: the last one takes a minute or two."""
    with_bad, control = (run(f"crowd-{bad}".lower(), bad=bad, seed=3, people=16, pairs=250) for bad in (True, False))
    check([with_bad], [control], people=16)
