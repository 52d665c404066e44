"""Plans: drawn, looked at, applied."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.defaultfilters import pluralize
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.errors import TiebreakError
from annotation.models import Project, User
from dashboard import charting
from dashboard.access import managed
from dashboard.forms import PlanForm
from dashboard.views.showing import show, show_routing, status_of
from routing.models import Plan, PlanState, RouteSource
from routing.planning import apply_plan, draw_plan

TOP = 20


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def routing(request: HttpRequest, project: Project) -> HttpResponse:
    """List the plans and draw one; drawing opens nothing to people."""
    form = PlanForm(request.POST or None, project=project)
    if form.is_valid():
        assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
        values = form.cleaned_data
        try:
            plan = draw_plan(
                project,
                budget=values["budget"],
                judge=values["judge"] or None,
                audit_share=float(values["audit_percent"] / 100),
                seed=values["seed"],
                created_by=request.user,
            )
        except TiebreakError as error:
            form.add_error("judge" if "judge" in str(error).lower() else "value", str(error))
        else:
            return redirect("plan", project.slug, plan.pk)
    context = {"form": form, "plans": Plan.objects.filter(project=project).defer("predictor")}
    return show_routing(request, project, "routing.html", "routing", context, status=status_of(form))


@require_GET
@managed
def plan(request: HttpRequest, project: Project, plan_id: UUID) -> HttpResponse:
    """Show what a plan would do, before it is applied and after."""
    found = get_object_or_404(Plan.objects.select_related("created_by"), project=project, pk=plan_id)
    people = found.routes.filter(source=RouteSource.PEOPLE).select_related("pair")
    chart = charting.frontier_of(found)
    context = {
        "plan": found,
        "figures": found.figures,
        # Not the budget's pairs: where the judge has labelled fewer than those, a plan asks about fewer.
        "asked": found.figures["counts"]["people"] + found.figures["counts"]["audit"],
        "is_draft": found.state == PlanState.DRAFT,
        "top": people.order_by("-p_wrong", "pair_id")[:TOP],
        "charts": [chart] if chart else [],
    }
    return show(request, project, "plan.html", "routing", context)


@require_POST
@managed
def apply(request: HttpRequest, project: Project, plan_id: UUID) -> HttpResponse:
    """Open a plan's pairs to people."""
    found = get_object_or_404(Plan, project=project, pk=plan_id)
    try:
        opened = apply_plan(found)
    except TiebreakError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{opened:,} pair{pluralize(opened, ' is,s are')} open to people.")
    return redirect("plan", project.slug, found.pk)
