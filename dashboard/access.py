"""Who may open a manager's page: loading the project is the permission check."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.cache import never_cache

from annotation.assigning import rater_for
from annotation.joining.second_step import PROVEN, needs_second_step
from annotation.models import Project, Rater, Role, User

P = ParamSpec("P")


def signed_in(view: Callable[Concatenate[HttpRequest, User, P], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Give a view the person who asks; somebody who is not signed in goes to the sign-in page first."""

    @wraps(view)
    @never_cache
    def wrapped(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        user = request.user
        if not isinstance(user, User):
            # A polled fragment cannot show a form: it is told, and the next click signs in.
            if request.headers.get("HX-Request") == "true":
                return HttpResponse(status=401)
            return redirect_to_login(request.get_full_path())
        if not request.session.get(PROVEN) and needs_second_step(user):
            return redirect("second_step")
        return view(request, user, *args, **kwargs)

    return wrapped


def managed(view: Callable[Concatenate[HttpRequest, Project, P], HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Give a view the project of its address; what the person does not manage is 404, as if it were not there."""

    @wraps(view)
    def of_project(
        request: HttpRequest, user: User, /, slug: str, *args: P.args, **kwargs: P.kwargs
    ) -> HttpResponseBase:
        project = get_object_or_404(Project.objects.managed_by(user), slug=slug)
        return view(request, project, *args, **kwargs)

    return signed_in(of_project)


def adjudicated(
    view: Callable[Concatenate[HttpRequest, Rater, P], HttpResponseBase],
) -> Callable[..., HttpResponseBase]:
    """Give a view the rater of an adjudicator in the project of its address; anybody else finds nothing there."""

    @wraps(view)
    def of_project(
        request: HttpRequest, user: User, /, slug: str, *args: P.args, **kwargs: P.kwargs
    ) -> HttpResponseBase:
        members = Project.objects.filter(memberships__user=user, memberships__role=Role.ADJUDICATOR)
        project = get_object_or_404(members, slug=slug)
        return view(request, rater_for(project, user), *args, **kwargs)

    return signed_in(of_project)
