"""The annotation screen. A view parses, calls one verb and renders; what is not yours is 404."""

from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from annotation import assigning
from annotation.assigning import Next, Progress, Waiting
from annotation.configuring import questionnaire_of
from annotation.crowd.ending import answers_left, visit_progress
from annotation.diffing import word_diff
from annotation.errors import AlreadyAnswered, AnnotationError, AnswerInvalid, LeaseLost, LeaseNotYours, TooLate
from annotation.forms import CONFIDENCES, AnswerForm, DraftForm, SkipForm
from annotation.guiding import notice_for
from annotation.joining.openid import configuring
from annotation.learning import Stage, stage_of
from annotation.leasing import ANSWERED
from annotation.models import Assignment, Project, Rater, SkipReason, Suggestion, User
from annotation.personalising import personal
from annotation.questionnaires import Questionnaire
from annotation.questions import Asked
from annotation.remembering import recent_answers
from annotation.ruling import reason_for
from annotation.showing import Screen, asked_of, criteria_of, screen_of, screens_of
from annotation.submitting import is_changeable
from annotation.suggesting import said_of, suggest
from annotation.views.access import as_rater, in_own_language, interface_for, is_htmx, visit_of
from annotation.views.training import go_on
from annotation.wording import script_words

# A browser says which pairs it has in hand; more than this many are not read.
MOST_HELD = 10


@never_cache
@require_GET
@in_own_language
def index(request: HttpRequest) -> HttpResponse:
    """List the projects this person answers in, with how far they are."""
    user = request.user
    if not isinstance(user, User):
        visit = visit_of(request)
        if visit is not None:
            return redirect("annotate", visit.study.project.slug)
        return redirect_to_login(request.get_full_path())
    projects = Project.objects.filter(memberships__user=user)
    rows = [(project, assigning.progress_of(project, assigning.rater_for(project, user))) for project in projects]
    return render(request, "annotation/index.html", {"rows": rows, "provider": configuring.label()})


@require_GET
@as_rater
def annotate(request: HttpRequest, project: Project, rater: Rater) -> HttpResponse:
    """Show the pair this person holds, or lease the next one, with those ahead; before the first, what to learn."""
    if stage_of(project, rater) is not Stage.WORK:
        return go_on(project, rater)
    return _Desk(request, project, rater).page()


@require_POST
@as_rater
def submit_answer(request: HttpRequest, project: Project, rater: Rater, assignment_id: UUID) -> HttpResponse:
    """Store an answer once, or a changed one, and show the next pair."""
    desk = _Desk(request, project, rater)
    form = AnswerForm(request.POST, asked=desk.asked(assignment_id))
    if not form.is_valid():
        return desk.again(assignment_id, form, form.error_line())
    now = timezone.now()
    store = assigning.revise if form.revises else assigning.submit
    try:
        store(assignment_id, rater, partial(form.answer_for, now=now), now=now, sent=form.sent())
    except LeaseNotYours as error:
        raise Http404(str(error)) from error
    except AnswerInvalid as error:
        return desk.again(assignment_id, form, str(error))
    except (AlreadyAnswered, LeaseLost, TooLate) as error:
        return desk.refused(error)
    suggested = None if form.revises else suggest(assignment_id, desk.questionnaire, now=now)
    if suggested is not None and not is_htmx(request):
        return redirect("suggestion", slug=project.slug, assignment_id=assignment_id)
    return desk.go_on(_("Changed.") if form.revises else _("Saved."), suggested=suggested)


@require_POST
@as_rater
def skip_pair(request: HttpRequest, project: Project, rater: Rater, assignment_id: UUID) -> HttpResponse:
    """Pass a pair on with a reason and show the next one."""
    desk = _Desk(request, project, rater)
    form = SkipForm(request.POST)
    if not form.is_valid():
        return desk.again(assignment_id, None, _("The pair was not passed on: choose a reason first."))
    try:
        assigning.skip(desk.own(assignment_id).pk, rater, now=timezone.now(), **form.cleaned_data)
    except AnswerInvalid as error:
        return desk.again(assignment_id, None, str(error))
    except AlreadyAnswered as error:
        return desk.refused(error)
    return desk.go_on(_("Passed on."), recount=True)


@require_POST
@as_rater
def renew_lease(request: HttpRequest, project: Project, rater: Rater, assignment_id: UUID) -> HttpResponse:
    """Hold the pair for longer while its reader is active."""
    now = timezone.now()
    try:
        assignment = assigning.renew(_Desk(request, project, rater).own(assignment_id).pk, rater, now=now)
    except (LeaseLost, AlreadyAnswered) as error:
        return JsonResponse({"message": str(error)}, status=409)
    return JsonResponse({"seconds_left": int((assignment.lease_until - now).total_seconds())})


@require_POST
@as_rater
def keep_draft(request: HttpRequest, project: Project, rater: Rater, assignment_id: UUID) -> HttpResponse:
    """Keep what has been written so far."""
    desk = _Desk(request, project, rater)
    assignment = desk.own(assignment_id)
    form = DraftForm(request.POST, asked=asked_of(assignment, desk.questionnaire))
    if not form.is_valid():
        message = _("The draft was not kept: it holds something this screen does not send.")
        return JsonResponse({"message": message}, status=422)
    try:
        assigning.save_draft(assignment.pk, rater, form.sent(), now=timezone.now())
    except AnnotationError as error:
        return JsonResponse({"message": str(error)}, status=409)
    return HttpResponse(status=204)


@require_GET
@as_rater
def show_assignment(request: HttpRequest, project: Project, rater: Rater, assignment_id: UUID) -> HttpResponse:
    """Show one pair of a person's own: held, or one of their last answers to look at and change."""
    desk = _Desk(request, project, rater)
    assignment = desk.own(assignment_id)
    revises = assignment.state in ANSWERED and is_changeable(assignment)
    if assignment.state != "leased" and not revises:
        return desk.refused(TooLate(_("This pair is not open to you any more. Go on with the next one.")))
    return desk.page(desk.screen(assignment, revises=revises))


@require_GET
@as_rater
def show_differences(request: HttpRequest, project: Project, rater: Rater, assignment_id: UUID) -> HttpResponse:
    """Show what only one of two responses says, word by word: asked for, never on its own."""
    desk = _Desk(request, project, rater)
    responses = desk.screen(desk.own(assignment_id)).responses
    if len(responses) != 2:
        raise Http404(_("Differences are shown between two responses."))
    difference = word_diff(*(response.raw for response in responses))
    sides = zip(responses, (difference.first, difference.second), strict=True)
    context = {"project": project, "sides": sides, "was_compared": difference.shared_share is not None}
    return render(request, "annotation/_differences.html", context)


@require_GET
@as_rater
def recent(request: HttpRequest, project: Project, rater: Rater) -> HttpResponse:
    """List a person's last answers."""
    template = "annotation/_recent.html" if is_htmx(request) else "annotation/recent.html"
    return render(request, template, {"project": project, "recent": recent_answers(rater)})


@require_POST
@as_rater
def take_break(request: HttpRequest, project: Project, rater: Rater) -> HttpResponse:
    """Give back what a person holds and has not begun, and show a page to come back from."""
    assigning.release(project, rater)
    desk = _Desk(request, project, rater)
    return desk.page(Screen(desk.progress(recount=True), waiting=assigning.Waiting.BREAK))


@dataclass
class _Desk:
    """What one person's request needs of their project's screen."""

    request: HttpRequest
    project: Project
    rater: Rater

    def __post_init__(self) -> None:
        self.interface = interface_for(self.request)
        self.questionnaire: Questionnaire = personal(questionnaire_of(self.project), self.interface)

    def own(self, assignment_id: UUID) -> Assignment:
        """Return a person's own assignment in this project, or 404: another's and none are not told apart."""
        mine = Assignment.objects.select_related("task", "task__pair").filter(rater=self.rater)
        assignment = mine.filter(pk=assignment_id).first()
        if assignment is None:
            raise Http404(_("This pair is not held for you. Open the project again to get one."))
        assignment.task.project = self.project
        return assignment

    def asked(self, assignment_id: UUID) -> Asked:
        """Return what a pair's screen asks; no query where every pair of the project asks the same of two responses."""
        if self.questionnaire.is_slate:
            return asked_of(self.own(assignment_id), self.questionnaire)
        return Asked(self.questionnaire, criteria_of(self.project, self.questionnaire))

    def next(self) -> Next:
        ahead = self.questionnaire.leases_ahead
        if (visit := self.rater.visit) is not None:
            left = answers_left(visit, self.rater)
            if visit.ended_as or not left:
                return Next(None, Waiting.FINISHED)
            ahead = min(ahead, left - 1)
        return assigning.next_assignment(
            self.project,
            self.rater,
            now=timezone.now(),
            ahead=ahead,
            repeat_percent=self.questionnaire.repeat_percent,
        )

    def progress(self, *, recount: bool) -> Progress:
        """Return how far a person is; a guest in what their visit asks for. `recount`: of what is open to them too."""
        count = assigning.progress_of if recount else assigning.progress_after
        found = count(self.project, self.rater)
        return found if self.rater.visit is None else visit_progress(self.rater.visit, self.rater, found)

    def screens(self, progress: Progress, known: set[UUID]) -> list[Screen]:
        return screens_of(self.project, self.questionnaire, self.next(), progress, now=timezone.now(), known=known)

    def screen(self, assignment: Assignment, *, revises: bool = False) -> Screen:
        progress = self.progress(recount=False)
        return screen_of(assignment, self.questionnaire, progress, now=timezone.now(), revises=revises)

    def page(self, screen: Screen | None = None, *, error: str = "", status: int = 200) -> HttpResponse:
        """Return a page of one screen, by default of what this person works on; to a script its parts."""
        ahead: list[Screen] = []
        if screen is None:
            progress = self.progress(recount=True)
            screen, *ahead = self.screens(progress, set())
        template = "annotation/_reply.html" if is_htmx(self.request) else "annotation/annotate.html"
        if is_htmx(self.request):
            ahead = [one for one in (screen, *ahead) if one.assignment_id]
        context = {
            "screen": screen,
            "ahead": ahead,
            "error": error,
        }
        return self.render(template, context, status=status)

    def go_on(self, announcement: str, *, recount: bool = False, suggested: Suggestion | None = None) -> HttpResponse:
        """Show what comes next: to a script the pairs it does not have yet, else a page after a redirect."""
        if not is_htmx(self.request):
            messages.success(self.request, announcement)
            return redirect("annotate", slug=self.project.slug)
        progress = self.progress(recount=recount)
        known = self.known()
        screens = self.screens(progress, known)
        waits = bool(screens) and screens[0].assignment_id is None
        context = {
            "screen": screens[0] if waits else Screen(progress),
            "ahead": [] if waits else screens,
            "suggestion": suggested and said_of(suggested),
        }
        return self.render("annotation/_reply.html", context)

    def known(self) -> set[UUID]:
        """Return which pairs the browser says it has."""
        found = set()
        for one in self.request.POST.get("held", "").split(",")[:MOST_HELD]:
            try:
                found.add(UUID(one.strip()))
            except ValueError:
                continue  # nothing of ours: at worst a pair is sent again
        return found

    def again(self, assignment_id: UUID, form: AnswerForm | None, error: str) -> HttpResponse:
        """Refuse what was sent, in words; without a script on the same screen, with what was sent."""
        assignment = self.own(assignment_id)
        if is_htmx(self.request):
            field = next(iter(form.errors), "") if form is not None else ""
            return JsonResponse({"message": error, "field": field}, status=422)
        if form is not None:
            assignment.draft = form.sent()
        revises = form is not None and form.revises
        return self.page(self.screen(assignment, revises=revises), error=error, status=422)

    def refused(self, error: AnnotationError) -> HttpResponse:
        """Say that this pair takes no answer any more, and go on."""
        if is_htmx(self.request):
            return JsonResponse({"message": str(error), "field": ""}, status=409)
        messages.info(self.request, str(error))
        return redirect("annotate", slug=self.project.slug)

    def render(self, template: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
        shared = {"notice": notice_for(self.project, self.rater), "stopped": reason_for(self.rater)}
        context = {**shared, **context}
        return draw_screen(self.request, self.project, self.questionnaire, template, context, status=status)


def draw_screen(
    request: HttpRequest,
    project: Project,
    questionnaire: Questionnaire,
    template: str,
    context: dict[str, Any],
    *,
    status: int = 200,
) -> HttpResponse:
    """Render the screen, or a part of it, for a questionnaire."""
    shared = {
        "project": project,
        "asks": questionnaire,
        "keys": questionnaire.key_of,
        "words": script_words,
        "skip_reasons": SkipReason.choices,
        "confidences": CONFIDENCES,
    }
    response = render(request, template, {**shared, **context}, status=status)
    if questionnaire.images:
        # A picture is fetched only when its reader asks for it (static/js); without this not even then.
        response._csp_update = {"img-src": ["https:"]}  # type: ignore[attr-defined]
    return response
