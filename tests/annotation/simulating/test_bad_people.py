"""A quarter of a crowd works badly, in four ways: what gold, pausing and excluding leave of the harm, over HTTP."""

from collections import Counter
from contextlib import closing
from random import Random
from typing import Any, NamedTuple

import pytest

from annotation.assigning import Opening, open_tasks
from annotation.models import Choice, Pair, Project
from annotation.simulating.behaving import answer_of
from annotation.simulating.browsing import OverHttp
from annotation.simulating.knowing import Knowledge
from annotation.simulating.people import Habits, Mix, draw_people
from annotation.simulating.reporting import CrowdReport, report_on
from annotation.simulating.running import simulate
from annotation.simulating.serving import gold_looker, served
from tests.builders import make_gold, make_pair, make_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), pytest.mark.django_db(transaction=True)]

SEEDS = range(6)
PEOPLE, PAIRS, GOLD, VOTES = 16, 300, 75, 3
# Everybody goes on until there is nothing left; leaving, lapsing and sending twice are as usual.
HABITS = Habits(comes_back=1.0)
STANDARDS = {"gold_percent": 25.0, "pause_on_gold": True, "exclude_on_pause": True}


class Outcome(NamedTuple):
    """A study with a quarter of bad people, and how often the consensus of good ones alone would have been right."""

    report: CrowdReport
    all_good: float


def all_good(project: Project, seed: int) -> float:
    """Return how often three of an all-good crowd of this seed would be right together: the mean of 100 threes."""
    people, knowledge, draw = draw_people(Mix(people=PEOPLE), seed=seed), Knowledge(project, seed=seed), Random(seed)
    right = 0
    pairs = list(Pair.objects.filter(project=project, gold=None).values_list("pk", flat=True))
    for pair in pairs:
        item = knowledge.of(pair).item
        said = [answer_of(one, item, draw.choice([Choice.A, Choice.B]), HABITS, seed=seed) for one in people]
        for _ in range(100):
            ((top, votes), *rest) = Counter(draw.sample(said, VOTES)).most_common()
            right += top == item.better and not (rest and rest[0][1] == votes)
    return right / (100 * len(pairs))


def study(seed: int) -> Outcome:
    """Run a study through the application's pages."""
    project = make_project(f"study-{seed}", with_people=False, standards=STANDARDS, seed=seed)
    made = [make_pair(project, external_id=f"s-{number}") for number in range(PAIRS)]
    open_tasks(project, [Opening(pair.pk, -float(n)) for n, pair in enumerate(made)], votes_wanted=VOTES)
    draw = Random(seed)
    for number in range(GOLD):
        make_gold(project, [draw.choice("ab")], external_id=f"g-{number}")
    people = draw_people(Mix(people=PEOPLE, bad_share=0.25), seed=seed)
    with served() as url, closing(OverHttp(url)) as door:
        run = simulate(
            project,
            people,
            seed=seed,
            door=door,
            habits=HABITS,
            answers_a_visit=60,
            look=gold_looker(project),
        )
    return Outcome(report_on(project, people, run, seed=seed, habits=HABITS), all_good(project, seed))


def test_a_quarter_of_bad_people_costs_a_point_at_most(settings: Any) -> None:
    """`python -m pytest -m slow -s tests/annotation/simulating/test_bad_people.py`: some minutes."""
    settings.OUTBOX_CONSUMERS = {}
    outcomes = [study(seed) for seed in SEEDS]
    reports = [outcome.report for outcome in outcomes]
    assert [report.faults for report in reports] == [[]] * len(reports)
    assert {(report.votes, report.pairs_open) for report in reports} == {(VOTES * PAIRS, 0)}
    right = sum(report.accuracy or 0.0 for report in reports) / len(reports)
    control = sum(outcome.all_good for outcome in outcomes) / len(outcomes)
    kinds = [kind for report in reports for kind in report.kinds]
    bad = [kind for kind in kinds if not kind.is_good]
    number = sum(kind.people for kind in bad)
    # Who was not paused by the end counts with all the gold they answered.
    gold = sum(kind.gold for kind in bad) / number
    paused = sum(kind.paused for kind in bad)
    good = sum(kind.people for kind in kinds if kind.is_good)
    wrongly = sum(report.wrongly_paused for report in reports)
    for name in sorted({kind.kind for kind in bad}):
        of = [kind for kind in bad if kind.kind == name]
        print(  # noqa: T201
            f"{name}: {sum(kind.paused for kind in of)} of {sum(kind.people for kind in of)} paused, after"
            f" {sum(kind.gold for kind in of) / sum(kind.people for kind in of):.1f} gold answers"
        )
    print(  # noqa: T201
        f"a quarter bad, {len(reports)} studies over HTTP of {PAIRS} pairs and {PEOPLE} people,"
        f" {sum(report.answers for report in reports):,} answers: consensus right {right:.2%}, all good {control:.2%},"
        f" loss {100 * (control - right):.2f} points; {paused} of {number} bad people paused, after {gold:.1f} gold"
        f" answers; {wrongly} of {good} good people paused"
    )
    assert control - right <= 0.01
    assert gold <= 15
    assert wrongly <= 0.02 * good
    assert paused >= 0.9 * number
