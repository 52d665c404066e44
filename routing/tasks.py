"""The Celery tasks of routing; each takes ids and calls one function."""

import logging

from celery import shared_task
from django.utils import timezone

from annotation.aggregating.learning import has_outgrown
from annotation.errors import TiebreakError
from annotation.models import Pair, Project
from judges.models import JudgeRun, JudgeVersion, RunPurpose, Verdict
from routing.auditing.accepting import renew_acceptances
from routing.labels.calibrating import calibrate_judges
from routing.labels.resolving import resolve_labels
from routing.plans import applying, queueing
from routing.predicting.drifting import applied_plan
from routing.predicting.refitting import refit, refit_if_grown
from routing.signals.likening import embed_responses
from routing.studies import studying

logger = logging.getLogger(__name__)


@shared_task(name="routing.tasks.resolve_pair")
def resolve_pair(pair_id: str) -> None:
    """Make a pair's label again after an answer. Idempotent; a pair that was deleted meanwhile needs none.

    Where it was audited under a guarantee, so are the labels that are accepted now or no longer. Where the labels have
    grown by a tenth, the judges' calibration is fitted again, and where the answers have, what the project's method
    knows of its people is learned again; with either all labels are made.
    """
    pair = Pair.objects.select_related("project").filter(pk=pair_id).first()
    if pair is not None:
        resolve_labels(pair.project, [pair.pk])
        if changed := renew_acceptances(pair.project, pair.pk):
            resolve_labels(pair.project, changed)
        if calibrate_judges(pair.project) or has_outgrown(pair.project):
            resolve_labels(pair.project)


@shared_task(name="routing.tasks.resolve_after_run")
def resolve_after_run(run_id: str) -> None:
    """Make the labels of a judge run's pairs again when it ended. Idempotent; a run that was deleted needs none."""
    run = JudgeRun.objects.select_related("project").filter(pk=run_id).first()
    if run is not None:
        resolve_labels(run.project, Verdict.objects.filter(run=run).values_list("pair_id", flat=True).distinct())


@shared_task(name="routing.tasks.refit_after_answer")
def refit_after_answer(pair_id: str) -> None:
    """Fit the predictor of the applied plan's judge again where its labels have grown enough. Idempotent."""
    pair = Pair.objects.select_related("project").filter(pk=pair_id).first()
    if pair is not None:
        refit_if_grown(pair.project, now=timezone.now())


@shared_task(name="routing.tasks.refit_after_run")
def refit_after_run(run_id: str) -> None:
    """Look for drift after the applied plan's judge answered more pairs: new ones, or old ones anew. Idempotent.

    Reasons and tags of prompts are no answers, so their runs change nothing.
    """
    runs = JudgeRun.objects.select_related("project", "version__judge").filter(purpose=RunPurpose.LABEL)
    run = runs.filter(pk=run_id).first()
    if run is not None and (plan := applied_plan(run.project, run.version)) is not None:
        refit(run.project, run.version, seed=plan.seed, now=timezone.now())


@shared_task(name="routing.tasks.refit_project")
def refit_project(project_id: str) -> None:
    """Fit the predictor of the applied plan's judge again and look for drift. Idempotent; needs an applied plan."""
    project = Project.objects.filter(pk=project_id).first()
    if project is not None and (plan := applied_plan(project)) is not None:
        version = JudgeVersion.objects.select_related("judge").get(pk=plan.figures["judge"]["version_id"])
        refit(project, version, seed=plan.seed, now=timezone.now())


@shared_task(name="routing.tasks.resolve_project")
def resolve_project(project_id: str) -> None:
    """Make all labels of a project again. Idempotent; a project that was deleted needs none."""
    project = Project.objects.filter(pk=project_id).first()
    if project is not None:
        resolve_labels(project)


@shared_task(name="routing.tasks.work_study")
def work_study(study_id: str) -> None:
    """Work off a replay or a search over mixes. Idempotent: one that is held, ended or deleted is left alone."""
    studying.work_study(study_id)


@shared_task(name="routing.tasks.send_waiting_studies")
def send_waiting_studies() -> int:
    """Send the studies again whose message or worker was lost."""
    return studying.send_waiting_studies(now=timezone.now())


@shared_task(name="routing.tasks.draw_plan")
def draw_plan(plan_id: str) -> None:
    """Draw a plan that waits. Idempotent: one that is drawn, failed or deleted is left alone."""
    queueing.draw_queued(plan_id)


@shared_task(name="routing.tasks.send_waiting_plans")
def send_waiting_plans() -> int:
    """Send the plans again whose message or worker was lost."""
    return queueing.send_waiting_plans(now=timezone.now())


@shared_task(name="routing.tasks.apply_plan")
def apply_plan(plan_id: str) -> None:
    """Apply a plan that waits. Idempotent: one that is applied, a draft again or deleted is left alone."""
    applying.work_apply(plan_id)


@shared_task(name="routing.tasks.send_waiting_applications")
def send_waiting_applications() -> int:
    """Send the plans again whose applying was lost, and ask second judges that were not asked yet."""
    return applying.send_waiting_applications(now=timezone.now())


@shared_task(name="routing.tasks.embed_project")
def embed_project(project_id: str) -> None:
    """Fetch the vectors that a project's responses lack. Idempotent; what ends it early is kept for its page."""
    project = Project.objects.filter(pk=project_id).first()
    if project is not None:
        try:
            embed_responses(project)
        except TiebreakError as error:
            logger.warning("the embeddings of %s are not complete: %s", project, error)
