"""What each signal is worth by itself: in which direction, with what interval, and when nothing can be said."""

import numpy as np
import pandas as pd
import pytest

from routing.signals.surveying import Surveyed, kind_of, survey_signals

PAIRS = 400


def world(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, np.ndarray, np.ndarray]:
    """Return signals of 400 pairs, of which people answered the first 200; the judge is wrong on about a third."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(PAIRS) < 1 / 3
    noise = rng.random(PAIRS)
    signals = pd.DataFrame(
        {
            # Doubt is expected where the margin is low, and where the responses are alike.
            "margin": np.where(wrong, 0.4, 0.6) * noise,
            "similarity": -np.where(wrong, 0.9, 0.5) * noise,
            "turns": noise,
            "tag open_endedness": np.where(np.arange(PAIRS) < 10, 0.5, np.nan),
        }
    )
    rows = np.arange(PAIRS) < 200
    return signals, rows, wrong[rows], np.array([f"g{number // 4}" for number in range(200)], dtype=object)


def surveyed(seed: int = 0) -> dict[str, Surveyed]:
    signals, rows, wrong, groups = world()
    return {one.name: one for one in survey_signals(signals, rows, wrong, groups, judge="gpt", seed=seed)}


def test_a_signal_is_measured_in_the_direction_in_which_it_tells() -> None:
    found = surveyed()
    signals, rows, wrong, _ = world()
    low = signals["margin"].to_numpy()[rows]
    expected = np.mean([a < b for a in low[wrong] for b in low[~wrong]])
    margin, similarity = found["margin"], found["similarity"]
    assert margin.auroc == pytest.approx(expected, abs=1e-9)
    assert (margin.high, margin.turned, margin.n, margin.known) == (False, False, 200, 1.0)
    # A high similarity is expected to mean wrong; here a low one does, beyond doubt.
    assert (similarity.high, similarity.turned) == (False, True)
    assert similarity.auroc is not None
    assert similarity.low is not None
    assert 0.5 < similarity.low < similarity.auroc < 1
    turns = found["turns"]
    assert turns.low is not None
    assert turns.upper is not None
    assert turns.low < 0.5 < turns.upper


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    assert surveyed(1) == surveyed(1)
    assert surveyed(1)["margin"].low != surveyed(2)["margin"].low


def test_too_few_labels_give_no_number() -> None:
    tag = surveyed()["tag open_endedness"]
    assert (tag.auroc, tag.low, tag.n, tag.known) == (None, None, 10, 0.025)
    assert tag.too_few.startswith("too few labels (")
    signals, rows, wrong, groups = world()
    always_right = survey_signals(signals, rows, np.zeros_like(wrong), groups, judge="gpt")
    assert {one.auroc for one in always_right} == {None}
    assert "too few labels (0 of 20 where the judge is wrong)" in {one.too_few for one in always_right}
    nobody = survey_signals(signals, ~rows & rows, wrong[:0], groups[:0], judge="gpt")
    assert {one.too_few for one in nobody} == {"too few labels (0 of 40)"}


def test_the_sentence_shows_a_value_that_speaks_for_a_mistake() -> None:
    signals, rows, wrong, groups = world()
    flipped = signals.assign(flipped=(np.arange(PAIRS) < 8).astype(float))[["flipped"]]
    said = survey_signals(flipped, rows, wrong, groups, judge="gpt")[0].example
    assert said == "gpt changed its answer when the order was swapped"


def test_what_knows_the_answer_is_suspicious() -> None:
    signals, rows, wrong, groups = world()
    leak = np.zeros(PAIRS)
    leak[:200] = wrong
    found = survey_signals(signals.assign(**{"column note": leak}), rows, wrong, groups, judge="gpt")
    assert [one.name for one in found if one.suspicious] == ["column note"]


def test_signals_are_grouped_by_where_they_come_from() -> None:
    kinds = {
        "own": ["flipped", "record_gap", "form_level"],
        "jury": ["others_disagree", "judges_tie_form", "differs from claude"],
        "text": ["cosine", "category x"],
        "tag": ["tag a"],
        "column": ["column b"],
    }
    assert {kind: [kind_of(name) for name in names] for kind, names in kinds.items()} == {
        kind: [kind] * len(names) for kind, names in kinds.items()
    }
