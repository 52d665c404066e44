"""Replay."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from annotation.models import Project
from dashboard.access import managed
from dashboard.views.showing import show_routing


@require_GET
@managed
def replays(request: HttpRequest, project: Project) -> HttpResponse:
    """Show the page."""
    return show_routing(request, project, "replays.html", "replays")
