"""A quarter of a crowd works badly, in four ways: what gold, pausing and excluding leave of the harm, over HTTP."""

from contextlib import closing
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from annotation.aggregating import consensus, vote_frame
from annotation.assigning import Opening, open_tasks
from annotation.models import Choice, Project
from annotation.simulating.behaving import answer_of
from annotation.simulating.browsing import OverHttp
from annotation.simulating.knowing import Knowledge
from annotation.simulating.people import Habits, Mix, draw_people
from annotation.simulating.reporting import CrowdReport, report_on
from annotation.simulating.running import simulate
from annotation.simulating.serving import gold_looker, served
from tests.builders import make_gold, make_pair, make_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600), pytest.mark.django_db(transaction=True)]

SEEDS = range(3)
# Who hands in what a model says is right on every second gold pair: to tell that from bad luck takes more than a dozen
# of them, and this many pairs to meet them.
PEOPLE, PAIRS, GOLD, VOTES = 16, 600, 150, 3
# Nobody leaves: who is gone after a few answers is never found, and does little harm. They send twice as usual.
HABITS = Habits(leaves=0.0, lapses=0.0)
MIX = Mix(people=PEOPLE, bad_share=0.25)
STANDARDS = {"gold_percent": 25.0, "pause_on_gold": True, "exclude_on_pause": True}


class Outcome(NamedTuple):
    """A study with a quarter of bad people, and how often its consensus would be right had they been good."""

    report: CrowdReport
    all_good: float


def all_good(project: Project, seed: int) -> float:
    """Return how often the consensus of a study is right where good people of the same seed gave the bad ones' votes.

    Everybody else's votes are as they are, so nothing but the harm is in the difference: two studies that differ in who
    got which pair differ by 1.3 points for that alone.
    """
    good = {f"simulated: {person.name}": person for person in draw_people(Mix(people=PEOPLE), seed=seed)}
    bad = {f"simulated: {one.name}" for one in draw_people(MIX, seed=seed) if not one.is_good}
    knowledge, votes = Knowledge(project, seed=seed), vote_frame(project)
    for row in votes[votes["rater"].isin(bad)].itertuples():
        item, first = knowledge.of(UUID(str(row.pair_id))).item, Choice(str(row.shown_order)[0])
        votes.loc[row.Index, "choice"] = answer_of(good[str(row.rater)], item, first, HABITS, seed=seed).value
    choice = consensus(votes)["choice"]
    right = [str(said) == knowledge.of(UUID(str(pair))).item.better for pair, said in choice.items()]
    return sum(right) / len(right)


def study(seed: int) -> Outcome:
    """Run a study through the application's pages."""
    project = make_project(f"study-{seed}", with_people=False, standards=STANDARDS, seed=seed)
    made = [make_pair(project, external_id=f"s-{number}") for number in range(PAIRS)]
    open_tasks(project, [Opening(pair.pk, -float(n)) for n, pair in enumerate(made)], votes_wanted=VOTES)
    draw = Random(seed)
    for number in range(GOLD):
        make_gold(project, [draw.choice("ab")], external_id=f"g-{number}")
    people = draw_people(MIX, seed=seed)
    with served() as url, closing(OverHttp(url)) as door:
        run = simulate(
            project,
            people,
            seed=seed,
            door=door,
            habits=HABITS,
            answers_a_visit=400,
            look=gold_looker(project),
        )
    if run.interrupted:
        raise KeyboardInterrupt
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
        f" {sum(report.answers for report in reports):,} answers: consensus right {right:.2%}, had they been good"
        f" {control:.2%}, loss {100 * (control - right):.2f} points; {paused} of {number} bad people paused, after"
        f" {gold:.1f} gold answers; {wrongly} of {good} good people paused"
    )
    assert control - right <= 0.01
    assert gold <= 15
    assert wrongly <= 0.02 * good
    assert paused >= 0.9 * number
