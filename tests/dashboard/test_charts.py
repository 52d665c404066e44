"""Charts as specifications, as images, and with their numbers beside them."""

import re
import uuid
from typing import Any

import pandas as pd
import pytest
from django.test import Client

from annotation.models import Pair, Project
from dashboard import charts
from dashboard.chart_rows import Chart, Column
from dashboard.charting import svg
from tests.builders import make_answer, make_pair, make_person, make_preference
from tests.judged import make_judge

ANSWERS = pd.DataFrame(
    [
        {"day": "2026-03-01", "origin": "Given here", "answers": 4},
        {"day": "2026-03-01", "origin": "Simulated", "answers": 9},
        {"day": "2026-03-09", "origin": "Given here", "answers": 2},
    ]
)
CURVE = pd.DataFrame(
    [
        {
            "which": which,
            "said": said,
            "coverage": said,
            "value": value,
            "low": value - 0.1,
            "high": value + 0.1,
            "n": 30,
        }
        for which in ("as stated", "calibrated")
        for said, value in ((0.55, 0.6), (0.75, 0.7), (0.95, 0.85))
    ]
)
JUDGES = pd.DataFrame([{"judge": "gpt v1", "value": 0.8, "low": 0.7, "high": 0.9, "n": 60}])


FRONTIER = pd.DataFrame(
    [
        {"share": share, "way": way, "agreement": 0.75 + gain * share, "low": 0.7 + gain * share, "high": 1.0}
        for way, gain in (("router", 0.25), ("at random", 0.2), ("best single signal (flipped)", 0.22))
        for share in (0.0, 0.5, 1.0)
    ]
)


@pytest.mark.parametrize(("stop", "words"), [(None, ["this plan, 25%"]), (0.5, ["this plan, 25%", "stop here, 50%"])])
def test_the_frontier_bands_the_router_alone_and_marks_the_plan_and_the_stop(
    stop: float | None, words: list[str]
) -> None:
    spec = charts.frontier_chart(FRONTIER, planned=0.25, stop=stop, theme="light", width=640).to_dict()
    band, lines, *marks = spec["layer"]
    assert band["transform"][0]["filter"] == "(datum.way === 'router')"
    assert lines["encoding"]["color"]["scale"]["domain"] == list(dict.fromkeys(FRONTIER["way"]))
    found = [row["text"] for mark in marks[1::2] for row in spec["datasets"][mark["data"]["name"]]]
    assert found == words


def test_people_are_solid_and_simulated_answers_are_outlines() -> None:
    spec = charts.answers_chart(ANSWERS, theme="light", width=300).to_dict()
    assert spec["mark"]["color"] == charts.PALETTES["light"].people
    scale = spec["encoding"]["fillOpacity"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == {"Given here": 1.0, "Simulated": 0.15}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_image_holds_nothing_the_content_policy_forbids(theme: charts.Theme) -> None:
    for chart in (
        charts.answers_chart(ANSWERS, theme=theme, width=300),
        charts.frontier_chart(FRONTIER, planned=0.25, stop=0.4, theme=theme, width=300),
        charts.judges_chart(JUDGES, theme=theme, width=300),
        charts.reliability_chart(CURVE, theme=theme, width=300),
        charts.coverage_chart(CURVE[:3], theme=theme, width=300),
    ):
        image = charts.draw(chart, theme=theme)
        assert image.startswith("<svg")
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:|<foreignObject", image)
        assert charts.PALETTES[theme].soft in image


def test_the_key_of_a_chart_changes_with_what_it_draws() -> None:
    columns = (Column("day", "Day", "text"),)
    rows: list[dict[str, Any]] = [{"day": "2026-03-01", "origin": "Given here", "answers": n} for n in (4, 9, 2)]
    first = Chart("answers", "t", "n", columns, rows, {})
    same = Chart("answers", "t", "n", columns, list(rows), {})
    other = Chart("answers", "t", "n", columns, rows[:2], {})
    assert first.key == same.key != other.key
    assert svg(first, theme="light", width="narrow") != svg(first, theme="dark", width="narrow")


def test_a_page_offers_a_chart_in_both_themes_and_widths_with_its_table(
    ada: Client, project: Project, pairs: list[Pair]
) -> None:
    for pair in pairs[:3]:
        make_answer(pair, "ben")
    page = ada.get("/projects/helpfulness/").text
    images = set(re.findall(r"/projects/helpfulness/charts/answers-(\w+-\w+)\.svg", page))
    assert images == {"light-wide", "dark-wide", "light-narrow", "dark-narrow"}
    table = page[page.index('<details class="chart__table"') :]
    assert re.search(r"<td>Given here</td><td class=\"num\">3</td>", table)
    response = ada.get("/projects/helpfulness/charts/answers-dark-wide.svg")
    assert response["Content-Type"] == "image/svg+xml"
    assert response.content.startswith(b"<svg")


def test_a_judge_has_a_reliability_and_a_coverage_curve_with_their_numbers(ada: Client, project: Project) -> None:
    people = [make_person(project, name) for name in ("ben", "cyd")]
    version = make_judge(project, "gpt")
    for number in range(60):
        pair = make_pair(project)
        for person in people:
            make_preference(pair, person, "a")
        # Sure of the first 40, which it gets right; unsure of the rest, of which it gets half right.
        sure = number < 40
        choice = "a" if sure or number % 2 else "b"
        prob_a = 0.9 if sure else 0.6 if choice == "a" else 0.4
        make_preference(pair, version.rater, choice, prob_a=prob_a)
    audit = f"/projects/helpfulness/judges/{version.pk}/audit/"
    response = ada.get(audit)
    reliability, coverage = response.context["charts"]
    assert [(round(row["said"], 6), row["value"], row["n"]) for row in reliability.rows] == [
        (0.6, 0.5, 20),
        (0.9, 1.0, 40),
    ]
    assert coverage.rows[-1]["coverage"] == 1.0
    assert coverage.rows[-1]["value"] == pytest.approx(50 / 60)
    found = re.search(r'src="(/projects/helpfulness/charts/reliability-light-wide\.svg[^"]*)"', response.text)
    assert found is not None
    address = found[1].replace("&amp;", "&")
    assert ada.get(address).content.startswith(b"<svg")
    assert ada.get(address.replace(str(version.pk), str(uuid.uuid4()))).status_code == 404


def test_a_chart_without_data_is_not_there(ada: Client, project: Project) -> None:
    for name in ("answers", "frontier", "judges", "reliability", "unknown"):
        assert ada.get(f"/projects/helpfulness/charts/{name}-light-wide.svg").status_code == 404
    assert ada.get("/projects/helpfulness/charts/answers-pink-wide.svg").status_code == 404
