"""The guidelines as a manager writes them."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from annotation.errors import AnnotationError
from annotation.guiding import changed_lines, history_of, revise_guidelines
from annotation.models import Project, User
from dashboard.access import managed
from dashboard.training_forms import GuidelinesForm
from dashboard.views.showing import show_tab

# How many versions are listed with what they changed, unless all are asked for.
LISTED, ALL = 20, 10_000


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def guidelines(request: HttpRequest, project: Project) -> HttpResponse:
    """Show the guidelines and their versions; POST shows a draft as people would see it, or stores it."""
    form = GuidelinesForm(request.POST or None, project=project)
    if form.is_valid() and not form.is_preview:
        by = request.user if isinstance(request.user, User) else None
        try:
            version = revise_guidelines(project, by=by, **form.revision())
        except AnnotationError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Version {version.number} is in force, beside every pair from now on.")
            return redirect("guidelines", project.slug)
    history = history_of(project, limit=ALL if "all" in request.GET else LISTED)
    context = {
        "form": form,
        "history": history,
        "more": bool(history) and history[-1].version.number > 1,
        "preview": form.preview(),
        "preview_changes": changed_lines(project.guidelines, form.preview()) if project.guidelines else [],
    }
    is_refused = form.is_bound and bool(form.errors)
    return show_tab(request, project, "guidelines.html", "guidelines", context, status=422 if is_refused else 200)
