"""Why a pair is, or is not, for people: the reasons of a plan's routes in words, and the signals they come from."""

import io
from collections.abc import Collection
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

from judges.models import JudgeVersion
from routing.models import Plan, PlanSignals, Route
from routing.predicting.predictor import Predictor

AUDITED = "drawn at random for the audit slice"
FLAGGED = "a response is flagged as speaking to the judge, so no judge may label it alone"
SPLIT = "two judges differ on it, so neither may label it"


def reasons_of(plan: Plan, routes: Collection[Route]) -> dict[UUID, list[str]]:
    """Return the reasons of some of a plan's routes by pair: what was noted at the draw, then the predictor's.

    The predictor's are worked out from the plan's own predictor and signals: a few milliseconds a pair, too long for
    every pair of a plan. Two queries.
    """
    noted = {route.pair_id: list(route.why) for route in routes}
    ranked = {str(route.pair_id): route.pair_id for route in routes if route.p_wrong is not None}
    stored = PlanSignals.objects.filter(plan=plan).first() if ranked else None
    if stored is None:
        return noted
    signals = unpack_signals(stored.data)
    rows = np.flatnonzero(signals.index.isin(list(ranked)))
    predictor = Predictor.from_json(plan.predictor)
    judge = JudgeVersion.objects.select_related("judge").get(pk=plan.figures["judge"]["version_id"]).judge.name
    if predictor.calibrated:
        found = predictor.explain(signals.iloc[rows], judge)
    else:
        # The cold start ranks, so it reads all rows for any.
        everything = predictor.explain(signals, judge)
        found = [everything[row] for row in rows]
    for pair, why in zip(signals.index[rows], found, strict=True):
        noted[ranked[pair]] += why
    return noted


def pack_signals(signals: pd.DataFrame) -> bytes:
    """Return signals (index `pair_id`) as Parquet: the same bytes for the same frame."""
    buffer = io.BytesIO()
    signals.to_parquet(buffer, compression="zstd", index=True)
    return buffer.getvalue()


def unpack_signals(data: Any) -> pd.DataFrame:
    """Return the signals that `pack_signals` wrote."""
    frame: pd.DataFrame = pd.read_parquet(io.BytesIO(bytes(data)))
    return frame
