"""The annotation screen. A view parses, calls one verb and renders; what is not yours is 404."""

from datetime import timedelta
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from annotation import assigning
from annotation.errors import AlreadyAnswered, AnnotationError, AnswerInvalid, LeaseLost
from annotation.forms import OUTSIDE_SCALE, SCALE, AnswerForm, DraftForm, SkipForm
from annotation.models import Assignment, Project, Rater, SkipReason, User
from annotation.showing import Screen, screen_for, screen_of
from annotation.views.access import as_rater, is_htmx


@never_cache
@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """List the projects this person answers in, with how far they are."""
    user = request.user
    if not isinstance(user, User):
        return redirect_to_login(request.get_full_path())
    projects = Project.objects.filter(memberships__user=user)
    rows = [(project, assigning.progress_of(project, assigning.rater_for(project, user))) for project in projects]
    return render(request, "annotation/index.html", {"rows": rows})


@require_GET
@as_rater
def annotate(request: HttpRequest, project: Project, rater: Rater) -> HttpResponse:
    """Show the pair this person holds, or lease the next one."""
    return _screen(request, project, screen_for(project, rater, now=timezone.now()))


@require_POST
@as_rater
def submit_answer(request: HttpRequest, project: Project, rater: Rater, assignment_id: UUID) -> HttpResponse:
    """Store an answer once and show the next pair."""
    assignment = _own(assignment_id, project, rater)
    form = AnswerForm(request.POST)
    if not form.is_valid():
        return _again(request, project, rater, assignment, form.error_line())
    now = timezone.now()
    try:
        # A browser's clock can claim any time; the pair has been here for so long at most.
        answer = form.answer_for(assignment)
        held = max(now - assignment.leased_at, timedelta()).total_seconds()
        seconds = None if answer.seconds is None else min(answer.seconds, held)
        assigning.submit(assignment.pk, rater, answer._replace(seconds=seconds), now=now)
    except AnswerInvalid as error:
        return _again(request, project, rater, assignment, str(error))
    except (AlreadyAnswered, LeaseLost) as error:
        return _go_on(request, project, rater, notice=str(error))
    return _go_on(request, project, rater, announcement="Saved.")


@require_POST
@as_rater
def skip_pair(request: HttpRequest, project: Project, rater: Rater, assignment_id: UUID) -> HttpResponse:
    """Pass a pair on with a reason and show the next one."""
    assignment = _own(assignment_id, project, rater)
    form = SkipForm(request.POST)
    if not form.is_valid():
        return _again(request, project, rater, assignment, "The pair was not passed on: choose a reason first.")
    try:
        assigning.skip(assignment.pk, rater, now=timezone.now(), **form.cleaned_data)
    except AnswerInvalid as error:
        return _again(request, project, rater, assignment, str(error))
    except AlreadyAnswered as error:
        return _go_on(request, project, rater, notice=str(error))
    return _go_on(request, project, rater, announcement="Passed on.")


@require_POST
@as_rater
def renew_lease(request: HttpRequest, project: Project, rater: Rater, assignment_id: UUID) -> HttpResponse:
    """Hold the pair for longer while its reader is active."""
    now = timezone.now()
    try:
        assignment = assigning.renew(_own(assignment_id, project, rater).pk, rater, now=now)
    except (LeaseLost, AlreadyAnswered) as error:
        return JsonResponse({"message": str(error)}, status=409)
    return JsonResponse({"seconds_left": int((assignment.lease_until - now).total_seconds())})


@require_POST
@as_rater
def keep_draft(request: HttpRequest, project: Project, rater: Rater, assignment_id: UUID) -> HttpResponse:
    """Keep what has been written so far."""
    assignment = _own(assignment_id, project, rater)
    form = DraftForm(request.POST)
    if not form.is_valid():
        return JsonResponse(
            {"message": "The draft was not kept: it holds something this screen does not send."}, status=422
        )
    try:
        assigning.save_draft(assignment.pk, rater, form.draft(), now=timezone.now())
    except AnnotationError as error:
        return JsonResponse({"message": str(error)}, status=409)
    return HttpResponse(status=204)


def _own(assignment_id: UUID, project: Project, rater: Rater) -> Assignment:
    """Return a person's own assignment in a project, or 404: another's and none are not told apart."""
    try:
        return Assignment.objects.select_related("task").get(pk=assignment_id, rater=rater, task__project=project)
    except Assignment.DoesNotExist as error:
        raise Http404("This pair is not held for you. Open the project again to get one.") from error


def _again(request: HttpRequest, project: Project, rater: Rater, assignment: Assignment, error: str) -> HttpResponse:
    """Show the same pair with what was sent and what is wrong with it."""
    sent = {name: request.POST.get(name, "") for name in ("answer", "rationale", "seconds")}
    assignment.draft = sent if "answer" in request.POST or "rationale" in request.POST else assignment.draft
    screen = screen_of(assignment, assigning.progress_of(project, rater), now=timezone.now())
    return _screen(request, project, screen, error=error, status=422)


def _go_on(
    request: HttpRequest, project: Project, rater: Rater, *, announcement: str = "", notice: str = ""
) -> HttpResponse:
    """Show the next pair: in place to a script, after a redirect without one."""
    if not is_htmx(request):
        if notice:
            messages.info(request, notice)
        return redirect("annotate", slug=project.slug)
    screen = screen_for(project, rater, now=timezone.now())
    return _screen(request, project, screen, announcement=announcement, error=notice)


def _screen(
    request: HttpRequest,
    project: Project,
    screen: Screen,
    *,
    announcement: str = "",
    error: str = "",
    status: int = 200,
) -> HttpResponse:
    context = {
        "project": project,
        "screen": screen,
        "scale": SCALE,
        "outside_scale": OUTSIDE_SCALE,
        "skip_reasons": SkipReason.choices,
        "announcement": announcement,
        "error": error,
    }
    template = "annotation/_swap.html" if is_htmx(request) else "annotation/annotate.html"
    return render(request, template, context, status=status)
