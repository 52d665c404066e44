"""The Drift page says what changed since the plan was drawn, on what evidence, and what to do."""

from datetime import UTC, datetime

import pytest
from django.test import Client

from annotation.models import Origin, OutboxEvent, Pair, Preference, Project, Task, TaskState
from judges.models import JudgeVersion
from routing.models import Plan, PredictorFit, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.planning import Budget, draw_plan
from routing.predicting.refitting import WANTED, refit
from routing.tasks import refit_project
from tests.judged import answer_pairs, judge_pairs, make_judge, make_pairs

pytestmark = pytest.mark.either_database

HERE = "/projects/helpfulness/routing/drift/"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def plan(project: Project) -> Plan:
    """Return an applied plan that audits 60 of 120 pairs, on which P(judge wrong) was said to be 15 %."""
    Pair.objects.filter(project=project).delete()
    Project.objects.filter(pk=project.pk).update(votes_wanted=1)
    project.refresh_from_db()
    judge_pairs(make_judge(project), make_pairs(project, 120), ["a", "b"] * 60)
    drawn = draw_plan(project, budget=Budget.parse("60%"), judge="gpt", audit_share=0.5)
    apply_plan(drawn)
    drawn.figures["predictor"] |= {"calibrated": True, "labels": 500}
    drawn.figures["agreement"] = {"before": 0.85, "after": 0.94}
    Plan.objects.filter(pk=drawn.pk).update(figures=drawn.figures)
    drawn.routes.update(p_wrong=0.15)
    return Plan.objects.get(pk=drawn.pk)


def answered(plan: Plan, *, wrong: int) -> None:
    """Let people answer the audit slice, so many of its 60 pairs otherwise than the judge, and check for drift."""
    pairs = list(Pair.objects.filter(routes__plan=plan, routes__source=RouteSource.AUDIT).order_by("id"))
    said = dict(Preference.objects.of_judges().values_list("pair_id", "choice"))
    missed = {number * 60 // wrong for number in range(wrong)}
    choices = [
        {"a": "b", "b": "a"}[said[pair.pk]] if number in missed else said[pair.pk] for number, pair in enumerate(pairs)
    ]
    answer_pairs(pairs, choices, origin=Origin.LIVE)
    Task.objects.filter(pair__in=pairs).update(state=TaskState.DONE)
    assert refit(plan.project, JudgeVersion.objects.get(), now=NOW) is not None


def test_without_a_plan_the_page_says_what_will_be_here(ada: Client, project: Project) -> None:
    page = ada.get(HERE).text
    assert "No plan is applied" in page
    assert "Fit again and check" not in page


def test_before_the_first_check_the_page_says_when_there_will_be_one(ada: Client, plan: Plan) -> None:
    page = ada.get(HERE).text
    assert "Not checked yet" in page
    assert "Fit again and check" in page


def test_without_a_change_the_page_says_so_with_the_figures(ada: Client, plan: Plan) -> None:
    answered(plan, wrong=9)
    page = ada.get(HERE).text
    assert "No change found" in page
    assert '15.0 <span class="unit">%</span>' in page
    assert "of 60 pairs; predicted" in page
    assert "too few pairs (0 of 50 imported since the plan was drawn)" in page
    assert "Was the judge wrong as often as predicted?" in page
    assert "no longer hold" not in ada.get("/projects/helpfulness/").text


def test_an_alarm_stands_on_the_overview_the_plans_and_the_drift_page(ada: Client, plan: Plan) -> None:
    answered(plan, wrong=27)
    sentence = "on 45% of the last 60 audited pairs, where 15% was predicted."
    page = ada.get(HERE).text
    assert "Something has changed" in page
    assert sentence in page
    assert "Draw the plan again, so that its figures follow the new answers." in page
    assert page.count("The applied plan may no longer hold") == 0
    for address in ("/projects/helpfulness/", "/projects/helpfulness/routing/"):
        other = ada.get(address).text
        assert "The applied plan may no longer hold" in other
        assert sentence in other
        assert f'href="{HERE}"' in other


def test_pairs_and_judge_that_changed_are_listed_with_their_means(ada: Client, plan: Plan) -> None:
    judge_pairs(JudgeVersion.objects.get(), make_pairs(plan.project, 60, start=1000), ["flip"] * 60)
    answered(plan, wrong=9)
    page = ada.get(HERE).text
    assert "The 60 pairs imported since the plan was drawn differ from those before it" in page
    assert "Changed its answer with the order" in page
    assert "Calls it a tie" in page
    assert page.count(">moved</span>") >= 2
    assert "How the judge answers" in page


def test_charts_are_drawn(ada: Client, plan: Plan) -> None:
    judge_pairs(JudgeVersion.objects.get(), make_pairs(plan.project, 60, start=1000), ["flip"] * 60)
    answered(plan, wrong=9)
    comparison = [{"kind": "logistic", "auroc": 0.8, "log_loss": 0.4, "brier": 0.1, "ece": 0.05, "chosen": True}]
    for hour in (1, 2):
        fit = PredictorFit.objects.get(fitted_at=NOW)
        fit.pk, fit.comparison, fit.labels = None, comparison, 100 * hour
        fit.fitted_at = NOW.replace(hour=hour)
        PredictorFit.objects.bulk_create([PredictorFit(**{**_values(fit), "kind": "logistic"})])
    page = ada.get(HERE).text
    assert "Logistic regression" in page
    assert "0.800" in page
    for name in ("drift", "ways", "fits"):
        for width in ("wide", "narrow"):
            image = ada.get(f"/projects/helpfulness/charts/{name}-light-{width}.svg")
            assert image.status_code == 200
            assert image.content.startswith(b"<svg")


def _values(fit: PredictorFit) -> dict[str, object]:
    names = ("project", "version", "kind", "predictor", "comparison", "labels", "wrong", "seed", "drift", "fitted_at")
    return {name: getattr(fit, name) for name in names}


def test_a_check_that_is_asked_for_is_made_by_a_worker_and_the_page_waits_for_it(ada: Client, plan: Plan) -> None:
    response = ada.post(f"{HERE}check/")
    assert response["Location"] == HERE
    event = OutboxEvent.objects.get(topic=WANTED)
    assert event.payload == {"project_id": str(plan.project_id)}
    page = ada.get(HERE).text
    assert "A worker is at it" in page
    assert 'hx-trigger="every 2s"' in page
    alone = ada.get(HERE, headers={"HX-Request": "true"}).text
    assert "A worker is at it" in alone
    assert "<html" not in alone
    refit_project(**event.payload)
    page = ada.get(HERE).text
    assert "A worker is at it" not in page
    assert "Last checked" in page


def test_only_its_manager_sees_it_and_asks_for_a_check(ben: Client, eve: Client, plan: Plan) -> None:
    for client in (ben, eve):
        assert client.get(HERE).status_code == 404
        assert client.post(f"{HERE}check/").status_code == 404
    assert not OutboxEvent.objects.filter(topic=WANTED).exists()
