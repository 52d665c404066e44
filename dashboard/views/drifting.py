"""Drift: whether what the applied plan was drawn on still holds, and how the predictor was fitted again."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from annotation.models import Project
from dashboard import charting
from dashboard.access import managed
from dashboard.views.showing import show_tab
from dashboard.watching import RULE, watch
from routing.predicting.alarming import SCORE_LIMIT
from routing.predicting.refitting import ask_refit


@require_GET
@managed
def drift(request: HttpRequest, project: Project) -> HttpResponse:
    """Show the last check and the fits; the part that changes while a worker is at it renders alone for htmx."""
    found = watch(project, now=timezone.now())
    context = {
        "watch": found,
        "rule": RULE,
        "score_limit": SCORE_LIMIT,
        "charts": charting.offered(project, ("drift", "ways", "fits")),
    }
    if request.headers.get("HX-Request") == "true":
        return render(request, "dashboard/_drift.html", {"project": project, **context})
    return show_tab(request, project, "drift.html", "drift", context)


@require_POST
@managed
def check(request: HttpRequest, project: Project) -> HttpResponse:
    """Have a worker fit the predictor again and look for drift."""
    ask_refit(project)
    messages.success(request, "A worker fits the predictor again and compares. This page shows what it finds.")
    return redirect("drift", project.slug)
