"""Guidelines: versions that never change, a notice exactly for who read an older one, and a comparison by lines."""

import importlib
import json
from io import StringIO
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from pytest_django import DjangoAssertNumQueries

from annotation.creating import create_project
from annotation.errors import AnnotationError, GuidelinesChanged
from annotation.guiding import (
    DiffLine,
    changed_lines,
    history_of,
    mark_read,
    notice_for,
    revise_guidelines,
    versions_of,
)
from annotation.models import GuidelinesVersion, Project, Rater, User
from tests.builders import make_pair, make_person, make_project

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    """Return a project at version 1 of its guidelines."""
    project = make_project()
    revise_guidelines(project, text="Be kind.\nBe short.")
    return project


def test_a_new_project_has_version_1_of_the_guidelines_it_was_made_with() -> None:
    project = create_project(slug="kind", guidelines="Be kind.\r\nBe short.\n")
    version = versions_of(project).get()
    assert (version.number, version.text) == (1, "Be kind.\nBe short.")
    assert (project.guidelines, project.guidelines_number) == (version.text, 1)


def test_a_project_without_guidelines_has_no_version() -> None:
    project = create_project(slug="kind")
    assert not versions_of(project).exists()
    assert project.guidelines_number == 0


def test_a_revision_is_the_text_in_force_and_leaves_the_old_one_as_it_was(project: Project) -> None:
    ada = User.objects.get(username="ada")
    version = revise_guidelines(project, text="Be exact.", note="Kindness is assumed.", by=ada)
    assert (version.number, version.note, version.created_by) == (2, "Kindness is assumed.", ada)
    stored = Project.objects.get(pk=project.pk)
    assert (stored.guidelines, stored.guidelines_number) == ("Be exact.", 2)
    assert (project.guidelines, project.guidelines_number) == ("Be exact.", 2)
    assert [one.text for one in versions_of(project)] == ["Be exact.", "Be kind.\nBe short."]


def test_the_same_text_makes_no_version(project: Project) -> None:
    assert revise_guidelines(project, text=" Be kind.\r\nBe short.\n", note="Nothing.").number == 1
    assert versions_of(project).count() == 1


def test_a_text_set_past_the_verb_becomes_a_version_of_its_own(project: Project) -> None:
    Project.objects.filter(pk=project.pk).update(guidelines="By hand.")
    assert revise_guidelines(project, text="Be exact.").number == 3
    assert [one.text for one in versions_of(project)] == ["Be exact.", "By hand.", "Be kind.\nBe short."]


def test_guidelines_can_be_taken_away_but_not_begun_with_nothing(project: Project) -> None:
    assert revise_guidelines(project, text="").number == 2
    with pytest.raises(AnnotationError, match="Write something first"):
        revise_guidelines(make_project("other"), text="  ")


@pytest.mark.parametrize(("text", "note"), [("\x00", ""), ("Fine.", "\ud800"), ("x" * 100_001, ""), ("x", "y" * 2_001)])
def test_what_cannot_be_stored_is_refused(project: Project, text: str, note: str) -> None:
    with pytest.raises(AnnotationError):
        revise_guidelines(project, text=text, note=note)
    assert versions_of(project).count() == 1


def test_a_text_that_began_from_an_older_version_is_not_stored_over_a_newer_one(project: Project) -> None:
    revise_guidelines(project, text="Be exact.", based_on=1)
    with pytest.raises(GuidelinesChanged, match="Version 2 was stored while you wrote"):
        revise_guidelines(project, text="Be quick.", based_on=1)


def test_numbers_are_unique_in_a_project_and_begin_at_1(project: Project) -> None:
    for number in (0, 1):
        with pytest.raises(IntegrityError), transaction.atomic():
            GuidelinesVersion.objects.create(project=project, number=number, text="x")


def test_a_notice_is_for_who_read_an_older_version_and_holds_every_note_since(project: Project) -> None:
    ben, cyd = make_person(project, "ben"), make_person(project, "cyd")
    mark_read(ben, 1)
    assert notice_for(project, ben) is None
    revise_guidelines(project, text="Be kind.\nBe exact.", note="Exactness.")
    revise_guidelines(project, text="Be kind.\nBe exact.\nBe quick.", note="Speed.")
    notice = notice_for(project, ben)
    assert notice is not None
    assert (notice.number, [one.note for one in notice.versions]) == (3, ["Speed.", "Exactness."])
    assert notice.changes == [
        DiffLine("same", "Be kind."),
        DiffLine("removed", "Be short."),
        DiffLine("added", "Be exact."),
        DiffLine("added", "Be quick."),
    ]
    # Who never read any gets them whole at the start.
    assert notice_for(project, cyd) is None
    mark_read(ben, 3)
    assert notice_for(project, ben) is None


def test_a_notice_costs_one_query_and_none_where_there_is_nothing_to_tell(
    project: Project, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ben = make_person(project, "ben")
    mark_read(ben, 1)
    with django_assert_num_queries(0):
        notice_for(project, ben)
    revise_guidelines(project, text="Be exact.")
    with django_assert_num_queries(1):
        notice_for(project, ben)


def test_reading_never_goes_back_and_never_ahead_of_what_there_is(project: Project) -> None:
    ben = make_person(project, "ben")
    revise_guidelines(project, text="Be exact.")
    mark_read(ben, 2)
    mark_read(ben, 1)
    assert Rater.objects.get(pk=ben.pk).guidelines_read == ben.guidelines_read == 2
    with pytest.raises(AnnotationError, match="no such version"):
        mark_read(ben, 3)
    assert Rater.objects.get(pk=ben.pk).guidelines_read == 2


def test_a_comparison_shows_changes_with_a_line_around_them_and_gaps_for_the_rest() -> None:
    old = "one\n\ntwo\nthree\nfour\nfive\nsix"
    new = "one\ntwo\nthree\n\nfour\nFIVE\nsix"
    assert [(line.kind, line.text) for line in changed_lines(old, new)] == [
        ("gap", ""),
        ("same", "four"),
        ("removed", "five"),
        ("added", "FIVE"),
        ("same", "six"),
    ]
    assert changed_lines(old, old.replace("\n\n", "\n")) == []
    assert changed_lines("", "new") == [DiffLine("added", "new")]


def test_the_history_says_what_each_version_changed(
    project: Project, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(3):
        revise_guidelines(project, text=f"Be kind.\nRule {number}.")
    with django_assert_num_queries(1):
        newest, older = history_of(project, limit=2)
    assert (newest.version.number, older.version.number) == (4, 3)
    assert DiffLine("removed", "Rule 0.") in older.changes
    assert history_of(project, limit=9)[-1].changes == []


def test_old_projects_become_version_1_and_who_works_there_has_read_it() -> None:
    from annotation.models import Assignment, Task

    project, other = make_project(guidelines="Be kind."), make_project("other")
    ben, cyd = make_person(project, "ben"), make_person(project, "cyd")
    task = Task.objects.create(project=project, pair=make_pair(project), votes_wanted=1)
    Assignment.objects.create(
        task=task,
        rater=ben,
        state="expired",
        shown_order="ab",
        leased_at=project.created_at,
        lease_until=project.created_at,
    )
    migration = importlib.import_module("annotation.migrations.0007_first_guidelines_versions")
    migration.number_the_guidelines(apps, None)
    project.refresh_from_db()
    version = versions_of(project).get()
    assert (project.guidelines_number, version.number, version.text) == (1, 1, "Be kind.")
    assert version.created_at == project.created_at
    assert not versions_of(other).exists()
    assert list(Rater.objects.filter(pk__in=[ben.pk, cyd.pk]).order_by("name").values_list("guidelines_read")) == [
        (1,),
        (0,),
    ]
    migration.number_the_guidelines(apps, None)
    assert versions_of(project).count() == 1


def test_the_command_stores_a_file_once(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "guidelines.md"
    path.write_text("Be exact.\n")
    out = StringIO()
    call_command("revise_guidelines", "helpfulness", str(path), note="Exact.", json=True, stdout=out)
    assert json.loads(out.getvalue().splitlines()[-1]) == {"slug": "helpfulness", "number": 2, "is_new": True}
    call_command("revise_guidelines", "helpfulness", str(path), json=True, stdout=out)
    assert json.loads(out.getvalue().splitlines()[-1])["is_new"] is False
    assert versions_of(project)[0].note == "Exact."
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("revise_guidelines", "helpfulness", str(tmp_path / "none.md"))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CommandError, match="no text in UTF-8"):
        call_command("revise_guidelines", "helpfulness", str(path))
