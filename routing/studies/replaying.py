"""Replay: how good the labels would be, had only a share of the human labels been bought.

Runs on pairs that both a judge and people answered. The routed share gets its human label, the rest keeps the judge's,
and agreement with people's consensus is counted, for a random choice, each single signal, the learned predictor and an
oracle that knows where the judge is wrong.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from annotation.aggregating import consensus, vote_frame
from annotation.models import Pair, Project
from judges.frames import judge_preference_frame
from judges.models import JudgeVersion
from routing.auditing.guaranteeing import guarantee_splits
from routing.errors import RoutingError, TooFewLabels
from routing.plans.trusting import find_versions, full_name, judged_right
from routing.predicting.labelling import label_pairs, signals_known
from routing.predicting.predictor import Kinds, fit_predictor, shortage
from routing.predicting.scoring import Bools, Floats, Strings, brier, expected_calibration_error, grouped_folds
from routing.signals.deriving import preferences_together
from routing.signals.measuring import joined
from routing.signals.reading import ROWS_PER_FETCH, read_judged
from routing.signals.wording import signal_of
from routing.studies.resampling import (
    RESAMPLES,
    Calibration,
    Ints,
    Levels,
    Ranking,
    draw_groups,
    interval,
    interval_above_zero,
    must_fix,
)
from routing.studies.rewarding import TARGET_OF, difference_features, proxy_by_budget

TARGETS = (0.9, 0.95)
# What the guarantee is tried at: at most this share of the accepted labels wrong, with confidence 1 - DELTA.
ALPHAS = (0.1, 0.15, 0.2)
DELTA = 0.1
SPLITS = 300
GRID = tuple(step / 20 for step in range(21))
WAYS = ("random", "best_signal", "learned", "oracle")
FOLDS = 5
# Inside a fold the predictor is chosen and calibrated by folds of its own.
INNER_FOLDS = 3
# So many single signals get a band of their own; of the others the curve alone is given.
SIGNALS_SHOWN = 3
MOST_REPEATS = 100
Progress = Callable[[int, int], None]
Keep = Callable[[dict[str, Any], int, int], None]


class ReplayOptions(NamedTuple):
    """What a replay is asked for: shares of human labels, how often the folds are drawn, and its two extra parts."""

    budgets: tuple[float, ...] = (0.1, 0.25, 0.5)
    repeats: int = 20
    proxy: bool = False
    guarantee: bool = False

    def checked(self) -> Self:
        """Return the options. Raises `RoutingError` for a budget that is no share, or too few or too many repeats."""
        if not self.budgets or not all(0 < budget <= 1 for budget in self.budgets):
            raise RoutingError(f"A replay takes budgets above 0 and up to 1 (all pairs), not {list(self.budgets)}.")
        if not 1 <= self.repeats <= MOST_REPEATS:
            raise RoutingError(f"A replay takes 1 to {MOST_REPEATS} repeats, not {self.repeats}.")
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        return {**self._asdict(), "budgets": list(self.budgets)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return the options that `to_json` wrote. Raises `RoutingError` for an unknown one."""
        if unknown := sorted(set(stored) - set(cls._fields)):
            raise RoutingError(f"A replay has no option {', '.join(unknown)}. It has: {', '.join(cls._fields)}.")
        values = dict(stored)
        if "budgets" in values:
            values["budgets"] = tuple(float(budget) for budget in values["budgets"])
        return cls(**values).checked()


class ProxyData(NamedTuple):
    """What a proxy reward model learns from: features of the pairs (n, k), people's and the judge's labels (n,).

    A label is P(a is better): 1, 0.5 or 0.
    """

    features: Floats
    human: Floats
    judge: Floats


class ReplayJudge(NamedTuple):
    """A judge that a replay may be asked for, the pairs that it and people answered, and why not ('' if so)."""

    name: str
    pairs: int
    reason: str


class Held(NamedTuple):
    """What held-out folds said: P(wrong) by repeat (r, n), tie-breaking numbers (r, n) and the predictors chosen."""

    p: Floats
    ties: Floats
    predictors: list[str]


def replay_routing(
    project: Project,
    *,
    judge: str,
    budgets: Sequence[float],
    repeats: int,
    seed: int,
    proxy: bool = False,
    guarantee: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Return the replay of one judge as the JSON that docs/replay.md describes.

    `judge` is a name: alone, all its protocols are taken together; with a protocol, that one. `budgets` are shares.
    Each repeat splits the prompt groups into other folds and orders ties anew. `progress(done, repeats)` is called
    after each. `proxy` adds a small reward model trained on each mix of labels, `guarantee` how the guarantee would
    have held. Raises `RoutingError` for an unknown judge or a budget that is no share, `TooFewLabels` where a predictor
    could not be fitted.
    """
    options = ReplayOptions(tuple(budgets), repeats, proxy, guarantee)
    return replay_study(project, judge=judge, options=options, seed=seed, progress=progress)


def replay_judges(project: Project) -> list[ReplayJudge]:
    """Return a project's judges, those with most doubly labelled pairs first, then by name. Three queries.

    A judge is named alone, for all its protocols together; one that has several is followed by each of them.
    """
    people = consensus(vote_frame(project))["choice"]
    preferences = judge_preference_frame(project)
    group_of = preferences.drop_duplicates("pair_id").set_index("pair_id")["group"]
    versions: dict[str, list[JudgeVersion]] = {}
    for version in JudgeVersion.objects.filter(judge__project=project).select_related("judge").order_by("number"):
        versions.setdefault(version.judge.name, []).append(version)
    named: dict[str, list[JudgeVersion]] = {}
    for judge, its in versions.items():
        named[judge] = its
        if len({version.protocol for version in its}) > 1:
            named |= {full_name(version): [version] for version in its if version.protocol}
    found = []
    for name, its in named.items():
        choice = preferences_together(preferences, [str(version.pk) for version in its])["choice"]
        right = judged_right(choice, people.reindex(choice.index)).dropna()
        wrong, groups = (right == 0.0).to_numpy(), group_of.reindex(right.index).to_numpy(dtype=object)
        found.append(ReplayJudge(name, len(right), shortage(pd.DataFrame({"any": right}), wrong, groups)))
    return sorted(found, key=lambda one: (-one.pairs, one.name))


def replay_study(
    project: Project,
    *,
    judge: str,
    options: ReplayOptions,
    seed: int,
    progress: Progress | None = None,
    kept: Mapping[str, Any] | None = None,
    keep: Keep | None = None,
) -> dict[str, Any]:
    """Return `replay_routing`'s JSON, with what the options add; a job that may be taken up again.

    `keep(finished, done, repeats)` is called after each repeat with all that is finished, as JSON; given back as `kept`
    those repeats are not calculated again, provided that the data are still the same.
    """
    options = options.checked()
    versions = find_versions(project, judge)
    judged = read_judged(project, versions)
    labelled = label_pairs(project, judged)
    groups = judged.groups.to_numpy(dtype=object)[labelled.rows]
    signals = signals_known(judged, labelled.rows)
    if reason := shortage(signals, labelled.wrong, groups):
        raise TooFewLabels(f"Replay of {judge} in {project}: {reason}. Let people answer more of the judge's pairs.")
    frame = replay_frame(
        signals,
        labelled.wrong,
        groups,
        kinds=labelled.kinds,
        budgets=options.budgets,
        repeats=options.repeats,
        seed=seed,
        guarantee=options.guarantee,
        proxy=_read_proxy(project, judged.choice[labelled.rows]) if options.proxy else None,
        progress=progress,
        kept=kept,
        keep=keep,
    )
    excluded = {"contested": labelled.contested, "without_people": labelled.unanswered}
    excluded["without_judge"] = int((judged.choice == "").sum())
    protocols = sorted({version.protocol for version in versions})
    return {"judge": versions[0].judge.name, "protocols": protocols, "excluded": excluded, **frame}


def replay_frame(
    signals: pd.DataFrame,
    wrong: Bools,
    groups: Strings,
    *,
    kinds: Kinds | None = None,
    budgets: Sequence[float],
    repeats: int,
    seed: int,
    guarantee: bool = False,
    proxy: ProxyData | None = None,
    progress: Progress | None = None,
    kept: Mapping[str, Any] | None = None,
    keep: Keep | None = None,
) -> dict[str, Any]:
    """Return the figures of a replay of n pairs: `signals` (n, k), `wrong`, `groups`, `kinds` (n,). Pure."""
    kinds = wrong.astype(np.int64) if kinds is None else kinds
    held = _hold_out(signals, wrong, groups, kinds, repeats, seed, progress, kept or {}, keep)
    single = {str(name): _oriented(signals[name], wrong) for name in signals.columns}
    ones = np.ones(len(wrong), dtype=np.int64)
    by_signal = {name: Levels(scores, wrong).auroc(ones) for name, scores in single.items()}
    ranked = sorted(by_signal, key=lambda name: (-by_signal[name], name))
    measured = _Measured(held, single, ranked, wrong, np.array(sorted({*GRID, *budgets})))
    for number, counts in enumerate(draw_groups(groups, RESAMPLES, np.random.default_rng([seed, 1]))):
        measured.add(number % repeats, counts)
    best = ranked[0]
    learned = measured.auroc_learned
    more: dict[str, Any] = {}
    if guarantee:
        p = held.p.mean(axis=0)
        more["guarantee"] = [
            guarantee_splits(p, wrong, groups, alpha=alpha, delta=DELTA, splits=SPLITS, seed=seed) for alpha in ALPHAS
        ]
    if proxy:
        more["proxy"] = proxy_by_budget(
            proxy.features,
            proxy.human,
            proxy.judge,
            {"best_signal": single[best], "learned": held.p},
            groups,
            budgets=budgets,
            repeats=repeats,
            seed=seed,
        )
    return {
        "pairs": len(wrong),
        "groups": len(set(groups)),
        "judge_accuracy": float(1 - wrong.mean()),
        "repeats": repeats,
        "seed": seed,
        "predictor": Counter(held.predictors).most_common(1)[0][0],
        "predictors_chosen": dict(sorted(Counter(held.predictors).items())),
        "auroc": {"learned": learned, **by_signal},
        "auroc_learned": interval(learned, measured.aurocs["learned"]),
        "auroc_best_signal": {"name": best, "value": by_signal[best]},
        "learned_minus_best_signal": interval(
            learned - by_signal[best], np.subtract(measured.aurocs["learned"], measured.aurocs[best])
        ),
        "signals": [
            {
                "name": name,
                "auroc": interval(by_signal[name], measured.aurocs[name]),
                "known": float(signals[name].notna().mean()),
                "agreement": measured.curve_of(name),
            }
            for name in ranked
        ],
        "calibration": measured.calibration(),
        "grid": list(GRID),
        "curves": {way: measured.band(way) for way in measured.ways},
        "budgets": [measured.at_budget(budget) for budget in budgets],
        "share_for_target": [measured.for_target(number, target) for number, target in enumerate(TARGETS)],
        **more,
    }


def _read_proxy(project: Project, judge: pd.Series) -> ProxyData:
    """Return what the proxy reward model learns from on the pairs that `judge` (the judge's choices) is indexed by."""
    people = consensus(vote_frame(project))["choice"].reindex(judge.index)
    fields = ("id", "prompt__messages", "response_a__messages", "response_b__messages")
    rows = Pair.objects.filter(project=project).values_list(*fields).iterator(chunk_size=ROWS_PER_FETCH)
    wanted = set(judge.index)
    texts = {str(row[0]): tuple(joined(messages) for messages in row[1:]) for row in rows if str(row[0]) in wanted}
    prompts, a, b = zip(*(texts[pair_id] for pair_id in judge.index), strict=True)
    return ProxyData(
        features=difference_features(prompts, a, b),
        human=np.array(people.map(TARGET_OF), dtype=np.float64),
        judge=np.array(judge.map(TARGET_OF), dtype=np.float64),
    )


def _hold_out(
    signals: pd.DataFrame,
    wrong: Bools,
    groups: Strings,
    kinds: Kinds,
    repeats: int,
    seed: int,
    progress: Progress | None,
    kept: Mapping[str, Any],
    keep: Keep | None,
) -> Held:
    """Return P(wrong) of every pair from folds that never saw its prompt group, choice and calibration included."""
    p = np.zeros((repeats, len(wrong)))
    ties = np.zeros_like(p)
    predictors: list[str] = []
    mark = _fingerprint(signals, kinds, groups, seed)
    finished = list(kept["repeats"][:repeats]) if kept.get("fingerprint") == mark else []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, 0, repeat])
        ties[repeat] = rng.random(len(wrong))
        if repeat < len(finished):
            p[repeat] = _unpacked(finished[repeat]["p"])
            predictors += finished[repeat]["predictors"]
            continue
        chosen = []
        for mask in grouped_folds(groups, FOLDS, rng):
            fitted = fit_predictor(
                signals[~mask],
                wrong[~mask],
                groups[~mask],
                kinds=kinds[~mask],
                seed=int(rng.integers(2**31)),
                folds=INNER_FOLDS,
            )
            p[repeat, mask] = fitted.predictor.predict(signals[mask])
            chosen.append(fitted.predictor.kind)
        predictors += chosen
        if keep:
            finished.append({"p": _packed(p[repeat]), "predictors": chosen})
            keep({"fingerprint": mark, "repeats": finished}, repeat + 1, repeats)
        if progress:
            progress(repeat + 1, repeats)
    return Held(p, ties, predictors)


def _fingerprint(signals: pd.DataFrame, kinds: Kinds, groups: Strings, seed: int) -> str:
    """Return a hash of everything that a repeat depends on."""
    digest = hashlib.sha256(f"{seed} {FOLDS} {INNER_FOLDS} {list(signals.columns)} {list(groups)}".encode())
    digest.update(np.ascontiguousarray(signals.to_numpy(dtype=float)).tobytes())
    digest.update(kinds.tobytes())
    return digest.hexdigest()


def _packed(values: Floats) -> str:
    return base64.b64encode(values.astype("<f8").tobytes()).decode()


def _unpacked(text: str) -> Floats:
    return np.frombuffer(base64.b64decode(text), dtype="<f8")


def _oriented(values: pd.Series, wrong: Bools) -> Floats:
    """Return a signal as a score of doubt: unknown values in the middle, turned the way that fits the labels best.

    Choosing the direction, and then the best signal, with hindsight makes the single signal harder to beat.
    """
    scores = (values * signal_of(str(values.name)).direction).to_numpy(dtype=float)
    scores = np.where(np.isnan(scores), np.nanmedian(scores), scores)
    return scores if Levels(scores, wrong).auroc(np.ones(len(wrong), dtype=np.int64)) >= 0.5 else -scores


class _Measured:
    """What the ways of choosing reach on all pairs, and in each bootstrap sample as it comes by.

    `budgets` (b,) holds the grid and what was asked for. A sample is measured in one of the repeats, in turn, so that
    an interval holds both what other prompts and what other folds would change.
    """

    def __init__(
        self, held: Held, single: dict[str, Floats], ranked: Sequence[str], wrong: Bools, budgets: Floats
    ) -> None:
        self.held, self.wrong, self.budgets = held, wrong, budgets
        self.ones = np.ones(len(wrong), dtype=np.int64)
        self.rankings = {
            name: [Ranking(single[name], ties, wrong) for ties in held.ties] for name in ranked[:SIGNALS_SHOWN]
        }
        self.rankings["best_signal"] = self.rankings[ranked[0]]
        self.rankings["learned"] = [Ranking(p, ties, wrong) for p, ties in zip(held.p, held.ties, strict=True)]
        self.levels = {name: Levels(scores, wrong) for name, scores in single.items()}
        self.levels_learned = [Levels(p, wrong) for p in held.p]
        self.bins = Calibration(held.p, wrong)
        self.single = single
        self.ways = (*WAYS, *ranked[:SIGNALS_SHOWN])
        self.agreements: dict[str, list[Floats]] = {way: [] for way in self.ways}
        self.shares: dict[str, list[Floats]] = {way: [] for way in self.ways}
        self.aurocs: dict[str, list[float]] = {name: [] for name in ("learned", *single)}
        self.eces: list[float] = []
        self.seen: list[Floats] = []
        # On all pairs, the mean over the repeats.
        everything = [(repeat, self.ones) for repeat in range(len(held.p))]
        self.reached = {way: np.mean([self._agreement(way, *it) for it in everything], axis=0) for way in self.ways}
        self.needed = {way: np.mean([self._share(way, *it) for it in everything], axis=0) for way in self.ways}

    @property
    def auroc_learned(self) -> float:
        """Return the learned predictor's AUROC, the mean over the repeats."""
        return float(np.mean([levels.auroc(self.ones) for levels in self.levels_learned]))

    def add(self, repeat: int, counts: Ints) -> None:
        """Measure everything in one sample."""
        for way in self.ways:
            self.agreements[way].append(self._agreement(way, repeat, counts))
            self.shares[way].append(self._share(way, repeat, counts))
        for name, levels in self.levels.items():
            self.aurocs[name].append(levels.auroc(counts))
        self.aurocs["learned"].append(self.levels_learned[repeat].auroc(counts))
        self.eces.append(self.bins.ece(repeat, counts))
        self.seen.append(self.bins.seen(counts))

    def band(self, way: str) -> list[dict[str, float]]:
        """Return agreement with its interval at each budget of the grid."""
        return [self._figure(way, budget) for budget in GRID]

    def curve_of(self, name: str) -> list[float]:
        """Return a single signal's agreement at each budget of the grid."""
        rankings = self.rankings.get(name) or [Ranking(self.single[name], it, self.wrong) for it in self.held.ties]
        grid = np.array(GRID)
        return [float(it) for it in np.mean([ranking.agreement(grid, self.ones) for ranking in rankings], axis=0)]

    def at_budget(self, budget: float) -> dict[str, Any]:
        """Return the agreement of each way at one budget, and what the learned predictor gains."""
        figures = {way: self._figure(way, budget) for way in WAYS}
        return {
            "budget": budget,
            "agreement": {way: figure["mean"] for way, figure in figures.items()},
            "intervals": {way: {"low": it["low"], "high": it["high"]} for way, it in figures.items()},
            "learned_minus_random": self._gain("random", budget),
            "learned_minus_best_signal": self._gain("best_signal", budget),
        }

    def for_target(self, number: int, target: float) -> dict[str, Any]:
        """Return the human share that each way needs for an agreement, with intervals."""
        shares = {way: float(self.needed[way][number]) for way in WAYS}
        intervals = {way: interval(shares[way], [sample[number] for sample in self.shares[way]]) for way in WAYS}
        return {
            "target": target,
            **shares,
            "intervals": {way: {"low": it["low"], "high": it["high"]} for way, it in intervals.items()},
        }

    def calibration(self) -> dict[str, Any]:
        """Return how far P(wrong) is off: the means over the repeats, and the curve over all of them."""
        ece = float(np.mean([expected_calibration_error(p, self.wrong) for p in self.held.p]))
        around = interval_above_zero(ece, self.eces)
        return {
            "ece": ece,
            "ece_low": around["low"],
            "ece_high": around["high"],
            "brier": float(np.mean([brier(p, self.wrong) for p in self.held.p])),
            "curve": self.bins.curve(np.array(self.seen)),
        }

    def _figure(self, way: str, budget: float) -> dict[str, float]:
        at = int(np.flatnonzero(self.budgets == budget)[0])
        return interval(self.reached[way][at], [sample[at] for sample in self.agreements[way]])

    def _gain(self, over: str, budget: float) -> dict[str, float]:
        at = int(np.flatnonzero(self.budgets == budget)[0])
        samples = zip(self.agreements["learned"], self.agreements[over], strict=True)
        return interval(
            self.reached["learned"][at] - self.reached[over][at], [mine[at] - other[at] for mine, other in samples]
        )

    def _agreement(self, way: str, repeat: int, counts: Ints) -> Floats:
        """Return the agreement at each budget in one sample; 'random' is its exact expectation, not a draw."""
        if way in self.rankings:
            return self.rankings[way][repeat].agreement(self.budgets, counts)
        n, errors = int(counts.sum()), int(counts @ self.wrong)
        asked = (self.budgets * n + 1e-9).astype(np.int64)
        left = errors * (1 - asked / n) if way == "random" else np.maximum(0, errors - asked)
        return np.asarray(1 - left / n)

    def _share(self, way: str, repeat: int, counts: Ints) -> Floats:
        """Return the human share needed for each target in one sample."""
        targets = np.array(TARGETS)
        if way in self.rankings:
            return self.rankings[way][repeat].needed(targets, counts)
        n, errors = int(counts.sum()), int(counts @ self.wrong)
        fixed = must_fix(targets, n, errors)
        return np.asarray(fixed / max(errors, 1) if way == "random" else fixed / n)
