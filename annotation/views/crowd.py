"""Where crowd platforms meet this site: arrivals, the end page, MTurk's frame, and events."""

from http import HTTPStatus
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.middleware.csrf import rotate_token
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.crowd import arriving, ending
from annotation.crowd.errors import ArrivalRefused, ArrivalUnchecked, EventRefused
from annotation.crowd.mturk import SUBMIT_ORIGINS, TOKEN_PARAMETER, read_frame
from annotation.crowd.prolific.hooks import read_event, take_event
from annotation.joining.errors import TriedTooOften
from annotation.joining.throttling import address_of
from annotation.models import CrowdStudy, Platform, Project, Rater, Submission
from annotation.views.access import SUBMISSION, as_rater, in_own_language, visit_of

# A visit is over in hours; a browser that is left open is not a way in for days.
SESSION_SECONDS = 12 * 3600
AGAIN_SECONDS = 60


@require_GET
@never_cache
@in_own_language
def arrive(request: HttpRequest, study_id: UUID) -> HttpResponse:
    """Let somebody in whom a platform sent, and bind this browser to their submission."""
    study = get_object_or_404(CrowdStudy.objects.select_related("project"), pk=study_id)
    try:
        submission = arriving.arrive(
            study,
            request.GET.dict(),
            host=request.get_host(),
            address=address_of(request),
            now=timezone.now(),
            held=visit_of(request),
        )
    except ArrivalRefused as error:
        return _turned_away(request, study, str(error), status=HTTPStatus.FORBIDDEN)
    except TriedTooOften as error:
        return _turned_away(request, study, str(error), status=HTTPStatus.TOO_MANY_REQUESTS)
    except ArrivalUnchecked as error:
        response = _turned_away(request, study, str(error), status=HTTPStatus.SERVICE_UNAVAILABLE)
        response["Retry-After"] = str(AGAIN_SECONDS)
        return response
    _bind(request, submission)
    return redirect("end_visit" if submission.ended_as else "annotate", study.project.slug)


def _bind(request: HttpRequest, submission: Submission) -> None:
    """Make this browser's session the guest's: nothing of whoever used it before is left, and its key is new."""
    if request.session.get(SUBMISSION) != str(submission.pk):
        request.session.flush()
        rotate_token(request)
    request.session[SUBMISSION] = str(submission.pk)
    request.session.set_expiry(SESSION_SECONDS)


def _turned_away(request: HttpRequest, study: CrowdStudy, why: str, *, status: int) -> HttpResponse:
    context = {"study": study, "why": why, "may_try_again": status != HTTPStatus.FORBIDDEN}
    return render(request, "annotation/arrival.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@as_rater
def end(request: HttpRequest, project: Project, rater: Rater) -> HttpResponse:
    """POST ends a guest's visit; the page gives the code and the one way back."""
    visit = rater.visit
    if visit is None:
        raise Http404("Only guests have an end page.")
    if request.method == "POST":
        try:
            ending.end(visit, rater, now=timezone.now())
        except ending.NotEnded:
            return redirect("annotate", project.slug)
        return redirect("end_visit", project.slug)
    if not visit.ended_as:
        return redirect("annotate", project.slug)
    context = {"project": project, "study": visit.study, "ending": ending.ending_of(visit, rater)}
    return render(request, "annotation/end.html", context)


@require_GET
@never_cache
@xframe_options_exempt
@in_own_language
def mturk(request: HttpRequest, study_id: UUID) -> HttpResponse:
    """Show the page in MTurk's frame. It stores nothing, whether previewed or accepted."""
    study = get_object_or_404(CrowdStudy, pk=study_id, platform=Platform.MTURK)
    try:
        frame = read_frame(study, request.GET.dict())
    except ArrivalRefused as error:
        return _turned_away(request, study, str(error), status=HTTPStatus.FORBIDDEN)
    context = {"study": study, "frame": frame, "token_parameter": TOKEN_PARAMETER}
    response = render(request, "annotation/mturk.html", context)
    origins = list(SUBMIT_ORIGINS)
    response._csp_replace = {"frame-ancestors": origins, "form-action": origins}  # type: ignore[attr-defined]
    return response


@csrf_exempt
@require_POST
@never_cache
def prolific_events(request: HttpRequest) -> HttpResponse:
    """Take an event of Prolific's: checked by its signature over the raw body, and done once."""
    try:
        take_event(read_event(request.body, request.headers, now=timezone.now()))
    except EventRefused as error:
        return HttpResponse(str(error), status=403, content_type="text/plain; charset=utf-8")
    return HttpResponse(status=204)
