"""How often a judge, and the labels, agree with people, from answers that were not drawn evenly.

Every applied plan is a draw with known odds; `routing.auditing.inferring` joins them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from django.db.models import Exists, OuterRef, QuerySet

from annotation.aggregating import consensus, vote_frame
from annotation.models import Choice, Origin, Preference, Project
from annotation.sampling import Sample, in_sample
from judges.models import JudgeVersion
from routing.auditing.inferring import Drawn, Estimate, Terms, estimate_share, join_draws
from routing.models import Plan, PlanState, RouteSource
from routing.plans.trusting import judged_right
from routing.predicting.scoring import Bools, Floats, Strings

# Answers below which there is no figure about the whole, or about a part of it.
ANSWERS_NEEDED = 30
ANSWERS_NEEDED_IN_SLICE = 10
GIVEN_HERE = (Origin.LIVE, Origin.SIMULATED)
# At these odds of being chosen for its doubt a pair counts as one of the router's.
SENT = 0.5


class Round(NamedTuple):
    """An applied plan over the pairs a judge labelled; every array is (n,).

    `complete`: every pair asked has an answer, so all count; else only the audit slice does, which is drawn at random
    and whose pairs are served in random order, while the router's are served most doubtful first (or were closed when
    the plan was replaced). `p_wrong` is what the plan predicted (NaN where unknown, or for another judge), `expected`
    P(right) with a stand-in there.
    """

    plan: Plan
    pool: Bools
    audit: Bools
    asked: Bools
    odds: Floats
    expected: Floats
    p_wrong: Floats
    complete: bool

    @property
    def sent(self) -> Bools:
        """Return which pairs the router would more likely than not have sent to people, had they not been audited."""
        by_audit = float(self.audit.sum() / max(1, self.pool.sum()))
        return self.pool & ((self.odds - by_audit) / max(1e-9, 1 - by_audit) >= SENT)


class Measured(NamedTuple):
    """The pairs one judge version labelled (a row each), people's answers on them, and the rounds that drew them.

    `frame` (index `pair_id`): `group`, `category`, `language`, `model_a`, `model_b`, `choice`, `prob_a` (NaN), `right`
    (1, 0, NaN), `answered` (by anybody here, decided or not), `settled` (people agree on an answer), `recorded` (people
    answered it elsewhere: no draw knows of that, but the label is theirs).
    """

    version: JudgeVersion
    frame: pd.DataFrame
    rounds: list[Round]
    votes: pd.DataFrame


def read_measured(
    project: Project, version: JudgeVersion, plans: Sequence[Plan], *, sample: Sample | None = None
) -> Measured:
    """Read a judge's labels, people's answers given here and the draws of applied plans. Two queries and two a plan.

    A `sample` narrows the rows. Its groups are drawn whatever the plans drew, so the odds of their pairs stay the same.
    """
    frame = _labelled_pairs(project, version, sample)
    everything = vote_frame(project, sample=sample)
    here = everything["origin"].isin(GIVEN_HERE)
    votes = everything[here]
    people = consensus(votes)["choice"].reindex(frame.index)
    frame["right"] = judged_right(frame["choice"], people)
    frame["answered"] = frame.index.isin(set(votes["pair_id"]))
    frame["settled"] = frame["right"].notna()
    frame["recorded"] = frame.index.isin(consensus(everything[~here]).index)
    return Measured(version, frame, [_round(plan, version, frame, sample) for plan in plans], votes)


def applied_plans(project: Project) -> list[Plan]:
    """Return the project's applied plans in the order they were applied, without their predictors."""
    return list(
        Plan.objects.filter(project=project, state=PlanState.APPLIED).order_by("applied_at", "id").defer("predictor")
    )


def _labelled(version: JudgeVersion) -> "QuerySet[Preference]":
    """Return the answers of a judge that decide."""
    return Preference.objects.counted().filter(rater_id=version.rater_id).exclude(choice=Choice.UNSURE)


def _labelled_pairs(project: Project, version: JudgeVersion, sample: Sample | None) -> pd.DataFrame:
    columns = ("group", "category", "language", "model_a", "model_b", "choice", "prob_a")
    rows = (
        _labelled(version)
        .filter(in_sample(sample, "pair__prompt"), pair__project=project)
        .order_by("pair_id")
        .values_list(
            "pair_id",
            "pair__prompt__group",
            "pair__prompt__category",
            "pair__prompt__language",
            "pair__response_a__model",
            "pair__response_b__model",
            "choice",
            "prob_a",
        )
    )
    frame = pd.DataFrame.from_records(list(rows), columns=["pair_id", *columns])
    frame["pair_id"] = frame["pair_id"].astype(str)
    frame["prob_a"] = frame["prob_a"].astype(float)
    return frame.set_index("pair_id")


def _round(plan: Plan, version: JudgeVersion, frame: pd.DataFrame, sample: Sample | None) -> Round:
    routes_read = plan.routes.filter(in_sample(sample, "pair__prompt"))
    fields = routes_read.values_list("pair_id", "source", "p_wrong", "selection_prob")
    routes = pd.DataFrame.from_records(list(fields), columns=["pair_id", "source", "p_wrong", "odds"])
    routes.index = pd.Index(routes["pair_id"].astype(str))
    drawn = routes.index[routes["source"].isin([RouteSource.PEOPLE, RouteSource.AUDIT])]
    routes = routes.reindex(frame.index)
    expected = 1 - routes["p_wrong"].astype(float)
    if plan.figures["judge"]["version_id"] != str(version.pk):
        # P(wrong) was predicted for the plan's judge; for another it says nothing.
        expected[:] = np.nan
    p_wrong = routes["p_wrong"].astype(float).where(expected.notna())
    mean = expected.mean()
    return Round(
        plan=plan,
        pool=routes["source"].notna().to_numpy(),
        audit=routes["source"].eq(RouteSource.AUDIT).to_numpy(),
        asked=frame.index.isin(drawn),
        odds=np.asarray(routes["odds"].astype(float).fillna(0.0), dtype=np.float64),
        expected=np.asarray(expected.fillna(0.5 if np.isnan(mean) else mean), dtype=np.float64),
        p_wrong=np.asarray(p_wrong, dtype=np.float64),
        complete=_is_complete(plan, version),
    )


def _is_complete(plan: Plan, version: JudgeVersion) -> bool:
    """Say whether every pair that a plan asked about, of those the judge labelled, was answered here, sample or not."""
    mine = OuterRef("pair_id")
    heard = Preference.objects.counted().of_people().filter(pair_id=mine, rater__origin__in=GIVEN_HERE)
    asked = plan.routes.filter(source__in=[RouteSource.PEOPLE, RouteSource.AUDIT])
    return not asked.filter(Exists(_labelled(version).filter(pair_id=mine)), ~Exists(heard)).exists()


def draws_of(measured: Measured) -> list[Drawn]:
    """Return the rounds as draws that can be joined: those whose odds are all above 0 and that have an answer.

    A pair that is outside a round's pool and answered counts exactly there, unless a later round drew it: then its
    answer is not what the round knew.
    """
    answered = measured.frame["answered"].to_numpy()
    first = np.full(len(answered), np.inf)
    for number in range(len(measured.rounds) - 1, -1, -1):
        first[measured.rounds[number].asked] = number
    draws = []
    for number, drawn in enumerate(measured.rounds):
        counted = (drawn.asked if drawn.complete else drawn.audit) & answered
        pool = int(drawn.pool.sum())
        odds = drawn.odds if drawn.complete else np.full(len(answered), counted.sum() / max(1, pool))
        if counted.any() and (odds[drawn.pool] > 0).all():
            exact = ~drawn.pool & answered & ((first < number) | np.isinf(first))
            draws.append(Drawn(drawn.pool, counted, exact, odds, drawn.expected))
    return draws


class Joined(NamedTuple):
    """A judge's pairs with their terms: what every figure about it is summed from; arrays are (n,).

    `used` are the answered pairs that count, `drawn` those of them that stand for others too (odds below 1).
    """

    measured: Measured
    terms: Terms
    used: Bools
    drawn: Bools
    groups: Strings
    complete: bool

    def accuracy(self, rows: Bools | None = None, *, needed: int = ANSWERS_NEEDED) -> Estimate:
        """Return how often the judge agrees with people, on all pairs or those marked in `rows`."""
        return self._share(self.terms.right, self.terms.settled, rows, needed)

    def ai_labels(self, rows: Bools, *, needed: int = ANSWERS_NEEDED) -> Estimate:
        """Return the same of the marked pairs that nobody answered, here or before: what is known is taken out."""
        frame = self.measured.frame
        if not (rows & ~(frame["answered"] | frame["recorded"]).to_numpy(dtype=bool)).any():
            return Estimate(None, None, None, 0, "no AI label is left: people answered every pair")
        right, settled = self._left()
        return self._share(right, settled, rows, needed)

    def labels(self, rows: Bools, *, needed: int = ANSWERS_NEEDED) -> Estimate:
        """Return the share of the marked pairs' labels that agree with people, people's own included."""
        right, settled = self._left()
        return self._share(self.terms.settled - settled + right, self.terms.settled, rows, needed)

    def _left(self) -> tuple[Floats, Floats]:
        frame = self.measured.frame
        known = frame["answered"].to_numpy()
        settled = self.terms.settled - np.where(known, frame["settled"].to_numpy(dtype=float), 0.0)
        right = self.terms.right - np.where(known, np.nan_to_num(frame["right"].to_numpy(dtype=float)), 0.0)
        # People's label stands there whether or not anybody was asked here.
        peoples = frame["recorded"].to_numpy(dtype=bool)
        return np.where(peoples, 0.0, right), np.where(peoples, 0.0, settled)

    def _share(self, numerator: Floats, denominator: Floats, rows: Bools | None, needed: int) -> Estimate:
        rows = self.terms.covered if rows is None else rows & self.terms.covered
        settled = self.measured.frame["settled"].to_numpy()
        n = int((self.used & settled & rows).sum())
        if n < needed:
            return Estimate(None, None, None, n, f"too few labels ({n:,} of {needed})")
        # Where every answer stands for itself alone, nothing is left to be estimated but the next prompts.
        heard = self.drawn if (self.drawn & rows).any() else self.used
        return estimate_share(numerator[rows], denominator[rows], self.groups[rows], answered=heard[rows], n=n)


def join_rounds(measured: Measured) -> Joined:
    """Return the terms of a judge's pairs from all the rounds it has."""
    frame = measured.frame
    draws = draws_of(measured)
    settled = frame["settled"].to_numpy(dtype=bool)
    used, drawn = np.zeros((2, len(frame)), dtype=bool)
    for draw in draws:
        used |= draw.counted | draw.exact
        drawn |= draw.counted & (draw.odds < 1)
    return Joined(
        measured=measured,
        terms=join_draws(draws, frame["right"].to_numpy(dtype=float), settled),
        used=used,
        drawn=drawn,
        groups=frame["group"].to_numpy(dtype=object),
        complete=all(drawn.complete for drawn in measured.rounds),
    )


def judge_accuracy(plan: Plan, version: JudgeVersion | None = None, *, sample: Sample | None = None) -> dict[str, Any]:
    """Return how often a judge (the plan's own by default) agrees with people over the pairs the plan was drawn from.

    Another judge is measured on the pairs it labelled, by the same draw, so there is no bias either way.
    `{"estimate", "low", "high", "answers", "from"}`, or `{"note": "too few labels (n of 30)"}`. Until every pair asked
    has an answer only the audit slice counts. Contested pairs are left out. Five queries.
    """
    if version is None:
        version = JudgeVersion.objects.select_related("judge").get(pk=plan.figures["judge"]["version_id"])
    measured = read_measured(plan.project, version, [plan], sample=sample)
    [drawn] = measured.rounds
    # Answers given without the plan are no part of its draw.
    inside = measured._replace(frame=measured.frame[drawn.pool], rounds=[_within(drawn)])
    found = join_rounds(inside).accuracy()
    if found.value is None:
        return {"note": found.note}
    source = "all pairs asked" if drawn.complete else "audit slice"
    return {"estimate": found.value, "low": found.low, "high": found.high, "answers": found.n, "from": source}


def project_accuracy(project: Project, version: JudgeVersion) -> Estimate:
    """Return how often a judge agrees with people, from every applied plan of the project together."""
    return join_rounds(read_measured(project, version, applied_plans(project))).accuracy()


def _within(drawn: Round) -> Round:
    rows = drawn.pool
    return drawn._replace(
        pool=drawn.pool[rows],
        audit=drawn.audit[rows],
        asked=drawn.asked[rows],
        odds=drawn.odds[rows],
        expected=drawn.expected[rows],
        p_wrong=drawn.p_wrong[rows],
    )
