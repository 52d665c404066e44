"""Who may see an annotator's page, and how a script is told that somebody is signed out."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.cache import never_cache

from annotation import assigning
from annotation.errors import NotAMember
from annotation.models import Project, Rater, User

P = ParamSpec("P")


def is_htmx(request: HttpRequest) -> bool:
    """Say whether a script asked, which takes a part of the page and follows no redirect."""
    return request.headers.get("HX-Request") == "true"


def as_rater(
    view: Callable[Concatenate[HttpRequest, Project, Rater, P], HttpResponse],
) -> Callable[..., HttpResponse]:
    """Load the project and the person's rater; signing in comes first, and what is not yours is 404."""

    @wraps(view)
    @never_cache
    def wrapped(request: HttpRequest, slug: str, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
        user = request.user
        if not isinstance(user, User):
            # A script cannot follow a redirect to a form: it is told, and keeps the answer.
            wants_page = request.method == "GET" and not is_htmx(request)
            return redirect_to_login(request.get_full_path()) if wants_page else HttpResponse(status=401)
        project = get_object_or_404(Project.objects.visible_to(user), slug=slug)
        try:
            rater = assigning.rater_for(project, user)
        except NotAMember as error:
            raise Http404(str(error)) from error
        return view(request, project, rater, *args, **kwargs)

    return wrapped
