"""The list of projects and a project's home."""

import pytest
from django.test import Client
from pytest_django.fixtures import DjangoAssertNumQueries

from annotation.assigning import Opening, open_tasks
from annotation.models import Origin, Pair, Project, Tier, User
from dashboard.summarising import flow_of, measured_agreement, money_of, needs_of, project_rows
from judges.defining import add_judge
from judges.models import JudgeKind, JudgeVersion, ResponseFlag
from judges.running import start_run, work_off
from routing.labels.resolving import resolve_labels
from routing.models import Plan, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.planning import Budget, draw_plan
from tests.builders import make_pair, make_person, make_preference, make_project

pytestmark = pytest.mark.either_database


def test_the_list_of_projects_costs_the_same_for_three_as_for_one(
    ada: Client, project: Project, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(2):
        other = make_project(f"other-{number}")
        for _ in range(88):
            make_pair(other)
    with django_assert_max_num_queries(10) as three:
        page = ada.get("/").text
    assert "88 pairs" in page
    Project.objects.exclude(pk=project.pk).delete()
    with django_assert_max_num_queries(10) as one:
        ada.get("/")
    assert len(three) == len(one)


def test_a_project_home_asks_as_much_for_200_pairs_as_for_25(
    ada: Client, answered: Project, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    make_pair(answered)
    ada.get("/projects/helpfulness/")
    with django_assert_max_num_queries(47) as few:
        ada.get("/projects/helpfulness/")
    for _ in range(175):
        make_pair(answered)
    ada.get("/projects/helpfulness/")
    with django_assert_max_num_queries(47) as many:
        page = ada.get("/projects/helpfulness/").text
    assert len(many) == len(few)
    assert ">200<" in page


def test_every_pair_stands_in_one_branch_of_the_flow(answered: Project) -> None:
    plan = draw_plan(answered, budget=Budget.parse("25%"), judge="length", audit_share=0.125)
    apply_plan(plan)
    flow = flow_of(answered)
    counts = {branch.state: branch.pairs for branch in flow.branches}
    assert flow.imported == 24
    assert flow.judged == 24
    assert (counts["people"], counts["audit"]) == (3, 3)
    assert sum(counts.values()) + flow.unlabelled == 24
    assert flow.disputed == 1


def test_answers_that_a_plan_asked_for_show_as_done(project: Project, length: object, pairs: list[Pair]) -> None:
    from django.utils import timezone

    from annotation.assigning import Answer, next_assignment, rater_for, submit

    Project.objects.filter(pk=project.pk).update(votes_wanted=1)
    project.refresh_from_db()
    apply_plan(draw_plan(project, budget=Budget.parse("25%"), judge="length", audit_share=0.25))
    rater = rater_for(project, User.objects.get(username="ben"))
    assignment = next_assignment(project, rater, now=timezone.now()).assignment
    assert assignment is not None
    submit(assignment.pk, rater, Answer(choice="a", strength=2, rationale="", seconds=3.0), now=timezone.now())
    audit = next(branch for branch in flow_of(project).branches if branch.source == RouteSource.AUDIT)
    assert (audit.pairs, audit.done) == (6, 1)


def test_only_answers_given_here_by_people_are_paid(answered: Project, pairs: list[Pair]) -> None:
    simulated = make_person(answered, "kai", origin=Origin.SIMULATED)
    make_preference(pairs[0], simulated)
    make_preference(pairs[0], "from the file")
    open_tasks(answered, [Opening(pairs[9].pk, 1.0)], votes_wanted=3, tier=Tier.CROWD)
    money = money_of(answered)
    assert (money.paid_answers, money.people_usd) == (12, 12 * answered.pay_per_answer_usd)
    assert money.promised_answers == 3


def test_agreement_says_too_few_until_the_audit_can_tell(ada: Client, answered: Project) -> None:
    assert "no audit yet" in ada.get("/projects/helpfulness/").text
    apply_plan(draw_plan(answered, budget=Budget.parse("25%"), judge="length"))
    assert measured_agreement(answered)["note"] == "too few labels (0 of 30)"
    assert "too few labels (0 of 30)" in ada.get("/projects/helpfulness/").text


def test_agreement_is_measured_on_an_audit_slice_without_bias(length: object, project: Project) -> None:
    for number in range(24):
        make_pair(project, response_a="Long enough to win.", response_b="No.", external_id=f"more-{number}")
    from judges.running import start_run, work_off

    work_off(start_run(length, send=False))  # type: ignore[arg-type]
    apply_plan(draw_plan(project, budget=Budget.parse("100%"), judge="length", audit_share=1.0))
    ben = make_person(project, "ben")
    for number, pair in enumerate(Pair.objects.in_project(project)):
        right = "a" if len(pair.response_a.text) > len(pair.response_b.text) else "b"
        wrong = {"a": "b", "b": "a"}[right]
        make_preference(pair, ben, wrong if number < 12 else right)
    found = measured_agreement(project)
    assert found["estimate"] == pytest.approx(0.75)
    assert found["answers"] == 48
    assert found["low"] < 0.75 < found["high"]


def test_disputed_pairs_and_failing_judges_need_the_manager(ada: Client, answered: Project) -> None:
    card = {
        "trusted": False,
        "n_pairs": 24,
        "reasons": ["no better than a coin: 50 %"],
        "judge": "length",
        "version": 1,
    }
    needs = [need.text for need in needs_of(answered, flow_of(answered), [card])]
    assert needs == [
        "1 disputed pair: people share the first place",
        "judge “length” v1 may not label alone: no better than a coin",
    ]
    page = ada.get("/projects/helpfulness/").text
    assert "1 disputed pair" in page
    assert "?state=disputed" in page


def test_counts_of_projects_tell_people_from_judges(answered: Project) -> None:
    row = project_rows([answered])[0]
    assert (row.pairs, row.labels, row.by_people, row.disputed) == (24, 23, 5, 1)


def test_an_empty_project_says_what_to_do(ada: Client, project: Project) -> None:
    Pair.objects.all().delete()
    page = ada.get("/projects/helpfulness/").text
    assert "No pairs yet" in page
    assert "/projects/helpfulness/imports/" in page


def test_pausing_stops_new_work_and_going_on_brings_it_back(ada: Client, project: Project) -> None:
    for status in ("paused", "running"):
        ada.post("/projects/helpfulness/status/", {"status": status})
        project.refresh_from_db()
        assert project.status == status
    assert ada.post("/projects/helpfulness/status/", {"status": "gone"}).status_code == 404


def test_a_new_project_is_managed_by_who_made_it(eve: Client) -> None:
    chosen = {"start": "pairwise", "points": 7}
    values = {"title": "Réponses utiles", "votes_wanted": 3, "pay_per_answer_usd": "0.30", **chosen}
    response = eve.post("/new-project/", values)
    assert response["Location"] == "/projects/reponses-utiles/imports/"
    assert eve.get("/projects/reponses-utiles/").status_code == 200


@pytest.mark.parametrize(
    ("values", "field", "sentence"),
    [
        ({"title": ""}, "title", "This field is required."),
        ({"slug": "helpfulness"}, "slug", "There is a project “helpfulness” already"),
        ({"title": "日本"}, "slug", "The title has no letters a-z"),
        ({"votes_wanted": 0}, "votes_wanted", "greater than or equal to 1"),
        ({"pay_per_answer_usd": "-1"}, "pay_per_answer_usd", "greater than or equal to 0"),
    ],
)
def test_a_project_that_cannot_be_says_why_at_the_field(
    ada: Client, values: dict[str, object], field: str, sentence: str
) -> None:
    given = {"title": "New", "votes_wanted": 3, "pay_per_answer_usd": "0.30", **values}
    response = ada.post("/new-project/", given)
    assert response.status_code == 422
    assert sentence in response.context["form"].errors[field][0]
    assert f'id="id_{field}_error"' in response.text
    assert Project.objects.count() == 1


def test_labels_are_resolved_again_before_they_are_counted(answered: Project, pairs: list[Pair]) -> None:
    make_preference(pairs[5], "a third person", "a")
    resolve_labels(answered)
    assert flow_of(answered).disputed == 0


def test_recorded_answers_become_labels_when_the_manager_says_so(
    ada: Client, project: Project, pairs: list[Pair]
) -> None:
    assert "Resolve labels" not in ada.get("/projects/helpfulness/").text
    make_preference(pairs[0], "from the file", "b")
    assert "Resolve labels" in ada.get("/projects/helpfulness/").text
    page = ada.post("/projects/helpfulness/resolve/", follow=True).text
    assert "1 pair now has a label." in page
    assert "Resolve labels" not in page
    assert pairs[0].label.choice == "b"


def test_answers_that_make_no_label_do_not_ask_to_be_resolved(
    ada: Client, length: JudgeVersion, project: Project, pairs: list[Pair]
) -> None:
    apply_plan(draw_plan(project, budget=Budget.parse("25%"), judge="length v1"))
    late = make_pair(project, prompt="Asked later?", response_a="Yes.", response_b="No.")
    make_preference(
        late, add_judge(project, "other", kind=JudgeKind.OPENAI, base_url="http://127.0.0.1:9/v1", model="m").rater, "a"
    )
    make_preference(late, "ben", "unsure")
    assert "Resolve labels" not in ada.get("/projects/helpfulness/").text
    work_off(start_run(length, send=False))
    assert "Resolve labels" in ada.get("/projects/helpfulness/").text


def test_a_withheld_pair_is_not_called_disputed(ada: Client, length: JudgeVersion, pairs: list[Pair]) -> None:
    project = pairs[0].project
    answers = ["a" if number % 2 == 0 else "b" for number in range(len(pairs))]
    for pair, choice in zip(pairs[1:], answers[1:], strict=True):
        make_preference(pair, make_person(project, "ben"), choice)
    # Its two responses are those of other pairs' too: this flag belongs to one prompt's response alone.
    ResponseFlag.objects.create(response=pairs[0].response_a, kind="request", quote="choose me", detector=1)
    draw_and_apply = draw_plan(project, budget=Budget.parse("10%"), judge="length")
    Plan.objects.filter(pk=draw_and_apply.pk).update(state="applied")
    resolve_labels(project)
    flow = flow_of(project)
    assert (flow.disputed, flow.withheld) == (0, 1)
    needs = [need.text for need in needs_of(project, flow, [])]
    assert needs[0] == "1 pair without a label: the judge's answer is withheld, so people decide"
    listed = ada.get(f"/projects/{project.slug}/pairs/?state=withheld").text
    assert pairs[0].external_id in listed
    assert pairs[0].external_id not in ada.get(f"/projects/{project.slug}/pairs/?state=disputed").text
