"""Erasing a person: what would go, what would still hold them, and the name typed once more."""

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from annotation.erasing import reasons_against
from annotation.errors import AnnotationError
from annotation.models import Project, Rater, RaterKind, User
from dashboard.access import managed
from dashboard.people_forms import EraseForm
from dashboard.views.showing import show_tab, status_of
from exports.erasing import affected_by, erase_person
from exports.models import Erasure


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def erase(request: HttpRequest, project: Project, rater_id: UUID) -> HttpResponse:
    """Show what erasing a person does; POST with their name does it."""
    rater = get_object_or_404(Rater, project=project, pk=rater_id, kind=RaterKind.PERSON)
    form = EraseForm(request.POST or None, name=rater.name)
    if Erasure.objects.filter(rater=rater).exists():
        return redirect("person", project.slug, rater.pk)
    if form.is_valid():
        assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
        try:
            done = erase_person(rater, reason=form.cleaned_data["reason"], by=request.user, now=timezone.now())
        except AnnotationError as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Erased: {done.answers} answers and what led back to them.")
            return redirect("person", project.slug, rater.pk)
    affected = affected_by(rater)
    context = {
        "rater": rater,
        "form": form,
        "against": reasons_against(rater),
        "snapshots": affected.snapshots,
        "publications": affected.publications,
    }
    return show_tab(request, project, "erase_person.html", "people", context, status=status_of(form))
