"""Plans drawn by a worker: a plan waits as a row, a message only says that it does."""

from datetime import datetime, timedelta
from typing import Unpack
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from annotation.errors import TiebreakError
from annotation.models import Preference, Project
from annotation.publishing import wake
from routing.models import Plan, PlanState
from routing.plans.planning import PlanRequest, new_plan, store_plan, work_out
from routing.plans.trusting import choose_judge

TASK = "routing.tasks.draw_plan"
# A message that is younger may still be on its way; drawing twice at once does no harm, but costs a worker's time.
LOST_AFTER = timedelta(seconds=60)
# A worker that drew for longer than this has died: 100,000 pairs take minutes.
GIVEN_UP_AFTER = timedelta(minutes=15)


def queue_plan(project: Project, **request: Unpack[PlanRequest]) -> Plan:
    """Have a worker draw a plan: `routing.plans.planning.draw_plan` as a job. Raises `RoutingError` for what cannot be.

    A broker that is down loses nothing: the row waits, and `send_waiting_plans` sends it again.
    """
    if not Preference.objects.counted().of_judges().filter(pair__project=project).exists():
        # Said at once, where the name of a judge that is missing would only be found by the worker.
        choose_judge(project, request.get("judge"))
    plan = new_plan(project, **request)
    with transaction.atomic():
        plan.save()
        transaction.on_commit(lambda: _send(plan.pk))
    return plan


def draw_queued(plan_id: UUID | str) -> None:
    """Draw a plan that waits. Idempotent: one that is drawn, failed or deleted is left alone.

    Of two workers that draw the same plan the first to end writes it. What goes wrong in words for a person ends in the
    plan's `error`; any other exception does too, and is raised.
    """
    plan = Plan.objects.select_related("project", "replaces").filter(pk=plan_id, state=PlanState.DRAWING).first()
    if plan is None:
        return
    waiting = Plan.objects.filter(pk=plan.pk, state=PlanState.DRAWING)
    waiting.update(figures={"began_at": timezone.now().isoformat()})
    try:
        drawn = work_out(plan)
        with transaction.atomic():
            if waiting.select_for_update().first() is not None:
                store_plan(plan, drawn)
    except TiebreakError as error:
        waiting.update(state=PlanState.FAILED, error=str(error), figures={})
    except Exception:
        text = (
            "Something broke while it was drawn; the log of the worker says what. Draw it again, or tell the operator."
        )
        waiting.update(state=PlanState.FAILED, error=text, figures={})
        raise


def send_waiting_plans(*, now: datetime) -> int:
    """Send the plans again whose message or worker was lost; return how many messages left."""
    waiting = Plan.objects.filter(state=PlanState.DRAWING, created_at__lt=now - LOST_AFTER).order_by("created_at")
    sent = 0
    for plan in waiting:
        if is_being_drawn(plan, now=now):
            continue
        if not _send(plan.pk):
            break
        sent += 1
    return sent


def is_being_drawn(plan: Plan, *, now: datetime) -> bool:
    """Say whether a worker has taken a waiting plan up, and may still be at it."""
    began = plan.figures.get("began_at") if plan.state == PlanState.DRAWING else None
    return began is not None and now - datetime.fromisoformat(began) < GIVEN_UP_AFTER


def _send(plan_id: UUID) -> bool:
    return wake([TASK], {"plan_id": str(plan_id)})
