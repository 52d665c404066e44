"""Signing in by the OpenID Connect provider: leaving for it, coming back, and connecting an account with it.

Leaving is a form and an answer that leads on, not a redirect: browsers hold the policy of forms against every address
that a redirect passes through, and which those are only the provider knows.
"""

import logging
from http import HTTPStatus
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.joining import invitations
from annotation.joining.errors import JoiningError, NotInvited, TriedTooOften
from annotation.joining.openid import flowing, matching
from annotation.joining.openid.configuring import Provider, provider
from annotation.joining.openid.errors import OpenIDError, Outdated, ProviderFault
from annotation.joining.openid.flowing import Errand
from annotation.joining.openid.matching import WayIn
from annotation.joining.openid.verifying import Person
from annotation.joining.throttling import ADDRESS_TRIES, MADE, address_of, count_try
from annotation.models import Invitation, Membership, Project, Role, User
from annotation.views.access import in_own_language
from annotation.views.signing_in import go_in

logger = logging.getLogger(__name__)


def first_page(membership: Membership) -> str:
    """Return where somebody goes who just joined a project."""
    if membership.role == Role.MANAGER:
        return resolve_url(settings.LOGIN_REDIRECT_URL)
    return resolve_url("annotate", membership.project.slug)


def leave(request: HttpRequest, errand: Errand) -> HttpResponse:
    """Lead somebody on to the provider; where this site has none, nothing is there."""
    there = _provider()
    now = timezone.now()
    try:
        count_try("sign in", address_of(request), limit=ADDRESS_TRIES, now=now)
        back = request.build_absolute_uri(reverse("openid_return"))
        address = flowing.leave(request.session, there, errand, redirect_uri=back, now=now)
    except JoiningError as error:
        return _failed(request, there, error)
    return render(request, "annotation/openid_leave.html", {"address": address, "provider": there.label})


@require_POST
@never_cache
@in_own_language
def start(request: HttpRequest) -> HttpResponse:
    """Leave to sign in, and go on at an address of ours."""
    then = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(then, {request.get_host()}, require_https=request.is_secure()):
        then = resolve_url(settings.LOGIN_REDIRECT_URL)
    return leave(request, Errand(then=then))


@require_GET
@never_cache
@in_own_language
def come_back(request: HttpRequest) -> HttpResponse:
    """Take what the provider sends somebody back with: sign in, join, or connect."""
    there = _provider()
    now = timezone.now()
    try:
        # Apart from leaving, which counts with the password's tries: one sign-in is one try.
        count_try("openid return", address_of(request), limit=ADDRESS_TRIES, now=now)
        errand, person = flowing.come_back(request.session, there, request.GET, now=now)
        return _connected(request, there, errand, person) if errand.connect else _in(request, there, errand, person)
    except JoiningError as error:
        return _failed(request, there, error)


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@in_own_language
def connection(request: HttpRequest) -> HttpResponse:
    """Show whether somebody's account is connected with the provider; POST connects or disconnects it."""
    there, user = _provider(), request.user
    if not isinstance(user, User):
        return redirect_to_login(request.get_full_path())
    error, status = "", HTTPStatus.OK
    if request.method == "POST":
        act = request.POST.get("act")
        if act == "connect":
            return leave(request, Errand(connect=str(user.pk)))
        if act != "disconnect":
            raise Http404
        try:
            matching.disconnect(there, user)
            messages.success(request, _("The two accounts are not connected any more."))
            return redirect("openid_connection")
        except JoiningError as refused:
            error, status = str(refused), HTTPStatus.CONFLICT
    context = {"provider": there.label, "is_connected": matching.is_connected(there, user), "error": error}
    return render(request, "annotation/openid_connection.html", context, status=status)


def _provider() -> Provider:
    there = provider()
    if there is None:
        raise Http404("This site has no OpenID Connect provider.")
    return there


def _in(request: HttpRequest, there: Provider, errand: Errand, person: Person) -> HttpResponse:
    now = timezone.now()
    if not matching.is_known(there, person):
        count_try("account", address_of(request), limit=MADE, now=now)
    entered = matching.enter(there, person, way_in=_way_in(errand), now=now)
    then = errand.then if entered.membership is None else first_page(entered.membership)
    return go_in(request, entered.user, then, proven=bool(there.trusted_methods & person.methods))


def _connected(request: HttpRequest, there: Provider, errand: Errand, person: Person) -> HttpResponse:
    user = request.user
    if not isinstance(user, User) or str(user.pk) != errand.connect:
        raise Outdated(_("You signed out meanwhile. Sign in to connect your account."), why="another session")
    matching.connect(there, user, person, now=timezone.now())
    messages.success(request, _("You can sign in by %(provider)s from now on.") % {"provider": there.label})
    return redirect("openid_connection")


def _way_in(errand: Errand) -> WayIn | None:
    """Return how somebody joins who left from a page to join; what is over meanwhile says so when they become one."""
    if errand.invitation:
        invitation = Invitation.objects.select_related("project").filter(pk=UUID(errand.invitation)).first()
        if invitation is not None:
            found = invitation
            return WayIn(found.project, lambda user: invitations.join_by(found, user, now=timezone.now()))
    elif errand.project:
        project = Project.objects.filter(slug=errand.project).first()
        if project is not None:
            found_project = project
            return WayIn(found_project, lambda user: invitations.join_open(found_project, user))
    else:
        return None
    raise NotInvited(_("This invitation is not valid, or not any more. Ask who gave it to you for another."))


def _failed(request: HttpRequest, there: Provider, error: JoiningError) -> HttpResponse:
    """Say what happened and what to do; the log has what is of no use to who tried."""
    status = HTTPStatus.FORBIDDEN
    if isinstance(error, TriedTooOften):
        status = HTTPStatus.TOO_MANY_REQUESTS
    elif isinstance(error, ProviderFault):
        status = HTTPStatus.BAD_GATEWAY
    elif isinstance(error, Outdated):
        status = HTTPStatus.BAD_REQUEST
    if isinstance(error, OpenIDError):
        logger.warning("signing in by %s did not work: %s", there.issuer, error.why)
    context = {"error": str(error), "provider": there.label}
    return render(request, "annotation/openid_failed.html", context, status=status)
