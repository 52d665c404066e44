"""The commands that stop people and limit what they do: the same verbs as the pages, the same words."""

import json
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from annotation.assigning import Opening, next_assignment, open_tasks
from annotation.models import Project, Rater, Task
from tests.builders import make_pair, make_person, make_project

pytestmark = pytest.mark.django_db


@pytest.fixture
def ben() -> Rater:
    project = make_project()
    open_tasks(project, [Opening(make_pair(project, external_id="p-1").pk)], votes_wanted=3)
    ben = make_person(project)
    assert next_assignment(project, ben, now=timezone.now()).assignment is not None
    return ben


def said(command: str, *arguments: Any) -> dict[str, Any]:
    out = StringIO()
    call_command(command, "helpfulness", *arguments, "--json", stdout=out)
    answer: dict[str, Any] = json.loads(out.getvalue().splitlines()[-1])
    return answer


def test_a_person_a_pair_and_a_project_are_paused_and_go_on(ben: Rater) -> None:
    assert said("pause", "--person", "ben", "--reason", "A word, please.") == {"person": "ben", "given_back": 1}
    ben.refresh_from_db()
    assert ben.paused_reason == "A word, please."
    assert said("resume", "--person", "ben") == {"person": "ben", "changed": 1}
    assert said("pause", "--pair", "p-1") == {"pair": "p-1", "changed": 1}
    assert Task.objects.get().is_paused
    assert said("resume", "--pair", "p-1") == {"pair": "p-1", "changed": 1}
    assert said("pause") == {"project": "helpfulness", "changed": 1}
    assert Project.objects.get().status == "paused"
    assert said("resume") == {"project": "helpfulness", "changed": 1}
    assert said("resume") == {"project": "helpfulness", "changed": 0}


def test_limits_of_a_project_and_of_a_person(ben: Rater) -> None:
    assert said("limit_people", "--budget-usd", "9.90", "--most-answers", "40", "--needs", "language") == {
        "people_budget_usd": "9.9000",
        "committed_usd": "0.3000",
        "most_answers": 40,
        "most_answers_a_day": None,
        "needs_language": True,
        "needs_domain": False,
    }
    assert Task.objects.get().language == "en"
    assert said("limit_people", "--most-answers", "none", "--needs", "none")["most_answers"] is None
    assert said("limit_people", "--person", "ben", "--languages", "de, en", "--most-answers-a-day", "7") == {
        "most_answers": None,
        "most_answers_a_day": 7,
        "languages": ["de", "en"],
        "domains": [],
    }
    assert Project.objects.get().people_budget_usd == Decimal("9.9")


def test_votes_of_all_pairs_and_of_one(ben: Rater) -> None:
    assert said("set_votes", "5") == {"changed": 1}
    assert said("set_votes", "2", "--pair", "p-1", "--most", "3") == {"changed": 1}
    task = Task.objects.get()
    assert (task.votes_wanted, task.most_votes, Project.objects.get().votes_wanted) == (2, 3, 5)


@pytest.mark.parametrize(
    ("command", "arguments", "sentence"),
    [
        ("pause", ["--person", "nobody", "--reason", "x"], "nobody called 'nobody'"),
        ("pause", ["--person", "ben"], "say why"),
        ("pause", ["--pair", "p-9"], "No pair 'p-9'"),
        ("limit_people", ["--budget-usd", "0.10"], "cannot be \\$0.10"),
        ("limit_people", ["--budget-usd", "much"], "US dollars or none"),
        ("limit_people", ["--most-answers", "few"], "a whole number or none"),
        ("limit_people", ["--most-answers", "0"], "1 or more"),
        ("limit_people", ["--needs", "patience"], "not patience"),
        ("limit_people", ["--languages", "de"], "--person"),
        ("limit_people", ["--person", "ben", "--budget-usd", "3"], "leave --person out"),
        ("set_votes", ["0"], "1 to 99"),
    ],
)
def test_what_cannot_be_is_refused_in_words(command: str, arguments: list[str], sentence: str, ben: Rater) -> None:
    with pytest.raises(CommandError, match=sentence):
        call_command(command, "helpfulness", *arguments)
    ben.refresh_from_db()
    assert ben.paused_at is None
    assert Project.objects.get().people_budget_usd is None
