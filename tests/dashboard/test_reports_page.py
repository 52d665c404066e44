"""The page Reports: a section a report, each alone, as a part and as JSON."""

import re

import pytest
from django.test import Client

from annotation.models import Pair, Project
from dashboard import report_charts, telling
from exports.reporting import REPORTS
from exports.reporting.telling import Told, told
from routing.labels.resolving import resolve_labels
from tests.builders import make_person, make_preference
from tests.judged import judge_pairs, make_judge

HERE = "/projects/helpfulness/reports/"


@pytest.fixture
def busy(project: Project, pairs: list[Pair]) -> Project:
    """Return the project with three people and two judges on all pairs; kai goes the other way on every fourth."""
    for number, pair in enumerate(pairs):
        side, other = ("a", "b") if number % 2 else ("b", "a")
        for name in ("ben", "cyd", "kai"):
            choice = other if name == "kai" and number % 4 == 0 else side
            why = "“A long answer that says a good deal more” is what I wanted." if name == "ben" else ""
            make_preference(pair, make_person(project, name), choice, rationale=why)
    for name in ("gpt", "small"):
        judge_pairs(make_judge(project, name), pairs, ["a", "b", "flip", "tie"] * (len(pairs) // 4))
    resolve_labels(project)
    return project


def test_page_has_a_section_for_each_report_that_is_fetched_when_it_is_seen(ada: Client, project: Project) -> None:
    page = ada.get(HERE)
    assert page.status_code == 200
    for section in telling.SECTIONS:
        assert f'id="{section.name}"' in page.text
        assert f'hx-get="{HERE}{section.name}/"' in page.text
        assert f'href="{HERE}{section.name}/"' in page.text


@pytest.mark.parametrize("name", [section.name for section in telling.SECTIONS])
def test_every_report_is_a_page_a_part_and_json(name: str, ada: Client, busy: Project) -> None:
    page = ada.get(f"{HERE}{name}/")
    assert page.status_code == 200
    assert "<html" in page.text
    part = ada.get(f"{HERE}{name}/", headers={"HX-Request": "true"})
    assert "<html" not in part.text
    assert "As JSON" in part.text
    assert page.context["told"]
    assert all(one.sentence for one in page.context["told"])
    assert not re.search(r"\bnan\b", part.text, flags=re.IGNORECASE)


def test_the_json_is_the_report_itself(ada: Client, busy: Project) -> None:
    assert ada.get(f"{HERE}noise.json").json() == REPORTS["noise"](busy)


def test_a_project_without_data_says_why_there_are_no_figures(ada: Client, project: Project) -> None:
    for section in telling.SECTIONS:
        page = ada.get(f"{HERE}{section.name}/")
        assert page.status_code == 200
        shown = [one.sentence for one in page.context["told"]]
        assert shown, section.name
        # Of pairs without an answer some things are known all the same.
        assert section.name == "data" or all(one.startswith("No ") for one in shown), section.name


def test_an_unknown_report_is_not_found(ada: Client, project: Project) -> None:
    assert ada.get(f"{HERE}blessing/").status_code == 404
    assert ada.get(f"{HERE}blessing.json").status_code == 404


def test_charts_of_reports_are_drawn_from_their_figures(ada: Client, busy: Project) -> None:
    flips = report_charts.flips(busy)
    assert flips is not None
    # kai parts from both others on 6 of 24 pairs: 12 of 72 couples differ.
    assert flips.rows[0]["value"] == pytest.approx((1 - (1 - 2 * 12 / 72) ** 0.5) / 2, abs=1e-6)
    drawn = 0
    for name, make in report_charts.CHARTS.items():
        if make(busy) is None:
            continue
        image = ada.get(f"/projects/helpfulness/charts/{name}-dark-narrow.svg")
        assert image["Content-Type"] == "image/svg+xml"
        assert "<svg" in image.text
        drawn += 1
    assert drawn >= 4


def test_sentences_with_a_value_come_first_and_a_reason_is_said_once() -> None:
    figure = {"value": 0.5, "n": 10, "low": None, "high": None, "detectable": None, "too_few": "", "sentence": "Half."}
    none = {**figure, "value": None, "too_few": "too few", "sentence": "No figure: too few."}
    writers = [{"writer": "people", "with_one": none, "agrees_with_label": none, "quotes_verbatim": none}]
    assert told("rationales", {"writers": writers})[0] == [Told("people", none, "No figure: too few.")]
    writers += [{"writer": "gpt", "with_one": figure, "agrees_with_label": none, "quotes_verbatim": none}] * 10
    shown, more = told("rationales", {"writers": writers})
    assert [one.sentence for one in shown] == ["Half."] * 8
    assert more == 2


def test_people_who_do_not_manage_find_no_reports(ben: Client, eve: Client, project: Project) -> None:
    for client in (ben, eve):
        for address in (HERE, f"{HERE}data/", f"{HERE}data.json"):
            assert client.get(address).status_code == 404
