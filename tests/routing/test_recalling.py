"""Records of responses and models: from other pairs only, and from all of them."""

import math

import pandas as pd
import pytest

from routing.signals.recalling import recalled_signals


def frame(rows: list[tuple[str, str, str, str, float]]) -> tuple[pd.DataFrame, pd.Series]:
    columns = ["response_a_id", "response_b_id", "model_a", "model_b", "prob_a"]
    pairs = pd.DataFrame(rows, columns=columns, index=[f"p{number}" for number in range(1, len(rows) + 1)])
    return pairs, pairs["prob_a"]


def value(signals: pd.DataFrame, pair: str, name: str) -> float:
    return float(signals[name].to_dict()[pair])


def test_records_are_means_over_the_other_pairs_of_a_response_and_of_its_model() -> None:
    measures, own = frame(
        [("r", "s", "M", "N", 0.9), ("r", "t", "M", "O", 0.2), ("u", "s", "O", "N", 0.7), ("v", "w", "M", "N", 0.5)]
    )
    signals = pd.DataFrame(recalled_signals(measures, own, None))
    # In p1 r is picked: its other pair gave it 0.2; s lost 0.7 to u in its own.
    assert value(signals, "p1", "record_picked") == pytest.approx(0.2)
    assert value(signals, "p1", "record_passed") == pytest.approx(0.3)
    assert value(signals, "p1", "record_level") == pytest.approx(0.25)
    # Model M elsewhere: 0.2 in p2 and 0.5 in p4; N: 0.3 in p3 and 0.5 in p4.
    assert value(signals, "p1", "form_picked") == pytest.approx(0.35)
    assert value(signals, "p1", "form_passed") == pytest.approx(0.4)
    # p4 is the only other pair of just M and N, and a tie; from p4 it is p1, but a tie leans to nobody's pick.
    assert value(signals, "p1", "pairing_form") == pytest.approx(0.0)
    assert value(signals, "p1", "tie_form") == pytest.approx((1 / 2 + 1 / 2) / 2)
    # p2 picks t (model O), which M and N met once each.
    assert value(signals, "p2", "form_picked") == pytest.approx(0.7)
    assert math.isnan(value(signals, "p2", "record_picked"))
    # A tie shows the mean of both on either side.
    assert (
        value(signals, "p4", "form_picked") == value(signals, "p4", "form_passed") == value(signals, "p4", "form_level")
    )
    assert not [name for name in signals.columns if str(name).startswith("judges_")]


def test_pairing_is_turned_to_the_pick_whatever_the_stored_order() -> None:
    measures, own = frame([("r", "s", "M", "N", 0.9), ("t", "u", "N", "M", 0.9)])
    signals = pd.DataFrame(recalled_signals(measures, own, own))
    # p1 picks M; the other pair leans to N by 0.8.
    assert signals["pairing_form"].tolist() == pytest.approx([-0.8, -0.8])
    assert signals["judges_pairing_form"].tolist() == pytest.approx([-0.8, -0.8])


def test_a_model_against_itself_and_unnamed_models_have_no_record_of_this_pair() -> None:
    measures, own = frame([("r", "s", "M", "M", 0.9), ("t", "u", "", "", 0.9), ("v", "w", "M", "N", 0.8)])
    signals = pd.DataFrame(recalled_signals(measures, own, None))
    assert value(signals, "p1", "form_level") == pytest.approx(0.8)
    assert math.isnan(value(signals, "p2", "form_level"))
    # M against itself won and lost the same pair.
    assert value(signals, "p3", "form_picked") == pytest.approx(0.5)
    assert math.isnan(value(signals, "p3", "form_passed"))


def test_a_pair_without_an_answer_has_records_of_others_but_no_pick() -> None:
    measures, own = frame([("r", "s", "M", "N", float("nan")), ("r", "t", "M", "N", 0.6)])
    signals = pd.DataFrame(recalled_signals(measures, own, None))
    assert math.isnan(value(signals, "p1", "record_picked"))
    assert value(signals, "p1", "form_level") == pytest.approx(0.5)
    assert math.isnan(value(signals, "p2", "form_level"))
