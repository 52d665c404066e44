"""The draw behind a plan: exact odds, budget kept, audit slice spread over everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.plans.drawing import draw_pairs, mix_priorities


@pytest.mark.parametrize(("n", "asked", "audited"), [(40, 10, 4), (40, 40, 4), (7, 3, 3), (30, 9, 0), (5, 1, 1)])
def test_stated_odds_are_the_odds_seen_over_many_draws(n: int, asked: int, audited: int) -> None:
    gain = np.linspace(1.0, 0.1, n)
    seen = np.zeros(n)
    draws = 4000
    for seed in range(draws):
        draw = draw_pairs(gain, asked=asked, audited=audited, rng=np.random.default_rng(seed))
        seen += draw.audit | draw.people
    # Five standard errors of a share over 4,000 draws.
    assert np.abs(seen / draws - draw.selection_prob).max() < 0.04


@settings(max_examples=200, deadline=None)
@given(
    gains=st.lists(st.one_of(st.just(float("nan")), st.floats(0, 1)), min_size=1, max_size=60),
    asked=st.integers(0, 80),
    audited=st.integers(0, 80),
    seed=st.integers(0, 2**31),
)
def test_draw_never_asks_more_than_the_budget(gains: list[float], asked: int, audited: int, seed: int) -> None:
    gain = np.array(gains)
    draw = draw_pairs(gain, asked=asked, audited=audited, rng=np.random.default_rng(seed))
    assert not (draw.audit & draw.people).any()
    assert int((draw.audit | draw.people).sum()) <= asked
    assert draw.audit.sum() == min(asked, audited, len(gain))
    assert not np.isnan(gain[draw.people]).any()
    assert ((draw.selection_prob >= 0) & (draw.selection_prob <= 1)).all()
    if not np.isnan(gain).any():
        assert draw.selection_prob.sum() == pytest.approx(min(asked, len(gain)), abs=1e-6)


def test_every_pair_can_be_drawn_while_there_is_an_audit_slice() -> None:
    draw = draw_pairs(np.linspace(0, 1, 500), asked=125, audited=25, rng=np.random.default_rng(1))
    assert draw.selection_prob.min() == pytest.approx(25 / 500)
    assert draw.selection_prob.max() == pytest.approx(1.0)


def test_router_takes_the_highest_gain_left_by_the_audit_slice() -> None:
    gain = np.linspace(0, 1, 100)
    draw = draw_pairs(gain, asked=20, audited=5, rng=np.random.default_rng(2))
    left = np.flatnonzero(~draw.audit)
    assert set(np.flatnonzero(draw.people)) == set(left[-15:])


def test_equal_gains_are_not_taken_in_import_order() -> None:
    draw = draw_pairs(np.full(1000, 0.5), asked=100, audited=0, rng=np.random.default_rng(3))
    assert not draw.people[:100].all()
    assert 300 < np.flatnonzero(draw.people).mean() < 700


def test_audited_pairs_take_priorities_from_the_routers() -> None:
    gain = np.linspace(0, 1, 200)
    draw = draw_pairs(gain, asked=60, audited=20, rng=np.random.default_rng(4))
    priorities = mix_priorities(gain, draw, np.random.default_rng(5))
    assert set(priorities[draw.audit]) <= set(priorities[draw.people])
    assert np.isnan(priorities[~(draw.audit | draw.people)]).all()
