"""Position: how the order shown moves a judge."""

from typing import Any, NamedTuple

import pandas as pd

from annotation.agreeing import Figure, share
from judges.auditing.figures import share_of

BOTH_ASKED = "decisive verdicts on pairs asked in both orders"


class Position(NamedTuple):
    """The fields of a card that the order shown makes; `docs/reports.md` has the definitions."""

    n_both_orders: int
    first_shown: Figure
    picks_first: Figure
    picks_second: Figure
    held_order: Figure
    flips: Figure


class OrderTest(NamedTuple):
    """McNemar's exact test over the pairs decided in both orders: of those whose side changed, how many to the first.

    `fairness` is (flips to the second - flips to the first) / flips: -1 is all to the first shown, 1 all to the second.
    `p` is two-sided; it takes pairs as independent.
    """

    n: int
    to_first: int
    to_second: int
    fairness: float | None
    p: float | None


def position(calls: pd.DataFrame, seed: int) -> Position:
    """Return how far the order shown decides, from verdicts with `side` and `first`."""
    ordered = calls[calls["first"].notna()]
    picked_first = ordered["side"] == ordered["first"]
    picked_second = (ordered["side"] != "tie") & ~picked_first & ordered["side"].notna()
    sides = in_both_orders(calls)
    groups = ordered.drop_duplicates("pair_id").set_index("pair_id")["group"].reindex(sides.index)
    decisive = sides[(sides != "tie").all(axis=1)]
    both = ordered[ordered["pair_id"].isin(sides.index) & ordered["side"].isin(["a", "b"])]
    return Position(
        n_both_orders=len(sides),
        first_shown=share_of(both["side"] == both["first"], both, seed, BOTH_ASKED),
        picks_first=share_of(picked_first, ordered, seed, "verdicts with a known order"),
        picks_second=share_of(picked_second, ordered, seed, "verdicts with a known order"),
        held_order=share(sides["ab"] == sides["ba"], groups, what="pairs asked in both orders", seed=seed),
        flips=share(
            decisive["ab"] != decisive["ba"],
            groups[decisive.index],
            what="pairs decided in both orders",
            seed=seed,
        ),
    )


def in_both_orders(calls: pd.DataFrame, value: str = "side") -> pd.DataFrame:
    """Return a row a pair answered in both orders, with what it said in `ab` and `ba` (the stored sides)."""
    ordered = calls[calls["first"].notna()]
    return ordered.pivot(index="pair_id", columns="order", values=value).reindex(columns=["ab", "ba"]).dropna()


def order_test(calls: pd.DataFrame) -> OrderTest:
    """Return whether the flips of a judge go to the response shown first, or to the second."""
    sides: Any = in_both_orders(calls)
    to_first = int(((sides["ab"] == "a") & (sides["ba"] == "b")).sum())
    to_second = int(((sides["ab"] == "b") & (sides["ba"] == "a")).sum())
    n = int((sides != "tie").all(axis=1).sum())
    flips = to_first + to_second
    if not flips:
        return OrderTest(n, 0, 0, None, None)
    # Most cards never need it.
    from scipy.stats import binomtest

    p = float(binomtest(to_first, flips).pvalue)
    return OrderTest(n, to_first, to_second, (to_second - to_first) / flips, p)
