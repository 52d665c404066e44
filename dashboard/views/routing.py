"""Plans: drawn, looked at, applied."""

from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.errors import TiebreakError
from annotation.models import Project, User
from dashboard import charting, planning
from dashboard.access import managed
from dashboard.forms import PlanForm
from dashboard.progressing import plan_progress
from dashboard.views.showing import show, show_tab, status_of
from routing.auditing.comparing import HELPS_NOT, compare_rounds
from routing.models import Plan, PlanState
from routing.plans.applying import queue_apply
from routing.plans.frontier import frontier_of
from routing.plans.queueing import is_being_drawn, queue_plan

TOP = 5


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def routing(request: HttpRequest, project: Project) -> HttpResponse:
    """List the plans and have one drawn; drawing opens nothing to people."""
    form = PlanForm(request.POST or None, project=project)
    if form.is_valid():
        assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
        values = form.cleaned_data
        try:
            plan = queue_plan(
                project,
                budget=values["budget"],
                judge=values["judge"] or None,
                audit_share=float(values["audit_percent"] / 100),
                seed=values["seed"],
                created_by=request.user,
                options=values["options"],
            )
        except TiebreakError as error:
            form.add_error("judge" if "judge" in str(error).lower() else "value", str(error))
        else:
            return redirect("plan", project.slug, plan.pk)
    plans = Plan.objects.filter(project=project).defer("predictor")
    compared = compare_rounds(project)
    context = {
        "form": form,
        "judged": planning.any_judged(project),
        "plans": [(plan, planning.budget_text(plan)) for plan in plans],
        "verdict": compared.text,
        "helps_not": compared.outcome == HELPS_NOT,
    }
    return show_tab(request, project, "routing.html", "routing", context, status=status_of(form))


@require_GET
@managed
def plan(request: HttpRequest, project: Project, plan_id: UUID) -> HttpResponse:
    """Show what a plan would do, before it is applied and after; while it is drawn the page asks again by itself."""
    found = get_object_or_404(_plans(project), pk=plan_id)
    context = {"plan": found, "budget": planning.budget_text(found), "settings": planning.settings_of(found)}
    if found.state not in planning.DRAWN:
        context["begun"] = is_being_drawn(found, now=timezone.now())
        if request.headers.get("HX-Request") == "true":
            return render(request, "dashboard/_plan_state.html", {**context, "project": project})
        return show(request, project, "plan_waiting.html", "routing", context)
    if request.headers.get("HX-Request") == "true":
        # It was drawn since the last look: the browser loads the whole page.
        return HttpResponse(headers={"HX-Refresh": "true"})
    counts = found.figures["counts"]
    zones = planning.zones_of(found)
    chart = charting.frontier_of(found)
    context |= {
        "figures": found.figures,
        # Not the budget's pairs: where the judge has labelled fewer than those, a plan asks about fewer.
        "asked": counts["people"] + counts["audit"],
        "is_draft": found.state == PlanState.DRAFT,
        "zones": zones,
        "zoned": sum(zone.pairs for zone in zones),
        "frontier": frontier_of(found),
        "charts": [chart] if chart else [],
        "top": planning.reasoned(found, list(planning.routes_of(found, "people")[:TOP])),
        "changes": planning.changes_since(found),
        "progress": plan_progress(found),
    }
    return show(request, project, "plan.html", "routing", context)


@require_GET
@managed
def why(request: HttpRequest, project: Project, plan_id: UUID) -> HttpResponse:
    """Show samples of each zone of a plan with the reasons of each pair, or with `?zone=` all of one zone."""
    found = get_object_or_404(_plans(project).filter(state__in=planning.DRAWN), pk=plan_id)
    zones = planning.zones_of(found)
    zone = next((one for one in zones if one.key == request.GET.get("zone", "")), None)
    context = {"plan": found, "figures": found.figures, "zones": zones, "zone": zone}
    if zone is None:
        context["samples"] = planning.samples_of(found)
    else:
        context["page"], routes = planning.page_of_routes(found, zone.key, request.GET.get("page", "1"))
        context["samples"] = [planning.Sample(zone, routes)]
    return show(request, project, "why.html", "routing", context)


@require_POST
@managed
def apply(request: HttpRequest, project: Project, plan_id: UUID) -> HttpResponse:
    """Have a worker open a plan's pairs to people."""
    found = get_object_or_404(_plans(project), pk=plan_id)
    try:
        queue_apply(found)
    except TiebreakError as error:
        messages.error(request, str(error))
    return redirect("plan", project.slug, found.pk)


def _plans(project: Project) -> QuerySet[Plan]:
    return Plan.objects.filter(project=project).select_related("project", "created_by", "replaces")
