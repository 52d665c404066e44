"""What came of a simulated crowd: counted from the stored rows, and checked against what was meant."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import Count
from django.utils import timezone

from annotation.aggregating import consensus, vote_frame
from annotation.checking import check_invariants
from annotation.models import Assignment, GoldKind, Origin, PayBasis, Project, Rater, Submission, Task, TaskState, Tier
from annotation.observing import signs_of
from annotation.pricing import pay_usd, time_usd
from annotation.ruling import rule_of
from annotation.scoring import marks_of
from annotation.simulating.behaving import times_of
from annotation.simulating.knowing import Knowledge
from annotation.simulating.people import Habits, Person
from annotation.simulating.registering import strangers
from annotation.simulating.running import Run

REAL_CLOCK = (
    "The server's clock is real: stored active seconds, the sign 'fast', pay by the minute in the book, and shares of a"
    " day are not what they would be. Hours and cost here are of the simulated clock."
)


class OfKind(NamedTuple):
    """What the people of one kind did; shares are of their answers, None without any.

    `right`: of all their answers. `gold_until_paused`: the mean number of gold answers of who a rule paused.
    `flagged`: of how many people a sign stands out (`annotation.noticing`).
    """

    kind: str
    is_good: bool
    people: int
    answers: int
    right: float | None
    gold: int
    gold_right: float | None
    paused: int
    gold_until_paused: float | None
    flagged: int


class CrowdReport(NamedTuple):
    """What came of a crowd, all its runs together but for `run` (of the last one).

    `accuracy`: the share of decided pairs whose consensus is the true answer; contested pairs are not right. `cost_usd`
    is what the answers would have cost real people; nothing is booked. `faults`: invariants that do not hold, replies
    that nobody should get, and answers that are not what was meant.
    """

    origin: str
    resumed: bool
    interrupted: bool
    truth: dict[str, int]
    people: int
    arrived: int
    answers: int
    votes: int
    gold: int
    repeats: int
    extras: int
    pairs_done: int
    pairs_open: int
    contested: int
    accuracy: float | None
    answers_per_hour: float | None
    hours: float
    real_seconds: float
    cost_usd: Decimal
    ended_as: dict[str, int]
    run: dict[str, int]
    kinds: list[OfKind]
    faults: list[str]
    note: str

    @property
    def wrongly_paused(self) -> int:
        """Return how many people a rule paused who read."""
        return sum(kind.paused for kind in self.kinds if kind.is_good)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        kinds = [kind._asdict() for kind in self.kinds]
        return {**self._asdict(), "kinds": kinds, "wrongly_paused": self.wrongly_paused}


def report_on(
    project: Project, people: Sequence[Person], run: Run, *, seed: int, habits: Habits, speed: float | None = None
) -> CrowdReport:
    """Count what a crowd did in a project and check it."""
    raters = run.registered.raters
    knowledge = Knowledge(project, seed=seed)
    answered = list(
        Assignment.objects.answered()
        .filter(rater__in=[rater.pk for rater in raters.values()], preference__isnull=False)
        .select_related("task", "preference", "rater")
    )
    knowledge.learn(row.task.pair_id for row in answered)
    by_rater = {rater.pk: person for person in people for rater in [raters[person.name]]}
    right = {row.pk: _said(row) == knowledge.of(row.task.pair_id).item.better for row in answered}
    rate = project.rate
    cost = Decimal(0)
    for row in answered:
        if rate is None or rate.basis == PayBasis.ANSWER:
            cost += pay_usd(project, row.task.tier)
        else:
            item = knowledge.of(row.task.pair_id).item
            seconds = times_of(by_rater[row.rater_id], item, habits, seed=seed).total
            cost += time_usd(rate, row.task.tier, seconds, seconds)
    states = dict(Task.objects.filter(project=project, tier=Tier.CROWD).values_list("state").annotate(Count("pk")))
    votes = vote_frame(project)
    decided = consensus(votes)["choice"]
    pairs = [UUID(str(pair)) for pair in decided.index]
    knowledge.learn(pairs)
    hits = [str(decided[str(pair)]) == knowledge.of(pair).item.better for pair in pairs]
    submissions = Submission.objects.filter(study=run.registered.study)
    ended = Counter(submissions.exclude(ended_as="").values_list("ended_as", flat=True))
    return CrowdReport(
        origin=Origin.SIMULATED.value,
        resumed=run.registered.resumes,
        interrupted=run.interrupted,
        truth=knowledge.sources(pairs),
        people=len(people),
        arrived=submissions.values("guest").distinct().count(),
        answers=len(answered),
        votes=len(votes),
        gold=sum(row.gold_id is not None for row in answered),
        repeats=sum(row.repeats_id is not None for row in answered),
        extras=sum(row.state == "extra" for row in answered),
        pairs_done=states.get(TaskState.DONE, 0),
        pairs_open=states.get(TaskState.OPEN, 0),
        contested=int((decided == "").sum()),
        accuracy=sum(hits) / len(hits) if hits else None,
        answers_per_hour=run.answers / run.hours if run.hours else None,
        hours=run.hours,
        real_seconds=run.seconds,
        cost_usd=cost,
        ended_as=dict(ended),
        run=dict(run.events),
        kinds=_by_kind(project, people, raters, answered, right),
        faults=_faults(project, run, answered),
        note="" if speed == 1 else REAL_CLOCK,
    )


def _by_kind(
    project: Project,
    people: Sequence[Person],
    raters: dict[str, Rater],
    answered: list[Assignment],
    right: dict[UUID, bool],
) -> list[OfKind]:
    ids = [rater.pk for rater in raters.values()]
    marks = marks_of(project, ids)
    now = {rater.pk: rater for rater in Rater.objects.filter(pk__in=ids)}
    flagged = {name for name, signs in signs_of(project).items() if any(sign.is_flagged for sign in signs)}
    kinds = []
    for kind in dict.fromkeys(sorted((one.kind for one in people), key=lambda one: (one not in _ORDER, one))):
        mine = [person for person in people if person.kind is kind]
        keys = {raters[person.name].pk for person in mine}
        given = [right[row.pk] for row in answered if row.rater_id in keys]
        gold = [mark.is_right for key in keys for mark in marks.get(key, []) if mark.kind == GoldKind.KNOWN]
        paused = [key for key in keys if rule_of(now[key]) is not None]
        until = [len(marks.get(key, [])) for key in paused]
        kinds.append(
            OfKind(
                kind=kind.value,
                is_good=mine[0].is_good,
                people=len(mine),
                answers=len(given),
                right=_share(given),
                gold=len(gold),
                gold_right=_share(gold),
                paused=len(paused),
                gold_until_paused=sum(until) / len(until) if until else None,
                flagged=sum(raters[person.name].name in flagged for person in mine),
            )
        )
    return kinds


_ORDER = ("careful", "expert")


def _faults(project: Project, run: Run, answered: list[Assignment]) -> list[str]:
    """Return what is not as it should be, a sentence each."""
    broken = [check for check in check_invariants(project, now=timezone.now()) if check.broken]
    found = [f"invariant {check.name}: {check.broken} rows" for check in broken]
    found += run.faults
    if number := strangers(run.registered.study):
        found.append(f"{number} came by the crowd's study who are not marked as simulated")
    if number := sum(row.rater.origin != Origin.SIMULATED for row in answered):
        found.append(f"{number} answers are not marked as simulated")
    stored = {row.pk: _said(row) for row in answered}
    if number := sum(stored.get(lease) != meant for lease, meant in run.meant.items()):
        found.append(f"{number} answers are not stored as they were meant")
    return found


def _said(row: Assignment) -> str:
    if row.preference is None:
        raise AssertionError(f"{row} was answered and has no answer")
    return row.preference.choice


def _share(marks: list[bool]) -> float | None:
    return sum(marks) / len(marks) if marks else None
