"""A simulated crowd: made-up people who answer through the same assignment code as real ones.

They exist for demonstrations and tests. Their raters bear the origin "simulated" and say so in their names, and so do
their reasons, so that nobody takes their answers for people's.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from random import Random
from typing import NamedTuple

from annotation.assigning import Answer, next_assignment, submit
from annotation.errors import AnnotationError
from annotation.models import Choice, Gold, Origin, Pair, Project, Rater, RaterKind, Task, TaskState, Tier
from annotation.opening import SLATES
from annotation.standards import standards_of

NAMES = ("Iris", "Jonas", "Kira", "Lev", "Mona", "Nils", "Olga", "Pere", "Quinn", "Rosa", "Sven", "Tara")


class SimulatedPerson(NamedTuple):
    """Somebody made up: how often they choose the wrong response or call a tie, and their seconds for a pair."""

    name: str
    error_rate: float
    tie_rate: float = 0.05
    seconds: float = 40.0


class CrowdReport(NamedTuple):
    """What the crowd did: all answers, the answers of each person by name, and how many were the known one."""

    answers: int
    by_person: dict[str, int]
    correct: int


class UnknownAnswer(AnnotationError):
    """A pair does not say which response is known to be better."""


def simulated_people(error_rates: Sequence[float]) -> list[SimulatedPerson]:
    """Return a person for every error rate (0 to 1), named in turn."""
    if len(error_rates) > len(NAMES):
        raise AnnotationError(f"{len(error_rates)} simulated people were asked for; there are {len(NAMES)} at most.")
    return [SimulatedPerson(name, rate) for name, rate in zip(NAMES, error_rates, strict=False)]


def known_answer(pair: Pair) -> Choice:
    """Return the better response as the pair's `meta.better` tells it: a, b or tie. Raises `UnknownAnswer`."""
    better = pair.meta.get("better")
    if better not in (Choice.A, Choice.B, Choice.TIE):
        raise UnknownAnswer(
            f"Pair {pair.external_id} does not say in meta.better which response is better (a, b or tie; it says"
            f" {better!r}), so nobody can be simulated on it. Only the bundled sample says so."
        )
    return Choice(better)


def known_reason(pair: Pair, choice: Choice) -> str:
    """Return why, labelled as simulated: the pair's `meta.better_why` for the known answer, nothing for a mistake."""
    why = pair.meta.get("better_why", "")
    return f"(simulated) {why}" if why and choice == known_answer(pair) else ""


def simulate_crowd(
    project: Project,
    people: Sequence[SimulatedPerson],
    *,
    seed: int,
    known: Callable[[Pair], Choice] = known_answer,
    reasons: Callable[[Pair, Choice], str] = known_reason,
    now: datetime,
    progress: Callable[[int], None] | None = None,
) -> CrowdReport:
    """Let the people answer, in turn, every open crowd task they can get; the same seed gives the same answers.

    Checks first that every open pair has a known answer: it answers all it can get, or nothing. `progress` hears the
    number of answers after each one. Raises `UnknownAnswer` or `AnnotationError`.
    """
    _check(people)
    if project.template in SLATES:
        raise AnnotationError(f"{project} asks for orders of several responses; simulated people only choose of two.")
    for task in Task.objects.filter(project=project, tier=Tier.CROWD, state=TaskState.OPEN).select_related("pair"):
        known(task.pair)
    if standards_of(project).asks_gold:
        for gold in Gold.objects.live().filter(project=project).select_related("pair"):
            known(gold.pair)
    raters = {person: _rater(project, person) for person in people}
    by_person = {person.name: 0 for person in people}
    correct = 0
    busy = list(people)
    while busy:
        for person in list(busy):
            assignment = next_assignment(project, raters[person], now=now).assignment
            if assignment is None:
                busy.remove(person)
                continue
            pair = assignment.task.pair
            better = known(pair)
            answer = simulated_answer(person, pair, better, reasons, seed=seed)
            submit(assignment.pk, raters[person], answer, now=now)
            by_person[person.name] += 1
            correct += answer.choice == better
            if progress is not None:
                progress(sum(by_person.values()))
    return CrowdReport(answers=sum(by_person.values()), by_person=by_person, correct=correct)


def simulated_answer(
    person: SimulatedPerson, pair: Pair, better: Choice, reasons: Callable[[Pair, Choice], str], *, seed: int
) -> Answer:
    """Draw one person's answer on one pair; it depends on the seed, the name and the pair, not on who came before.

    With probability `error_rate` it is wrong (the other response; on a tie, either), else with probability `tie_rate`
    a tie, else the known answer.
    """
    draw = Random(f"{seed}\n{person.name}\n{pair.external_id}")
    wrong = {Choice.A: [Choice.B], Choice.B: [Choice.A], Choice.TIE: [Choice.A, Choice.B]}[better]
    if draw.random() < person.error_rate:
        choice = draw.choice(wrong)
    elif draw.random() < person.tie_rate:
        choice = Choice.TIE
    else:
        choice = better
    sure = [2, 3] if choice == better else [1, 2]
    strength = None if choice == Choice.TIE else draw.choice(sure)
    seconds = round(person.seconds * draw.uniform(0.5, 1.5), 1)
    return Answer(choice=choice.value, strength=strength, rationale=reasons(pair, choice), seconds=seconds)


def _check(people: Sequence[SimulatedPerson]) -> None:
    if len({person.name for person in people}) < len(people):
        raise AnnotationError("Two simulated people have the same name; each needs their own.")
    for person in people:
        if not (0 <= person.error_rate <= 1 and 0 <= person.tie_rate <= 1):
            raise AnnotationError(f"The rates of {person.name} must lie between 0 and 1.")


def _rater(project: Project, person: SimulatedPerson) -> Rater:
    rater, _ = Rater.objects.get_or_create(
        project=project,
        kind=RaterKind.PERSON,
        name=f"simulated: {person.name}",
        defaults={"origin": Origin.SIMULATED},
    )
    if rater.origin != Origin.SIMULATED:
        raise AnnotationError(f"{project} already has a person named {rater.name!r} who is not simulated.")
    return rater
