"""A manager writes guidelines, practice and questions, and sees how people fare."""

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from annotation.guiding import revise_guidelines, versions_of
from annotation.learning import Stage, stage_of
from annotation.models import Project, Rater
from annotation.training import set_training, training_of
from tests.builders import make_person
from tests.learners import PRACTICE, QUESTIONS, TRAINING

pytestmark = pytest.mark.either_database

GUIDELINES, TRAINING_PAGE, PEOPLE = (f"/projects/helpfulness/{part}/" for part in ("guidelines", "training", "people"))


def stored(project: Project) -> dict[str, Any]:
    return training_of(Project.objects.get(pk=project.pk)).value()


def sent(project: Project, part: str, number: int | None, act: str = "store", **fields: Any) -> dict[str, Any]:
    """Return what a form of the training page sends."""
    prefix = f"{part}-{'new' if number is None else number}"
    values = {f"{prefix}-{name}": value for name, value in fields.items()}
    where = {} if number is None else {"item": number}
    return {"key": training_of(Project.objects.get(pk=project.pk)).key, "part": part, "act": act, **where, **values}


# --- Guidelines -----------------------------------------------------------------------------------------------------


def test_a_text_is_shown_first_and_stored_then(ada: Client, project: Project) -> None:
    draft = {"text": "Prefer **short** ones.", "note": "Length counts.", "number": 0}
    page = ada.post(GUIDELINES, {**draft, "act": "preview"})
    assert page.status_code == 200
    assert "Prefer <strong>short</strong> ones." in page.text
    assert "Prefer **short** ones." in page.text
    assert not versions_of(project).exists()
    assert ada.post(GUIDELINES, {**draft, "act": "store"})["Location"] == GUIDELINES
    version = versions_of(project).get()
    assert (version.text, version.note, str(version.created_by)) == (draft["text"], "Length counts.", "ada")


def test_versions_are_listed_with_what_they_changed(ada: Client, project: Project) -> None:
    revise_guidelines(project, text="One.\nTwo.")
    revise_guidelines(project, text="One.\nThree.", note="Two is three.")
    page = ada.get(GUIDELINES).text
    assert "Two is three." in page
    assert "<del>Two.</del>" in page
    assert "<ins>Three.</ins>" in page


def test_a_text_over_somebody_elses_comes_back_with_what_to_do(ada: Client, project: Project) -> None:
    revise_guidelines(project, text="One.")
    response = ada.post(GUIDELINES, {"text": "Mine.", "note": "", "number": 0, "act": "store"})
    assert response.status_code == 422
    assert "Version 1 was stored while you wrote" in response.text
    assert "Mine." in response.text
    assert versions_of(project).count() == 1


def test_more_than_twenty_versions_are_listed_when_asked_for(ada: Client, project: Project) -> None:
    for number in range(25):
        revise_guidelines(project, text=f"Text {number}.")
    page = ada.get(GUIDELINES)
    assert (len(page.context["history"]), page.context["more"]) == (20, True)
    assert len(ada.get(f"{GUIDELINES}?all").context["history"]) == 25


# --- Practice and questions -----------------------------------------------------------------------------------------


def test_practice_and_questions_are_made_by_plain_forms(ada: Client, project: Project) -> None:
    pair = {**PRACTICE[1], "answer": ["tie", "both_bad"]}
    assert ada.post(TRAINING_PAGE, sent(project, "practice", None, **pair)).status_code == 302
    options = "When I would rather not read it\n* When it is long"
    question = {"question": "When may you pass?", "options": options, "why": "So."}
    assert ada.post(TRAINING_PAGE, sent(project, "questions", None, **question)).status_code == 302
    several = {**question, "options": "* One\n\n*Two\nThree", "several": "on"}
    assert ada.post(TRAINING_PAGE, sent(project, "questions", 0, **several)).status_code == 302
    assert ada.post(TRAINING_PAGE, sent(project, "gate", None, pass_percent="75", tries=3)).status_code == 302
    value = stored(project)
    assert value["practice"] == [pair]
    assert value["gate"]["questions"] == [
        {"question": "When may you pass?", "options": ["One", "Two", "Three"], "correct": [0, 1], "why": "So."}
    ]
    assert (value["gate"]["pass_mark"], value["gate"]["tries"]) == (0.75, 3)
    page = ada.get(TRAINING_PAGE).text
    assert "* One\n* Two\nThree" in page
    assert "That is 1 of 1 right." in page


def test_items_are_moved_and_removed(ada: Client, project: Project) -> None:
    set_training(project, TRAINING)
    for act, left in (("down", ["Name a colour.", "What is 2 + 2?"]), ("up", ["Name a colour.", "What is 2 + 2?"])):
        assert ada.post(TRAINING_PAGE, sent(project, "practice", 0, act)).status_code == 302
        assert [pair["prompt"] for pair in stored(project)["practice"]] == left
    ada.post(TRAINING_PAGE, sent(project, "practice", 0, "remove"))
    assert [pair["prompt"] for pair in stored(project)["practice"]] == ["What is 2 + 2?"]
    for _ in QUESTIONS:
        ada.post(TRAINING_PAGE, sent(project, "questions", 0, "remove"))
    assert "gate" not in stored(project)
    assert ada.post(TRAINING_PAGE, sent(project, "practice", 9, "remove")).status_code == 302
    assert len(stored(project)["practice"]) == 1


@pytest.mark.parametrize(
    ("part", "fields", "said"),
    [
        ("practice", {**PRACTICE[0], "answer": []}, "Mark the answers that count as right"),
        ("practice", {**PRACTICE[0], "why": ""}, "This field is required."),
        ("questions", {"question": "Which?", "options": "One\nTwo"}, "No option is marked as right."),
        ("questions", {"question": "Which?", "options": "*One\n*Two"}, "Several options have a star."),
        ("questions", {"question": "Which?", "options": "*One"}, "Question 1, options: are 1;"),
        ("questions", {"question": "Which?", "options": "*One\nOne"}, "Question 1, options: are texts"),
    ],
)
def test_an_item_that_cannot_be_comes_back_with_what_is_wrong(
    ada: Client, project: Project, part: str, fields: dict[str, Any], said: str
) -> None:
    response = ada.post(TRAINING_PAGE, sent(project, part, None, **fields))
    assert response.status_code == 422
    assert said in response.text
    assert stored(project) == {}


def test_the_whole_is_pasted_or_uploaded_and_every_problem_is_named(ada: Client, project: Project) -> None:
    bad = {"practice": [{**PRACTICE[0], "answer": "c"}, {}], "gate": {"questions": [{}]}}
    response = ada.post(TRAINING_PAGE, sent(project, "whole", None, text=json.dumps(bad)))
    assert response.status_code == 422
    for item in ("Practice pair 1, answer", "Practice pair 2, prompt", "Question 1, options"):
        assert item in response.text
    for text, said in (("{", "This is no JSON"), ("", "Choose a file, or paste JSON.")):
        assert said in ada.post(TRAINING_PAGE, sent(project, "whole", None, text=text)).text
    assert stored(project) == {}
    file = SimpleUploadedFile("training.json", json.dumps(TRAINING).encode())
    assert ada.post(TRAINING_PAGE, sent(project, "whole", None, file=file)).status_code == 302
    assert stored(project) == training_of(Project(training=TRAINING)).value()
    assert (
        ada.post(TRAINING_PAGE, sent(project, "whole", None, file=SimpleUploadedFile("x", b"\xff"))).status_code == 422
    )


def test_a_form_over_what_somebody_else_stored_changes_nothing(ada: Client, project: Project) -> None:
    old = sent(project, "practice", None, **PRACTICE[0])
    set_training(project, TRAINING)
    response = ada.post(TRAINING_PAGE, old)
    assert response.status_code == 422
    assert "Somebody changed this while you wrote" in response.text
    assert len(stored(project)["practice"]) == 2


@pytest.mark.parametrize(
    "values", [{}, {"part": "x", "act": "store"}, {"part": "practice", "act": "store", "item": "7"}]
)
def test_what_no_form_of_the_page_sends_changes_nothing(ada: Client, project: Project, values: dict[str, str]) -> None:
    assert ada.post(TRAINING_PAGE, values).status_code == 422
    assert stored(project) == {}


# --- People ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def refused(project: Project) -> Rater:
    """Return Ben, who used both tries; Cyd passed with the second."""
    set_training(project, TRAINING)
    ben, cyd = make_person(project, "ben"), make_person(project, "cyd")
    Rater.objects.filter(pk=ben.pk).update(practice_done=2, gate_tries=2)
    Rater.objects.filter(pk=cyd.pk).update(practice_done=2, gate_tries=2, gate_passed_at=project.created_at)
    return Rater.objects.get(pk=ben.pk)


def test_the_page_counts_where_people_are(ada: Client, project: Project, refused: Rater) -> None:
    figures = ada.get(TRAINING_PAGE).context["figures"]
    assert {stage: n for stage, n in figures.stages.items() if n} == {"refused": 1, "work": 1}
    assert figures.tries == {2: 1}


def test_a_manager_allows_another_try_on_the_people_page(ada: Client, project: Project, refused: Rater) -> None:
    page = ada.get(PEOPLE).text
    assert "Refused after 2 tries" in page
    assert "Passed, 2 tries" in page
    address = f"{PEOPLE}{refused.pk}/another-try/"
    assert address in page
    assert "ben has one more try" in ada.post(address, follow=True).text
    assert stage_of(project, Rater.objects.get(pk=refused.pk)) is Stage.GATE
    assert "nothing changed" in ada.post(address, follow=True).text


def test_another_try_is_given_in_ones_own_project_only(ada: Client, project: Project, refused: Rater) -> None:
    from tests.builders import make_project

    stranger = make_person(make_project("other", with_people=False), "ben")
    assert ada.post(f"{PEOPLE}{stranger.pk}/another-try/").status_code == 404


def test_without_training_people_have_no_column_of_it(ada: Client, project: Project) -> None:
    make_person(project, "ben")
    assert "Learning</th>" not in ada.get(PEOPLE).text
