"""Prepared queries return what the queryset would, whatever the values, and are compiled once."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from annotation.models import Pair, Rater
from annotation.preparing import Prepared
from tests.builders import make_pair, make_person, make_project

pytestmark = pytest.mark.django_db


def of_project(most: int, *, project: UUID, source: str) -> "QuerySet[Pair]":
    return Pair.objects.with_texts().filter(project=project, source=source).order_by("pk")[:most]


def test_instances_are_those_of_the_queryset() -> None:
    project, other = make_project(), make_project("other")
    mine = [make_pair(project, source="one") for _ in range(3)]
    make_pair(project, source="two")
    make_pair(other, source="one")
    prepared = Prepared(of_project)
    found = prepared.fetch(2, project=project.pk, source="one")
    assert found == mine[:2]
    with CaptureQueriesContext(connection) as queries:
        assert found[0].prompt.messages == mine[0].prompt.messages
        assert (found[0].response_a.text, found[0].created_at) == (mine[0].response_a.text, mine[0].created_at)
    assert len(queries) == 0
    assert [pair.project_id for pair in prepared.fetch(2, project=other.pk, source="one")] == [other.pk]
    assert prepared.fetch(3, project=project.pk, source="'; drop table x; --") == []


def test_a_query_is_built_once_for_each_shape() -> None:
    built = []

    def counting(most: int, *, project: UUID) -> "QuerySet[Pair]":
        built.append(most)
        return Pair.objects.filter(project=project)[:most]

    prepared = Prepared(counting)
    for most in (1, 2, 1, 2, 1):
        prepared.fetch(most, project=uuid4())
    assert built == [1, 2]


def test_what_is_annotated_is_set() -> None:
    project = make_project()
    ben = make_person(project)
    assert ben.user is not None
    (found,) = Prepared(Rater.objects.at_work).fetch(user=ben.user.pk, slug=project.slug)
    assert (found, found.role, found.answered, found.project.title) == (ben, "annotator", 0, "Helpfulness study")


def test_a_value_that_stands_nowhere_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="stands in no condition"):
        Prepared(lambda *, project: Pair.objects.all()).fetch(project=uuid4())


@pytest.mark.postgres
def test_postgresql_plans_a_statement_once_a_session(settings: Any) -> None:
    project = make_project()
    mine = [make_pair(project, source="it's 100%") for _ in range(2)]
    prepared = Prepared(of_project)
    with CaptureQueriesContext(connection) as queries:
        for _ in range(3):
            assert prepared.fetch(7, project=project.pk, source="it's 100%") == mine
    assert [query["sql"].split()[0] for query in queries] == ["PREPARE", "EXECUTE", "EXECUTE", "EXECUTE"]
    assert prepared.fetch(7, project=project.pk, source="$1") == []
    settings.PREPARED_STATEMENTS = False
    with CaptureQueriesContext(connection) as queries:
        assert prepared.fetch(7, project=project.pk, source="it's 100%") == mine
    assert queries[0]["sql"].startswith("SELECT")
