"""What the pages of a plan show: its zones, samples of them with reasons, and what changed since the plan before."""

from decimal import Decimal
from itertools import accumulate
from typing import Any, NamedTuple

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

from annotation.models import Pair, Project
from judges.models import Verdict
from routing.models import BudgetKind, Plan, PlanState, Route, RouteSource
from routing.plans.options import ADAPTIVE, PlanOptions
from routing.plans.reasoning import reasons_of

PAGE_SIZE = 20
SAMPLES = 3
ASKED = (RouteSource.PEOPLE, RouteSource.AUDIT)
DRAWN = (PlanState.DRAFT, PlanState.APPLYING, PlanState.APPLIED)


class Zone(NamedTuple):
    """A part of a plan: `key` names it in addresses, `hue` is its bar's class, `what` says what happens there.

    `start` is how many pairs the zones before it hold.
    """

    key: str
    title: str
    hue: str
    pairs: int
    what: str
    start: int = 0


class Reasoned(NamedTuple):
    """A route with its pair and the reasons in words."""

    route: Route
    pair: Pair
    why: list[str]


class Sample(NamedTuple):
    """Some routes of a zone."""

    zone: Zone
    routes: list[Reasoned]


class Change(NamedTuple):
    """A figure in the plan before and in this one, as they are shown."""

    what: str
    before: str
    after: str


class Changes(NamedTuple):
    """What is other than in the plan before: figures, and how many pairs are asked anew, still, or no longer.

    `begun` counts the pairs of the plan before that are with people and so in no later plan.
    """

    previous: Plan
    rows: list[Change]
    anew: int
    still: int
    no_longer: int
    begun: int


def any_judged(project: Project) -> bool:
    """Say whether any judge has labelled a pair, so that there is something to plan with. One query."""
    answered = Verdict.objects.answered().of_labels()
    return answered.filter(version__judge__project=project).exists()


def zones_of(plan: Plan) -> list[Zone]:
    """Return the zones that hold a pair, in the order of how much they ask of people. No query."""
    figures = plan.figures
    counts, second = figures["counts"], figures.get("second") or {}
    keeps = figures["judge"]["labels"]
    zones = [
        Zone("people", "People, most doubtful", "people", counts["people"], "People answer; chosen by the router"),
        Zone(
            "audit", "People, at random", "audit", counts["audit"], "People answer; drawn by chance to measure the AI"
        ),
        Zone(
            "second",
            "Second judge",
            "second",
            counts.get("second", 0),
            f"{second.get('name', 'Another judge')} answers too; where the two differ, no label stands",
        ),
        Zone(
            "ai",
            "Keep the AI label" if keeps else "Stay without a label",
            "ai",
            counts["ai"],
            "Nobody is asked" if keeps else "The judge may not label alone, and nobody is asked",
        ),
        Zone(
            "none",
            "Nothing to keep",
            "rest",
            counts["without_judge_label"],
            "The judge has no label, or it may not stand, and the budget ends before",
        ),
    ]
    starts = accumulate((zone.pairs for zone in zones), initial=0)
    return [zone._replace(start=start) for zone, start in zip(zones, starts, strict=False) if zone.pairs]


def routes_of(plan: Plan, zone: str) -> QuerySet[Route]:
    """Return the routes of a zone, the most doubtful first, with pairs and texts."""
    routes = plan.routes.select_related("pair__prompt", "pair__response_a", "pair__response_b")
    if zone in ("ai", "none"):
        routes = routes.filter(source=RouteSource.AI)
        # Nothing was noted about pairs that simply keep the judge's label.
        routes = routes.filter(why=[]) if zone == "ai" else routes.exclude(why=[])
    else:
        routes = routes.filter(source=zone)
    return routes.order_by("pair_id") if zone in ("audit", "none") else routes.order_by("-expected_gain", "pair_id")


def samples_of(plan: Plan, number: int = SAMPLES) -> list[Sample]:
    """Return the first few routes of each zone. Two queries a zone at most."""
    return [Sample(zone, reasoned(plan, list(routes_of(plan, zone.key)[:number]))) for zone in zones_of(plan)]


def page_of_routes(plan: Plan, zone: str, number: str) -> "tuple[Page[Route], list[Reasoned]]":
    """Return a page of a zone's routes; a number that is none is the first page, one too large the last."""
    page = Paginator(routes_of(plan, zone), PAGE_SIZE).get_page(number)
    return page, reasoned(plan, list(page.object_list))


def reasoned(plan: Plan, routes: list[Route]) -> list[Reasoned]:
    """Return routes with their reasons."""
    reasons = reasons_of(plan, routes)
    return [Reasoned(route, route.pair, reasons[route.pair_id]) for route in routes]


def changes_since(plan: Plan) -> Changes | None:
    """Return what is other than in the plan this one replaces, or else the one drawn before; None without one."""
    earlier = Plan.objects.filter(project=plan.project_id, state__in=DRAWN, created_at__lt=plan.created_at)
    previous = plan.replaces or earlier.defer("predictor").order_by("-created_at").first()
    if previous is None:
        return None
    then, now = (set(one.routes.filter(source__in=ASKED).values_list("pair_id", flat=True)) for one in (previous, plan))
    before, after = (dict(_facts(one)) for one in (previous, plan))
    rows = [Change(what, before[what], after[what]) for what in after if before[what] != after[what]]
    left = set(
        plan.routes.filter(pair_id__in=previous.routes.filter(source__in=ASKED).values("pair_id")).values_list(
            "pair_id", flat=True
        )
    )
    return Changes(previous, rows, len(now - then), len(now & then), len((then & left) - now), len(then - left))


def _facts(plan: Plan) -> list[tuple[str, str]]:
    figures = plan.figures
    agreement, counts = figures["agreement"], figures["counts"]
    expected = f"{100 * agreement['after']:.1f} %" if "after" in agreement else "not known yet"
    return [
        ("Budget", budget_text(plan)),
        ("Judge", f"{figures['judge']['name']} v{figures['judge']['version']}"),
        ("Judge may label alone", "yes" if figures["judge"]["trusted"] else "no"),
        ("Answers to learn from", f"{figures['predictor']['labels']:,} pairs"),
        ("Predictor", figures["predictor"]["kind"]),
        ("With people already", f"{figures['already_with_people']:,} pairs"),
        ("Asked of people", f"{counts['people'] + counts['audit']:,} pairs"),
        ("Of these at random", f"{counts['audit']:,} pairs"),
        ("Cost at most", f"${Decimal(figures['cost_usd']):,.2f}"),
        ("Expected agreement", expected),
        ("Settings", ", ".join(settings_of(plan)) or "the usual ones"),
        ("Seed", str(plan.seed)),
    ]


def budget_text(plan: Plan) -> str:
    """Return a plan's budget as a person would say it."""
    value = plan.budget_value
    if plan.budget_kind == BudgetKind.MONEY:
        return f"${value:,.2f}"
    if plan.budget_kind == BudgetKind.COUNT:
        return f"{value:,.0f} pair{'' if value == 1 else 's'}"
    share = f"{100 * value:.2f}".rstrip("0").rstrip(".")
    return f"{share} % of the pairs" if plan.budget_kind == BudgetKind.SHARE else f"{share} % agreement"


def settings_of(plan: Plan) -> list[str]:
    """Return what the manager asked for beyond the budget, in words."""
    options = PlanOptions.from_json(plan.options)
    said: list[Any] = [
        options.votes == ADAPTIVE
        and f"two answers, {'an expert' if options.expert_on_split else 'more'} where they differ",
        options.group_cap and f"at most {options.group_cap:,} pairs of a prompt group",
        options.spread and "spread over topics",
        options.balance_by and f"the mix of {options.balance_by} kept",
        options.second_judge and f"second judge {options.second_judge}",
        options.second_budget_usd is not None and f"for up to ${options.second_budget_usd:,.2f}",
        options.pay_per_hour_usd is not None and f"${options.pay_per_hour_usd:,.2f} an hour",
        options.worth_usd is not None and f"a corrected label is worth ${options.worth_usd:,.2f}",
        options.guarantee_alpha is not None
        and f"guarantee: at most {100 * options.guarantee_alpha:g} % wrong,"
        f" with {100 * (1 - options.guarantee_delta):g} % confidence",
    ]
    return [text for text in said if text]
