from typing import Any
from uuid import UUID

import pytest

from judges.errors import JudgeError
from judges.models import JudgeVersion
from judges.options import LARGEST_SAMPLES, Options, check_options, example_pairs, option_from_text, read_options

EXAMPLE: dict[str, Any] = {
    "prompt": [],
    "first": "x",
    "second": "y",
    "choice": "tie",
    "pair_id": "00000000-0000-0000-0000-000000000001",
}


def checked(protocol: str = "letter", kind: str = "openai", **options: Any) -> Options:
    return check_options(Options(**options), kind=kind, protocol=protocol)


def test_what_is_stored_is_what_differs_and_comes_back() -> None:
    options = Options(tie=False, criteria=("truth",), examples=(EXAMPLE,))
    assert options.as_json() == {"tie": False, "criteria": ["truth"], "examples": [EXAMPLE]}
    assert read_options(options.as_json()) == options
    assert Options().as_json() == {}


def test_unknown_stored_option_is_refused_by_name() -> None:
    with pytest.raises(JudgeError, match=r"Unknown options: taste\. Known: aggregation"):
        read_options({"taste": 1})


@pytest.mark.parametrize(
    ("protocol", "rationale"), [("pairwise", "with"), ("letter", "none"), ("rating", "none"), ("decisions", "none")]
)
def test_rationale_is_what_the_protocol_does_unless_told_otherwise(protocol: str, rationale: str) -> None:
    assert checked(protocol).rationale == rationale


@pytest.mark.parametrize("rationale", ["with", "later", "none"])
def test_letter_and_rating_may_give_reasons_after_the_verdict_or_later(rationale: str) -> None:
    assert checked("letter", rationale=rationale).rationale == rationale
    assert checked("rating", rationale=rationale).rationale == rationale


def test_equal_numbers_are_one_content() -> None:
    assert checked("rating", scale=10.0, tie_band=0).as_json() == checked("rating", scale=10, tie_band=0.0).as_json()


@pytest.mark.parametrize(
    ("protocol", "options", "words"),
    [
        ("pairwise", {"rationale": "none"}, "rationale is 'none'; pairwise takes with"),
        ("decisions", {"rationale": "later"}, "rationale is 'later'; decisions takes none"),
        ("letter", {"rationale": "before"}, "rationale is 'before'; letter takes none, with or later"),
        ("letter", {"tie": 1}, "tie is 1"),
        ("letter", {"samples": 0}, f"from 1 to {LARGEST_SAMPLES}"),
        ("letter", {"samples": True}, "samples is True"),
        ("letter", {"samples": LARGEST_SAMPLES + 1}, "samples is"),
        ("letter", {"tie_band": 0.6}, "tie_band is 0.6; it takes a number from 0 to 0.5"),
        ("letter", {"tie_band": "wide"}, "tie_band"),
        ("letter", {"tie_band": float("nan")}, "tie_band"),
        ("letter", {"unsure_below": 0.4}, "unsure_below"),
        ("letter", {"aggregation": "sum"}, "aggregation is 'sum'; it takes mean or likelihood"),
        ("letter", {"scale": 5}, "scale belongs to the protocol rating"),
        ("letter", {"scoring": "mode"}, "scoring belongs to the protocol rating"),
        ("rating", {"scale": 7}, "scale is 7; it takes 5, 10 or 100"),
        ("rating", {"scale": [10]}, "scale is"),
        ("rating", {"scoring": "median"}, "scoring is 'median'"),
        ("rating", {"aggregation": "likelihood"}, "sees each response alone"),
        ("rating", {"examples": (EXAMPLE,)}, "sees each response alone"),
        ("decisions", {"samples": 5}, "samples add nothing"),
        ("letter", {"criteria": ("truth", "truth")}, "each once"),
        ("letter", {"criteria": (" ",)}, "each once"),
        ("letter", {"criteria": tuple(str(number) for number in range(21))}, "at most 20 criteria"),
        ("letter", {"examples": ({"prompt": []},)}, "An example holds prompt"),
        ("letter", {"examples": (EXAMPLE,), "tie": False}, r"choice \(first or second\)"),
        ("letter", {"examples": (EXAMPLE,) * 13}, "at most 12 examples"),
        ("letter", {"members": ("x",)}, "Only a jury or a cascade has members"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(protocol: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(JudgeError, match=words):
        checked(protocol, **options)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("tie=no", "tie", False),
        ("tie = YES", "tie", True),
        ("samples=5", "samples", 5),
        ("tie_band=0.1", "tie_band", 0.1),
        ("scoring=mode", "scoring", "mode"),
    ],
)
def test_option_on_a_command_line_has_the_type_of_its_default(text: str, name: str, value: Any) -> None:
    found = option_from_text(text)
    assert found == (name, value)
    assert type(found[1]) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tie", "Write name=value"),
        ("members=a", "no option"),
        ("taste=1", "no option"),
        ("tie=perhaps", "yes or no"),
        ("samples=five", "a whole number"),
        ("tie_band=wide", "a number"),
    ],
)
def test_wrong_option_on_a_command_line_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(JudgeError, match=words):
        option_from_text(text)


def test_pairs_shown_as_examples_are_known() -> None:
    version = JudgeVersion(options=Options(examples=(EXAMPLE,)).as_json())
    assert example_pairs(version) == {UUID(EXAMPLE["pair_id"])}
    assert example_pairs(JudgeVersion()) == frozenset()
