"""The proxy reward model: what a reward model trained on a mix of labels would learn, in seconds on a CPU.

Its features come from text alone and are frozen: no label, no judge and no model name is in them. Its head is linear
(Bradley and Terry 1952): P(a is better) = sigmoid(w · (features of a - features of b)). Mixes of the same pairs share
their features and differ in their labels only, so hundreds of heads are fitted at once.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from routing.predicting.scoring import Bools, Floats, Strings, grouped_folds, sigmoid
from routing.signals.embedding import embed_texts
from routing.signals.measuring import CODE, DIGIT, LIST_ITEM, REFUSAL, WORD
from routing.studies.resampling import RESAMPLES, interval

# What a choice is worth as P(a is better); a pair without a preference pulls neither way.
TARGET_OF = {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5}
# Random choices drawn a repeat and averaged: one of them alone is mostly luck.
RANDOM_DRAWS = 5
FOLDS = 5
SAMPLES_A_ROUND = 100
# Scanned over about 40 combinations on three development sets, with the gaps between ways of choosing in view, and
# taken from the plateau where people's own labels make the best heads; the same for all sets.
EMBEDDING_WEIGHT = 0.5
RIDGE = 0.15
STEPS = 200
# Of a coefficient of a column with spread 1: far below what turns a side round.
TOLERANCE = 1e-5
# More overshoots: the bound on the curvature is rarely more than a few times too high.
MOMENTUM = 0.5
BASE, LEARNED = "random", "learned"

SENTENCE = re.compile(r"[.!?](?:\s|$)")
HEADING = re.compile(r"^\s{0,3}#{1,6}\s", re.MULTILINE)
BOLD = re.compile(r"\*\*\S")


def response_features(prompts: Sequence[str], responses: Sequence[str]) -> Floats:
    """Return a row a response (n, k) of what its text alone tells, unscaled; `prompts` is what each one answers.

    Counts of style first (`STYLES` names them), then the 256 numbers of the local embedding.
    """
    vectors = embed_texts(responses)
    to_prompt = np.einsum("ij,ij->i", vectors, embed_texts(prompts), dtype=np.float64)
    styles = [_style(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
    table = np.array(styles, dtype=float).reshape(len(responses), len(STYLES) - 1)
    return np.hstack([table, to_prompt[:, None], vectors.astype(np.float64)])


STYLES = (
    "words",
    "words_squared",
    "sentences",
    "words_a_sentence",
    "paragraphs",
    "list_items",
    "headings",
    "bold",
    "code",
    "digits",
    "questions",
    "refusal",
    "distinct_words",
    "prompt_words_repeated",
    "new_words",
    "empty",
    "similarity_to_prompt",
)


def _style(prompt: str, response: str) -> tuple[float, ...]:
    words = WORD.findall(response.lower())
    vocabulary, asked = set(words), set(WORD.findall(prompt.lower()))
    n, sentences = len(words), len(SENTENCE.findall(response))
    log_words = np.log1p(n)
    return (
        log_words,
        log_words**2,
        np.log1p(sentences),
        np.log1p(n / max(sentences, 1)),
        np.log1p(len([part for part in response.split("\n\n") if part.strip()])),
        np.log1p(len(LIST_ITEM.findall(response))),
        np.log1p(len(HEADING.findall(response))),
        np.log1p(len(BOLD.findall(response))),
        float(CODE.search(response) is not None),
        np.log1p(len(DIGIT.findall(response))),
        np.log1p(response.count("?")),
        float(REFUSAL.search(response[:300]) is not None),
        len(vocabulary) / max(n, 1),
        len(vocabulary & asked) / max(len(asked), 1),
        np.log1p(len(vocabulary - asked)),
        float(not response.strip()),
    )


def difference_features(prompts: Sequence[str], responses_a: Sequence[str], responses_b: Sequence[str]) -> Floats:
    """Return the features of n pairs (n, k): a's less b's, each column in units of its spread over all responses.

    Columns that are the same for all responses are left out. A pair turned round has the same row with the other sign.
    """
    features = response_features([*prompts, *prompts], [*responses_a, *responses_b])
    spread = features.std(axis=0)
    varies = spread > 1e-9
    scaled = features[:, varies] / spread[varies]
    # Sixteen times as many columns say what it is about as how it is written; unweighted, they would drown the rest.
    n_styles = int(varies[: len(STYLES)].sum())
    scaled[:, n_styles:] *= EMBEDDING_WEIGHT * np.sqrt(max(n_styles, 1) / max(scaled.shape[1] - n_styles, 1))
    n = len(prompts)
    return np.asarray(scaled[:n] - scaled[n:])


def fit_heads(x: Floats, targets: Floats, weights: Floats | None = None, *, ridge: float = RIDGE) -> Floats:
    """Return the coefficients (k, m) of m heads over the same n pairs.

    `x` is (n, k), `targets` (n, m) is P(a is better) of each label, `weights` (n,) counts pairs. `ridge` is the
    penalty in units of the mean curvature of all pairs, so that it means the same for 100 pairs as for 10,000.
    No head has an intercept: which response is called a says nothing.

    All heads share one bound on their curvature (Böhning and Lindsay 1988: X'WX / 4), factored once; every step goes
    downhill for all of them, and a momentum speeds them up. The same arguments give the same bits as long as the caller
    has one thread (`threadpool_limits`; setting it takes longer than a small fit).
    """
    weights = np.ones(len(x)) if weights is None else weights / weights.mean()
    weighted = x * weights[:, None]
    gram = weighted.T @ x
    penalty = ridge * max(np.trace(gram) / max(len(gram), 1), 1e-9)
    inverse = np.linalg.inv(gram / 4 + penalty * np.eye(len(gram)))
    heads = np.zeros((x.shape[1], targets.shape[1]))
    ahead = heads
    for _ in range(STEPS):
        gradient = weighted.T @ (sigmoid(x @ ahead) - targets) + penalty * ahead
        after = ahead - inverse @ gradient
        moved = after - heads
        ahead = after + MOMENTUM * moved
        heads = after
        if np.abs(moved).max(initial=0.0) < TOLERANCE:
            break
    return heads


def hits(scores: Floats, human: Floats) -> Floats:
    """Return 1 where a head's score (n, m) is on people's side (n,), 0 where not, 0.5 for a score of 0.

    NaN for pairs on which people have no preference (`human` is 0.5): no side of them is right.
    """
    side = np.sign(human - 0.5)[:, None]
    return np.where(side == 0, np.nan, 0.5 + 0.5 * np.sign(scores) * side)


def held_out_hits(
    x: Floats, targets: Floats, human: Floats, masks: Sequence[Bools], weights: Floats | None = None
) -> Floats:
    """Return `hits` (n, m) of heads fitted on the labels `targets` (n, m) of the folds that leave a pair out.

    Each mask marks the rows of one fold; `human` (n,) is what held-out pairs are measured by, whatever the mix.
    """
    result = np.full(targets.shape, np.nan)
    for mask in masks:
        kept = None if weights is None else weights[~mask]
        result[mask] = hits(x[mask] @ fit_heads(x[~mask], targets[~mask], kept), human[mask])
    return result


def proxy_accuracy(
    x: Floats, targets: Floats, human: Floats, groups: Strings, *, seed: int, weights: Floats | None = None
) -> Floats:
    """Return for each mix (a column of `targets`) the share of held-out pairs whose winner its head gives.

    `x` (n, k) are `difference_features`, `targets` (n, m) the labels trained on as P(a is better), `human` (n,)
    people's, `groups` (n,) prompt groups that folds never split, `weights` (n,) inverse odds. Ties of people do not
    count; a head that cannot tell gets one half.
    """
    masks = list(grouped_folds(groups, FOLDS, np.random.default_rng(seed)))
    with threadpool_limits(limits=1):
        return mean_hits(held_out_hits(x, targets, human, masks, weights), weights)


def mean_hits(found: Floats, weights: Floats | None = None) -> Floats:
    """Return the weighted mean of each column of `hits`, the pairs without a winner left out."""
    decided = ~np.isnan(found[:, 0])
    return np.asarray(np.average(found[decided], axis=0, weights=None if weights is None else weights[decided]))


def proxy_by_budget(
    x: Floats,
    human: Floats,
    judge: Floats,
    rankings: Mapping[str, Floats],
    groups: Strings,
    *,
    budgets: Sequence[float],
    repeats: int,
    seed: int,
) -> dict[str, Any]:
    """Return how good a proxy reward model gets when people label a share of its training pairs, by way of choosing.

    `x` (n, k) are `difference_features`; `human` and `judge` (n,) are labels as P(a is better), see `TARGET_OF`;
    `rankings` maps a way to its scores, (n,) or a row a repeat (r, n), highest asked first; "random" and "oracle" are
    added. In each repeat prompt groups are split into five folds anew. Of the training pairs of a fold the share ranked
    highest gets people's label, the rest keeps the judge's; the head is measured on people's answers to the fold left
    out. Figures are shares of held-out pairs with a winner; differences are paired, over the same pairs and folds, with
    95 % intervals over samples of prompt groups.
    """
    ways = {**rankings, "oracle": np.abs(human - judge)}
    with threadpool_limits(limits=1):
        found = _hits_by_budget(x, human, judge, ways, groups, budgets, repeats, seed)
    names = [BASE, *ways]
    decided = human != 0.5
    sampled = GroupBootstrap(found[:, decided], groups[decided], np.random.default_rng([seed, 3]))
    rows = []
    for at, budget in enumerate(budgets):
        place = {name: 2 + at * len(names) + number for number, name in enumerate(names)}
        row: dict[str, Any] = {"budget": budget, "accuracy": {name: sampled.estimate(place[name]) for name in names}}
        if LEARNED in place:
            rest = [name for name in names if name != LEARNED]
            row["learned_minus"] = {name: sampled.estimate(place[LEARNED], less=place[name]) for name in rest}
        rows.append(row)
    return {
        "pairs": len(human),
        "decided": int(decided.sum()),
        "repeats": repeats,
        "all_people": sampled.estimate(0),
        "all_judge": sampled.estimate(1),
        "budgets": rows,
    }


def _hits_by_budget(
    x: Floats,
    human: Floats,
    judge: Floats,
    ways: Mapping[str, Floats],
    groups: Strings,
    budgets: Sequence[float],
    repeats: int,
    seed: int,
) -> Floats:
    """Return the mean hits of each pair: all people's labels, all the judge's, and each way at each budget."""
    found = np.zeros(((1 + len(ways)) * len(budgets) + 2, len(human)))
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, 2, repeat])
        masks, ties = list(grouped_folds(groups, FOLDS, rng)), rng.random((RANDOM_DRAWS, len(human)))
        for mask in masks:
            train = ~mask
            columns = [human[train], judge[train]]
            for budget in budgets:
                asked = int(budget * train.sum() + 1e-9)
                columns += [_mixed(human, judge, train, np.zeros(len(human)), tie, asked) for tie in ties]
                for scores in ways.values():
                    ranked = scores if scores.ndim == 1 else scores[repeat % len(scores)]
                    columns.append(_mixed(human, judge, train, ranked, ties[0], asked))
            hit = hits(x[mask] @ fit_heads(x[train], np.column_stack(columns)), human[mask]).T
            found[:2, mask] += hit[:2] / repeats
            a_budget = hit[2:].reshape(len(budgets), -1, int(mask.sum()))
            drawn = a_budget[:, :RANDOM_DRAWS].mean(axis=1, keepdims=True)
            found[2:, mask] += np.hstack([drawn, a_budget[:, RANDOM_DRAWS:]]).reshape(-1, int(mask.sum())) / repeats
    return found


class GroupBootstrap:
    """Means of figures over pairs, and of their differences, with 95 % intervals over samples of prompt groups.

    `figures` is (m, n), a row a figure; every figure is seen on the same samples, so that differences are paired.
    """

    def __init__(
        self, figures: Floats, groups: Strings, rng: np.random.Generator, weights: Floats | None = None
    ) -> None:
        names, inverse = np.unique(groups.astype(str), return_inverse=True)
        weights = np.ones(len(groups)) if weights is None else weights
        totals = np.array([np.bincount(inverse, weights * row, len(names)) for row in [*figures, np.ones(len(groups))]])
        sums = totals.sum(axis=1)
        self.means = sums[:-1] / sums[-1]
        rounds = []
        for _ in range(RESAMPLES // SAMPLES_A_ROUND):
            drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=SAMPLES_A_ROUND)
            found = drawn.astype(float) @ totals.T
            rounds.append(found[:, :-1] / found[:, -1:])
        self.resampled = np.vstack(rounds)

    def estimate(self, row: int, *, less: int | None = None) -> dict[str, float]:
        """Return the mean of a row, or of what it is above row `less`, with its interval."""
        value, drawn = self.means[row], self.resampled[:, row]
        if less is not None:
            value, drawn = value - self.means[less], drawn - self.resampled[:, less]
        return interval(float(value), drawn)


def _mixed(human: Floats, judge: Floats, train: Bools, scores: Floats, ties: Floats, asked: int) -> Floats:
    """Return the training labels of a fold: people's for the `asked` pairs ranked highest, the judge's for the rest."""
    order = np.lexsort((ties[train], -scores[train]))[:asked]
    labels = judge[train].copy()
    labels[order] = human[train][order]
    return labels
