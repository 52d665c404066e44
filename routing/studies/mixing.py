"""What a whole mix of people's and judges' labels is worth: an experiment on pairs that both have labelled.

The published router forecasts the score of a reward model from counts of tags among the pairs that people label. Here
candidate mixes are drawn, a proxy reward model (`routing.studies.rewarding`) is trained on each, its score on people's
held-out labels is regressed on what the mix is made of (`routing.studies.forecasting`), and the best regression
searches many more mixes. Prompt groups that took no part in any of this tell whether the mix it picks is really better.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from annotation.aggregating import consensus, vote_frame
from annotation.models import Pair, Project
from routing.errors import RoutingError, TooFewLabels
from routing.plans.arranging import cluster_texts
from routing.plans.trusting import find_versions
from routing.predicting.labelling import Labelled, label_pairs, signals_known
from routing.predicting.predictor import Kinds, fit_predictor, shortage
from routing.predicting.scoring import Bools, Floats, Strings, grouped_folds, logit
from routing.signals.measuring import joined
from routing.signals.reading import Judged, read_judged
from routing.studies.forecasting import LEAST_SPEARMAN, Forecast, as_json, compare_regressions, fit_regression
from routing.studies.rewarding import (
    FOLDS,
    TARGET_OF,
    GroupBootstrap,
    difference_features,
    fit_heads,
    held_out_hits,
    hits,
    mean_hits,
)

# Fewer make scores of mixes that differ by luck alone.
PAIRS_NEEDED = 200
MIXES_NEEDED, MOST_MIXES = 60, 5_000
MOST_CANDIDATES = 20_000
MOST_BUDGETS = 6
# Prompt groups kept away from the search, to check what it recommends.
CHECK_SHARE = 0.25
MIXES_A_ROUND = 64
RANDOM_CHECKS = 20
TOP = 5
LEANS = 8
BINS = ("low", "middle", "high")
# Tags that are no signals: how likely the judge is wrong, and which prompts are about the same.
DOUBT, CLUSTER, NOT_KNOWN = "P(wrong)", "cluster ", "not known"
EXAMPLE_CHARACTERS = 80
IDS_PER_QUERY = 2_000
Choices = npt.NDArray[np.bool_]
Progress = Callable[[int, int], None]


class MixOptions(NamedTuple):
    """How a search runs: shares of people's labels, mixes to train a proxy on, mixes to search for each budget."""

    budgets: tuple[float, ...] = (0.1, 0.25, 0.5)
    mixes: int = 500
    candidates: int = 1024

    def checked(self) -> Self:
        """Return the options. Raises `RoutingError` that names the option, its value and what it takes."""
        budgets = self.budgets
        if not 1 <= len(set(budgets)) == len(budgets) <= MOST_BUDGETS or not all(0 < it < 1 for it in budgets):
            raise RoutingError(
                f"A search takes one to {MOST_BUDGETS} budgets above 0 and below 1 (all pairs), not {list(budgets)}."
            )
        if not MIXES_NEEDED <= self.mixes <= MOST_MIXES:
            raise RoutingError(f"A search trains {MIXES_NEEDED} to {MOST_MIXES:,} mixes, not {self.mixes:,}.")
        if not 1 <= self.candidates <= MOST_CANDIDATES:
            raise RoutingError(f"A search looks at 1 to {MOST_CANDIDATES:,} mixes a budget, not {self.candidates:,}.")
        return self

    def shares(self) -> list[float]:
        """Return the budget of each mix to train: all budgets in turn."""
        return [self.budgets[at % len(self.budgets)] for at in range(self.mixes)]

    def to_json(self) -> dict[str, Any]:
        """Return the options as JSON values."""
        return {**self._asdict(), "budgets": list(self.budgets)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return the options that `to_json` wrote. Raises `RoutingError` for an unknown one."""
        if unknown := sorted(set(stored) - set(cls._fields)):
            raise RoutingError(f"A search has no option {', '.join(unknown)}. It has: {', '.join(cls._fields)}.")
        values = dict(stored)
        if "budgets" in values:
            values["budgets"] = tuple(float(budget) for budget in values["budgets"])
        return cls(**values).checked()


class MixPairs(NamedTuple):
    """The n pairs that mixes are made of; arrays are (n,).

    `human` and `judge` are labels as P(a is better), `wrong` says where they differ three ways, `weights` are inverse
    odds of having been asked, `kinds` is `routing.predicting.labelling.Labelled`'s, `clusters` numbers prompts that are
    about the same.
    """

    pair_ids: list[str]
    groups: Strings
    human: Floats
    judge: Floats
    wrong: Bools
    weights: Floats
    kinds: Kinds
    signals: pd.DataFrame
    clusters: npt.NDArray[np.intp]
    texts: list[tuple[str, str, str]]

    def of(self, rows: Bools) -> "MixPairs":
        """Return some of the pairs."""
        places = np.flatnonzero(rows)
        return MixPairs(
            [self.pair_ids[place] for place in places],
            self.groups[rows],
            self.human[rows],
            self.judge[rows],
            self.wrong[rows],
            self.weights[rows],
            self.kinds[rows],
            self.signals[rows],
            self.clusters[rows],
            [self.texts[place] for place in places],
        )


class MixWorld(NamedTuple):
    """Pairs with what mixes are drawn from and described by: P(wrong) (n,) and `tags` (n, j), 1 where a pair has it."""

    p_wrong: Floats
    tags: pd.DataFrame


def search_mixes(
    project: Project, *, judge: str, options: Mapping[str, Any], seed: int, progress: Progress | None = None
) -> dict[str, Any]:
    """Return the search over mixes of one judge's and people's labels, as the JSON of the page Mixes (docs/replay.md).

    `options` are those of `MixOptions`. Reads the database, then works in memory: 500 mixes of 10,000 pairs take about
    two minutes. `progress(done, steps)` is called after every step of seconds. Raises `RoutingError` for an unknown
    judge or option, `TooFewLabels` where too few pairs were answered by both.
    """
    asked = MixOptions.from_json(options)
    pairs = read_mix_pairs(project, judge, seed)
    x = difference_features(*(list(column) for column in zip(*pairs.texts, strict=True)))
    return {"judge": judge, **search_frame(pairs, x, asked, seed=seed, name=f"{judge} in {project}", progress=progress)}


def search_frame(
    pairs: MixPairs, x: Floats, options: MixOptions, *, seed: int, name: str = "", progress: Progress | None = None
) -> dict[str, Any]:
    """Return the figures of a search over mixes of `pairs` with frozen features `x` (n, k). Reads no database."""
    with threadpool_limits(limits=1):
        return _search(pairs, x, options, seed, name, progress)


def _search(
    pairs: MixPairs, x: Floats, options: MixOptions, seed: int, name: str, progress: Progress | None
) -> dict[str, Any]:
    steps = _Steps(progress, -(-options.mixes // MIXES_A_ROUND) + len(options.budgets) + 1)
    check = next(grouped_folds(pairs.groups, round(1 / CHECK_SHARE), np.random.default_rng([seed, 21])))
    part = pairs.of(~check)
    world = world_of(part, seed, name)
    n = len(part.human)
    z, budgets, _ = draw_mixes(world, options.shares(), seed)
    score = _Scorer(part, x[~check], seed)
    scores = np.concatenate([steps.after(score(z[:, at : at + MIXES_A_ROUND])) for at in _rounds(options.mixes)])
    features = mix_features(z, world)
    forecasts = compare_regressions(features, scores, budgets, seed=seed)
    chosen = next(forecast for forecast in forecasts if forecast.chosen)
    refusal = refusal_of(chosen)
    predict = fit_regression(chosen.name, features, scores, budgets, seed=seed)
    steps.after(None)
    checker = _Checker(part, x[~check], pairs.of(check), x[check], seed)
    rows = []
    for place, budget in enumerate(options.budgets):
        searched, asked, kinds = draw_mixes(
            world, [budget] * options.candidates, seed, start=(place + 1) * MOST_CANDIDATES
        )
        guessed = predict(mix_features(searched, world), asked)
        order = np.argsort(-guessed, kind="stable")[:TOP]
        plain = plain_mixes(world, budget, seed)
        expected = {
            way: float(predict(mix_features(mix, world), np.full(mix.shape[1], budget)).mean())
            for way, mix in plain.items()
        }
        recommended = {} if refusal else {"recommended": searched[:, order[:1]]}
        ways = {**recommended, **plain}
        row = {
            "budget": budget,
            "people": int(searched[:, 0].sum()),
            "predicted": {**({} if refusal else {"recommended": float(guessed[order[0]])}), **expected},
            "check": checker(ways),
            "agreement": {way: agreement_of(mix, world.p_wrong) for way, mix in ways.items()},
        }
        if not refusal:
            row["trained"] = float(score(searched[:, order[:1]])[0])
            row["top"] = [
                {
                    "predicted": float(guessed[at]),
                    "kind": kinds[at],
                    "agreement": agreement_of(searched[:, [at]], world.p_wrong),
                    "leans": leans_of(searched[:, at], world.tags),
                }
                for at in order
            ]
        rows.append(steps.after(row))
    single = score(np.column_stack([np.ones(n, dtype=bool), np.zeros(n, dtype=bool)]))
    return {
        "seed": seed,
        "options": options.to_json(),
        "pairs": len(pairs.human),
        "groups": len(set(pairs.groups)),
        "pairs_searched": n,
        "pairs_checked": int((pairs.of(check).human != 0.5).sum()),
        "judge_accuracy": float(1 - pairs.wrong.mean()),
        "all_people": float(single[0]),
        "all_judge": float(single[1]),
        "forecasts": [as_json(forecast) for forecast in forecasts],
        "least_spearman": LEAST_SPEARMAN,
        "refusal": refusal,
        "clusters": _examples(part),
        "points": points_of(chosen, scores, budgets),
        "budgets": rows,
    }


def refusal_of(chosen: Forecast) -> str:
    """Return why nothing is recommended, in words with the figure; '' where the forecast can order mixes."""
    found = chosen.spearman
    if found["mean"] >= LEAST_SPEARMAN:
        return ""
    figure = f"{found['mean']:.2f} ({found['low']:.2f} to {found['high']:.2f})"
    return (
        f"The predictor cannot rank mixes here: Spearman {figure} among mixes of the same budget, below"
        f" {LEAST_SPEARMAN}."
    )


def points_of(chosen: Forecast, scores: Floats, budgets: Floats) -> list[dict[str, float]]:
    """Return a point a mix: its budget, the score forecast while it was held out, and the score it got."""
    return [
        {"budget": float(budget), "predicted": float(predicted), "actual": float(score)}
        for budget, predicted, score in zip(budgets, chosen.predicted, scores, strict=True)
    ]


def read_mix_pairs(project: Project, judge: str, seed: int) -> MixPairs:
    """Return the pairs that the judge and people both answered. Raises `TooFewLabels` below 200 of them."""
    judged = read_judged(project, find_versions(project, judge))
    labelled = label_pairs(project, judged)
    n = int(labelled.rows.sum())
    if n < PAIRS_NEEDED:
        raise TooFewLabels(
            f"A search over mixes of {judge} in {project}: too few labels ({n:,} of {PAIRS_NEEDED} pairs answered by"
            " both). Let people answer more of the judge's pairs."
        )
    human = consensus(vote_frame(project))["choice"].reindex(judged.choice.index)[labelled.rows]
    return _pairs_of(judged, labelled, human, seed)


def _pairs_of(judged: Judged, labelled: Labelled, human: pd.Series, seed: int) -> MixPairs:
    rows = labelled.rows
    pair_ids = [str(pair_id) for pair_id in judged.choice.index[rows]]
    texts = _texts(pair_ids)
    return MixPairs(
        pair_ids=pair_ids,
        groups=judged.groups.to_numpy(dtype=object)[rows],
        human=_targets(human),
        judge=_targets(judged.choice[rows]),
        wrong=labelled.wrong,
        weights=labelled.weights,
        kinds=labelled.kinds,
        signals=signals_known(judged, rows),
        clusters=cluster_texts([prompt for prompt, _, _ in texts], seed),
        texts=texts,
    )


def _targets(choices: pd.Series) -> Floats:
    return np.array([TARGET_OF[str(choice)] for choice in choices], dtype=float)


def _texts(pair_ids: Sequence[str]) -> list[tuple[str, str, str]]:
    found: dict[str, tuple[str, str, str]] = {}
    for start in range(0, len(pair_ids), IDS_PER_QUERY):
        rows = Pair.objects.filter(pk__in=pair_ids[start : start + IDS_PER_QUERY]).values_list(
            "id", "prompt__messages", "response_a__messages", "response_b__messages"
        )
        found |= {str(pair_id): (joined(prompt), joined(a), joined(b)) for pair_id, prompt, a, b in rows}
    return [found[pair_id] for pair_id in pair_ids]


def world_of(pairs: MixPairs, seed: int, name: str = "") -> MixWorld:
    """Return P(wrong) from folds that left a pair out, and the tags. Raises `TooFewLabels` where none can be fitted."""
    if reason := shortage(pairs.signals, pairs.wrong, pairs.groups):
        raise TooFewLabels(f"A search over mixes of {name}: {reason}. Let people answer more of the judge's pairs.")
    fitted = fit_predictor(
        pairs.signals, pairs.wrong, pairs.groups, weights=pairs.weights, kinds=pairs.kinds, seed=seed
    )
    return MixWorld(fitted.out_of_fold, tags_of(pairs.signals, fitted.out_of_fold, pairs.clusters))


def tags_of(signals: pd.DataFrame, p_wrong: Floats, clusters: npt.NDArray[np.intp]) -> pd.DataFrame:
    """Return what each pair carries (n, j), 0 or 1, for features of mixes: signals, P(wrong) and clusters of prompts.

    A signal of two values is one tag. Any other gives three, by percentile over *all* pairs (a value on an edge is in
    the lower one, so that each pair is in exactly one), and a fourth where it is not known.
    """
    columns: dict[str, npt.NDArray[np.bool_]] = {}
    for name, values in {DOUBT: pd.Series(p_wrong, index=signals.index), **dict(signals.items())}.items():
        known = values.notna().to_numpy()
        if values.nunique() <= 2:
            columns[str(name)] = known & (values == values.max()).to_numpy()
        else:
            places = values.rank(pct=True).to_numpy()
            for at, part in enumerate(BINS):
                columns[f"{name}: {part}"] = known & (places > at / 3) & (places <= (at + 1) / 3)
        columns[f"{name}: {NOT_KNOWN}"] = ~known
    for cluster in np.unique(clusters):
        columns[f"{CLUSTER}{cluster + 1}"] = clusters == cluster
    frame = pd.DataFrame(columns, index=signals.index)
    # What all pairs or none carry tells mixes apart no more than their size does.
    return frame.loc[:, frame.any() & ~frame.all()].astype(np.float32)


def draw_mixes(
    world: MixWorld, shares: Sequence[float], seed: int, *, start: int = 0
) -> tuple[Choices, Floats, list[str]]:
    """Return m mixes as columns (n, m), True where people label the pair, with their budgets (m,) and kinds.

    A mix of share b has exactly the whole part of b·n such pairs. Kinds come in turn: `clumps`, as published (tags in
    random order, each one's pairs until the budget is spent); `doubts` (P(wrong) with more or less noise: from the
    router's choice to a random one); `leaning` (the same with a liking or dislike of some tags). Mix number i depends
    on the seed and `start` + i alone.
    """
    doubt = logit(world.p_wrong)
    doubt = (doubt - doubt.mean()) / max(float(doubt.std()), 1e-9)
    tags = world.tags.to_numpy()
    members = [np.flatnonzero(column) for column in tags.T]
    z = np.zeros((len(doubt), len(shares)), dtype=bool)
    kinds = []
    for column, share in enumerate(shares):
        rng = np.random.default_rng([seed, 31, start + column])
        n_people = int(share * len(doubt) + 1e-9)
        kind = ("clumps", "doubts", "leaning")[column % 3]
        if kind == "clumps":
            chosen = _clumped(members, n_people, len(doubt), rng)
        else:
            scores = doubt + 10 ** rng.uniform(-1.5, 1.5) * rng.gumbel(size=len(doubt))
            if kind == "leaning" and tags.shape[1]:
                liked = rng.permutation(tags.shape[1])[: 1 + rng.integers(4)]
                scores = scores + tags[:, liked] @ rng.normal(scale=2.0, size=len(liked))
            chosen = np.argsort(-scores, kind="stable")[:n_people]
        z[chosen, column] = True
        kinds.append(kind)
    return z, np.array(shares, dtype=float), kinds


def _clumped(
    members: Sequence[npt.NDArray[np.intp]], n_people: int, n: int, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    taken = np.zeros(n, dtype=bool)
    left = n_people
    # At last come pairs without any tag.
    for tag in [*rng.permutation(len(members)), -1]:
        pool = np.arange(n) if tag < 0 else members[tag]
        fresh = rng.permutation(pool[~taken[pool]])[:left]
        taken[fresh] = True
        left -= len(fresh)
        if left == 0:
            break
    return np.flatnonzero(taken)


def tag_counts(z: Choices, tags: pd.DataFrame) -> Floats:
    """Return how many of each mix's people's pairs carry each tag (m, j): the published features."""
    return np.asarray(z.T.astype(np.float32) @ tags.to_numpy(), dtype=float)


def mix_features(z: Choices, world: MixWorld) -> Floats:
    """Return the features of m mixes (m, j + 2): tag counts, the number of people's pairs, the agreement expected."""
    expected = [agreement_of(z[:, [column]], world.p_wrong) for column in range(z.shape[1])]
    return np.column_stack([tag_counts(z, world.tags), z.sum(axis=0), expected])


def agreement_of(z: Choices, p_wrong: Floats) -> float:
    """Return the share of labels expected to be people's: 1 - the mean of P(wrong) over what the judge labels."""
    return float(1 - (p_wrong @ ~z).mean() / len(p_wrong))


def leans_of(mix: Choices, tags: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the tags by which a mix's people's pairs differ most from all pairs, with both shares."""
    among, everywhere = tags.to_numpy()[mix].mean(axis=0), tags.to_numpy().mean(axis=0)
    order = np.argsort(-np.abs(among - everywhere), kind="stable")[:LEANS]
    return [
        {"tag": str(tags.columns[at]), "among_people": float(among[at]), "among_all": float(everywhere[at])}
        for at in order
    ]


def _examples(pairs: MixPairs) -> dict[str, str]:
    """Return the start of a prompt for each cluster, the shortest one in it."""
    examples = {}
    for cluster in np.unique(pairs.clusters):
        prompts = {pairs.texts[at][0] for at in np.flatnonzero(pairs.clusters == cluster)}
        examples[f"{CLUSTER}{cluster + 1}"] = min(prompts, key=lambda prompt: (len(prompt), prompt))[
            :EXAMPLE_CHARACTERS
        ]
    return examples


def plain_mixes(world: MixWorld, budget: float, seed: int) -> dict[str, Choices]:
    """Return what a mix must beat at its budget: the router's choice, and random ones."""
    n = len(world.p_wrong)
    asked = int(budget * n + 1e-9)
    router = np.zeros((n, 1), dtype=bool)
    router[np.argsort(-world.p_wrong, kind="stable")[:asked], 0] = True
    rng = np.random.default_rng([seed, 41])
    drawn = np.column_stack([rng.permutation(n) < asked for _ in range(RANDOM_CHECKS)])
    return {"router": router, "random": drawn}


class _Scorer:
    """Scores mixes: the held-out share of people's winners that a proxy trained on the mix gives."""

    def __init__(self, pairs: MixPairs, x: Floats, seed: int) -> None:
        self.pairs, self.x = pairs, x
        self.masks = list(grouped_folds(pairs.groups, FOLDS, np.random.default_rng([seed, 51])))

    def __call__(self, z: Choices) -> Floats:
        pairs = self.pairs
        found = held_out_hits(self.x, labels_of(z, pairs), pairs.human, self.masks, pairs.weights)
        return mean_hits(found, pairs.weights)


class _Checker:
    """Trains proxies on mixes of the searched pairs and measures them on groups that the search never saw."""

    def __init__(self, pairs: MixPairs, x: Floats, held: MixPairs, x_held: Floats, seed: int) -> None:
        self.pairs, self.x, self.held, self.x_held, self.seed = pairs, x, held, x_held, seed

    def __call__(self, ways: Mapping[str, Choices]) -> dict[str, Any]:
        """Return each way's accuracy, and the first way's lead over the others, with intervals over groups."""
        decided = self.held.human != 0.5
        figures = []
        for mixes in ways.values():
            heads = fit_heads(self.x, labels_of(mixes, self.pairs), self.pairs.weights)
            figures.append(hits(self.x_held @ heads, self.held.human)[decided].mean(axis=1))
        rng = np.random.default_rng([self.seed, 61])
        sampled = GroupBootstrap(np.array(figures), self.held.groups[decided], rng, self.held.weights[decided])
        return {
            "accuracy": {name: sampled.estimate(at) for at, name in enumerate(ways)},
            "lead": {name: sampled.estimate(0, less=at) for at, name in enumerate(ways) if at},
        }


def labels_of(z: Choices, pairs: MixPairs) -> Floats:
    """Return the labels of m mixes (n, m) as P(a is better): people's where `z` says so, the judge's elsewhere."""
    return np.where(z, pairs.human[:, None], pairs.judge[:, None])


class _Steps:
    """Counts steps for a progress bar."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.done, self.total = progress, 0, total

    def after(self, result: Any) -> Any:
        """Report one more step, and hand its result on."""
        self.done += 1
        if self.progress:
            self.progress(self.done, self.total)
        return result


def _rounds(mixes: int) -> range:
    return range(0, mixes, MIXES_A_ROUND)
