"""Round by round: whether the router finds more wrong labels than asking at random would have.

The audit slice of a round is a random draw from the pairs the router chose from, answered by the same people in the
same weeks: what is found there is what asking at random finds.
"""

from typing import NamedTuple

import numpy as np

from annotation.models import Project
from annotation.sampling import Sample
from judges.models import JudgeVersion
from routing.auditing.estimating import Measured, applied_plans, read_measured
from routing.auditing.inferring import Estimate, estimate_share
from routing.predicting.scoring import Bools, Floats, Strings

# Fewer answers on either side say nothing about a difference.
ANSWERS_NEEDED = 30
# A difference that is surely below 5 wrong labels in 100 asked is no help worth a router.
WORTHWHILE = 0.05
HELPS, HELPS_NOT, CANNOT_TELL, NO_PLAN = "helps", "does not help", "cannot tell yet", "no plan"


class RoundFigures(NamedTuple):
    """The share of asked pairs on which the judge was wrong, chosen by the router and at random, and the difference.

    `number` is the round's, from 1, or the last one's where rounds are summed up.
    """

    number: int
    name: str
    router: Estimate
    random: Estimate
    difference: Estimate


class Comparison(NamedTuple):
    """The rounds one by one and summed up to each, and what follows: `outcome`, and `text` in a sentence or two."""

    rounds: list[RoundFigures]
    cumulated: list[RoundFigures]
    outcome: str
    text: str


def compare_rounds(project: Project, *, sample: Sample | None = None) -> Comparison:
    """Return what each applied plan found, beside what its audit slice found. Each judge's labels are the plan's own.

    Contested pairs count for neither side. Two queries a judge and two for each of its plans.
    """
    plans = applied_plans(project)
    if not plans:
        return Comparison([], [], NO_PLAN, "")
    measured: dict[str, Measured] = {}
    for plan in plans:
        version_id = plan.figures["judge"]["version_id"]
        if version_id not in measured:
            version = JudgeVersion.objects.select_related("judge").get(pk=version_id)
            measured[version_id] = read_measured(project, version, plans, sample=sample)
    found = [_found(measured[plan.figures["judge"]["version_id"]], number) for number, plan in enumerate(plans)]
    rounds = [_figures(number, [one]) for number, one in enumerate(found, start=1)]
    cumulated = [_figures(number, found[:number]) for number in range(1, len(found) + 1)]
    outcome = outcome_of(cumulated[-1].difference)
    return Comparison(rounds, cumulated, outcome, _sentence(outcome, cumulated[-1]))


def verdict_of(project: Project) -> str:
    """Return the banner of the routing pages: whether routing helps; '' before any plan is applied."""
    return compare_rounds(project).text


def outcome_of(difference: Estimate) -> str:
    """Say whether the router finds more than chance: yes, no, or not to be told from these answers."""
    if difference.low is None or difference.high is None:
        return CANNOT_TELL
    if difference.low > 0:
        return HELPS
    return HELPS_NOT if difference.high < WORTHWHILE else CANNOT_TELL


class Found(NamedTuple):
    """The answered pairs of one plan: whether the judge was wrong, whether the router chose it, its prompt group."""

    wrong: Floats
    routed: Bools
    groups: Strings


def _found(measured: Measured, number: int) -> Found:
    """Return what one round's pairs showed; a pair that a later round asked again was answered under that one."""
    drawn = measured.rounds[number]
    rows = drawn.asked & measured.frame["settled"].to_numpy(dtype=bool)
    for later in measured.rounds[number + 1 :]:
        rows &= ~later.asked
    wrong = 1 - measured.frame["right"].to_numpy(dtype=float)[rows]
    return Found(wrong, ~drawn.audit[rows], measured.frame["group"].to_numpy(dtype=object)[rows])


def _figures(number: int, found: list[Found]) -> RoundFigures:
    wrong = np.concatenate([one.wrong for one in found])
    routed = np.concatenate([one.routed for one in found])
    groups = np.concatenate([one.groups for one in found])
    router = _share(wrong[routed], groups[routed])
    random = _share(wrong[~routed], groups[~routed])
    name = f"Round {number}" if len(found) == 1 else f"Rounds 1 to {number}"
    return RoundFigures(number, name, router, random, difference_of(router, random))


def _share(wrong: Floats, groups: Strings) -> Estimate:
    n = len(wrong)
    if n < ANSWERS_NEEDED:
        return Estimate(None, None, None, n, f"too few labels ({n} of {ANSWERS_NEEDED})")
    return estimate_share(wrong, np.ones(n), groups, answered=np.ones(n, dtype=bool), n=n)


def difference_of(one: Estimate, other: Estimate) -> Estimate:
    """Return one share less another with its 95 % interval, from those of the two (Newcombe 1998, method 10).

    Prompt groups with pairs on both sides move them together, so the interval errs on the wide side.
    """
    n = one.n + other.n
    ends = (one.value, one.low, one.high, other.value, other.low, other.high)
    known = [end for end in ends if end is not None]
    if len(known) < len(ends):
        return Estimate(None, None, None, n, one.note or other.note)
    share, share_low, share_high, less, less_low, less_high = known
    low = share - less - float(np.hypot(share - share_low, less_high - less))
    high = share - less + float(np.hypot(share_high - share, less - less_low))
    return Estimate(share - less, low, high, n)


def _sentence(outcome: str, so_far: RoundFigures) -> str:
    if outcome == CANNOT_TELL and so_far.difference.value is None:
        return (
            f"Whether routing helps cannot be told yet: {so_far.router.n:,} answered pairs that the router chose and "
            f"{so_far.random.n:,} drawn at random; it takes {ANSWERS_NEEDED} of each."
        )
    router, random, difference = so_far.router, so_far.random, so_far.difference
    apart = f"{_per_100(difference.low)} to {_per_100(difference.high)}"
    seen = (
        f"The judge was wrong on {_per_100(router.value)} % of the {router.n:,} answered pairs that the router chose, "
        f"and on {_per_100(random.value)} % of the {random.n:,} drawn at random (difference {apart} points)."
    )
    if outcome == HELPS:
        return f"Routing helps. {seen}"
    if outcome == HELPS_NOT:
        return (
            f"Routing does not help. {seen} Asking at random would do as well; look at the signals and the drift, or "
            "use another judge."
        )
    return f"Whether routing helps cannot be told yet. {seen} More answers will tell."


def _per_100(share: float | None) -> str:
    return "?" if share is None else f"{100 * share:.0f}"
