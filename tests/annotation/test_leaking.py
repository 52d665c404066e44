import json

import pytest
from django.core.management import call_command
from pytest_django import DjangoAssertNumQueries

from annotation.agreeing import LEAST_LABELS
from annotation.creating import create_project
from annotation.importing import import_pairs
from annotation.leaking import leak_report
from annotation.models import Project
from exports.reporting import REPORTS
from tests.builders import make_pair, make_project
from tests.services import SHARED_DATA

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return make_project()


def fill(project: Project, *, naming: int, others: int) -> None:
    """Make pairs of which so many have a first response that names its maker."""
    for number in range(naming):
        make_pair(
            project,
            response_a=f"I am ChatGPT, made by OpenAI ({number}).",
            model_a="gpt-4",
            model_b="vicuna-13b",
            external_id=f"naming-{number}",
        )
    for _ in range(others):
        make_pair(project, response_b="OpenAI was founded in 2015.", model_a="gpt-4", model_b="vicuna-13b")


def test_share_is_that_of_responses_and_has_an_interval(project: Project) -> None:
    fill(project, naming=6, others=14)
    report = leak_report(project)
    assert (report["responses"], report["naming_responses"]) == (40, 6)
    share = report["share"]
    assert (share["value"], share["n"]) == (0.15, 40)
    assert 0 < share["low"] < 0.15 < share["high"] < 0.4


def test_each_model_has_its_own_share(project: Project) -> None:
    fill(project, naming=6, others=14)
    make_pair(project, model_a="", model_b="")
    gpt, unknown, vicuna = leak_report(project)["models"]
    assert (gpt["model"], gpt["responses"], gpt["naming_responses"], gpt["share"]["value"]) == ("gpt-4", 20, 6, 0.3)
    assert (vicuna["model"], vicuna["naming_responses"], vicuna["share"]["value"]) == ("vicuna-13b", 0, 0.0)
    # None seen is not none there.
    assert vicuna["share"]["high"] > 0.1
    assert (unknown["model"], unknown["share"]["too_few"]) == ("not stated", f"too few responses (2 of {LEAST_LABELS})")


def test_names_are_counted_once_a_response_whatever_their_case(project: Project) -> None:
    make_pair(project, response_a="I am ChatGPT. I am ChatGPT!", response_b="I am CHATGPT, made by OpenAI.")
    assert leak_report(project)["names"] == [{"name": "ChatGPT", "responses": 2}, {"name": "OpenAI", "responses": 1}]


def test_at_most_five_pairs_are_shown_by_the_id_of_the_file(project: Project) -> None:
    fill(project, naming=7, others=1)
    assert leak_report(project)["pairs"] == [f"naming-{number}" for number in range(5)]


def test_what_the_prompt_or_its_context_asks_about_is_no_leak(project: Project) -> None:
    told = "ChatGPT: Hello!"
    make_pair(project, prompt="What would ChatGPT say?", response_a=told)
    pair = make_pair(project, prompt="Who speaks here?", response_a=told)
    assert leak_report(project)["naming_responses"] == 1
    pair.prompt.context = "A talk with ChatGPT."
    pair.prompt.save()
    assert leak_report(project)["naming_responses"] == 0


def test_another_projects_responses_are_not_read(project: Project) -> None:
    fill(make_project("other"), naming=1, others=0)
    assert leak_report(project)["responses"] == 0


def test_queries_do_not_grow_with_the_project(
    project: Project, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    fill(project, naming=8, others=8)
    with django_assert_num_queries(2):
        leak_report(project)


def test_report_is_printed_for_people_and_for_machines(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    fill(project, naming=6, others=14)
    call_command("report", project.slug, "blinding")
    text = capsys.readouterr().out
    assert "0.1500  (95 %:" in text
    assert "naming-0" in text
    call_command("report", project.slug, "blinding", "--json")
    *_, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == REPORTS["blinding"](project)


@pytest.mark.shared_data
def test_real_responses_leak_as_counted_by_eye() -> None:
    project = create_project(slug="vicuna80")
    import_pairs(project, SHARED_DATA / "vicuna80_dev.jsonl.gz")
    report = leak_report(project)
    assert (report["responses"], report["naming_responses"]) == (576, 1)
    assert [one["model"] for one in report["models"] if one["naming_responses"]] == ["claude (2023-06)"]
    assert report["names"] == [{"name": "Anthropic", "responses": 1}]
    assert len(report["pairs"]) == 4
