"""What the Drift page shows: the last check of the applied plan, and the predictor's fits."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from annotation.models import Project
from dashboard.signal_names import signal_name
from routing.models import Plan, PredictorFit
from routing.predicting.alarming import ANSWERS_NEEDED, FALSE_DISCOVERY, PAIRS_NEEDED, PSI_LIMIT, SCORE_LIMIT, Z_LIMIT
from routing.predicting.drifting import MARGIN, WAYS, Reason, applied_plan, last_check, reasons_in
from routing.predicting.refitting import is_under_way

# Older fits are in the database; a page of them says no more.
FITS_SHOWN = 40
RULE = (
    f"Audited answers: each adds to a running sum of evidence that the odds of a mistake are now twice, or half, those "
    f"predicted; it starts again at 0 whenever it falls below. It must pass {SCORE_LIMIT:.1f}, which chance alone "
    f"reaches in at most 2 of 100 checks, and the difference must pass {Z_LIMIT} standard errors with the error of the "
    f"fit counted in. From {ANSWERS_NEEDED} audited answers on.",
    f"New pairs, and the judge's own answers: a quantity has moved where its stability index (PSI) is {PSI_LIMIT} or "
    f"more and a Kolmogorov-Smirnov test, corrected for the number of quantities, gives chance less than "
    f"{FALSE_DISCOVERY:.0%}. From {PAIRS_NEEDED} pairs on, before and since.",
    "Everything is compared with the moment the applied plan was drawn. Applying a new plan starts anew.",
)
KINDS = {
    "cold": "Ranks only: too few labels",
    "logistic": "Logistic regression",
    "lightgbm": "Boosted trees",
    "blend": "Blend of three models",
}


class MovedRow(NamedTuple):
    """A signal, or one of the judge's ways, before and since the plan was drawn; `share` says the means are shares."""

    title: str
    before: float | None
    since: float | None
    share: bool
    psi: float
    p: float
    moved: bool


class Watch(NamedTuple):
    """The state of a project's drift: `checked_at` is None before the first check, `plan` before a plan is applied."""

    plan: Plan | None
    checked_at: datetime | None
    reasons: list[Reason]
    busy: bool
    answers: dict[str, Any]
    pairs: dict[str, Any]
    judge: dict[str, Any]
    signals: list[MovedRow]
    ways: list[MovedRow]
    fits: list[dict[str, Any]]


def watch(project: Project, *, now: datetime) -> Watch:
    """Return what the page shows; five queries."""
    plan = applied_plan(project)
    if plan is None:
        return Watch(None, None, [], False, {}, {}, {}, [], [], [])
    drift = last_check(plan)
    pairs, judge = drift.get("pairs", {}), drift.get("judge", {})
    return Watch(
        plan=plan,
        checked_at=datetime.fromisoformat(drift["checked_at"]) if drift else None,
        reasons=reasons_in(drift),
        busy=is_under_way(plan, now=now),
        answers=drift.get("answers", {}),
        pairs=pairs,
        judge=judge,
        signals=_rows(pairs.get("signals", ()), signal_name),
        ways=_rows(judge.get("ways", ()), _way_name),
        fits=fit_rows(plan),
    )


def fit_rows(plan: Plan) -> list[dict[str, Any]]:
    """Return the fits of a plan's judge, the newest first: how many labels, and how the chosen candidate did."""
    fits = PredictorFit.objects.filter(version=plan.figures["judge"]["version_id"]).exclude(kind="")
    fields = ("fitted_at", "kind", "labels", "wrong", "alarm", "comparison")
    return [_fit_row(fit) for fit in fits.order_by("-fitted_at").values(*fields)[:FITS_SHOWN]]


def drift_points(project: Project) -> list[dict[str, Any]]:
    """Return the parts of the audited answers as the last check of the applied plan found them."""
    plan = applied_plan(project)
    return last_check(plan).get("answers", {}).get("points", []) if plan else []


def judge_periods(project: Project) -> tuple[list[dict[str, Any]], int]:
    """Return the parts of the judge's own answers as the last check found them, and how many came before the plan."""
    plan = applied_plan(project)
    judge = last_check(plan).get("judge", {}) if plan else {}
    return judge.get("periods", []), judge.get("before", 0)


def fit_points(project: Project) -> list[dict[str, Any]]:
    """Return the fits that could be measured, the oldest first, without their times."""
    plan = applied_plan(project)
    rows = fit_rows(plan)[::-1] if plan else []
    names = ("labels", "auroc", "log_loss", "ece", "kind")
    return [{name: row[name] for name in names} for row in rows if row["auroc"] is not None]


def _fit_row(fit: Mapping[str, Any]) -> dict[str, Any]:
    chosen: dict[str, Any] = next((one for one in fit["comparison"] if one["chosen"]), {})
    return {
        "at": fit["fitted_at"],
        "kind": KINDS.get(fit["kind"], fit["kind"]),
        "labels": fit["labels"],
        "wrong": fit["wrong"],
        "alarm": fit["alarm"],
        **{name: chosen.get(name) for name in ("auroc", "log_loss", "ece")},
    }


def _rows(moved: Sequence[Mapping[str, Any]], title: Any) -> list[MovedRow]:
    return [
        MovedRow(
            title(one["name"]),
            one["before"],
            one["since"],
            one["name"] in WAYS,
            one["psi"],
            one["p"],
            one["moved"],
        )
        for one in moved
    ]


def _way_name(name: str) -> str:
    return "How sure it says it is (0 to 1)" if name == MARGIN else WAYS[name][0].upper() + WAYS[name][1:]
