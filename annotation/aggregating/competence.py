"""How often each person gives the true answer, judged by the others, with an interval."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from annotation.aggregating.inferring import LEAST, code_votes, infer_crowd
from annotation.aggregating.reading import vote_frame
from annotation.agreeing import LEVEL
from annotation.models import Project

GRID = np.linspace(0.0, 1.0, 201)[1:-1]


class Competence(NamedTuple):
    """`skill` is P(gives the true answer), between `low` and `high` with 95 %, from `n` answers that others share.

    Nobody sees the truth: it is inferred from the other people on the same pairs, and the interval is as wide as their
    doubt makes it.
    """

    n: int
    skill: float
    low: float
    high: float


def competence_of(project: Project) -> dict[str, Competence]:
    """Return, by rater's id, how competent each person is who answered a pair that somebody else answered too.

    A person whose answers nobody shares is not in it. One query.
    """
    return competence(vote_frame(project))


def competence(votes: pd.DataFrame) -> dict[str, Competence]:
    """Return the competence of each person of a frame of votes (`pair_id`, `rater_id`, `choice`), by their id.

    Dawid-Skene gives everybody's habits, since one skill each is misled by people who favour a side; then, person by
    person, what the others make of each pair without their own vote. Their skill s has the likelihood
    prod_i [s q_i + (1 - s) (1 - q_i) / (q - 1)], q_i the chance that their answer is right, and a uniform prior:
    `skill` is its mean, the ends its quantiles.
    """
    crowd = infer_crowd(votes, "dawid_skene")
    if crowd is None or len(crowd.classes) < 2:
        return {}
    coded = code_votes(votes, crowd.classes)
    q, n = len(crowd.classes), len(coded.pairs)
    logs = np.log(np.maximum(np.array([crowd.says[rater] for rater in coded.raters]), LEAST))
    own = logs[coded.rater, :, coded.said]
    total = np.column_stack([np.bincount(coded.pair, own[:, k], n) for k in range(q)]) + np.log(
        np.maximum(crowd.prior, LEAST)
    )
    others = total[coded.pair] - own
    others = np.exp(others - others.max(axis=1, keepdims=True))
    right = (others / others.sum(axis=1, keepdims=True))[np.arange(len(own)), coded.said]
    shared = np.bincount(coded.pair, minlength=n)[coded.pair] > 1
    rater, right = coded.rater[shared], right[shared]
    answers = np.bincount(rater, minlength=len(coded.raters))
    likely = np.column_stack(
        [
            np.bincount(
                rater, np.log(np.maximum(s * right + (1.0 - s) * (1.0 - right) / (q - 1), LEAST)), len(coded.raters)
            )
            for s in GRID
        ]
    )
    weight = np.exp(likely - likely.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    below = weight.cumsum(axis=1)
    tail = (1.0 - LEVEL) / 2.0
    low = GRID[(below < tail).sum(axis=1).clip(max=len(GRID) - 1)]
    high = GRID[(below < 1.0 - tail).sum(axis=1).clip(max=len(GRID) - 1)]
    return {
        name: Competence(int(answers[j]), float(weight[j] @ GRID), float(low[j]), float(high[j]))
        for j, name in enumerate(coded.raters)
        if answers[j]
    }
