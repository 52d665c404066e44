"""The length rule and the learned baseline: symmetric to the last bit, and blind to the labels they are measured by."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.importing import import_pairs
from annotation.models import Project
from judges.asking import ask
from judges.errors import JudgeError, TooFewLabels
from judges.models import Judge, JudgeKind, JudgeVersion
from judges.questions import Question
from judges.rules import (
    FEATURES,
    FOLDS,
    LabelledPair,
    feature_differences,
    features_of,
    fit_learned,
    fit_pairs,
    fold_of,
    learned_prob_a,
    length_prob_a,
)
from tests.builders import make_pair, make_preference, make_project, make_prompt
from tests.services import SHARED_DATA

TEXTS = st.text(alphabet=st.sampled_from("ab cd.\n#-*`1é中"), max_size=60) | st.text(max_size=30)


def some_pairs(n: int = 60, *, groups: int = 12, seed: int = 0) -> list[LabelledPair]:
    """Return pairs where people mostly prefer the longer response."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        differences = tuple(float(one) for one in rng.normal(size=len(FEATURES)))
        wins = differences[1] + rng.normal(scale=0.5) > 0
        found.append(LabelledPair(f"p{number}", f"g{number % groups}", float(wins), differences))
    return found


FITTED = fit_pairs(some_pairs(), seed=3)


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_length_rule_is_symmetric(first: Any, second: Any) -> None:
    assert length_prob_a(first, second) + length_prob_a(second, first) == 1.0


def test_longer_response_wins_and_equal_ones_tie() -> None:
    assert length_prob_a("longer text", "text") == 1.0
    assert length_prob_a("", "text") == 0.0
    assert length_prob_a("same", "size") == 0.5
    assert length_prob_a("  text\n\n", "text") == 0.5


@settings(max_examples=200, deadline=None)
@given(TEXTS, TEXTS, TEXTS, st.sampled_from(["", "g1", "elsewhere"]))
def test_swapping_the_responses_gives_exactly_the_other_probability(
    prompt: Any, first: Any, second: Any, group: Any
) -> None:
    forward = learned_prob_a(FITTED, prompt, first, second, group)
    backward = learned_prob_a(FITTED, prompt, second, first, group)
    assert forward == 1.0 - backward
    assert 0.0 <= forward <= 1.0


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_same_response_twice_is_a_coin(prompt: Any, response: Any) -> None:
    assert learned_prob_a(FITTED, prompt, response, response) == 0.5


def test_fitted_survives_json_unchanged() -> None:
    again = json.loads(json.dumps(FITTED))
    assert again == FITTED
    args = ("How?", "- one\n- two", "No.")
    assert learned_prob_a(again, *args) == learned_prob_a(FITTED, *args)


def test_same_labels_in_any_order_give_the_same_fit() -> None:
    pairs = some_pairs()
    assert fit_pairs(list(reversed(pairs)), seed=3) == fit_pairs(pairs, seed=3)


def test_another_label_changes_the_recorded_hash() -> None:
    pairs = some_pairs()
    changed = [pairs[0]._replace(target=1.0 - pairs[0].target), *pairs[1:]]
    assert fit_pairs(changed, seed=3)["labels_sha256"] != FITTED["labels_sha256"]


def test_fit_learns_what_people_prefer() -> None:
    assert FITTED["cv_accuracy"] > 0.7
    assert (FITTED["n"], FITTED["n_ties"], FITTED["groups"], FITTED["cv_n"]) == (60, 0, 12, 60)
    assert FITTED["coef"][FEATURES.index("log_words")] > 0.1


def test_ties_pull_towards_one_half_and_are_counted() -> None:
    pairs = some_pairs()
    tied = [pair._replace(target=0.5) for pair in pairs]
    fitted = fit_pairs(tied, seed=3)
    assert (fitted["n_ties"], fitted["cv_accuracy"]) == (60, None)
    assert fitted["coef"] == pytest.approx([0.0] * len(FEATURES), abs=1e-6)


def test_pair_is_judged_by_the_fold_that_has_not_seen_its_label() -> None:
    pairs = some_pairs()
    wrong = pairs[1]._replace(target=1.0 - pairs[1].target)
    clean, dirty = fit_pairs(pairs, seed=3), fit_pairs([pairs[0], wrong, *pairs[2:]], seed=3)
    fold = fold_of(wrong.group, 3)
    assert dirty["fold_coef"][fold] == clean["fold_coef"][fold]
    assert all(dirty["fold_coef"][other] != clean["fold_coef"][other] for other in range(FOLDS) if other != fold)


def test_groups_that_fall_into_one_fold_leave_their_judge_at_one_half() -> None:
    names = [f"g{number}" for number in range(200) if fold_of(f"g{number}", 3) == 0][:6]
    pairs = [pair._replace(group=names[index % 6]) for index, pair in enumerate(some_pairs())]
    fitted = fit_pairs(pairs, seed=3)
    assert learned_prob_a(fitted, "How?", "Long answer here.", "No.", names[0]) == 0.5
    assert learned_prob_a(fitted, "How?", "Long answer here.", "No.", "elsewhere") != 0.5


@pytest.mark.django_db
def test_asking_a_learned_judge_names_the_group() -> None:
    judge = Judge.objects.create(project=make_project(), name="learned", kind=JudgeKind.LEARNED)
    version = JudgeVersion(judge=judge, fitted=FITTED)
    question = Question(None, [{"role": "user", "content": "How?"}], "- one\n- two\n\nLong.", "No.", "", group="g1")
    (answer,) = ask(version, [question], concurrency=1)
    held_out = learned_prob_a(FITTED, "How?", question.first, question.second, "g1")
    assert answer.prob_a == held_out
    assert held_out != learned_prob_a(FITTED, "How?", question.first, question.second)


def test_too_few_pairs_or_groups_are_refused_with_the_numbers() -> None:
    with pytest.raises(TooFewLabels, match=r"30 pairs with people's answer.*too few labels \(29 of 30\)"):
        fit_pairs(some_pairs(29))
    with pytest.raises(TooFewLabels, match=r"5 prompt groups.*\(4 of 5\)"):
        fit_pairs(some_pairs(60, groups=4))
    assert issubclass(TooFewLabels, JudgeError)


@pytest.mark.parametrize(
    ("feature", "text"),
    [
        ("list_items", "- one"),
        ("list_items", "2. two"),
        ("headings", "## Steps"),
        ("bold", "Use **care**."),
        ("code_blocks", "```\nx\n```"),
        ("paragraphs", "One.\n\nTwo."),
        ("numbers", "In 1987."),
        ("refuses", "I\N{RIGHT SINGLE QUOTATION MARK}m sorry, but no."),
        ("refuses", "I cannot help with that."),
        ("empty", " \n"),
        ("prompt_overlap", "About cats."),
    ],
)
def test_feature_sees_what_it_is_named_for(feature: Any, text: Any) -> None:
    at = FEATURES.index(feature)
    prompt_words = frozenset({"cats", "dogs"})
    assert features_of(prompt_words, text)[at] > 0
    assert features_of(prompt_words, "Plain words")[at] == 0


def test_apology_inside_a_story_is_no_refusal() -> None:
    story = "She closed the door. " * 20 + '"I am sorry," he said.'
    assert features_of(frozenset(), story)[FEATURES.index("refuses")] == 0


@pytest.mark.django_db
def test_fit_reads_current_consensus_and_leaves_contested_pairs_out() -> None:
    project = make_project()
    for number in range(34):
        prompt = make_prompt(project, f"Question {number}?", group=f"g{number % 7}")
        pair = make_pair(project, prompt=prompt, response_a="Long answer here.", response_b="Short.")
        make_preference(pair, "fay", "a")
        if number == 0:
            make_preference(pair, "gus", "b")
        if number == 1:
            make_preference(pair, "gus", "tie")
            make_preference(pair, "hal", "tie")
    fitted = fit_learned(project)
    assert (fitted["n"], fitted["n_ties"], fitted["groups"]) == (33, 1, 7)
    assert learned_prob_a(fitted, "Question 3?", "Long answer here.", "Short.", "g3") > 0.5


@pytest.mark.django_db
def test_project_without_labels_is_refused() -> None:
    with pytest.raises(TooFewLabels, match=r"\(0 of 30\)"):
        fit_learned(make_project())


def fitted_on(file: str) -> tuple[Project, dict[str, Any]]:
    project = make_project()
    import_pairs(project, SHARED_DATA / f"{file}.jsonl.gz")
    return project, fit_learned(project)


@pytest.mark.django_db
@pytest.mark.shared_data
def test_learned_baseline_beats_a_coin_on_real_people() -> None:
    project, fitted = fitted_on("pandalm_dev")
    assert fitted["n"] > 700
    assert fitted["cv_accuracy"] > 0.65
    pair = project.pairs.select_related("response_a", "response_b").order_by("external_id")[0]
    differences = feature_differences("", pair.response_a.text, pair.response_b.text)
    assert len(differences) == len(fitted["coef"]) == len(FEATURES)
