"""A fit is kept for exactly what it was made of, and for nothing else."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from annotation.models import Pair, Preference, Project
from routing.models import SignalTable, TableKind
from routing.plans.planning import Budget, draw_plan
from routing.predicting import keeping
from routing.predicting.keeping import fit_or_kept
from routing.predicting.predictor import Fitted, fit_predictor
from tests.builders import make_pair, make_project
from tests.judged import answer_pairs, judge_pairs, make_judge

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]

N = 120


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the fits that are made."""
    made: list[int] = []

    def fit(*args: Any, **kwargs: Any) -> Fitted:
        made.append(1)
        return fit_predictor(*args, **kwargs)

    monkeypatch.setattr(keeping, "fit_predictor", fit)
    return made


def arguments() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    margin = rng.random(N)
    wrong = rng.random(N) < 0.7 - 0.6 * margin
    index = pd.Index([f"p{number}" for number in range(N)], name="pair_id", dtype=object)
    return {
        "signals": pd.DataFrame({"margin": margin, "flipped": np.round(rng.random(N))}, index=index),
        "wrong": wrong,
        "groups": np.array([f"g{number // 3}" for number in range(N)], dtype=object),
        "weights": np.ones(N),
        "kinds": wrong.astype(np.int64),
        "seed": 0,
    }


def test_a_kept_fit_is_the_one_that_was_made_to_the_last_bit(fits: list[int]) -> None:
    project = make_project(with_people=False)
    made, kept = (fit_or_kept(project, "gpt", **arguments()) for _ in range(2))
    assert len(fits) == 1
    assert kept.predictor.to_json() == made.predictor.to_json()
    assert kept.comparison == made.comparison
    assert kept.out_of_fold.tobytes() == made.out_of_fold.tobytes()
    signals = arguments()["signals"]
    assert kept.predictor.predict(signals).tobytes() == made.predictor.predict(signals).tobytes()


def test_whatever_a_fit_is_made_of_makes_another(fits: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = make_project(with_people=False), make_project("other", with_people=False)
    # Counting is all that matters here.
    fitted = fit_predictor(**arguments())

    def counted(*_args: Any, **_kwargs: Any) -> Fitted:
        fits.append(1)
        return fitted

    monkeypatch.setattr(keeping, "fit_predictor", counted)
    fit_or_kept(one, "gpt", **arguments())
    same = arguments()

    def swapped(values: Any) -> Any:
        return np.concatenate([values[1:], values[:1]])

    wrong = same["wrong"].copy()
    wrong[0] = not wrong[0]
    changes: list[dict[str, Any]] = [
        {"wrong": wrong},
        {"kinds": same["kinds"] * 2},
        {"weights": np.where(np.arange(N) == 5, 2.0, 1.0)},
        {"groups": swapped(same["groups"])},
        {"seed": 1},
        {"signals": same["signals"].mask(same["signals"]["margin"] > 0.99)},
        {"signals": same["signals"].rename(columns={"flipped": "tie"})},
        {"signals": same["signals"].iloc[::-1]},
    ]
    for count, change in enumerate(changes, start=2):
        fit_or_kept(one, "gpt", **{**same, **change})
        assert len(fits) == count, change.keys()
    fit_or_kept(one, "bard", **same)
    fit_or_kept(other, "gpt", **same)
    assert len(fits) == len(changes) + 3
    # Of one judge's the last alone is kept.
    assert SignalTable.objects.filter(project=one, kind=TableKind.FITS).count() == 2
    monkeypatch.setattr(keeping, "_code", lambda: "newer")
    fit_or_kept(one, "bard", **same)
    assert len(fits) == len(changes) + 4


def learnable() -> tuple[Project, list[Pair]]:
    project = make_project()
    pairs = [make_pair(project) for _ in range(130)]
    judge_pairs(make_judge(project), pairs, [("a", "b", "flip")[number % 3] for number in range(len(pairs))])
    answer_pairs(pairs[:120], [("a", "b", "a")[number % 3] for number in range(120)])
    return project, pairs


def test_a_plan_drawn_again_learns_again_only_from_other_answers(fits: list[int]) -> None:
    project, pairs = learnable()

    def draw() -> list[tuple[object, ...]]:
        plan = draw_plan(project, budget=Budget.parse("50%"), judge="gpt")
        return list(plan.routes.order_by("pair_id").values_list("pair_id", "source", "p_wrong"))

    first = draw()
    assert (draw(), len(fits)) == (first, 1)
    Preference.objects.counted().of_people().filter(pair=pairs[0]).update(choice="b")
    assert draw() != first
    assert len(fits) == 2
