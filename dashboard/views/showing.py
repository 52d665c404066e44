"""What every page of a project carries: its name, its sections, and a banner when work waits for a worker."""

from typing import Any

from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from annotation.models import Project
from dashboard.waiting import waiting_work

SECTIONS = (
    ("project", "Overview"),
    ("imports", "Import"),
    ("judges", "Judges"),
    ("routing", "Routing"),
    ("pairs", "Pairs"),
    ("people", "People"),
    ("exports", "Export"),
    ("spending", "Spending"),
)


def show(
    request: HttpRequest,
    project: Project,
    template: str,
    section: str,
    context: dict[str, Any] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    """Render a page of a project."""
    shared = {
        "project": project,
        "sections": SECTIONS,
        "section": section,
        "waiting": waiting_work(project, now=timezone.now()),
    }
    return render(request, f"dashboard/{template}", {**shared, **(context or {})}, status=status)


def status_of(form: BaseForm) -> int:
    """Return 422 for a form with errors: what was asked for was not done."""
    return 422 if form.is_bound and form.errors else 200
