"""Adding a judge: its kind first, then only what that kind needs; and probing its server."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST

from annotation.models import Project
from dashboard.access import managed
from dashboard.judge_forms import KINDS, PROTOCOLS, SERVERS, TITLES, JudgeForm, form_of
from dashboard.quoting import Preview, Sent, preview
from dashboard.views.showing import show, status_of
from judges.defining import SERVED, add_judge
from judges.errors import JudgeError
from judges.models import JudgeKind, JudgeVersion
from judges.probing import probe

# Kinds whose prompt is worth reading before there is a judge.
PREVIEWED = {*SERVED, JudgeKind.GPU}


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def new_judge(request: HttpRequest, project: Project) -> HttpResponse:
    """Offer the kinds; with `?kind=` show that kind's form, and with POST add the judge or show its prompt."""
    kind = request.GET.get("kind", "")
    if not kind:
        return show(request, project, "new_judge.html", "judges", {"kinds": KINDS})
    if kind not in TITLES:
        raise Http404("No such kind of judge.")
    server = next((one for one in SERVERS if one.name == request.GET.get("server")), None)
    form = form_of(project, kind, request.POST or None, server=server)
    context = {
        "form": form,
        "kind": kind,
        "title": TITLES[kind],
        "servers": SERVERS if kind in SERVED else (),
        "server": server,
        "protocols": PROTOCOLS,
        "has_preview": kind in PREVIEWED,
    }
    if request.method == "POST" and form.is_valid():
        if "preview" in request.POST:
            return show(
                request,
                project,
                "new_judge.html",
                "judges",
                {**context, "preview": _preview(project, form)},
            )
        version = _add(project, form)
        if version is not None:
            messages.success(request, f"{version} is there. {_next_step(version)}")
            return redirect("judge", project.slug, version.pk)
    return show(request, project, "new_judge.html", "judges", context, status=status_of(form))


@require_POST
@managed
def probe_judge(request: HttpRequest, project: Project, version_id: UUID) -> HttpResponse:
    """Ask a version's server what it can do; a few tiny questions, answered within a bound."""
    versions = JudgeVersion.objects.filter(judge__project=project).select_related("judge")
    version = get_object_or_404(versions, pk=version_id)
    try:
        found = probe(version)
    except JudgeError as error:
        messages.error(request, str(error))
    else:
        if found.error:
            messages.error(request, f"The server could not be probed. {found.error}")
        else:
            messages.success(request, "The server answered; what it can do is listed below.")
    return redirect("judge", project.slug, version.pk)


def _add(project: Project, form: JudgeForm) -> JudgeVersion | None:
    """Return the new version, or None with the error at its field."""
    try:
        return add_judge(project, **form.definition())
    except JudgeError as error:
        form.place(str(error))
        return None


def _preview(project: Project, form: JudgeForm) -> Preview:
    try:
        return preview(project, form.definition())
    except JudgeError as error:
        return Preview(Sent([]), str(error))


def _next_step(version: JudgeVersion) -> str:
    if version.judge.kind in SERVED:
        return "Probe its server, then test it on 5 pairs."
    return "Test it on 5 pairs, or have it label them all."
