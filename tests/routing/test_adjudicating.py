"""Adjudication: a look of one's own first, votes without names after it, and a label that says how it came about."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction

from annotation.aggregating import vote_frame
from annotation.assigning import Answer, Opening, Waiting, next_assignment, open_tasks, submit
from annotation.checking import check_invariants
from annotation.models import Membership, Pair, Preference, Project, Rater, Role, Tier
from routing.errors import RoutingError
from routing.labels.adjudicating import (
    adjudicate,
    candidates,
    causes_of,
    looks_of,
    open_adjudication,
    set_aside,
    votes_on,
    waiting,
)
from routing.labels.resolving import resolve_labels
from routing.models import Adjudication, Label, LabelSource
from tests.builders import make_answer, make_pair, make_person, make_project, make_user

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
PEOPLE = ("ben", "cyd", "dot")


@pytest.fixture
def project() -> Project:
    """Return a project of three pairs: agreed, two to one, and all different."""
    project = make_project()
    for name, choices in (("agreed", "aaa"), ("leaning", "aab"), ("open", "abt")):
        pair = make_pair(project, external_id=name)
        for person, choice in zip(PEOPLE, choices, strict=True):
            said = {"t": "tie"}.get(choice, choice)
            make_answer(pair, person, said, rationale=f"I say {said}.", strength=None if said == "tie" else 2)
    resolve_labels(project)
    return project


@pytest.fixture
def jo(project: Project) -> Rater:
    Membership.objects.create(project=project, user=make_user("jo"), role=Role.ADJUDICATOR)
    return make_person(project, "jo")


def pair_of(project: Project, name: str) -> Pair:
    return Pair.objects.get(project=project, external_id=name)


def look(project: Project, jo: Rater, choice: str, *, minute: int = 0) -> Pair:
    held = next_assignment(project, jo, now=NOW + timedelta(minutes=minute)).assignment
    assert held is not None
    submit(held.pk, jo, Answer(choice), now=NOW + timedelta(minutes=minute))
    return held.task.pair


def broken() -> list[str]:
    return [check.name for check in check_invariants(now=NOW) if check.broken]


# --- The queue ------------------------------------------------------------------------------------------------------


def test_what_people_differ_on_most_comes_first(project: Project) -> None:
    found = candidates(project, limit=10)
    assert [one.label.pair.external_id for one in found] == ["open", "leaning"]
    most, less = found
    assert most.disagreement == pytest.approx(2 / 3)
    assert (most.doubt, most.value) == (0.5, 0.0)
    # Two of three for a: wrong with 1 - P(Beta(3, 2) > 1/2) = 5/16.
    assert less.disagreement == pytest.approx(1 / 3)
    assert less.doubt == pytest.approx(5 / 16)


def test_sent_pairs_go_to_adjudicators_in_that_order_and_to_nobody_else(project: Project, jo: Rater) -> None:
    assert open_adjudication(project, limit=10) == 2
    assert open_adjudication(project, limit=10) == 0
    assert waiting(project) == 2
    assert candidates(project, limit=10) == []
    assert next_assignment(project, make_person(project, "ben"), now=NOW).waiting is Waiting.ALL_DONE
    assert look(project, jo, "b").external_id == "open"
    assert look(project, jo, "a", minute=1).external_id == "leaning"
    assert next_assignment(project, jo, now=NOW).waiting is Waiting.ALL_DONE
    assert broken() == []


def test_adjudicators_do_not_vote_and_nobody_checks_them(project: Project, jo: Rater) -> None:
    project.standards = {"first_gold": 3, "gold_percent": 20.0}
    project.save()
    open_tasks(project, [Opening(make_pair(project).pk)], votes_wanted=1)
    assert next_assignment(project, jo, now=NOW).waiting is Waiting.ALL_DONE
    open_adjudication(project, limit=1)
    look(project, jo, "b")
    assert "jo" not in set(vote_frame(project)["rater"])


# --- Deciding -------------------------------------------------------------------------------------------------------


def test_nothing_is_decided_before_a_look(project: Project, jo: Rater) -> None:
    open_adjudication(project, limit=1)
    pair = pair_of(project, "open")
    with pytest.raises(RoutingError, match="Answer this pair on the annotation screen first"):
        adjudicate(pair, jo, choice="a", causes=["close"], now=NOW)
    assert not Adjudication.objects.exists()


def test_a_decision_is_the_label_with_everything_it_rests_on(project: Project, jo: Rater) -> None:
    open_adjudication(project, limit=1)
    pair = look(project, jo, "b")
    decided = adjudicate(pair, jo, choice="tie", causes=["taste", "close"], comment=" Both do. ", now=NOW)
    label = Label.objects.get(pair=pair)
    assert (label.source, label.choice, label.prob_a) == (LabelSource.ADJUDICATED, "tie", 0.5)
    assert (label.n_votes, label.p_correct) == (3, None)
    assert label.agreement == pytest.approx(1 / 3)
    said = label.provenance
    assert (said["rule"], said["first_look"], said["causes"]) == ("adjudicated", "b", ["close", "taste"])
    assert said["votes"] == {"a": 1, "b": 1, "tie": 1}
    assert said["before"] == {"source": "human", "choice": ""}
    assert said["adjudication"] == str(decided.pk)
    assert decided.comment == "Both do."
    # It stands whatever is resolved later.
    resolve_labels(project)
    assert Label.objects.get(pair=pair).choice == "tie"
    assert causes_of(project) == {"close": 1, "taste": 1}


def test_a_later_decision_takes_its_place_and_both_are_kept(project: Project, jo: Rater) -> None:
    open_adjudication(project, limit=1)
    pair = look(project, jo, "b")
    adjudicate(pair, jo, choice="b", causes=["slip"], now=NOW)
    adjudicate(pair, jo, choice="a", causes=["slip"], now=NOW)
    assert Label.objects.get(pair=pair).choice == "a"
    assert Label.objects.get(pair=pair).provenance["before"] == {"source": "human", "choice": ""}
    assert list(Adjudication.objects.order_by("pk").values_list("choice", "is_current")) == [("b", False), ("a", True)]
    with pytest.raises(IntegrityError), transaction.atomic():
        Adjudication.objects.update(is_current=True)


def test_set_aside_the_votes_decide_again(project: Project, jo: Rater) -> None:
    open_adjudication(project, limit=2)
    look(project, jo, "b")
    pair = look(project, jo, "b", minute=1)
    adjudicate(pair, jo, choice="b", causes=["slip"], now=NOW)
    assert set_aside(pair)
    assert not set_aside(pair)
    label = Label.objects.get(pair=pair)
    assert (label.source, label.choice) == (LabelSource.HUMAN, "a")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"choice": "unsure", "causes": ["close"]}, "decides nothing"),
        ({"choice": "a", "causes": ["fate"]}, "is no known cause"),
        ({"choice": "a", "causes": []}, "Say why people differed"),
        ({"choice": "a", "causes": ["close"], "comment": "x" * 2001}, "2,001 characters"),
    ],
)
def test_a_decision_that_cannot_be_changes_nothing(
    project: Project, jo: Rater, values: dict[str, object], sentence: str
) -> None:
    open_adjudication(project, limit=1)
    pair = look(project, jo, "b")
    with pytest.raises(RoutingError, match=sentence):
        adjudicate(pair, jo, now=NOW, **values)  # type: ignore[arg-type]
    assert Label.objects.get(pair=pair).source == LabelSource.HUMAN


def test_votes_come_without_names_and_in_an_order_of_their_own(project: Project) -> None:
    votes = votes_on(pair_of(project, "open"))
    assert [vote.name for vote in votes] == ["Person 1", "Person 2", "Person 3"]
    assert {vote.choice for vote in votes} == {"a", "b", "tie"}
    assert not any(name in repr(votes) for name in PEOPLE)


def test_a_look_stays_what_it_was(project: Project, jo: Rater) -> None:
    open_adjudication(project, limit=1)
    pair = look(project, jo, "b")
    adjudicate(pair, jo, choice="a", causes=["slip"], now=NOW)
    (seen,) = looks_of(jo)
    assert isinstance(seen.preference, Preference)
    assert (seen.preference.choice, seen.preference.is_extra, seen.task.tier) == ("b", True, Tier.FINAL)
