"""Publishing an export: begun, watched, tried again, and made public on a page of its own."""

from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.models import Project, User
from dashboard.access import managed
from dashboard.publication_forms import PublicForm, PublishForm
from dashboard.views.showing import show, status_of
from exports.errors import ExportError
from exports.models import Place, Publication, PublicationState, Snapshot, SnapshotState
from exports.publishing.queueing import queue_publication, try_again


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def publish(request: HttpRequest, project: Project, snapshot_id: UUID) -> HttpResponse:
    """Publish a finished export on the Hub, private."""
    snapshot = get_object_or_404(Snapshot, project=project, pk=snapshot_id, state=SnapshotState.DONE)
    last = Publication.objects.filter(project=project, place=Place.HUB).exclude(commit="").first()
    initial = {"tag": f"v{snapshot.number}", "target": last.target if last else ""}
    form = PublishForm(request.POST or None, initial=initial)
    if form.is_valid():
        assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
        values = form.cleaned_data
        try:
            publication = queue_publication(
                snapshot, values["target"], tag=values["tag"], onto=values["onto"], created_by=request.user
            )
        except ExportError as error:
            form.add_error(None, str(error))
        else:
            return redirect("publication", project.slug, publication.pk)
    context = {
        "snapshot": snapshot,
        "form": form,
        "hub": settings.HUB_URL,
        "has_token": bool(settings.HUB_TOKEN),
        "publications": Publication.objects.filter(snapshot=snapshot),
    }
    return show(request, project, "publish.html", "exports", context, status=status_of(form))


@require_GET
@managed
def publication(request: HttpRequest, project: Project, publication_id: UUID) -> HttpResponse:
    """Show a publication: how far it is, where it lies, or why it was not made."""
    context = {"publication": _of(project, publication_id)}
    if request.headers.get("HX-Request") == "true":
        return render(request, "dashboard/_publication.html", {"project": project, **context})
    return show(request, project, "publication.html", "exports", context)


@require_POST
@managed
def publish_again(request: HttpRequest, project: Project, publication_id: UUID) -> HttpResponse:
    """Go on with a publication that failed."""
    asked = _of(project, publication_id)
    try:
        try_again(asked)
    except ExportError as error:
        context = {"publication": asked, "refused": str(error)}
        return show(request, project, "publication.html", "exports", context, status=409)
    return redirect("publication", project.slug, asked.pk)


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def make_public(request: HttpRequest, project: Project, publication_id: UUID) -> HttpResponse:
    """Have everybody read a published dataset, after its name was typed."""
    asked = get_object_or_404(
        Publication,
        project=project,
        pk=publication_id,
        place=Place.HUB,
        state=PublicationState.DONE,
        is_public=False,
    )
    form = PublicForm(request.POST or None)
    if form.is_valid():
        try:
            try_again(asked, public=form.cleaned_data["name"])
        except ExportError as error:
            form.add_error("name", str(error))
        else:
            return redirect("publication", project.slug, asked.pk)
    context = {"publication": asked, "form": form}
    return show(request, project, "make_public.html", "exports", context, status=status_of(form))


def _of(project: Project, publication_id: UUID) -> Publication:
    return get_object_or_404(Publication.objects.select_related("snapshot"), project=project, pk=publication_id)
