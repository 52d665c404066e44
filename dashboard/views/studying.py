"""Studies under way, whatever they calculate: how far they are, stop, go on."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from annotation.errors import TiebreakError
from annotation.models import Project, User
from dashboard.access import managed
from dashboard.studies import FINISHED, followed
from dashboard.study_forms import MixForm, ReplayForm
from routing.models import Study, StudyKind
from routing.studies.studying import queue_study, resume_study, stop_study


def queued(request: HttpRequest, project: Project, kind: StudyKind, form: ReplayForm | MixForm) -> HttpResponse | None:
    """Queue the study that a form asks for and return the way to its page; None where the form has errors."""
    if not form.is_valid():
        return None
    assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
    try:
        asked = queue_study(
            project,
            kind,
            judge_name=form.cleaned_data["judge"],
            options=form.options().to_json(),
            seed=form.cleaned_data["seed"],
            created_by=request.user,
        )
    except TiebreakError as error:
        form.add_error("judge", str(error))
        return None
    return _to_page(project, asked)


@require_GET
@managed
def study(request: HttpRequest, project: Project, study_id: UUID) -> HttpResponse:
    """Show how far a study is: the part that htmx asks for again. One that ended has its whole page loaded anew."""
    found = get_object_or_404(Study.objects.defer("checkpoint", "result"), project=project, pk=study_id)
    if request.headers.get("HX-Request") != "true":
        return _to_page(project, found)
    response = render(request, "dashboard/_study.html", {"project": project, "one": followed(found)})
    if found.state in FINISHED:
        response["HX-Refresh"] = "true"
    return response


@require_POST
@managed
def steer_study(request: HttpRequest, project: Project, study_id: UUID, action: str) -> HttpResponse:
    """Stop a study, or let it go on where it was."""
    found = get_object_or_404(Study.objects.defer("checkpoint", "result"), project=project, pk=study_id)
    if action == "stop":
        said = "It stops at its next step." if stop_study(found) else "It was not under way."
    elif action == "resume":
        again = "It begins again." if found.kind == StudyKind.MIXES else "It goes on where it was."
        said = again if resume_study(found) else "It was not stopped."
    else:
        raise Http404("No such action.")
    messages.success(request, said)
    return _to_page(project, found)


def _to_page(project: Project, found: Study) -> HttpResponse:
    return redirect("replay" if found.kind == StudyKind.REPLAY else "mix_search", project.slug, found.pk)
