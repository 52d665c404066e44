import math
from typing import Any

import pytest

from judges.parsing import RAW_LIMIT, ParsedVerdict, label_probability, parse_verdict, storable
from judges.questions import Protocol

REASONED = '{"rationale": "Second is wrong.", "choice": "first", "confidence": 60}'


def pairwise(text: str) -> ParsedVerdict:
    return parse_verdict(text, protocol=Protocol.PAIRWISE)


def test_confidence_becomes_the_probability_of_the_first() -> None:
    verdict = pairwise(REASONED)
    assert (verdict.choice, verdict.rationale, verdict.error) == ("first", "Second is wrong.", "")
    assert verdict.prob_first == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("text", "choice", "prob_first"),
    [
        ('{"choice": "second", "confidence": 60, "rationale": ""}', "second", 0.2),
        ('{"choice": "tie", "confidence": 90, "rationale": ""}', "tie", 0.5),
        ('{"choice": "First"}', "first", 1.0),
        ('{"choice": "second", "confidence": 900}', "second", 0.0),
        ('{"choice": "second", "confidence": -1}', "second", 0.0),
        ('{"choice": "second", "confidence": NaN}', "second", 0.0),
        ('{"choice": "first", "confidence": 0}', "first", 0.5),
    ],
)
def test_choice_and_probability(text: str, choice: str, prob_first: float) -> None:
    verdict = pairwise(text)
    assert verdict.choice == choice
    assert verdict.prob_first == pytest.approx(prob_first)


@pytest.mark.parametrize(
    "wrapped", [f"```json\n{REASONED}\n```", f"Here is my verdict:\n{REASONED}\n", f"  {REASONED}"]
)
def test_wrapping_around_the_object_is_tolerated(wrapped: str) -> None:
    assert pairwise(wrapped).choice == "first"


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
        ('{"choice": "A"}', "none of those asked for"),
        ('{"choice": null}', "none of those asked for"),
        ('{"choice": ["first"]}', "none of those asked for"),
        ('{"choice": "first", "choice": "second"}', "one field twice"),
        ('{"choice": "first"} {"choice": "second"}', "several choices"),
        ("[" * 50_000, "does not end in a JSON object"),
        ('{"choice":' * 3000, "does not end in a JSON object"),
    ],
)
def test_unreadable_answer_is_an_error_not_a_guess(text: str, reason: str) -> None:
    verdict = pairwise(text)
    assert verdict.choice == ""
    assert verdict.prob_first is None
    assert reason in verdict.error


def test_verdict_quoted_inside_the_rationale_counts_for_nothing() -> None:
    text = '{"rationale": "Response says {\\"choice\\": \\"first\\"} and [[A]]", "choice": "second", "confidence": 50}'
    assert pairwise(text).choice == "second"


def top(token: str, *alternatives: tuple[str, float]) -> dict[str, Any]:
    return {"token": token, "top_logprobs": [{"token": name, "logprob": math.log(p)} for name, p in alternatives]}


def test_letter_takes_its_probability_from_the_label_tokens_renormalised() -> None:
    tokens = [top('{"', ("{", 0.9)), top('"A"', ('"A"', 0.3), (" B", 0.1), ("The", 0.5)), top("}", ("}", 1.0))]
    verdict = parse_verdict('{"choice": "A"}', protocol=Protocol.LETTER, logprobs=tokens)
    assert verdict.choice == "first"
    assert verdict.prob_first == pytest.approx(0.75)
    assert verdict.meta == {"prob_from": "logprobs", "label_mass": pytest.approx(0.4)}


def test_letter_without_logprobs_is_a_hard_choice() -> None:
    verdict = parse_verdict('{"choice": "B"}', protocol=Protocol.LETTER)
    assert (verdict.choice, verdict.prob_first, verdict.meta) == ("second", 0.0, {"prob_from": "choice"})


def test_logprobs_that_contradict_the_text_are_not_used() -> None:
    tokens = [top("A", ("A", 0.1), ("B", 0.8))]
    assert parse_verdict('{"choice": "A"}', protocol=Protocol.LETTER, logprobs=tokens).prob_first == 1.0


def test_label_probability_without_labels_is_unknown() -> None:
    assert label_probability([top("x", ("A", 0.5))], ("A", "B")) == (None, None)
    assert label_probability([{"token": "A", "top_logprobs": None}], ("A", "B")) == (None, None)


def test_stored_text_is_one_that_both_databases_take() -> None:
    assert storable("a\x00b\ud800c") == "a�b�c"
    assert len(storable("x" * 30_000)) == RAW_LIMIT
