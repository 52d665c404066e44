"""What judges said of the same responses and models in other pairs: how good each is, not only which is better.

Two good responses end in a tie more often than two of which one is bad, so the levels say more than their difference.
"""

import numpy as np
import pandas as pd

# By what a record is kept, whose answers make it, and the columns of the two names.
NAMES = {"record": ("response_a_id", "response_b_id"), "form": ("model_a", "model_b")}


def recalled_signals(measures: pd.DataFrame, own: pd.Series, everyone: pd.Series | None) -> dict[str, pd.Series]:
    """Return the records of the picked and the passed response and of their models, this pair left out.

    `own` and `everyone` are P(a is better) by pair, of the judge and of all judges together (NaN without; None where
    there is one judge). A record is the mean of P(better) over the other pairs with that response or model, 0 to 1; NaN
    without another. Where the judge picks neither, both have the mean of the two. `tie_form` is how often the judge
    called ties with these two models elsewhere, `pairing_form` how far it leaned towards the picked model in other
    pairs of just these two, -1 to 1.
    """
    side = np.sign(own - 0.5)
    signals: dict[str, pd.Series] = {}
    for who, prob_a in [("", own)] + ([("judges_", everyone)] if everyone is not None else []):
        for kept, (name_a, name_b) in NAMES.items():
            a, b = _records(measures[name_a], measures[name_b], prob_a, 1 - prob_a)
            level = (a + b) / 2
            signals[f"{who}{kept}_level"] = level
            signals[f"{who}{kept}_picked"] = a.where(side > 0, b.where(side < 0, level)).where(own.notna())
            signals[f"{who}{kept}_passed"] = b.where(side > 0, a.where(side < 0, level)).where(own.notna())
        tied = prob_a.eq(0.5).astype(float).where(prob_a.notna())
        a, b = _records(measures["model_a"], measures["model_b"], tied, tied)
        signals[f"{who}tie_form"] = (a + b) / 2
        signals[f"{who}pairing_form"] = _pairing(measures, prob_a) * side
    return signals


def _records(name_a: pd.Series, name_b: pd.Series, of_a: pd.Series, of_b: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return for both names the mean of what they got in all other pairs, NaN where there is no other."""
    counted = of_a.notna() & (name_a != "") & (name_b != "")
    got = pd.concat([of_a[counted], of_b[counted]])
    names = pd.concat([name_a[counted], name_b[counted]]).to_numpy()
    total, count = got.groupby(names).sum(), got.groupby(names).count()
    # A model against itself meets its own name twice in one pair: neither half is another pair.
    same = counted & (name_a == name_b)

    def record(name: pd.Series, own: pd.Series, other: pd.Series) -> pd.Series:
        here = own.where(counted, 0.0) + other.where(same, 0.0)
        games = name.map(count).astype(float) - counted - same
        return (name.map(total).astype(float) - here) / games.where(games > 0)

    return record(name_a, of_a, of_b), record(name_b, of_b, of_a)


def _pairing(measures: pd.DataFrame, prob_a: pd.Series) -> pd.Series:
    """Return how far other pairs of the same two models lean to a's model, -1 to 1."""
    first = measures["model_a"] <= measures["model_b"]
    known = (measures["model_a"] != "") & (measures["model_b"] != "")
    smaller = measures["model_a"].where(first, measures["model_b"])
    names = smaller + "\n" + measures["model_b"].where(first, measures["model_a"])
    turn = pd.Series(np.where(first, 2.0, -2.0), index=measures.index)
    lean = ((prob_a - 0.5) * turn).where(known)
    others = lean.groupby(names).transform("count") - lean.notna()
    rest = lean.fillna(0.0).groupby(names).transform("sum") - lean.fillna(0.0)
    return rest / others.where(others > 0) * np.sign(turn)
