"""Practice and the gate as a manager makes them, and one more try for somebody."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_http_methods, require_POST

from annotation.learning import allow_another_try
from annotation.models import Project, Rater, RaterKind
from dashboard.access import managed
from dashboard.training_desk import Desk
from dashboard.views.showing import show_tab


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def training(request: HttpRequest, project: Project) -> HttpResponse:
    """Show practice pairs, questions and how people fare with them; POST changes one item or all."""
    desk = Desk(project, request)
    if desk.sent is not None and desk.save():
        messages.success(request, "Stored. Who passed the gate stays passed.")
        return redirect("training", project.slug)
    status = 200 if desk.sent is None else 422
    return show_tab(request, project, "training.html", "training", desk.context(), status=status)


@require_POST
@managed
def another_try(request: HttpRequest, project: Project, rater_id: UUID) -> HttpResponse:
    """Give somebody whom the gate refused one more try."""
    rater = get_object_or_404(Rater, pk=rater_id, project=project, kind=RaterKind.PERSON)
    if allow_another_try(rater):
        messages.success(request, f"{rater.name} has one more try at the questions.")
    else:
        messages.info(request, f"{rater.name} is not refused by the gate, so nothing changed.")
    return redirect("people", project.slug)
