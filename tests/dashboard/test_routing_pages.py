"""Drawing a plan, reading it, applying it."""

import pytest
from django.test import Client

from annotation.models import Project, Task
from judges.models import JudgeVersion
from routing.models import Plan, PlanState
from tests.builders import make_pair

HERE = "/projects/helpfulness/routing/"
WANTED = {"kind": "share", "value": "25", "audit_percent": "12.5", "judge": "length v1", "seed": 7}


def test_a_plan_is_drawn_shown_and_applied_once(ada: Client, project: Project, length: JudgeVersion) -> None:
    response = ada.post(HERE, WANTED)
    plan = Plan.objects.get()
    assert response["Location"] == f"{HERE}{plan.pk}/"
    assert (plan.seed, plan.audit_share, plan.created_by.username) == (7, 0.125, "ada")  # type: ignore[union-attr]
    assert not Task.objects.exists()
    page = ada.get(f"{HERE}{plan.pk}/").text
    assert "Open 6 pairs to people" in page
    assert "$5.40" in page
    assert "too few labels" in page
    for _ in range(2):
        ada.post(f"{HERE}{plan.pk}/apply/")
    plan.refresh_from_db()
    assert plan.state == PlanState.APPLIED
    assert Task.objects.filter(project=project).count() == 6
    page = ada.get(f"{HERE}{plan.pk}/").text
    assert "Open 6 pairs to people" not in page
    assert "Applied" in page


def test_a_plan_says_how_many_pairs_it_opens_where_the_judge_has_labelled_fewer_than_the_budget(
    ada: Client, project: Project, length: JudgeVersion
) -> None:
    for number in range(8):
        make_pair(project, prompt=f"Not judged {number}?", response_a="Yes.", response_b="No.")
    ada.post(HERE, {**WANTED, "value": "100", "audit_percent": "0"})
    plan = Plan.objects.get()
    assert plan.figures["budget"]["pairs"] == 32
    assert "Open 24 pairs to people" in ada.get(f"{HERE}{plan.pk}/").text
    assert "24 pairs are open to people." in ada.post(f"{HERE}{plan.pk}/apply/", follow=True).text


def test_a_plan_by_money_keeps_to_it(ada: Client, project: Project, length: JudgeVersion) -> None:
    ada.post(HERE, {**WANTED, "kind": "money", "value": "2.70"})
    assert Plan.objects.get().figures["budget"]["pairs"] == 3


@pytest.mark.parametrize(
    ("values", "field", "sentence"),
    [
        ({"value": "0"}, "value", "A budget is a share of the pairs"),
        ({"value": "101"}, "value", "A budget is a share of the pairs"),
        ({"kind": "money", "value": "0.10"}, "value", "The plan can ask about no pair"),
        ({"kind": "target", "value": "90"}, "value", "too few labels"),
        ({"audit_percent": "101"}, "audit_percent", "less than or equal to 100"),
        ({"seed": "x"}, "seed", "Enter a whole number."),
        ({"judge": "nobody"}, "judge", "Select a valid choice."),
    ],
)
def test_a_plan_that_cannot_be_says_why_at_the_field(
    ada: Client, project: Project, length: JudgeVersion, values: dict[str, str], field: str, sentence: str
) -> None:
    response = ada.post(HERE, {**WANTED, **values})
    assert response.status_code == 422
    assert sentence in response.context["form"].errors[field][0]
    assert not Plan.objects.exists()


def test_without_a_judge_the_plan_says_so(ada: Client, project: Project) -> None:
    response = ada.post(HERE, {**WANTED, "judge": ""})
    assert "No judge has labelled pairs" in response.context["form"].errors["judge"][0]
