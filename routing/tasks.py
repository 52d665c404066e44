"""The Celery tasks of routing; each takes ids and calls one function."""

from celery import shared_task

from annotation.models import Pair, Project
from judges.models import JudgeRun, Verdict
from routing.calibrating import calibrate_judges
from routing.resolving import resolve_labels


@shared_task(name="routing.tasks.resolve_pair")
def resolve_pair(pair_id: str) -> None:
    """Make a pair's label again after an answer. Idempotent; a pair that was deleted meanwhile needs none.

    Where the labels have grown by a tenth, the judges' calibration is fitted again, and with it all labels are made.
    """
    pair = Pair.objects.select_related("project").filter(pk=pair_id).first()
    if pair is not None:
        resolve_labels(pair.project, [pair.pk])
        if calibrate_judges(pair.project):
            resolve_labels(pair.project)


@shared_task(name="routing.tasks.resolve_after_run")
def resolve_after_run(run_id: str) -> None:
    """Make the labels of a judge run's pairs again when it ended. Idempotent; a run that was deleted needs none."""
    run = JudgeRun.objects.select_related("project").filter(pk=run_id).first()
    if run is not None:
        resolve_labels(run.project, Verdict.objects.filter(run=run).values_list("pair_id", flat=True).distinct())


@shared_task(name="routing.tasks.resolve_project")
def resolve_project(project_id: str) -> None:
    """Make all labels of a project again. Idempotent; a project that was deleted needs none."""
    project = Project.objects.filter(pk=project_id).first()
    if project is not None:
        resolve_labels(project)
