"""A plan: which pairs people answer under a budget, which keep the judge's label, and why."""

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple, Self
from uuid import UUID

import numpy as np
import pandas as pd
from django.db import transaction
from django.db.models import Count, Sum
from django.utils import timezone

from annotation.assigning import Opening, open_tasks
from annotation.models import Origin, Preference, Project, Task, Tier, User
from judges.flagging import flagged_pairs
from routing.drawing import Draw, draw_pairs, mix_priorities
from routing.errors import RoutingError
from routing.estimating import judge_accuracy
from routing.labelling import Labelled, label_pairs, signals_known
from routing.models import BudgetKind, Plan, PlanState, Route, RouteSource
from routing.predictor import Comparison, Predictor, cold_predictor, fit_predictor, shortage
from routing.resolving import resolve_labels
from routing.scoring import Bools, Floats
from routing.signals import Judged, read_judged
from routing.trusting import JudgeChoice, choose_judge, full_name

ROWS_PER_INSERT = 2000
# Pay has four decimals, so a price does, whether the project was just made or read.
CENTS = Decimal("0.0001")
# The P(wrong) that ranks just below that of a pair whose judge's label is withheld.
MOST_DOUBT = 1.0 - 1e-9


class Budget(NamedTuple):
    """What a plan may spend: a share of the project's pairs (0 to 1), US dollars, or what an agreement needs."""

    kind: BudgetKind
    value: Decimal

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a share: "25%" or "0.25". Raises `RoutingError` for anything else."""
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text)
        share = Decimal(match[1]) / (100 if match[2] else 1) if match else Decimal(-1)
        if not 0 < share <= 1:
            raise RoutingError(f"A budget is a share of the pairs, such as 25% or 0.25, not {text!r}.")
        return cls(BudgetKind.SHARE, share)

    @classmethod
    def money(cls, usd: Decimal | str | float) -> Self:
        """Return a budget in US dollars. Raises `RoutingError` unless it is a positive number."""
        try:
            value = Decimal(str(usd))
        except InvalidOperation:
            value = Decimal(-1)
        if not value.is_finite() or value <= 0:
            raise RoutingError(f"A budget in US dollars is a number above 0, such as 50 or 12.5, not {usd!r}.")
        return cls(BudgetKind.MONEY, value)

    @classmethod
    def target(cls, agreement: Decimal | str | float) -> Self:
        """Return the budget that an agreement of labels with people needs. Raises `RoutingError` outside 0 to 1."""
        try:
            value = Decimal(str(agreement))
        except InvalidOperation:
            value = Decimal(-1)
        if not value.is_finite() or not 0 < value <= 1:
            raise RoutingError(f"A target agreement is a share above 0, such as 0.9, not {agreement!r}.")
        return cls(BudgetKind.TARGET, value)


class Scores(NamedTuple):
    """P(judge wrong) of every pair (NaN where the judge has no label), and what made it."""

    predictor: Predictor
    p_wrong: Floats
    signals: pd.DataFrame
    shortage: str
    comparison: list[Comparison]


def draw_plan(
    project: Project,
    *,
    budget: Budget,
    judge: str | None = None,
    audit_share: float = 0.05,
    seed: int = 0,
    created_by: User | None = None,
) -> Plan:
    """Draw a plan and store it as a draft with its routes; nothing is opened to people.

    Pairs that have a task, or as many answers given here as the project wants, are done and get no route: recorded
    answers teach the predictor but are nobody's work here. Of the other pairs an audit slice (`audit_share` of all
    pairs, inside the budget) is drawn at random, then the pairs with a response that is flagged as speaking to the
    judge, whose labels no judge may give, then those with the highest P(wrong) per dollar. The plan never
    costs more than its budget or what is left of the project's budget for people. The same data and seed draw the same
    plan. Raises `RoutingError`: no judge, nothing to ask, a budget too small, too few labels to aim at an agreement.
    """
    if not 0 <= audit_share <= 1:
        raise RoutingError(f"The audit slice is a share of the pairs between 0 and 1, not {audit_share}.")
    chosen = choose_judge(project, judge)
    judged = read_judged(project, [chosen.version])
    open_rows = ~judged.groups.index.isin(_done(project))
    if not open_rows.any():
        raise RoutingError(
            f"Every pair of {project} is already with people: there is nothing to plan. Import more pairs."
        )
    labelled = label_pairs(project, judged)
    scores = score_pairs(judged, labelled, seed)
    price = (project.votes_wanted * project.pay_per_answer_usd).quantize(CENTS)
    asked, limited_by = _pairs_in_budget(project, budget, scores, open_rows, price, audit_share)
    audited = min(math.floor(audit_share * len(open_rows)), asked)
    flagged = _flagged(project, judged, open_rows)
    # Nothing is certain to be wrong but a label that will be withheld.
    gain = np.where(flagged, 1.0, np.minimum(scores.p_wrong[open_rows], MOST_DOUBT))
    gain = gain / float(price) if price else gain
    draw = draw_pairs(gain, asked=asked, audited=audited, rng=np.random.default_rng(seed))
    plan = Plan(
        project=project,
        budget_kind=budget.kind,
        budget_value=budget.value,
        audit_share=audit_share,
        seed=seed,
        judge_name=full_name(chosen.version) if chosen.labels else "",
        predictor_kind=scores.predictor.kind,
        predictor=scores.predictor.to_json(),
        created_by=created_by,
        figures={
            **_figures(scores, labelled, draw, open_rows, flagged, price),
            "judge": _judge_figures(chosen, judged),
            "budget": {"pairs": asked, "limited_by": limited_by},
            "judge_accuracy": _accuracy_so_far(project, chosen),
        },
    )
    _store(plan, judged, scores, draw, open_rows, flagged, gain, price)
    return plan


def score_pairs(judged: Judged, labelled: Labelled, seed: int) -> Scores:
    """Return P(wrong) of every pair: learned where labels allow it, else the cold start, and why.

    Pairs the predictor was fitted to get the answer of the fold that left them out.
    """
    groups = judged.groups.to_numpy(dtype=object)[labelled.rows]
    has_label = (judged.choice != "").to_numpy()
    known = signals_known(judged, labelled.rows)
    reason = shortage(known, labelled.wrong, groups)
    p_wrong = np.full(len(has_label), np.nan)
    if reason:
        signals = judged.signals
        predictor = cold_predictor(signals)
        p_wrong[has_label] = predictor.predict(signals.loc[has_label])
        return Scores(predictor, p_wrong, signals, reason, [])
    signals = judged.signals[known.columns]
    fitted = fit_predictor(known, labelled.wrong, groups, weights=labelled.weights, seed=seed)
    p_wrong[has_label] = fitted.predictor.predict(signals.loc[has_label])
    p_wrong[labelled.rows] = fitted.out_of_fold
    return Scores(fitted.predictor, p_wrong, signals, "", fitted.comparison)


def apply_plan(plan: Plan) -> int:
    """Open a plan's pairs to people and return how many tasks that opened; then resolve the project's labels.

    A plan is applied once, by conditional update in the transaction that opens the tasks; called again it opens
    nothing and only resolves.
    """
    opened = 0
    with transaction.atomic():
        now = timezone.now()
        claimed = Plan.objects.filter(pk=plan.pk, state=PlanState.DRAFT).update(state=PlanState.APPLIED, applied_at=now)
        if claimed:
            opened = open_tasks(plan.project, _openings(plan), votes_wanted=plan.project.votes_wanted, tier=Tier.CROWD)
    plan.refresh_from_db()
    resolve_labels(plan.project)
    return opened


def _flagged(project: Project, judged: Judged, open_rows: Bools) -> Bools:
    """Return which of the open pairs have a response that is flagged as speaking to the judge."""
    suspect = {str(pair_id) for pair_id in flagged_pairs(project)}
    return np.asarray(judged.groups.index[open_rows].isin(suspect), dtype=bool)


def _done(project: Project) -> list[str]:
    """Return the pairs that people have, or have had: with a task, or answered here often enough."""
    with_task = Task.objects.filter(project=project).values_list("pair_id", flat=True)
    answered = (
        Preference.objects.counted()
        .of_people()
        .filter(pair__project=project, rater__origin__in=[Origin.LIVE, Origin.SIMULATED])
        .values("pair_id")
        .annotate(answers=Count("id"))
        .filter(answers__gte=project.votes_wanted)
        .values_list("pair_id", flat=True)
    )
    return [str(pair_id) for pair_id in {*with_task, *answered}]


def _pairs_in_budget(
    project: Project, budget: Budget, scores: Scores, open_rows: Bools, price: Decimal, audit_share: float
) -> tuple[int, str]:
    """Return how many pairs the budget pays for, and what set the limit."""
    n, n_open = len(open_rows), int(open_rows.sum())
    if budget.kind == BudgetKind.SHARE:
        asked = math.floor(budget.value * n)
    elif budget.kind == BudgetKind.MONEY:
        if price == 0:
            raise RoutingError(f"{project} pays 0 an answer, so money sets no limit. Set the pay, or plan by a share.")
        asked = math.floor(budget.value / price)
    else:
        asked = _pairs_for_target(float(budget.value), scores, open_rows) + math.floor(audit_share * n)
    limits = {"the budget": asked, "the pairs there are": n_open}
    if project.people_budget_usd is not None and price:
        limits["the project's budget for people"] = max(0, math.floor(_people_usd_left(project) / price))
    limited_by = min(limits, key=lambda name: limits[name])
    if limits[limited_by] < 1:
        raise RoutingError(
            f"The plan can ask about no pair: {limited_by} does not pay for one. A pair costs {price:.2f} USD "
            f"({project.votes_wanted} answers of {project.pay_per_answer_usd:.2f}); {n} pairs are in {project}."
        )
    return limits[limited_by], limited_by


def _people_usd_left(project: Project) -> Decimal:
    promised = Task.objects.filter(project=project).aggregate(votes=Sum("votes_wanted"))["votes"] or 0
    return (project.people_budget_usd or Decimal(0)) - promised * project.pay_per_answer_usd


def _pairs_for_target(target: float, scores: Scores, open_rows: Bools) -> int:
    """Return how many of the most doubtful pairs people must answer for this expected agreement."""
    if scores.shortage:
        raise RoutingError(
            f"A target agreement needs a calibrated P(wrong): {scores.shortage}. "
            "Plan by a share first; its answers make the labels."
        )
    wrong = np.sort(np.nan_to_num(scores.p_wrong[open_rows]))[::-1]
    judged = int((~np.isnan(scores.p_wrong) | ~open_rows).sum())
    left = np.append(wrong.sum(), wrong.sum() - np.cumsum(wrong))
    return int(np.argmax(left <= (1 - target) * judged + 1e-9))


def _figures(
    scores: Scores, labelled: Labelled, draw: Draw, open_rows: Bools, flagged: Bools, price: Decimal
) -> dict[str, Any]:
    asked = draw.audit | draw.people
    unlabelled = np.isnan(scores.p_wrong[open_rows]) | flagged
    return {
        "pairs": len(open_rows),
        "already_with_people": int((~open_rows).sum()),
        "counts": {
            "people": int(draw.people.sum()),
            "audit": int(draw.audit.sum()),
            "ai": int((~asked & ~unlabelled).sum()),
            "without_judge_label": int((~asked & unlabelled).sum()),
            "flagged": int(flagged.sum()),
        },
        "cost_per_pair_usd": str(price),
        "cost_usd": str(price * int(asked.sum())),
        "agreement": _expected_agreement(scores, asked, open_rows, flagged),
        "predictor": {
            "kind": scores.predictor.kind,
            "calibrated": scores.predictor.calibrated,
            "note": scores.shortage,
            "labels": int(labelled.rows.sum()),
            "wrong": int(labelled.wrong.sum()),
            "contested": labelled.contested,
            "comparison": [candidate._asdict() for candidate in scores.comparison],
        },
    }


def _expected_agreement(scores: Scores, asked: Bools, open_rows: Bools, flagged: Bools) -> dict[str, Any]:
    """Return the expected share of labels equal to people's consensus, before and after the plan.

    Over pairs on which a judge's label may stand; a pair that people answer counts as right. Without a calibrated
    predictor there is only a note.
    """
    if scores.shortage:
        return {"note": scores.shortage}
    wrong_before = np.where(open_rows, scores.p_wrong, 0.0)
    wrong_after = wrong_before.copy()
    wrong_after[np.flatnonzero(open_rows)[asked]] = 0.0
    known = ~np.isnan(wrong_before)
    known[np.flatnonzero(open_rows)[flagged]] = False
    return {"before": float(1 - wrong_before[known].mean()), "after": float(1 - wrong_after[known].mean())}


def _judge_figures(chosen: JudgeChoice, judged: Judged) -> dict[str, Any]:
    return {
        "version_id": str(chosen.version.pk),
        "name": full_name(chosen.version),
        "version": chosen.version.number,
        "trusted": chosen.trusted,
        "reasons": chosen.reasons,
        "labels": chosen.labels,
        "notes": chosen.notes,
        "labelled_pairs": int((judged.choice != "").sum()),
    }


def _accuracy_so_far(project: Project, chosen: JudgeChoice) -> dict[str, Any]:
    """Return the unbiased accuracy of this judge version from the last plan applied with it."""
    applied = Plan.objects.filter(project=project, state=PlanState.APPLIED).order_by("-applied_at")
    for plan in applied:
        if plan.figures["judge"]["version_id"] == str(chosen.version.pk):
            return judge_accuracy(plan)
    return {"note": "no plan with an audit slice was applied yet"}


def _store(
    plan: Plan,
    judged: Judged,
    scores: Scores,
    draw: Draw,
    open_rows: Bools,
    flagged: Bools,
    gain: Floats,
    price: Decimal,
) -> None:
    ids = judged.groups.index[open_rows]
    reasons = scores.predictor.explain(scores.signals.loc[open_rows], judged.versions[0].judge.name)
    p_wrong = scores.p_wrong[open_rows]
    routes = []
    for row, pair_id in enumerate(ids):
        known = not math.isnan(p_wrong[row])
        asked = draw.audit[row] or draw.people[row]
        source = RouteSource.AUDIT if draw.audit[row] else RouteSource.PEOPLE if draw.people[row] else RouteSource.AI
        why = reasons[row] if known else [f"{judged.versions[0].judge.name} has no label for it"]
        if flagged[row]:
            why = ["a response is flagged as speaking to the judge, so no judge may label it alone", *why]
        routes.append(
            Route(
                plan=plan,
                pair_id=UUID(pair_id),
                source=source,
                p_wrong=float(p_wrong[row]) if known else None,
                expected_gain=None if np.isnan(gain[row]) else float(gain[row]),
                cost_usd=price if asked else Decimal(0),
                selection_prob=float(draw.selection_prob[row]),
                why=["drawn at random for the audit slice", *why] if source == RouteSource.AUDIT else why,
            )
        )
    with transaction.atomic():
        plan.save()
        Route.objects.bulk_create(routes, batch_size=ROWS_PER_INSERT)


def _openings(plan: Plan) -> list[Opening]:
    """Return the plan's pairs with their priorities, drawn again from the plan's seed."""
    routes = list(
        plan.routes.exclude(source=RouteSource.AI).order_by("pair_id").values_list("pair_id", "source", "expected_gain")
    )
    audit = np.array([source == RouteSource.AUDIT for _, source, _ in routes], dtype=bool)
    gain = np.array([value if value is not None else np.nan for *_, value in routes], dtype=float)
    draw = Draw(audit, ~audit, np.ones(len(routes)))
    priorities = mix_priorities(gain, draw, np.random.default_rng([plan.seed, len(routes)]))
    return [Opening(route[0], float(priority)) for route, priority in zip(routes, priorities, strict=True)]
