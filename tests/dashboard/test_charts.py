"""Charts as specifications, as images, and with their numbers beside them."""

import re
from typing import Any

import pandas as pd
import pytest
from django.test import Client

from annotation.models import Pair, Project
from dashboard import charts
from dashboard.charting import Chart, Column, svg
from tests.builders import make_person, make_preference

ANSWERS = pd.DataFrame(
    [
        {"day": "2026-03-01", "origin": "Given here", "answers": 4},
        {"day": "2026-03-01", "origin": "Simulated", "answers": 9},
        {"day": "2026-03-09", "origin": "Given here", "answers": 2},
    ]
)
JUDGES = pd.DataFrame([{"judge": "gpt v1", "value": 0.8, "low": 0.7, "high": 0.9, "n": 60}])


def test_the_frontier_starts_at_the_judge_and_ends_where_people_answer_everything() -> None:
    rows = charts.frontier_rows([0.5, 0.3, 0.1, 0.1], points=5)
    router = rows[rows["way"] == "router"]["agreement"].tolist()
    random = rows[rows["way"] == "random"]["agreement"].tolist()
    assert router == pytest.approx([0.75, 0.875, 0.95, 0.975, 1.0])
    assert random == pytest.approx([0.75, 0.8125, 0.875, 0.9375, 1.0])


def test_people_are_solid_and_simulated_answers_are_outlines() -> None:
    spec = charts.answers_chart(ANSWERS, theme="light", width=300).to_dict()
    assert spec["mark"]["color"] == charts.PALETTES["light"].people
    scale = spec["encoding"]["fillOpacity"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == {"Given here": 1.0, "Simulated": 0.15}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_image_holds_nothing_the_content_policy_forbids(theme: charts.Theme) -> None:
    frontier = charts.frontier_rows([0.5, 0.3, 0.1, 0.1])
    for chart in (
        charts.answers_chart(ANSWERS, theme=theme, width=300),
        charts.frontier_chart(frontier, planned=0.25, theme=theme, width=300),
        charts.judges_chart(JUDGES, theme=theme, width=300),
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
    ben = make_person(project, "ben")
    for pair in pairs[:3]:
        make_preference(pair, ben)
    page = ada.get("/projects/helpfulness/").text
    images = set(re.findall(r"/projects/helpfulness/charts/answers-(\w+-\w+)\.svg", page))
    assert images == {"light-wide", "dark-wide", "light-narrow", "dark-narrow"}
    table = page[page.index('<details class="chart__table"') :]
    assert re.search(r"<td>Given here</td><td class=\"num\">3</td>", table)
    response = ada.get("/projects/helpfulness/charts/answers-dark-wide.svg")
    assert response["Content-Type"] == "image/svg+xml"
    assert response.content.startswith(b"<svg")


def test_a_chart_without_data_is_not_there(ada: Client, project: Project) -> None:
    for name in ("answers", "frontier", "judges", "unknown"):
        assert ada.get(f"/projects/helpfulness/charts/{name}-light-wide.svg").status_code == 404
    assert ada.get("/projects/helpfulness/charts/answers-pink-wide.svg").status_code == 404
