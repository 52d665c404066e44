"""Signals about a judge: each from a small case worked out by hand."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from routing.signals.deriving import build_signals, preferences_together
from routing.signals.measuring import PairTexts, measure_texts
from routing.signals.wording import about, signal_of, tells

COLUMNS = ["pair_id", "version_id", "judge", "order", "choice", "prob_a", "score_a", "score_b", "label_mass"]


def verdict(pair: str, judge: str, order: str, choice: str, **values: Any) -> dict[str, Any]:
    return {"pair_id": pair, "version_id": f"{judge}-v1", "judge": judge, "order": order, "choice": choice, **values}


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows)).reindex(columns=COLUMNS)


def measures(
    *pairs: str,
    group: str = "g",
    texts: tuple[str, str] = ("one two", "one three four"),
    prompt: str = "Why?",
    language: str = "en",
) -> pd.DataFrame:
    def message(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    return measure_texts(
        PairTexts(pair, group, message(prompt), language, message(texts[0]), message(texts[1]), "m1", "m2")
        for pair in pairs
    )


def test_flip_is_known_only_where_both_orders_were_asked() -> None:
    verdicts = frame(
        verdict("p1", "gpt", "ab", "a"),
        verdict("p1", "gpt", "ba", "b"),
        verdict("p2", "gpt", "ab", "a"),
        verdict("p2", "gpt", "ba", "a"),
        verdict("p3", "gpt", "ab", "b"),
    )
    preferences = frame(verdict("p1", "gpt", "", "tie"), verdict("p2", "gpt", "", "a"), verdict("p3", "gpt", "", "b"))
    signals = build_signals(measures("p1", "p2", "p3"), verdicts, preferences, ["gpt-v1"])
    assert signals["flipped"].tolist() == pytest.approx([1.0, 0.0, np.nan], nan_ok=True)
    assert signals["asked_both_orders"].tolist() == [1.0, 1.0, 0.0]
    assert signals["tie"].tolist() == [1.0, 0.0, 0.0]
    # Where one order was asked: it saw a first and picked b.
    assert signals["picked_first"].tolist() == pytest.approx([np.nan, np.nan, 0.0], nan_ok=True)
    # The mean flip of the group's other pairs.
    assert signals["group_flips"].tolist() == pytest.approx([0.0, 1.0, 0.5])


def test_margin_is_the_distance_from_a_coin() -> None:
    preferences = frame(
        verdict("p1", "gpt", "", "a", prob_a=0.9),
        verdict("p2", "gpt", "", "tie", prob_a=0.5),
        verdict("p3", "gpt", "", "b"),
    )
    signals = build_signals(measures("p1", "p2", "p3"), frame(), preferences, ["gpt-v1"])
    assert signals["margin"].tolist() == pytest.approx([0.8, 0.0, 1.0])


def test_each_other_judge_counts_once_however_many_protocols_it_has() -> None:
    preferences = frame(
        verdict("p1", "gpt", "", "a"),
        verdict("p1", "claude", "", "b"),
        {**verdict("p1", "claude", "", "b"), "version_id": "claude-v2"},
        {**verdict("p1", "claude", "", "b"), "version_id": "claude-v3"},
        verdict("p1", "bard", "", "a"),
    )
    signals = build_signals(measures("p1"), frame(), preferences, ["gpt-v1"]).loc["p1"]
    assert signals["others_disagree"] == pytest.approx(0.5)
    assert signals["others_opposed"] == pytest.approx(0.5)
    assert signals["other_judges"] == 2
    assert signals["differs from claude"] == 1.0
    assert signals["differs from bard"] == 0.0
    # P(a) is 1, 0 and 1: mean 2/3, variance 2/9.
    assert signals["prob_spread"] == pytest.approx((2 / 9) ** 0.5)
    assert signals["jury_margin"] == pytest.approx(1 / 3)


def test_judge_contradicts_itself_when_its_ratings_say_otherwise() -> None:
    scores = {**verdict("p1", "gpt", "", "b", score_a=3.0, score_b=7.5), "version_id": "gpt-v2"}
    preferences = frame(verdict("p1", "gpt", "", "a"), scores)
    signals = build_signals(measures("p1"), frame(scores), preferences, ["gpt-v1"]).loc["p1"]
    assert signals["self_disagrees"] == 1.0
    assert signals["score_gap"] == pytest.approx(4.5)
    assert "others_disagree" not in signals.index


def test_picked_models_record_leaves_the_pair_itself_out() -> None:
    preferences = frame(*(verdict(pair, "gpt", "", choice) for pair, choice in zip("wxyz", "aaab", strict=True)))
    signals = build_signals(measures(*"wxyz"), frame(), preferences, ["gpt-v1"])
    # On z the judge picked m2, which lost its other three games; on w m1 was picked, winner of two of three.
    assert signals.loc["z", "pick_form"] == pytest.approx(-1.0)
    assert signals.loc["w", "pick_form"] == pytest.approx(2 / 3 - 1 / 3)


def test_text_signals_are_signed_towards_the_pick() -> None:
    preferences = frame(verdict("p1", "gpt", "", "b"), verdict("p2", "gpt", "", "a"))
    signals = build_signals(measures("p1", "p2"), frame(), preferences, ["gpt-v1"])
    assert signals["pick_length"].tolist() == pytest.approx([0.2, -0.2])
    assert signals["similarity"].tolist() == pytest.approx([0.25, 0.25])


def test_pair_the_judge_did_not_answer_has_no_judge_signal_but_keeps_its_row() -> None:
    preferences = frame(verdict("p1", "gpt", "", "a"), verdict("p2", "gpt", "", "unsure"))
    signals = build_signals(measures("p1", "p2", "p3"), frame(), preferences, ["gpt-v1"])
    assert signals.index.tolist() == ["p1", "p2", "p3"]
    assert signals["margin"].isna().tolist() == [False, True, True]
    assert signals["words"].notna().all()


def test_signals_do_not_depend_on_the_order_of_the_verdicts() -> None:
    rng = np.random.default_rng(0)
    pairs = [f"p{number}" for number in range(30)]
    verdicts = frame(
        *(
            verdict(pair, judge, order, str(rng.choice(["a", "b", "tie"])))
            for pair in pairs
            for judge in ("gpt", "claude", "bard")
            for order in ("ab", "ba")
        )
    )
    preferences = verdicts[verdicts["order"] == "ab"]
    whole = build_signals(measures(*pairs), verdicts, preferences, ["gpt-v1"])
    shuffled = build_signals(
        measures(*pairs),
        verdicts.sample(frac=1, random_state=1),
        preferences.sample(frac=1, random_state=2),
        ["gpt-v1"],
    )
    pd.testing.assert_frame_equal(whole, shuffled[whole.columns])


def test_protocols_of_one_judge_are_averaged_before_they_decide() -> None:
    preferences = frame(
        {**verdict("p1", "gpt", "", "a", prob_a=0.9), "version_id": "pairwise"},
        {**verdict("p1", "gpt", "", "b", prob_a=0.3), "version_id": "rating"},
        {**verdict("p2", "gpt", "", "a"), "version_id": "pairwise"},
        {**verdict("p2", "gpt", "", "b"), "version_id": "rating"},
        {**verdict("p3", "gpt", "", "tie", prob_a=0.6), "version_id": "rating"},
    )
    together = preferences_together(preferences, ["pairwise", "rating"])
    assert together["choice"].to_dict() == {"p1": "a", "p2": "tie", "p3": "tie"}
    assert together["p"].tolist() == pytest.approx([0.6, 0.5, 0.6])
    signals = build_signals(measures("p1", "p2", "p3"), frame(), preferences, ["pairwise", "rating"])
    assert signals["margin"].tolist() == pytest.approx([0.2, 0.0, 0.2])
    # Of the protocols that answered, the share that says otherwise than all together.
    assert signals["self_disagrees"].tolist() == pytest.approx([0.5, 1.0, 0.0])


def test_the_record_of_a_response_leaves_this_pair_out() -> None:
    texts = [{"role": "assistant", "content": "one"}]

    def pair(name: str, a: str, b: str) -> PairTexts:
        return PairTexts(name, "g", [], "", texts, texts, "", "", a, b)

    measured = measure_texts([pair("p1", "x", "y"), pair("p2", "x", "z"), pair("p3", "z", "y")])
    preferences = frame(
        verdict("p1", "gpt", "", "a", prob_a=0.9),
        verdict("p2", "gpt", "", "b", prob_a=0.2),
        verdict("p3", "gpt", "", "a", prob_a=0.7),
        verdict("p1", "bard", "", "a", prob_a=0.8),
        verdict("p2", "bard", "", "a", prob_a=0.6),
    )
    signals = build_signals(measured, frame(), preferences, ["gpt-v1"])
    # p1: x won 0.2 of its other pair, y 0.3; the judge picked x.
    assert signals.loc["p1", "pick_record"] == pytest.approx(0.2 - 0.3)
    assert signals.loc["p2", "pick_record"] == pytest.approx(-(0.9 - 0.7))
    assert signals.loc["p3", "pick_record"] == pytest.approx(0.8 - 0.1)
    # z and y were judged by bard in no other pair than p2 and p1.
    assert signals.loc["p3", "others_record"] == pytest.approx(0.4 - 0.2)
    assert signals["others_record"].isna().tolist() == [True, True, False]


def test_a_category_needs_twenty_pairs_to_be_a_signal() -> None:
    texts = [{"role": "assistant", "content": "one"}]
    kinds = ["code"] * 20 + ["verse"] * 19 + [""] * 5
    measured = measure_texts(
        PairTexts(f"p{number}", "g", [], "", texts, texts, "", "", category=kind) for number, kind in enumerate(kinds)
    )
    preferences = frame(*(verdict(f"p{number}", "gpt", "", "a") for number in range(len(kinds))))
    signals = build_signals(measured, frame(), preferences, ["gpt-v1"])
    assert [name for name in signals if str(name).startswith("category ")] == ["category code"]
    assert signals["category code"].sum() == 20
    assert signal_of("category code").words(1.0, "gpt") == "the prompt's category is code"
    assert signal_of("category code").words(0.0, "gpt") == "the prompt's category is not code"


def test_empty_and_refusing_responses_are_measured() -> None:
    measured = measures("p1", texts=("", "I'm sorry, I cannot help.\n- a\n- b 7")).loc["p1"]
    assert (measured["empty"], measured["refuses_a"], measured["refuses_b"]) == (1.0, 0.0, 1.0)
    assert (measured["list_items_b"], measured["has_digits"], measured["similarity"]) == (2, 1.0, 0.0)


def test_every_signal_has_words() -> None:
    preferences = frame(verdict("p1", "gpt", "", "a"), verdict("p1", "claude", "", "b"), verdict("p1", "bard", "", "b"))
    signals = build_signals(measures("p1"), frame(), preferences, ["gpt-v1"])
    for name in signals.columns:
        assert "{" not in signal_of(name).words(0.3, "gpt")
    assert signal_of("flipped").words(1.0, "gpt") == "gpt changed its answer when the order was swapped"


def test_label_mass_is_the_mean_of_the_judges_own_verdicts() -> None:
    verdicts = frame(
        verdict("p1", "gpt", "ab", "a", label_mass=0.9),
        verdict("p1", "gpt", "ba", "a", label_mass=0.5),
        verdict("p1", "bard", "ab", "a", label_mass=0.1),
        verdict("p2", "gpt", "ab", "a"),
    )
    preferences = frame(verdict("p1", "gpt", "", "a"), verdict("p2", "gpt", "", "a"))
    signals = build_signals(measures("p1", "p2"), verdicts, preferences, ["gpt-v1"])
    assert signals["label_mass"].tolist() == pytest.approx([0.7, np.nan], nan_ok=True)


def test_the_learned_baseline_has_a_signal_of_its_own() -> None:
    preferences = frame(
        verdict("p1", "gpt", "", "a", prob_a=0.9),
        verdict("p1", "baseline", "", "b", prob_a=0.3),
        verdict("p1", "bard", "", "b", prob_a=0.0),
        verdict("p2", "gpt", "", "a", prob_a=0.9),
    )
    signals = build_signals(measures("p1", "p2"), frame(), preferences, ["gpt-v1"], learned=["baseline"])
    assert signals["learned_differs"].tolist() == pytest.approx([0.6, np.nan], nan_ok=True)
    assert "learned_differs" not in build_signals(measures("p1", "p2"), frame(), preferences, ["gpt-v1"])


def test_length_pull_is_what_the_judges_other_pairs_make_of_this_pairs_length() -> None:
    # The first response is 2 of 10 words, so the gap is -0.6; on p3 it is 0.6.
    short, long = "one two", "one two three four five six seven eight"
    measured = pd.concat([measures("p1", "p2", texts=(short, long)), measures("p3", texts=(long, short))])
    preferences = frame(
        verdict("p1", "gpt", "", "b", prob_a=0.2),
        verdict("p2", "gpt", "", "b", prob_a=0.4),
        verdict("p3", "gpt", "", "b", prob_a=0.1),
    )
    signals = build_signals(measured, frame(), preferences, ["gpt-v1"])
    # Without p3 the judge likes length: its leans of -0.3 and -0.1 go with gaps of -0.6, a slope of 1/3. On p3 it
    # picked the short one, against its taste.
    assert signals.loc["p3", "length_pull"] == pytest.approx(-0.6 / 3)
    # Without p1: gaps -0.6 and 0.6, leans -0.1 and -0.4, a slope of -1/4; on p1 it picked the long one.
    assert signals.loc["p1", "length_pull"] == pytest.approx(-0.6 / 4)


def test_length_pull_needs_other_pairs_that_differ_in_length() -> None:
    alone = build_signals(measures("p1"), frame(), frame(verdict("p1", "gpt", "", "b")), ["gpt-v1"])
    assert "length_pull" not in alone
    equal = measures("p1", "p2", texts=("one two", "three four"))
    preferences = frame(verdict("p1", "gpt", "", "a"), verdict("p2", "gpt", "", "b"))
    assert "length_pull" not in build_signals(equal, frame(), preferences, ["gpt-v1"])


def test_forms_asked_for_are_counted_and_frequent_ones_stand_alone() -> None:
    measured = pd.concat(
        [
            measures(*(f"p{n}" for n in range(100)), prompt="Answer as JSON in at most 9 words."),
            measures(*(f"q{n}" for n in range(99)), prompt="Answer in a table."),
        ]
    )
    preferences = frame(*(verdict(str(pair), "gpt", "", "a") for pair in measured.index))
    signals = build_signals(measured, frame(), preferences, ["gpt-v1"])
    assert signals.loc["p0", "asks_form"] == 2.0
    assert signals.loc["q0", "asks_form"] == 1.0
    assert [name for name in signals if str(name).startswith("asks_")] == ["asks_form", "asks_json", "asks_length"]
    assert signals["asks_json"].sum() == 100


def test_rare_and_foreign_languages_are_signals_where_twenty_pairs_are_so() -> None:
    english, german = "What is this and how does it work?", "Was ist das und wie ist es mit mir?"
    usual = measures(*(f"p{n}" for n in range(30)), prompt=english, language="", texts=(english, english))
    rare = measures(*(f"q{n}" for n in range(20)), prompt=german, language="", texts=(german, english))
    blank = measures("r", prompt="42", language="", texts=("1", "2"))
    measured = pd.concat([usual, rare, blank])
    preferences = frame(*(verdict(str(pair), "gpt", "", "b") for pair in measured.index))
    signals = build_signals(measured, frame(), preferences, ["gpt-v1"])
    assert signals.loc[["p0", "q0", "r"], "rare_language"].tolist() == pytest.approx([0.0, 1.0, np.nan], nan_ok=True)
    assert signals.loc[["p0", "q0", "r"], "foreign"].tolist() == pytest.approx([0.0, 1.0, np.nan], nan_ok=True)
    # The judge picked the English answer to the German prompt.
    assert signals.loc["q0", "pick_foreign"] == 1.0
    few = build_signals(measured.drop("q19"), frame(), preferences, ["gpt-v1"])
    assert not {"rare_language", "foreign", "pick_foreign"} & set(few)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("cosine", 0.4, "the responses are 40% alike in meaning"),
        ("margin", 0.5, "gpt is 75% sure"),
        ("margin", 0.0, "gpt saw no difference"),
        ("pick_form", 0.07, "in gpt's other pairs the picked model is ahead by 7 points"),
        ("others_record", -0.01, "with other judges the picked response is behind by 1 point"),
        ("form_gap", 0.0, "in gpt's other pairs the two models do equally well"),
        ("record_gap", 0.2, "in gpt's other pairs the two responses are 20 points apart"),
        ("pairing_form", -0.1, "between these two models, gpt favoured the other one by 10 points elsewhere"),
        ("judges_pairing_form", 0.0, "between these two models, the judges together favoured neither elsewhere"),
        ("length_gap", 0.01, "the responses are about as long"),
        ("pick_length", -0.5, "the other response is 3.0 times as long as the picked"),
        ("pick_length", 1.0, "the picked response is all there is beside the other"),
        ("length_pull", -0.2, "gpt's pick goes against its taste for length"),
        ("pick_lists", -1.0, "the picked response has 1 list item fewer"),
        ("pick_refuses", 1.0, "the picked response refuses, the other does not"),
        ("others_disagree", 0.0, "no other judge answers differently from gpt"),
        ("others_disagree", 0.5, "50% of the other judges answer differently from gpt"),
        ("others_opposed", 1.0, "all other judges prefer the other response"),
        ("other_judges", 1.0, "one other judge answered"),
        ("asks_form", 1.0, "the prompt asks for one thing about the answer's form"),
        ("differs from claude", 0.5, "claude is 50 points away from gpt"),
        ("differs from claude", 0.0, "claude says what gpt says"),
        ("tag subject law and politics", 1.0, "the prompt is about law and politics"),
        ("tag subject law and politics", 0.0, "the prompt is not about law and politics"),
        ("tag has_format_constraints", 1.0, "the prompt has format constraints"),
        ("tag expertise_level", 0.5, "the prompt's expertise level is 50% of the most"),
        ("column difficulty", 2.5, "difficulty in the file is 2.5"),
        ("column source=web", 0.0, "source in the file is not web"),
    ],
)
def test_words_fit_the_value(name: str, value: float, words: str) -> None:
    assert signal_of(name).words(value, "gpt") == words


@pytest.mark.parametrize("name", ["cosine", "tag subject law and politics", "tag expertise_level", "column source=web"])
def test_further_signals_bind_no_direction(name: str) -> None:
    assert not signal_of(name).monotone


def test_what_the_pick_says_is_no_reason_where_it_is_nothing() -> None:
    assert tells("pick_length", 0.3)
    assert not tells("pick_length", 0.0)
    assert not tells("margin", np.nan)
    assert tells("margin", 0.0)
    assert about("differs from claude") == about("others_disagree") != about("others_flipped")
    assert about("judges_form_picked") == about("pick_form") != about("judges_record_picked") == about("record_gap")
