"""Every report of a project on one page, each also alone and as JSON."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotation.models import Project
from dashboard import charting, telling
from dashboard.access import managed
from dashboard.remembering import report as remembered_report
from dashboard.views.showing import show
from exports.reporting.telling import rows_of, told


@require_GET
@managed
def reports(request: HttpRequest, project: Project) -> HttpResponse:
    """Show a section for each report; each is fetched when it comes into view, since some take seconds."""
    return show(request, project, "reports.html", "reports", {"reports": telling.SECTIONS})


@require_GET
@managed
def report(request: HttpRequest, project: Project, name: str) -> HttpResponse:
    """Show one report: as a page, or for htmx as the part of a page that it is."""
    context = _context(project, _known(name))
    if request.headers.get("HX-Request") == "true":
        return render(request, "dashboard/_report.html", {"project": project, **context})
    return show(request, project, "report.html", "reports", {"reports": telling.SECTIONS, **context})


@require_GET
@managed
def report_json(request: HttpRequest, project: Project, name: str) -> HttpResponse:
    """Return a report as `manage.py report --json` prints it."""
    return JsonResponse(remembered_report(project, _known(name).name))


def _known(name: str) -> telling.Section:
    if name not in telling.BY_NAME:
        raise Http404("No such report.")
    return telling.BY_NAME[name]


def _context(project: Project, section: telling.Section) -> dict[str, Any]:
    found = remembered_report(project, section.name)
    sentences, more = told(section.name, found)
    rows = rows_of(found)
    return {
        "section_of": section,
        "report": found,
        "told": sentences,
        "more": more,
        "rows": rows[: telling.MOST_ROWS],
        "left_out": max(0, len(rows) - telling.MOST_ROWS),
        "charts": charting.offered(project, section.charts),
    }
