"""How far people agree, and how their votes become one answer."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from annotation.models import Project
from dashboard import charting, matching
from dashboard.access import managed
from dashboard.forms import MethodForm
from dashboard.remembering import data_version, report
from dashboard.views.showing import show, status_of
from routing.labels.choosing import choose_method


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def agreement(request: HttpRequest, project: Project) -> HttpResponse:
    """Show every coefficient, by criterion, person, couple and time; choose how votes become one answer."""
    form = MethodForm(request.POST or None, initial={"method": project.aggregation})
    if form.is_valid():
        if choose_method(project, form.cleaned_data["method"]):
            messages.success(request, f"Labels go by “{project.get_aggregation_display()}”. A worker makes them again.")
        return redirect("agreement", project.slug)
    version = data_version(project)
    found, people = report(project, "agreement", version), report(project, "people", version)
    charts = {chart.name: chart for chart in charting.offered(project, ("coefficients", "agreement_time"))}
    context = {
        "form": form,
        "report": found,
        "rows": matching.coefficient_rows(found["coefficients"]["sides"]),
        "matrix": matching.matrix_of(people["couples"]),
        "people": [row for row in people["people"] if row["agreement_with_others"]["n"]],
        "couples_with_too_few": people["couples_with_too_few"],
        "coefficients": charts.get("coefficients"),
        "time": charts.get("agreement_time"),
    }
    return show(request, project, "agreement.html", "agreement", context, status=status_of(form))
