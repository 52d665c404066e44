"""Files on their way in."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from annotation.errors import AnnotationError
from annotation.importing import OnError, queue_import
from annotation.models import Import, Project, User
from dashboard.access import managed
from dashboard.forms import ImportForm
from dashboard.views.showing import show, status_of

LISTED = 50


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def imports(request: HttpRequest, project: Project) -> HttpResponse:
    """List the imports and take a new file."""
    form = ImportForm(request.POST or None, request.FILES or None)
    if form.is_valid():
        try:
            job = _queue(request, project, form.cleaned_data)
        except AnnotationError as error:
            form.add_error("mapping" if "field map" in str(error).lower() else "file", str(error))
        else:
            return redirect("import", project.slug, job.pk)
    context = {"form": form, "jobs": Import.objects.filter(project=project)[:LISTED]}
    return show(request, project, "imports.html", "imports", context, status=status_of(form))


@require_GET
@managed
def import_page(request: HttpRequest, project: Project, import_id: UUID) -> HttpResponse:
    """Show how far an import is and what came of it; asked by htmx, only the part that changes."""
    job = get_object_or_404(Import, project=project, pk=import_id)
    running = job.state in (Import.State.QUEUED, Import.State.RUNNING)
    context = {"job": job, "running": running, "report": job.report}
    if request.headers.get("HX-Request") == "true":
        return render(request, "dashboard/_import.html", {"project": project, **context})
    return show(request, project, "import.html", "imports", context)


def _queue(request: HttpRequest, project: Project, values: dict[str, Any]) -> Import:
    assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
    return queue_import(
        project,
        values["file"],
        format=values["format"],
        field_map=values["mapping"],
        on_error=OnError(values["on_error"]),
        dry_run=values["dry_run"],
        created_by=request.user,
    )
