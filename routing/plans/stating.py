"""What a plan states before it is applied: counts, money, time, expected agreement, and what it all rests on."""

from typing import TYPE_CHECKING, Any

import numpy as np

from annotation.models import Project
from routing.auditing.estimating import judge_accuracy
from routing.models import Plan, PlanState
from routing.plans.costing import MICROS_PER_USD, chance_people_err, shown_usd
from routing.plans.frontier import BAND, Frontier, Learned, Maps, Pool, draw_frontier, resample_maps
from routing.plans.options import PlanOptions
from routing.plans.trusting import JudgeChoice, full_name
from routing.predicting.drifting import alarm_of
from routing.predicting.scoring import Floats

if TYPE_CHECKING:
    from routing.plans.planning import Drawn


def state_figures(plan: Plan, drawn: "Drawn") -> dict[str, Any]:
    """Return the figures of a plan that was worked out, as JSON values."""
    scores, draw, costs, open_rows = drawn.scores, drawn.draw, drawn.costs, drawn.open_rows
    asked = draw.audit | draw.people
    unlabelled = np.isnan(scores.p_wrong[open_rows]) | drawn.withheld
    n_second = len(drawn.second.pair_ids) if drawn.second else 0
    maps = None if scores.shortage else resample_maps(scores.p_wrong, _learned(drawn), plan.seed)
    most, expected = int(costs.most[asked].sum()), int(costs.expected[asked].sum())
    n_asked = int(asked.sum())
    return {
        "pairs": len(open_rows),
        "already_with_people": int((~open_rows).sum()),
        "counts": {
            "people": int(draw.people.sum()),
            "audit": int(draw.audit.sum()),
            "second": n_second,
            "ai": int((~asked & ~unlabelled).sum()) - n_second,
            "without_judge_label": int((~asked & unlabelled).sum()),
            "flagged": int(drawn.flagged.sum()),
            "split": int((drawn.withheld & ~drawn.flagged).sum()),
        },
        "cost_per_pair_usd": shown_usd(most / max(1, n_asked)),
        "cost_usd": shown_usd(most),
        "expected_usd": shown_usd(expected),
        "hours": float(costs.seconds[asked].sum() / 3600),
        "seconds_per_answer": float(costs.seconds[asked].mean() / costs.votes.expected) if n_asked else 0.0,
        "votes": costs.votes._asdict(),
        "pace": costs.pace._asdict(),
        "disagreement": costs.disagreement._asdict(),
        "agreement": _expected_agreement(drawn, maps),
        "frontier": _frontier(plan, drawn, maps).to_json(),
        "clusters": drawn.clusters,
        "second": _second(drawn),
        "drift": alarm_of(plan.project, drawn.chosen.version),
        "predictor": {
            "kind": scores.predictor.kind,
            "calibrated": scores.predictor.calibrated,
            "note": scores.shortage,
            "labels": int(drawn.labelled.rows.sum()),
            "wrong": int(drawn.labelled.wrong.sum()),
            "contested": drawn.labelled.contested,
            "comparison": [candidate._asdict() for candidate in scores.comparison],
        },
        "judge": _judge_figures(drawn.chosen, int((drawn.judged.choice != "").sum())),
        "budget": {"pairs": drawn.asked.pairs, "limited_by": drawn.asked.limited_by},
        "judge_accuracy": _accuracy_so_far(plan.project, drawn.chosen),
    }


def _learned(drawn: "Drawn") -> Learned:
    rows = np.flatnonzero(drawn.labelled.rows)
    groups = drawn.judged.groups.to_numpy(dtype=object)[rows]
    return Learned(rows, drawn.labelled.wrong, groups, drawn.labelled.weights)


def _expected_agreement(drawn: "Drawn", maps: Maps | None) -> dict[str, Any]:
    """Return the expected share of labels equal to people's consensus, before and after the plan, with 95 % bands.

    Over pairs on which a judge's label may stand; a pair that people answer counts as right. Without a calibrated
    predictor there is only a note.
    """
    if maps is None:
        return {"note": drawn.scores.shortage}
    p = drawn.scores.p_wrong
    counted = ~np.isnan(p)
    places = np.flatnonzero(drawn.open_rows)
    counted[places[drawn.withheld]] = False
    settled = ~drawn.open_rows
    right_after = settled.copy()
    right_after[places[drawn.draw.audit | drawn.draw.people]] = True
    counted |= settled

    def ends(right: "np.ndarray[Any, np.dtype[np.bool_]]") -> tuple[float, float, float]:
        def share(values: Floats) -> float:
            return float(1 - np.where(right, 0.0, np.nan_to_num(values))[counted].mean())

        if not counted.any():
            return 1.0, 1.0, 1.0
        mean = share(p)
        low, high = np.quantile([share(maps.apply(p, sample)) for sample in range(len(maps.slopes))], BAND)
        return mean, min(mean, float(low)), max(mean, float(high))

    before, before_low, before_high = ends(settled)
    after, after_low, after_high = ends(right_after)
    return {
        "before": before,
        "before_low": before_low,
        "before_high": before_high,
        "after": after,
        "after_low": after_low,
        "after_high": after_high,
        "pairs": int(counted.sum()),
    }


def _frontier(plan: Plan, drawn: "Drawn", maps: Maps | None) -> Frontier:
    if maps is None:
        return Frontier([], None, "", drawn.scores.shortage)
    options, p = PlanOptions.from_json(plan.options), drawn.scores.p_wrong
    places = np.flatnonzero(drawn.open_rows)
    pool = Pool(
        rows=places,
        ranking=drawn.ranking,
        counted=~np.isnan(p[places]) & ~drawn.withheld,
        expected=drawn.costs.expected.astype(float),
        pairs=len(p),
        settled=int((~drawn.open_rows).sum()),
        audited=drawn.asked.audited,
    )
    worth = np.inf if options.worth_usd is None else float(options.worth_usd) * MICROS_PER_USD
    people_err = chance_people_err(drawn.costs.disagreement.share, drawn.costs.votes.wanted)
    return draw_frontier(
        p, maps, pool, _learned(drawn), drawn.scores.signals, people_err=people_err, worth=worth, seed=plan.seed
    )


def _second(drawn: "Drawn") -> dict[str, Any]:
    if drawn.second is None:
        return {}
    cost = drawn.second.most_usd
    return {
        "version_id": str(drawn.second.version.pk),
        "name": str(drawn.second.version),
        "pairs": len(drawn.second.pair_ids),
        "most_usd": None if cost is None else str(cost),
        "paid": bool(cost),
    }


def _judge_figures(chosen: JudgeChoice, labelled_pairs: int) -> dict[str, Any]:
    return {
        "version_id": str(chosen.version.pk),
        "name": full_name(chosen.version),
        "version": chosen.version.number,
        "trusted": chosen.trusted,
        "reasons": chosen.reasons,
        "labels": chosen.labels,
        "notes": chosen.notes,
        "labelled_pairs": labelled_pairs,
    }


def _accuracy_so_far(project: Project, chosen: JudgeChoice) -> dict[str, Any]:
    """Return the unbiased accuracy of this judge version from the last plan applied with it."""
    applied = Plan.objects.filter(project=project, state=PlanState.APPLIED).order_by("-applied_at")
    for plan in applied:
        if plan.figures["judge"]["version_id"] == str(chosen.version.pk):
            return judge_accuracy(plan)
    return {"note": "no plan with an audit slice was applied yet"}
