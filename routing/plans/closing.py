"""Which of people's tasks a plan that is drawn again may take back, and which routes are left then."""

from django.db.models import Exists, OuterRef, Q, QuerySet

from annotation.models import Project, Task, TaskState, Tier
from annotation.opening import untouched_tasks
from annotation.slating import asked_in
from routing.models import PlanState, Route, RouteSource


def closable_tasks(project: Project) -> "QuerySet[Task]":
    """Return the open crowd tasks that the router chose and that nobody holds or has answered.

    The audit slices of applied plans stay: which of them are answered must not depend on what is known by now.
    """
    audited = Route.objects.filter(plan__project=project, plan__state=PlanState.APPLIED, source=RouteSource.AUDIT)
    return untouched_tasks(project).exclude(pair_id__in=audited.values("pair_id"))


def asked_routes() -> "QuerySet[Route]":
    """Return the routes of applied plans by which people are asked: not those that were taken back.

    A pair that the router chose first and a later plan drew at random stands under the later.
    """
    applied = Route.objects.filter(plan__state=PlanState.APPLIED)
    audited = applied.filter(source=RouteSource.AUDIT, pair=OuterRef("pair"))
    closed = asked_in(Task.objects.filter(tier=Tier.CROWD, state=TaskState.CLOSED), pair="pair__")
    chosen = Q(source=RouteSource.PEOPLE) & ~closed & ~Exists(audited)
    return applied.filter(Q(source=RouteSource.AUDIT) | chosen)
