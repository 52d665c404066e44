"""The guidelines as a person reads them: whole, searched, by version, and that they were read."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from annotation import guiding
from annotation.errors import AnnotationError
from annotation.learning import Stage, stage_of, steps_of
from annotation.models import Project, Rater
from annotation.training import training_of
from annotation.views.access import as_rater, is_htmx
from annotation.views.training import go_on

# Python reads no number of thousands of digits, and no version has one of ten.
LONGEST_NUMBER = 9


@require_GET
@as_rater
def guidelines(request: HttpRequest, project: Project, rater: Rater) -> HttpResponse:
    """Show the guidelines in force, what changed since this person read them, and the versions before."""
    stage = stage_of(project, rater)
    context = {
        "project": project,
        "stage": stage,
        "steps": steps_of(project, stage),
        "notice": guiding.notice_for(project, rater),
        "versions": guiding.versions_of(project),
        "has_practice": bool(training_of(project).practice),
    }
    return render(request, "annotation/guidelines.html", context)


@require_GET
@as_rater
def guidelines_version(request: HttpRequest, project: Project, rater: Rater, number: int) -> HttpResponse:
    """Show the guidelines as they were, and what has changed since."""
    version = get_object_or_404(guiding.versions_of(project), number=number)
    changes = guiding.changed_lines(version.text, project.guidelines)
    context = {"project": project, "version": version, "changes": changes}
    return render(request, "annotation/guidelines_version.html", context)


@require_POST
@as_rater
def mark_guidelines_read(request: HttpRequest, project: Project, rater: Rater) -> HttpResponse:
    """Keep that the version on the screen was read; go on, or take the notice away where a script asked."""
    number = request.POST.get("number", "")
    if not number.isascii() or not number.isdigit() or len(number) > LONGEST_NUMBER:
        raise Http404("No such version.")
    is_first = stage_of(project, rater) is Stage.GUIDELINES
    try:
        guiding.mark_read(rater, int(number))
    except AnnotationError as error:
        messages.error(request, str(error))
        return redirect("annotate_guidelines", project.slug)
    if is_htmx(request):
        return render(request, "annotation/_guidelines_notice.html", {"project": project, "was_read": True})
    return go_on(project, rater) if is_first else redirect("annotate", project.slug)
