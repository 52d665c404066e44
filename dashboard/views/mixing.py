"""Searches over mixes: asked for, followed, read."""

from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_http_methods

from annotation.models import Project
from dashboard import charting
from dashboard.access import managed
from dashboard.mixes import judges_to_search, listed_searches, search_tables
from dashboard.studies import followed, judges_to_replay
from dashboard.study_forms import MixForm
from dashboard.views.showing import show_tab, status_of
from dashboard.views.studying import queued
from routing.models import Study, StudyKind, StudyState


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def mixes(request: HttpRequest, project: Project) -> HttpResponse:
    """List the searches over mixes and ask for one; it changes no label and opens nothing to people."""
    ready, short = judges_to_search(judges_to_replay(project))
    form = MixForm(request.POST or None, project=project, judges=ready)
    if way := queued(request, project, StudyKind.MIXES, form):
        return way
    context = {"form": form, "searches": listed_searches(_searches(project)), "ready": ready, "short": short}
    return show_tab(request, project, "mixes.html", "mixes", context, status=status_of(form))


@require_GET
@managed
def mix_search(request: HttpRequest, project: Project, study_id: UUID) -> HttpResponse:
    """Show how far a search over mixes is, or what it found."""
    found = get_object_or_404(_searches(project).select_related("created_by"), pk=study_id)
    context = {"study": found, "one": followed(found)}
    if found.state == StudyState.DONE:
        charts = charting.of_study(found)
        context |= {"result": found.result, "tables": search_tables(found.result), "charts": charts}
    return show_tab(request, project, "mix_search.html", "mixes", context)


@require_GET
@managed
def mixes_json(request: HttpRequest, project: Project, study_id: UUID) -> HttpResponse:
    """Give a finished search's figures as the JSON that `predict_mixes --json` prints."""
    found = get_object_or_404(_searches(project), pk=study_id, state=StudyState.DONE)
    response = JsonResponse(found.result, json_dumps_params={"sort_keys": True, "ensure_ascii": False, "indent": 1})
    response["Content-Disposition"] = f'attachment; filename="mixes-{project.slug}.json"'
    return response


def _searches(project: Project) -> QuerySet[Study]:
    return Study.objects.filter(project=project, kind=StudyKind.MIXES).defer("checkpoint")
