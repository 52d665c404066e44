"""A manager sees how far an applied plan is, and plans again with what came in before anything changes."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from annotation.assigning import Answer, next_assignment, submit
from annotation.models import Assignment, Membership, Origin, Project, Rater, Role, Task, TaskState, User
from dashboard.progressing import plan_progress
from dashboard.waiting import waiting_work
from judges.models import JudgeRun
from routing.auditing.guaranteeing import Guarantee
from routing.models import Label, Plan, PlanState, Route, RouteSource
from routing.plans import applying, queueing
from routing.plans.applying import apply_plan, queue_apply
from routing.plans.options import PlanOptions
from routing.plans.planning import Budget, draw_plan
from routing.plans.replanning import replan
from tests.builders import make_pair, make_person, make_project
from tests.judged import judge_pairs, make_judge
from tests.routing.test_replanning import unlike

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]

HTMX = {"HX-Request": "true"}


@pytest.fixture(autouse=True)
def nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (applying, queueing):
        monkeypatch.setattr(module, "wake", lambda *_: True)


@pytest.fixture
def ada(client: Client, project: Project) -> Client:
    client.force_login(User.objects.get(username="ada"))
    return client


@pytest.fixture
def project() -> Project:
    project = make_project(lease_seconds=600)
    pairs = [make_pair(project) for _ in range(40)]
    judge_pairs(make_judge(project), pairs, ["a", "b", "flip", "a"] * 10)
    return project


def applied(project: Project, **options: Any) -> Plan:
    asked = PlanOptions(**{"votes": "adaptive", **options})
    plan = draw_plan(project, budget=Budget.money(18), judge="gpt", options=asked)
    apply_plan(plan)
    return plan


def answer(project: Project, name: str, choices: str) -> None:
    """Let a person answer so many pairs; a dot holds one."""
    user = make_person(project, name).user
    Membership.objects.get_or_create(project=project, user=user, defaults={"role": Role.ANNOTATOR})
    for choice in choices:
        held = next_assignment(project, make_person(project, name), now=timezone.now()).assignment
        assert held is not None
        if choice != ".":
            submit(held.pk, held.rater, Answer(choice), now=timezone.now())


def part(ada: Client, plan: Plan) -> str:
    return str(ada.get(f"/projects/helpfulness/routing/{plan.pk}/progress/{plan.state}/", headers=HTMX).text)


def test_it_counts_answers_pairs_splits_and_money(ada: Client, project: Project) -> None:
    plan = applied(project)
    answer(project, "ben", "aaa.")
    answer(project, "cyd", "aab")
    work = plan_progress(plan).work  # type: ignore[union-attr]
    assert work is not None
    assert (work.pairs, work.done, work.held, work.untouched, work.closed) == (20, 2, 1, 16, 0)
    # Two pairs took two answers, one wants a third, the other 17 two each.
    assert (work.grown, work.answers, work.wanted, work.most) == (1, 6, 2 * 2 + 3 + 17 * 2, 2 * 2 + 18 * 3)
    assert (work.spent_usd, work.promised_usd, work.budget_usd) == (Decimal("1.80"), Decimal("15.60"), Decimal(18))
    page = " ".join(part(ada, plan).split())
    assert "of 41 wanted" in page
    assert "1 held now, 16 not begun" in page
    assert "at most $15.60 still to come; budget $18.00" in page
    assert "Draw round 2" in page
    Rater.objects.filter(name="cyd").update(origin=Origin.SIMULATED)
    paid = plan_progress(plan).work  # type: ignore[union-attr]
    assert paid is not None
    assert (paid.answers, paid.spent_usd, paid.promised_usd) == (6, Decimal("0.90"), Decimal("15.60"))


def test_planning_again_makes_a_draft_that_shows_what_it_would_change(ada: Client, project: Project) -> None:
    plan = applied(project)
    answer(project, "ben", "aab")
    response = ada.post("/projects/helpfulness/routing/again/")
    queued = Plan.objects.get(replaces=plan)
    assert response["Location"] == f"/projects/helpfulness/routing/{queued.pk}/"
    assert (queued.state, queued.created_by) == (PlanState.DRAWING, User.objects.get(username="ada"))
    queueing.draw_queued(queued.pk)
    queued.refresh_from_db()
    unlike(queued)
    changes = plan_progress(queued).changes  # type: ignore[union-attr]
    assert changes is not None
    page = " ".join(ada.get(response["Location"]).text.split())
    assert "What applying it would change" in page
    assert f"<dt>Would close</dt><dd>{changes.closes}" in page
    assert f"<dt>Would open</dt><dd>{changes.opens}" in page
    assert changes.closes > 0
    assert f"Applying it opens {changes.opens} pairs and closes {changes.closes}; its" in page
    assert "Apply round 2</button>" in page
    assert Task.objects.filter(state=TaskState.CLOSED).count() == 0
    apply_plan(queued)
    assert Task.objects.filter(state=TaskState.CLOSED).count() == changes.closes
    replaced = " ".join(part(ada, Plan.objects.get(pk=plan.pk)).split())
    assert "A later plan was applied" in replaced
    assert "Draw round" not in replaced


def test_what_cannot_be_planned_again_says_why(ada: Client, project: Project) -> None:
    page = ada.post("/projects/helpfulness/routing/again/", follow=True).text
    assert "No plan of helpfulness is applied yet" in page
    plan = applied(project)
    Task.objects.update(state=TaskState.DONE, votes_wanted=3)
    assert "all money of the plan is spent or promised" in part(ada, plan)
    assert "Draw round" not in part(ada, plan)


def test_the_part_refreshes_the_page_when_the_plan_moved_on_and_stops_when_it_is_done(
    ada: Client, project: Project
) -> None:
    plan = draw_plan(project, budget=Budget.money(18), judge="gpt")
    queue_apply(plan)
    waiting = part(ada, plan)
    assert "Being applied" in waiting
    assert 'hx-trigger="every 2s"' in waiting
    apply_plan(plan)
    moved = ada.get(f"/projects/helpfulness/routing/{plan.pk}/progress/applying/", headers=HTMX)
    assert (moved["HX-Refresh"], moved.content) == ("true", b"")
    plan.refresh_from_db()
    assert 'hx-trigger="every 10s"' in part(ada, plan)
    Task.objects.update(state=TaskState.DONE)
    assert "hx-get" not in part(ada, plan)


def test_a_plan_that_nobody_applies_is_said_on_every_page(ada: Client, project: Project) -> None:
    plan = draw_plan(project, budget=Budget.money(18), judge="gpt")
    queue_apply(plan)
    what = "the opening of a plan's pairs to people"
    assert what not in [work.what for work in waiting_work(project, now=timezone.now())]
    assert what in [work.what for work in waiting_work(project, now=timezone.now() + timedelta(minutes=2))]


def test_it_says_where_the_second_judge_is(ada: Client, project: Project) -> None:
    plan = applied(project)
    second = make_judge(project, "claude")
    routes = list(plan.routes.filter(source=RouteSource.AI)[:3])
    Route.objects.filter(pk__in=[route.pk for route in routes]).update(source=RouteSource.SECOND)
    plan.figures = {**plan.figures, "second": {"version_id": str(second.pk), "name": "claude · pairwise"}}
    plan.save()
    assert "It is asked within a minute" in part(ada, plan)
    plan.note_after(second_error="The price of it is unknown.")
    assert "It was not asked: The price of it is unknown." in part(ada, plan)
    run = JudgeRun.objects.create(project=project, version=second)
    plan.figures["after"] = {"second_run": str(run.pk)}
    plan.save()
    assert "So far the two judges differ on none" in part(ada, plan)
    label = Label.objects.get(pair=routes[0].pair)
    label.provenance["rule"] = "judges_split"
    label.save()
    assert "The two judges differ on 1 pair:" in part(ada, plan)


def test_it_says_what_the_guarantee_accepts(ada: Client, project: Project) -> None:
    plan = applied(project, guarantee_alpha=0.15)
    page = " ".join(part(ada, plan).split())
    assert "at most 15 % of the accepted AI labels wrong, with 90 % confidence" in page.replace("\xa0", " ")
    assert "Nothing is accepted yet" in page
    plan.note_after(guarantee=Guarantee(0.3, 1, 1, 0, 0.1, 0.15, 0.1, 0, "0 of 1 audited labels were wrong")._asdict())
    page = " ".join(part(ada, plan).split())
    assert "those whose chance to be wrong is at most 30.0" in page
    assert "1 of its 2 random pairs count so far" in page


def test_pairs_that_wait_for_an_expert_say_so_where_there_is_none(ada: Client, project: Project) -> None:
    plan = applied(project, expert_on_split=True)
    answer(project, "ben", "a")
    answer(project, "cyd", "b")
    page = " ".join(part(ada, plan).split())
    assert "an expert decides: 1 waits" in page
    assert "nobody in this project is one" in page
    Membership.objects.filter(user__username="ben").update(role=Role.EXPERT)
    assert "nobody in this project is one" not in part(ada, plan)


def test_a_person_sees_nothing_of_it(client: Client, project: Project) -> None:
    """The third vote of a split pair, one opened again and one of a later round look like any other."""
    plan = applied(project)
    answer(project, "ben", "aaa")
    answer(project, "cyd", "bbb")
    again = replan(project)
    unlike(again)
    apply_plan(again)
    user = make_person(project, "dee").user
    assert user is not None
    Membership.objects.create(project=project, user=user, role=Role.ANNOTATOR)
    client.force_login(user)
    page = client.get("/annotate/helpfulness/").text
    held = Assignment.objects.get(rater__name="dee", place=0).task
    assert held.answered == 2
    for secret in (str(held.pk), str(held.pair_id), str(plan.pk), str(again.pk), str(held.priority), "split", "vote"):
        assert secret not in page, secret
