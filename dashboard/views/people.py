"""Members and what they did."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods

from annotation.learning import stage_of
from annotation.models import Membership, Project, Rater, RaterKind
from dashboard.access import managed
from dashboard.forms import MemberForm
from dashboard.inviting import DashboardError, add_member
from dashboard.remembering import report
from dashboard.views.showing import show_tab, status_of


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def people(request: HttpRequest, project: Project) -> HttpResponse:
    """Show members and raters; add a member. A new account's password is in this one answer and nowhere else."""
    form = MemberForm(request.POST or None)
    added = None
    if form.is_valid():
        try:
            added = add_member(project, form.cleaned_data["username"], role=form.cleaned_data["role"])
        except DashboardError as error:
            form.add_error("username", str(error))
        else:
            form = MemberForm()
    rows = {row["person"]: row for row in report(project, "people")["people"]}
    quality = {row["person"]: row for row in report(project, "quality")["people"]}
    raters = Rater.objects.filter(project=project, kind=RaterKind.PERSON).select_related("user").order_by("name")
    context = {
        "form": form,
        "added": added,
        "members": Membership.objects.filter(project=project).select_related("user").order_by("role", "user__username"),
        "steadiness": report(project, "steadiness"),
        "rows": [
            (rater, rows.get(rater.name), stage_of(project, rater), _standing(quality.get(rater.name)))
            for rater in raters
        ],
    }
    return show_tab(request, project, "people.html", "people", context, status=status_of(form))


def _standing(quality: dict[str, Any] | None) -> dict[str, Any]:
    """Return a person's figure on gold, how many signs are flagged, and whether they are excluded."""
    known = quality or {}
    return {
        "gold": known["gold"]["accuracy"] if known else None,
        "flags": sum(sign["flagged"] for sign in known.get("signs", [])),
        "is_excluded": bool(known.get("excluded")),
    }
