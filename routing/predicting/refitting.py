"""The steady phase: the predictor is fitted again as labels arrive, and what still waits for people is put in order."""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef

from annotation.aggregating import DECIDING
from annotation.models import Choice, OutboxEvent, Preference, Project, RaterKind, Task, TaskState
from annotation.publishing import publish
from judges.flagging import flagged_pairs
from judges.models import JudgeVersion
from routing.models import Plan, PlanState, PredictorFit, RouteSource
from routing.plans.planning import Scores, score_pairs
from routing.predicting.drifting import applied_plan, drift_of, predictions_ahead
from routing.predicting.labelling import label_pairs
from routing.predicting.predictor import LABELS_NEEDED
from routing.signals.reading import Judged, read_judged

# A predictor is fitted again once so many more pairs are labelled than it learned from ...
GROWTH = 0.1
LEAST_NEW_LABELS = 20
# ... or once it is so old, if there is any new label at all.
OLD = timedelta(days=1)
# A worker that was killed leaves its claim behind; a fit of 100,000 pairs takes minutes.
CLAIM_HOLDS = timedelta(minutes=30)
# A wish that no worker heard of by then is forgotten by the page; the sweeper still sends it.
ASKED_HOLDS = timedelta(minutes=10)
ROWS_PER_UPDATE = 500
# The outbox topic of a wish for a fit.
WANTED = "refit_wanted"


class LastFit(NamedTuple):
    """The last fit of a judge: its id, how many pairs it learned from, and when."""

    id: UUID
    labels: int
    at: datetime


def refit_if_grown(project: Project, *, now: datetime) -> PredictorFit | None:
    """Fit the predictor of the applied plan's judge again if its labels have grown enough; return the fit, or None.

    Runs after every answer: three queries where nothing is due, and they read only the answers since the last fit.
    Enough is a tenth, and at least 20 pairs; or, a day after the last fit, one. Of two workers that find it due at the
    same moment one does it.
    """
    applied = _last_applied(project)
    if applied is None:
        return None
    version_id, seed = UUID(applied[0]), applied[1]
    last = _last_fit(version_id)
    if not _is_due(_new_labels(project, version_id, last.at if last else None), last, now):
        return None
    version = JudgeVersion.objects.select_related("judge").get(pk=version_id)
    return _refit(project, version, seed=seed, now=now, unless_after=last)


def ask_refit(project: Project) -> None:
    """Have a worker fit the predictor of the applied plan's judge again and look for drift, whatever has grown."""
    with transaction.atomic():
        publish(WANTED, {"project_id": str(project.pk)})


def is_under_way(plan: Plan, *, now: datetime) -> bool:
    """Say whether a worker fits the predictor of a plan's judge, or was just asked to. Two or three queries."""
    version_id = UUID(plan.figures["judge"]["version_id"])
    if PredictorFit.objects.filter(version=version_id, kind="", fitted_at__gt=now - CLAIM_HOLDS).exists():
        return True
    last = _last_fit(version_id)
    since = max(now - ASKED_HOLDS, last.at) if last else now - ASKED_HOLDS
    asked = OutboxEvent.objects.filter(topic=WANTED, payload__project_id=str(plan.project_id), created_at__gt=since)
    return asked.exists()


def refit(project: Project, version: JudgeVersion, *, seed: int = 0, now: datetime) -> PredictorFit | None:
    """Fit a judge's predictor to all labels there are, store it with what drifted, and order what waits for people.

    The same data and seed store the same predictor. With too few labels the cold start is stored, and why, so that it
    is not tried again at every answer. None where another worker is at it: one row at a time may be a claim, which the
    database sees to. The fit itself (seconds to minutes) runs outside of any transaction.
    """
    return _refit(project, version, seed=seed, now=now, unless_after=_last_fit(version.pk))


def _refit(
    project: Project, version: JudgeVersion, *, seed: int, now: datetime, unless_after: LastFit | None
) -> PredictorFit | None:
    """Fit unless another worker is at it, or has been since `unless_after` was the last fit."""
    claim = _claim(project, version, now)
    if claim is None:
        return None
    try:
        if _last_fit(version.pk) != unless_after:
            claim.delete()
            return None
        judged = read_judged(project, [version])
        labelled = label_pairs(project, judged)
        scores = score_pairs(judged, labelled, seed)
        plan = applied_plan(project, version)
        p_wrong = {pair: float(p) for pair, p in zip(judged.groups.index, scores.p_wrong, strict=True) if p == p}
        claim.drift = _drift(plan, judged, scores, p_wrong, now=now, seed=seed)
        if plan is not None and scores.predictor.calibrated:
            refresh_priorities(plan, p_wrong)
        claim.kind = scores.predictor.kind
        claim.predictor = scores.predictor.to_json()
        claim.comparison = [candidate._asdict() for candidate in scores.comparison]
        claim.labels, claim.wrong = int(labelled.rows.sum()), int(labelled.wrong.sum())
        claim.seed, claim.alarm = seed, bool(claim.drift.get("reasons"))
        claim.save()
    except BaseException:
        PredictorFit.objects.filter(pk=claim.pk).delete()
        raise
    return claim


def _drift(
    plan: Plan | None, judged: Judged, scores: Scores, p_wrong: Mapping[str, float], *, now: datetime, seed: int
) -> dict[str, Any]:
    """Return what drifted since the plan was drawn; of a cold plan also what is predicted now for its audit slice."""
    if plan is None:
        return {}
    drift = drift_of(plan, judged, scores.predictor, now=now, seed=seed)
    if scores.predictor.calibrated and not plan.figures["predictor"]["calibrated"]:
        drift["ahead"] = predictions_ahead(plan, p_wrong)
    return drift


def refresh_priorities(plan: Plan, p_wrong: Mapping[str, float]) -> int:
    """Put the pairs of a plan that nobody holds in the order of a new P(wrong); return how many changed their place.

    Which pairs are asked stays as it is. The router's pairs pass their priorities among themselves, so that audited
    ones, which borrowed theirs at random, stay mixed among them, and pairs asked for another reason (a response is
    flagged) keep their place. A plan that another has overtaken orders nothing. Five queries and one for every
    500 changes.
    """
    flagged = set(flagged_pairs(plan.project))
    gains = {
        pair_id: gain * p_wrong[str(pair_id)] / before
        for pair_id, gain, before in plan.routes.filter(source=RouteSource.PEOPLE).values_list(
            "pair_id", "expected_gain", "p_wrong"
        )
        if gain and before and str(pair_id) in p_wrong and pair_id not in flagged
    }
    with transaction.atomic():
        # Who applies a plan holds the project too: neither writes over the other's order nor waits for it in a ring.
        Project.objects.select_for_update(no_key=True).get(pk=plan.project_id)
        last = applied_plan(plan.project)
        if last is None or last.pk != plan.pk:
            return 0
        changed = _reordered(plan.project, gains)
        Task.objects.bulk_update(changed, ["priority"], batch_size=ROWS_PER_UPDATE)
    return len(changed)


def _reordered(project: Project, gains: Mapping[UUID, float]) -> list[Task]:
    """Return the tasks among those that nobody holds whose priority changes, with the new one. Writes nothing."""
    free = Task.objects.filter(project=project, state=TaskState.OPEN, taken=F("answered"))
    tasks = [task for task in free.order_by("id").only("id", "pair_id", "priority") if task.pair_id in gains]
    places = np.sort([task.priority for task in tasks])[::-1]
    order = sorted(tasks, key=lambda task: (-gains[task.pair_id], -task.priority, task.pk))
    changed = []
    for task, place in zip(order, places, strict=True):
        if task.priority != float(place):
            task.priority = float(place)
            changed.append(task)
    return changed


def _last_applied(project: Project) -> tuple[str, int] | None:
    """Return the judge version and the seed of the plan applied last."""
    plans = Plan.objects.filter(project=project, state=PlanState.APPLIED).order_by("-applied_at")
    return plans.values_list("figures__judge__version_id", "seed").first()


def _last_fit(version_id: UUID) -> LastFit | None:
    fits = PredictorFit.objects.filter(version=version_id).exclude(kind="").order_by("-fitted_at")
    found = fits.values_list("id", "labels", "fitted_at").first()
    return LastFit(*found) if found else None


def _new_labels(project: Project, version_id: UUID, since: datetime | None) -> int:
    """Return how many pairs with this judge's answer got their first answer of a person after `since` (ever: None)."""
    rater = JudgeVersion.objects.filter(pk=version_id).values("rater_id")
    judged = Preference.objects.counted().filter(pair=OuterRef("pair"), rater__in=rater).exclude(choice=Choice.UNSURE)
    people = Preference.objects.counted().filter(rater__kind=RaterKind.PERSON, choice__in=DECIDING)
    answers = people.filter(rater__project=project)
    if since is not None:
        earlier = people.filter(pair=OuterRef("pair"), created_at__lte=since)
        answers = answers.filter(~Exists(earlier), created_at__gt=since)
    return answers.filter(Exists(judged)).values("pair_id").distinct().count()


def _is_due(new: int, last: LastFit | None, now: datetime) -> bool:
    if last is None:
        return new >= LABELS_NEEDED
    enough = max(LEAST_NEW_LABELS, math.ceil(GROWTH * last.labels))
    return new >= enough or (new > 0 and now - last.at >= OLD)


def _claim(project: Project, version: JudgeVersion, now: datetime) -> PredictorFit | None:
    """Return the row of a fit to be made, or None where another worker holds one."""
    PredictorFit.objects.filter(version=version, kind="", fitted_at__lt=now - CLAIM_HOLDS).delete()
    try:
        with transaction.atomic():
            return PredictorFit.objects.create(project=project, version=version, kind="", seed=0, fitted_at=now)
    except IntegrityError:
        return None
