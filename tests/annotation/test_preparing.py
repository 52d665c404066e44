"""Prepared statements do what the queryset, update or instance would, whatever the values, and are compiled once."""

from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models import F, QuerySet
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

from annotation.models import EntryKind, LedgerEntry, OutboxEvent, Pair, Purse, Rater
from annotation.preparing import Prepared, PreparedSave, PreparedUpdate
from tests.builders import make_answer, make_pair, make_person, make_project

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
def test_postgresql_plans_a_statement_once_a_session() -> None:
    project = make_project()
    mine = [make_pair(project, source="it's 100%") for _ in range(2)]
    prepared = Prepared(of_project)
    for _ in range(3):
        assert prepared.fetch(7, project=project.pk, source="it's 100%") == mine
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE statement LIKE '%LIMIT 7'"
        )
        assert cursor.fetchall() == [(3,)]
    assert prepared.fetch(7, project=project.pk, source="$1") == []
    assert prepared.fetch(7, project=project.pk, source="%s") == []
    with CaptureQueriesContext(connection) as queries:
        assert prepared.fetch(7, project=project.pk, source="it's 100%") == mine
    assert "'it''s 100%'" in queries[0]["sql"]


@pytest.mark.postgres
def test_behind_a_pool_that_shares_sessions_nothing_is_kept_in_one() -> None:
    project, prepared = make_project(), Prepared(of_project)
    assert connection.connection.prepare_threshold == 0
    connection.connection.prepare_threshold = None
    try:
        assert prepared.fetch(6, project=project.pk, source="one") == []
    finally:
        connection.connection.prepare_threshold = 0
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement ~ 'LIMIT 6$'")
        assert cursor.fetchone() == (0,)


def test_a_query_that_locks_is_refused_outside_of_a_transaction(transactional_db: None) -> None:
    locking = Prepared(lambda *, project: Pair.objects.select_for_update().filter(project=project))
    with transaction.atomic():
        assert locking.fetch(project=uuid4()) == []
    with pytest.raises(TransactionManagementError, match="locks nothing"):
        locking.fetch(project=uuid4())


def moved(to: str, *, pair: UUID, source: str) -> "tuple[QuerySet[Pair], dict[str, Any]]":
    return Pair.objects.filter(pk=pair, source=source), {"source": to, "external_id": F("source")}


def test_an_update_changes_what_its_queryset_holds() -> None:
    project = make_project()
    first, second = make_pair(project, source="one"), make_pair(project, source="uno")
    update = PreparedUpdate(moved)
    assert update.update("100% 'two'", pair=first.pk, source="one") == 1
    assert update.update("100% 'two'", pair=second.pk, source="three") == 0
    assert update.update("four", pair=second.pk, source="uno") == 1
    rows = Pair.objects.order_by("pk").values_list("source", "external_id")
    assert list(rows) == [("100% 'two'", "one"), ("four", "uno")]


def test_a_new_instance_is_stored_as_django_stores_it() -> None:
    by_django = OutboxEvent.objects.create(topic="it's", payload={"a": [1, None, "%s"]})
    by_us, saved = OutboxEvent(topic="it's", payload={"a": [1, None, "%s"]}), PreparedSave(OutboxEvent)
    with CaptureQueriesContext(connection) as queries:
        saved.save(by_us)
    assert len(queries) == 1
    assert not by_us._state.adding
    stored = {event.pk: event for event in OutboxEvent.objects.all()}
    for name in ("topic", "payload", "published_at"):
        assert getattr(stored[by_us.pk], name) == getattr(stored[by_django.pk], name)
    assert stored[by_us.pk].created_at == by_us.created_at >= by_django.created_at
    with pytest.raises(IntegrityError), transaction.atomic():
        saved.save(by_us)


def test_money_times_and_nothing_come_back_as_they_were() -> None:
    answered = make_answer(make_pair(make_project()), "ben")
    answered.refresh_from_db()
    entry = LedgerEntry(
        project=answered.task.project,
        key="it's 100%",
        kind=EntryKind.LATE,
        amount_usd=Decimal("0.1234"),
        rater=answered.rater,
        assignment=answered,
        at=answered.leased_at,
    )
    PreparedSave(LedgerEntry).save(entry)
    stored = LedgerEntry.objects.get(pk=entry.pk)
    assert (stored.key, stored.kind, stored.amount_usd) == ("it's 100%", "late", Decimal("0.1234"))
    assert (stored.assignment_id, stored.at, stored.rate_id) == (answered.pk, answered.leased_at, None)


def test_some_fields_of_an_instance_are_stored() -> None:
    project = make_project()
    pair, other = make_pair(project, source="one"), make_pair(project, source="one")
    saved = PreparedSave(Pair, ("source", "meta"))
    pair.source, pair.meta, pair.external_id = "two", {"a": 1}, "not stored"
    saved.save(pair)
    pair.refresh_from_db()
    assert (pair.source, pair.meta, pair.external_id != "not stored") == ("two", {"a": 1}, True)
    other.refresh_from_db()
    assert other.source == "one"
    with pytest.raises(DatabaseError, match="not there any more"):
        saved.save(Pair(source="three"))


def test_a_model_with_values_of_the_database_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        PreparedSave(Purse).save(Purse())
