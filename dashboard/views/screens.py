"""What the annotation screen of a project asks, and how it looks with settings that are not stored yet."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from types import SimpleNamespace

from csp.constants import SELF
from csp.decorators import csp_replace
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import get_urlconf, set_urlconf
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_GET, require_http_methods

from annotation.assigning import Progress
from annotation.configuring import ScreenFile, configure, read_screen, settings_of
from annotation.errors import AnnotationError, QuestionnaireInvalid
from annotation.forms import AnswerForm
from annotation.models import Project, User
from annotation.showing import sample_screen
from annotation.views.access import in_own_language, is_htmx
from annotation.views.answering import draw_screen
from dashboard.access import managed, signed_in
from dashboard.previewing import Preview, pack, preview_of, texts_for, unpack
from dashboard.screen_forms import ScreenForm, criteria_forms
from dashboard.views.showing import show, status_of

EXAMPLE = Progress(done=3, available=7, earned_usd=Decimal(0))
NOTHING_STORED = "This is a preview: nothing is stored."


def in_a_frame(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Let this site's own pages show a view in a frame; all others are never in one."""
    framed: Callable[..., HttpResponseBase] = csp_replace({"frame-ancestors": [SELF]})(xframe_options_sameorigin(view))
    return framed


@contextmanager
def addresses_of(module: str) -> Iterator[None]:
    """Have addresses made by another list of them meanwhile, in this thread."""
    before = get_urlconf()
    set_urlconf(module)
    try:
        yield
    finally:
        set_urlconf(before)


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def screen(request: HttpRequest, project: Project) -> HttpResponse:
    """Show what the screen asks, and change it."""
    data = request.POST if request.method == "POST" else None
    form = ScreenForm(data, project=project, initial=ScreenForm.initial_of(settings_of(project)))
    criteria = criteria_forms(project, data)
    if data is not None and form.is_valid() and criteria.is_valid():
        asked = form.screen(criteria.rows())
        try:
            configure(project, **asked._asdict())
        except QuestionnaireInvalid as error:
            form.refuse(error)
        else:
            messages.success(request, "Kept. People see it with the next pair they open.")
            return redirect("screen", project.slug)
    status = status_of(form) if criteria.is_valid() or data is None else 422
    return show(request, project, "screen.html", "screen", {"form": form, "criteria": criteria}, status=status)


@require_GET
@managed
def screen_json(request: HttpRequest, project: Project) -> HttpResponse:
    """Send the settings as the file that `configure_screen` and `create_project --screen` read."""
    text = json.dumps(settings_of(project), indent=2, ensure_ascii=False)
    name = f"{project.slug}-screen.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(f"{text}\n", content_type="application/json", headers=headers)


@in_a_frame
@require_http_methods(["GET", "HEAD", "POST"])
@managed
@in_own_language
def preview(request: HttpRequest, project: Project) -> HttpResponse:
    """Show the screen with the settings that were sent, or with those stored; nothing is stored and no lease taken."""
    try:
        return _page(request, project, preview_of(project, _sent(request, project)))
    except AnnotationError as error:
        return _note(request, "This cannot be shown", str(error), status=422)


@in_a_frame
@require_http_methods(["GET", "HEAD", "POST"])
@managed
@in_own_language
def preview_answer(request: HttpRequest, project: Project, packed: str, act: str) -> HttpResponse:
    """Check an answer to a preview as a real one is checked, and say that nothing is stored."""
    if act == "draft":
        return HttpResponse(status=204)
    if act == "renew":
        return JsonResponse({"seconds_left": project.lease_seconds})
    try:
        asked, responses = unpack(project, packed)
    except AnnotationError as error:
        return _note(request, "This cannot be shown", str(error), status=422)
    form = AnswerForm(request.POST, asked=asked.asked(responses)) if act == "submit" else None
    said = NOTHING_STORED if form is None or form.is_valid() else form.error_line()
    if is_htmx(request):
        return JsonResponse({"message": said, "field": ""}, status=422)
    return _page(request, project, asked, error=said, status=422)


@in_a_frame
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def preview_note(request: HttpRequest, user: User, slug: str = "") -> HttpResponse:
    """Stand for every page that a preview leads to."""
    if is_htmx(request) and request.method == "POST":
        return JsonResponse({"message": NOTHING_STORED, "field": ""}, status=409)
    return _note(request, NOTHING_STORED, "Change a setting to see the screen again.")


def _sent(request: HttpRequest, project: Project) -> ScreenFile:
    """Return the settings in a request; what is stored where it brings none."""
    data = request.POST or request.GET
    if "response_format" not in data:
        return read_screen(settings_of(project))
    form, criteria = ScreenForm(data, project=project), criteria_forms(project, data)
    if not (form.is_valid() and criteria.is_valid()):
        errors = [said for one in (form, *criteria.forms) for said in one.errors.values()]
        raise AnnotationError(next((str(message) for said in errors for message in said), "Check the criteria."))
    return form.screen(criteria.rows())


def _page(
    request: HttpRequest, project: Project, shown: Preview, *, error: str = "", status: int = 200
) -> HttpResponse:
    """Draw the annotator's own page, under the addresses of previews."""
    prompt, responses = texts_for(project, shown.questionnaire)
    screen = sample_screen(prompt, responses, shown.asked(len(responses)))
    screen = screen._replace(
        assignment_id=pack(shown, len(responses)), seconds_left=project.lease_seconds, progress=EXAMPLE
    )
    project.rationale_required = shown.rationale_required
    # Nobody's: what the screen keeps on the device must not meet what a manager who also answers has there.
    context = {"screen": screen, "error": error, "user": SimpleNamespace(username="", is_authenticated=True)}
    with addresses_of("dashboard.preview_urls"):
        return draw_screen(request, project, shown.questionnaire, "annotation/annotate.html", context, status=status)


def _note(request: HttpRequest, title: str, text: str, *, status: int = 200) -> HttpResponse:
    return render(request, "dashboard/preview_note.html", {"title": title, "text": text}, status=status)
