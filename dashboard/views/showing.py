"""What every page of a project carries: its name, its sections, and a banner when work waits for a worker."""

from typing import Any

from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from annotation.models import Project
from dashboard.waiting import waiting_work
from routing.predicting.drifting import reasons_of

SECTIONS = (
    ("project", "Overview"),
    ("imports", "Import"),
    ("guidelines", "Guidelines"),
    ("screen", "Screen"),
    ("judges", "Judges"),
    ("routing", "Routing"),
    ("pairs", "Pairs"),
    ("people", "People"),
    ("crowd", "Crowd"),
    ("agreement", "Agreement"),
    ("reports", "Reports"),
    ("exports", "Export"),
    ("money", "Money"),
)

# The pages of a section that has several, in the order of their tabs: address and title.
TABS = {
    # What people learn by.
    "guidelines": (("guidelines", "Guidelines"), ("training", "Practice and questions")),
    "routing": (
        ("routing", "Plans"),
        ("signals", "Signals"),
        ("replays", "Replay"),
        ("mixes", "Mixes"),
        ("audit", "Audit"),
        ("drift", "Drift"),
    ),
    # Who answers, how they are checked, and what somebody decides after them.
    "people": (("people", "People"), ("checks", "Gold and rules"), ("adjudication", "Adjudication")),
}


def show_tab(
    request: HttpRequest,
    project: Project,
    template: str,
    tab: str,
    context: dict[str, Any] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    """Render a page of a section that has several; its template extends the section's layout or includes its tabs."""
    section = next(section for section, tabs in TABS.items() if tab in dict(tabs))
    shared: dict[str, Any] = {"tabs": TABS[section], "tab": tab}
    if section == "routing":
        shared["alarm"] = reasons_of(project)
    return show(request, project, template, section, {**shared, **(context or {})}, status=status)


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
