"""Audit: how far judge and labels agree with people, and what can be promised about them."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from annotation.models import Project
from dashboard import charting
from dashboard.access import managed
from dashboard.surveying import surveyed
from dashboard.views.showing import show_tab


@require_GET
@managed
def audit(request: HttpRequest, project: Project) -> HttpResponse:
    """Show estimates with their intervals, the guarantee, and the rounds beside random."""
    survey = surveyed(project)
    charts = {chart.name: chart for chart in charting.offered(project, ("parts", "rounds"))}
    context = {"survey": survey, "report": survey.report, "parts": charts.get("parts"), "rounds": charts.get("rounds")}
    return show_tab(request, project, "audit.html", "audit", context)
