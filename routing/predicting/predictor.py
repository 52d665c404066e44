"""P(the judge's label differs from people's consensus): cold, logistic, LightGBM or a blend, by cross-validation.

Where it is known how a label was wrong (people see no difference, or prefer the other response, or the judge saw none
where people do), two of the blend's members learn these ways apart and add their probabilities up: on six real sets
that ranked better than one yes or no.

The only module that imports LightGBM, and only inside functions: the import costs 1.4 seconds and 200 MB. It runs on
one thread: a forked child whose parent trained with OpenMP hangs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from routing.predicting.scoring import (
    Bools,
    Floats,
    Strings,
    auroc,
    brier,
    expected_calibration_error,
    fit_logistic,
    fit_platt,
    grouped_folds,
    log_losses,
    logit,
    sigmoid,
)
from routing.signals.wording import about, signal_of, tells

# For each pair, 0 where the judge is right, else a number for the way it is wrong.
Kinds = npt.NDArray[np.int64]
# Fewer cannot carry a calibrated model; the plan then says so and ranks by the cold start.
LABELS_NEEDED = 100
WRONG_NEEDED = 20
GROUPS_NEEDED = 10
REASONS = 3
# A reason weighs at least this share of the strongest one: most pairs have a dozen signals that hardly matter.
LEAST_WEIGHT = 0.3
FOR_THE_JUDGE = "for the judge: "
# Signals of the cold start, already in the order of what they are worth.
COLD_SIGNALS = {"flipped": 2.0, "others_disagree": 2.0, "self_disagrees": 1.0, "margin": 1.0, "prob_spread": 1.0}
# The ridge of the logistic model, in units of one pair, for columns of standard deviation 1.
RIDGE = 30.0
ROUNDS = 120
# A forest of random splits sees what boosting with five leaves cannot; few rows a leaf, since its trees are averaged.
FOREST_TREES = 150
FOREST = {
    "boosting": "rf",
    "extra_trees": True,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "num_leaves": 128,
    "min_data_in_leaf": 3,
    "max_bin": 63,
    "feature_fraction_bynode": 0.3,
}
BOOSTED = {
    "learning_rate": 0.04,
    # Some hundred labels carry stumps and pairs of splits, not 31 leaves.
    "num_leaves": 5,
    "min_data_in_leaf": 20,
    "lambda_l2": 5.0,
    "feature_fraction": 0.5,
}
# Rounds of the boosted trees that tell apart how a judge is wrong: each grows a tree for every way.
KIND_ROUNDS = 100
# A way of being wrong that is rarer is counted with the others: LightGBM cannot learn it from fewer.
KIND_NEEDED = 10
# The blend averages the log-odds of these; a forest that never saw a wrong pair in a leaf must not outvote the others.
BLENDED = ("logistic", "kinds", "forest")
BY_KIND = ("kinds", "forest")
# What reasons are read from: SHAP values of the forest's deep trees would take minutes where these take seconds.
EXPLAINING = ("logistic", "kinds")
LOG_ODDS_LIMIT = 5.0
# From the simplest on: of two that do equally well on held-out groups the former is used.
CANDIDATES = ("logistic", "lightgbm", "blend")


class Comparison(NamedTuple):
    """How a candidate did on held-out groups."""

    kind: str
    auroc: float
    log_loss: float
    brier: float
    ece: float
    chosen: bool


@dataclass(frozen=True)
class Predictor:
    """A fitted predictor that can be written as JSON and read again without a change in any bit of its answers.

    `state` holds what the kind needs: coefficients, or LightGBM's own text. `slope` and `intercept` calibrate.
    """

    kind: str
    columns: tuple[str, ...]
    state: dict[str, Any] = field(default_factory=dict)
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def calibrated(self) -> bool:
        """Say whether `predict` returns probabilities that were fitted to labels."""
        return self.kind != "cold"

    def predict(self, signals: pd.DataFrame) -> Floats:
        """Return P(wrong) for each row. The cold start ranks within the frame: give it all pairs at once."""
        if self.kind == "cold":
            # A stated map, not a measurement: 5 % for the safest pair to 55 % for the most doubtful.
            return np.asarray(0.05 + 0.5 * _cold_parts(signals).sum(axis=1).to_numpy())
        return sigmoid(self.slope * self._raw(signals) + self.intercept)

    def contributions(self, signals: pd.DataFrame) -> pd.DataFrame:
        """Return what each signal adds to a row's score, in the frame's row order (log-odds; ranks when cold)."""
        if self.kind == "cold":
            parts = _cold_parts(signals)
            return parts - parts.mean()
        if self.kind == "blend":
            members = pd.concat([part.contributions(signals) for part in self._parts() if part.kind in EXPLAINING])
            return members.groupby(level=0, sort=False).mean().reindex(signals.index)
        matrix = signals.reindex(columns=list(self.columns))
        if self.kind == "logistic":
            parts = _design(matrix, self.state) * np.array(self.state["coefficients"])[:-1]
            # A signal and the mark that it is missing are one reason.
            owners = pd.Index([*self.columns, *self.state["missing"]])
            return pd.DataFrame(parts, index=signals.index, columns=owners).T.groupby(level=0, sort=False).sum().T
        raw: Floats = np.asarray(
            _booster(self.state["model"]).predict(matrix.to_numpy(), pred_contrib=True, num_threads=1)
        )
        if self.kind in BY_KIND:
            raw = self._toward_wrong(raw.reshape(len(matrix), self.state["classes"], -1))
        return pd.DataFrame(raw[:, :-1] / self._trees_summed, index=signals.index, columns=list(self.columns))

    def explain(self, signals: pd.DataFrame, judge: str) -> list[list[str]]:
        """Return up to three reasons a row, strongest first, that push P(wrong) the way it deviates.

        One reason for each thing that signals tell of, and none that weighs little against the strongest. Reasons that
        speak for the judge are one text that says so.
        """
        parts = self.contributions(signals)
        names = [str(name) for name in parts.columns]
        values = signals.reindex(columns=parts.columns).to_numpy(dtype=float)
        weights = parts.to_numpy(dtype=float)
        doubted = weights.sum(axis=1) >= 0
        toward = weights * np.where(doubted, 1.0, -1.0)[:, None]
        reasons = [_strongest(names, *row, judge) for row in zip(values, toward, strict=True)]
        return [
            said if doubt or not said else [f"{FOR_THE_JUDGE}{'; '.join(said)}"]
            for said, doubt in zip(reasons, doubted, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the predictor as JSON values."""
        return {
            "kind": self.kind,
            "columns": list(self.columns),
            "state": self.state,
            "slope": self.slope,
            "intercept": self.intercept,
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Predictor":
        """Return the predictor that `to_json` wrote."""
        return cls(
            kind=stored["kind"],
            columns=tuple(stored["columns"]),
            state=stored["state"],
            slope=stored["slope"],
            intercept=stored["intercept"],
        )

    def _parts(self) -> list["Predictor"]:
        """Return the members of a blend."""
        return [Predictor(kind, self.columns, state) for kind, state in self.state.items()]

    def _raw(self, signals: pd.DataFrame) -> Floats:
        if self.kind == "blend":
            members = [np.clip(part._raw(signals), -LOG_ODDS_LIMIT, LOG_ODDS_LIMIT) for part in self._parts()]
            return np.asarray(np.mean(members, axis=0))
        matrix = signals.reindex(columns=list(self.columns))
        if self.kind == "logistic":
            coefficients = np.array(self.state["coefficients"])
            return np.asarray(_design(matrix, self.state) @ coefficients[:-1] + coefficients[-1])
        summed = np.asarray(_booster(self.state["model"]).predict(matrix.to_numpy(), raw_score=True, num_threads=1))
        raw: Floats = summed / self._trees_summed
        if self.kind in BY_KIND:
            # log(P(wrong) / P(right)) of a softmax over right and the ways of being wrong.
            return np.asarray(np.logaddexp.reduce(raw[:, 1:], axis=1) - raw[:, 0])
        return raw

    def _toward_wrong(self, parts: Floats) -> Floats:
        """Return what adds to log P(wrong) / P(right) from what adds to each class (n, classes, signals)."""
        scores = parts.sum(axis=2)[:, 1:] / self._trees_summed
        shares = np.exp(scores - np.logaddexp.reduce(scores, axis=1)[:, None])
        return np.asarray(np.einsum("nc,ncs->ns", shares, parts[:, 1:]) - parts[:, 0])

    @property
    def _trees_summed(self) -> int:
        """What LightGBM's sum over trees is divided by: a forest's log-odds are the mean of its trees'."""
        return FOREST_TREES if self.kind == "forest" else 1


def _strongest(names: list[str], values: Floats, weights: Floats, judge: str) -> list[str]:
    """Return what the strongest signals of a row say, one for each thing they are about."""
    said: dict[str, str] = {}
    least = 0.0
    for place in np.argsort(-weights, kind="stable"):
        if weights[place] <= least or len(said) == REASONS:
            break
        name, value = names[place], float(values[place])
        if about(name) not in said and tells(name, value):
            said[about(name)] = signal_of(name).words(value, judge)
            least = max(least, LEAST_WEIGHT * weights[place])
    return list(said.values())


class Fitted(NamedTuple):
    """A predictor, how the candidates compared, and P(wrong) of every training row from folds that left it out."""

    predictor: Predictor
    comparison: list[Comparison]
    out_of_fold: Floats


def cold_predictor(signals: pd.DataFrame) -> Predictor:
    """Return the predictor for a project without labels: mean percentile rank of the signals that are known."""
    return Predictor(kind="cold", columns=tuple(name for name in COLD_SIGNALS if name in signals.columns))


def shortage(signals: pd.DataFrame, wrong: Bools, groups: Strings) -> str:
    """Return why these labels cannot carry a predictor, in words with counts; '' when they can."""
    n, n_wrong, n_groups = len(wrong), int(wrong.sum()), len(set(groups))
    n_least = min(n_wrong, n - n_wrong)
    if n < LABELS_NEEDED:
        return f"too few labels ({n:,} of {LABELS_NEEDED} pairs answered by both)"
    if n_least < WRONG_NEEDED:
        return f"too few labels ({n_least:,} of {WRONG_NEEDED} pairs where the judge was wrong, and as many right)"
    if n_groups < GROUPS_NEEDED:
        return f"too few labels ({n_groups:,} of {GROUPS_NEEDED} prompt groups)"
    return "" if signals.shape[1] else "no signal differs between the pairs that both answered"


def fit_predictor(
    signals: pd.DataFrame,
    wrong: Bools,
    groups: Strings,
    *,
    weights: Floats | None = None,
    kinds: Kinds | None = None,
    seed: int = 0,
    folds: int = 5,
) -> Fitted:
    """Fit logistic, LightGBM and the blend, compare them on held-out prompt groups, return one.

    The one with the lowest log loss there is returned, calibrated (asking the blend to win by a standard error cost
    0.004 of AUROC on six real sets). LightGBM is bound to the known direction of its signals; the blend's trees are
    not, since the bounds cost them 0.005 to 0.02 of AUROC. `signals` is (n, k) with NaN for unknown, `wrong` (n,),
    `groups` (n,) the prompt groups, `weights` (n,) inverse selection probabilities, `kinds` (n,) 0 where right and else
    the way it is wrong (`routing.predicting.labelling.Labelled`). The same arguments give the same bits. Caller checked
    `shortage`.
    """
    # Small matrices on many threads mostly wait for each other (measured: 40 times slower on two busy cores), and the
    # order in which threads add up would show in the last bits.
    with threadpool_limits(limits=1):
        weights = np.ones(len(wrong)) if weights is None else weights
        kinds = wrong.astype(np.int64) if kinds is None else kinds
        return _fit_and_choose(Rows(signals, wrong, kinds, weights / weights.mean()), groups, seed, folds)


class Rows(NamedTuple):
    """What a predictor is fitted to; `weights` have mean 1."""

    signals: pd.DataFrame
    wrong: Bools
    kinds: Kinds
    weights: Floats

    def where(self, mask: Bools) -> "Rows":
        """Return some of the rows."""
        return Rows(self.signals[mask], self.wrong[mask], self.kinds[mask], self.weights[mask])


def _fit_and_choose(rows: Rows, groups: Strings, seed: int, folds: int) -> Fitted:
    signals, wrong, _, weights = rows
    masks = list(grouped_folds(groups, folds, np.random.default_rng(seed)))
    raw = {kind: np.zeros(len(wrong)) for kind in CANDIDATES}
    for mask in masks:
        for kind, fitted in _fit_all(rows.where(~mask), seed).items():
            raw[kind][mask] = fitted._raw(signals[mask])
    held_out = {kind: _calibrated_across(sigmoid(values), wrong, weights, masks) for kind, values in raw.items()}
    losses = {name: np.average(log_losses(p, wrong), weights=weights) for name, (p, _) in held_out.items()}
    kind = min(CANDIDATES, key=lambda name: losses[name])
    p, (slope, intercept) = held_out[kind]
    final = _fit_all(rows, seed, only=kind)[kind]
    predictor = Predictor(final.kind, final.columns, final.state, slope, intercept)
    comparison = [_compared(name, held_out[name][0], wrong, weights, name == kind) for name in held_out]
    comparison.append(_compared("cold", cold_predictor(signals).predict(signals), wrong, weights, chosen=False))
    return Fitted(predictor, comparison, p)


def _calibrated_across(
    p: Floats, wrong: Bools, weights: Floats, masks: list[Bools]
) -> tuple[Floats, tuple[float, float]]:
    """Return held-out probabilities, each calibrated on the other folds, and the calibration of all folds."""
    calibrated = np.zeros(len(p))
    for mask in masks:
        slope, intercept = fit_platt(p[~mask], wrong[~mask], weights[~mask])
        calibrated[mask] = sigmoid(slope * logit(p[mask]) + intercept)
    return calibrated, fit_platt(p, wrong, weights)


def _compared(kind: str, p: Floats, wrong: Bools, weights: Floats, chosen: bool) -> Comparison:
    return Comparison(
        kind=kind,
        auroc=auroc(p, wrong, weights),
        log_loss=float(np.average(log_losses(p, wrong), weights=weights)),
        brier=brier(p, wrong),
        ece=expected_calibration_error(p, wrong),
        chosen=chosen,
    )


def _fit_all(rows: Rows, seed: int, *, only: str | None = None) -> dict[str, Predictor]:
    """Return the candidates, or the one wanted; the blend is made of parts that are fitted once."""
    columns = tuple(rows.signals.columns)
    wanted = CANDIDATES if only is None else (only,)
    parts = {part for kind in wanted for part in (BLENDED if kind == "blend" else (kind,))}
    # In a fixed order: a blend adds up its parts, and the order of a sum shows in its last bits.
    states = {kind: _fit_state(kind, rows, seed) for kind in (*CANDIDATES, *BLENDED) if kind in parts}
    blend = {kind: states[kind] for kind in BLENDED if kind in states}
    return {kind: Predictor(kind, columns, blend if kind == "blend" else states[kind]) for kind in wanted}


def _fit_state(kind: str, rows: Rows, seed: int) -> dict[str, Any]:
    if kind == "logistic":
        return _fit_logistic_state(rows.signals, rows.wrong, rows.weights)
    if kind == "lightgbm":
        known = [signal_of(name) for name in rows.signals.columns]
        bound = [signal.direction if signal.monotone else 0 for signal in known]
        settings = {**BOOSTED, "objective": "binary", "monotone_constraints": bound}
        return {"model": _train_lightgbm(rows, rows.wrong, settings, ROUNDS, seed)}
    classes, target = _classes(rows)
    shape, rounds = (FOREST, FOREST_TREES) if kind == "forest" else (BOOSTED, KIND_ROUNDS)
    settings = {**shape, "objective": "multiclass", "num_class": classes}
    return {"model": _train_lightgbm(rows, target, settings, rounds, seed), "classes": classes}


def _classes(rows: Rows) -> tuple[int, Kinds]:
    """Return how many classes there are and each row's: 0 where right, then the ways of being wrong from 1.

    Rare ways are one class, and so is a way that stands alone: at least right and wrong are told apart.
    """
    ways, counts = np.unique(rows.kinds[rows.wrong], return_counts=True)
    common = [int(way) for way, count in zip(ways, counts, strict=True) if count >= KIND_NEEDED]
    number = {way: place for place, way in enumerate(common, start=1)}
    rest = len(common) + 1
    target = np.array(
        [number.get(int(way), rest) if bad else 0 for way, bad in zip(rows.kinds, rows.wrong, strict=True)]
    )
    if 0 < (target == rest).sum() < KIND_NEEDED and common:
        target[target == rest] = rest - 1
    return int(target.max()) + 1, target


def _fit_logistic_state(signals: pd.DataFrame, wrong: Bools, weights: Floats) -> dict[str, Any]:
    """Impute the median with a mark where anything is missing, standardise, and fit with a ridge."""
    matrix = signals.to_numpy(dtype=float)
    unknown = np.isnan(matrix)
    # A fold may hold no value of a column at all; its median is then any number, since every row is marked.
    medians = np.array([np.median(column[~gone]) if not gone.all() else 0.0 for column, gone in _columns(matrix)])
    state: dict[str, Any] = {
        "medians": medians.tolist(),
        "missing": [name for name, gone in zip(signals.columns, unknown.T, strict=True) if gone.any()],
        "means": [],
        "scales": [],
    }
    design = _design(signals, {**state, "means": 0.0, "scales": 1.0})
    spread = design.std(axis=0)
    state["means"] = design.mean(axis=0).tolist()
    state["scales"] = np.where(spread > 1e-9, spread, 1.0).tolist()
    x = np.column_stack([_design(signals, state), np.ones(len(design))])
    # The intercept is free: a penalty on it would pull the base rate towards one half.
    penalty = np.append(np.full(design.shape[1], RIDGE), 0.0)
    state["coefficients"] = fit_logistic(x, wrong.astype(float), weights, penalty).tolist()
    return state


def _columns(matrix: Floats) -> list[tuple[Floats, Bools]]:
    return [(column, np.isnan(column)) for column in matrix.T]


def _design(signals: pd.DataFrame, state: dict[str, Any]) -> Floats:
    matrix = signals.to_numpy(dtype=float)
    unknown = np.isnan(matrix)
    filled = np.where(unknown, np.array(state["medians"]), matrix)
    marks = unknown[:, [signals.columns.get_loc(name) for name in state["missing"]]].astype(float)
    return np.asarray((np.hstack([filled, marks]) - np.array(state["means"])) / np.array(state["scales"]))


def _train_lightgbm(rows: Rows, target: npt.NDArray[Any], shape: Mapping[str, Any], rounds: int, seed: int) -> str:
    import lightgbm  # noqa: TID251 - this is the one module that may

    settings = {
        **shape,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "seed": seed,
        "verbosity": -1,
    }
    matrix = rows.signals.to_numpy(dtype=float)
    data = lightgbm.Dataset(matrix, label=target.astype(float), weight=rows.weights, params=settings)
    return str(lightgbm.train(settings, data, num_boost_round=rounds).model_to_string())


def _booster(model: str) -> Any:
    import lightgbm  # noqa: TID251 - this is the one module that may

    return lightgbm.Booster(model_str=model)


def _cold_parts(signals: pd.DataFrame) -> pd.DataFrame:
    """Return each cold signal's part of a score between 0 and 1: its percentile rank, oriented and weighted.

    A signal that is not known for a pair gives its weight to those that are; a pair without any gets one half.
    """
    names = [name for name in COLD_SIGNALS if name in signals.columns]
    if not names:
        return pd.DataFrame({"margin": 0.5}, index=signals.index)
    ranks = pd.DataFrame({name: _percentile(signals[name] * signal_of(name).direction) for name in names})
    weights = ranks.notna() * pd.Series({name: COLD_SIGNALS[name] for name in names})
    total = weights.sum(axis=1)
    parts = (ranks.fillna(0.0) * weights).div(total.where(total > 0, 1.0), axis=0)
    parts.loc[total == 0, names[0]] = 0.5
    return parts


def _percentile(values: pd.Series) -> pd.Series:
    """Return ranks scaled to 0..1, ties sharing their mean; one half where all are equal."""
    known = values.notna().sum()
    return (values.rank() - 0.5) / max(known, 1)


# A regression over some hundred mixes: small trees, and as many columns as rows.
VALUES = {"objective": "regression", "learning_rate": 0.05, "num_leaves": 7, "min_data_in_leaf": 10, "lambda_l2": 1.0}
VALUE_ROUNDS = 150


def train_regressor(x: Floats, y: Floats, *, seed: int) -> str:
    """Return LightGBM's text of a regression of `y` (n,) on the columns of `x` (n, k); the same bits for a seed."""
    import lightgbm  # noqa: TID251 - this is the one module that may

    settings = {
        **VALUES,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "seed": seed % 2**31,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(x, label=y, params=settings)
    return str(lightgbm.train(settings, data, num_boost_round=VALUE_ROUNDS).model_to_string())


def predict_values(model: str, x: Floats) -> Floats:
    """Return what a regression of `train_regressor` says of each row of `x` (n, k)."""
    return np.asarray(_booster(model).predict(x, num_threads=1), dtype=float)
