"""The pages of searches over mixes: asked for, followed, read, refused."""

from copy import deepcopy
from typing import Any

import pytest
from django.test import Client

from annotation.models import Project
from dashboard.mixes import tag_name
from routing.models import Study, StudyKind, StudyState
from routing.studies.mixing import MixOptions, search_frame
from tests.routing.mixed import fill_project, mix_pairs

HERE = "/projects/helpfulness/routing/mixes/"
OPTIONS = MixOptions((0.1, 0.25), 60, 20)


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """Return a search's result, as a worker stores it."""
    pairs, x = mix_pairs(400)
    return {"judge": "gpt", **search_frame(pairs, x, OPTIONS, seed=0)}


@pytest.fixture
def mixed(project: Project) -> Project:
    """Return the project with 220 more pairs that people and the judge "gpt" answered."""
    fill_project(project)
    return project


def searched(project: Project, result: dict[str, Any]) -> Study:
    return Study.objects.create(
        project=project, kind=StudyKind.MIXES, judge_name="gpt", options=OPTIONS.to_json(), seed=0,
        state=StudyState.DONE, result=result,
    )  # fmt: skip


def test_a_search_is_asked_for_and_followed(ada: Client, mixed: Project) -> None:
    page = ada.get(HERE).text
    assert "gpt (220 pairs)" in page
    assert "No search yet" in page
    sent = {"judge": "gpt", "budgets": "25, 10", "mixes": 60, "candidates": 20, "seed": 4}
    response = ada.post(HERE, sent)
    study = Study.objects.get()
    assert response["Location"] == f"{HERE}{study.pk}/"
    assert (study.kind, study.judge_name, study.seed) == ("mixes", "gpt", 4)
    assert study.options == {"budgets": [0.1, 0.25], "mixes": 60, "candidates": 20}
    page = ada.get(f"{HERE}{study.pk}/").text
    assert "Search over mixes of gpt" in page
    assert ">Stop</button>" in page
    assert ada.get(f"{HERE}{study.pk}/mixes.json").status_code == 404
    Study.objects.update(state=StudyState.STOPPED, done_steps=3, total_steps=9)
    page = ada.get(f"{HERE}{study.pk}/").text
    assert "A search keeps nothing: resumed, it begins again." in page
    address = f"/projects/helpfulness/routing/studies/{study.pk}/"
    assert ada.get(address)["Location"] == f"{HERE}{study.pk}/", "without scripts it leads to the page"
    # "goes on where it was" is not said of what begins again.
    assert "It begins again." in ada.post(f"{address}resume/", follow=True).text


def test_a_form_that_does_not_fit_says_where(ada: Client, mixed: Project) -> None:
    good = {"judge": "gpt", "budgets": "25", "mixes": "60", "candidates": "20", "seed": "0"}
    for values, words in (
        ({"budgets": "much"}, "Write one to six percentages"),
        ({"budgets": "100"}, "Write one to six percentages"),
        ({"mixes": "5"}, "greater than or equal to 60"),
        ({"judge": "nobody"}, "Select a valid choice"),
    ):
        response = ada.post(HERE, {**good, **values})
        assert response.status_code == 422
        assert words in response.text
    assert not Study.objects.exists()


def test_a_finished_search_shows_its_figures_and_how_far_to_trust_them(
    ada: Client, project: Project, result: dict[str, Any]
) -> None:
    study = searched(project, result)
    page = ada.get(f"{HERE}{study.pk}/").text
    head = result["budgets"][1]
    assert f"{100 * head['check']['accuracy']['recommended']['mean']:.1f}" in page
    assert f"{100 * head['predicted']['recommended']:.1f}" in page
    assert "The router's pairs" in page.replace("&#x27;", "'")
    assert "Chance that the judge is wrong: highest third" in page
    chosen = next(one for one in result["forecasts"] if one["chosen"])
    assert f"{100 * chosen['rmse']['mean']:.2f}" in page
    for name in ("mix_budgets", "mixes"):
        assert f"charts/{name}-light-wide.svg?v=" in page
        for shape in ("light-wide", "dark-narrow"):
            image = ada.get(f"/projects/helpfulness/charts/{name}-{shape}.svg?study={study.pk}")
            assert image.text.startswith("<svg")
    assert ada.get(f"{HERE}{study.pk}/mixes.json").json() == result
    assert "gpt" in ada.get(HERE).text


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.01, 0.05, "The mix found is better than the router"),
        (-0.01, 0.05, "The mix found is not clearly better than the router"),
        (-0.05, -0.01, "The mix found is worse than the router"),
    ],
)
def test_the_page_says_better_only_where_the_interval_says_so(
    ada: Client, project: Project, result: dict[str, Any], low: float, high: float, words: str
) -> None:
    changed = deepcopy(result)
    changed["budgets"][1]["check"]["lead"]["router"] = {"mean": (low + high) / 2, "low": low, "high": high}
    study = searched(project, changed)
    page = ada.get(f"{HERE}{study.pk}/").text
    assert words in page
    assert ("Take the router" in page) == (low <= 0)


def test_a_refusal_recommends_nothing(ada: Client, project: Project) -> None:
    pairs, x = mix_pairs(300)
    refused = {"judge": "gpt", **search_frame(pairs, x[:, :0], MixOptions((0.2,), 60, 5), seed=1)}
    study = searched(project, refused)
    page = ada.get(f"{HERE}{study.pk}/").text
    assert "No mix is recommended" in page
    assert "The predictor cannot rank mixes here: Spearman 0.00" in page
    assert "The mix found</td>" not in page
    assert "none: the order is chance" in ada.get(HERE).text


def test_a_project_with_too_few_labels_says_how_many_are_missing(ada: Client, answered: Project) -> None:
    page = ada.get(HERE).text
    assert "too few labels (5 of 200 pairs answered by both)" in page.lower()
    assert 'type="submit">Search' not in page


def test_a_project_without_a_judge_is_told_to_add_one(ada: Client, project: Project) -> None:
    assert "Add a judge" in ada.get(HERE).text


def test_others_see_no_search(ada: Client, ben: Client, eve: Client, project: Project, result: dict[str, Any]) -> None:
    study = searched(project, result)
    for client in (ben, eve):
        assert client.get(HERE).status_code in (403, 404)
        assert client.get(f"{HERE}{study.pk}/").status_code in (403, 404)
    other = Study.objects.create(project=project, kind=StudyKind.REPLAY, judge_name="gpt")
    assert ada.get(f"{HERE}{other.pk}/").status_code == 404


def test_tags_are_said_in_words() -> None:
    examples = {"cluster 2": "How do I\nbake bread"}
    assert tag_name("cluster 2", examples) == "Prompts like “How do I bake bread”"
    assert tag_name("pick_length: low", {}) == "Picked the longer response: lowest third"
    assert tag_name("P(wrong): high", {}) == "Chance that the judge is wrong: highest third"
    assert tag_name("margin: not known", {}) == "How sure the judge says it is: not known"
    assert tag_name("flipped", {}) == "Changed its answer with the order"
