"""Rows written by one statement are those that the ORM would have written."""

from decimal import Decimal

import pytest
from django.db import DataError, connection
from django.utils import timezone

from annotation.models import Preference
from judges.models import Verdict
from judges.writing import insert_rows, update_rows
from tests.judges.test_working import waiting_run

pytestmark = pytest.mark.django_db


def test_rows_keep_what_is_the_same_and_what_differs() -> None:
    rows = list(waiting_run(2).verdicts.order_by("pk"))
    meta = [{"disagrees": True}, {"disagrees": 1}, {}, {"n": [1.5, None, "é"]}]
    for number, (row, found) in enumerate(zip(rows, meta, strict=True)):
        row.state, row.error, row.meta = "failed", "It's 100% \\ refused.", found
        row.cost_usd = Decimal("0.000001") if number else None
        row.prob_a, row.prompt_tokens, row.finished_at = number / 3, None, timezone.now()
    update_rows(rows, ("state", "error", "meta", "cost_usd", "prob_a", "prompt_tokens", "finished_at"))
    for row, found in zip(rows, meta, strict=True):
        stored = Verdict.objects.get(pk=row.pk)
        assert repr(stored.meta) == repr(found)
        for name in ("pair_id", "order", "state", "error", "cost_usd", "prob_a", "prompt_tokens", "finished_at"):
            assert getattr(stored, name) == getattr(row, name)


@pytest.mark.parametrize("number", [1, 4])
def test_inserted_rows_are_whole(number: int) -> None:
    run = waiting_run(number)
    pairs = list(run.verdicts.filter(order="ab").values_list("pair_id", flat=True))
    rows = [
        Preference(pair_id=pair_id, rater_id=run.version.rater_id, choice="a", prob_a=0.75, meta={"prob_tie": 0.1})
        for pair_id in pairs
    ]
    before = timezone.now()
    insert_rows(rows)
    assert Preference.objects.count() == len(rows) == number
    for row in Preference.objects.all():
        assert row.pair_id in pairs
        assert (row.choice, row.prob_a, row.meta, row.strength) == ("a", 0.75, {"prob_tie": 0.1}, None)
        assert (row.is_current, row.is_extra, row.rationale_spans, row.replaces_id) == (True, False, [], None)
        assert before <= row.created_at <= timezone.now()


def test_more_rows_than_one_statement_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(waiting_run(4).verdicts.order_by("pk"))
    for number, row in enumerate(rows):
        row.rationale = f"Because of {number}."
    monkeypatch.setattr(type(connection.features), "max_query_params", 7)
    update_rows(rows, ("rationale", "error"))
    monkeypatch.undo()
    stored = dict(Verdict.objects.values_list("pk", "rationale"))
    assert stored == {row.pk: row.rationale for row in rows}


@pytest.mark.postgres
def test_text_that_is_too_long_is_refused_and_not_cut() -> None:
    rows = list(waiting_run(1).verdicts.all())
    for number, row in enumerate(rows):
        row.answered_by = str(number) * 201
    with pytest.raises(DataError):
        update_rows(rows, ("answered_by",))
