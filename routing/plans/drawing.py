"""The draw behind a plan: an audit slice at random first, then the most doubtful pairs, and what the odds were."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from routing.predicting.scoring import Bools, Floats


class Draw(NamedTuple):
    """What was drawn of n pairs: `audit` and `people` never overlap; `selection_prob` is the odds of either."""

    audit: Bools
    people: Bools
    selection_prob: Floats


def draw_pairs(gain: Floats, *, asked: int, audited: int, rng: np.random.Generator) -> Draw:
    """Draw `audited` pairs uniformly at random, then those with most `gain` until `asked` pairs are taken.

    `gain` is (n,); NaN is never chosen for its gain, but can be drawn. Equal gains are ordered by the draw's own
    random numbers. Given that order the odds are exact: the pair at rank r (from 1) is taken if it is in the audit
    slice (audited / n), or else if the first r - 1 hold so many audited pairs that the router's `asked - audited`
    choices reach down to it:

        pi_r = m/n + (1 - m/n) * P(Hypergeometric(n - 1, m, r - 1) >= r - k),   m = audited, k = asked - audited

    So every pair's odds are at least m/n, and they add up to the number of pairs asked.
    """
    n = len(gain)
    rankable = int((~np.isnan(gain)).sum())
    audited = min(audited, asked, n)
    chosen = min(asked, n) - audited
    # One random number a pair settles ties; the order of the rows (of import) must not.
    order = np.lexsort((rng.random(n), -np.where(np.isnan(gain), -np.inf, gain)))
    audit = np.zeros(n, dtype=bool)
    audit[rng.choice(n, size=audited, replace=False)] = True
    ranked = order[:rankable]
    people = np.zeros(n, dtype=bool)
    people[ranked[~audit[ranked]][:chosen]] = True
    odds = np.full(n, audited / n if n else 0.0)
    odds[ranked] = _odds_by_rank(n, audited, chosen, rankable)
    return Draw(audit, people, odds)


def _odds_by_rank(n: int, audited: int, chosen: int, rankable: int) -> Floats:
    from scipy.stats import hypergeom

    rank = np.arange(1, rankable + 1)
    share = audited / n if n else 0.0
    reached = hypergeom.sf(rank - chosen - 1, max(n - 1, 0), min(audited, max(n - 1, 0)), rank - 1)
    # No audited pair before it can be missing: the first k are certain (and sf of a negative number is 1).
    reached = np.where(rank <= chosen, 1.0, reached if chosen else 0.0)
    return np.clip(share + (1 - share) * reached, 0.0, 1.0)


def mix_priorities(gain: Floats, draw: Draw, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return priorities for the pairs drawn (NaN for the rest), audited ones spread among the router's.

    An audited pair borrows the gain of a random pair of the router's, so that the order in which people meet pairs
    says nothing about which kind they are.
    """
    priority = np.full(len(gain), np.nan)
    priority[draw.people] = gain[draw.people]
    pool = gain[draw.people] if draw.people.any() else np.array([1.0])
    priority[draw.audit] = rng.choice(pool, size=int(draw.audit.sum()))
    return priority
