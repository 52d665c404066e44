"""A project's method makes its labels, and what the method learned of people is kept and learned again."""

import json
from io import StringIO

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction

from annotation.aggregating.competence import competence_of
from annotation.aggregating.learning import has_outgrown, learned_of
from annotation.errors import AnnotationError
from annotation.models import CrowdFit, Method, OutboxEvent, Pair, Project, Rater
from routing.labels.choosing import choose_method
from routing.labels.resolving import resolve_labels
from routing.models import Label
from routing.tasks import resolve_pair
from tests.builders import make_pair, make_preference, make_project, make_prompt

pytestmark = pytest.mark.django_db


def crowd(n: int = 30) -> tuple[Project, list[Pair]]:
    """Return a project whose person `odd` mostly says the opposite, and where that decides a good many pairs."""
    project = make_project(with_people=False)
    pairs = [make_pair(project) for _ in range(n)]
    rng = np.random.default_rng(8)
    for number, pair in enumerate(pairs):
        truth, other = ("a", "b") if number % 2 else ("b", "a")
        for person, accuracy in (("x", 0.95), ("y", 0.9), ("z", 0.9), ("odd", 0.1), ("odder", 0.1)):
            make_preference(pair, person, truth if rng.random() < accuracy else other)
    return project, pairs


def test_most_votes_is_the_default_and_learns_nothing() -> None:
    project, pairs = crowd(4)
    resolve_labels(project)
    label = Label.objects.get(pair=pairs[0])
    assert (label.provenance["rule"], label.provenance["method"]) == ("people_plurality", "plurality")
    assert sum(label.provenance["votes"].values()) == 5
    assert not CrowdFit.objects.exists()


def test_a_method_makes_the_labels_says_so_and_keeps_the_votes() -> None:
    project, pairs = crowd()
    truth = {pair.pk: "a" if number % 2 else "b" for number, pair in enumerate(pairs)}
    resolve_labels(project)
    before = sum(label.choice == truth[label.pair_id] for label in Label.objects.all())
    assert choose_method(project, "dawid_skene")
    assert OutboxEvent.objects.filter(topic="labels_outdated").count() == 1
    assert resolve_labels(project) == 30
    labels = list(Label.objects.all())
    assert sum(label.choice == truth[label.pair_id] for label in labels) >= before
    assert {label.provenance["rule"] for label in labels} == {"people_dawid_skene"}
    assert all(0.5 < label.p_correct <= 1 for label in labels if label.p_correct is not None)
    flipped = [label for label in labels if label.provenance["suspected_flip"]]
    assert flipped
    for label in flipped:
        votes = label.provenance["votes"]
        assert votes.get(label.choice, 0) < max(votes.values()) or (label.p_correct or 0) < 0.5
        assert label.agreement == pytest.approx(votes.get(label.choice, 0) / 5)
    assert not choose_method(project, "dawid_skene")


@pytest.mark.parametrize("method", [method for method in Method if method != Method.BRADLEY_TERRY])
def test_labels_made_again_are_the_same_whole_or_one_by_one(method: Method) -> None:
    project, pairs = crowd(12)
    choose_method(project, method.value)
    resolve_labels(project)
    columns = ("pair_id", "choice", "prob_a", "p_correct", "agreement", "resolved_at")
    whole = sorted(Label.objects.values_list(*columns))
    resolve_labels(project)
    for pair in pairs:
        resolve_labels(project, [pair.pk])
    assert sorted(Label.objects.values_list(*columns)) == whole


def test_one_more_answer_is_weighed_by_what_was_learned_until_there_are_a_tenth_more() -> None:
    project, pairs = crowd(30)
    choose_method(project, "mace")
    resolve_labels(project)
    kept = CrowdFit.objects.get(project=project)
    assert (kept.method, kept.votes, set(kept.parameters["says"])) == (
        "mace",
        150,
        {str(pk) for pk in Rater.objects.values_list("pk", flat=True)},
    )
    make_preference(pairs[0], "late", "a")
    resolve_pair(str(pairs[0].pk))
    kept.refresh_from_db()
    assert (kept.votes, Label.objects.get(pair=pairs[0]).n_votes) == (150, 6)
    assert not has_outgrown(project)
    for pair in pairs[1:16]:
        make_preference(pair, "late", "a")
    assert has_outgrown(project)
    resolve_pair(str(pairs[1].pk))
    kept.refresh_from_db()
    assert kept.votes == 166
    assert Label.objects.get(pair=pairs[15]).n_votes == 6


def test_an_answer_on_one_pair_speaks_for_the_others_of_its_prompt() -> None:
    project = make_project(with_people=False, aggregation="noisy_bradley_terry")
    prompt = make_prompt(project)
    sides = (("one", "two"), ("two", "three"), ("one", "three"))
    pairs = [make_pair(project, prompt=prompt, response_a=a, response_b=b) for a, b in sides]
    for pair, people in zip(pairs, ("wxyz", "wxyz", "w"), strict=True):
        for person in people:
            make_preference(pair, person, "a")
    resolve_labels(project, [pairs[2].pk])
    among = Label.objects.get(pair=pairs[2])
    assert (among.choice, among.n_votes, among.agreement) == ("a", 1, 1.0)
    alone = make_pair(project)
    make_preference(alone, "w", "a")
    resolve_labels(project, [alone.pk])
    assert (among.p_correct or 0) > (Label.objects.get(pair=alone).p_correct or 0) + 0.1


def test_a_method_that_does_not_exist_is_refused_by_name_and_by_the_database() -> None:
    project = make_project(with_people=False)
    with pytest.raises(AnnotationError, match="'glad' is no way to make one answer"):
        choose_method(project, "glad")
    with pytest.raises(IntegrityError), transaction.atomic():
        Project.objects.update(aggregation="glad")


def test_a_method_learned_for_nobody_asks_again_when_somebody_answers() -> None:
    project = make_project(with_people=False, aggregation="one_coin")
    assert resolve_labels(project) == 0
    assert learned_of(project).parameters == {}
    pair = make_pair(project)
    make_preference(pair, "x", "a")
    resolve_pair(str(pair.pk))
    assert Label.objects.get(pair=pair).choice == "a"
    assert CrowdFit.objects.get(project=project).votes == 1


def test_competence_of_a_project_goes_by_rater() -> None:
    project, _ = crowd()
    found = competence_of(project)
    by_name = {Rater.objects.get(pk=pk).name: one for pk, one in found.items()}
    assert set(by_name) == {"x", "y", "z", "odd", "odder"}
    assert by_name["x"].n == 30
    assert by_name["odd"].high < 0.5 < by_name["x"].low


def test_the_command_sets_and_prints_the_method() -> None:
    project = make_project(with_people=False)
    out = StringIO()
    call_command("choose_aggregation", project.slug, "mace", "--json", stdout=out)
    assert json.loads(out.getvalue().splitlines()[-1]) == {"project": "helpfulness", "method": "mace", "changed": True}
    project.refresh_from_db()
    assert project.aggregation == "mace"
    with pytest.raises(CommandError, match="invalid choice: 'glad'"):
        call_command("choose_aggregation", project.slug, "glad")
