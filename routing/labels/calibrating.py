"""Judges' calibration kept up with people's answers, which were not drawn evenly."""

from collections.abc import Iterable
from typing import Any

from django.db import transaction

from annotation.aggregating import DECIDING
from annotation.models import Preference, Project
from annotation.publishing import publish
from judges.calibrating import LEAST_PAIRS, calibrate
from judges.errors import JudgeError
from judges.gating import LABELS_OUTDATED
from judges.models import JudgeVersion
from routing.predicting.labelling import pair_weights

# A map is fitted again once people have answered so many more pairs than it was fitted to: not after every answer.
GROWTH = 0.1


def calibrate_judges(
    project: Project, versions: Iterable[JudgeVersion] | None = None, *, growth: float | None = GROWTH
) -> list[JudgeVersion]:
    """Fit the maps of those judge versions again (default: all) whose labels have grown enough; return which.

    `growth` None fits them whatever has grown.

    A pair counts by the inverse of its odds of being asked, so that what the router chose does not stand for the rest.
    One query where nothing has grown. A version with too few labels is left without a map until there are more.
    """
    votes = Preference.objects.counted().of_people().filter(pair__project=project, choice__in=DECIDING)
    labels = votes.values("pair_id").distinct().count()
    if labels < LEAST_PAIRS:
        return []
    known = JudgeVersion.objects.filter(judge__project=project, rater__preferences__is_current=True).distinct()
    if versions is not None:
        known = known.filter(pk__in=[version.pk for version in versions])
    due = [one for one in known.select_related("judge__project") if _has_grown(one, labels, growth)]
    weights = pair_weights(project) if due else {}
    fitted = []
    for version in due:
        try:
            calibrate(version, weights=weights)
        except JudgeError as error:
            # Its judge has answered other pairs than people have: remembered, so that it is not tried at every answer.
            calibration = {"too_few": str(error), "labels": labels}
            JudgeVersion.objects.filter(pk=version.pk).update(calibration=calibration)
            continue
        fitted.append(version)
    return fitted


def calibrate_judge(version: JudgeVersion) -> dict[str, Any]:
    """Fit one version's map now, each pair weighted by the inverse of its odds of being asked; return it.

    The project's labels are made again with it. Raises `judges.errors.JudgeError` with too few labels.
    """
    project = version.judge.project
    with transaction.atomic():
        fitted = calibrate(version, weights=pair_weights(project))
        publish(LABELS_OUTDATED, {"project_id": str(project.pk)})
    return fitted


def _has_grown(version: JudgeVersion, labels: int, growth: float | None) -> bool:
    before = version.calibration.get("labels")
    return growth is None or before is None or labels < before or labels > before * (1 + growth)
