"""Making projects."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from annotation.creating import create_project
from annotation.errors import AnnotationError
from annotation.models import Project, Role
from tests.builders import make_user

pytestmark = pytest.mark.django_db


def test_project_has_its_overall_criterion_and_its_manager() -> None:
    ada = make_user("ada")
    project = create_project(slug="poems", title="Poems", manager=ada, votes_wanted=5)
    assert list(project.criteria.values_list("name", flat=True)) == ["overall"]
    assert list(project.memberships.values_list("user__username", "role")) == [("ada", Role.MANAGER)]
    assert project.votes_wanted == 5


def test_title_is_made_of_the_slug_when_there_is_none() -> None:
    assert create_project(slug="short-poems").title == "Short poems"


@pytest.mark.parametrize("slug", ["", "two words", "ümlaut", "a/b", "x" * 65, "a\x00b"])
def test_slug_that_is_none_is_refused_in_words(slug: str) -> None:
    with pytest.raises(AnnotationError, match="cannot be a project's short name"):
        create_project(slug=slug)
    assert not Project.objects.exists()


def test_taken_slug_is_refused_in_words() -> None:
    create_project(slug="poems")
    with pytest.raises(AnnotationError, match="There is a project 'poems' already"):
        create_project(slug="poems")


def test_unknown_setting_is_refused_with_the_settings_there_are() -> None:
    with pytest.raises(AnnotationError, match=r"no setting colour; it has .*votes_wanted"):
        create_project(slug="poems", colour="red")


def test_setting_out_of_range_is_refused() -> None:
    with pytest.raises(AnnotationError, match="was not made"):
        create_project(slug="poems", votes_wanted=0)
    assert not Project.objects.exists()


def test_command_makes_the_project_and_prints_json_last() -> None:
    make_user("ada")
    out = StringIO()
    call_command(
        "create_project", "poems", "--manager", "ada", "--votes", "2", "--rationale-required", "--json", stdout=out
    )
    printed = json.loads(out.getvalue().splitlines()[-1])
    assert (printed["slug"], printed["manager"], printed["votes_wanted"]) == ("poems", "ada", 2)
    assert Project.objects.get().rationale_required


def test_command_names_a_manager_who_does_not_exist() -> None:
    with pytest.raises(CommandError, match="no user 'zoe'"):
        call_command("create_project", "poems", "--manager", "zoe", stdout=StringIO())
    assert not Project.objects.exists()


def test_command_makes_criteria_in_their_order() -> None:
    out = StringIO()
    call_command(
        "create_project", "study", "--criterion", "tone=Is it friendly?", "--criterion", "truth", "--json", stdout=out
    )
    project = Project.objects.get()
    assert list(project.criteria.values_list("name", "description", "position")) == [
        ("overall", "Which response is better, all in all.", 0),
        ("tone", "Is it friendly?", 1),
        ("truth", "", 2),
    ]
    assert json.loads(out.getvalue().splitlines()[-1])["criteria"] == ["overall", "tone", "truth"]


@pytest.mark.parametrize("name", ["", "overall", "x" * 121])
def test_criterion_that_cannot_be_one_is_refused(name: str) -> None:
    with pytest.raises(AnnotationError, match="cannot be a criterion: it takes 1 to 120 characters"):
        create_project(slug="study", criteria={name: "What?"})
    assert not Project.objects.exists()
