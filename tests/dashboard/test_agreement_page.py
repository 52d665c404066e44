"""The page Agreement: coefficients, couples, people, time, and the method."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from annotation.models import Criterion, Pair, Preference, Project
from dashboard.matching import MOST_PEOPLE, matrix_of
from dashboard.templatetags.matching import ends, in_words
from routing.labels.resolving import resolve_labels
from tests.builders import make_person, make_preference

HERE = "/projects/helpfulness/agreement/"


@pytest.fixture
def crowd(project: Project, pairs: list[Pair]) -> Project:
    """Return the project with three people's answers on all pairs, half of them a day earlier; dee met nobody."""
    ben, cyd, kai = (make_person(project, name) for name in ("ben", "cyd", "kai"))
    easy = Criterion.objects.create(project=project, name="easy")
    for number, pair in enumerate(pairs):
        side, other = ("a", "b") if number % 2 else ("b", "a")
        for person, choice in ((ben, side), (cyd, side), (kai, other if number < 6 else side)):
            make_preference(pair, person, choice)
            make_preference(pair, person, "a", criterion=easy)
    early = Preference.objects.filter(pair__in=pairs[:12])
    early.update(created_at=timezone.now() - timedelta(days=1))
    resolve_labels(project)
    return project


def test_page_without_answers_says_what_will_be_here(ada: Client, project: Project) -> None:
    page = ada.get(HERE)
    assert page.status_code == 200
    assert "Nobody shares a pair yet" in page.text


def test_page_shows_every_coefficient_people_couples_and_time(ada: Client, crowd: Project) -> None:
    page = ada.get(HERE)
    shown = {name: figure for name, _, figure in page.context["rows"]}
    # Of the three couples of people, two differ on six pairs of 24.
    assert shown["Same answer"]["value"] == pytest.approx(60 / 72, abs=1e-6)
    assert len(shown) == 8
    assert all(figure["value"] is not None and figure["low"] is not None for figure in shown.values())
    matrix = page.context["matrix"]
    assert matrix.names == ["ben", "cyd", "kai"]
    ben = dict(matrix.rows)["ben"]
    assert ben[0].is_self
    assert ben[1].couple["raw"]["value"] == 1.0
    assert (ben[2].couple["n"], ben[2].couple["raw"]["value"], ben[2].step) == (24, 0.75, 1)
    people = {row["person"]: row for row in page.context["people"]}
    assert people["kai"]["agreement_with_others"]["value"] == 0.75
    assert people["ben"]["competence"]["value"] > people["kai"]["competence"]["value"]
    assert page.context["time"].rows[0]["n"] == 36
    assert "everybody gave one answer" in page.text
    for name in ("coefficients", "agreement_time"):
        image = ada.get(f"/projects/helpfulness/charts/{name}-dark-narrow.svg")
        assert image["Content-Type"] == "image/svg+xml"
        assert "<svg" in image.text


def test_choosing_a_method_stores_it_and_a_wrong_one_is_refused(ada: Client, crowd: Project) -> None:
    response = ada.post(HERE, {"method": "dawid_skene"}, follow=True)
    assert "Labels go by “Habits of each person (Dawid-Skene)”" in response.text
    crowd.refresh_from_db()
    assert crowd.aggregation == "dawid_skene"
    refused = ada.post(HERE, {"method": "glad"})
    assert refused.status_code == 422
    crowd.refresh_from_db()
    assert crowd.aggregation == "dawid_skene"


def test_contested_pairs_and_suspected_flips_are_one_click_away(ada: Client, crowd: Project, pairs: list[Pair]) -> None:
    fay, gus, hal = (make_person(crowd, name) for name in ("fay", "gus", "hal"))
    for person, choice in ((fay, "tie"), (gus, "tie"), (hal, "tie")):
        make_preference(pairs[0], person, choice)
    make_preference(pairs[20], fay, "tie")
    make_preference(pairs[20], gus, "tie")
    make_preference(pairs[20], hal, "both_bad")
    make_preference(pairs[21], fay, "b")
    make_preference(pairs[21], gus, "b")
    make_preference(pairs[21], hal, "b")
    resolve_labels(crowd)
    contested = ada.get("/projects/helpfulness/pairs/?state=contested").text
    assert "q-021" in contested
    assert "q-020" not in contested
    suspected = ada.get("/projects/helpfulness/pairs/?state=suspected").text
    # Three of six are most votes and no majority: just as likely wrong as right is not suspected.
    assert "q-021" not in suspected
    page = ada.get(f"/projects/helpfulness/pairs/{pairs[21].pk}/").text
    assert "contested" in page
    assert "a is better 3, b is better 3" in page


def test_coefficients_are_written_with_two_decimals_and_no_minus_nought() -> None:
    figure = {"value": -0.001, "n": 12, "low": -0.004, "high": 0.5, "too_few": ""}
    assert (in_words(figure), ends(figure)) == ("0.00", "0.00 to 0.50")
    none = {"value": None, "n": 12, "low": None, "high": None, "too_few": "everybody gave one answer"}
    assert (in_words(none), ends(none)) == ("everybody gave one answer", "\N{EN DASH}")


def test_a_table_of_many_people_keeps_those_who_share_most() -> None:
    raw = {"value": 0.5, "n": 10}
    couples = [{"first": f"p{i:02}", "second": f"p{i + 1:02}", "n": 100 - i, "raw": raw} for i in range(20)]
    found = matrix_of(couples)
    assert len(found.names) == MOST_PEOPLE
    assert found.left_out == 5
    assert "p20" not in found.names
