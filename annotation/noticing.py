"""What in a person's answers is worth a look: seven signals, each with the rate at which it alarms for nothing.

Pure: frames in, named results out; `docs/reports.md` explains each. Every signal is a test whose null hypothesis is
"this person answers like somebody who reads", so its p-value is the false-alarm rate of that alarm. All tests of all
people go through Benjamini-Hochberg together: of the flags of a report at most `FALSE_FLAGS` are for nothing, on
average. A flag is a reason to look; only the rules of `annotation.ruling` act.

Nothing is known of a person but their answers, the sides they saw and their active seconds.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from annotation.agreeing import SIDE_OF

if TYPE_CHECKING:
    from numpy.typing import NDArray

FALSE_FLAGS = 0.05
# Below these a test says so and is left out. People: others to compare with; the rest: answers.
LEAST_PEOPLE, LEAST_ANSWERS, LEAST_SIDES, LEAST_REPEATS, LEAST_GOLD, LEAST_SHARED, LEAST_COUPLES = (
    5,
    10,
    10,
    5,
    5,
    20,
    10,
)
DECIDING = ("a", "b", "tie", "both_bad")


class Signal(StrEnum):
    """What is looked at."""

    FAST = "fast"  # faster than others on texts as long
    STRAIGHT = "straight"  # the same side of the screen too many times in a row
    SIDE = "side"  # one side of the screen too often
    WAVERING = "wavering"  # another answer than before when a pair comes again
    GOLD = "gold"  # wrong where the answer is known
    APART = "apart"  # agrees less with the others than they do with each other
    ALIKE = "alike"  # agrees with one other person more than people do: two accounts, or copying


class Sign(NamedTuple):
    """One signal of one person: its value over `n`, what is usual, and how surprising that is.

    `adjusted` is the p-value after Benjamini-Hochberg. Where the data carry no test, `too_few` says what is missing.
    `other` names whom `ALIKE` is about.
    """

    signal: Signal
    value: float | None
    usual: float | None
    n: int
    p_value: float | None
    too_few: str = ""
    other: str = ""
    adjusted: float | None = None

    @property
    def is_flagged(self) -> bool:
        """Say whether the sign stands out."""
        return self.adjusted is not None and self.adjusted <= FALSE_FLAGS

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**self._asdict(), "signal": self.signal.value, "flagged": self.is_flagged}


def notice(answers: pd.DataFrame, repeats: pd.DataFrame, *, good_accuracy: float) -> dict[str, list[Sign]]:
    """Return each person's signs, by name, in the order of `Signal`.

    `answers` has a row an answer, in the order given: `rater`, `pair_id`, `choice`, `shown_order`, `seconds` and
    `characters` (of the pair; floats), `counts` (whether it is a vote) and `is_right` (1.0, 0.0, or NaN where the pair
    is no gold). `repeats` has a row a hidden repeat: `rater`, `before`, `choice`. People are all who answered.
    """
    people = sorted(set(answers["rater"]))
    found: dict[Signal, dict[str, Sign]] = {
        Signal.FAST: _fast(answers),
        Signal.STRAIGHT: _by_person(answers, people, _straight),
        Signal.SIDE: _by_person(answers, people, _side),
        Signal.WAVERING: _wavering(repeats, people),
        Signal.GOLD: {str(name): _gold(mine, good_accuracy) for name, mine in answers.groupby("rater")},
        Signal.APART: _apart(answers),
        Signal.ALIKE: _alike(answers),
    }
    signs = [found[signal].get(name) or _missing(signal, 0) for name in people for signal in Signal]
    adjusted = adjust([sign.p_value for sign in signs])
    signs = [sign._replace(adjusted=p) for sign, p in zip(signs, adjusted, strict=True)]
    width = len(Signal)
    return {name: signs[place * width : (place + 1) * width] for place, name in enumerate(people)}


def adjust(p_values: Iterable[float | None]) -> list[float | None]:
    """Return the p-values after Benjamini & Hochberg 1995, in the same places; None stays None and does not count."""
    given = list(p_values)
    known = np.array([p for p in given if p is not None])
    if not len(known):
        return given
    order = np.argsort(known)
    raised = known[order] * len(known) / np.arange(1, len(known) + 1)
    smallest = np.minimum.accumulate(raised[::-1])[::-1].clip(max=1.0)
    after = np.empty(len(known))
    after[order] = smallest
    places = iter(after.tolist())
    return [None if p is None else next(places) for p in given]


# --- Of one person alone: exact -------------------------------------------------------------------------------------


def _by_person(answers: pd.DataFrame, people: list[str], sign: Any) -> dict[str, Sign]:
    firsts = answers.assign(first=_is_first(answers)).dropna(subset=["first"])
    sides = {str(name): mine["first"].to_numpy(dtype=bool) for name, mine in firsts.groupby("rater")}
    return {name: sign(sides.get(name, np.array([], dtype=bool))) for name in people}


def _is_first(answers: pd.DataFrame) -> "pd.Series[float]":
    first = answers["shown_order"].str[:1]
    known = answers["choice"].isin(("a", "b")) & first.isin(("a", "b"))
    return (answers["choice"] == first).astype(float).where(known)


def _side(first: "NDArray[np.bool_]") -> Sign:
    """Test the share of the first side: whoever chooses by content meets a fair coin, which drew the sides.

    Exact and two-sided, Binomial(n, 1/2).
    """
    from scipy.special import bdtr

    n, times = len(first), int(first.sum())
    if n < LEAST_SIDES:
        return _missing(Signal.SIDE, n)
    p = min(1.0, 2.0 * float(bdtr(min(times, n - times), n, 0.5)))
    return Sign(Signal.SIDE, times / n, 0.5, n, p)


def _straight(first: "NDArray[np.bool_]") -> Sign:
    """Test the longest run of one side: under the same coin, exactly (`longest_run_p`)."""
    n = len(first)
    if n < LEAST_SIDES:
        return _missing(Signal.STRAIGHT, n)
    changes = np.flatnonzero(np.diff(first.astype(int))) + 1
    longest = int(np.diff(np.concatenate(([0], changes, [n]))).max())
    return Sign(Signal.STRAIGHT, float(longest), float(np.log2(n)), n, longest_run_p(n, longest))


def longest_run_p(n: int, longest: int) -> float:
    """Return P(the longest run of equal tosses in `n` tosses of a fair coin is at least `longest`).

    A run of k equal tosses is k - 1 tosses in a row that equal the one before, of n - 1; for these the recurrence of
    Schilling 1990 (The longest run of heads, eq. 1), in probabilities.
    """
    run, tosses = longest - 1, n - 1
    if run <= 0:
        return 1.0
    if tosses < run:
        return 0.0
    # without[m]: the chance of no run of that length in m tosses.
    without = np.ones(tosses + 1)
    without[run] = 1.0 - 0.5**run
    for m in range(run + 1, tosses + 1):
        without[m] = without[m - 1] - 0.5 ** (run + 1) * without[m - run - 1]
    return float(min(1.0, max(0.0, 1.0 - without[tosses])))


def _gold(mine: pd.DataFrame, good_accuracy: float) -> Sign:
    """Test the right answers on gold against the accuracy a project expects, exactly and one-sided."""
    from scipy.special import bdtr

    marks = mine["is_right"].dropna()
    n, right = len(marks), int(marks.sum())
    if n < LEAST_GOLD:
        return _missing(Signal.GOLD, n)
    return Sign(Signal.GOLD, right / n, good_accuracy, n, float(bdtr(right, n, good_accuracy)))


# --- Against the others ---------------------------------------------------------------------------------------------


def _fast(answers: pd.DataFrame) -> dict[str, Sign]:
    """Test a person's speed among the others' speeds, on texts as long.

    Log-normal response times (van der Linden 2006): log seconds = a person's pace + slope * log characters + noise,
    with the slope fitted within people. Paces are taken as normal over people (`_outlying`). The value is the person's
    time as a multiple of the usual.
    """
    timed = answers[(answers["seconds"] > 0) & (answers["characters"] > 0)]
    logs = pd.DataFrame({"rater": timed["rater"], "y": np.log(timed["seconds"]), "x": np.log(timed["characters"])})
    within = logs[["x", "y"]] - logs.groupby("rater")[["x", "y"]].transform("mean")
    spread = float((within["x"] ** 2).sum())
    slope = float((within["x"] * within["y"]).sum()) / spread if spread > 1e-9 else 0.0
    logs["pace"] = logs["y"] - slope * logs["x"]
    paces = logs.groupby("rater")["pace"].agg(["mean", "count", "var"])
    enough = paces[paces["count"] >= LEAST_ANSWERS]
    tested = _outlying(-enough["mean"], enough["var"].fillna(0.0) / enough["count"])
    signs = {}
    for name, row in paces.iterrows():
        n = int(row["count"])
        if name not in tested:
            few = n < LEAST_ANSWERS
            signs[str(name)] = _missing(Signal.FAST, n) if few else _nobody(Signal.FAST, n, len(enough) - 1)
            continue
        others, p = tested[str(name)]
        signs[str(name)] = Sign(Signal.FAST, float(np.exp(row["mean"] + others)), 1.0, n, p)
    return signs


def _apart(answers: pd.DataFrame) -> dict[str, Sign]:
    """Test how often a person gives the answer that most others give, among the others' own shares of that."""
    shares = _with_others(answers)
    enough = shares[shares["n"] >= LEAST_ANSWERS]
    tested = _outlying(-_angle(enough), _angle_variance(enough))
    signs = {}
    for name, row in shares.iterrows():
        n = int(row["n"])
        if name not in tested:
            few = n < LEAST_ANSWERS
            signs[str(name)] = _missing(Signal.APART, n) if few else _nobody(Signal.APART, n, len(enough) - 1)
            continue
        others, p = tested[str(name)]
        signs[str(name)] = Sign(Signal.APART, float(row["k"] / row["n"]), float(np.sin(others) ** 2), n, p)
    return signs


def _with_others(answers: pd.DataFrame) -> pd.DataFrame:
    """Return for each person on how many pairs most others agree (`n`), and on how many of them so do they (`k`)."""
    deciding = answers[answers["choice"].isin(DECIDING)]
    votes = deciding[deciding["counts"].astype(bool)]
    counts = pd.crosstab(votes["pair_id"], votes["choice"]).reindex(columns=list(DECIDING), fill_value=0)
    others = counts.reindex(deciding["pair_id"]).fillna(0).to_numpy(dtype=float, copy=True)
    own = np.array([DECIDING.index(choice) for choice in deciding["choice"]], dtype=int)
    rows = np.arange(len(deciding))
    others[rows, own] -= deciding["counts"].to_numpy(dtype=float)
    top = others.max(axis=1, initial=0.0)
    agreed = (top > 0) & ((others == top[:, None]).sum(axis=1) == 1)
    same = others[rows, own] == top
    frame = pd.DataFrame({"rater": deciding["rater"].to_numpy(), "n": agreed, "k": agreed & same})
    return frame.groupby("rater")[["n", "k"]].sum()


def _alike(answers: pd.DataFrame) -> dict[str, Sign]:
    """Test each couple's share of equal answers among all couples' shares; a person has the most telling of theirs.

    Its p-value is multiplied by the number of the person's couples (Bonferroni).
    """
    deciding = answers[answers["choice"].isin(DECIDING)][["pair_id", "rater", "choice"]]
    couples = deciding.merge(deciding, on="pair_id")
    couples = couples[couples["rater_x"] < couples["rater_y"]]
    couples["k"] = couples["choice_x"] == couples["choice_y"]
    shares = couples.groupby(["rater_x", "rater_y"])["k"].agg(["count", "sum"])
    shares.columns = pd.Index(["n", "k"])
    enough = shares[shares["n"] >= LEAST_SHARED]
    enough.index = enough.index.to_flat_index()
    tested = _outlying(_angle(enough), _angle_variance(enough), least=LEAST_COUPLES)
    counted = dict(zip(enough.index, zip(enough["k"].astype(float), enough["n"].astype(int), strict=True), strict=True))
    of_person: dict[str, list[tuple[float, str, Any]]] = {}
    for couple, (_, p) in tested.items():
        for name, other in (couple, couple[::-1]):
            of_person.setdefault(name, []).append((p, other, couple))
    signs = {}
    for name, theirs in of_person.items():
        p, other, couple = min(theirs, key=lambda one: (one[0], one[1]))
        k, n = counted[couple]
        usual = float(np.sin(tested[couple][0]) ** 2)
        signs[name] = Sign(Signal.ALIKE, k / n, usual, n, min(1.0, p * len(theirs)), other=other)
    return signs


def _wavering(repeats: pd.DataFrame, people: list[str]) -> dict[str, Sign]:
    """Test a person's share of repeats with the same side against the others' together: Fisher's exact test."""
    from scipy.stats import hypergeom

    before, after = repeats["before"].map(SIDE_OF), repeats["choice"].map(SIDE_OF)
    known = before.notna() & after.notna()
    same = pd.DataFrame({"rater": repeats["rater"], "same": before == after})[known].groupby("rater")["same"]
    counts = {str(name): (len(mine), int(mine.sum())) for name, mine in same}
    total, steady = sum(n for n, _ in counts.values()), sum(k for _, k in counts.values())
    signs = {}
    for name in people:
        n, k = counts.get(name, (0, 0))
        if n < LEAST_REPEATS:
            signs[name] = _missing(Signal.WAVERING, n)
        elif total - n < LEAST_SHARED:
            signs[name] = Sign(
                Signal.WAVERING, k / n, None, n, None, f"too few repeats of others ({total - n} of {LEAST_SHARED})"
            )
        else:
            p = float(hypergeom.cdf(k, total, steady, n))
            signs[name] = Sign(Signal.WAVERING, k / n, (steady - k) / (total - n), n, p)
    return signs


def _outlying(
    values: "pd.Series[float]", variances: "pd.Series[float]", *, least: int = LEAST_PEOPLE
) -> dict[Any, tuple[float, float]]:
    """Return for each value the mean of the others, and P(a further one of them is as high).

    The prediction interval of a normal sample: t = (v - mean) / (s sqrt(1 + 1/m)) with m - 1 degrees of freedom over
    the m others. Their spread is taken as no smaller than the values' own errors (`variances`), and somebody with fewer
    answers than the others gets the more room. Nobody is tested with fewer than `least` others.
    """
    from scipy.special import stdtr

    v, w, m = values.to_numpy(dtype=float), variances.to_numpy(dtype=float), len(values) - 1
    if m < least:
        return {}
    mean = (v.sum() - v) / m
    spread = np.maximum(((v**2).sum() - v**2 - m * mean**2) / (m - 1), 0.0)
    errors = (w.sum() - w) / m
    scale = np.sqrt(np.maximum(spread, errors) * (1 + 1 / m) + np.maximum(w - errors, 0.0))
    # Everybody the same, without error: nobody stands out.
    t = np.divide(v - mean, scale, out=np.zeros_like(v), where=scale > 0)
    p = stdtr(m - 1, -t)
    return {name: (float(mu), float(tail)) for name, mu, tail in zip(values.index, mean, p, strict=True)}


def _angle(shares: pd.DataFrame) -> "pd.Series[float]":
    """Return the shares k / n as angles, whose error does not depend on the share (Anscombe 1948)."""
    k, n = shares["k"].to_numpy(dtype=float), shares["n"].to_numpy(dtype=float)
    return pd.Series(np.arcsin(np.sqrt((k + 0.375) / (n + 0.75))), index=shares.index)


def _angle_variance(shares: pd.DataFrame) -> "pd.Series[float]":
    return pd.Series(1.0 / (4.0 * shares["n"].to_numpy(dtype=float) + 2.0), index=shares.index)


# --- Saying that it is too few --------------------------------------------------------------------------------------

_LEAST: dict[Signal, tuple[int, str]] = {
    Signal.FAST: (LEAST_ANSWERS, "answers with a time"),
    Signal.STRAIGHT: (LEAST_SIDES, "answers for a side"),
    Signal.SIDE: (LEAST_SIDES, "answers for a side"),
    Signal.WAVERING: (LEAST_REPEATS, "hidden repeats"),
    Signal.GOLD: (LEAST_GOLD, "gold answers"),
    Signal.APART: (LEAST_ANSWERS, "pairs that others answered"),
    Signal.ALIKE: (LEAST_COUPLES, f"couples with {LEAST_SHARED} pairs in common"),
}


def _missing(signal: Signal, n: int) -> Sign:
    least, what = _LEAST[signal]
    said = f"too few {what} ({n} of {least})" if signal is not Signal.ALIKE else f"too few {what}"
    return Sign(signal, None, None, n, None, said)


def _nobody(signal: Signal, n: int, others: int) -> Sign:
    return Sign(signal, None, None, n, None, f"too few others to compare with ({max(0, others)} of {LEAST_PEOPLE})")
