"""The list of pairs and one pair."""

import re

import pytest
from django.test import Client
from pytest_django.fixtures import DjangoAssertNumQueries

from annotation.assigning import Opening, open_tasks
from annotation.models import Origin, Pair, Project, Tier
from dashboard.listing import page_of_pairs
from judges.models import JudgeVersion, Verdict, VerdictState
from routing.plans.applying import apply_plan
from routing.plans.planning import Budget, draw_plan
from tests.builders import make_pair, make_person, make_preference

HERE = "/projects/helpfulness/pairs/"


def ids(project: Project, **filters: str) -> list[str]:
    return [pair.external_id for pair in page_of_pairs(project, **filters).pairs]  # type: ignore[arg-type]


def test_filters_find_what_the_figures_count(answered: Project, length: JudgeVersion, pairs: list[Pair]) -> None:
    open_tasks(answered, [Opening(pairs[8].pk, 1.0)], votes_wanted=1, tier=Tier.CROWD)
    Verdict.objects.filter(version=length, pair=pairs[9]).update(state=VerdictState.FAILED, error="Cut short.")
    make_pair(answered, external_id="new")
    assert ids(answered, state="disputed") == ["q-005"]
    assert ids(answered, state="recorded") == [f"q-{number:03}" for number in range(6)]
    assert ids(answered, state="waiting") == ["q-008"]
    assert ids(answered, state="failed") == ["q-009"]
    assert ids(answered, state="unlabelled") == ["new"]
    assert len(ids(answered, state="resolved", choice="a")) == 14
    assert len(ids(answered, state="resolved", choice="b")) == 9
    assert ids(answered, text="q-00") == [f"q-{number:03}" for number in range(10)]
    assert ids(answered, state="no such state") == ids(answered)


def test_routed_pairs_are_listed_by_their_source(project: Project, length: JudgeVersion) -> None:
    plan = draw_plan(project, budget=Budget.parse("25%"), judge="length", audit_share=0.125)
    apply_plan(plan)
    for source in ("people", "audit"):
        wanted = set(plan.routes.filter(source=source).values_list("pair__external_id", flat=True))
        assert len(wanted) == 3
        assert set(ids(project, state=source)) == wanted
    assert len(ids(project, state="ai")) == 18


def test_pages_walk_every_pair_once(ada: Client, project: Project) -> None:
    for number in range(76):
        make_pair(project, external_id=f"z-{number:03}")
    seen: list[str] = []
    address: str | None = HERE
    while address:
        page = ada.get(address).text
        seen += re.findall(r">((?:q|z)-\d+)</a>", page)
        following = re.search(r'href="(\?after=[^"]+)" rel="next"', page)
        address = HERE + following[1] if following else None
    assert len(seen) == len(set(seen)) == 100
    assert seen == sorted(seen)


def test_a_page_of_pairs_costs_the_same_whatever_it_shows(
    ada: Client, answered: Project, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(12):
        ada.get(HERE)
    for _ in range(100):
        make_pair(answered)
    with django_assert_max_num_queries(12):
        ada.get(HERE)


@pytest.mark.parametrize("query", ["after=nonsense", "state=%00", "id=%00", "choice=zzz"])
def test_nonsense_in_the_address_is_no_error(ada: Client, project: Project, query: str) -> None:
    assert ada.get(f"{HERE}?{query}").status_code == 200


def test_an_empty_filter_says_so_and_leads_back(ada: Client, project: Project) -> None:
    page = ada.get(f"{HERE}?state=disputed").text
    assert "No such pair" in page
    assert f'href="{HERE}"' in page


def test_a_pair_shows_its_texts_people_judges_and_why(ada: Client, answered: Project, pairs: list[Pair]) -> None:
    make_preference(pairs[0], make_person(answered, "kai", origin=Origin.SIMULATED), "a", rationale="made up")
    page = ada.get(f"{HERE}{pairs[0].pk}/").text
    for text in (
        "Question number 0?",
        "A long answer",
        "Short.",
        "model-one",
        "It says more.",
        "length v1",
        "people plurality",
    ):
        assert text in page, text
    assert re.search(r"kai <span class=\"chip\">simulated</span>", page)


def test_markup_in_a_response_is_shown_and_not_run(ada: Client, project: Project) -> None:
    pair = make_pair(project, response_a="<script>alert(1)</script>", prompt="<img src=x onerror=alert(1)>")
    page = ada.get(f"{HERE}{pair.pk}/").text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
