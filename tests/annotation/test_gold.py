"""Gold: mixed in unseen at the rate set, counted for no label, scored by whichever way it was answered."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from annotation.aggregating import vote_frame
from annotation.assigning import Answer, Opening, next_assignment, open_tasks, progress_of, revise, skip, submit
from annotation.checking import check_invariants
from annotation.errors import AnnotationError, GoldInvalid, StandardsInvalid
from annotation.gilding import read_answer, revoke_gold, set_gold
from annotation.importing import import_pairs
from annotation.leasing import give_back, locked
from annotation.mixing_in import is_gold_due
from annotation.models import (
    Assignment,
    AssignmentState,
    Gold,
    GoldSource,
    LedgerEntry,
    OutboxEvent,
    Pair,
    Preference,
    Project,
    Rater,
    ShownOrder,
    Task,
    User,
)
from annotation.scoring import marks_of, score_of
from annotation.standards import Standards, read_standards, set_standards
from tests.annotation.test_blinding import seen
from tests.builders import make_answer, make_gold, make_pair, make_person, make_project

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def project() -> Project:
    project = make_project(lease_seconds=600, standards={"gold_percent": 20.0})
    open_tasks(project, [Opening(make_pair(project).pk, float(-number)) for number in range(60)], votes_wanted=1)
    for _ in range(12):
        make_gold(project)
    return project


@pytest.fixture
def ben(project: Project) -> Rater:
    return make_person(project)


def lease(project: Project, rater: Rater, minute: int = 0) -> Assignment:
    one = next_assignment(project, rater, now=NOW + timedelta(minutes=minute)).assignment
    assert one is not None
    return one


def answer(project: Project, rater: Rater, times: int, choice: str = "a", since: int = 0) -> list[Assignment]:
    leased = []
    for minute in range(since, since + times):
        one = lease(project, rater, minute)
        submit(one.pk, rater, Answer(choice), now=NOW + timedelta(minutes=minute))
        leased.append(one)
    return leased


def answer_gold(project: Project, rater: Rater, choice: str = "a") -> Assignment:
    """Answer until a gold pair was."""
    for minute in range(40):
        (one,) = answer(project, rater, 1, choice, since=minute)
        if one.gold_id is not None:
            return one
    raise AssertionError("no gold came")


def score(rater: Rater) -> tuple[int, int]:
    found = score_of(marks_of(rater.project).get(rater.pk, []))
    return found.right, found.answered


def broken() -> list[Any]:
    return [check for check in check_invariants(now=NOW) if check.broken]


# --- Mixed in -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("percent", [3.0, 10.0, 20.0, 25.0])
def test_everybody_gets_as_many_as_the_rate_says_give_or_take_one(project: Project, percent: float) -> None:
    standards = Standards(gold_percent=percent)
    places = []
    for name in ("ben", "cyd", "dot"):
        rater, asked, where = Rater(name=name), 0, []
        for number in range(1000):
            if is_gold_due(project, rater, standards, number=number, asked=asked):
                asked += 1
                where.append(number)
        assert abs(asked - 10 * percent) <= 1
        places.append(where)
    # Drawn for each person, not at the same steps for all.
    assert len({tuple(where) for where in places}) == 3
    gaps = {after - before for before, after in zip(places[0], places[0][1:], strict=False)}
    assert len(gaps) > 2


def test_of_fifty_leases_at_a_fifth_ten_are_gold_and_none_twice(project: Project, ben: Rater) -> None:
    leased = answer(project, ben, 50)
    gold = [one for one in leased if one.gold_id is not None]
    assert 9 <= len(gold) <= 11
    assert len({one.task_id for one in leased}) == 50
    assert broken() == []


def test_the_draw_is_the_same_for_the_same_seed(project: Project, ben: Rater) -> None:
    first = [one.task_id for one in answer(project, ben, 20)]
    with transaction.atomic():
        # The book refuses this by any other way.
        LedgerEntry.objects.all()._raw_delete(connection.alias)
        Assignment.objects.all().delete()
        Preference.objects.all().delete()
        Task.objects.update(taken=0, answered=0, next_slot=0)
        Task.objects.filter(state="done").update(state="open")
    assert [one.task_id for one in answer(project, ben, 20)] == first


def test_without_gold_everything_goes_on(project: Project, ben: Rater) -> None:
    Gold.objects.all().delete()
    assert all(one.gold_id is None for one in answer(project, ben, 30))


def test_an_answer_to_gold_takes_as_many_statements_as_another(project: Project, ben: Rater) -> None:
    counts: dict[bool, set[int]] = {True: set(), False: set()}
    for minute in range(20):
        one = lease(project, ben, minute)
        with CaptureQueriesContext(
            connection,
        ) as asked:
            submit(one.pk, ben, Answer("a"), now=NOW + timedelta(minutes=minute))
        counts[one.gold_id is not None].add(len(asked))
    assert counts[True] == counts[False]
    assert len(counts[True]) == 1


def test_skipped_gold_does_not_bring_the_next_at_once_and_is_not_asked_again(project: Project, ben: Rater) -> None:
    while (one := lease(project, ben)).gold_id is None:
        submit(one.pk, ben, Answer("a"), now=NOW)
    skip(one.pk, ben, reason="unclear", now=NOW)
    after = answer(project, ben, 30, since=1)
    assert one.task_id not in {other.task_id for other in after}
    assert broken() == []


def test_gold_that_ran_out_comes_again_as_it_was(project: Project, ben: Rater) -> None:
    while (one := lease(project, ben)).gold_id is None:
        submit(one.pk, ben, Answer("a"), now=NOW)
    with transaction.atomic():
        task, assignment = locked(one.pk, ben)
        give_back(task, assignment, AssignmentState.EXPIRED)
    again = lease(project, ben, 1)
    assert (again.pk, again.shown_order, again.gold_id) == (one.pk, one.shown_order, one.gold_id)
    submit(again.pk, ben, Answer("a"), now=NOW)
    assert broken() == []


def test_gold_that_ran_out_may_come_as_an_ordinary_pair_once_it_is_none(project: Project, ben: Rater) -> None:
    while (one := lease(project, ben)).gold_id is None:
        submit(one.pk, ben, Answer("a"), now=NOW)
    with transaction.atomic():
        task, assignment = locked(one.pk, ben)
        give_back(task, assignment, AssignmentState.EXPIRED)
    gold = Gold.objects.get(assignments=one)
    revoke_gold(gold, reason="wrong", by=None, now=NOW)
    open_tasks(project, [Opening(gold.pair_id, 100.0)], votes_wanted=1)
    project.standards = {}
    again = lease(project, ben, 1)
    assert (again.pk, again.gold_id, again.slot is not None) == (one.pk, None, True)
    assert broken() == []


# --- Counted for nothing, and once ----------------------------------------------------------------------------------


def test_a_gold_answer_is_paid_work_and_no_vote(project: Project, ben: Rater) -> None:
    one = answer_gold(project, ben)
    stored = Preference.objects.get(rater=ben, pair=one.task.pair_id)
    assert (stored.is_current, stored.is_extra) == (True, True)
    assert str(one.task.pair_id) not in set(vote_frame(project)["pair_id"])
    assert Assignment.objects.paid().filter(pk=one.pk).exists()
    assert Assignment.objects.answered().beside().get() == one
    assert progress_of(project, ben).done == len(Assignment.objects.answered())
    assert Gold.objects.get(assignments=one).answers == 1
    assert not OutboxEvent.objects.filter(payload={"pair_id": str(one.task.pair_id)}).exists()
    assert OutboxEvent.objects.get(topic="gold_answered").payload == {"rater_id": str(ben.pk)}


def test_a_pair_that_is_opened_as_well_is_answered_once_by_a_person(project: Project, ben: Rater) -> None:
    for gold in Gold.objects.all():
        open_tasks(project, [Opening(gold.pair_id, 50.0)], votes_wanted=2)
    leased = answer(project, ben, 30)
    assert len({one.task_id for one in leased}) == 30
    cyd = make_person(project, "cyd")
    answer(project, cyd, 30)
    pairs = vote_frame(project).groupby("pair_id").size()
    assert pairs.max() <= 2
    assert broken() == []
    # Those answered as ordinary pairs score all the same, and count as one vote.
    asked = {one.task.pair_id for one in leased if one.gold_id is None} & set(
        Gold.objects.values_list("pair", flat=True)
    )
    assert asked
    assert score(ben) == (12, 12)


def test_the_database_refuses_gold_with_a_slot(project: Project, ben: Rater) -> None:
    one = answer_gold(project, ben)
    with pytest.raises(IntegrityError), transaction.atomic():
        Assignment.objects.filter(pk=one.pk).update(slot=99)


def test_gold_is_not_asked_again_as_a_hidden_repeat(project: Project, ben: Rater, monkeypatch: Any) -> None:
    monkeypatch.setattr("annotation.repeating.GAP", 0)
    monkeypatch.setattr("annotation.assigning.is_due", lambda *args, **options: True)
    answer(project, ben, 25)
    Assignment.objects.filter(rater=ben, gold__isnull=True).update(finished_at=NOW - timedelta(days=1))
    for minute in range(10):
        one = next_assignment(project, ben, now=NOW + timedelta(minutes=50 + minute), repeat_percent=50.0).assignment
        assert one is not None
        assert one.repeats is None or one.repeats.gold_id is None
        submit(one.pk, ben, Answer("a"), now=NOW + timedelta(minutes=50 + minute))


# --- Scored ---------------------------------------------------------------------------------------------------------


def test_accepted_answers_are_right_and_no_others(project: Project, ben: Rater) -> None:
    gold = [make_gold(project, accepted) for accepted in (["a"], ["a", "tie"], ["b"], ["both_bad"], ["tie"])]
    for one, choice in zip(gold, ["a", "tie", "a", "both_bad", "unsure"], strict=True):
        make_answer(one.pair, ben, choice)
    assert score(ben) == (3, 5)


def test_a_changed_answer_scores_as_it_stands(project: Project, ben: Rater) -> None:
    one = answer_gold(project, ben, "b")
    assert score(ben) == (0, 1)
    revise(one.pk, ben, Answer("a"), now=NOW + timedelta(hours=1))
    assert score(ben) == (1, 1)
    assert broken() == []


def test_a_revoked_answer_scores_nobody_and_another_can_be_set(project: Project, ben: Rater) -> None:
    wrong = answer_gold(project, ben, "b")
    assert score(ben) == (0, 1)
    gold = Gold.objects.get(assignments=wrong)
    assert revoke_gold(gold, reason="b is better", by=None, now=NOW)
    assert not revoke_gold(gold, reason="again", by=None, now=NOW)
    assert score(ben) == (0, 0)
    set_gold(gold.pair, read_answer(["b"]), source=GoldSource.MANAGER)
    assert score(ben) == (1, 1)


def test_attention_checks_are_counted_apart(project: Project, ben: Rater) -> None:
    make_answer(make_gold(project, ["b"], kind="attention").pair, ben, "a")
    make_answer(make_gold(project, ["b"], kind="attention").pair, ben, "b")
    found = score_of(marks_of(project)[ben.pk])
    assert (found.answered, found.attention_failed, found.attention_answered) == (0, 1, 2)


# --- Setting it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accepted", [[], ["c"], ["unsure"], ["a", "b", "tie", "both_bad"]])
def test_an_answer_that_tests_nothing_is_refused(accepted: list[str]) -> None:
    with pytest.raises(GoldInvalid, match="known answer"):
        read_answer(accepted)


def test_a_pair_is_gold_once(project: Project) -> None:
    gold = make_gold(project)
    with pytest.raises(GoldInvalid, match="is gold already"):
        set_gold(gold.pair, read_answer(["b"]), source=GoldSource.MANAGER)


def test_projects_of_orders_take_none(project: Project) -> None:
    ranking = make_project("ranking", with_people=False, template="ranking")
    with pytest.raises(GoldInvalid, match="orders of several"):
        make_gold(ranking)
    with pytest.raises(StandardsInvalid, match="orders of several"):
        set_standards(ranking, {"gold_percent": 5.0})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"gold": 5}, "gold"),
        ({"gold_percent": 60.0}, "gold_percent"),
        ({"gold_percent": "5"}, "gold_percent"),
        ({"gold_percent": float("nan")}, "gold_percent"),
        ({"first_gold": 2.5}, "first_gold"),
        ({"pause_on_gold": 1}, "pause_on_gold"),
        ({"good_accuracy": 0.6, "bad_accuracy": 0.6}, "bad_accuracy"),
        ({"wrong_pauses": 0.5}, "wrong_pauses"),
    ],
)
def test_standards_that_cannot_be_are_refused_by_name(values: Mapping[str, Any], named: str) -> None:
    with pytest.raises(StandardsInvalid) as refused:
        read_standards(values)
    assert refused.value.setting == named


def test_more_first_gold_than_there_is_is_refused(project: Project) -> None:
    with pytest.raises(StandardsInvalid, match="takes 14 gold pairs; there are 12"):
        set_standards(project, {"first_gold": 7, "tries": 2})
    set_standards(project, {"first_gold": 6, "tries": 2})
    assert Project.objects.get(pk=project.pk).standards == {"first_gold": 6}


# --- From a file ----------------------------------------------------------------------------------------------------


def read(tmp_path: Path, rows: Sequence[Mapping[str, Any]], **field_map: str) -> tuple[Project, Any]:
    project = make_project("from-file", with_people=False)
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return project, import_pairs(project, path, field_map=field_map)


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"id": f"p{number}", "prompt": f"Q{number}", "response_a": "A", "response_b": f"B{number}", **more}


def test_a_column_sets_gold(tmp_path: Path) -> None:
    rows = [
        row(1, known="a"),
        row(2, known="b,tie"),
        row(3, known=""),
        row(4, known=["tie"], kind="attention"),
        row(5, known=None),
    ]
    rows = [{"kind": "known", **one} for one in rows]
    project, report = read(tmp_path, rows, gold="known", gold_kind="kind")
    assert report.rejected == []
    found = Gold.objects.order_by("pair__external_id").values_list("pair__external_id", "accepted", "kind", "source")
    assert list(found) == [
        ("p1", ["a"], "known", "file"),
        ("p2", ["b", "tie"], "known", "file"),
        ("p4", ["tie"], "attention", "file"),
    ]
    assert set(Task.objects.values_list("state", flat=True)) == {"closed"}
    # What a person's page shows comes of the pair: nothing of it says what is known.
    assert all("known" not in pair.meta for pair in Pair.objects.filter(project=project))


def test_yes_makes_the_rows_own_label_the_known_answer(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Q{n}", "chosen": f"good {n}", "rejected": f"bad {n}", "sure": sure}
        for n, sure in enumerate([True, False, "yes"])
    ]
    _, report = read(tmp_path, rows, gold="sure")
    assert report.rejected == []
    assert Gold.objects.count() == 2
    for gold in Gold.objects.select_related("pair__response_a"):
        better = "a" if gold.pair.response_a.text.startswith("good") else "b"
        assert gold.accepted == [better]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (row(1, known="c"), "is no choice here"),
        (row(1, known="a,b,tie,both_bad"), "tests nothing"),
        (row(1, known=True), "the row says no better one"),
        ({"prompt": "Q", "chosen": "x", "rejected": "y", "known": "a"}, "it is yes or no"),
    ],
)
def test_a_bad_cell_is_a_bad_row(tmp_path: Path, one: dict[str, Any], reason: str) -> None:
    _, report = read(tmp_path, [one], gold="known")
    assert reason in report.rejected[0].reason
    assert report.rejected[0].field == "gold (column known)"
    assert not Pair.objects.filter(project__slug="from-file").exists()


def test_a_column_that_the_map_does_not_name_stays_data(tmp_path: Path) -> None:
    project, _ = read(tmp_path, [row(1, gold="whatever")])
    assert not Gold.objects.exists()
    assert Pair.objects.get(project=project).meta == {"gold": "whatever"}


def test_a_kind_without_an_answer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="add gold=COLUMN"):
        read(tmp_path, [row(1, kind="attention")], gold_kind="kind")


def test_a_pair_that_was_there_is_not_made_gold_by_a_file(tmp_path: Path) -> None:
    project, _ = read(tmp_path, [row(1)])
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(row(1, known="a")) + "\n")
    report = import_pairs(project, path, field_map={"gold": "known"})
    assert any("set it on the pair's page" in note for note in report.notes)
    assert not Gold.objects.exists()


def test_the_side_is_drawn_for_gold_as_for_any_pair(project: Project, ben: Rater) -> None:
    orders = [one.shown_order for one in answer(project, ben, 50) if one.gold_id is not None]
    assert set(orders) == {ShownOrder.AB, ShownOrder.BA}


def test_gold_adds_no_query_to_a_cycle_that_leases_none(client: Client, project: Project, ben: Rater) -> None:
    asked: dict[bool, set[int]] = {True: set(), False: set()}
    for standards in ({"gold_percent": 20.0}, {}):
        Project.objects.filter(pk=project.pk).update(standards=standards)
        client.force_login(ben.user)  # type: ignore[arg-type]
        hand = re.findall(r'data-task="([^"]+)"', client.get("/annotate/helpfulness/").content.decode())
        for number in range(14):
            first, *hand = hand
            gold = Assignment.objects.filter(gold__isnull=False).count()
            was_gold = Assignment.objects.filter(pk=first, gold__isnull=False).exists()
            with CaptureQueriesContext(connection) as queries:
                reply = client.post(
                    f"/annotate/helpfulness/{first}/submit/",
                    {"answer": "first2", "held": ",".join(hand)},
                    headers={"HX-Request": "true"},
                )
            hand += re.findall(r'data-task="([^"]+)"', reply.content.decode())
            if number and not was_gold and Assignment.objects.filter(gold__isnull=False).count() == gold:
                asked[bool(standards)].add(len(queries))
    assert asked[True] == asked[False]
    assert len(asked[True]) == 1


def test_a_gold_pair_looks_like_any_other(client: Client) -> None:
    project = make_project("looks", standards={"first_gold": 1, "tries": 1}, questionnaire={"leases_ahead": 0})
    texts = {"response_a": "Yes.", "response_b": "No."}
    open_tasks(project, [Opening(make_pair(project, prompt="What 1?", **texts).pk)], votes_wanted=2)
    make_gold(project, prompt="What 2?", **texts)
    pages = {}
    for name in ("ben", "cyd"):
        if name == "cyd":
            Project.objects.filter(pk=project.pk).update(standards={})
        client.force_login(User.objects.get(username=name))
        reply = client.get("/annotate/looks/")
        held = Assignment.objects.get(rater__name=name)
        where = f"/annotate/looks/{held.pk}/submit/"
        refused = client.post(where, {"answer": "fourth"}, headers={"HX-Request": "true"})
        sent = client.post(f"/annotate/looks/{held.pk}/draft/", {"answer": "tie"}, headers={"HX-Request": "true"})
        pages[held.gold_id is not None] = [seen(one, name) for one in (reply, refused, sent)]
    assert pages[True] == pages[False]
