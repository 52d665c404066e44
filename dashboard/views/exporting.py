"""Exports: start one, watch it, fetch its files."""

from pathlib import Path
from uuid import UUID

from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from annotation.models import Project, User
from dashboard.access import managed
from dashboard.forms import ExportForm
from dashboard.views.showing import show, status_of
from exports.errors import ExportError
from exports.models import Snapshot, SnapshotState
from exports.snapshotting import queue_snapshot

UNFINISHED = (SnapshotState.QUEUED, SnapshotState.RUNNING)


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def exports(request: HttpRequest, project: Project) -> HttpResponse:
    """List the snapshots and start one."""
    form = ExportForm(request.POST or None)
    if form.is_valid():
        assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
        try:
            snapshot = queue_snapshot(project, profiles=("dpo",), settings=form.settings(), created_by=request.user)
        except ExportError as error:
            form.add_error(None, str(error))
        else:
            return redirect("export", project.slug, snapshot.pk)
    context = {"form": form, "snapshots": Snapshot.objects.filter(project=project).defer("report")}
    return show(request, project, "exports.html", "exports", context, status=status_of(form))


@require_GET
@managed
def export(request: HttpRequest, project: Project, snapshot_id: UUID) -> HttpResponse:
    """Show a snapshot: its state, what is in it, what was left out and why, its files."""
    snapshot = get_object_or_404(Snapshot, project=project, pk=snapshot_id)
    context = {"snapshot": snapshot, "running": snapshot.state in UNFINISHED}
    if request.headers.get("HX-Request") == "true":
        return render(request, "dashboard/_export.html", {"project": project, **context})
    return show(request, project, "export.html", "exports", context)


@require_GET
@managed
def export_file(request: HttpRequest, project: Project, snapshot_id: UUID, path: str) -> HttpResponseBase:
    """Send one of a snapshot's files, always as a download and never as a page.

    Only a path that the snapshot lists is opened, so no path can lead out of its folder.
    """
    snapshot = get_object_or_404(Snapshot, project=project, pk=snapshot_id, state=SnapshotState.DONE)
    if path not in {file["path"] for file in snapshot.files}:
        raise Http404("No such file in this export.")
    file = Path(snapshot.folder) / path
    if not file.is_file():
        raise Http404(f"{path} is gone from the export folder; export again with the same settings.")
    name = f"{project.slug}-{snapshot.number}-{path.replace('/', '-')}"
    return FileResponse(
        file.open("rb"),
        as_attachment=True,
        filename=name,
        content_type="application/octet-stream",
        headers={"X-Content-Type-Options": "nosniff"},
    )
