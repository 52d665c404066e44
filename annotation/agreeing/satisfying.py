"""Whose answers the labels follow: the mean, the worst-served group, the lowest fifth of people, and Gini's index.

Pure. A label that settles a disagreement overrules somebody; a mean hides whom. `docs/reports.md` has the formulas.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing.figures import LEAST_LABELS, REPEATS, Figure, bundle, plain, resample, too_few

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ANSWERS = "answers on labelled pairs"
# With fewer people a figure about a group is a figure about somebody.
LEAST_IN_GROUP = 5
LOWEST = 0.2


class Satisfaction(NamedTuple):
    """How far labels follow people's answers.

    `mean` is the share of answers that are the label, `lowest_fifth` the share below which a fifth of people lie,
    `gini` 0 where all people are followed alike and 1 where one person alone is.
    """

    people: int
    mean: Figure
    lowest_fifth: Figure
    gini: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return the satisfaction as JSON values."""
        return plain(self)


class Group(NamedTuple):
    """A group of people: how many, and the share of their answers that are the label."""

    name: str
    people: int
    followed: Figure

    def as_dict(self) -> dict[str, Any]:
        """Return the group as JSON values."""
        return plain(self)


class Groups(NamedTuple):
    """The groups with five people or more, by name; the worst of them, and how many people are in smaller ones."""

    groups: list[Group]
    worst: str
    worst_followed: Figure
    people_in_small_groups: int

    def as_dict(self) -> dict[str, Any]:
        """Return the groups as JSON values."""
        return plain(self._replace(groups=[])) | {"groups": [group.as_dict() for group in self.groups]}


def satisfaction(followed: pd.DataFrame, *, repeats: int = REPEATS, seed: int = 0) -> Satisfaction:
    """Return how far labels follow answers: `group` (of the prompt), `rater`, `hit` (1 where the label is the answer).

    People with fewer than ten answers are left out of all but the mean.
    """
    n = len(followed)
    rater, names = pd.factorize(followed["rater"].to_numpy(dtype=object), sort=True)
    hits = followed["hit"].to_numpy(dtype=float)
    parts = np.zeros((n, 2 * len(names)))
    parts[np.arange(n), rater] = hits
    parts[np.arange(n), len(names) + rater] = 1.0
    drawn = resample(parts, bundle(followed["group"], seed), repeats=repeats, seed=seed)
    enough = np.bincount(rater, minlength=len(names)) >= LEAST_LABELS
    people = int(enough.sum())

    def mean(sums: "Array") -> "Array":
        return np.asarray(sums[:, : len(names)].sum(axis=1) / sums[:, len(names) :].sum(axis=1))

    def shares(sums: "Array") -> "Array":
        return np.asarray(sums[:, : len(names)][:, enough] / sums[:, len(names) :][:, enough])

    if people < LEAST_IN_GROUP:
        few = too_few(people, LEAST_IN_GROUP, f"people with {LEAST_LABELS} {ANSWERS}")
        return Satisfaction(people, drawn.estimate(mean, n, at_least=LEAST_LABELS, what=ANSWERS), few, few)
    return Satisfaction(
        people,
        drawn.estimate(mean, n, at_least=LEAST_LABELS, what=ANSWERS),
        drawn.estimate(lambda sums: _quantile(shares(sums)), people, at_least=LEAST_IN_GROUP, what="people"),
        drawn.estimate(lambda sums: gini(shares(sums)), people, at_least=LEAST_IN_GROUP, what="people"),
    )


def groups_of(followed: pd.DataFrame, group_of: "pd.Series[Any]", *, repeats: int = REPEATS, seed: int = 0) -> Groups:
    """Return the groups of people (`group_of` by `rater`; '' is in none) and the one whose answers labels follow least.

    A group of fewer than five people is never shown. The worst group's interval takes the least share of each resample,
    so it is about the worst of them, whichever that is.
    """
    named = followed["rater"].map(group_of).astype(object).fillna("").astype(str)
    sizes = followed["rater"].groupby(named).nunique().drop("", errors="ignore")
    shown = sorted(sizes.index[sizes >= LEAST_IN_GROUP])
    small = int(sizes[sizes < LEAST_IN_GROUP].sum())
    rows = followed[named.isin(shown)]
    place = pd.Index(shown).get_indexer(pd.Index(named[named.isin(shown)]))
    k = len(shown)
    parts = np.zeros((len(rows), 2 * k))
    parts[np.arange(len(rows)), place] = rows["hit"].to_numpy(dtype=float)
    parts[np.arange(len(rows)), k + place] = 1.0
    drawn = resample(parts, bundle(rows["group"], seed), repeats=repeats, seed=seed)
    counts = np.bincount(place, minlength=k)

    def share_of(column: int) -> Figure:
        return drawn.estimate(
            lambda sums: sums[:, column] / sums[:, k + column], int(counts[column]), at_least=LEAST_LABELS, what=ANSWERS
        )

    found = [Group(name, int(sizes[name]), share_of(column)) for column, name in enumerate(shown)]
    known = [group for group in found if group.followed.value is not None]
    if len(known) < 2:
        return Groups(found, "", too_few(len(known), 2, f"groups of {LEAST_IN_GROUP} people"), small)
    worst = min(known, key=lambda group: (group.followed.value or 0.0, group.name))
    columns = [column for column, group in enumerate(found) if group.followed.value is not None]

    def least(sums: "Array") -> "Array":
        return np.asarray((sums[:, columns] / sums[:, [k + column for column in columns]]).min(axis=1))

    followed_least = drawn.estimate(least, worst.followed.n, at_least=LEAST_LABELS, what=ANSWERS)
    return Groups(found, worst.name, followed_least, small)


def gini(shares: "Array") -> "Array":
    """Return Gini's index of each row: sum_ij |x_i - x_j| / (2 n^2 mean), 0 where all are alike."""
    n = shares.shape[1]
    ordered = np.sort(shares, axis=1)
    weight = 2.0 * np.arange(1, n + 1) - n - 1.0
    return np.asarray((ordered * weight).sum(axis=1) / (n * ordered.sum(axis=1)))


def _quantile(shares: "Array") -> "Array":
    found = np.full(len(shares), np.nan)
    known = ~np.isnan(shares).any(axis=1)
    found[known] = np.quantile(shares[known], LOWEST, axis=1)
    return found
