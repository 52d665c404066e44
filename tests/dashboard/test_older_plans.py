"""Plans of before options, votes, frontiers and signals were kept with them: their pages open, and all goes on."""

from decimal import Decimal

import pytest
from django.test import Client

from annotation.models import Project, User
from dashboard.progressing import plan_progress
from routing.models import BudgetKind, Plan, PlanSignals, Route
from routing.plans.applying import apply_plan
from routing.plans.planning import Budget, draw_plan
from routing.plans.replanning import left_of, replan
from tests.builders import make_pair, make_project
from tests.judged import judge_pairs, make_judge

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]

# What `figures` held in release 0.4.
KEPT = {
    "pairs",
    "already_with_people",
    "counts",
    "cost_per_pair_usd",
    "cost_usd",
    "agreement",
    "predictor",
    "judge",
    "budget",
    "judge_accuracy",
}


@pytest.fixture
def old_plan() -> Plan:
    """Return a plan of 20 pairs for three votes each, as it lies in a database that was brought up to date."""
    project = make_project(votes_wanted=3, pay_per_answer_usd=Decimal("0.30"))
    pairs = [make_pair(project) for _ in range(40)]
    judge_pairs(make_judge(project), pairs, ["a", "b", "flip", "a"] * 10)
    plan = draw_plan(project, budget=Budget.money(18), judge="gpt")
    plan.figures = {name: value for name, value in plan.figures.items() if name in KEPT}
    plan.options = {}
    plan.save()
    PlanSignals.objects.filter(plan=plan).delete()
    Route.objects.filter(plan=plan).update(expected_usd=0, expected_seconds=None)
    return plan


def test_every_page_of_an_old_plan_opens_as_a_draft_and_applied(client: Client, old_plan: Plan) -> None:
    client.force_login(User.objects.get(username="ada"))
    base = f"/projects/{old_plan.project.slug}/routing/"
    pages = [f"{base}{old_plan.pk}/", f"{base}{old_plan.pk}/why/", f"{base}{old_plan.pk}/why/?zone=people", base]
    assert [client.get(page).status_code for page in pages] == [200] * 4
    apply_plan(old_plan)
    progress = f"{base}{old_plan.pk}/progress/applied/"
    assert client.get(progress, headers={"HX-Request": "true"}).status_code == 200
    assert [client.get(page).status_code for page in (*pages, f"{base}audit/", f"{base}drift/")] == [200] * 6


def test_no_expected_cost_is_made_up_for_an_old_plans_pairs(client: Client, old_plan: Plan) -> None:
    client.force_login(User.objects.get(username="ada"))
    page = client.get(f"/projects/{old_plan.project.slug}/routing/{old_plan.pk}/why/?zone=people").text
    assert "$0.90 at most" in page
    assert "expected" not in page


def test_progress_and_what_is_left_count_the_projects_votes(old_plan: Plan) -> None:
    project: Project = old_plan.project
    assert old_plan.budget_kind == BudgetKind.MONEY
    apply_plan(old_plan)
    found = plan_progress(old_plan)
    assert found is not None
    assert found.work is not None
    assert (found.work.wanted, found.work.grown) == (60, 0)
    assert (found.work.spent_usd, found.work.promised_usd) == (Decimal(0), Decimal(18))
    # Two of the twenty pairs are the random slice's, which stays with people.
    assert left_of(project).value == Decimal("16.2")
    assert replan(project).replaces == old_plan
