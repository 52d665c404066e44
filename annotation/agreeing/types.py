"""Whether people differ in what they prefer, and if they do, which types of people there are.

Pure. Noise alone makes people disagree; the question is whether the *same* people keep agreeing with each other
against the others. The null model has one taste: each pair has one distribution of answers, and people differ only in
how closely they follow it. `docs/reports.md` has the formulas and how often the test errs.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from annotation.agreeing.figures import SIDE_OF

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Places = NDArray[np.int64]

LEANS = np.array([1.0, 0.0, -1.0])
SIDES = ("a", "tie", "b")
DRAWS = 499
# Above this many answers a draw takes long, and fewer of them tell as much as is needed.
MANY_ANSWERS, DRAWS_OF_MANY = 20_000, 199
LEAST_PEOPLE = 4
# Fewer shared answers of a person say nothing of their taste.
LEAST_SHARED = 10
# Of a large crowd those who share most answers are looked at.
MOST_PEOPLE = 120
MOST_TYPES = 4
# Where ties are common the test errs a little more often than it says, so it is asked for one in a hundred.
SIGNIFICANT = 0.01
ROUNDS = 50
FACTOR_ROUNDS = 30
# Two people who always agree leave no spread to measure by.
LEAST_SPREAD = 0.05
# What an answer outside all that others of the type gave is worth: the pair's own shares, weighing so many answers.
LENT = 1.0
# A third or fourth type must make the answers likelier by this much for each person (nats): parting people of one taste
# as well as can be gains 1.5 by chance alone.
GAIN_PER_PERSON = 2.0


class Heterogeneity(NamedTuple):
    """The test of one taste: `statistic` and its mean `expected` under the null, `p` by so many simulated `draws`.

    Without a `p`, `too_few` says what is missing.
    """

    people: int
    answers: int
    statistic: float | None
    expected: float | None
    p: float | None
    draws: int
    too_few: str = ""


class Types(NamedTuple):
    """The types of people: `k` of them, and the chance of each type for each person (rows in the order of `people`).

    Type 0 is the largest. With `k` 1 nobody differs beyond chance.
    """

    test: Heterogeneity
    k: int
    people: list[str]
    chances: "Array"

    def of(self, person: str) -> int:
        """Return the likeliest type of a person."""
        return int(self.chances[self.people.index(person)].argmax())


class _Table(NamedTuple):
    """Answers as codes: `rater`, `item` and `said` (the place in `SIDES`), a row an answer."""

    rater: "Places"
    item: "Places"
    said: "Places"
    people: list[str]
    n_items: int


def types_of(votes: pd.DataFrame, *, seed: int = 0, draws: int = DRAWS) -> Types:
    """Return the test of one taste and the types of people behind votes (`pair_id`, `rater`, `choice`).

    Only where the test finds more than one taste (p < 0.01) are there two types or more. The same votes and
    seed give the same.
    """
    table = _table(votes)
    test = _test(table, seed=seed, draws=draws)
    one = Types(test, 1, table.people, np.ones((len(table.people), 1)))
    if test.p is None or test.p >= SIGNIFICANT:
        return one
    found = _settled(table, 2, seed)
    score = _score(table, found)
    for k in range(3, min(MOST_TYPES, len(table.people) // 2) + 1):
        chances = _settled(table, k, seed)
        more = _score(table, chances)
        if more > score + GAIN_PER_PERSON * len(table.people):
            found, score = chances, more
    found = _by_size(found)
    return Types(test, found.shape[1], table.people, found)


def heterogeneity(votes: pd.DataFrame, *, seed: int = 0, draws: int = DRAWS) -> Heterogeneity:
    """Return the test of one taste alone."""
    return _test(_table(votes), seed=seed, draws=draws)


def _table(votes: pd.DataFrame) -> _Table:
    side = votes["choice"].map(SIDE_OF)
    rows = votes.assign(side=side)[side.notna()]
    while len(rows):
        shared = rows.groupby("pair_id")["rater"].transform("size") >= 2
        enough = shared & (rows["rater"].map(rows[shared].groupby("rater").size()).fillna(0) >= LEAST_SHARED)
        if enough.all():
            break
        rows = rows[enough]
    most = rows["rater"].value_counts().sort_index().sort_values(ascending=False, kind="stable").index[:MOST_PEOPLE]
    rows = rows[rows["rater"].isin(most)].sort_values(["pair_id", "rater"], kind="stable")
    rater, people = pd.factorize(rows["rater"].to_numpy(dtype=object), sort=True)
    item, items = pd.factorize(rows["pair_id"].to_numpy(dtype=object), sort=True)
    said = pd.Index(SIDES).get_indexer(pd.Index(rows["side"]))
    return _Table(rater, item, said, [str(name) for name in people], len(items))


def _test(table: _Table, *, seed: int, draws: int) -> Heterogeneity:
    people, answers = len(table.people), len(table.said)
    if people < LEAST_PEOPLE:
        missing = f"too few people with {LEAST_SHARED} answers on shared pairs ({people} of {LEAST_PEOPLE})"
        return Heterogeneity(people, answers, None, None, None, 0, missing)
    draws = min(draws, DRAWS_OF_MANY) if answers > MANY_ANSWERS else draws
    meetings = _Meetings(table)
    seen = _statistic(meetings.together(table.said))
    null = _Null(table)
    rng = np.random.default_rng(seed)
    if seen is None or not null.is_known:
        return Heterogeneity(people, answers, None, None, None, 0, "everybody gave one answer on every pair")
    drawn = [_statistic(meetings.together(null.draw(rng))) or 0.0 for _ in range(draws)]
    p = (1 + sum(one >= seen for one in drawn)) / (draws + 1)
    return Heterogeneity(people, answers, seen, float(np.mean(drawn)), p, draws)


class _Meetings:
    """Who shares how many pairs with whom, kept for many draws of answers by the same people on the same pairs."""

    def __init__(self, table: _Table) -> None:
        self._people, self._n_items = len(table.people), table.n_items
        # Rows of people, and of each the pairs in their order: answers are put where they belong, draw after draw.
        self._order = np.lexsort((table.item, table.rater))
        self._items = table.item[self._order]
        self._ends = np.r_[0, np.cumsum(np.bincount(table.rater, minlength=self._people))]
        self._shared = self._products(np.ones(len(table.said)))

    def together(self, said: "Places") -> "Array":
        """Return how much more each two people agree than one taste explains, in units of chance (people x people).

        Answers are numbers (a 1, neither 0, b -1) less their mean. With one taste, the mean product of two people's
        answers on the pairs they share is b_r b_s, where b says how closely somebody follows it (one factor, fitted to
        the entries off the diagonal by least squares, as in minres factor analysis; Harman & Jones 1966). So careful
        and careless people do not look like two tastes.
        """
        lean = LEANS[said]
        answers, shared = lean - lean.mean(), self._shared
        product = self._products(answers)
        follows = np.full(self._people, np.sqrt(max(1e-6, product.sum() / shared.sum())))
        for _ in range(FACTOR_ROUNDS):
            fitted = (product @ follows) / np.maximum(shared @ follows**2, 1e-9)
            follows = (follows + fitted) / 2.0
        both = np.outer(follows, follows)
        # The variance of a product of two answers: that of its size less the square of its mean.
        spread = shared * np.maximum((answers**2).sum() ** 2 / len(said) ** 2 - both**2, LEAST_SPREAD)
        return np.asarray(
            np.divide(product - shared * both, np.sqrt(spread), out=np.zeros_like(both), where=shared > 0)
        )

    def _products(self, values: "Array") -> "Array":
        """Return the sums of products of two people's values over the pairs they share, none with oneself."""
        shape = (self._people, self._n_items)
        rows = sparse.csr_array((values[self._order], self._items, self._ends), shape=shape)
        found = np.asarray((rows @ rows.T).todense())
        np.fill_diagonal(found, 0.0)
        return found


def _statistic(together: "Array") -> float | None:
    """Return the largest eigenvalue: large where a block of people stands out."""
    return float(np.linalg.eigvalsh(together)[-1]) if together.any() else None


class _Null:
    """People of one taste: pairs have distributions, and person r follows them with weight w_r, else the average one.

    By moments. With s = sum pi_k^2 and A_r the share of others' answers on the same pairs that are r's own,
    A_r - s = w_r w V, where w is the mean weight and V = E sum_k p_ik^2 - s the spread of pairs; so A_r - s tells w_r
    up to a factor, which the largest weight, 1, sets. It is drawn towards the mean by its own error. Pairs are drawn
    from the Dirichlet distribution with mean pi that has spread V.
    """

    def __init__(self, table: _Table) -> None:
        self.table = table
        q = len(SIDES)
        counts = np.bincount(table.item * q + table.said, minlength=table.n_items * q).reshape(-1, q).astype(float)
        self.shares = counts.sum(axis=0) / counts.sum()
        chance = float((self.shares**2).sum())
        others = counts.sum(axis=1)[table.item] - 1.0
        same = counts[table.item, table.said] - 1.0
        people = len(table.people)
        met = np.bincount(table.rater, others, people)
        gain = np.bincount(table.rater, same, people) / met - chance
        average = float((gain * met).sum() / met.sum())
        self.is_known = bool(average > 0.0 and chance < 1.0)
        if not self.is_known:
            # No agreement beyond chance at all: everybody answers by the shares alone.
            self.is_known = chance < 1.0
            self.weights, self.strength = np.zeros(people), np.inf
            return
        answers = np.bincount(table.rater, minlength=people)
        error = (chance + average) * (1.0 - chance - average) / np.maximum(answers, 1)
        true_spread = max(0.0, float(((gain - average) ** 2 - error).mean()))
        drawn_in = average + (gain - average) * true_spread / (true_spread + error)
        relative = np.clip(drawn_in / average, 0.0, None)
        mean_weight = 1.0 / max(1.0, float(relative.max()))
        # The spread of pairs cannot be more than certainty.
        mean_weight = max(mean_weight, float(np.sqrt(average / (1.0 - chance))))
        self.weights = np.clip(relative * mean_weight, 0.0, 1.0)
        spread = min(average / mean_weight**2, 1.0 - chance)
        self.strength = max((1.0 - chance) / spread - 1.0, 1e-3)

    def draw(self, rng: np.random.Generator) -> "Places":
        """Return as many answers as there are, by the same people on the same pairs."""
        table, q = self.table, len(SIDES)
        mixed = np.tile(self.shares, (table.n_items, 1))
        if np.isfinite(self.strength):
            gamma = rng.standard_gamma(np.maximum(self.strength * self.shares, 1e-9), size=(table.n_items, q))
            total = gamma.sum(axis=1, keepdims=True)
            mixed = np.where(total > 0, gamma / np.where(total > 0, total, 1.0), mixed)
        weight = self.weights[table.rater][:, None]
        below = (weight * mixed[table.item] + (1.0 - weight) * self.shares).cumsum(axis=1)
        return np.asarray((rng.random(len(table.said))[:, None] > below[:, :-1]).sum(axis=1), dtype=np.int64)


# --- Types ----------------------------------------------------------------------------------------------------------


def _settled(table: _Table, k: int, seed: int) -> "Array":
    """Return each person's chances of k types: begun from the leading eigenvectors, then by their answers in turn."""
    import sklearn.cluster
    from threadpoolctl import threadpool_limits

    values, vectors = np.linalg.eigh(_Meetings(table).together(table.said))
    leading = vectors[:, ::-1][:, : k - 1] * np.sqrt(np.maximum(values[::-1][: k - 1], 0.0))
    # An eigenvector has no sign of its own.
    leading = leading * np.where(leading[np.abs(leading).argmax(axis=0), range(k - 1)] < 0, -1.0, 1.0)
    with threadpool_limits(limits=1):
        first = sklearn.cluster.KMeans(k, n_init=10, random_state=seed).fit_predict(leading.round(9))
    chances: Array = np.eye(k)[first]
    for _ in range(ROUNDS):
        renewed = _chances(table, chances)
        if np.abs(renewed - chances).max() < 1e-4:
            break
        chances = renewed
    return chances


def _log_likelihood(table: _Table, chances: "Array") -> "Array":
    """Return how likely each person's answers are under each type (people x types, logs), their own left out of it."""
    q, n, k = len(SIDES), table.n_items, chances.shape[1]
    cell = table.item * q + table.said
    everybody = np.bincount(cell, minlength=n * q).reshape(n, q).astype(float)
    shares = everybody.sum(axis=0) / everybody.sum()
    found = np.zeros((len(table.people), k))
    alone = everybody[table.item]
    alone[np.arange(len(cell)), table.said] -= 1.0
    own_shares = (alone + shares) / (alone.sum(axis=1, keepdims=True) + 1.0)
    for kind in range(k):
        weight = chances[table.rater, kind]
        said = np.bincount(cell, weight, n * q).reshape(n, q)[table.item]
        said[np.arange(len(cell)), table.said] -= weight
        total = said.sum(axis=1)
        chance = (said[np.arange(len(cell)), table.said] + LENT * own_shares[np.arange(len(cell)), table.said]) / (
            total + LENT
        )
        found[:, kind] = np.bincount(table.rater, np.log(np.maximum(chance, 1e-12)), len(table.people))
    sizes = (chances.sum(axis=0) + 1.0) / (len(chances) + k)
    logs: Array = np.asarray(np.log(sizes))
    return found + logs


def _chances(table: _Table, chances: "Array") -> "Array":
    logs = _log_likelihood(table, chances)
    weight = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _score(table: _Table, chances: "Array") -> float:
    """Return how likely everybody's answers are, each person's by the answers of the others alone (log)."""
    logs = _log_likelihood(table, chances)
    top = logs.max(axis=1)
    return float((top + np.log(np.exp(logs - top[:, None]).sum(axis=1))).sum())


def _by_size(chances: "Array") -> "Array":
    """Return the columns with the largest type first; of equal ones that of the first person."""
    of = chances.argmax(axis=1)
    order = sorted(range(chances.shape[1]), key=lambda kind: (-(of == kind).sum(), int(np.argmax(of == kind))))
    return chances[:, order]
