"""Whether work waits that no worker takes up. There is no heartbeat: the age of the oldest waiting row tells."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.db.models import Exists, Max, OuterRef, Q
from django.db.models.functions import Coalesce, Greatest

from annotation.models import Import, OutboxEvent, Project
from exports.models import Publication, PublicationState, Snapshot, SnapshotState
from judges.models import JudgeRun, RunState, Verdict, VerdictState
from routing.models import Plan, PlanState, PredictorFit, Study, StudyKind, StudyState
from routing.plans.queueing import is_being_drawn
from routing.studies.studying import DEAD_AFTER

# A worker that lives takes a message in under a second; the sweeper sends a lost one again every 30.
PATIENCE = timedelta(seconds=60)
STUDIES = {StudyKind.REPLAY: "the replay of {}", StudyKind.MIXES: "the search over mixes with {}"}


class WaitingWork(NamedTuple):
    """Work that should have begun: what, and since when."""

    what: str
    since: datetime


def waiting_work(project: Project, *, now: datetime) -> list[WaitingWork]:
    """Return a project's work that has waited longer than a worker would let it, longest first; eight queries.

    A judge run waits when questions are open, none is under way and nothing was answered for a while. A study or a
    plan waits when its turn has not come although no other is being worked on.
    """
    before = now - PATIENCE
    found = [
        WaitingWork(f"the import of {filename}", created)
        for filename, created in Import.objects.filter(
            project=project, state=Import.State.QUEUED, created_at__lt=before
        ).values_list("filename", "created_at")
    ]
    found += [
        WaitingWork(f"export {number}", created)
        for number, created in Snapshot.objects.filter(
            project=project, state=SnapshotState.QUEUED, created_at__lt=before
        ).values_list("number", "created_at")
    ]
    found += [
        WaitingWork(f"the publication to {target}", created)
        for target, created in Publication.objects.filter(
            project=project, state=PublicationState.QUEUED, created_at__lt=before, lease_until=None
        ).values_list("target", "created_at")
    ]
    found += [WaitingWork(f"the run of {run}", since) for run, since in _stalled_runs(project, before=before, now=now)]
    found += _waiting_routing(project, before=before, now=now)
    unrung = OutboxEvent.objects.filter(published_at__isnull=True, created_at__lt=before).order_by("created_at")
    found += [
        WaitingWork("news of answers (the broker does not take messages)", created)
        for created in unrung.values_list("created_at", flat=True)[:1]
    ]
    return sorted(found, key=lambda work: work.since)


def _stalled_runs(project: Project, *, before: datetime, now: datetime) -> list[tuple[str, datetime]]:
    of_run = Verdict.objects.filter(run=OuterRef("pk"))
    under_way = of_run.filter(state=VerdictState.CLAIMED, lease_until__gt=now)
    stalled = (
        JudgeRun.objects.filter(project=project, state=RunState.RUNNING)
        .filter(Exists(of_run.filter(state=VerdictState.PENDING)), ~Exists(under_way))
        .annotate(last=Max("verdicts__finished_at", filter=Q(verdicts__finished_at__isnull=False)))
        .annotate(since=Greatest("created_at", Coalesce("last", "created_at")))
        .filter(since__lt=before)
        .select_related("version__judge")
    )
    return [(str(run.version), run.since) for run in stalled]


def _waiting_routing(project: Project, *, before: datetime, now: datetime) -> list[WaitingWork]:
    found = [
        *_waiting_studies(project, before=before),
        *_waiting_plans(project, before=before),
        *_waiting_applications(project, before=before),
    ]
    # One worker takes them in turn, of whatever project.
    return [] if found and _routing_is_at_work(now) else found


def _routing_is_at_work(now: datetime) -> bool:
    """Say whether a worker calculates a study, draws a plan or fits a predictor; three queries at most."""
    alive = now - DEAD_AFTER
    if Study.objects.filter(state=StudyState.RUNNING, heartbeat_at__gte=alive).exists():
        return True
    if PredictorFit.objects.filter(kind="", fitted_at__gte=alive).exists():
        return True
    return any(is_being_drawn(plan, now=now) for plan in Plan.objects.filter(state=PlanState.DRAWING))


def _waiting_plans(project: Project, *, before: datetime) -> list[WaitingWork]:
    created = Plan.objects.filter(project=project, state=PlanState.DRAWING, created_at__lt=before)
    return [
        WaitingWork(f"the plan of {since:%-d %b, %H:%M}", since)
        for since in created.values_list("created_at", flat=True)
    ]


def _waiting_studies(project: Project, *, before: datetime) -> list[WaitingWork]:
    waiting = Study.objects.filter(project=project, state=StudyState.QUEUED)
    fields = waiting.filter(heartbeat_at__lt=before).values_list("kind", "judge_name", "heartbeat_at")
    return [
        WaitingWork(STUDIES[StudyKind(kind)].format(judge), since) for kind, judge, since in fields if since is not None
    ]


def _waiting_applications(project: Project, *, before: datetime) -> list[WaitingWork]:
    applying = Plan.objects.filter(project=project, state=PlanState.APPLYING)
    asked = [datetime.fromisoformat(plan.figures["after"]["queued_at"]) for plan in applying]
    return [WaitingWork("the opening of a plan's pairs to people", since) for since in asked if since < before]
