"""A plan: which pairs people answer under a budget, which keep the judge's label, and why."""

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple, Required, TypedDict, Unpack
from uuid import UUID

import numpy as np
import pandas as pd
from django.db import transaction

from annotation.aggregating import vote_frame
from annotation.models import Pair, Project, User
from judges.flagging import flagged_pairs
from judges.writing import insert_rows
from routing.errors import RoutingError
from routing.labels.resolving import split_pairs
from routing.models import BudgetKind, Plan, PlanSignals, PlanState, Route, RouteSource
from routing.plans import stating
from routing.plans.arranging import (
    Ranking,
    balance_over,
    cap_groups,
    cluster_texts,
    keep_first,
    rank_by_gain,
    spread_over,
)
from routing.plans.budgeting import (
    Asked,
    Budget,
    audit_rule,
    check_audit_share,
    pairs_in_budget,
    pairs_with_people,
    promised_usd,
    words_of_votes,
)
from routing.plans.costing import MICROS_PER_USD, Costs, cost_pairs, usd
from routing.plans.drawing import Draw, draw_pairs
from routing.plans.options import PlanOptions
from routing.plans.reasoning import AUDITED, FLAGGED, SPLIT, pack_signals
from routing.plans.seconding import Second, choose_second
from routing.plans.trusting import JudgeChoice, choose_judge, full_name
from routing.predicting.keeping import fit_or_kept
from routing.predicting.labelling import Labelled, label_pairs, signals_known
from routing.predicting.predictor import Comparison, Predictor, cold_predictor, shortage
from routing.predicting.scoring import Bools, Floats
from routing.signals.measuring import joined
from routing.signals.reading import Judged, key_of, read_judged

__all__ = ["Budget", "Drawn", "PlanRequest", "Scores", "draw_plan", "new_plan", "score_pairs", "store_plan", "work_out"]

PLAIN = PlanOptions()
ROWS_PER_INSERT = 5000
# The P(wrong) that ranks just below that of a pair whose judge's label is withheld.
MOST_DOUBT = 1.0 - 1e-9


class Scores(NamedTuple):
    """P(judge wrong) of every pair (NaN where the judge has no label), and what made it."""

    predictor: Predictor
    p_wrong: Floats
    signals: pd.DataFrame
    shortage: str
    comparison: list[Comparison]


class Drawn(NamedTuple):
    """All that a plan was worked out from and what came of it; arrays are of the open pairs where not said otherwise.

    `open_rows` marks those among all pairs. No judge's label may stand on those `withheld`: `flagged` ones, and those
    on which the judge and a second one differ. `gain` is the expected number of corrected labels a US dollar, NaN where
    the judge has no label.
    """

    chosen: JudgeChoice
    judged: Judged
    labelled: Labelled
    scores: Scores
    open_rows: Bools
    withheld: Bools
    flagged: Bools
    gain: Floats
    ranking: Ranking
    clusters: int
    costs: Costs
    asked: Asked
    draw: Draw
    second: Second | None


class PlanRequest(TypedDict, total=False):
    """What may be said about a plan to be drawn; what `new_plan` takes beside the project, with its defaults."""

    budget: Required[Budget]
    judge: str | None
    audit_share: float
    seed: int
    created_by: User | None
    options: PlanOptions
    replaces: Plan | None


def draw_plan(project: Project, **request: Unpack[PlanRequest]) -> Plan:
    """Draw a plan and store it as a draft with its routes; nothing is opened to people.

    Pairs that have a task, or as many answers given here as the project wants, are done and get no route: recorded
    answers teach the predictor but are nobody's work here. Of the other pairs an audit slice (`audit_share` of all
    pairs, inside the budget) is drawn at random, then the pairs with a response that is flagged as speaking to the
    judge, whose labels no judge may give, then those with the highest P(wrong) per dollar, in the order that `options`
    ask for. The plan never costs more than its budget or what is left of the project's budget for people, whatever is
    drawn. The same data, options and seed draw the same plan. A plan that `replaces` another may take back tasks that
    nobody holds or has answered. Raises `RoutingError`: no judge, nothing to ask, a budget or an audit slice too small,
    too few labels to aim at an agreement.
    """
    plan = new_plan(project, **request)
    drawn = work_out(plan)
    with transaction.atomic():
        store_plan(plan, drawn)
    return plan


def new_plan(
    project: Project,
    *,
    budget: Budget,
    judge: str | None = None,
    audit_share: float = 0.05,
    seed: int = 0,
    created_by: User | None = None,
    options: PlanOptions = PLAIN,
    replaces: Plan | None = None,
) -> Plan:
    """Return a plan that is not drawn yet, in state drawing and not saved. Raises `RoutingError` for what it cannot be.

    Until it is drawn, `judge_name` is the name that was asked for.
    """
    if replaces is None:
        check_audit_share(audit_share)
    return Plan(
        project=project,
        state=PlanState.DRAWING,
        budget_kind=budget.kind,
        budget_value=budget.value,
        audit_share=audit_share,
        seed=seed,
        options=options.checked().to_json(),
        judge_name=judge or "",
        replaces=replaces,
        round=replaces.round + 1 if replaces is not None else 1,
        created_by=created_by,
    )


def work_out(plan: Plan) -> Drawn:
    """Return what a plan will be, from the project's data of this moment; nothing is written but kept signals."""
    project, options = plan.project, PlanOptions.from_json(plan.options)
    chosen = choose_judge(project, plan.judge_name or None)
    judged = read_judged(project, [chosen.version])
    open_rows = ~np.asarray(judged.groups.index.isin(list(pairs_with_people(project, plan.replaces))), dtype=bool)
    if not open_rows.any():
        raise RoutingError(
            f"Every pair of {project} is already with people: there is nothing to plan. Import more pairs."
        )
    labelled = label_pairs(project, judged)
    scores = score_pairs(judged, labelled, plan.seed)
    costs = _costs(project, options, judged, open_rows)
    ids = judged.groups.index[open_rows]
    flagged = np.asarray(ids.isin([str(pair_id) for pair_id in flagged_pairs(project)]), dtype=bool)
    split = np.asarray(ids.isin(list(split_pairs(project))), dtype=bool)
    withheld = flagged | split
    # Nothing is certain to be wrong but a label that is withheld.
    doubt = np.where(withheld, 1.0, np.minimum(scores.p_wrong[open_rows], MOST_DOUBT))
    gain = doubt * MICROS_PER_USD / costs.expected if costs.expected.all() else doubt
    ranking, clusters = _arrange(plan, options, judged, open_rows, gain, withheld)
    audit_of = audit_rule(plan.audit_share, len(open_rows), plan.replaces)
    asked = pairs_in_budget(
        project,
        Budget(BudgetKind(plan.budget_kind), plan.budget_value),
        costs=costs,
        pairs=len(open_rows),
        ranking=ranking,
        audit_of=audit_of,
        promised=promised_usd(project, plan.replaces),
        for_target=lambda: _pairs_for_target(float(plan.budget_value), scores, open_rows, withheld, ranking, audit_of),
    )
    place = np.full(len(gain), np.nan)
    place[ranking] = -np.arange(len(ranking), dtype=float)
    draw = draw_pairs(place, asked=asked.pairs, audited=asked.audited, rng=np.random.default_rng(plan.seed))
    second = _second(plan, options, chosen, ids, ranking, draw, withheld)
    return Drawn(
        chosen,
        judged,
        labelled,
        scores,
        open_rows,
        withheld,
        flagged,
        gain,
        ranking,
        clusters,
        costs,
        asked,
        draw,
        second,
    )


def store_plan(plan: Plan, drawn: Drawn) -> None:
    """Write a plan that was worked out, as a draft with its routes and signals. Caller holds a transaction."""
    plan.state = PlanState.DRAFT
    plan.judge_name = full_name(drawn.chosen.version) if drawn.chosen.labels else ""
    plan.predictor_kind = drawn.scores.predictor.kind
    plan.predictor = drawn.scores.predictor.to_json()
    plan.figures = stating.state_figures(plan, drawn)
    plan.save()
    PlanSignals.objects.create(plan=plan, data=pack_signals(drawn.scores.signals))
    routes = _routes(plan, drawn)
    # A portion at a time: 100,000 rows at once are a lot of memory.
    while batch := list(islice(routes, ROWS_PER_INSERT)):
        insert_rows(batch)


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
    project, key = judged.versions[0].judge.project, key_of(judged.versions)
    fitted = fit_or_kept(
        project,
        key,
        known,
        labelled.wrong,
        groups,
        weights=labelled.weights,
        kinds=labelled.kinds,
        seed=seed,
    )
    p_wrong[has_label] = fitted.predictor.predict(signals.loc[has_label])
    p_wrong[labelled.rows] = fitted.out_of_fold
    return Scores(fitted.predictor, p_wrong, signals, "", fitted.comparison)


def _costs(project: Project, options: PlanOptions, judged: Judged, open_rows: Bools) -> Costs:
    """Return what people's answers on the open pairs cost."""
    measures = judged.measures
    words = (measures["words_a"] + measures["words_b"] + measures["prompt_words"]).astype(float)
    votes = words_of_votes(vote_frame(project), words)
    return cost_pairs(project, options, np.asarray(words, dtype=np.float64)[open_rows], votes)


def _arrange(
    plan: Plan, options: PlanOptions, judged: Judged, open_rows: Bools, gain: Floats, withheld: Bools
) -> tuple[Ranking, int]:
    """Return the open pairs in the order in which the router takes them, and how many clusters it spreads over.

    The cap comes last: it holds whatever the rest asks for.
    """
    ranking, clusters = rank_by_gain(gain, withheld, plan.seed), 0
    if options.spread:
        found = cluster_texts(_prompts(plan.project, judged.groups.index[open_rows]), plan.seed)
        clusters = len(set(found.tolist()))
        ranking = spread_over(ranking, found)
    if options.balance_by:
        values = judged.measures[options.balance_by].to_numpy(dtype=object)[open_rows]
        ranking = balance_over(ranking, np.array([str(value) for value in values], dtype=object))
    if options.group_cap:
        ranking = cap_groups(ranking, judged.groups.to_numpy(dtype=object)[open_rows], options.group_cap)
    return keep_first(ranking, withheld), clusters


def _prompts(project: Project, pair_ids: pd.Index) -> list[str]:
    """Return the text of each pair's prompt. One query."""
    rows = Pair.objects.in_project(project).values_list("id", "prompt__messages")
    texts = {str(pair_id): joined(messages) for pair_id, messages in rows.iterator()}
    return [texts[pair_id] for pair_id in pair_ids]


def _pairs_for_target(
    target: float,
    scores: Scores,
    open_rows: Bools,
    withheld: Bools,
    ranking: Ranking,
    audit_of: Callable[[int], int],
) -> int:
    """Return how many pairs people must answer for this expected agreement: the router's, and the audit slice."""
    if scores.shortage:
        raise RoutingError(
            f"A target agreement needs a calibrated P(wrong): {scores.shortage}. "
            "Plan by a share first; its answers make the labels."
        )
    counted = ~np.isnan(scores.p_wrong[open_rows]) & ~withheld
    wrong = np.where(counted, np.nan_to_num(scores.p_wrong[open_rows]), 0.0)
    labelled = int((~open_rows).sum()) + int(counted.sum())
    left = wrong.sum() - np.concatenate([[0.0], np.cumsum(wrong[ranking])])
    chosen = int(np.argmax(left <= (1 - target) * labelled + 1e-9))
    return chosen + audit_of(len(wrong))


def _second(
    plan: Plan,
    options: PlanOptions,
    chosen: JudgeChoice,
    ids: pd.Index,
    ranking: Ranking,
    draw: Draw,
    withheld: Bools,
) -> Second | None:
    if not options.second_judge:
        return None
    left = ranking[~(draw.audit | draw.people | withheld)[ranking]]
    candidates = [UUID(ids[row]) for row in left]
    return choose_second(plan.project, options, chosen.version, candidates, without_budget=int(draw.people.sum()))


def _routes(plan: Plan, drawn: Drawn) -> Iterator[Route]:
    """Yield the routes of the open pairs. Reasons are worked out when asked (`routing.plans.reasoning`)."""
    ids = drawn.judged.groups.index[drawn.open_rows]
    p_wrong, draw, costs = drawn.scores.p_wrong[drawn.open_rows], drawn.draw, drawn.costs
    second = set(drawn.second.pair_ids) if drawn.second else set()
    judge = drawn.judged.versions[0].judge.name
    for row, pair_id in enumerate(map(UUID, ids)):
        known, asked = not math.isnan(p_wrong[row]), bool(draw.audit[row] or draw.people[row])
        why = [] if known else [f"{judge} has no label for it"]
        if drawn.withheld[row]:
            why = [FLAGGED if drawn.flagged[row] else SPLIT, *why]
        if draw.audit[row]:
            source, why = RouteSource.AUDIT, [AUDITED, *why]
        elif draw.people[row]:
            source = RouteSource.PEOPLE
        else:
            source = RouteSource.SECOND if pair_id in second else RouteSource.AI
        yield Route(
            plan=plan,
            pair_id=pair_id,
            source=source,
            p_wrong=float(p_wrong[row]) if known else None,
            expected_gain=None if math.isnan(drawn.gain[row]) else float(drawn.gain[row]),
            cost_usd=usd(costs.most[row] if asked else 0),
            expected_usd=usd(costs.expected[row]),
            expected_seconds=float(costs.seconds[row]),
            selection_prob=float(draw.selection_prob[row]),
            why=why,
        )
