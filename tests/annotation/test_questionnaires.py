"""What a project's screen may ask: checked on the way in, with the setting named; and the questions that come of it."""

from typing import Any

import pytest

from annotation.errors import QuestionnaireInvalid
from annotation.models import Criterion, Template
from annotation.questionnaires import KEYS, Questionnaire, read_questionnaire
from annotation.questions import Asked, Kind

OVERALL = Criterion(name="overall", position=0)
TONE = Criterion(name="tone", description="Is it friendly?", position=1)
TRUTH = Criterion(name="truth", position=2)


def test_nothing_stored_is_the_seven_point_choice() -> None:
    assert read_questionnaire("pairwise", {}) == Questionnaire()


@pytest.mark.parametrize("template", Template.values)
def test_every_template_has_a_questionnaire_of_its_own(template: str) -> None:
    assert read_questionnaire(template, {}).template == template


@pytest.mark.parametrize(
    ("settings", "setting", "says"),
    [
        ({"colour": "red"}, "colour", "is not a setting"),
        ({"points": 4}, "points", "is 4; it is one of: 2, 3, 5, 7"),
        ({"points": "7"}, "points", "a whole number"),
        ({"points": True}, "points", "a whole number"),
        ({"both_bad": 1}, "both_bad", "true or false"),
        ({"rating_points": 11}, "rating_points", "is 11"),
        ({"reasons": "clear"}, "reasons", "a list of texts"),
        ({"reasons": ["clear", "Clear"]}, "reasons", "hold one text twice"),
        ({"reasons": ["x" * 61]}, "reasons", "61 characters"),
        ({"reasons": [str(number) for number in range(17)]}, "reasons", "are 17"),
        ({"reasons_required": True}, "reasons_required", "no reasons to choose from"),
        ({"spans": True, "rationale": False}, "spans", "switched off"),
        ({"repeat_percent": 51}, "repeat_percent", "0 to 50"),
        ({"repeat_percent": float("nan")}, "repeat_percent", "takes a number"),
        ({"leases_ahead": 6}, "leases_ahead", "is 6"),
        ({"response_format": "html"}, "response_format", "one of: markdown, plain, code"),
        ({"words": {"colour": "red"}}, "words", "name 'colour'"),
        ({"words": {"tie": "x" * 301}}, "words", "more than 300"),
        ({"keys": {"skip": "nn"}}, "keys", "one character"),
        ({"keys": {"jump": "j"}}, "keys", "name the act 'jump'"),
        ({"keys": {"skip": "C"}}, "keys", "to both 'unsure' and 'skip'"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings: dict[str, Any], setting: str, says: str) -> None:
    with pytest.raises(QuestionnaireInvalid, match=says) as raised:
        read_questionnaire("pairwise", settings)
    assert raised.value.setting == setting


@pytest.mark.parametrize("setting", ["by_criterion", "suggestion"])
def test_an_order_of_several_takes_nothing_that_goes_with_two(setting: str) -> None:
    with pytest.raises(QuestionnaireInvalid, match="not with ranking"):
        read_questionnaire("ranking", {setting: True if setting == "by_criterion" else "small v1"})


def test_only_what_differs_from_the_defaults_is_stored() -> None:
    asked = read_questionnaire("pairwise", {"points": 7, "reasons": ["clear"], "keys": {"skip": "z"}})
    assert asked.settings() == {"reasons": ["clear"], "keys": {"skip": "z"}}
    assert read_questionnaire("pairwise", asked.settings()) == asked


def test_no_two_acts_share_a_key_by_default() -> None:
    assert len(set(KEYS.values())) == len(KEYS)


@pytest.mark.parametrize(
    ("points", "values"),
    [
        (2, ["first2", "second2"]),
        (3, ["first2", "tie", "second2"]),
        (5, ["first2", "first1", "tie", "second1", "second2"]),
        (7, ["first3", "first2", "first1", "tie", "second1", "second2", "second3"]),
    ],
)
def test_a_choice_has_as_many_steps_as_asked(points: int, values: list[str]) -> None:
    (question,) = Asked(read_questionnaire("pairwise", {"points": points})).questions()
    assert [option.value for option in question.options] == values
    assert [option.key for option in question.options] == [str(step) for step in range(1, points + 1)]
    assert [option.value for option in question.outside] == ["both_bad", "unsure"]


def test_what_is_outside_the_scale_can_be_left_out() -> None:
    (question,) = Asked(read_questionnaire("pairwise", {"both_bad": False, "unsure": False})).questions()
    assert question.outside == ()


def test_criteria_have_rows_before_the_whole() -> None:
    asked = Asked(read_questionnaire("pairwise", {"by_criterion": True}), (OVERALL, TONE, TRUTH))
    assert [(row.name, str(row.legend), row.hint) for row in asked.questions()] == [
        ("choice-0", "tone", "Is it friendly?"),
        ("choice-1", "truth", ""),
        ("answer", "Which response is better?", ""),
    ]


def test_ratings_come_response_by_response_and_the_whole_last() -> None:
    asked = Asked(read_questionnaire("ratings", {"by_criterion": True, "rating_points": 3}), (OVERALL, TONE))
    assert [(row.name, row.side, str(row.legend)) for row in asked.questions()] == [
        ("rating-A-0", "A", "A: tone"),
        ("rating-A-1", "A", "A: all in all"),
        ("rating-B-0", "B", "B: tone"),
        ("rating-B-1", "B", "B: all in all"),
    ]
    assert [option.value for option in asked.questions()[0].options] == ["1", "2", "3"]


def test_both_asks_the_ratings_first() -> None:
    asked = Asked(read_questionnaire("pairwise_ratings", {}), (OVERALL,))
    assert [row.kind for row in asked.questions()] == [Kind.RATING, Kind.RATING, Kind.CHOICE]


def test_an_order_has_a_row_a_response_and_a_rank_for_each() -> None:
    rows = Asked(read_questionnaire("ranking", {}), responses=4).questions()
    assert [row.name for row in rows] == ["rank-A", "rank-B", "rank-C", "rank-D"]
    assert [option.value for option in rows[0].options] == ["1", "2", "3", "4"]


def test_best_and_worst_name_the_responses() -> None:
    rows = Asked(read_questionnaire("best_worst", {}), responses=3).questions()
    assert {row.name: [option.value for option in row.options] for row in rows} == {
        "best": ["A", "B", "C"],
        "worst": ["A", "B", "C"],
    }


def test_own_words_and_keys_stand_on_the_controls() -> None:
    words = {"question": "Which would you send?", "first3": "A by far"}
    (question,) = Asked(read_questionnaire("pairwise", {"words": words, "keys": {"step1": "a"}})).questions()
    assert str(question.legend) == "Which would you send?"
    assert (question.options[0].key, str(question.options[0].name)) == ("a", "A by far")
