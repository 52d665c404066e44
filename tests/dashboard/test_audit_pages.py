"""The Audit page: figures with what they rest on, the naive figure as a warning, the guarantee, the rounds."""

import pytest
from django.test import Client

from annotation.models import Origin, Pair, Project
from dashboard.surveying import survey
from routing.labels.resolving import resolve_labels
from routing.models import Plan, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.options import PlanOptions
from routing.plans.planning import Budget, draw_plan
from tests.builders import make_pair, make_project
from tests.judged import answer_pairs, judge_pairs, make_judge

pytestmark = pytest.mark.either_database

HERE = "/projects/helpfulness/routing/audit/"
CHART = "/projects/helpfulness/charts/{}-light-wide.svg"
N = 240
PLAIN = PlanOptions()


@pytest.fixture
def project(db: None) -> Project:
    """Return a project in which the judge flips on every fourth pair."""
    project = make_project()
    pairs = [make_pair(project) for _ in range(N)]
    judge_pairs(make_judge(project), pairs, ["flip" if number % 4 == 0 else "a" for number in range(N)])
    return project


def applied(project: Project, options: PlanOptions = PLAIN) -> Plan:
    plan = draw_plan(project, budget=Budget.parse("50%"), judge="gpt", audit_share=0.25, options=options)
    apply_plan(plan)
    return plan


def answer(plan: Plan, *sources: RouteSource) -> list[Pair]:
    """Let people say a on the pairs of these kinds."""
    pairs = [route.pair for route in plan.routes.filter(source__in=sources).select_related("pair")]
    answer_pairs(pairs, ["a"] * len(pairs), origin=Origin.LIVE)
    resolve_labels(plan.project)
    return pairs


def test_before_any_plan_the_page_says_what_will_be_here(ada: Client, project: Project) -> None:
    page = ada.get(HERE).text
    assert "Nothing to measure yet" in page
    assert 'href="/projects/helpfulness/routing/"' in page
    assert "<dl" not in page


def test_applied_plan_without_answers_says_too_few_everywhere(ada: Client, project: Project) -> None:
    applied(project)
    page = ada.get(HERE).text
    assert page.count("Too few labels (0 of 30)") == 3
    assert "0 answered pairs that the router chose and 0 drawn at random; it takes 30 of each" in page
    assert "Do not quote" not in page
    assert "more answered pairs drawn at random" in page
    assert "/charts/parts-" not in page


def test_figures_warning_guarantee_and_rounds_of_a_finished_round(ada: Client, project: Project) -> None:
    plan = applied(project, PlanOptions(guarantee_alpha=0.12))
    answer(plan, RouteSource.AUDIT, RouteSource.PEOPLE)
    found = survey(project)
    report = found.report
    assert report is not None
    assert report.judge.value is not None
    assert report.naive.value is not None
    page = ada.get(HERE).text
    assert "Routing helps. The judge was wrong on " in page
    assert f"Do not quote {100 * report.naive.value:.1f}" in page
    assert f"{100 * report.judge.value:.1f} <span" in page
    assert f"{100 * report.judge.low:.1f} to {100 * report.judge.high:.1f} %; 120 answered pairs" in page  # type: ignore[operator]
    assert "Every pair asked is answered, so all answers of 1 round count" in page
    # The plan's own alpha stands among the usual ones, and is marked.
    assert [offer.guarantee.alpha for offer in found.offers] == [0.05, 0.1, 0.12, 0.15, 0.2, 0.25]
    assert '12 % <span class="chip chip--strong">this plan</span>' in page
    certified = next(offer for offer in found.offers if offer.asked)
    assert certified.guarantee.errors == 0
    assert certified.pairs == pytest.approx(certified.share * found.left)
    assert certified.share > 0.5
    for name, text in (("parts", "Where the judge can be trusted"), ("rounds", "Wrong labels found, round by round")):
        assert text in page
        image = ada.get(CHART.format(name))
        assert image["Content-Type"] == "image/svg+xml"
        assert "<svg" in image.text


def test_page_states_that_no_answer_was_given_with_an_ai_label_in_view(ada: Client, project: Project) -> None:
    applied(project)
    page = ada.get(HERE).text
    assert "0 % of people's answers were given with an AI label in view" in page


def test_unfinished_round_says_that_only_random_pairs_count(ada: Client, project: Project) -> None:
    plan = applied(project)
    answer(plan, RouteSource.AUDIT)
    page = ada.get(HERE).text
    assert "In a round that is not finished only the pairs drawn at random count" in page
    assert "Quote it once every pair of the round is answered" in page
    assert "60 answered pairs" in page


def test_page_and_charts_are_the_managers_alone(ben: Client, eve: Client, project: Project) -> None:
    for browser in (ben, eve):
        assert browser.get(HERE).status_code == 404
        assert browser.get(CHART.format("parts")).status_code == 404


def test_charts_without_answers_are_not_found(ada: Client, project: Project) -> None:
    applied(project)
    assert [ada.get(CHART.format(name)).status_code for name in ("parts", "rounds")] == [404, 404]
