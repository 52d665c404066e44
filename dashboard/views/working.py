"""How much people may do: limits of a project and of a person, pauses of people and of pairs."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.defaultfilters import pluralize
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from annotation.errors import AnnotationError
from annotation.models import Project, Rater, RaterKind, Task
from annotation.pausing import pause_person, pause_task, resume_task
from annotation.promising import committed_usd
from annotation.ruling import let_go_on
from dashboard.access import managed
from dashboard.people_forms import LimitsForm, PauseForm, PersonForm, VotesForm
from dashboard.sign_names import why_paused
from dashboard.views.showing import show, status_of


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def limits(request: HttpRequest, project: Project) -> HttpResponse:
    """Show and change how much people may do in a project."""
    form = LimitsForm(project, request.POST or None)
    if form.is_valid():
        try:
            form.save()
        except AnnotationError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, "Stored. It holds from the next pair somebody gets; what people hold stays.")
            return redirect("people", project.slug)
    context = {"form": form, "committed_usd": committed_usd(project)}
    return show(request, project, "limits.html", "people", context, status=status_of(form))


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def person(request: HttpRequest, project: Project, rater_id: UUID) -> HttpResponse:
    """Show and change what one person may do and can."""
    rater = _person(project, rater_id)
    form = PersonForm(project, rater, request.POST or None)
    if form.is_valid():
        try:
            form.save()
        except AnnotationError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Stored for {rater.name}. It holds from the next pair they get.")
            return redirect("people", project.slug)
    return _show_person(request, project, rater, form, PauseForm(), status=status_of(form))


@require_POST
@managed
def pause(request: HttpRequest, project: Project, rater_id: UUID) -> HttpResponse:
    """Pause a person, with a reason that they read."""
    rater = _person(project, rater_id)
    form = PauseForm(request.POST)
    if form.is_valid():
        try:
            given_back = pause_person(rater, reason=form.cleaned_data["reason"], now=timezone.now())
        except AnnotationError as error:
            form.add_error("reason", str(error))
        else:
            went = f"{given_back} pair{pluralize(given_back)} they held went to others." if given_back else ""
            messages.success(request, f"{rater.name} is paused. {went}".strip())
            return redirect("people", project.slug)
    return _show_person(request, project, rater, PersonForm(project, rater), form, status=422)


@require_POST
@managed
def resume(request: HttpRequest, project: Project, rater_id: UUID) -> HttpResponse:
    """Let a paused person go on."""
    rater = _person(project, rater_id)
    if let_go_on(rater, now=timezone.now()):
        messages.success(request, f"{rater.name} gets pairs again.")
    else:
        messages.info(request, f"{rater.name} was not paused, so nothing changed.")
    return redirect("people", project.slug)


@require_POST
@managed
def steer_task(request: HttpRequest, project: Project, pair_id: UUID, task_id: UUID) -> HttpResponse:
    """Pause one pair for people, go on with it, or change how many answers it wants."""
    task = get_object_or_404(Task, pk=task_id, pair_id=pair_id, project=project)
    action = request.POST.get("action", "")
    if action == "pause":
        pause_task(task)
        messages.success(request, "Paused: nobody new gets this pair. Who holds it can finish.")
    elif action == "resume":
        resume_task(task)
        messages.success(request, "People get this pair again.")
    elif action == "votes":
        _change_votes(request, task)
    else:
        raise Http404("No such action.")
    return redirect("pair", project.slug, pair_id)


def _change_votes(request: HttpRequest, task: Task) -> None:
    form = VotesForm(request.POST)
    if not form.is_valid():
        messages.error(request, f"Nothing changed. {' '.join(map(str, form.errors['votes_wanted']))}")
        return
    form.save(task)
    task.refresh_from_db()
    messages.success(request, f"This pair wants {task.votes_wanted} answer{pluralize(task.votes_wanted)} now.")


def _person(project: Project, rater_id: UUID) -> Rater:
    return get_object_or_404(Rater, pk=rater_id, project=project, kind=RaterKind.PERSON)


def _show_person(
    request: HttpRequest, project: Project, rater: Rater, form: PersonForm, pause_form: PauseForm, *, status: int
) -> HttpResponse:
    context = {"rater": rater, "form": form, "pause_form": pause_form, "why_paused": why_paused(rater)}
    return show(request, project, "person_work.html", "people", context, status=status)
