"""Whether this process lives, and whether it can work."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from dashboard.probing import failing_parts, missing_helpers


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """Answer without touching anything: a process that answers lives."""
    return HttpResponse("ok", content_type="text/plain")


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Answer 200, or 503 with the names of the parts that are down and nothing else about them.

    Helpers that only judges wait for (a worker with a GPU, vLLM) are named after "ok": without them the site works.
    """
    failing = failing_parts()
    if failing:
        return HttpResponse(f"down: {', '.join(failing)}", status=503, content_type="text/plain")
    missing = missing_helpers()
    return HttpResponse(f"ok, without: {', '.join(missing)}" if missing else "ok", content_type="text/plain")
