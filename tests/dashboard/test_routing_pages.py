"""Drawing a plan, reading it, applying it."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from annotation.models import Project, Task
from dashboard.waiting import waiting_work
from judges.models import JudgeVersion
from routing.models import Plan, PlanState
from routing.plans import applying, queueing
from routing.plans.planning import Drawn, work_out
from tests.builders import make_pair

HERE = "/projects/helpfulness/routing/"
WANTED = {"kind": "share", "value": "25", "audit_percent": "12.5", "judge": "length v1", "seed": 7}


@pytest.fixture(autouse=True)
def no_broker(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Take messages to workers for sent; the tests do a worker's part themselves."""
    sent: list[str] = []

    def wake(tasks: Sequence[str], payload: dict[str, str]) -> bool:
        sent.extend(tasks)
        return True

    monkeypatch.setattr(queueing, "wake", wake)
    return sent


def drawn(client: Client, **values: object) -> Plan:
    """Return the plan that was asked for on the page, drawn as a worker would."""
    client.post(HERE, {**WANTED, **values})
    plan = Plan.objects.order_by("-created_at")[0]
    queueing.draw_queued(plan.pk)
    plan.refresh_from_db()
    return plan


def applied(client: Client, plan: Plan) -> Plan:
    """Return the plan, applied on the page and by a worker."""
    client.post(f"{HERE}{plan.pk}/apply/")
    applying.work_apply(plan.pk)
    plan.refresh_from_db()
    return plan


def test_a_plan_is_drawn_shown_and_applied_once(ada: Client, project: Project, length: JudgeVersion) -> None:
    response = ada.post(HERE, WANTED)
    plan = Plan.objects.get()
    assert response["Location"] == f"{HERE}{plan.pk}/"
    assert (plan.seed, plan.audit_share, plan.created_by.username) == (7, 0.125, "ada")  # type: ignore[union-attr]
    queueing.draw_queued(plan.pk)
    assert not Task.objects.exists()
    page = ada.get(f"{HERE}{plan.pk}/").text
    assert "A draft: nothing is open to people yet." in page
    assert "not known yet" in ada.get(HERE).text
    assert "Open 6 pairs to people" in page
    assert "$5.40" in page
    assert "too few labels" in page
    for _ in range(2):
        applied(ada, plan)
    plan.refresh_from_db()
    assert plan.state == PlanState.APPLIED
    assert Task.objects.filter(project=project).count() == 6
    page = ada.get(f"{HERE}{plan.pk}/").text
    assert "Open 6 pairs to people" not in page
    assert "Applied" in page


def test_a_plan_that_waits_says_so_and_its_page_follows(
    ada: Client, project: Project, length: JudgeVersion, no_broker: list[str], django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        ada.post(HERE, WANTED)
    assert no_broker == ["routing.tasks.draw_plan"]
    plan = Plan.objects.get()
    here = f"{HERE}{plan.pk}/"
    page = ada.get(here).text
    assert "Waiting for a worker" in page
    assert f'hx-get="{here}"' in page
    assert "A worker draws it." in ada.get(HERE).text
    part = ada.get(here, headers={"HX-Request": "true"})
    assert "<html" not in part.text
    assert "HX-Refresh" not in part
    queueing.draw_queued(plan.pk)
    assert ada.get(here, headers={"HX-Request": "true"})["HX-Refresh"] == "true"


def test_a_plan_that_nobody_draws_is_said_on_every_page_and_sent_again(
    ada: Client, project: Project, length: JudgeVersion, no_broker: list[str]
) -> None:
    ada.post(HERE, WANTED)
    late = timezone.now() + timedelta(minutes=5)
    assert queueing.send_waiting_plans(now=timezone.now()) == 0
    assert "the plan" in [work.what[:8] for work in waiting_work(project, now=late)]
    assert queueing.send_waiting_plans(now=late) == 1
    # A worker has it: nothing waits, until it must have died.
    Plan.objects.update(figures={"began_at": timezone.now().isoformat()})
    assert "the plan" not in [work.what[:8] for work in waiting_work(project, now=late)]
    assert queueing.send_waiting_plans(now=late) == 0
    assert queueing.send_waiting_plans(now=timezone.now() + timedelta(minutes=16)) == 1


def test_of_two_workers_that_draw_a_plan_the_first_to_end_writes_it(
    ada: Client, project: Project, length: JudgeVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada.post(HERE, WANTED)
    plan = Plan.objects.get()

    def overtaken(mine: Plan) -> Drawn:
        monkeypatch.setattr(queueing, "work_out", work_out)
        queueing.draw_queued(mine.pk)
        Plan.objects.filter(pk=mine.pk).update(state=PlanState.APPLIED)
        return work_out(mine)

    monkeypatch.setattr(queueing, "work_out", overtaken)
    queueing.draw_queued(plan.pk)
    plan.refresh_from_db()
    assert plan.state == PlanState.APPLIED
    assert plan.routes.count() == 24


def test_a_plan_says_how_many_pairs_it_opens_where_the_judge_has_labelled_fewer_than_the_budget(
    ada: Client, project: Project, length: JudgeVersion
) -> None:
    for number in range(8):
        make_pair(project, prompt=f"Not judged {number}?", response_a="Yes.", response_b="No.")
    plan = drawn(ada, value="100", audit_percent="4")
    assert plan.figures["budget"]["pairs"] == 32
    asked = plan.figures["counts"]["people"] + plan.figures["counts"]["audit"]
    assert asked < 32
    page = ada.get(f"{HERE}{plan.pk}/").text
    assert f"Open {asked} pairs to people" in page
    assert "Nothing to keep" in page
    applied(ada, plan)
    assert Task.objects.count() == asked


@pytest.mark.parametrize(("kind", "value", "pairs"), [("money", "2.70", 3), ("count", "7", 7), ("share", "50", 12)])
def test_a_plan_keeps_to_its_budget(
    ada: Client, project: Project, length: JudgeVersion, kind: str, value: str, pairs: int
) -> None:
    assert drawn(ada, kind=kind, value=value).figures["budget"]["pairs"] == pairs


@pytest.mark.parametrize(
    ("values", "field", "sentence"),
    [
        ({"value": "0"}, "value", "0 % is not possible: more than 0 and at most 100."),
        ({"kind": "target", "value": "101"}, "value", "101 % is not possible"),
        ({"kind": "count", "value": "2.5"}, "value", "A number of pairs is a whole number"),
        ({"audit_percent": "101"}, "audit_percent", "less than or equal to 100"),
        ({"audit_percent": "1"}, "audit_percent", "it takes 2% or more"),
        ({"seed": "x"}, "seed", "Enter a whole number."),
        ({"judge": "nobody"}, "judge", "Select a valid choice."),
        ({"expert_on_split": "on"}, "expert_on_split", "Choose “Two, more where they differ”"),
        ({"worth_usd": "0"}, "worth_usd", "US dollars above 0"),
        ({"second_budget_usd": "3"}, "second_budget_usd", "Choose the second judge first."),
    ],
)
def test_a_plan_that_cannot_be_says_why_at_the_field(
    ada: Client, project: Project, length: JudgeVersion, values: dict[str, str], field: str, sentence: str
) -> None:
    response = ada.post(HERE, {**WANTED, **values})
    assert response.status_code == 422
    assert sentence in response.context["form"].errors[field][0]
    assert not Plan.objects.exists()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"kind": "money", "value": "0.10"}, "The plan can ask about no pair"),
        ({"kind": "target", "value": "90"}, "too few labels (0 of 100"),
        ({"second_judge": "length v1"}, "is the plan&#x27;s own judge"),
    ],
)
def test_a_plan_that_fails_while_it_is_drawn_says_why_on_its_page(
    ada: Client, project: Project, length: JudgeVersion, values: dict[str, str], sentence: str
) -> None:
    plan = drawn(ada, **values)
    assert plan.state == PlanState.FAILED
    assert not plan.routes.exists()
    for address in (HERE, f"{HERE}{plan.pk}/"):
        page = ada.get(address)
        assert page.status_code == 200
        assert sentence in page.text
    assert ada.get(f"{HERE}{plan.pk}/why/").status_code == 404
    # It cannot be applied, and saying so is no server error.
    assert ada.post(f"{HERE}{plan.pk}/apply/", follow=True).status_code == 200
    assert not Task.objects.exists()


def test_what_breaks_unexpectedly_ends_in_words_and_in_the_log(
    ada: Client, project: Project, length: JudgeVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(plan: Plan) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(queueing, "work_out", broken)
    with pytest.raises(ZeroDivisionError):
        drawn(ada)
    plan = Plan.objects.get()
    assert (plan.state, plan.error[:15]) == (PlanState.FAILED, "Something broke")


def test_why_shows_samples_of_each_zone_and_all_of_one(ada: Client, project: Project, length: JudgeVersion) -> None:
    plan = drawn(ada)
    here = f"{HERE}{plan.pk}/why/"
    page = ada.get(here).text
    for title in ("People, most doubtful", "People, at random"):
        assert title in page
    assert "drawn at random for the audit slice" in page
    kept = plan.routes.get(pair__external_id=_shown_pairs(ada.get(f"{here}?zone=ai").text)[0])
    assert kept.why == []
    assert "Question number" in page
    assert "A long answer that says a good deal more." in page
    assert len(_shown_pairs(ada.get(f"{here}?zone=people").text)) == plan.figures["counts"]["people"]
    assert ada.get(f"{here}?zone=nonsense&page=x").status_code == 200
    assert ada.get(f"{here}?zone=people&page=999").status_code == 200


def _shown_pairs(page: str) -> list[str]:
    return re.findall(r'reasons__head"><a href="[^"]+">([^<]+)</a>', page)


def test_the_page_says_what_changed_since_the_plan_before(ada: Client, project: Project, length: JudgeVersion) -> None:
    drawn(ada)
    second = drawn(ada, value="50", audit_percent="5")
    page = ada.get(f"{HERE}{second.pk}/").text
    assert "Since the plan before" in page
    assert "25 % of the pairs" in page
    assert "50 % of the pairs" in page


def test_more_stays_closed_until_something_in_it_is_wrong(ada: Client, project: Project, length: JudgeVersion) -> None:
    assert '<details class="plan-more">' in ada.get(HERE).text
    assert '<details class="plan-more" open>' in ada.post(HERE, {**WANTED, "audit_percent": "1"}).text


def test_without_a_judge_the_plan_says_so(ada: Client, project: Project) -> None:
    page = ada.get(HERE).text
    assert "No judge has labelled a pair yet" in page
    assert "Draw the plan" not in page
    response = ada.post(HERE, {**WANTED, "judge": ""})
    assert "No judge has labelled pairs" in response.context["form"].errors["judge"][0]
