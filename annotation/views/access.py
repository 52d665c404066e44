"""Who may see an annotator's page, in which language, and how a script is told that somebody is signed out.

Somebody who arrived from a crowd platform has no account: their session is bound to their submission, opens the pages
of its project's annotators, and nothing else.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec
from urllib.parse import unquote
from uuid import UUID

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils import translation
from django.views.decorators.cache import never_cache

from annotation import assigning
from annotation.crowd.states import OVER
from annotation.errors import NotAMember
from annotation.models import Project, Rater, Submission, User
from annotation.personalising import Interface, interface_of, read_interface
from annotation.preparing import Prepared
from annotation.sessions import at_hand

P = ParamSpec("P")
# What a guest's session holds: the id of their submission, and their settings of the screen.
SUBMISSION = "submission"
INTERFACE = "interface"
_AT_WORK = Prepared(Rater.objects.at_work)
LANGUAGES = [
    (code, translation.get_language_info(code)["name_local"].capitalize()) for code, _name in settings.LANGUAGES
]


def is_htmx(request: HttpRequest) -> bool:
    """Say whether a script asked, which takes a part of the page and follows no redirect."""
    return request.headers.get("HX-Request") == "true"


def interface_for(request: HttpRequest) -> Interface:
    """Return the settings of who asks; those of a guest are in their session, somebody signed out has the defaults."""
    if isinstance(request.user, User):
        return interface_of(request.user)
    return read_interface(request.session.get(INTERFACE, {}))


def language_for(request: HttpRequest) -> str:
    """Return the language of the annotator's pages for who asks: the one they chose, else the browser's."""
    return interface_for(request).language or translation.get_language_from_request(request)


def in_own_language(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Answer in the language a person chose, else in the browser's; pages of managers stay in English."""

    @wraps(view)
    def wrapped(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with translation.override(language_for(request)):
            request.reader = _reader(request)  # type: ignore[attr-defined]
            response = view(request, *args, **kwargs)
            # Django's own views answer with a template that is rendered later, outside of this language.
            return response.render() if isinstance(response, TemplateResponse) else response

    return wrapped


def reader(request: HttpRequest) -> dict[str, Any]:
    """Tell templates of annotators' pages who reads them: language and look. Others get nothing."""
    return getattr(request, "reader", {})


def _reader(request: HttpRequest) -> dict[str, Any]:
    return {
        "interface": interface_for(request),
        "languages": LANGUAGES,
        "language": translation.get_language(),
    }


def as_rater(
    view: Callable[Concatenate[HttpRequest, Project, Rater, P], HttpResponse],
) -> Callable[..., HttpResponseBase]:
    """Load the project and the person's rater; signing in comes first, and what is not yours is 404."""

    @in_own_language
    def seen(request: HttpRequest, slug: str, claimed: Rater | None, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        user = request.user
        guest = None if isinstance(user, User) else guest_at_work(request, slug)
        if (guest is not None or isinstance(user, User)) and not _is_made_for(request, guest):
            return HttpResponse(status=401)
        if guest is not None:
            request.reader["visit"] = guest.visit  # type: ignore[attr-defined]
            return view(request, guest.project, guest, *args, **kwargs)
        if not isinstance(user, User):
            # A script cannot follow a redirect to a form: it is told, and keeps the answer.
            wants_page = request.method == "GET" and not is_htmx(request)
            return redirect_to_login(request.get_full_path()) if wants_page else HttpResponse(status=401)
        rater = claimed
        if rater is None or rater.user_id != user.pk or rater.role is None:
            rater = _first_time(user, slug)
        return view(request, rater.project, rater, *args, **kwargs)

    @wraps(view)
    @never_cache
    def wrapped(request: HttpRequest, slug: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        claimed = _claimed(request, slug)
        with at_hand(None if claimed is None else claimed.user):
            return seen(request, slug, claimed, *args, **kwargs)

    return wrapped


def _is_made_for(request: HttpRequest, guest: Rater | None) -> bool:
    """Say whether a script's page was made for whoever is signed in now; in another tab that may be somebody else."""
    person = request.headers.get("X-Tiebreak-Person")
    return person is None or unquote(person) == (guest.name if guest is not None else request.user.get_username())


def _claimed(request: HttpRequest, slug: str) -> Rater | None:
    """Return the rater of whom the session names, with their account: whether it is theirs is not checked here."""
    try:
        user = UUID(request.session.get(SESSION_KEY, ""))
    except ValueError:
        return None
    found = _AT_WORK.fetch(user=user, slug=slug)
    return found[0] if found else None


def visit_of(request: HttpRequest) -> Submission | None:
    """Return the submission that this browser's session is bound to, unless it is over or somebody is signed in."""
    bound = request.session.get(SUBMISSION)
    if bound is None or isinstance(request.user, User):
        return None
    rows = Submission.objects.select_related("study__project", "guest")
    return rows.filter(pk=bound).exclude(state__in=OVER).first()


def guest_at_work(request: HttpRequest, slug: str) -> Rater | None:
    """Return the rater of a guest in the project that they came for, with their visit; two queries."""
    visit = visit_of(request)
    if visit is None or visit.study.project.slug != slug:
        return None
    rater = Rater.objects.counted().get(pk=visit.guest.rater_id)
    visit.guest.rater, visit.study.project = rater, rater.project
    rater.visit = visit
    return rater


def _first_time(user: User, slug: str) -> Rater:
    """Return the rater of somebody who comes in for the first time; who is no member finds nothing."""
    project = get_object_or_404(Project.objects.visible_to(user), slug=slug)
    try:
        return assigning.rater_for(project, user)
    except NotAMember as error:
        raise Http404(str(error)) from error
