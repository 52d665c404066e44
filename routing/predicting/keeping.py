"""The last fit about a judge is kept beside its signals: the very same labels and signals are not learned from twice.

What is kept carries a hash of all that a fit is made of, its code too, so it is either the fit that would be made now
or is not used.
"""

import hashlib
import inspect
from functools import cache
from importlib.metadata import version
from types import ModuleType

import numpy as np
import pandas as pd

from annotation.models import Project
from routing.models import TableKind
from routing.predicting import predictor, scoring
from routing.predicting.predictor import Comparison, Fitted, Kinds, Predictor, fit_predictor
from routing.predicting.scoring import Bools, Floats, Strings
from routing.signals import wording
from routing.signals.tabling import load_table, store_table

P_WRONG = "p_wrong"


def fit_or_kept(
    project: Project,
    key: str,
    signals: pd.DataFrame,
    wrong: Bools,
    groups: Strings,
    *,
    weights: Floats,
    kinds: Kinds,
    seed: int,
) -> Fitted:
    """Return what `fit_predictor` returns for these arguments, kept or fitted now. One fit is kept for each `key`."""
    made_of = _fingerprint(signals, wrong, groups, weights, kinds, seed)
    kept = load_table(project, TableKind.FITS, version=_code(), key=key, fingerprint=made_of)
    if kept is not None:
        comparison = [Comparison(*row) for row in kept.attrs["comparison"]]
        return Fitted(Predictor.from_json(kept.attrs["predictor"]), comparison, kept[P_WRONG].to_numpy())
    fitted = fit_predictor(signals, wrong, groups, weights=weights, kinds=kinds, seed=seed)
    frame = pd.DataFrame({P_WRONG: fitted.out_of_fold}, index=signals.index)
    frame.attrs = {"predictor": fitted.predictor.to_json(), "comparison": [list(row) for row in fitted.comparison]}
    store_table(project, TableKind.FITS, frame, version=_code(), key=key, fingerprint=made_of)
    return fitted


def _fingerprint(signals: pd.DataFrame, wrong: Bools, groups: Strings, weights: Floats, kinds: Kinds, seed: int) -> str:
    """Return a hash of the arguments of a fit; the order of rows and columns counts."""
    digest = hashlib.sha256()
    words = [str(seed), *map(str, signals.columns), *map(str, signals.index), *map(str, groups)]
    digest.update("\0".join(f"{len(word)} {word}" for word in words).encode())
    for numbers in (signals.to_numpy(dtype=np.float64), wrong, weights, kinds):
        digest.update(f"\0{numbers.dtype} {numbers.shape}\0".encode())
        digest.update(np.ascontiguousarray(numbers).tobytes())
    return digest.hexdigest()


@cache
def _code() -> str:
    """Return a hash of what fits: these modules' text, and the versions of the packages that reckon."""
    modules: tuple[ModuleType, ...] = (predictor, scoring, wording)
    parts = [*(inspect.getsource(module) for module in modules), *(version(name) for name in ("lightgbm", "numpy"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
