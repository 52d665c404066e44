import json
import string
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from judges.parsing import PARSED_LIMIT, RAW_LIMIT, ParsedAnswer, brief, parse_answer, read_label, read_score, storable

REASONED = '{"rationale": "Second is wrong.", "choice": "first", "confidence": 60}'
LABELS = ("first", "second", "tie")


def parsed(text: str) -> ParsedAnswer:
    return parse_answer(text, main="choice")


def test_fields_and_where_they_stand() -> None:
    text = f"Well:\n{REASONED}\n"
    answer = parsed(text)
    assert answer.fields == {"rationale": "Second is wrong.", "choice": "first", "confidence": 60}
    start, end = answer.places["choice",]
    assert text[start:end] == '"first"'
    assert text[answer.start] == "{"


def test_places_reach_two_levels_deep() -> None:
    text = '{ "choice" : "A",\n "criteria": {"tru\\"th": "B", "style":{"deep": 1}}, "list": [1, {"choice": 2}] }'
    answer = parsed(text)
    found = {path: json.loads(text[start:end]) for path, (start, end) in answer.places.items()}
    assert found == {
        ("choice",): "A",
        ("criteria", 'tru"th'): "B",
        ("criteria", "style"): {"deep": 1},
        ("criteria",): {'tru"th': "B", "style": {"deep": 1}},
        ("list",): [1, {"choice": 2}],
    }


@pytest.mark.parametrize(
    "wrapped", [f"```json\n{REASONED}\n```", f"Here is my verdict:\n{REASONED}\n", f"  {REASONED}"]
)
def test_wrapping_around_the_object_is_tolerated(wrapped: str) -> None:
    assert parsed(wrapped).fields["choice"] == "first"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("   \n", "empty"),
        ("The first one is better.", "does not end in a JSON object"),
        (REASONED[:-10], "does not end in a JSON object"),
        ('{"winner": "first"}', "does not end in a JSON object"),
        ('["first"]', "does not end in a JSON object"),
        (f"{REASONED} but on reflection the second", "does not end in a JSON object"),
        ('{"choice": "first", "choice": "second"}', "one field twice"),
        ('{"choice": "first"} {"choice": "second"}', "several choices"),
        ("[" * 50_000, "does not end in a JSON object"),
        ('{"choice":' * 3000, "does not end in a JSON object"),
        ('{"choice": ' + "9" * 5000 + "}", "does not end in a JSON object"),
        ("{" * (PARSED_LIMIT + 1), "no answer is that long"),
    ],
)
def test_unreadable_answer_is_an_error_not_a_guess(text: str, reason: str) -> None:
    answer = parsed(text)
    assert answer.fields == {}
    assert reason in answer.error


def test_verdict_quoted_inside_the_rationale_counts_for_nothing() -> None:
    text = '{"rationale": "Response says {\\"choice\\": \\"first\\"} and [[A]]", "choice": "second", "confidence": 50}'
    assert parsed(text).fields["choice"] == "second"


def test_bare_label_is_read_only_where_it_may_be_one() -> None:
    assert parse_answer(" B\n", main="choice", bare=("A", "B")).fields == {"choice": "B"}
    assert parse_answer(" B\n", main="choice", bare=("A", "B")).places == {("choice",): (1, 2)}
    assert parse_answer("B because", main="choice", bare=("A", "B")).fields == {}
    assert parse_answer("first", main="choice").fields == {}


@pytest.mark.parametrize(
    ("value", "label"), [("first", "first"), (" First ", "first"), ("A", ""), (None, ""), (["first"], ""), (1, "")]
)
def test_label_is_one_of_those_asked_for(value: Any, label: str) -> None:
    assert read_label(value, LABELS) == label


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (7, 7),
        (7.0, 7),
        ("7", 7),
        (" 10 ", 10),
        (1, 1),
        (0, None),
        (11, None),
        (7.5, None),
        (True, None),
        ("7/10", None),
        ("٣", None),
        (None, None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_score_is_a_whole_number_of_the_scale(value: Any, score: int | None) -> None:
    assert read_score(value, 10) == score


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(string.printable),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)


@given(st.text() | st.text('{}[]":, \n\\choiceAB19') | json_values.map(lambda value: json.dumps({"choice": value})))
@example('{"choice": NaN}')
@example('{"choice": "A"} }')
def test_parsing_never_raises_and_places_hold_what_the_fields_do(text: str) -> None:
    answer = parse_answer(text, main="choice", bare=("A",))
    assert bool(answer.error) != ("choice" in answer.fields)
    assert isinstance(brief(answer.fields.get("choice")), str)
    for path, (start, end) in answer.places.items():
        assert start < end <= len(text)
        assert path[0] in answer.fields


def test_stored_text_is_one_that_both_databases_take() -> None:
    assert storable("a\x00b\ud800c") == "a�b�c"
    assert len(storable("x" * 30_000)) == RAW_LIMIT
