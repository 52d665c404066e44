"""Exports: start one, watch it, fetch its files, share one by a link, compare two, delete one."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

from django.contrib import messages
from django.db.models import Count
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe

from annotation.models import Project, User
from dashboard.access import managed
from dashboard.export_forms import CompareForm, ExportForm, LinkForm
from dashboard.views.showing import show, status_of
from exports.comparing import compare_snapshots
from exports.erasing import warning_of
from exports.errors import ExportError
from exports.models import Publication, Snapshot, SnapshotState
from exports.sharing import open_link, sign_link
from exports.snapshotting import delete_snapshot, queue_snapshot, snapshot_numbered

UNFINISHED = (SnapshotState.QUEUED, SnapshotState.RUNNING)


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def exports(request: HttpRequest, project: Project) -> HttpResponse:
    """List the snapshots and start one."""
    form = ExportForm(request.POST or None, project=project)
    if form.is_valid():
        assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
        profiles = form.cleaned_data["profiles"]
        try:
            snapshot = queue_snapshot(project, profiles=profiles, settings=form.settings(), created_by=request.user)
        except ExportError as error:
            form.add_error(None, str(error))
        else:
            return redirect("export", project.slug, snapshot.pk)
    snapshots = Snapshot.objects.filter(project=project).defer("report", "files")
    done = snapshots.filter(state=SnapshotState.DONE).count()
    context = {
        "form": form,
        "snapshots": snapshots.annotate(erased=Count("erasures")).order_by("-created_at"),
        "compare_form": CompareForm(project=project) if done > 1 else None,
        "publications": Publication.objects.filter(project=project),
    }
    return show(request, project, "exports.html", "exports", context, status=status_of(form))


@require_GET
@managed
def export(request: HttpRequest, project: Project, snapshot_id: UUID) -> HttpResponse:
    """Show a snapshot: its state, what is in it, what was left out and why, its files."""
    snapshot = get_object_or_404(Snapshot, project=project, pk=snapshot_id)
    if request.headers.get("HX-Request") == "true":
        context = {"project": project, **_shown(snapshot)}
        return render(request, "dashboard/_export.html", context)
    return show(request, project, "export.html", "exports", _shown(snapshot))


def _shown(snapshot: Snapshot) -> dict[str, object]:
    return {
        "snapshot": snapshot,
        "running": snapshot.state in UNFINISHED,
        "warning": warning_of(snapshot),
        "link_form": LinkForm(snapshot=snapshot) if snapshot.state == SnapshotState.DONE else None,
    }


@require_POST
@managed
def share_export(request: HttpRequest, project: Project, snapshot_id: UUID) -> HttpResponse:
    """Make a link to one of a snapshot's files, and show it: it is stored nowhere."""
    snapshot = get_object_or_404(Snapshot, project=project, pk=snapshot_id, state=SnapshotState.DONE)
    form = LinkForm(request.POST, snapshot=snapshot)
    context = {**_shown(snapshot), "link_form": form}
    if form.is_valid():
        lasts = timedelta(hours=form.cleaned_data["hours"])
        token = sign_link(snapshot, form.cleaned_data["path"], now=timezone.now(), lasts=lasts)
        context["link"] = request.build_absolute_uri(reverse("shared_file", args=[token]))
        context["link_until"] = timezone.now() + lasts
    return show(request, project, "export.html", "exports", context, status=status_of(form))


@require_POST
@managed
def delete_export(request: HttpRequest, project: Project, snapshot_id: UUID) -> HttpResponse:
    """Delete a snapshot's files and reports for good."""
    snapshot = get_object_or_404(Snapshot, project=project, pk=snapshot_id)
    try:
        delete_snapshot(snapshot, now=timezone.now())
    except ExportError as error:
        messages.error(request, str(error))
        return redirect("export", project.slug, snapshot.pk)
    messages.success(request, f"Export {snapshot.number} is deleted, with its files.")
    return redirect("exports", project.slug)


@require_GET
@managed
def compare_exports(request: HttpRequest, project: Project) -> HttpResponse:
    """Show what changed between two snapshots."""
    form = CompareForm(request.GET, project=project)
    context: dict[str, object] = {"compare_form": form}
    if form.is_valid():
        try:
            before, after = (snapshot_numbered(project, int(form.cleaned_data[name])) for name in ("before", "after"))
            context |= {"before": before, "after": after, "changes": compare_snapshots(before, after)}
        except ExportError as error:
            form.add_error(None, str(error))
    return show(request, project, "export_changes.html", "exports", context)


@require_GET
@managed
def export_file(request: HttpRequest, project: Project, snapshot_id: UUID, path: str) -> HttpResponseBase:
    """Send one of a snapshot's files, always as a download and never as a page.

    Only a path that the snapshot lists is opened, so no path can lead out of its folder.
    """
    snapshot = get_object_or_404(Snapshot, project=project, pk=snapshot_id, state=SnapshotState.DONE)
    if path not in {file["path"] for file in snapshot.files}:
        raise Http404("No such file in this export.")
    if not (Path(snapshot.folder) / path).is_file():
        raise Http404(f"{path} is gone from the export folder; export again with the same settings.")
    return _told_first(request, snapshot) or _download(snapshot, path)


@require_safe
@never_cache
def shared_file(request: HttpRequest, token: str) -> HttpResponseBase:
    """Send the file of a link to whoever holds it, until it runs out."""
    try:
        shared = open_link(token, now=timezone.now())
    except ExportError as error:
        raise Http404(str(error)) from error
    return _told_first(request, shared.snapshot) or _download(shared.snapshot, shared.path)


def _told_first(request: HttpRequest, snapshot: Snapshot) -> HttpResponse | None:
    """Return the page that warns of an export with answers of erased people, unless its link was followed."""
    warning = warning_of(snapshot)
    if not warning or request.GET.get("all_the_same") == "1":
        return None
    return render(request, "dashboard/still_holding.html", {"warning": warning}, status=409)


def _download(snapshot: Snapshot, path: str) -> FileResponse:
    name = f"{snapshot.project.slug}-{snapshot.number}-{path.replace('/', '-')}"
    return FileResponse(
        (Path(snapshot.folder) / path).open("rb"),
        as_attachment=True,
        filename=name,
        content_type="application/octet-stream",
        headers={"X-Content-Type-Options": "nosniff"},
    )
