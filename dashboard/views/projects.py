"""Projects: the list, a new one, and a project's home."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.template.defaultfilters import pluralize
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.creating import create_project
from annotation.errors import AnnotationError, QuestionnaireInvalid
from annotation.joining.openid import configuring
from annotation.models import Membership, Project, Role, User
from dashboard import charting, remembering
from dashboard.access import managed, signed_in
from dashboard.forms import ProjectForm
from dashboard.summarising import flow_of, has_unresolved, measured_agreement, money_of, needs_of, project_rows
from dashboard.views.showing import show, status_of
from routing.labels.resolving import resolve_labels
from routing.predicting.drifting import reasons_of


@require_GET
@signed_in
def home(request: HttpRequest, user: User) -> HttpResponse:
    """List the projects a person manages, decides or answers in; who only answers has a page of their own."""
    managed_by = list(Project.objects.managed_by(user))
    others = Project.objects.filter(memberships__user=user).exclude(pk__in=[project.pk for project in managed_by])
    mine = Membership.objects.filter(user=user, role=Role.ADJUDICATOR)
    deciding = list(others.filter(memberships__in=mine))
    answering = list(others.exclude(memberships__in=mine))
    if not managed_by and not deciding and answering:
        return redirect("annotate_index")
    lists = {"rows": project_rows(managed_by), "answering": answering, "deciding": deciding}
    return render(request, "dashboard/home.html", {**lists, "provider": configuring.label()})


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new_project(request: HttpRequest, user: User) -> HttpResponse:
    """Make a project; who makes it manages it."""
    form = ProjectForm(request.POST or None)
    if form.is_valid():
        try:
            project = create_project(manager=user, **form.project())
        except QuestionnaireInvalid as error:
            form.refuse(error)
        except AnnotationError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"{project.title} is there. Import a file of pairs to begin.")
            return redirect("imports", project.slug)
    return render(request, "dashboard/new_project.html", {"form": form}, status=status_of(form))


@require_GET
@managed
def project(request: HttpRequest, project: Project) -> HttpResponse:
    """Show what is going on, what it costs and what to do next."""
    version = remembering.data_version(project)
    judges = remembering.judge_rows(project, version)
    flow = flow_of(project)
    context = {
        "flow": flow,
        "unresolved": flow.unlabelled > 0
        and remembering.remembered(f"unresolved:{version}", lambda: has_unresolved(project)),
        "money": money_of(project),
        "agreement": remembering.remembered(f"agreement:{version}", lambda: measured_agreement(project)),
        "spending": remembering.report(project, "spending", version),
        "needs": needs_of(project, flow, judges),
        "alarm": reasons_of(project),
        "charts": charting.offered(project, ("answers", "frontier")),
    }
    return show(request, project, "project.html", "project", context)


@require_POST
@managed
def set_status(request: HttpRequest, project: Project) -> HttpResponse:
    """Pause a project for people, or go on; answers under way are still taken."""
    status = request.POST.get("status", "")
    if status not in Project.Status.values:
        raise Http404("No such status.")
    Project.objects.filter(pk=project.pk).update(status=status)
    paused = status == Project.Status.PAUSED
    messages.success(request, "Paused: nobody gets a new pair." if paused else "Running: people get pairs again.")
    return redirect("project", project.slug)


@require_POST
@managed
def resolve(request: HttpRequest, project: Project) -> HttpResponse:
    """Make the labels again from the answers there are."""
    labelled = resolve_labels(project)
    messages.success(request, f"{labelled:,} pair{pluralize(labelled)} now {pluralize(labelled, 'has,have')} a label.")
    return redirect("project", project.slug)
