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
    ("exports", "Export"),
    ("money", "Money"),
)

# The pages of routing, in the order of their tabs: address and title.
ROUTING_TABS = (
    ("routing", "Plans"),
    ("signals", "Signals"),
    ("replays", "Replay"),
    ("mixes", "Mixes"),
    ("audit", "Audit"),
    ("drift", "Drift"),
)

# What people learn by.
GUIDELINES_TABS = (("guidelines", "Guidelines"), ("training", "Practice and questions"))


def show_guidelines(
    request: HttpRequest,
    project: Project,
    template: str,
    tab: str,
    context: dict[str, Any] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    """Render one of the pages of guidelines; its template extends `dashboard/_guidelines_layout.html`."""
    tabs = {"tabs": GUIDELINES_TABS, "tab": tab}
    return show(request, project, template, "guidelines", {**tabs, **(context or {})}, status=status)


# Who answers, how they are checked, and what somebody decides after them.
PEOPLE_TABS = (("people", "People"), ("checks", "Gold and rules"), ("adjudication", "Adjudication"))


def show_people(
    request: HttpRequest,
    project: Project,
    template: str,
    tab: str,
    context: dict[str, Any] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    """Render one of the pages of people; its template includes `dashboard/_people_tabs.html`."""
    tabs = {"tabs": PEOPLE_TABS, "tab": tab}
    return show(request, project, template, "people", {**tabs, **(context or {})}, status=status)


def show_routing(
    request: HttpRequest,
    project: Project,
    template: str,
    tab: str,
    context: dict[str, Any] | None = None,
    *,
    status: int = 200,
) -> HttpResponse:
    """Render one of the pages of routing; its template extends `dashboard/_routing_layout.html`."""
    tabs = {"tabs": ROUTING_TABS, "tab": tab, "alarm": reasons_of(project)}
    return show(request, project, template, "routing", {**tabs, **(context or {})}, status=status)


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
