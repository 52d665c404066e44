"""How far a judge's labels can be accepted with a stated confidence, from pairs that people audited at random.

Learn-then-test by a fixed sequence (Angelopoulos et al. 2021, arXiv 2110.01052): thresholds on P(wrong), and the order
they are tried in, are fixed before any answer is looked at; each is tested at the full level by the exact binomial
test, and the first that fails ends it. A threshold whose labels are worse than allowed is then certified with
probability delta at most, whatever the predictor is worth: a poor one only certifies less.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from judges.flagging import flagged_pairs
from judges.models import JudgeVersion
from routing.auditing.estimating import read_measured
from routing.models import Plan
from routing.plans.options import PlanOptions
from routing.predicting.scoring import Bools, Floats, Strings

Ints = npt.NDArray[np.int64]
DEFAULT_ALPHA = 0.15
# Thresholds are quantiles at so many even steps: finer ones certify no more, since each is one more test to pass.
STEPS = 25
# How likely the answers that are said to be missing are to be enough.
POWER = 0.8
# Numbers of audited answers that are tried as advice; more than the last are none.
LEAST_ADVISED, MOST_ADVISED, TOTALS_TRIED = 10, 10_000, 40
# What the predictor says of the error rate below a threshold counts as much as so many audited answers.
PRIOR_ANSWERS = 50.0
# Fewer answers do not show that an aim is out of reach, whatever the predictor says.
ANSWERS_TO_TELL = 30
# While answers are still to come the test is so much stricter, since it is done again and again.
EARLY = 5.0


class Guarantee(NamedTuple):
    """How far a judge's labels may be accepted: at most `alpha` of them wrong, with confidence 1 - `delta`.

    Labels with P(wrong) up to `threshold` may; none where it is None. Of the `tested` audited answers `accepted` lie
    there, and `errors` of these were wrong, so the error rate is at most `bound` with that confidence. `needed`: about
    how many more audited answers would certify some labels; 0 where some are certified, or where no number of answers
    would do. `note` says it in words.
    """

    threshold: float | None
    accepted: int
    tested: int
    errors: int
    bound: float | None
    alpha: float
    delta: float
    needed: int
    note: str


def error_bound(errors: int, n: int, delta: float) -> float:
    """Return the exact upper limit of an error rate with confidence 1 - `delta` (Clopper & Pearson 1934)."""
    from scipy.stats import beta

    return 1.0 if errors >= n else float(beta.ppf(1 - delta, errors + 1, n - errors))


def certify(
    p_wrong: Floats,
    wrong: Bools,
    *,
    alpha: float,
    delta: float,
    p_all: Floats | None = None,
    groups: Strings | None = None,
    calibrated: bool = True,
) -> Guarantee:
    """Return how far labels may be accepted, from audited pairs: `p_wrong` (n,) and whether each was `wrong` (n,).

    The audited pairs are a random sample of those the claim is about, whose P(wrong) are `p_all` (m,) (default: the
    sample's own); P(wrong) was computed before their answers, and is a mere rank where not `calibrated`. Thresholds are
    even quantiles of `p_all`. The first one tried is where the predictor itself makes a pass most likely, the others
    follow upwards to the first that fails.
    Where whole prompt groups were sampled and not pairs, give the `groups` (n,): answers then count for as many as
    their errors' spread over groups is worth, and the test is no longer exact.
    """
    p_all = np.sort(p_wrong if p_all is None else p_all)
    tested = len(p_wrong)
    if not len(p_all):
        return Guarantee(None, 0, tested, 0, None, alpha, delta, 0, "there are no labels of the judge to accept")
    thresholds = np.unique(np.quantile(p_all, np.arange(1, STEPS + 1) / STEPS, method="inverted_cdf"))
    below = np.searchsorted(p_all, thresholds, side="right")
    share, expected = below / len(p_all), np.cumsum(p_all)[below - 1] / below
    order = np.argsort(p_wrong, kind="stable")
    accepted = np.searchsorted(p_wrong[order], thresholds, side="right").astype(np.int64)
    errors = np.concatenate([[0], np.cumsum(wrong[order])])[accepted].astype(np.int64)
    worth = 1 / _inflation(p_wrong[order], wrong[order], accepted, groups[order], alpha) if groups is not None else 1.0
    allowed = _errors_allowed((accepted * worth).astype(np.int64), alpha, delta)
    start = int(np.argmax(_chance_to_pass(np.rint(tested * share).astype(np.int64), expected, alpha, delta)))
    # The first threshold that fails, from the start on; one past the last where all pass.
    failed = start + int(np.argmax(np.append((errors * worth)[start:] > allowed[start:], True)))
    if failed > start:
        n, wrong_there = int(accepted[failed - 1]), int(errors[failed - 1])
        bound = error_bound(wrong_there, n, delta)
        note = f"{wrong_there:,} of {n:,} audited labels there were wrong"
        return Guarantee(float(thresholds[failed - 1]), n, tested, wrong_there, bound, alpha, delta, 0, note)
    if not calibrated:
        # Ranks are no probabilities: what all answers say stands in, and while they are few a rate that is in reach.
        expected = np.full(len(expected), wrong.mean() if tested >= ANSWERS_TO_TELL else alpha / 2)
    rates = (errors + PRIOR_ANSWERS * expected) / (accepted + PRIOR_ANSWERS)
    needed, note = _advice(rates, share, tested, alpha, delta)
    return Guarantee(None, 0, tested, 0, None, alpha, delta, needed, note)


def _inflation(p: Floats, wrong: Bools, accepted: Ints, groups: Strings, alpha: float) -> Floats:
    """Return by what errors vary more than single pairs' would, at least 1, were the error rate alpha; p is sorted."""
    _, inverse = np.unique(groups.astype(str), return_inverse=True)
    factors = np.ones(len(accepted))
    for number, n in enumerate(accepted):
        if n:
            spread = np.bincount(inverse[:n], weights=wrong[:n] - alpha)
            factors[number] = max(1.0, float((spread**2).sum()) / (n * alpha * (1 - alpha)))
    return factors


def _errors_allowed(n: Ints, alpha: float, delta: float) -> Ints:
    """Return the most errors among n labels that still reject "the error rate is above alpha"; -1 where none do."""
    from scipy.stats import binom

    # The quantile is the first number of errors with at least delta below or at it: that one is one too many, unless
    # it meets delta exactly.
    errors = np.asarray(binom.ppf(delta, n, alpha))
    return np.asarray(np.where(binom.cdf(errors, n, alpha) <= delta, errors, errors - 1), dtype=np.int64)


def _chance_to_pass(n: Ints, rates: Floats, alpha: float, delta: float) -> Floats:
    """Return the chance that the test passes with n answers, were `rates` the error rates."""
    from scipy.stats import binom

    return np.asarray(binom.cdf(_errors_allowed(n, alpha, delta), n, rates), dtype=float)


def _advice(rates: Floats, share: Floats, tested: int, alpha: float, delta: float) -> tuple[int, str]:
    """Return about how many more audited answers would certify something, and that in words."""
    totals = np.unique(np.geomspace(max(tested + 1, LEAST_ADVISED), MOST_ADVISED, TOTALS_TRIED).astype(np.int64))
    chance = _chance_to_pass((totals[:, None] * share).astype(np.int64), rates, alpha, delta).max(axis=1)
    enough = totals[(chance >= POWER) & (totals > tested)]
    if len(enough):
        total = int(enough[0])
        return total - tested, f"too few labels ({tested:,} of about {total:,} audited answers)"
    best = float(rates.min())
    if tested < ANSWERS_TO_TELL:
        least = max(ANSWERS_TO_TELL, math.ceil(math.log(delta) / math.log1p(-alpha))) if alpha < 1 else ANSWERS_TO_TELL
        return least - tested, f"too few labels ({tested:,} of at least {least:,} audited answers)"
    return 0, (
        f"{alpha:.0%} is out of reach: even where the judge is surest, about {best:.1%} of its labels seem to be wrong"
        if best >= alpha
        else f"too few labels ({tested:,} audited answers of more than {MOST_ADVISED:,})"
    )


class Audited(NamedTuple):
    """The pairs a plan leaves to the judge, as their audited ones show them.

    `p_all` is P(wrong) of all of them, `p_wrong` and `wrong` are of those that were audited and answered.
    `calibrated`: P(wrong) was fitted to labels, and is no rank of a cold start. `awaited` audited ones have no answer
    yet.
    """

    p_all: Floats
    p_wrong: Floats
    wrong: Bools
    calibrated: bool
    awaited: int

    def certify(self, alpha: float, delta: float) -> Guarantee:
        """Return how far their labels may be accepted.

        Answers are counted as they come in, and who looks often is lucky once. So until the last one is there they must
        pass at `delta` / `EARLY`: in the worst case (every label as likely wrong, just above alpha, a look after every
        second of 120 answers) something was then certified in 12 % of 120 runs, without it in 31 %.
        """
        found = self._certify(alpha, delta)
        if not self.awaited or found.threshold is None:
            return found
        early = self._certify(alpha, delta / EARLY)
        if early.threshold is not None:
            return early._replace(delta=delta)
        note = f"too few labels ({found.tested:,} audited answers; {self.awaited:,} are still to come)"
        return Guarantee(None, 0, found.tested, 0, None, alpha, delta, self.awaited, note)

    def _certify(self, alpha: float, delta: float) -> Guarantee:
        return certify(self.p_wrong, self.wrong, alpha=alpha, delta=delta, p_all=self.p_all, calibrated=self.calibrated)


def read_audited(plan: Plan) -> Audited:
    """Read what an applied plan's audit slice says about the labels left to the judge.

    These are the pairs the router would not have sent to people (`Round.sent`). Flagged pairs keep no judge's label,
    pairs with recorded answers have people's, and contested ones are neither right nor wrong: all are left out.
    P(wrong) is the plan's, computed before these answers. Five queries.
    """
    version = JudgeVersion.objects.select_related("judge").get(pk=plan.figures["judge"]["version_id"])
    measured = read_measured(plan.project, version, [plan])
    frame, [drawn] = measured.frame, measured.rounds
    # Pairs the judge labelled after the plan was drawn have no P(wrong) that could be accepted.
    known = ~np.isnan(drawn.p_wrong)
    flagged = frame.index.isin({str(pair_id) for pair_id in flagged_pairs(plan.project)})
    left = drawn.pool & ~drawn.sent & known & ~flagged & ~frame["recorded"].to_numpy(dtype=bool)
    tested = left & drawn.audit & frame["settled"].to_numpy(dtype=bool)
    wrong = frame["right"].to_numpy(dtype=float)[tested] == 0
    awaited = int((left & drawn.audit & ~frame["answered"].to_numpy(dtype=bool)).sum())
    return Audited(drawn.p_wrong[left], drawn.p_wrong[tested], wrong, plan.predictor_kind != "cold", awaited)


def guarantee_of(plan: Plan) -> Guarantee:
    """Return how far a plan's labels may be accepted by its own `guarantee_alpha`, 0.15 where it names none."""
    options = PlanOptions.from_json(plan.options)
    alpha = DEFAULT_ALPHA if options.guarantee_alpha is None else options.guarantee_alpha
    return read_audited(plan).certify(alpha, options.guarantee_delta)


def guarantee_splits(
    p: Floats, wrong: Bools, groups: Strings, *, alpha: float, delta: float, splits: int, seed: int
) -> dict[str, Any]:
    """Return how the guarantee held on pairs with known answers: calibrated on one half, checked on the other.

    `p` (n,) is P(wrong) from folds that left each pair out. Each split puts whole prompt groups into either half, at
    random. `above` is the share of splits whose held-out error exceeds alpha, as it is counted; the held-out half is
    small, so an error rate of exactly alpha would exceed it half the time. `above_beyond_noise` is the share where the
    held-out half by itself shows that the guarantee was broken: its exact binomial test at 5 % (one-sided) rejects
    "at most alpha". `coverage` is the share of held-out labels accepted, splits that certify nothing counting 0; its
    interval holds 95 % of the splits.
    """
    names, inverse = np.unique(groups.astype(str), return_inverse=True)
    rng = np.random.default_rng(seed)
    coverage, error, beyond, held_out = (np.zeros(splits) for _ in range(4))
    for split in range(splits):
        calibrates = rng.permutation(len(names))[inverse] < len(names) // 2
        found = certify(p[calibrates], wrong[calibrates], alpha=alpha, delta=delta, p_all=p, groups=groups[calibrates])
        taken = ~calibrates & (p <= found.threshold) if found.threshold is not None else np.zeros(len(p), dtype=bool)
        n, errors = int(taken.sum()), int(wrong[taken].sum())
        held_out[split], coverage[split] = (~calibrates).sum(), n / max(1, int((~calibrates).sum()))
        error[split] = errors / n if n else np.nan
        beyond[split] = n > 0 and 1 - error_bound(n - errors, n, 0.05) > alpha
    certified = ~np.isnan(error)
    return {
        "alpha": alpha,
        "delta": delta,
        "splits": splits,
        "held_out_pairs": float(held_out.mean()),
        "certified": float(certified.mean()),
        "error": float(error[certified].mean()) if certified.any() else None,
        "above": float((error[certified] > alpha).sum() / splits),
        "above_beyond_noise": float(beyond.mean()),
        "coverage": _spread(coverage),
    }


def _spread(values: Floats) -> dict[str, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high)}
