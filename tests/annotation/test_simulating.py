"""The simulated crowd works like people do, errs as often as it says, and says that it is simulated."""

import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotation.assigning import Opening, open_tasks
from annotation.checking import check_invariants
from annotation.errors import AnnotationError
from annotation.models import Choice, Origin, Pair, Preference, Project, Rater, RaterKind, Task, TaskState
from annotation.simulating import (
    SimulatedPerson,
    UnknownAnswer,
    known_reason,
    simulate_crowd,
    simulated_answer,
    simulated_people,
)
from tests.builders import make_pair, make_project

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
CROWD = simulated_people([0.05, 0.15, 0.25])


def sample(slug: str = "sample", pairs: int = 6, *, votes_wanted: int = 2, **meta: Any) -> Project:
    """Return a project with open pairs whose better response is b, because of its proof."""
    project = make_project(slug, with_people=False)
    meta = {"better": "b", "better_why": "It proves its claim.", **meta}
    made = [make_pair(project, external_id=f"s-{number}", meta=meta) for number in range(pairs)]
    open_tasks(project, [Opening(pair.id) for pair in made], votes_wanted=votes_wanted)
    return project


def answers(project: Project) -> list[tuple[str, str, str, int | None]]:
    stored = Preference.objects.filter(pair__project=project).order_by("pair__external_id", "rater__name")
    return [(p.pair.external_id, p.rater.name, p.choice, p.strength) for p in stored.select_related("pair", "rater")]


@pytest.mark.django_db
def test_crowd_fills_every_slot_and_no_more() -> None:
    project = sample()
    heard: list[int] = []
    report = simulate_crowd(project, CROWD, seed=0, now=NOW, progress=heard.append)
    assert (report.answers, sum(report.by_person.values()), heard) == (12, 12, list(range(1, 13)))
    assert report.by_person == {"Iris": 4, "Jonas": 4, "Kira": 4}
    assert set(Task.objects.values_list("state", "answered")) == {(TaskState.DONE, 2)}
    assert report.correct == Preference.objects.filter(choice="b").count()
    assert [check.name for check in check_invariants(project, now=NOW) if check.broken] == []


@pytest.mark.django_db
def test_simulated_answers_say_so() -> None:
    simulate_crowd(sample(), simulated_people([0.0]), seed=0, now=NOW)
    rater = Rater.objects.get()
    assert (rater.name, rater.origin, rater.kind, rater.user) == (
        "simulated: Iris",
        Origin.SIMULATED,
        RaterKind.PERSON,
        None,
    )
    reasons = set(Preference.objects.filter(choice="b").values_list("rationale", flat=True))
    assert reasons == {"(simulated) It proves its claim."}


@pytest.mark.django_db
def test_same_seed_gives_the_same_answers_in_another_database_row() -> None:
    # All three answer every pair, so that nothing depends on who was served first.
    one, two, other_seed = sample("one", votes_wanted=3), sample("two", votes_wanted=3), sample("x", votes_wanted=3)
    for project, seed in ((one, 7), (two, 7), (other_seed, 8)):
        simulate_crowd(project, CROWD, seed=seed, now=NOW)
    assert answers(one) == answers(two)
    assert answers(one) != answers(other_seed)


@pytest.mark.django_db
def test_second_run_answers_nothing_twice() -> None:
    project = sample()
    simulate_crowd(project, CROWD, seed=0, now=NOW)
    assert simulate_crowd(project, CROWD, seed=0, now=NOW).answers == 0


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_person_errs_as_often_as_they_say(rate: float) -> None:
    person = SimulatedPerson("Iris", error_rate=rate, tie_rate=0.0)
    drawn = [
        simulated_answer(person, Pair(external_id=f"p{number}"), Choice.A, lambda _pair, _choice: "", seed=3).choice
        for number in range(2000)
    ]
    # Four standard deviations of 2,000 draws.
    assert abs(drawn.count("b") / 2000 - rate) <= 4 * (rate * (1 - rate) / 2000) ** 0.5
    assert set(drawn) <= {"a", "b"}


def test_ties_are_called_as_often_as_said_and_have_no_strength() -> None:
    person = SimulatedPerson("Iris", error_rate=0.0, tie_rate=0.2)
    drawn = [
        simulated_answer(person, Pair(external_id=f"p{number}"), Choice.A, lambda _pair, _choice: "", seed=3)
        for number in range(2000)
    ]
    ties = [answer for answer in drawn if answer.choice == "tie"]
    assert abs(len(ties) / 2000 - 0.2) <= 0.036
    assert {answer.strength for answer in ties} == {None}
    assert {answer.strength for answer in drawn if answer.choice == "a"} == {2, 3}


def test_mistake_carries_no_reason_of_the_right_answer() -> None:
    pair = Pair(external_id="p", meta={"better": "b", "better_why": "It proves its claim."})
    assert (known_reason(pair, Choice.A), known_reason(pair, Choice.B)) == ("", "(simulated) It proves its claim.")


@pytest.mark.django_db
@pytest.mark.parametrize("better", [None, "", "c", "both_bad"])
def test_pair_without_a_known_answer_stops_the_crowd_before_it_starts(better: str | None) -> None:
    project = sample()
    pair = make_pair(project, external_id="from-a-file", meta={"better": better})
    open_tasks(project, [Opening(pair.id, -1.0)], votes_wanted=1)
    with pytest.raises(UnknownAnswer, match=r"Pair from-a-file does not say in meta\.better"):
        simulate_crowd(project, CROWD, seed=0, now=NOW)
    assert not Preference.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("people", "message"),
    [
        ([SimulatedPerson("Iris", 1.2)], "between 0 and 1"),
        ([SimulatedPerson("Iris", float("nan"))], "between 0 and 1"),
        ([SimulatedPerson("Iris", 0.1), SimulatedPerson("Iris", 0.2)], "same name"),
    ],
)
def test_impossible_people_are_refused(people: list[SimulatedPerson], message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        simulate_crowd(sample(), people, seed=0, now=NOW)


@pytest.mark.django_db
def test_real_person_of_a_simulated_name_is_not_spoken_for() -> None:
    project = sample()
    Rater.objects.create(project=project, kind=RaterKind.PERSON, name="simulated: Iris", origin=Origin.RECORDED)
    with pytest.raises(AnnotationError, match="who is not simulated"):
        simulate_crowd(project, CROWD, seed=0, now=NOW)


@pytest.mark.django_db
def test_nobody_is_simulated_on_orders_and_nothing_is_begun() -> None:
    project = make_project("orders", with_people=False, template="ranking")
    open_tasks(project, [Opening(make_pair(project, meta={"better": "a"}).pk)], votes_wanted=1)
    with pytest.raises(AnnotationError, match="orders asks for orders of several responses"):
        simulate_crowd(project, CROWD, seed=0, now=NOW)
    assert not Rater.objects.exists()


@pytest.mark.django_db
def test_command_reports_each_person() -> None:
    sample()
    out = StringIO()
    call_command("simulate_crowd", "sample", "--people", "2", "--error-rates", "0,1", "--json", stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "simulated: Iris (wrong 0% of the time): 6 answers"
    assert json.loads(lines[-1]) == {
        "answers": 12,
        "by_person": {"Iris": 6, "Jonas": 6},
        "correct": Preference.objects.filter(choice="b").count(),
    }


@pytest.mark.django_db
@pytest.mark.parametrize(("rates", "message"), [("0.1,x,0.2", "not '0.1,x,0.2'"), ("0.1", "1 numbers for 3 people")])
def test_command_refuses_rates_that_do_not_fit(rates: str, message: str) -> None:
    sample()
    with pytest.raises(CommandError, match=message):
        call_command("simulate_crowd", "sample", "--error-rates", rates)
