"""Pages for what went wrong: those below the annotator's addresses in their language, those of managers in English."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.views import csrf, defaults

from annotation.views.access import language_for

ANNOTATORS = ("/annotate/", "/annotation-settings/", "/sign-in/", "/sign-out/", "/join/", "/study/")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say that what was sent cannot be read."""
    with _in_its_language(request):
        return defaults.bad_request(request, exception)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say that nothing is here, or nothing for who asks."""
    with _in_its_language(request):
        return defaults.page_not_found(request, exception)


def form_refused(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Say that a form came without its page's token."""
    with _in_its_language(request):
        return csrf.csrf_failure(request, reason)


def _in_its_language(request: HttpRequest) -> translation.override:
    of_annotator = request.path.startswith(ANNOTATORS)
    return translation.override(language_for(request) if of_annotator else settings.LANGUAGE_CODE)
