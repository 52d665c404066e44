"""The order in which the router takes pairs: by gain, then so that a batch is not all of one kind.

Each function takes a ranking (indices, best first) and returns another one of the same indices, whatever was drawn: an
order that is fixed before the draw leaves the odds of `routing.plans.drawing` exact.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from routing.predicting.scoring import Bools, Floats, Strings

Ranking = npt.NDArray[np.intp]

MOST_CLUSTERS = 50
# Below this many texts there is nothing to group.
TEXTS_PER_CLUSTER = 5
# Texts that clusters are made of; all others go to the nearest.
TEXTS_TO_CLUSTER = 20_000
TEXTS_PER_CHUNK = 4096


def rank_by_gain(gain: Floats, first: Bools, seed: int) -> Ranking:
    """Return the rows with a gain, those marked `first` before all others, then by falling gain; NaN is left out.

    Equal gains are ordered by random numbers of the seed: the order of import must not decide.
    """
    ties = np.random.default_rng([seed, 1]).random(len(gain))
    order = np.lexsort((ties, -np.where(np.isnan(gain), -np.inf, gain), ~first))
    return np.asarray(order[~np.isnan(gain[order])])


def spread_over(ranking: Ranking, clusters: npt.NDArray[np.intp]) -> Ranking:
    """Take the best of each cluster in turn, then the second of each, and so on."""
    turn = pd.Series(clusters[ranking]).groupby(clusters[ranking]).cumcount().to_numpy()
    return np.asarray(ranking[np.argsort(turn, kind="stable")])


def balance_over(ranking: Ranking, values: Strings) -> Ranking:
    """Take from each value in proportion to its rows (Webster's method), the best of each first."""
    kept = pd.Series(values[ranking])
    place = kept.groupby(kept).cumcount() + 0.5
    quotient = (place / kept.map(kept.value_counts())).to_numpy()
    return np.asarray(ranking[np.argsort(quotient, kind="stable")])


def cap_groups(ranking: Ranking, groups: Strings, cap: int) -> Ranking:
    """Put a prompt group's pairs beyond its `cap` best behind all others, those beyond twice the cap behind them."""
    kept = pd.Series(groups[ranking])
    turn = (kept.groupby(kept).cumcount() // cap).to_numpy()
    return np.asarray(ranking[np.argsort(turn, kind="stable")])


def keep_first(ranking: Ranking, first: Bools) -> Ranking:
    """Put the rows marked `first` before all others again."""
    return np.asarray(ranking[np.argsort(~first[ranking], kind="stable")])


def cluster_texts(texts: list[str], seed: int) -> npt.NDArray[np.intp]:
    """Return a cluster number a text: k-means on the texts' local embeddings, the same for the same texts and seed.

    About one cluster for every two square roots of the distinct texts, 50 at most; one where there are hardly any.
    """
    from sklearn.cluster import KMeans

    from routing.signals.embedding import embed_texts

    distinct = sorted(set(texts))
    number = min(MOST_CLUSTERS, len(distinct) // TEXTS_PER_CLUSTER, round(np.sqrt(len(distinct) / 2)))
    if number < 2:
        return np.zeros(len(texts), dtype=np.intp)
    # On many threads the order of additions, and so the last bits, would be a matter of chance.
    with threadpool_limits(limits=1):
        rng = np.random.default_rng(seed)
        sample = np.sort(rng.permutation(len(distinct))[:TEXTS_TO_CLUSTER])
        vectors = embed_texts([distinct[place] for place in sample.tolist()]).astype(np.float64)
        # Fewer distinct points than clusters is an error there; rounding makes them comparable.
        number = _different(vectors, most=number)
        if number < 2:
            return np.zeros(len(texts), dtype=np.intp)
        model = KMeans(n_clusters=number, n_init=1, random_state=seed % 2**32).fit(vectors)
        found = np.empty(len(distinct), dtype=np.intp)
        found[sample] = model.predict(vectors)
        del vectors
        others = np.delete(np.arange(len(distinct)), sample)
        # A vector is eight times as large as a short text: never those of all texts at once.
        for start in range(0, len(others), TEXTS_PER_CHUNK):
            chunk = others[start : start + TEXTS_PER_CHUNK]
            found[chunk] = model.predict(embed_texts([distinct[place] for place in chunk.tolist()]).astype(np.float64))
    cluster_of = dict(zip(distinct, found.tolist(), strict=True))
    return np.fromiter((cluster_of[text] for text in texts), dtype=np.intp, count=len(texts))


def _different(vectors: npt.NDArray[np.float64], *, most: int) -> int:
    """Return how many rows differ in six digits, `most` at most: a table of all sorted ones takes three of its size."""
    seen: set[bytes] = set()
    for row in vectors:
        # Adding nought makes one of both signs of it.
        seen.add((row.round(6) + 0.0).tobytes())
        if len(seen) == most:
            break
    return len(seen)
