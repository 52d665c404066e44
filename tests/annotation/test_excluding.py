"""A person's answers out of the count and back: kept, marked, slots free again at once, labels made anew."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError

from annotation.aggregating import consensus, vote_frame
from annotation.assigning import Answer, Opening, next_assignment, open_tasks, progress_of, revise, submit
from annotation.checking import check_invariants
from annotation.errors import AnnotationError
from annotation.excluding import exclude_answers, include_answers, open_exclusion
from annotation.models import Assignment, Exclusion, OutboxEvent, Preference, Project, Ranking, Rater, Task, User
from annotation.slating import slates_of
from routing.labels.resolving import resolve_labels
from routing.models import Label
from tests.builders import make_pair, make_person, make_preference, make_project

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def project() -> Project:
    project = make_project()
    open_tasks(project, [Opening(make_pair(project).pk, float(-n)) for n in range(5)], votes_wanted=2)
    return project


@pytest.fixture
def ada(project: Project) -> User:
    return User.objects.get(username="ada")


def answer_all(project: Project, rater: Rater, choice: str, *, minute: int = 0) -> list[Assignment]:
    given = []
    while (one := next_assignment(project, rater, now=NOW + timedelta(minutes=minute)).assignment) is not None:
        submit(one.pk, rater, Answer(choice), now=NOW + timedelta(minutes=minute))
        given.append(one)
    return given


def broken() -> list[Any]:
    return [check for check in check_invariants(now=NOW) if check.broken]


def test_slots_are_free_again_and_somebody_else_is_asked(project: Project, ada: User) -> None:
    ben, cyd, dot = (make_person(project, name) for name in ("ben", "cyd", "ada"))
    answer_all(project, ben, "a")
    answer_all(project, cyd, "b")
    assert set(Task.objects.values_list("state", "answered")) == {("done", 2)}
    assert exclude_answers(ben, reason="Copied from a model.", by=ada, now=NOW) == 5
    assert set(Task.objects.values_list("state", "answered", "taken")) == {("open", 1, 1)}
    assert set(vote_frame(project)["rater"]) == {"cyd"}
    assert broken() == []
    assert len(answer_all(project, dot, "b")) == 5
    # Never the same person again: what they said is kept.
    assert next_assignment(project, ben, now=NOW).assignment is None
    assert Preference.objects.filter(rater=ben, is_current=True, exclusion__reason="Copied from a model.").count() == 5
    assert progress_of(project, ben).done == 5
    assert Assignment.objects.paid().filter(rater=ben).count() == 5
    assert broken() == []


def test_hidden_repeats_of_excluded_answers_break_no_promise(project: Project, ada: User) -> None:
    open_tasks(project, [Opening(make_pair(project).pk) for _ in range(20)], votes_wanted=2)
    ben, repeats = make_person(project), 0
    for minute in range(26):
        now = NOW + timedelta(minutes=minute)
        one = next_assignment(project, ben, now=now, repeat_percent=100.0).assignment
        assert one is not None
        submit(one.pk, ben, Answer("a"), now=now)
        repeats += one.repeats_id is not None
    assert repeats > 0
    exclude_answers(ben, reason="spam", by=ada, now=NOW)
    assert Assignment.objects.filter(repeats__isnull=False, repeats__state="extra").count() == repeats
    assert broken() == []
    include_answers(ben, by=ada, now=NOW)
    assert broken() == []


def test_labels_are_made_again_by_way_of_the_outbox(project: Project, ada: User) -> None:
    ben = make_person(project)
    answer_all(project, ben, "a")
    resolve_labels(project)
    assert Label.objects.filter(choice="a").count() == 5
    exclude_answers(ben, reason="spam", by=ada, now=NOW)
    assert OutboxEvent.objects.get(topic="labels_outdated").payload == {"project_id": str(project.pk)}
    resolve_labels(project)
    assert not Label.objects.exists()


def test_undoing_counts_them_again_where_the_slot_is_free(project: Project, ada: User) -> None:
    ben, cyd, dot = (make_person(project, name) for name in ("ben", "cyd", "ada"))
    answer_all(project, ben, "a")
    answer_all(project, cyd, "b")
    exclude_answers(ben, reason="spam", by=ada, now=NOW)
    for _ in range(2):
        one = next_assignment(project, dot, now=NOW).assignment
        assert one is not None
        submit(one.pk, dot, Answer("b"), now=NOW)
    assert include_answers(ben, by=ada, now=NOW) == 3
    assert set(Task.objects.values_list("state", "answered", "taken")) == {("done", 2, 2)}
    assert consensus(vote_frame(project))["n_votes"].tolist() == [2] * 5
    assert Preference.objects.filter(rater=ben, is_extra=True).count() == 2
    assert not Preference.objects.filter(exclusion__isnull=False).exists()
    assert open_exclusion(ben) is None
    assert (Exclusion.objects.get().undone_by, Exclusion.objects.get().undone_at) == (ada, NOW)
    assert include_answers(ben, by=ada, now=NOW) == 0
    assert broken() == []


def test_imported_answers_can_be_excluded_too(project: Project, ada: User) -> None:
    pair = make_pair(project)
    given = make_preference(pair, "recorded", "a")
    make_preference(pair, "another", "b")
    assert exclude_answers(given.rater, reason="another guideline", by=ada, now=NOW) == 1
    assert vote_frame(project, [pair.pk])["rater"].tolist() == ["another"]
    assert include_answers(given.rater, by=ada, now=NOW) == 1
    assert len(vote_frame(project, [pair.pk])) == 2


def test_an_answer_that_is_changed_afterwards_stays_excluded(project: Project, ada: User) -> None:
    ben = make_person(project)
    one, *_ = answer_all(project, ben, "a")
    exclude_answers(ben, reason="spam", by=ada, now=NOW)
    revise(one.pk, ben, Answer("b"), now=NOW + timedelta(minutes=1))
    assert "ben" not in set(vote_frame(project)["rater"])
    assert broken() == []
    assert include_answers(ben, by=ada, now=NOW) == 5
    assert sorted(vote_frame(project)["choice"]) == ["a", "a", "a", "a", "b"]
    assert broken() == []


def test_orders_of_several_are_excluded_whole(ada: User) -> None:
    project = make_project("orders", template="ranking")
    ben = make_person(project)
    pair = make_pair(project)
    slates_of(project, [pair.pk])
    open_tasks(project, [Opening(pair.pk)], votes_wanted=1)
    one = next_assignment(project, ben, now=NOW).assignment
    assert one is not None
    submit(one.pk, ben, Answer(ranks=(1, 2), basis="ranking"), now=NOW)
    assert exclude_answers(ben, reason="spam", by=None, now=NOW) == 1
    assert Ranking.objects.get().is_extra
    assert broken() == []
    assert include_answers(ben, by=None, now=NOW) == 1
    assert not Ranking.objects.get().is_extra
    assert broken() == []


def test_a_reason_is_needed_and_nothing_is_stored_for_nothing(project: Project, ada: User) -> None:
    ben = make_person(project)
    with pytest.raises(AnnotationError, match="Say why"):
        exclude_answers(ben, reason=" ", by=ada, now=NOW)
    assert exclude_answers(ben, reason="spam", by=ada, now=NOW) == 0
    assert not Exclusion.objects.exists()
    with pytest.raises(IntegrityError):
        Exclusion.objects.create(rater=ben, reason="", created_at=NOW)
