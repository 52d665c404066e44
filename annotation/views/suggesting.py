"""What a judge said, shown after a person's own answer, where the project asks for it."""

from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from annotation.errors import LeaseNotYours
from annotation.models import Project, Rater
from annotation.suggesting import keep_own, said_of, suggestion_of
from annotation.views.access import as_rater, is_htmx


@require_http_methods(["GET", "HEAD", "POST"])
@as_rater
def suggestion(request: HttpRequest, project: Project, rater: Rater, assignment_id: UUID) -> HttpResponse:
    """Show what a judge said of a pair that this person answered; POST notes that they kept their answer."""
    try:
        found = suggestion_of(assignment_id, rater)
        if request.method == "POST":
            keep_own(assignment_id, rater, now=timezone.now())
    except LeaseNotYours as error:
        raise Http404(str(error)) from error
    if request.method != "POST":
        return render(request, "annotation/suggestion.html", {"project": project, "suggestion": said_of(found)})
    return HttpResponse(status=204) if is_htmx(request) else redirect("annotate", slug=project.slug)
