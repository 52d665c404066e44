"""How steady people are, on frames whose answer can be counted by hand."""

import pandas as pd
import pytest

from annotation.agreeing import wilson
from annotation.wavering import steadiness


def repeats(*rows: tuple[str, str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["before", "choice", "shown_order"], dtype=object)
    return frame.assign(group=[f"g{number}" for number in range(len(rows))])


def answers(*rows: tuple[str, str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["choice", "shown_order"], dtype=object)
    return frame.assign(group=[f"g{number}" for number in range(len(rows))])


NO_REPEATS, NO_ANSWERS = repeats(), answers()


def test_the_same_stored_choice_is_the_same_answer_whatever_side_it_stood_on() -> None:
    found = steadiness(repeats(*[("a", "a", "ba")] * 9, *[("b", "a", "ab")] * 3), NO_ANSWERS)
    assert (found.repeats, found.three_way.n, found.three_way.value) == (12, 12, 0.75)
    assert (found.two_way.n, found.two_way.value) == (12, 0.75)


def test_ties_count_as_an_answer_in_three_ways_and_not_in_two() -> None:
    rows = [("tie", "both_bad", "ab")] * 4 + [("a", "tie", "ab")] * 4 + [("a", "a", "ab")] * 10
    found = steadiness(repeats(*rows), NO_ANSWERS)
    assert (found.three_way.n, found.three_way.value) == (18, 14 / 18)
    assert (found.two_way.n, found.two_way.value) == (10, 1.0)
    # Everybody alike: resampling sees no spread, so the interval is Wilson's.
    assert found.two_way.interval == pytest.approx(wilson(10, 10))


def test_cannot_judge_says_nothing_about_steadiness() -> None:
    found = steadiness(repeats(*[("a", "a", "ab")] * 10, ("unsure", "a", "ab"), ("a", "unsure", "ab")), NO_ANSWERS)
    assert (found.repeats, found.three_way.n) == (12, 10)


def test_a_changed_side_is_the_same_place_of_the_screen_twice() -> None:
    # Shown ab first and ba then: who chose a, then b, chose the left place both times.
    rows = [("a", "b", "ba")] * 9 + [("b", "a", "ba")] * 3 + [("a", "a", "ba")] * 8
    found = steadiness(repeats(*rows), NO_ANSWERS)
    assert found.same_place == 12
    assert (found.first_again.n, found.first_again.value) == (12, 0.75)


def test_first_shown_counts_decisive_answers_whose_order_is_known() -> None:
    rows = [("a", "ab")] * 12 + [("a", "ba")] * 4 + [("b", "ba")] * 3 + [("tie", "ab"), ("a", ""), ("unsure", "ba")]
    first = steadiness(NO_REPEATS, answers(*rows)).first_shown
    assert (first.n, first.value) == (19, 15 / 19)
    assert first.interval is not None
    assert first.interval.low < 15 / 19 < first.interval.high


def test_too_few_of_anything_is_a_sentence_and_no_number() -> None:
    found = steadiness(repeats(*[("a", "b", "ba")] * 3), answers(("a", "ab")))
    assert (found.three_way.value, found.three_way.too_few) == (None, "too few hidden repeats (3 of 10)")
    assert found.two_way.too_few == "too few decisive hidden repeats (3 of 10)"
    assert found.first_again.too_few == "too few hidden repeats with the same place (3 of 10)"
    assert found.first_shown.too_few == "too few decisive answers (1 of 10)"
    assert steadiness(NO_REPEATS, NO_ANSWERS).as_dict()["repeats"] == 0
