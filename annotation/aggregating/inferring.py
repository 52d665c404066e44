"""The true answer of every pair and the skill of every person, inferred together from who said what.

Pure. Dawid and Skene (1979), its one-coin form and MACE (Hovy et al. 2013) are one model with three shapes of a
person: what matters of somebody is P(says y | the truth is k), a matrix. Expectation maximisation starts from the
shares of votes, so the meaning of an answer cannot switch and no seed is needed. Each person is drawn towards the
average one by the weight of a few answers: on three answers nobody is perfect.
"""

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
import pandas as pd

from annotation.aggregating.voting import DECIDING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Places = NDArray[np.int64]

Shape = Literal["dawid_skene", "one_coin", "mace"]

# How many answers of an average person everybody is lent, for each true answer.
SMOOTHING = 1.0
ROUNDS = 200
MACE_ROUNDS = 20
# Posteriors that move by less on average have settled.
SETTLED = 1e-7
# No answer is impossible from anybody: keeps logarithms finite.
LEAST = 1e-10


class Crowd(NamedTuple):
    """What was learned of people: `classes` are the answers that were given, in the order of `DECIDING`.

    `prior` (q) has the share of each true answer. `says` has for each person, by id, P(says y | truth k), q x q with a
    row a truth, and `anybody` the same of the average person, for those who answer later.
    """

    classes: tuple[str, ...]
    prior: "Array"
    says: dict[str, "Array"]
    anybody: "Array"

    def as_json(self) -> dict[str, Any]:
        """Return the crowd as JSON values; `from_json` brings back the very same numbers."""
        return {
            "classes": list(self.classes),
            "prior": self.prior.tolist(),
            "says": {rater: says.tolist() for rater, says in self.says.items()},
            "anybody": self.anybody.tolist(),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Return the crowd that `as_json` wrote."""
        says = {rater: np.array(matrix) for rater, matrix in value["says"].items()}
        return cls(tuple(value["classes"]), np.array(value["prior"]), says, np.array(value["anybody"]))


class Coded(NamedTuple):
    """Votes as numbers: of each its pair, its person and its class, with what they number."""

    pair: "Places"
    rater: "Places"
    said: "Places"
    pairs: list[str]
    raters: list[str]


def infer_crowd(
    votes: pd.DataFrame, shape: Shape, *, smoothing: float = SMOOTHING, rounds: int = ROUNDS
) -> Crowd | None:
    """Return what votes (`pair_id`, `rater_id`, `choice`) tell of the people who gave them; None without a vote."""
    classes = tuple(name for name in DECIDING if (votes["choice"] == name).any())
    if not classes:
        return None
    coded = code_votes(votes, classes)
    q = len(classes)
    truths = _shares(coded, q)
    says, prior, average = _maximise(coded, truths, shape, smoothing)
    for _ in range(rounds):
        before, truths = truths, _expect(coded, says, prior)
        says, prior, average = _maximise(coded, truths, shape, smoothing)
        if np.abs(truths - before).mean() < SETTLED:
            break
    return Crowd(classes, prior, dict(zip(coded.raters, says, strict=True)), average)


def truths_of(votes: pd.DataFrame, crowd: Crowd) -> pd.DataFrame:
    """Return P(truth is k | votes) of every pair: a row a `pair_id`, sorted, a column a class of `DECIDING`.

    Answers that nobody had given when the crowd was learned decide nothing.
    """
    coded = code_votes(votes, crowd.classes)
    says = np.array([crowd.says.get(rater, crowd.anybody) for rater in coded.raters])
    truths = _expect(coded, says.reshape(-1, len(crowd.classes), len(crowd.classes)), crowd.prior)
    index = pd.Index(coded.pairs, name="pair_id", dtype=object)
    return pd.DataFrame(truths, index=index, columns=list(crowd.classes)).reindex(
        columns=list(DECIDING), fill_value=0.0
    )


def code_votes(votes: pd.DataFrame, classes: tuple[str, ...]) -> Coded:
    """Return the votes for one of these classes as numbers; pairs and people in sorted order."""
    deciding = votes[votes["choice"].isin(classes)]
    pair, pairs = pd.factorize(deciding["pair_id"].to_numpy(dtype=object), sort=True)
    rater, raters = pd.factorize(deciding["rater_id"].to_numpy(dtype=object), sort=True)
    said = pd.Index(classes).get_indexer(pd.Index(deciding["choice"]))
    return Coded(pair, rater, said, [str(one) for one in pairs], [str(one) for one in raters])


def _shares(coded: Coded, q: int) -> "Array":
    n = len(coded.pairs)
    counts = np.bincount(coded.pair * q + coded.said, minlength=n * q).reshape(n, q).astype(float)
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def _expect(coded: Coded, says: "Array", prior: "Array") -> "Array":
    """Return P(truth | votes), pairs x q: Dawid and Skene 1979, eq. 2.5."""
    logs = np.log(np.maximum(says, LEAST))
    n = len(coded.pairs)
    found = np.column_stack(
        [
            np.log(max(prior[k], LEAST))
            + np.bincount(coded.pair, weights=logs[coded.rater, k, coded.said], minlength=n)
            for k in range(len(prior))
        ]
    )
    found = np.exp(found - found.max(axis=1, keepdims=True)) if n else found
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def _maximise(coded: Coded, truths: "Array", shape: Shape, smoothing: float) -> tuple["Array", "Array", "Array"]:
    """Return each person's matrix, the prior and the average person's matrix: eq. 2.3 and 2.4, drawn together."""
    n, q = len(coded.raters), truths.shape[1]
    places = coded.rater * q + coded.said
    # given[j, k, y]: how often person j said y where the truth is expected to be k.
    given = np.stack(
        [np.bincount(places, weights=truths[coded.pair, k], minlength=n * q).reshape(n, q) for k in range(q)],
        axis=1,
    )
    average = SHAPES[shape](given.sum(axis=0, keepdims=True))[0]
    says = SHAPES[shape](given + smoothing * average)
    return says, truths.mean(axis=0), average


def _free(given: "Array") -> "Array":
    """Return a row of its own for each truth: Dawid and Skene 1979, eq. 2.3. One never met says nothing."""
    q = given.shape[2]
    total = given.sum(axis=2, keepdims=True)
    return np.asarray(np.divide(given, total, out=np.full_like(given, 1.0 / q), where=total > 0))


def _one_coin(given: "Array") -> "Array":
    """Return matrices of one skill, P(says the truth), with every other answer alike."""
    q = given.shape[2]
    if q == 1:
        return np.ones_like(given)
    right = np.trace(given, axis1=1, axis2=2)
    total = given.sum(axis=(1, 2))
    skill = np.divide(right, total, out=np.full_like(right, 1.0 / q), where=total > 0)[:, None, None]
    return np.asarray(np.where(np.eye(q, dtype=bool), skill, (1.0 - skill) / (q - 1)))


def _mace(given: "Array") -> "Array":
    """Return matrices of people who know the truth or guess.

    They know it with probability theta, and otherwise say y with probability xi_y (Hovy et al. 2013).
    Whether a right answer was known or lucky is hidden as well, so theta and xi settle in an inner loop.
    """
    q = given.shape[2]
    said, total = given.sum(axis=1), given.sum(axis=(1, 2))
    right = np.einsum("jkk->jk", given)
    xi = _normal(said)
    theta = np.full(len(given), 0.5)
    for _ in range(MACE_ROUNDS):
        known = right * theta[:, None] / np.maximum(theta[:, None] + (1.0 - theta[:, None]) * xi, LEAST)
        theta = np.divide(known.sum(axis=1), total, out=np.full_like(total, 0.5), where=total > 0)
        xi = _normal(said - known)
    knows = theta[:, None, None] * np.eye(q)
    return np.asarray(knows + (1.0 - theta)[:, None, None] * xi[:, None, :])


def _normal(rows: "Array") -> "Array":
    total = rows.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(rows, total, out=np.full_like(rows, 1.0 / rows.shape[1]), where=total > LEAST))


SHAPES = {"dawid_skene": _free, "one_coin": _one_coin, "mace": _mace}
