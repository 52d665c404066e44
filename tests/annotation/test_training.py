"""Practice and the gate: what may be stored, where somebody is, and what each try does."""

import json
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import DjangoAssertNumQueries

from annotation.creating import create_project
from annotation.errors import TrainingChanged, TrainingInvalid, TryNotCounted
from annotation.guiding import mark_read, revise_guidelines
from annotation.learning import (
    Stage,
    allow_another_try,
    answer_gate,
    answer_practice,
    last_try,
    stage_of,
    steps_of,
    tries_left,
)
from annotation.models import Origin, Project, Rater, RaterKind
from annotation.training import Gate, change_training, read_training, set_training, training_of
from tests.builders import make_person
from tests.learners import PRACTICE, QUESTIONS, RIGHT, TRAINING, WRONG, changed, make_course

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


# --- What may be stored ---------------------------------------------------------------------------------------------


def test_a_training_is_read_with_its_defaults_and_written_back_the_same() -> None:
    training = read_training({"practice": PRACTICE, "gate": {"questions": QUESTIONS}})
    assert [pair.answer for pair in training.practice] == [("a",), ("tie", "both_bad")]
    assert training.gate is not None
    assert (training.gate.pass_mark, training.gate.tries) == (0.8, 2)
    assert [(one.several, sorted(one.correct)) for one in training.gate.questions] == [(False, [1]), (True, [0, 2])]
    assert read_training(training.value()) == training
    assert training.value()["gate"]["questions"] == QUESTIONS


def test_nothing_is_a_training_without_practice_and_gate() -> None:
    nothing: list[dict[str, Any]] = [{}, {"practice": []}, {"gate": {"questions": []}}]
    for value in nothing:
        training = read_training(value)
        assert (training.practice, training.gate, training.value()) == ((), None, {})


def practice(**fields: Any) -> dict[str, Any]:
    return {"practice": [PRACTICE[0], {**PRACTICE[1], **fields}]}


def question(**fields: Any) -> dict[str, Any]:
    return {"gate": {"questions": [{**QUESTIONS[0], **fields}]}}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "The training: is []; it is an object with practice, gate."),
        ({"tests": []}, "The training, tests: is not known."),
        ({"practice": {}}, "The training, practice: is {}; it is a list."),
        ({"practice": ["x"]}, "Practice pair 1: is 'x'; it is an object"),
        ({"practice": PRACTICE * 26}, "The training, practice: has 52 items; 50 fit."),
        (practice(answer="c"), "Practice pair 2, answer: is 'c'; it is one or more of: a, tie, b, both_bad."),
        (practice(answer=[]), "Practice pair 2, answer: is []"),
        (practice(answer=["a", {}]), "Practice pair 2, answer: is ['a', {}]"),
        (practice(answer=3), "Practice pair 2, answer: is 3"),
        (practice(prompt=" "), "Practice pair 2, prompt: is empty."),
        (practice(why=None), "Practice pair 2, why: is None; it is a text."),
        (practice(why="x" * 20_001), "Practice pair 2, why: has 20,001 characters; 20,000 fit."),
        (practice(response_a="\x00"), "Practice pair 2, response_a: holds a character that cannot be stored"),
        (practice(reason="x"), "Practice pair 2, reason: is not known."),
        (practice(**{"\ud800": "x"}), r"Practice pair 2, \ud800: is not known."),
        ({"gate": 3}, "The gate: is 3; it is an object"),
        ({"gate": {"questions": QUESTIONS * 16}}, "The gate, questions: has 32 items; 30 fit."),
        ({"gate": {"questions": QUESTIONS, "tries": 6}}, "The gate, tries: are 6; they are 1 to 5."),
        ({"gate": {"questions": QUESTIONS, "tries": True}}, "The gate, tries: are True"),
        ({"gate": {"questions": QUESTIONS, "pass_mark": 80}}, "The gate, pass_mark: is 80; it is a share"),
        ({"gate": {"questions": QUESTIONS, "pass_mark": float("nan")}}, "The gate, pass_mark: is nan"),
        (question(question=""), "Question 1, question: is empty."),
        (question(options=["One"]), "Question 1, options: are 1; a question has 2 to 10."),
        (question(options=["One", "one "]), "Question 1, options: are texts, none empty and none twice."),
        (question(options=["One", 2]), "Question 1, options: are texts"),
        (question(options=["One", "x" * 301]), "Question 1, options: has 301 characters; 300 fit."),
        (question(correct=3), "Question 1, correct: is 3; it is the number of an option from 0"),
        (question(correct=[]), "Question 1, correct: is []"),
        (question(correct=True), "Question 1, correct: is True"),
        (question(correct="1"), "Question 1, correct: is '1'"),
    ],
)
def test_what_cannot_be_is_refused_naming_item_and_field(value: Any, problem: str) -> None:
    with pytest.raises(TrainingInvalid) as caught:
        read_training(value)
    assert any(str(one).startswith(problem) for one in caught.value.problems), str(caught.value)


def test_every_problem_is_told_at_once() -> None:
    value = {"practice": [{**PRACTICE[0], "answer": "c", "why": ""}], "gate": {"questions": [{}]}}
    with pytest.raises(TrainingInvalid) as caught:
        read_training(value)
    assert {(one.item, one.field) for one in caught.value.problems} >= {
        ("Practice pair 1", "answer"),
        ("Practice pair 1", "why"),
        ("Question 1", "question"),
        ("Question 1", "options"),
        ("Question 1", "correct"),
    }


@pytest.mark.parametrize(
    ("mark", "questions", "needed"), [(0.8, 5, 4), (0.8, 2, 2), (0.5, 5, 3), (1.0, 3, 3), (0.1, 3, 1)]
)
def test_the_pass_mark_is_rounded_up_to_whole_answers(mark: float, questions: int, needed: int) -> None:
    gate = read_training({"gate": {"questions": [QUESTIONS[0]] * questions, "pass_mark": mark}}).gate
    assert gate is not None
    assert gate.needed == needed


def test_several_answers_are_right_only_all_together() -> None:
    gate = read_training(TRAINING).gate
    assert gate is not None
    assert gate.marks(RIGHT) == [True, True]
    for marked in ([0], [2], [0, 1, 2], [1], []):
        assert gate.marks([[1], marked]) == [True, False]


def test_the_key_of_the_questions_says_nothing_about_what_is_right() -> None:
    other = [{**QUESTIONS[0], "correct": 2, "why": "Other."}, {**QUESTIONS[1], "correct": [1]}]
    keys = {read_training({"gate": {"questions": asked}}).gate.key for asked in (QUESTIONS, other)}  # type: ignore[union-attr]
    assert len(keys) == 1


# --- Where somebody is ----------------------------------------------------------------------------------------------


@pytest.fixture
def course(db: None) -> Project:
    return make_course()


@pytest.fixture
def ben(course: Project) -> Rater:
    return make_person(course, "ben")


def gate_of(project: Project) -> Gate:
    gate = training_of(project).gate
    assert gate is not None
    return gate


def practised(project: Project, rater: Rater) -> Rater:
    """Lead somebody past guidelines and practice."""
    mark_read(rater, project.guidelines_number)
    for number in range(1, len(training_of(project).practice) + 1):
        answer_practice(training_of(project), rater, number, "a")
    return rater


def attempt(project: Project, rater: Rater, answers: list[list[int]]) -> bool:
    gate = gate_of(project)
    return answer_gate(gate, rater, answers, number=rater.gate_tries + 1, key=gate.key, now=NOW)


def test_the_way_is_guidelines_practice_gate_and_then_the_pairs(course: Project, ben: Rater) -> None:
    assert stage_of(course, ben) is Stage.GUIDELINES
    mark_read(ben, 1)
    assert stage_of(course, ben) is Stage.PRACTICE
    assert answer_practice(training_of(course), ben, 1, "b") is False
    assert stage_of(course, ben) is Stage.PRACTICE
    assert answer_practice(training_of(course), ben, 2, "tie") is True
    assert stage_of(course, ben) is Stage.GATE
    assert attempt(course, ben, RIGHT) is True
    assert stage_of(course, ben) is Stage.WORK
    stored = Rater.objects.get(pk=ben.pk)
    assert (stored.practice_done, stored.gate_tries, stored.gate_passed_at) == (2, 1, NOW)
    assert stage_of(course, stored) is Stage.WORK


def test_the_stage_costs_no_query(
    course: Project, ben: Rater, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    practised(course, ben)
    with django_assert_num_queries(0):
        stage_of(course, ben)
        steps_of(course, Stage.GATE)


def test_a_project_that_teaches_nothing_lets_everybody_work(db: None) -> None:
    project = make_course(guidelines="", training={})
    assert stage_of(project, make_person(project, "ben")) is Stage.WORK
    assert [step.stage for step in steps_of(project, Stage.WORK)] == [Stage.WORK]


def test_simulated_people_judges_and_raters_without_an_account_have_nothing_to_learn(course: Project) -> None:
    for rater in (
        make_person(course, "cyd", origin=Origin.SIMULATED),
        Rater.objects.create(project=course, kind=RaterKind.PERSON, name="from the file", origin=Origin.RECORDED),
        Rater.objects.create(project=course, kind=RaterKind.JUDGE, name="judge v1"),
    ):
        assert stage_of(course, rater) is Stage.WORK


def test_managers_learn_like_everybody(course: Project) -> None:
    assert stage_of(course, make_person(course, "ada")) is Stage.GUIDELINES


def test_steps_say_what_is_done_and_what_is_ahead(course: Project) -> None:
    assert [step.state for step in steps_of(course, Stage.GATE)] == ["done", "done", "now", "ahead"]
    assert [step.state for step in steps_of(course, Stage.REFUSED)] == ["done", "done", "now", "ahead"]


def test_a_new_version_of_the_guidelines_sends_nobody_back_to_the_start(course: Project, ben: Rater) -> None:
    practised(course, ben)
    revise_guidelines(course, text="Other ones.")
    assert stage_of(course, ben) is Stage.GATE


# --- Practice -------------------------------------------------------------------------------------------------------


def test_a_practice_answer_is_no_preference_and_counts_once(course: Project, ben: Rater) -> None:
    from annotation.models import Preference

    mark_read(ben, 1)
    for choice in ("a", "b", "a"):
        answer_practice(training_of(course), ben, 1, choice)
    assert Rater.objects.get(pk=ben.pk).practice_done == 1
    assert Preference.objects.count() == 0


def test_a_practice_pair_cannot_be_skipped_ahead_to(course: Project, ben: Rater) -> None:
    for number in (0, 2, 3, 99):
        with pytest.raises(TrainingChanged):
            answer_practice(training_of(course), ben, number, "a")
    assert Rater.objects.get(pk=ben.pk).practice_done == 0


# --- The gate -------------------------------------------------------------------------------------------------------


def test_two_failed_tries_refuse_and_a_third_is_not_counted(course: Project, ben: Rater) -> None:
    practised(course, ben)
    assert attempt(course, ben, WRONG) is False
    assert (stage_of(course, ben), tries_left(gate_of(course), ben)) == (Stage.GATE, 1)
    assert attempt(course, ben, WRONG) is False
    assert (stage_of(course, ben), tries_left(gate_of(course), ben)) == (Stage.REFUSED, 0)
    with pytest.raises(TryNotCounted):
        attempt(course, ben, RIGHT)
    assert stage_of(course, Rater.objects.get(pk=ben.pk)) is Stage.REFUSED


def test_the_same_try_sent_twice_counts_once(course: Project, ben: Rater) -> None:
    practised(course, ben)
    stale = Rater.objects.get(pk=ben.pk)
    attempt(course, ben, WRONG)
    with pytest.raises(TryNotCounted):
        attempt(course, stale, WRONG)
    assert Rater.objects.get(pk=ben.pk).gate_tries == 1


def test_who_passed_is_not_asked_again_whatever_the_gate_becomes(course: Project, ben: Rater) -> None:
    practised(course, ben)
    attempt(course, ben, RIGHT)
    harder = {"questions": [{**QUESTIONS[0], "correct": 2}], "tries": 1}
    set_training(course, changed(practice=PRACTICE * 3, gate=harder))
    assert stage_of(course, Rater.objects.get(pk=ben.pk)) is Stage.WORK


def test_a_try_at_questions_that_were_changed_meanwhile_does_not_count(course: Project, ben: Rater) -> None:
    practised(course, ben)
    old = gate_of(course)
    set_training(course, changed(gate={"questions": QUESTIONS[:1]}))
    with pytest.raises(TrainingChanged):
        answer_gate(gate_of(course), ben, [[1]], number=1, key=old.key, now=NOW)
    assert Rater.objects.get(pk=ben.pk).gate_tries == 0


def test_the_last_try_is_remembered_while_its_questions_are_asked(course: Project, ben: Rater) -> None:
    practised(course, ben)
    assert last_try(gate_of(course), ben) is None
    attempt(course, ben, WRONG)
    last = last_try(gate_of(course), Rater.objects.get(pk=ben.pk))
    assert last is not None
    assert (last.right, [one.is_right for one in last.marked]) == (1, [False, True])
    set_training(course, changed(gate={"questions": QUESTIONS[:1]}))
    assert last_try(gate_of(course), ben) is None


def test_a_manager_allows_one_more_try_and_a_second_click_no_second_one(course: Project, ben: Rater) -> None:
    practised(course, ben)
    assert allow_another_try(ben) is False
    attempt(course, ben, WRONG)
    attempt(course, ben, WRONG)
    assert allow_another_try(ben) is True
    assert allow_another_try(ben) is False
    ben = Rater.objects.get(pk=ben.pk)
    assert (stage_of(course, ben), tries_left(gate_of(course), ben), ben.gate_tries) == (Stage.GATE, 1, 2)
    attempt(course, ben, WRONG)
    assert stage_of(course, ben) is Stage.REFUSED
    assert allow_another_try(ben) is True


def test_one_more_try_is_one_even_where_the_project_allows_fewer_now(course: Project, ben: Rater) -> None:
    set_training(course, changed(gate={**TRAINING["gate"], "tries": 4}))
    practised(course, ben)
    for _ in range(3):
        attempt(course, ben, WRONG)
    set_training(course, TRAINING)
    assert stage_of(course, ben) is Stage.REFUSED
    allow_another_try(ben)
    assert tries_left(gate_of(course), Rater.objects.get(pk=ben.pk)) == 1


# --- Storing --------------------------------------------------------------------------------------------------------


def test_a_change_on_top_of_what_somebody_else_changed_is_refused(course: Project) -> None:
    seen = training_of(course).key
    change_training(course, lambda stored: {"practice": PRACTICE[:1]}, based_on=seen)
    with pytest.raises(TrainingChanged):
        change_training(course, lambda stored: {}, based_on=seen)
    assert len(training_of(Project.objects.get(pk=course.pk)).practice) == 1


def test_a_project_is_not_made_with_a_training_that_cannot_be(db: None) -> None:
    with pytest.raises(TrainingInvalid, match="Practice pair 1"):
        create_project(slug="other", training={"practice": [{}]})
    assert not Project.objects.filter(slug="other").exists()


def test_the_command_stores_a_file_or_says_what_is_wrong_with_it(course: Project, tmp_path: Path) -> None:
    path, out = tmp_path / "training.json", StringIO()
    path.write_text(json.dumps({"practice": PRACTICE}))
    call_command("set_training", "helpfulness", str(path), json=True, stdout=out)
    assert json.loads(out.getvalue().splitlines()[-1])["practice"] == 2
    assert training_of(Project.objects.get(pk=course.pk)).gate is None
    for text, said in (("{", "is no JSON"), ('{"practice": [{}]}', "Practice pair 1, answer")):
        path.write_text(text)
        with pytest.raises(CommandError, match=said):
            call_command("set_training", "helpfulness", str(path))
