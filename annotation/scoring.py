"""How a person fares on gold, and when that is too little.

The count, its interval, and a test that keeps its error although it is looked at after every answer.

Answers are scored as they are asked for, never stored, so a revoked known answer is out of every score at once.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from math import log
from typing import NamedTuple
from uuid import UUID

from scipy.special import betaincinv

from annotation.agreeing import LEVEL, Interval
from annotation.models import Gold, GoldKind, Preference, Project
from annotation.standards import Standards


class Rule(StrEnum):
    """A rule that pauses: the reason it leaves with the person it paused."""

    GOLD = "rule:gold"
    ATTENTION = "rule:attention"
    FIRST_GOLD = "rule:first_gold"


class Mark(NamedTuple):
    """One answer on a gold pair: whose, which kind of gold, and whether it was among those accepted."""

    rater_id: UUID
    kind: str
    is_right: bool
    at: datetime
    pair_id: UUID
    choice: str


class Score(NamedTuple):
    """A person's answers on gold with a known answer, and on attention checks."""

    right: int
    answered: int
    attention_failed: int
    attention_answered: int

    @property
    def accuracy(self) -> float | None:
        """Return the share of right answers; None without any."""
        return self.right / self.answered if self.answered else None

    @property
    def interval(self) -> Interval | None:
        """Return where the person's accuracy lies with 95 %: the interval of `jeffreys`; None without an answer."""
        return jeffreys(self.right, self.answered) if self.answered else None


def marks_of(project: Project, raters: Iterable[UUID] | None = None) -> dict[UUID, list[Mark]]:
    """Return each person's marks on a project's live gold, oldest first. Two queries.

    An answer scores by whichever way it came; "cannot judge" and a choice that is not accepted are wrong alike. Where a
    judge's answer was suggested afterwards, what was said before it scores.
    """
    golds = {gold.pair_id: gold for gold in Gold.objects.live().filter(project=project)}
    answers = Preference.objects.current().of_people().filter(criterion__isnull=True)
    answers = answers.filter(pair__gold__project=project, pair__gold__revoked_at__isnull=True)
    if raters is not None:
        answers = answers.filter(rater__in=list(raters))
    rows = answers.order_by("created_at", "pk").values_list(
        "rater_id", "pair_id", "choice", "assignment__suggestion__before__choice", "created_at"
    )
    marks: dict[UUID, list[Mark]] = {}
    for rater, pair, choice, before, at in rows:
        gold = golds.get(pair)
        if gold is not None:
            said = before or choice
            marks.setdefault(rater, []).append(Mark(rater, gold.kind, said in gold.accepted, at, pair, said))
    return marks


def score_of(marks: Sequence[Mark]) -> Score:
    """Count marks."""
    known = [mark.is_right for mark in marks if mark.kind == GoldKind.KNOWN]
    checks = [mark.is_right for mark in marks if mark.kind == GoldKind.ATTENTION]
    return Score(sum(known), len(known), len(checks) - sum(checks), len(checks))


def jeffreys(right: int, n: int, *, level: float = LEVEL) -> Interval:
    """Return the equal-tailed interval of a share by Jeffreys' prior, Beta(1/2, 1/2).

    At 0 and at n of n the end is 0 and 1 (Brown, Cai & DasGupta 2001, Interval estimation for a binomial proportion,
    section 4.1.1).
    """
    tail = (1.0 - level) / 2.0
    low = 0.0 if right == 0 else float(betaincinv(right + 0.5, n - right + 0.5, tail))
    high = 1.0 if right == n else float(betaincinv(right + 0.5, n - right + 0.5, 1.0 - tail))
    return Interval(low, high)


def alarm_at(marks: Sequence[bool], standards: Standards) -> int | None:
    """Return after how many answers on gold (from 1) the rule pauses, or None while it does not.

    The likelihood ratio of `bad_accuracy` against `good_accuracy` (Wald 1945, Sequential tests of statistical
    hypotheses), with the one boundary `1 / wrong_pauses`. While a person is as good as `good_accuracy` it is a
    nonnegative martingale that starts at 1, so it ever reaches the boundary with probability `wrong_pauses` at most
    (Ville 1939; Howard et al. 2020, Time-uniform Chernoff bounds, Lemma 1): the error holds over all looks together.
    Who is better reaches it more rarely still, since every right answer lowers the ratio.
    """
    wrong = log((1.0 - standards.bad_accuracy) / (1.0 - standards.good_accuracy))
    right = log(standards.bad_accuracy / standards.good_accuracy)
    ratio, boundary = 0.0, -log(standards.wrong_pauses)
    for number, is_right in enumerate(marks, start=1):
        ratio += right if is_right else wrong
        # Tiny differences of rounding must not decide at the boundary itself.
        if number >= standards.least_gold and ratio >= boundary - 1e-9:
            return number
    return None
