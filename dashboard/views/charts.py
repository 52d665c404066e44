"""Charts as images. The address names the content, so a browser keeps them."""

from typing import get_args

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET

from annotation.models import Project
from dashboard import charting
from dashboard.access import managed
from dashboard.charts import WIDTHS, Theme
from judges.models import JudgeVersion
from routing.models import Plan, Study


@require_GET
@managed
def chart(request: HttpRequest, project: Project, name: str, theme: Theme, width: str) -> HttpResponse:
    """Draw one of the project's charts; `?plan=`, `?judge=` or `?study=` names what else it is about."""
    known = name in charting.CHARTS or (name in charting.OF_VERSION and "judge" in request.GET)
    known = known or (name in charting.OF_STUDY and "study" in request.GET)
    if not known or theme not in get_args(Theme) or width not in WIDTHS:
        raise Http404("No such chart.")
    if name in charting.OF_VERSION:
        versions = JudgeVersion.objects.filter(judge__project=project)
        version = get_object_or_404(versions.select_related("judge__project"), pk__in=_uuids(request.GET["judge"]))
        found = charting.OF_VERSION[name](version)
    elif name in charting.OF_STUDY:
        studies = Study.objects.filter(project=project).defer("checkpoint")
        found = charting.OF_STUDY[name](get_object_or_404(studies, pk__in=_uuids(request.GET["study"])))
    elif name == "frontier" and "plan" in request.GET:
        plan = get_object_or_404(Plan.objects.filter(project=project), pk__in=_uuids(request.GET["plan"]))
        found = charting.frontier_of(plan)
    else:
        found = charting.CHARTS[name](project)
    if found is None:
        raise Http404("There is nothing to draw yet.")
    return HttpResponse(charting.svg(found, theme=theme, width=width), content_type="image/svg+xml")


def _uuids(text: str) -> list[str]:
    """Return the text as a list of one id, empty where it is none."""
    return [text] if len(text) == 36 and not set(text) - set("0123456789abcdef-") else []
