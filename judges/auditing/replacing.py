"""The alternative-annotator test of Calderon, Reichart & Dror (2025): whether a judge may stand in for a person.

For each person j and each pair that j and others answered, the judge wins where it matches the others at least as well
as j does. A one-sided test asks whether the judge wins at least as often as j, less epsilon: a judge is cheaper, so it
may be a little worse. Benjamini-Yekutieli corrects over people; the judge passes where it stands in for half of them.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing import SIDE_OF
from judges.auditing.probes import benjamini_yekutieli

LEAST_PEOPLE = 3
LEAST_ITEMS = 30
FALSE_DISCOVERIES = 0.05
ENOUGH_WINS = 0.5


class PersonTest(NamedTuple):
    """The test against one person: of `n` pairs, where the judge (the person) matched the others at least as well."""

    n: int
    judge_wins: float
    person_wins: float
    p: float
    adjusted: float


class AltTest(NamedTuple):
    """`passed` is None where there is too little data, which `too_few` then says.

    `winning_rate` (omega) is the share of people that the judge stands in for, `advantage` (rho) the mean share of
    pairs where it matches the others at least as well as the person.
    """

    epsilon: float
    n_people: int
    passed: bool | None
    winning_rate: float | None
    advantage: float | None
    people: list[PersonTest]
    too_few: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the test as JSON values; people have no names here."""
        return {**self._asdict(), "people": [person._asdict() for person in self.people]}


def alt_test(labels: pd.DataFrame, votes: pd.DataFrame, epsilon: float) -> AltTest:
    """Return the test of a judge's preferences (`pair_id`, `side`) against people's votes.

    It takes three people with 30 pairs each that somebody else answered too. Pairs are taken as independent, as in the
    paper.
    """
    rows = _others(labels, votes)
    per_person = [mine for _, mine in rows.groupby("rater_id", sort=True) if len(mine) >= LEAST_ITEMS]
    if len(per_person) < LEAST_PEOPLE:
        missing = f"too few people with {LEAST_ITEMS} shared pairs ({len(per_person)} of {LEAST_PEOPLE})"
        return AltTest(epsilon, len(per_person), None, None, None, [], missing)
    tests = [_against(mine, epsilon) for mine in per_person]
    adjusted = benjamini_yekutieli([p for *_, p in tests])
    people = [
        PersonTest(n, judge, person, p, float(corrected or 0.0))
        for (n, judge, person, p), corrected in zip(tests, adjusted, strict=True)
    ]
    winning_rate = float(np.mean([person.adjusted <= FALSE_DISCOVERIES for person in people]))
    advantage = float(np.mean([person.judge_wins for person in people]))
    return AltTest(epsilon, len(people), winning_rate >= ENOUGH_WINS, winning_rate, advantage, people)


def _others(labels: pd.DataFrame, votes: pd.DataFrame) -> pd.DataFrame:
    """Return a row a vote that others and the judge answered: `judge` and `person` are how many others they match."""
    side = votes["choice"].map(SIDE_OF)
    decided = votes[["pair_id", "rater_id"]].assign(side=side)[side.notna()]
    judged = labels[labels["side"].notna()].set_index("pair_id")["side"]
    decided = decided.assign(judge_side=decided["pair_id"].map(judged))
    decided = decided[decided["judge_side"].notna()]
    others = decided.groupby("pair_id")["side"].transform("size") - 1
    as_person = decided.groupby(["pair_id", "side"])["side"].transform("size") - 1
    judge_hit = (decided["side"] == decided["judge_side"]).astype(int)
    as_judge = judge_hit.groupby(decided["pair_id"]).transform("sum") - judge_hit
    return decided.assign(judge=as_judge, person=as_person)[others > 0]


def _against(mine: pd.DataFrame, epsilon: float) -> tuple[int, float, float, float]:
    # Most cards never need it.
    from scipy.stats import ttest_1samp

    judge_wins = (mine["judge"] >= mine["person"]).astype(float)
    person_wins = (mine["person"] >= mine["judge"]).astype(float)
    behind = (person_wins - judge_wins).to_numpy()
    if behind.std() == 0.0:
        p = 0.0 if behind[0] < epsilon else 1.0
    else:
        p = float(ttest_1samp(behind, epsilon, alternative="less").pvalue)
    return len(mine), float(judge_wins.mean()), float(person_wins.mean()), p
