import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.parsing import parse_answer
from judges.weighing import Weighed, bare, weigh_label, weigh_score

LETTERS = ("A", "B", "C")


def token(text: str, **shares: float) -> dict[str, Any]:
    return tokens_of(text, shares)


def tokens_of(text: str, shares: Mapping[str, float]) -> dict[str, Any]:
    """Return one entry of log-probabilities: the token that was written, and the share of each that could have been."""
    listed = [{"token": one, "logprob": math.log(share)} for one, share in shares.items()]
    return {"token": text, "logprob": math.log(shares.get(text, 1.0)), "top_logprobs": listed}


def letter(text: str, tokens: Sequence[Mapping[str, Any]], path: tuple[str, ...] = ("choice",), **more: Any) -> Any:
    parsed = parse_answer(text, main=path[0], bare=LETTERS)
    value: Any = parsed.fields
    for name in path:
        value = value[name]
    return weigh_label(tokens, text, parsed, path, **{"labels": LETTERS, "said": value, "greedy": False, **more})


def score(written: str, tokens: Sequence[Mapping[str, Any]], *, scale: int, greedy: bool = False) -> Weighed | None:
    text = f'{{"score": {written}}}'
    parsed = parse_answer(text, main="score")
    said = int(written)
    return weigh_score(tokens, text, parsed, ("score",), scale=scale, said=said, greedy=greedy)


OPEN = token('{"score": ')
CLOSE = token("}")


@pytest.mark.parametrize("glued", ['"A"', " A", "▁A", "ĠA", '"A"}', "A\n", ': "A', "*A*"])
def test_label_is_found_under_what_a_tokenizer_glues_to_it(glued: str) -> None:
    assert bare(glued) == "A"


def test_label_tokens_are_renormalised_and_their_mass_is_kept() -> None:
    tokens = [token('{"choice": '), tokens_of('"A"', {'"A"': 0.3, " B": 0.1, "The": 0.5}), token("}")]
    found = letter('{"choice": "A"}', tokens)
    assert found.distribution == pytest.approx({"A": 0.75, "B": 0.25, "C": 0.0})
    assert found.mass == pytest.approx(0.4)


def test_spellings_of_one_label_add_up() -> None:
    tokens = [token('{"choice":"'), tokens_of("A", {"A": 0.4, " A": 0.2, 'A"': 0.1, "C": 0.3})]
    found = letter('{"choice":"A"}', tokens)
    assert found.distribution == pytest.approx({"A": 0.7, "B": 0.0, "C": 0.3})


def test_each_field_has_the_distribution_of_its_own_token() -> None:
    text = '{"choice": "A", "criteria": {"truth": "B", "A": "C"}}'
    tokens = [
        token('{"choice": "'),
        token("A", A=0.6, B=0.4),
        token('", "criteria": {"'),
        token("truth"),
        token('": "'),
        token("B", A=0.2, B=0.8),
        token('", "'),
        # A criterion whose name is a label is no verdict.
        token("A", A=0.9, B=0.1),
        token('": "'),
        token("C", A=0.3, C=0.7),
        token('"}}'),
    ]
    found = {path: letter(text, tokens, path) for path in (("choice",), ("criteria", "truth"), ("criteria", "A"))}
    assert found["choice",].distribution["A"] == pytest.approx(0.6)
    assert found["criteria", "truth"].distribution["B"] == pytest.approx(0.8)
    assert found["criteria", "A"].distribution["C"] == pytest.approx(0.7)


def test_tokens_of_thoughts_before_the_answer_do_not_shift_it() -> None:
    tokens = [
        token("<think>"),
        token('{"choice": "B"}', A=0.5),
        token("</think>\n"),
        token('{"choice": "'),
        token("A", A=0.9, B=0.1),
        token('"}'),
        token("<|im_end|>"),
    ]
    assert letter('{"choice": "A"}', tokens).distribution["A"] == pytest.approx(0.9)


def test_tokens_that_do_not_spell_the_text_help_only_where_one_label_is_among_them() -> None:
    odd = [token("�"), token("A", A=0.9, B=0.1), token("�")]
    assert letter('{"choice": "A"}', odd).distribution["A"] == pytest.approx(0.9)
    assert letter('{"choice": "A"}', [*odd, token("B", A=0.1, B=0.9)]) is None
    # Two fields hold a label and one token does: nobody knows whose it is.
    both = '{"choice": "A", "criteria": {"truth": "A"}}'
    assert [letter(both, odd, path) for path in (("choice",), ("criteria", "truth"))] == [None, None]


def test_tokens_that_contradict_the_text_are_not_used() -> None:
    assert letter('{"choice": "A"}', [token("B", A=0.1, B=0.8)]) is None
    drawn = [token('{"choice": "'), token("A", A=0.1, B=0.8), token('"}')]
    assert letter('{"choice": "A"}', drawn, greedy=True) is None
    # A sample may be the less likely label; its distribution is what is known.
    assert letter('{"choice": "A"}', drawn, greedy=False).distribution["B"] == pytest.approx(8 / 9)


@pytest.mark.parametrize(
    "alone",
    [
        [],
        [{"token": "A"}],
        [{"token": "A", "logprob": -0.1}],
        [{"token": "A", "logprob": -0.1, "top_logprobs": None}],
        [{"token": "A", "logprob": -0.1, "top_logprobs": [{"token": "A", "logprob": -0.1}]}],
        [{"token": "A", "logprob": True, "top_logprobs": ["A", {"token": None, "logprob": "-1"}]}],
        [{"token": "A", "logprob": 5.0, "top_logprobs": [{"token": "B", "logprob": float("nan")}]}],
    ],
)
def test_probability_of_the_written_token_alone_is_no_distribution(alone: list[dict[str, Any]]) -> None:
    assert letter("A", alone) is None


def test_whole_number_tokens_are_scores() -> None:
    tokens = [OPEN, tokens_of("8", {"8": 0.6, "7": 0.2, "10": 0.1, "1": 0.05, "12": 0.04}), CLOSE]
    found = score("8", tokens, scale=10)
    assert found
    # A 1 beside a 10 is a score of one; 12 is no score.
    assert found.distribution == pytest.approx({"1": 0.05 / 0.95, "7": 0.2 / 0.95, "8": 0.6 / 0.95, "10": 0.1 / 0.95})
    assert found.mass == pytest.approx(0.95)


def test_hundred_as_one_token() -> None:
    found = score("100", [OPEN, tokens_of("100", {"100": 0.5, "95": 0.3, " 90": 0.2}), CLOSE], scale=100)
    assert found
    assert found.distribution == pytest.approx({"90": 0.2, "95": 0.3, "100": 0.5})


def test_digits_of_a_written_ten_are_followed_to_its_end() -> None:
    tokens = [
        OPEN,
        tokens_of("1", {"1": 0.5, "9": 0.3, "8": 0.2}),
        tokens_of("0", {"0": 0.9, "}": 0.1}),
        tokens_of("}", {"}": 0.99, "0": 0.01}),
    ]
    found = score("10", tokens, scale=10)
    assert found
    assert found.distribution == pytest.approx({"1": 0.05, "8": 0.2, "9": 0.3, "10": 0.45})


def test_written_one_is_told_from_a_ten_by_what_follows_it() -> None:
    tokens = [OPEN, tokens_of("1", {"1": 0.8, "2": 0.2}), tokens_of("}", {"}": 0.75, "0": 0.25})]
    found = score("1", tokens, scale=10)
    assert found
    assert found.distribution == pytest.approx({"1": 0.6, "2": 0.2, "10": 0.2})


def test_hundred_written_digit_by_digit() -> None:
    tokens = [
        OPEN,
        tokens_of("1", {"1": 1.0 - 1e-6, "9": 1e-6}),
        tokens_of("0", {"0": 0.9, "5": 0.1}),
        tokens_of("0", {"0": 0.8, "}": 0.2}),
        CLOSE,
    ]
    found = score("100", tokens, scale=100)
    assert found
    assert found.distribution == pytest.approx({"10": 0.18, "15": 0.1, "100": 0.72}, abs=1e-5)


def test_small_share_that_could_be_several_scores_is_left_out_and_a_large_one_is_not_guessed() -> None:
    def at(share: float) -> Weighed | None:
        return score("7", [OPEN, tokens_of("7", {"7": 0.9 - share, "6": 0.1, "1": share}), CLOSE], scale=10)

    small = at(0.05)
    assert small
    assert small.distribution == pytest.approx({"6": 0.1 / 0.95, "7": 0.85 / 0.95})
    assert small.mass == pytest.approx(0.95)
    assert at(0.2) is None
    # Digit by digit on a scale of 100, every other first digit stands for eleven scores.
    digits = [OPEN, tokens_of("8", {"8": 0.6, "7": 0.4}), tokens_of("5", {"5": 0.9, "0": 0.1}), CLOSE]
    assert score("85", digits, scale=100) is None
    sure = [OPEN, tokens_of("8", {"8": 0.95, "7": 0.05}), tokens_of("5", {"5": 0.9, "0": 0.1}), CLOSE]
    found = score("85", sure, scale=100)
    assert found
    assert found.distribution == pytest.approx({"80": 0.1, "85": 0.9})


def test_number_glued_to_what_follows_is_whole_and_fractions_are_no_scores() -> None:
    found = score("1", [OPEN, tokens_of("1}", {"1}": 0.5, "2}": 0.3, "1.5": 0.1, "-1": 0.1})], scale=10)
    assert found
    assert found.distribution == pytest.approx({"1": 0.625, "2": 0.375})


def test_score_that_contradicts_its_tokens_is_not_weighed() -> None:
    tokens = [OPEN, tokens_of("8", {"8": 0.2, "7": 0.8}), CLOSE]
    assert score("8", tokens, scale=10, greedy=True) is None
    assert score("8", tokens, scale=10, greedy=False) is not None
    assert score("9", tokens, scale=10) is None
    assert score("8", [OPEN, tokens_of("8", {"8": 0.2}), CLOSE], scale=10) is None


words = st.text(max_size=4) | st.sampled_from(["A", '"A', " 1", "10", "0", "}", '{"score": ', '{"choice": "', "1}"])
entries = st.fixed_dictionaries(
    {"token": words | st.none()},
    optional={
        "logprob": st.floats() | st.none(),
        "top_logprobs": st.none()
        | st.lists(st.none() | st.fixed_dictionaries({"token": words | st.none(), "logprob": st.floats()}), max_size=4),
    },
)


@given(st.lists(entries, max_size=6), st.sampled_from(["A", "B"]), st.booleans())
def test_any_tokens_give_a_distribution_or_nothing(tokens: list[dict[str, Any]], said: str, greedy: bool) -> None:
    text = json.dumps({"choice": said})
    for found in (letter(text, tokens, greedy=greedy), score("10", tokens, scale=100, greedy=greedy)):
        if found is not None:
            assert sum(found.distribution.values()) == pytest.approx(1.0)
            assert 0.0 < found.mass <= 1.0
