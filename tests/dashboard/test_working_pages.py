"""A manager sets limits, says what people can, and pauses people and pairs."""

from decimal import Decimal

import pytest
from django.test import Client
from django.utils import timezone

from annotation.assigning import Opening, next_assignment, open_tasks
from annotation.models import Assignment, Pair, Project, Prompt, Rater, Task
from annotation.pausing import pause_person
from tests.builders import make_person, make_project

LIMITS = "/projects/helpfulness/people/limits/"
STORED = {"people_budget_usd": "", "votes_wanted": "3", "most_answers": "", "most_answers_a_day": ""}


@pytest.fixture
def ben(project: Project, pairs: list[Pair]) -> Rater:
    open_tasks(project, [Opening(pair.pk) for pair in pairs], votes_wanted=3)
    return make_person(project)


def work_of(rater: Rater) -> str:
    return f"/projects/helpfulness/people/{rater.pk}/work/"


def test_limits_are_shown_stored_and_hold(ada: Client, project: Project, ben: Rater) -> None:
    assert next_assignment(project, ben, now=timezone.now()).assignment is not None
    assert "cost $0.30 so far" in ada.get(LIMITS).text
    sent = {"people_budget_usd": "12.5", "votes_wanted": "2", "most_answers": "40", "most_answers_a_day": "9"}
    assert ada.post(LIMITS, {**sent, "needs_language": "on"}).status_code == 302
    project.refresh_from_db()
    assert (project.people_budget_usd, project.votes_wanted) == (Decimal("12.5"), 2)
    assert (project.most_answers, project.most_answers_a_day) == (40, 9)
    assert (project.needs_language, project.needs_domain) == (True, False)
    assert set(Task.objects.values_list("votes_wanted", "language")) == {(2, "en")}
    html = ada.get(LIMITS).text
    assert 'value="12.5000"' in html
    assert ada.post(LIMITS, STORED).status_code == 302
    project.refresh_from_db()
    assert (project.people_budget_usd, project.most_answers, project.needs_language) == (None, None, False)


@pytest.mark.parametrize(
    ("values", "field", "sentence"),
    [
        ({"people_budget_usd": "0.20"}, None, "for $0.30 already, so the budget cannot be $0.20"),
        ({"people_budget_usd": "-1"}, "people_budget_usd", "greater than or equal to 0"),
        ({"votes_wanted": "0"}, "votes_wanted", "greater than or equal to 1"),
        ({"most_answers": "none"}, "most_answers", "Enter a whole number"),
        ({"most_answers_a_day": "0"}, "most_answers_a_day", "greater than or equal to 1"),
    ],
)
def test_limits_that_cannot_be_change_nothing(
    ada: Client, project: Project, ben: Rater, values: dict[str, str], field: str | None, sentence: str
) -> None:
    assert next_assignment(project, ben, now=timezone.now()).assignment is not None
    response = ada.post(LIMITS, {**STORED, "most_answers_a_day": "5", **values})
    assert response.status_code == 422
    assert sentence in str(response.context["form"].errors[field or "__all__"])
    project.refresh_from_db()
    assert (project.people_budget_usd, project.most_answers_a_day) == (None, None)


def test_a_persons_share_and_skills_are_stored(ada: Client, project: Project, ben: Rater) -> None:
    Prompt.objects.update(category="law")
    assert "Reads" in ada.get(work_of(ben)).text
    sent = {"most_answers": "7", "most_answers_a_day": "", "languages": ["en"], "domains": ["law"]}
    assert ada.post(work_of(ben), sent).status_code == 302
    ben.refresh_from_db()
    assert (ben.most_answers, ben.most_answers_a_day, ben.languages, ben.domains) == (7, None, ["en"], ["law"])
    assert ada.post(work_of(ben), {**sent, "languages": ["Klingon"]}).status_code == 422


def test_a_person_is_paused_with_a_reason_and_goes_on(ada: Client, project: Project, ben: Rater) -> None:
    next_assignment(project, ben, now=timezone.now(), ahead=1)
    here = f"/projects/helpfulness/people/{ben.pk}"
    refused = ada.post(f"{here}/pause/", {"reason": " "})
    assert refused.status_code == 422
    assert "This field is required" in refused.text
    reply = ada.post(f"{here}/pause/", {"reason": "Too fast <i>by far</i>."}, follow=True).text
    assert "ben is paused. 2 pairs they held went to others." in reply
    assert not Assignment.objects.filter(state="leased").exists()
    assert ">Paused</a>" in reply
    assert "Too fast &lt;i&gt;by far&lt;/i&gt;." in ada.get(work_of(ben)).text
    assert "ben gets pairs again" in ada.post(f"{here}/resume/", follow=True).text
    assert "was not paused" in ada.post(f"{here}/resume/", follow=True).text


def test_a_pair_is_paused_and_wants_another_number(ada: Client, project: Project, ben: Rater) -> None:
    task = Task.objects.order_by("pair_id").first()
    assert task is not None
    here = f"/projects/helpfulness/pairs/{task.pair_id}/"
    steer = f"{here}tasks/{task.pk}/"
    assert "0 of 3 answers" in ada.get(here).text
    assert "nobody new gets this pair" in ada.post(steer, {"action": "pause"}, follow=True).text
    assert "Hand out again" in ada.get(here).text
    assert "People get this pair again" in ada.post(steer, {"action": "resume"}, follow=True).text
    assert "wants 5 answers now" in ada.post(steer, {"action": "votes", "votes_wanted": "5"}, follow=True).text
    assert "Nothing changed" in ada.post(steer, {"action": "votes", "votes_wanted": "0"}, follow=True).text
    assert ada.post(steer, {"action": "explode"}).status_code == 404
    task.refresh_from_db()
    assert (task.votes_wanted, task.is_paused) == (5, False)


def test_people_of_other_projects_are_out_of_reach(ada: Client, project: Project, ben: Rater) -> None:
    stranger = make_person(make_project("other", with_people=False), "ben")
    pause_person(stranger, reason="Elsewhere.", now=timezone.now())
    assert ada.get(work_of(stranger)).status_code == 404
    for action in ("pause", "resume"):
        address = f"/projects/helpfulness/people/{stranger.pk}/{action}/"
        assert ada.post(address, {"reason": "Mine now."}).status_code == 404
    stranger.refresh_from_db()
    assert stranger.paused_reason == "Elsewhere."
