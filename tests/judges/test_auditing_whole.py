"""The whole audit through the database: what it reads, what it leaves out, and that a page can afford it."""

import json
from typing import Any

import pytest
from django.test.utils import CaptureQueriesContext

from annotation.models import Criterion, Pair, Preference, Project
from judges.auditing import Audit, judge_audit, judge_card, judge_cards
from judges.models import JudgeKind, JudgeVersion, ResponseFlag, Verdict, VerdictState
from tests.builders import make_pair, make_person, make_preference, make_project, make_prompt
from tests.judged import answer_pairs, judge_pairs, make_judge

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]


def judged(n: int = 60, *, name: str = "gpt") -> tuple[Project, list[Pair], JudgeVersion]:
    """Return a project of n pairs: one judge says a on three of four, two people on all of them."""
    project = make_project()
    pairs = [make_pair(project) for _ in range(n)]
    version = make_judge(project, name)
    judge_pairs(version, pairs, ["b" if number % 4 == 0 else "a" for number in range(n)])
    answer_pairs(pairs, ["a"] * n, people=2)
    return project, pairs, version


def all_figures(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        if {"value", "n", "low", "high", "detectable", "too_few"} == set(value):
            return [value]
        return [one for part in value.values() for one in all_figures(part)]
    return [one for part in value for one in all_figures(part)] if isinstance(value, list) else []


def test_audit_is_json_and_every_number_has_its_n_and_what_it_could_have_shown() -> None:
    _, _, version = judged()
    values = judge_audit(version).as_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert list(values) == list(Audit._fields)
    figures = all_figures(values)
    assert len(figures) > 60
    assert all((one["value"] is None) == bool(one["too_few"]) for one in figures)
    assert all((one["detectable"] is None) == (one["low"] is None) for one in figures)


def test_empty_judge_has_an_audit_that_prints_no_number() -> None:
    version = make_judge(make_project(), "new")
    values = judge_audit(version).as_dict()
    assert json.dumps(values, allow_nan=False)
    assert all(one["value"] is None for one in all_figures(values))
    assert values["card"]["trusted"] is False


def test_refusals_and_unreadable_answers_are_told_apart_from_failed_calls() -> None:
    _, _, version = judged(40)
    failed = list(Verdict.objects.filter(version=version).order_by("id")[:10])
    told = [
        ({"unanswered": "refusal"}, "The judge refused: no."),
        ({}, "The judge refused: as it was stored before."),
        ({"unanswered": "unreadable"}, "What came was no JSON."),
        ({}, "The judge's answer is empty."),
        ({}, "The judge's choice is none of those asked for."),
        *[({}, "The server answered 500.")] * 5,
    ]
    for verdict, (meta, error) in zip(failed, told, strict=True):
        Verdict.objects.filter(pk=verdict.pk).update(
            state=VerdictState.FAILED, choice="", error=error, meta=meta, prob_a=None
        )
    card = judge_card(version)
    counts = [round((figure.value or 0.0) * figure.n) for figure in (card.failed, card.refused, card.unreadable)]
    assert (counts, card.failed.n) == ([10, 2, 3], 80)


def test_second_passes_and_worked_examples_are_no_answers() -> None:
    _, pairs, version = judged(60)
    before = judge_card(version)
    Verdict.objects.create(version=version, pair=pairs[0], order="why", state=VerdictState.DONE, choice="a")
    assert judge_card(version) == before
    # The pairs the judge was shown with people's answers are those it gets wrong.
    version.options = {"examples": [{"pair_id": str(pair.pk)} for pair in pairs[::4]]}
    version.save()
    card = judge_card(version)
    assert (before.preference_two_way.value, before.preference_two_way.n) == (0.75, 60)
    assert (card.preference_two_way.value, card.preference_two_way.n) == (1.0, 45)


def test_pairs_with_a_response_that_speaks_to_the_judge_are_counted() -> None:
    _, pairs, version = judged(20)
    ResponseFlag.objects.create(response=pairs[3].response_a, kind="override", detector="1")
    ResponseFlag.objects.create(response=pairs[3].response_b, kind="request", detector="1")
    ResponseFlag.objects.create(response=pairs[5].response_b, kind="request", detector="1")
    assert judge_card(version).flagged_pairs == 2


def test_label_mass_is_the_median_of_what_the_labels_held() -> None:
    _, _, version = judged(20)
    assert judge_card(version).label_mass is None
    Verdict.objects.filter(version=version, order="ab").update(label_mass=0.9)
    Verdict.objects.filter(version=version, order="ba").update(label_mass=0.7)
    assert judge_card(version).label_mass == pytest.approx(0.8)


def test_agreement_with_each_other_judge_and_repeats_of_the_same_prompt() -> None:
    project, pairs, version = judged(40)
    JudgeVersion.objects.filter(pk=version.pk).update(model="m-1", sampling={"seed": 1})
    version.judge.kind = JudgeKind.OPENAI
    version.judge.save()
    again = make_judge(project, "again", kind=JudgeKind.OPENAI)
    JudgeVersion.objects.filter(pk=again.pk).update(model="m-1", sampling={"seed": 2})
    judge_pairs(again, pairs, ["a"] * 40)
    other = make_judge(project, "other", kind=JudgeKind.OPENAI)
    JudgeVersion.objects.filter(pk=other.pk).update(model="m-2")
    judge_pairs(other, pairs, ["b"] * 40)
    audit = judge_audit(JudgeVersion.objects.get(pk=version.pk))
    assert {one.judge: one.three_way.value for one in audit.others} == {"again": 0.75, "other": 0.25}
    assert (audit.repeat_stability.value, audit.repeat_stability.n) == (0.75, 80)
    assert judge_audit(JudgeVersion.objects.get(pk=other.pk)).repeat_stability.value is None


def test_scores_of_one_version_are_held_against_comparisons_of_another() -> None:
    project, pairs, version = judged(40)
    rating = make_judge(project, "gpt", protocol="rating")
    Verdict.objects.bulk_create(
        Verdict(
            version=rating,
            pair=pair,
            order=side,
            state=VerdictState.DONE,
            **{f"score_{side}": 7.0},
            # The same mode; the whole distribution says a.
            distribution={"7": 0.6, "8": 0.4} if side == "a" else {"6": 0.4, "7": 0.6},
        )
        for pair in pairs
        for side in ("a", "b")
    )
    found = {(one.scores, one.comparison): one for one in judge_audit(version).conflicts}
    # The stated scores tie everywhere: every comparison conflicts. The expectation says a, as three of four do.
    assert found["stated", "orders"].conflict.value == 1.0
    assert found["mode", "orders"].conflict.value == 1.0
    assert found["expectation", "likelihood"].conflict.value == 0.25
    assert {one.against for one in found.values()} == {"gpt \N{MIDDLE DOT} rating (version 2)"}
    mirrored = {(one.scores, one.comparison): one for one in judge_audit(rating).conflicts}
    assert mirrored["expectation", "mean"].conflict == found["expectation", "mean"].conflict
    assert mirrored["expectation", "mean"].against == "gpt \N{MIDDLE DOT} pairwise (version 1)"


def test_criteria_are_measured_one_by_one() -> None:
    project, pairs, version = judged(20)
    tone = Criterion.objects.create(project=project, name="tone", position=5)
    people = [make_person(project, name) for name in ("ben", "cyd")]
    for number, pair in enumerate(pairs):
        Preference.objects.create(pair=pair, rater=version.rater, criterion=tone, choice="a")
        for person in people:
            make_preference(pair, person, "b" if number < 5 else "tie" if number < 8 else "a", criterion=tone)
    (found,) = judge_audit(version).criteria
    assert (found.criterion, found.three_way.value, found.three_way.n) == ("tone", 0.6, 20)
    assert found.two_way.value == pytest.approx(12 / 17)
    assert found.two_way.n == 17


def test_learned_baseline_is_fitted_out_of_fold_where_there_is_no_such_judge() -> None:
    project = make_project()
    pairs = [
        make_pair(project, prompt=make_prompt(project), response_a="A much longer answer. " * 3, response_b=f"No {n}.")
        if n % 2
        else make_pair(project, response_a=f"No {n}.", response_b="A much longer answer. " * 3)
        for n in range(60)
    ]
    longer = ["a" if n % 2 else "b" for n in range(60)]
    version = make_judge(project, "gpt")
    judge_pairs(version, pairs, ["a"] * 60)
    answer_pairs(pairs, longer)
    audit = judge_audit(version)
    assert (audit.learned_baseline.value, audit.learned_baseline.n) == (1.0, 60)
    assert audit.beats_learned_baseline.value == pytest.approx(-0.5)


def test_calibration_shows_before_and_after_the_map() -> None:
    _, _, version = judged(80)
    assert judge_audit(version).calibration.error_after.too_few == "no map was fitted"
    # Always sure and right on three of four: a temperature makes that three of four.
    Preference.objects.filter(rater=version.rater, choice="a").update(prob_a=0.99)
    Preference.objects.filter(rater=version.rater, choice="b").update(prob_a=0.01)
    version.calibration = {
        "method": "isotonic",
        "parameters": {"stated": [0.5, 0.99], "seen": [0.5, 0.75]},
        "ece_after": 0.01,
    }
    version.save()
    found = judge_audit(version).calibration
    assert found.error_before.value == pytest.approx(0.24)
    assert found.error_after.value == pytest.approx(0.0)
    assert found.held_out == {"ece_after": 0.01}
    assert [round(one.confidence, 2) for one in found.curve_after] == [0.75]
    assert found.brier_after.value < found.brier_before.value  # type: ignore[operator]


def test_cards_of_many_versions_take_no_more_queries_than_of_one(django_assert_max_num_queries: Any) -> None:
    from django.db import connection

    project, pairs, version = judged(20)
    with CaptureQueriesContext(connection) as alone:
        judge_cards(project)
    for number in range(4):
        judge_pairs(make_judge(project, f"judge {number}"), pairs, ["a"] * 20)
    with CaptureQueriesContext(connection) as many:
        judge_cards(project)
    assert len(many) == len(alone)
    with django_assert_max_num_queries(30):
        judge_audit(version)
