"""What becomes of an applied plan: how far people are, and planning again with what came in."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from annotation.errors import TiebreakError
from annotation.models import Project, User
from dashboard.access import managed
from dashboard.progressing import plan_progress
from routing.models import Plan
from routing.plans.replanning import queue_replan


@require_GET
@managed
def progress(request: HttpRequest, project: Project, plan_id: UUID, state: str) -> HttpResponse:
    """Show how far a plan is: the part that htmx asks for again. `state` is what the page around it shows."""
    plan = get_object_or_404(Plan.objects.select_related("project"), project=project, pk=plan_id)
    if request.headers.get("HX-Request") != "true":
        return redirect("plan", project.slug, plan.pk)
    if plan.state != state:
        # More than this part is another now.
        return HttpResponse(headers={"HX-Refresh": "true"})
    context = {"project": project, "plan": plan, "progress": plan_progress(plan)}
    return render(request, "dashboard/_plan_progress.html", context)


@require_POST
@managed
def replan(request: HttpRequest, project: Project) -> HttpResponse:
    """Have the last applied plan drawn again with what came in, as a draft."""
    assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
    try:
        plan = queue_replan(project, created_by=request.user)
    except TiebreakError as error:
        messages.error(request, str(error))
        return redirect("routing", project.slug)
    return redirect("plan", project.slug, plan.pk)
