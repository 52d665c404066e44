"""Replays: asked for, followed, read."""

from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.utils.text import slugify
from django.views.decorators.http import require_GET, require_http_methods

from annotation.models import Project
from dashboard import charting
from dashboard.access import managed
from dashboard.studies import followed, judges_to_replay, listed, replay_tables
from dashboard.study_forms import ReplayForm
from dashboard.views.showing import show_tab, status_of
from dashboard.views.studying import queued
from routing.models import Study, StudyKind, StudyState


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def replays(request: HttpRequest, project: Project) -> HttpResponse:
    """List the replays and ask for one; it changes no label and opens nothing to people."""
    judges = judges_to_replay(project)
    ready = [one for one in judges if not one.reason]
    form = ReplayForm(request.POST or None, project=project, judges=ready)
    if way := queued(request, project, StudyKind.REPLAY, form):
        return way
    studies = Study.objects.filter(project=project, kind=StudyKind.REPLAY).defer("checkpoint")
    context = {
        "form": form,
        "studies": listed(studies),
        "ready": ready,
        "short": [one for one in judges if one.reason],
    }
    return show_tab(request, project, "replays.html", "replays", context, status=status_of(form))


@require_GET
@managed
def replay(request: HttpRequest, project: Project, study_id: UUID) -> HttpResponse:
    """Show how far a replay is, or what it found."""
    found = _replay(project, study_id)
    context = {"study": found, "one": followed(found)}
    if found.state == StudyState.DONE:
        context |= {
            "result": found.result,
            "tables": replay_tables(found.result),
            "charts": charting.of_study(found),
        }
    return show_tab(request, project, "replay.html", "replays", context)


@require_GET
@managed
def replay_json(request: HttpRequest, project: Project, study_id: UUID) -> HttpResponse:
    """Give a finished replay's figures as the JSON that `replay_routing --json` prints."""
    found = get_object_or_404(
        Study.objects.defer("checkpoint"),
        project=project,
        pk=study_id,
        kind=StudyKind.REPLAY,
        state=StudyState.DONE,
    )
    response = JsonResponse(found.result, json_dumps_params={"sort_keys": True, "ensure_ascii": False, "indent": 1})
    name = f"replay-{project.slug}-{slugify(found.judge_name)}.json"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _replay(project: Project, study_id: UUID) -> Study:
    studies = Study.objects.filter(project=project, kind=StudyKind.REPLAY).defer("checkpoint")
    return get_object_or_404(studies.select_related("created_by"), pk=study_id)
