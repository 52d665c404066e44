"""Orders of several responses: slates are made once, people see them in an order of their own, and pairs follow."""

from datetime import UTC, datetime

import pytest

from annotation.aggregating import vote_frame
from annotation.answering import Answer
from annotation.assigning import Opening, next_assignment, open_tasks, revise, submit
from annotation.checking import check_invariants
from annotation.errors import AnswerInvalid
from annotation.models import (
    Assignment,
    Basis,
    Membership,
    OutboxEvent,
    Pair,
    Preference,
    Project,
    Ranking,
    Role,
    Slate,
    Task,
    Tier,
)
from tests.builders import make_pair, make_person, make_preference, make_project, make_prompt, make_response

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def slated(responses: int, *, template: str = "ranking") -> Project:
    """Return a project with one prompt whose first response is compared with each other in a pair of the file."""
    project = make_project(template=template)
    prompt = make_prompt(project, "Why?")
    for number in range(1, responses):
        make_pair(project, prompt=prompt, response_a="Answer 0", response_b=f"Answer {number}", model_b="model-one")
    return project


def opened(project: Project) -> Task:
    pairs = Pair.objects.order_by("pk")
    assert open_tasks(project, [Opening(pair.pk, float(number)) for number, pair in enumerate(pairs)], votes_wanted=2)
    return Task.objects.get()


def ordered(project: Project, name: str, *texts: str, basis: Basis = Basis.RANKING) -> Assignment:
    """Let somebody rank the responses of these texts, the best first; those not named come last, as equals."""
    rater = make_person(project, name)
    held = next_assignment(project, rater, now=NOW).assignment
    assert held is not None
    answer = Answer(ranks=ranks(held.task, *texts), basis=basis, seconds=30.0, rationale="Because.")
    submit(held.pk, rater, answer, now=NOW)
    return Assignment.objects.get(pk=held.pk)


def ranks(task: Task, *texts: str) -> tuple[int, ...]:
    assert task.slate is not None
    stored = [entry.response.text for entry in task.slate.entries.all()]
    return tuple(texts.index(text) + 1 if text in texts else len(texts) + 1 for text in stored)


def said(name: str) -> dict[str, str]:
    """Return who won each pair in a person's preferences, by the numbers of the two answers."""
    rows = Preference.objects.current().filter(rater__name=name).select_related("pair__response_a", "pair__response_b")
    found = {}
    for row in rows:
        a, b = (one.text.removeprefix("Answer ") for one in (row.pair.response_a, row.pair.response_b))
        winner = {"a": a, "b": b, "tie": "="}[row.choice]
        found["".join(sorted((a, b)))] = winner
    return found


def test_opening_any_pair_of_a_prompt_opens_its_slate_once() -> None:
    project = slated(4)
    task = opened(project)
    assert task.slate is not None
    assert [entry.response.text for entry in task.slate.entries.all()] == [f"Answer {number}" for number in range(4)]
    # The three of the file, and the three that nobody had paired.
    assert Pair.objects.count() == 6
    assert Pair.objects.filter(source="slate").count() == 3
    assert task.priority == 2.0
    assert open_tasks(project, [Opening(pair.pk) for pair in Pair.objects.all()], votes_wanted=2) == 0
    assert (Slate.objects.count(), Task.objects.count()) == (1, 1)


def test_an_order_decides_every_pair() -> None:
    project = slated(4)
    opened(project)
    given = ordered(project, "ben", "Answer 2", "Answer 0")
    assert said("ben") == {"01": "0", "02": "2", "03": "0", "12": "2", "13": "=", "23": "2"}
    ranking = Ranking.objects.get()
    assert (ranking.ranks, ranking.basis, given.ranking, given.preference) == ([2, 3, 1, 3], "ranking", ranking, None)
    assert set(Preference.objects.values_list("ranking", "basis", "seconds", "rationale")) == {
        (ranking.pk, "ranking", 5.0, "Because.")
    }
    assert OutboxEvent.objects.count() == 6
    assert [check for check in check_invariants(now=NOW) if check.broken] == []


def test_best_and_worst_leave_the_middle_open() -> None:
    project = slated(4, template="best_worst")
    task = opened(project)
    ben = make_person(project)
    held = next_assignment(project, ben, now=NOW).assignment
    assert held is not None
    texts = [entry.response.text for entry in task.slate.entries.all()] if task.slate else []
    ends = {"Answer 3": 1, "Answer 1": 3}
    answer = Answer(ranks=tuple(ends.get(text, 2) for text in texts), basis=Basis.BEST_WORST)
    submit(held.pk, ben, answer, now=NOW)
    assert said("ben") == {"01": "0", "03": "3", "12": "2", "13": "3", "23": "3"}


def test_each_person_sees_an_order_of_their_own_and_it_is_stored() -> None:
    project = slated(5)
    opened(project)
    shown = set()
    for name in ("ben", "cyd"):
        held = next_assignment(project, make_person(project, name), now=NOW).assignment
        assert held is not None
        assert sorted(held.shown_order) == list("01234")
        shown.add(held.shown_order)
    assert len(shown) == 2


def test_pairs_say_which_response_stood_first() -> None:
    project = slated(3)
    opened(project)
    given = ordered(project, "ben", "Answer 0", "Answer 1", "Answer 2")
    for row in Preference.objects.select_related("pair"):
        positions = {entry.response_id: str(entry.position) for entry in given.task.slate.entries.all()}  # type: ignore[union-attr]
        places = [given.shown_order.index(positions[one]) for one in (row.pair.response_a_id, row.pair.response_b_id)]
        assert row.shown_order == ("ab" if places[0] < places[1] else "ba")


def test_two_orders_end_the_task_and_are_votes() -> None:
    project = slated(3)
    opened(project)
    for name in ("ben", "cyd"):
        ordered(project, name, "Answer 1", "Answer 0", "Answer 2")
    assert Task.objects.get().state == "done"
    assert len(vote_frame(project)) == 6


def test_a_changed_order_replaces_all_it_said() -> None:
    project = slated(3)
    task = opened(project)
    given = ordered(project, "ben", "Answer 0", "Answer 1", "Answer 2")
    changed = revise(
        given.pk,
        make_person(project),
        Answer(ranks=ranks(task, "Answer 2", "Answer 1", "Answer 0"), basis=Basis.RANKING),
        now=NOW,
    )
    assert said("ben") == {"01": "1", "02": "2", "12": "2"}
    assert isinstance(changed, Ranking)
    assert (changed.replaces, Preference.objects.current().count()) == (given.ranking, 3)
    assert [check for check in check_invariants(now=NOW) if check.broken] == []


def test_a_pair_answered_otherwise_keeps_that_answer() -> None:
    project = slated(3)
    task = opened(project)
    other = Pair.objects.exclude(pk=task.pair_id).order_by("pk")[0]
    earlier = make_preference(other, make_person(project), "tie")
    ordered(project, "ben", "Answer 0", "Answer 1", "Answer 2")
    assert Preference.objects.current().filter(pair=other).get() == earlier
    assert Preference.objects.current().count() == 3


def test_a_choice_is_no_answer_to_a_slate_nor_an_order_to_a_pair() -> None:
    project = slated(3)
    opened(project)
    ben = make_person(project)
    held = next_assignment(project, ben, now=NOW).assignment
    assert held is not None
    with pytest.raises(AnswerInvalid, match="Reload the page"):
        submit(held.pk, ben, Answer("a"), now=NOW)
    assert Preference.objects.count() == 0


def test_more_than_eight_responses_make_several_slates() -> None:
    project = slated(11)
    pairs = list(Pair.objects.order_by("pk"))
    open_tasks(project, [Opening(pair.pk) for pair in pairs], votes_wanted=1)
    sizes = sorted(slate.entries.count() for slate in Slate.objects.all())
    assert sizes == [2, 2, 2, 8]  # the first response stands in each of the three that did not fit
    assert Task.objects.count() == 4


def test_responses_that_come_later_do_not_change_a_slate() -> None:
    project = slated(3)
    opened(project)
    pair = Pair.objects.order_by("pk")[0]
    late = make_response(pair.prompt, "Answer 9", "model-one")
    new = Pair.objects.create(
        project=project, prompt=pair.prompt, response_a=pair.response_a, response_b=late, external_id="late"
    )
    open_tasks(project, [Opening(new.pk)], votes_wanted=1)
    assert sorted(slate.entries.count() for slate in Slate.objects.all()) == [2, 3]


def test_who_ordered_a_slate_is_not_asked_again_in_the_other_tier() -> None:
    project = slated(4, template="best_worst")
    first = opened(project)
    others = Pair.objects.exclude(pk=first.pair_id)
    open_tasks(project, [Opening(pair.pk) for pair in others], votes_wanted=1, tier=Tier.EXPERT)
    assert set(Task.objects.values_list("pair", flat=True)) == {first.pair_id}
    Membership.objects.filter(user__username="ben").update(role=Role.EXPERT)
    ben = make_person(project)
    held = next_assignment(project, ben, now=NOW).assignment
    assert held is not None
    submit(held.pk, ben, Answer(ranks=(1, 2, 2, 3), basis=Basis.BEST_WORST), now=NOW)
    assert next_assignment(project, ben, now=NOW).assignment is None
