import json
import math
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.clients import Reply
from judges.models import JudgeVersion
from judges.questions import Answer, Question
from judges.reading import answer_of

SAMPLING = {"max_tokens": 24}
VERDICT = uuid.uuid4()


def version_of(protocol: str, sampling: Mapping[str, Any] | None = None, **options: Any) -> JudgeVersion:
    """Return a version that is in no database: reading needs none."""
    return JudgeVersion(
        protocol=protocol,
        sampling={**SAMPLING, **(sampling or {})},
        options=options,
        price_input_usd_per_million=Decimal(1),
        price_output_usd_per_million=Decimal(2),
    )


def question(order: str = "ab", **overrides: Any) -> Question:
    return Question(**{"verdict_id": VERDICT, "prompt": [], "first": "x", "second": "y", "order": order, **overrides})


def reply(text: str = "", **overrides: Any) -> Reply:
    return Reply(
        **{
            "text": text,
            "finish_reason": "stop",
            "refusal": "",
            "model": "stub",
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "logprobs": [],
            "seconds": 0.5,
            **overrides,
        }
    )


def said(**fields: Any) -> Reply:
    return reply(json.dumps(fields))


def weighed(shares: Mapping[str, float], *, field: str = "choice", written: str = "") -> Reply:
    """Return a verdict-first answer with the log-probabilities of its one token."""
    written = written or max(shares, key=lambda one: shares[one])
    value = f'"{written}"' if field == "choice" else written
    listed = [{"token": one, "logprob": math.log(share)} for one, share in shares.items()]
    before, after = value.split(written)
    tokens = [
        {"token": f'{{"{field}": {before}'},
        {"token": written, "logprob": math.log(shares[written]), "top_logprobs": listed},
        {"token": f"{after}}}"},
    ]
    return reply(f'{{"{field}": {value}}}', logprobs=tokens)


def read(version: JudgeVersion, one: Question, *replies: Reply) -> Answer:
    return answer_of(version, one, replies)


PAIRWISE, LETTER, RATING = version_of("pairwise"), version_of("letter"), version_of("rating")


@pytest.mark.parametrize(
    ("fields", "choice", "prob_a", "source"),
    [
        ({"choice": "first", "confidence": 60}, "a", 0.8, "confidence"),
        ({"choice": "second", "confidence": 60}, "b", 0.2, "confidence"),
        ({"choice": "tie", "confidence": 90}, "tie", 0.5, "choice"),
        ({"choice": "First"}, "a", 1.0, "choice"),
        ({"choice": "second", "confidence": 900}, "b", 0.0, "choice"),
        ({"choice": "second", "confidence": -1}, "b", 0.0, "choice"),
        ({"choice": "second", "confidence": True}, "b", 0.0, "choice"),
        ({"choice": "second", "confidence": float("nan")}, "b", 0.0, "choice"),
        ({"choice": "first", "confidence": 0}, "a", 0.5, "confidence"),
    ],
)
def test_stated_confidence_becomes_a_probability(
    fields: dict[str, Any], choice: str, prob_a: float, source: str
) -> None:
    answer = read(PAIRWISE, question(), said(rationale="It says why.", **fields))
    assert (answer.choice, answer.error, answer.rationale) == (choice, "", "It says why.")
    assert answer.prob_a == pytest.approx(prob_a)
    assert answer.meta["prob_from"] == source
    # What a judge says of its confidence is no distribution.
    assert (answer.distribution, answer.label_mass) == ({}, None)


def test_answer_holds_what_the_replies_used() -> None:
    one = said(choice="first", rationale="")
    answer = read(PAIRWISE, question(), one._replace(cached_tokens=40), one._replace(seconds=2.0, cached_tokens=None))
    assert (answer.verdict_id, answer.answered_by, answer.maybe_billed) == (VERDICT, "stub", True)
    assert (answer.prompt_tokens, answer.completion_tokens, answer.cached_tokens) == (200, 20, None)
    assert answer.cost_usd == Decimal("0.000240")
    assert answer.seconds == 2.0
    unknown = read(PAIRWISE, question(), one, one._replace(prompt_tokens=None))
    assert (unknown.prompt_tokens, unknown.cost_usd) == (None, None)


def test_letter_carries_the_distribution_of_its_token_in_the_stored_order() -> None:
    shares = {"A": 0.5, "B": 0.2, "C": 0.1, "The": 0.2}
    answer = read(LETTER, question("ab"), weighed(shares))
    assert answer.distribution == pytest.approx({"a": 0.625, "tie": 0.125, "b": 0.25})
    assert (answer.choice, answer.label_mass) == ("a", 0.8)
    assert answer.prob_a == pytest.approx(0.6875)
    assert answer.meta["prob_from"] == "logprobs"
    mirrored = read(LETTER, question("ba"), weighed(shares))
    assert mirrored.distribution == pytest.approx({"a": 0.25, "tie": 0.125, "b": 0.625})
    assert mirrored.choice == "b"
    assert mirrored.prob_a == pytest.approx(0.3125)


def test_letter_c_is_a_tie_only_where_a_tie_is_offered() -> None:
    assert read(LETTER, question(), said(choice="C")).choice == "tie"
    answer = read(version_of("letter", tie=False), question(), said(choice="C"))
    assert answer.error == 'The judge\'s choice is none of those asked for (A, B): "C"'
    assert answer.choice == ""


def test_letter_without_log_probabilities_is_a_hard_choice() -> None:
    answer = read(LETTER, question(), reply("B"))
    assert (answer.choice, answer.prob_a, answer.meta) == ("b", 0.0, {"prob_from": "choice"})


def test_likelier_letter_is_the_choice_where_a_sample_drew_another() -> None:
    answer = read(LETTER, question(), weighed({"A": 0.2, "B": 0.8}, written="A"))
    assert answer.choice == "b"
    assert answer.prob_a == pytest.approx(0.2)
    greedy = version_of("letter", {"temperature": 0})
    hard = read(greedy, question(), weighed({"A": 0.2, "B": 0.8}, written="A"))
    assert (hard.choice, hard.prob_a, hard.meta["prob_from"]) == ("a", 1.0, "choice")


def test_samples_are_counted_with_half_a_vote_for_each_label() -> None:
    version = version_of("pairwise", samples=5)
    replies = [said(choice=choice, confidence=100) for choice in ("first", "first", "tie", "first", "second")]
    answer = read(version, question("ba"), *replies)
    assert answer.distribution == pytest.approx({"a": 1.5 / 6.5, "tie": 1.5 / 6.5, "b": 3.5 / 6.5})
    assert (answer.choice, answer.samples, answer.meta["prob_from"]) == ("b", 5, "samples")
    alike = read(version_of("pairwise", samples=2, tie=False), question(), *[said(choice="first")] * 2)
    assert alike.distribution == pytest.approx({"a": 2.5 / 3, "tie": 0.0, "b": 0.5 / 3})


def test_samples_with_log_probabilities_are_averaged() -> None:
    answer = read(LETTER, question(), weighed({"A": 0.9, "B": 0.1}), weighed({"A": 0.4, "B": 0.6}), said(choice="B"))
    assert answer.distribution == pytest.approx({"a": 0.65, "tie": 0.0, "b": 0.35})
    assert (answer.choice, answer.samples, answer.meta["prob_from"]) == ("a", 3, "logprobs")


def test_rationale_comes_from_a_sample_that_agrees() -> None:
    version = version_of("pairwise", samples=3)
    replies = [said(rationale=f"for {choice}", choice=choice) for choice in ("second", "first", "first")]
    assert read(version, question(), *replies).rationale == "for first"


def test_unreadable_samples_are_left_out_and_counted() -> None:
    version = version_of("pairwise", samples=3)
    answer = read(version, question(), said(choice="first"), reply("I cannot say"), said(choice="first"))
    assert (answer.choice, answer.samples, answer.meta["unreadable"], answer.error) == ("a", 2, 1, "")


def test_criteria_are_answered_beside_the_whole() -> None:
    version = version_of("letter", criteria=["truth", "style", "wit"])
    answer = read(version, question("ba"), said(choice="A", criteria={"style": "C", "truth": "B", "wit": "perhaps"}))
    assert answer.choice == "b"
    assert answer.criteria == {
        "truth": {"choice": "a", "prob_a": 1.0, "distribution": {}},
        "style": {"choice": "tie", "prob_a": 0.5, "distribution": {}},
    }
    assert answer.meta["criteria_unread"] == ["wit"]


def test_criterion_has_the_log_probabilities_of_its_own_letter() -> None:
    def spoken(text: str, **shares: float) -> dict[str, Any]:
        listed = [{"token": one, "logprob": math.log(share)} for one, share in shares.items()]
        return {"token": text, "logprob": -0.1, "top_logprobs": listed}

    tokens = [
        spoken('{"choice": "'),
        spoken("A", A=0.9, B=0.1),
        spoken('", "criteria": {"truth": "'),
        spoken("B", A=0.25, B=0.75),
        spoken('"}}'),
    ]
    one = reply('{"choice": "A", "criteria": {"truth": "B"}}', logprobs=tokens)
    answer = read(version_of("letter", criteria=["truth"]), question(), one)
    assert answer.prob_a == pytest.approx(0.9)
    assert answer.criteria["truth"]["choice"] == "b"
    assert answer.criteria["truth"]["distribution"] == pytest.approx({"a": 0.25, "tie": 0.0, "b": 0.75})


def test_rating_is_the_expectation_of_its_scores() -> None:
    shares = {"8": 0.6, "7": 0.2, "10": 0.2}
    answer = read(RATING, question("a"), weighed(shares, field="score"))
    assert answer.score == pytest.approx(8.2)
    assert answer.distribution == pytest.approx({"7": 0.2, "8": 0.6, "10": 0.2})
    assert (answer.choice, answer.prob_a, answer.label_mass) == ("", None, 1.0)
    mode = read(version_of("rating", scoring="mode"), question("a"), weighed(shares, field="score"))
    assert mode.score == 8.0
    sharp = read(version_of("rating", scoring="sharpened"), question("a"), weighed(shares, field="score"))
    assert sharp.score is not None
    assert 8.0 < sharp.score < 8.01


def test_rating_without_log_probabilities_is_the_mean_of_its_samples() -> None:
    assert read(RATING, question("b"), said(score=7)).score == 7.0
    answer = read(version_of("rating", samples=4), question("b"), *[said(score=one) for one in (7, 8, 8, 9)])
    assert (answer.score, answer.meta["prob_from"]) == (8.0, "samples")
    assert answer.distribution == {"7": 0.25, "8": 0.5, "9": 0.25}


def test_rating_scores_each_criterion() -> None:
    version = version_of("rating", criteria=["truth"], scale=100)
    answer = read(version, question("a"), said(score=71, criteria={"truth": 90}, rationale="Sound."))
    assert answer.criteria == {"truth": {"score": 90.0, "distribution": {}}}
    assert (answer.score, answer.rationale) == (71.0, "Sound.")
    wrong = read(version, question("a"), said(score=101, criteria={"truth": 90}))
    assert wrong.error == "The judge's score is none of those asked for (1 to 100): 101"


def decided(**shares: float) -> dict[str, Any]:
    probabilities = [{"value": value, "probability": share} for value, share in shares.items()]
    return {"type": "choice", "choice": max(shares, key=lambda one: shares[one]), "probabilities": probabilities}


def test_decisions_are_read_in_the_order_asked() -> None:
    version = version_of("decisions", criteria=["truth", "style"])
    decisions = [decided(A=0.2, B=0.7, tie=0.1), {"type": "refusal"}, decided(A=0.6, B=0.2, tie=0.0)]
    answer = read(version, question("ba"), reply(decisions=decisions))
    assert answer.distribution == pytest.approx({"a": 0.7, "tie": 0.1, "b": 0.2})
    assert (answer.choice, answer.meta["prob_from"]) == ("a", "decisions")
    assert answer.prob_a == pytest.approx(0.75)
    assert answer.criteria["style"]["distribution"] == pytest.approx({"a": 0.25, "tie": 0.0, "b": 0.75})
    assert answer.meta["criteria_unread"] == ["truth"]
    assert "A: 0.2, B: 0.7" in answer.raw


def test_decisions_that_carry_names_are_read_by_them_in_whatever_order_they_come() -> None:
    version = version_of("decisions", criteria=["style"])
    decisions = [{**decided(A=0.9, B=0.1), "name": "style"}, {**decided(A=0.2, B=0.8), "name": "overall"}]
    answer = read(version, question("ab"), reply(decisions=decisions))
    assert (answer.choice, answer.criteria["style"]["choice"]) == ("b", "a")
    stranger = read(version, question("ab"), reply(decisions=decisions[:1]))
    assert (stranger.choice, stranger.meta["unanswered"]) == ("", "unreadable")


@pytest.mark.parametrize(
    ("decisions", "words", "kind"),
    [
        ([], "no probability", "unreadable"),
        ([{"type": "refusal"}], "refused", "refusal"),
        ([{"type": "choice", "probabilities": [None, {"value": "A"}, {"value": True, "probability": 1}]}],
         "no probability", "unreadable"),
    ],
)  # fmt: skip
def test_decisions_without_a_probability_are_an_error(decisions: list[Any], words: str, kind: str) -> None:
    answer = read(version_of("decisions"), question(), reply(decisions=decisions))
    assert words in answer.error
    assert (answer.meta["unanswered"], answer.choice) == (kind, "")


def test_reason_of_the_second_pass_repeats_the_choice_it_explains() -> None:
    asked = question("why", choice="b")
    answer = read(LETTER, asked, said(rationale="It is exact.", choice="second"))
    assert (answer.choice, answer.rationale, answer.meta, answer.prob_a) == ("b", "It is exact.", {}, None)
    other = read(LETTER, asked, said(rationale="The first is better.", choice="first"))
    assert (other.choice, other.rationale) == ("b", "The first is better.")
    assert other.meta == {"disagrees": True, "argued_for": "a"}
    assert "holds no rationale" in read(LETTER, asked, said(rationale=" ", choice="second")).error


@pytest.mark.parametrize(
    ("one", "words", "kind", "again"),
    [
        (reply("no"), "does not end in a JSON object", "unreadable", True),
        (reply('{"choice": "A"'), "does not end in a JSON object", "unreadable", True),
        (reply('{"choice": "A"', finish_reason="length"), "cut off at max_tokens=24", "unreadable", False),
        (said(choice="Z"), "none of those asked for", "unreadable", True),
        (reply("", refusal="I will not."), "The judge refused: I will not.", "refusal", False),
        (reply("", finish_reason="content_filter"), "The judge refused", "refusal", False),
    ],
)
def test_unreadable_answer_says_why_and_is_asked_again_once(one: Reply, words: str, kind: str, again: bool) -> None:
    answer = read(LETTER, question(), one)
    assert words in answer.error
    assert (answer.meta, answer.retry, answer.choice) == ({"unanswered": kind}, again, "")
    assert answer.cost_usd == Decimal("0.000120")
    assert not read(LETTER, question(attempt=2), one).retry
    assert not read(version_of("letter", {"temperature": 0}), question(), one).retry


def test_verdict_quoted_inside_a_rationale_counts_for_nothing() -> None:
    text = '{"rationale": "It ends in {\\"choice\\": \\"first\\"} and [[A]]", "choice": "second", "confidence": 50}'
    assert read(PAIRWISE, question(), reply(text)).choice == "b"


def test_nothing_is_no_answer() -> None:
    with pytest.raises(ValueError, match="at least one reply"):
        answer_of(LETTER, question(), [])


letters = st.sampled_from(["A", "B", "C"])
shares = st.dictionaries(letters, st.floats(0.001, 1.0), min_size=2).map(
    lambda raw: {name: share / sum(raw.values()) for name, share in raw.items()}
)
SWAPPED = {"A": "B", "B": "A", "C": "C"}
MIRRORED = {"a": "b", "b": "a", "tie": "tie"}


@given(st.lists(shares.map(weighed) | letters.map(lambda one: said(choice=one)), min_size=1, max_size=6))
def test_other_order_mirrors_the_answer(replies: list[Reply]) -> None:
    one, other = read(LETTER, question("ab"), *replies), read(LETTER, question("ba"), *replies)
    assert one.prob_a is not None
    assert other.prob_a == pytest.approx(1.0 - one.prob_a)
    assert other.distribution == pytest.approx({MIRRORED[name]: share for name, share in one.distribution.items()})
    ranked = sorted(one.distribution.values())
    if not ranked or ranked[-1] > ranked[-2] + 1e-9:
        assert other.choice == MIRRORED[one.choice]
    if one.distribution:
        assert sum(one.distribution.values()) == pytest.approx(1.0)


@given(st.text(), st.sampled_from(["pairwise", "letter", "rating", "decisions"]), st.sampled_from(["ab", "ba", "why"]))
def test_any_text_is_an_answer_or_an_error(text: str, protocol: str, order: str) -> None:
    answer = read(version_of(protocol), question(order, choice="a"), reply(text))
    assert bool(answer.error) != (bool(answer.choice) or answer.score is not None)
