"""Routing: the policy of each plan, the odds it drew pairs with, what that found, and what it cost."""

from collections import Counter
from decimal import Decimal
from typing import Any

from django.db.models import Avg, Count, F, Max, Min, Q, Sum, Value
from django.db.models.functions import Floor, Least

from annotation.agreeing import Figure, Interval
from annotation.models import Pair, Project
from annotation.money.booking import balance_of
from annotation.sampling import Sample
from exports.reading import plan_names
from exports.reporting.stating import stated
from judges.models import Verdict
from routing.auditing.comparing import compare_rounds
from routing.auditing.inferring import Estimate
from routing.auditing.slicing import audit_report
from routing.labels.resolving import WITHHOLDING
from routing.models import Label, Plan, PlanState, RouteSource

# What a plan knows that another database with the same data would not.
OF_THIS_DATABASE = ("version_id", "second_run", "queued_at")
ODDS_STEPS = 10
NO_PLAN = "no plan was applied yet"

SENTENCES = {
    "judge": "Over all pairs of all plans the judge agrees with people in {share}, each of {n} answered pairs weighed "
    "by the odds that it was asked (augmented inverse probability).",
    "ai_labels": "Of the labels that nobody answered, {share} agree with people, as {n} answered pairs tell.",
    "labels": "Of all labels, people's own included, {share} agree with people, as {n} answered pairs tell.",
    "naive": "Biased: on the {n} pairs that people happened to answer the judge agrees with them in {share}.",
    "people": "One person gave the answer of most others in {share} of {n} answers on pairs drawn at random.",
    "router": "The judge was wrong on {share} of the {n} answered pairs that the router chose.",
    "random": "The judge was wrong on {share} of the {n} answered pairs that were drawn at random.",
    "gain": "The router's pairs hold {points} more wrong labels than pairs drawn at random, over {n} answered pairs.",
}


def routing_report(project: Project, *, sample: Sample | None = None) -> dict[str, Any]:
    """Return the applied plans in order, the latest draft if there is one, and what routing found and cost.

    `labels` counts where labels come from. Each plan has its policy and its `selection`, the odds with which each pair
    was sent to people, all above 0. `agreement` is how far judge and labels agree with people, estimated without bias
    from those odds; `naive`, the plain share on answered pairs, stands beside it as a warning. `gain` holds the pairs
    the router chose against pairs drawn at random, `cost` is what people and models took so far.
    """
    names = plan_names(project)
    plans = Plan.objects.filter(project=project).order_by("applied_at", "created_at")
    applied = [plan for plan in plans if plan.state == PlanState.APPLIED]
    drafts = [plan for plan in plans if plan.state == PlanState.DRAFT]
    labels = Label.objects.filter(pair__project=project)
    withheld = labels.filter(provenance__rule__in=WITHHOLDING).count()
    decided = labels.exclude(choice="")
    return stated(
        {
            "pairs": Pair.objects.in_project(project).count(),
            "labels": dict(decided.values_list("source").annotate(n=Count("id")).order_by("source")),
            "contested": labels.filter(choice="").count() - withheld,
            "withheld": withheld,
            "plans": [{**_describe_plan(plan, names[str(plan.pk)]), "selection": _selection(plan)} for plan in applied],
            "draft": _describe_plan(drafts[-1], "draft") if drafts else None,
            "agreement": _agreement(project, sample),
            "gain": _gain(project, sample),
            "cost": _cost(project, decided.count()),
        },
        SENTENCES,
    )


def _agreement(project: Project, sample: Sample | None) -> dict[str, Any]:
    found = audit_report(project, sample=sample, with_slices=False)
    if found is None:
        return {"note": NO_PLAN, "sentence": f"No figure: {NO_PLAN}."}
    figures = {name: getattr(found, name) for name in ("judge", "ai_labels", "labels", "naive", "people")}
    return {
        "judge_name": found.judge_name,
        "rounds": found.rounds,
        "complete": found.complete,
        **{name: _figure(estimate).as_dict() for name, estimate in figures.items()},
        "naive_misses_by": found.naive_distance,
    }


def _gain(project: Project, sample: Sample | None) -> dict[str, Any]:
    found = compare_rounds(project, sample=sample)
    if not found.cumulated:
        return {"note": NO_PLAN, "sentence": f"No figure: {NO_PLAN}."}
    so_far = found.cumulated[-1]
    return {
        "outcome": found.outcome,
        "sentence": found.text,
        "router": _figure(so_far.router).as_dict(),
        "random": _figure(so_far.random).as_dict(),
        "gain": _figure(so_far.difference).as_dict(),
    }


def _selection(plan: Plan) -> dict[str, Any]:
    """Return the odds with which a plan sent its pairs to people: their ends, their mean, and pairs by tenths."""
    odds = "selection_prob"
    found = plan.routes.aggregate(
        pairs=Count("id"),
        lowest=Min(odds),
        highest=Max(odds),
        mean=Avg(odds),
        without_odds=Count("id", filter=Q(selection_prob__lte=0)),
        drawn=Count("id", filter=Q(source__in=[RouteSource.PEOPLE, RouteSource.AUDIT])),
    )
    if not found["pairs"]:
        return {"pairs": 0, "lowest": None, "highest": None, "mean": None, "without_odds": 0, "steps": []}
    step = Least(Floor(F(odds) * float(ODDS_STEPS)), Value(ODDS_STEPS - 1.0))
    steps = Counter({int(step): n for step, n in plan.routes.values_list(step).annotate(n=Count("id")).order_by()})
    return {
        **found,
        "steps": [
            {"from": place / ODDS_STEPS, "to": (place + 1) / ODDS_STEPS, "pairs": steps[place]}
            for place in range(ODDS_STEPS)
        ],
    }


def _cost(project: Project, labels: int) -> dict[str, Any]:
    """Return what labels cost so far; calls of unknown cost and answers of nobody count nothing."""
    people = balance_of(project).earned_usd
    models = Verdict.objects.filter(version__judge__project=project).aggregate(usd=Sum("cost_usd"))["usd"] or Decimal(0)
    total = people + round(models, 6)
    return {
        "people_usd": people,
        "models_usd": round(models, 6),
        "usd_per_label": round(total / labels, 6) if labels else None,
        "labels": labels,
    }


def _figure(estimate: Estimate) -> Figure:
    if estimate.value is None:
        return Figure(None, estimate.n, too_few=estimate.note)
    known = estimate.low is not None and estimate.high is not None
    return Figure(estimate.value, estimate.n, Interval(estimate.low or 0.0, estimate.high or 0.0) if known else None)


def _describe_plan(plan: Plan, name: str) -> dict[str, Any]:
    judge = {key: value for key, value in plan.figures["judge"].items() if key not in OF_THIS_DATABASE}
    figures = {key: value for key, value in plan.figures.items() if key != "judge"}
    for part in ("second", "after"):
        if isinstance(figures.get(part), dict):
            figures[part] = {key: value for key, value in figures[part].items() if key not in OF_THIS_DATABASE}
    return {
        "plan": name,
        "budget_kind": plan.budget_kind,
        "budget_value": plan.budget_value,
        "audit_share": plan.audit_share,
        "seed": plan.seed,
        "predictor_kind": plan.predictor_kind,
        "judge": judge,
        **figures,
    }
