"""Whether what a plan was drawn on still holds: its P(judge wrong), the kind of pairs, the judge's ways.

Everything is compared with the moment the plan was drawn, since that is what its figures and labels claim.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pandas as pd

from annotation.aggregating import consensus
from annotation.models import Choice, Origin, Pair, Preference, Project, Task, TaskState
from judges.models import JudgeVersion
from routing.labels.reading import answers_of
from routing.models import Plan, PlanState, PredictorFit, RouteSource
from routing.plans.trusting import full_name, judged_right
from routing.predicting.alarming import PAIRS_NEEDED, Calibration, compare_answers, compare_frames, tell_apart
from routing.predicting.predictor import Predictor
from routing.predicting.scoring import Strings
from routing.signals.reading import Judged

# SQLite binds at most 32,766 values in a statement.
IDS_PER_QUERY = 10_000
# The signals that carry the predictor; one that it hardly uses may move as it likes.
SIGNALS_WATCHED = 12
ROWS_WEIGHED = 2000
PERIODS = 12
WAYS = {"picks_a": "prefers response A", "tie": "calls it a tie", "flipped": "changes with the order"}
MARGIN = "margin"


class Reason(NamedTuple):
    """Why there is an alarm, and what to do about it."""

    what: str
    do: str


def applied_plan(project: Project, version: JudgeVersion | None = None) -> Plan | None:
    """Return the plan applied last, if it is this judge's, without its predictor. One query."""
    plans = Plan.objects.filter(project=project, state=PlanState.APPLIED).defer("predictor")
    plan = plans.order_by("-applied_at").first()
    if plan is None or version is None or plan.figures["judge"]["version_id"] == str(version.pk):
        return plan
    return None


def alarm_of(project: Project, version: JudgeVersion) -> str:
    """Return what has changed since the applied plan was drawn, in sentences; '' without an alarm. Two queries.

    A plan drawn again starts anew: what is said about the plan before it no longer counts.
    """
    return " ".join(reason.what for reason in reasons_of(project, version))


def reasons_of(project: Project, version: JudgeVersion | None = None) -> list[Reason]:
    """Return the alarm's reasons for a judge, by default that of the plan applied last. Two queries."""
    plan = applied_plan(project, version)
    if plan is None:
        return []
    return reasons_in(last_check(plan))


def reasons_in(drift: Mapping[str, Any]) -> list[Reason]:
    """Return the reasons that a check (`drift_of`) found."""
    return [Reason(**reason) for reason in drift.get("reasons", ())]


def last_check(plan: Plan) -> dict[str, Any]:
    """Return what the last check of a plan found (`drift_of`), {} before the first. One query."""
    fits = PredictorFit.objects.filter(version=plan.figures["judge"]["version_id"]).exclude(kind="")
    found: dict[str, Any] | None = fits.order_by("-fitted_at").values_list("drift", flat=True).first()
    return found if found and found.get("plan") == str(plan.pk) else {}


def drift_of(plan: Plan, judged: Judged, predictor: Predictor, *, now: datetime, seed: int = 0) -> dict[str, Any]:
    """Return, as JSON values, how answers, pairs and the judge differ from what the plan was drawn on.

    - `answers`: `routing.predicting.alarming.Calibration` of the audited pairs whose answers are complete, against the
      plan's P(wrong); of a plan whose predictor was cold, against the first calibrated fit's made before they were
      answered.
    - `pairs`: the predictor's most important signals in pairs imported since the plan, against those before.
    - `judge`: the judge's own ways in answers it gave since the plan, against those before; by `periods` too.
    - `reasons`: what raises the alarm, as (what, do); empty without one.

    About seven queries; `judged` is the project as `routing.signals.reading.read_judged` returns it.
    """
    version = judged.versions[0]
    answers = _compare_answers(plan, version)
    pairs = _compare_pairs(plan, judged, predictor, seed)
    judge = _compare_judge(plan, version, judged)
    return {
        "plan": str(plan.pk),
        "checked_at": now.isoformat(),
        "answers": answers.as_dict(),
        "pairs": pairs,
        "judge": judge,
        "reasons": [reason._asdict() for reason in _reasons(full_name(version), answers, pairs, judge)],
    }


def predictions_ahead(plan: Plan, p_wrong: Mapping[str, float]) -> dict[str, float]:
    """Return P(wrong) of a plan's audited pairs that nobody has answered yet, to be held against their answers."""
    audited = [str(pair_id) for pair_id in _audited(plan)]
    answered = set(_answers(plan.project, audited)["pair_id"])
    return {pair: round(p_wrong[pair], 6) for pair in audited if pair not in answered and pair in p_wrong}


def _audited(plan: Plan) -> dict[UUID, float | None]:
    routes = plan.routes.filter(source=RouteSource.AUDIT).order_by("pair_id")
    return dict(routes.values_list("pair_id", "p_wrong"))


def _answers(project: Project, pair_ids: Sequence[str]) -> pd.DataFrame:
    """Return people's answers given here on some pairs: `pair_id`, `choice`, `strength`, `at`, `group`."""
    given = (
        Preference.objects.counted()
        .of_people()
        .filter(pair__project=project, rater__origin__in=[Origin.LIVE, Origin.SIMULATED])
        .values_list("pair_id", "choice", "strength", "created_at", "pair__prompt__group")
    )
    rows = [
        row
        for start in range(0, len(pair_ids), IDS_PER_QUERY)
        for row in given.filter(pair_id__in=pair_ids[start : start + IDS_PER_QUERY])
    ]
    frame = pd.DataFrame.from_records(rows, columns=["pair_id", "choice", "strength", "at", "group"])
    return frame.assign(pair_id=frame["pair_id"].astype(str), strength=frame["strength"].astype(float))


def _compare_answers(plan: Plan, version: JudgeVersion) -> Calibration:
    said, labels = _predictions(plan, version)
    answers = _answers(plan.project, list(said))
    # A pair that still gets votes would be held to one person's word, where the predictor learned from consensus.
    unfinished = Task.objects.filter(project=plan.project, state=TaskState.OPEN, pair__routes__plan=plan)
    still_open = {str(pair_id) for pair_id in unfinished.values_list("pair_id", flat=True)}
    answers = answers[(answers["at"] > plan.created_at) & ~answers["pair_id"].isin(still_open)]
    people = consensus(answers)
    at = answers.groupby("pair_id")["at"].max()
    judge = {str(pair_id): answer.choice for pair_id, answer in answers_of(version, map(UUID, people.index)).items()}
    right = judged_right(pd.Series(judge, dtype=object).reindex(people.index), people["choice"]).dropna()
    order = sorted(right.index, key=lambda pair: (at[pair], pair))
    group_of = dict(zip(answers["pair_id"], answers["group"], strict=True))
    return compare_answers(
        np.array([said[pair] for pair in order], dtype=float),
        (right.reindex(order) == 0.0).to_numpy(dtype=bool),
        np.array([group_of[pair] for pair in order], dtype=object),
        labels=labels,
    )


def _predictions(plan: Plan, version: JudgeVersion) -> tuple[dict[str, float], int]:
    """Return what was predicted for a plan's audited pairs before they were answered, and from how many labels."""
    if plan.figures["predictor"]["calibrated"]:
        known = {str(pair_id): p_wrong for pair_id, p_wrong in _audited(plan).items() if p_wrong is not None}
        return known, int(plan.figures["predictor"]["labels"])
    fits = PredictorFit.objects.filter(version=version, drift__plan=str(plan.pk)).order_by("fitted_at")
    for labels, drift in fits.values_list("labels", "drift").iterator():
        if drift.get("ahead"):
            return drift["ahead"], labels
    return {}, 0


def _compare_pairs(plan: Plan, judged: Judged, predictor: Predictor, seed: int) -> dict[str, Any]:
    since = Pair.objects.filter(project=plan.project, created_at__gt=plan.created_at).values_list("id", flat=True)
    new = judged.signals.index.isin([str(pair_id) for pair_id in since.iterator()])
    # Pairs that wait for the judge have no signal of its own yet, which is no difference between them.
    has_label = (judged.choice != "").to_numpy()
    old, new = ~new & has_label, new & has_label
    counts = {"before": int(old.sum()), "since": int(new.sum())}
    if min(counts.values()) < PAIRS_NEEDED:
        short = f"too few pairs ({counts['since']} of {PAIRS_NEEDED} imported since the plan was drawn)"
        return {**counts, "note": short, "signals": [], "told_apart": None, "alarm": False}
    frames, groups = _split(judged.signals[_important(predictor, judged.signals)], judged.groups, old, new)
    moved = compare_frames(*frames, groups)
    return {
        **counts,
        "note": "",
        "signals": [one.as_dict() for one in moved],
        "told_apart": tell_apart(*frames, groups, seed),
        "alarm": any(one.moved for one in moved),
    }


def _important(predictor: Predictor, signals: pd.DataFrame) -> list[str]:
    """Return the signals that move P(wrong) most, on average over evenly spaced pairs."""
    step = max(1, len(signals) // ROWS_WEIGHED)
    weights = predictor.contributions(signals.iloc[::step]).abs().mean().sort_values(ascending=False, kind="stable")
    return [str(name) for name in weights.index[:SIGNALS_WATCHED] if name in signals.columns]


def _split(
    frame: pd.DataFrame, groups: pd.Series, old: Any, new: Any
) -> tuple[tuple[pd.DataFrame, pd.DataFrame], tuple[Strings, Strings]]:
    names = groups.to_numpy(dtype=object)
    return (frame[old], frame[new]), (names[old], names[new])


def _compare_judge(plan: Plan, version: JudgeVersion, judged: Judged) -> dict[str, Any]:
    ways = _ways_of(version)
    ways = ways[ways.index.isin(judged.groups.index)]
    new = (ways.pop("at") > plan.created_at).to_numpy()
    counts = {"before": int((~new).sum()), "since": int(new.sum())}
    result: dict[str, Any] = {**counts, "note": "", "ways": [], "periods": _periods(ways, new), "alarm": False}
    if min(counts.values()) < PAIRS_NEEDED:
        note = f"too few answers ({counts['since']} of {PAIRS_NEEDED} given since the plan was drawn)"
        return {**result, "note": note}
    frames, groups = _split(ways, judged.groups.reindex(ways.index), ~new, new)
    moved = compare_frames(*frames, groups)
    return {**result, "ways": [one.as_dict() for one in moved], "alarm": any(one.moved for one in moved)}


def _ways_of(version: JudgeVersion) -> pd.DataFrame:
    """Return how a judge answered, oldest first: a row a pair with `at`, `picks_a`, `tie`, `margin` and `flipped`."""
    rows = (
        Preference.objects.counted()
        .filter(rater=version.rater_id)
        .exclude(choice=Choice.UNSURE)
        .order_by("created_at", "pair_id")
        .values_list("pair_id", "created_at", "choice", "prob_a", "meta__consistent")
    )
    frame = pd.DataFrame.from_records(list(rows), columns=["pair_id", "at", "choice", "prob_a", "consistent"])
    kept = frame["consistent"].map({True: 0.0, False: 1.0}).astype(float)
    return pd.DataFrame(
        {
            "at": frame["at"].to_numpy(),
            "picks_a": frame["choice"].eq("a").to_numpy(dtype=float),
            "tie": frame["choice"].isin(["tie", "both_bad"]).to_numpy(dtype=float),
            MARGIN: ((frame["prob_a"].astype(float) - 0.5).abs() * 2).to_numpy(),
            "flipped": kept.to_numpy(),
        },
        index=frame["pair_id"].astype(str).to_list(),
    )


def _periods(ways: pd.DataFrame, new: Any) -> list[dict[str, Any]]:
    """Return the means over equal parts of the judge's answers in the order they were given; None where not known."""
    if ways.empty:
        return []
    periods = []
    for rows in np.array_split(np.arange(len(ways)), min(PERIODS, max(1, len(ways) // PAIRS_NEEDED))):
        means = ways.iloc[rows].mean()
        known = {str(name): None if np.isnan(value) else float(value) for name, value in means.items()}
        periods.append({"last": int(rows[-1]) + 1, "n": len(rows), "since": bool(new[rows].all()), **known})
    return periods


def _reasons(judge: str, answers: Calibration, pairs: dict[str, Any], ways: dict[str, Any]) -> list[Reason]:
    found = []
    if answers.alarm:
        worse = answers.stretch_observed > answers.stretch_expected
        found.append(
            Reason(
                f"{judge} is wrong {'more' if worse else 'less'} often than the plan expected: on "
                f"{answers.stretch_observed:.0%} of the last {answers.stretch} audited pairs, where "
                f"{answers.stretch_expected:.0%} was predicted.",
                "Draw the plan again, so that its figures follow the new answers. Give it a larger audit slice, and "
                "probe the judge: the model behind it may have been changed.",
            )
        )
    if pairs["alarm"]:
        unknown = any(one["since"] is None for one in pairs["signals"])
        moved, watched = sum(one["moved"] for one in pairs["signals"]), len(pairs["signals"])
        found.append(
            Reason(
                f"The {pairs['since']:,} pairs imported since the plan was drawn differ from those before it in "
                f"{moved} of the {watched} signals that tell best where the judge is wrong.",
                "Draw the plan again, so that the new pairs are in it, with an audit slice of their own."
                + (" First run the other judges over them, so that they have the same signals." if unknown else ""),
            )
        )
    if ways["alarm"]:
        found.append(
            Reason(
                f"{judge} answers differently since the plan was drawn: {_way_words(ways['ways'])}.",
                "Probe the judge: the model behind it may have been changed. If it was, add it as a new version, "
                "run that over the pairs, and draw the plan again.",
            )
        )
    return found


def _way_words(ways: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for way in ways:
        if way["moved"] and way["name"] == MARGIN:
            parts.append(f"its margin is {way['since']:.2f} of 1 on average, before {way['before']:.2f}")
        elif way["moved"]:
            parts.append(f"it {WAYS[way['name']]} on {way['since'] or 0:.0%}, before on {way['before'] or 0:.0%}")
    return ", ".join(parts)
