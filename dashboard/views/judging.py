"""Judges, their cards and their runs."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import Count, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.defaultfilters import pluralize
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.models import Project, User
from dashboard import charting
from dashboard.access import managed
from dashboard.forms import JudgeForm, RunForm
from dashboard.remembering import judge_rows
from dashboard.views.showing import show, status_of
from judges.defining import add_judge
from judges.errors import JudgeError
from judges.models import JudgeKind, JudgeRun, JudgeVersion, Verdict, VerdictState
from judges.running import pause, resume, retry_failed, start_run

SAMPLES = 10
RUNS_SHOWN = 5
OPEN = (VerdictState.PENDING, VerdictState.CLAIMED)


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def judges(request: HttpRequest, project: Project) -> HttpResponse:
    """List the judges with their cards, and add one."""
    form = JudgeForm(request.POST or None)
    if form.is_valid():
        try:
            version = _add(project, form.cleaned_data)
        except JudgeError as error:
            form.add_error(_field_of(str(error)), str(error))
        else:
            messages.success(request, f"{version} is there. Run it to label pairs.")
            return redirect("judge", project.slug, version.pk)
    context = {
        "form": form,
        "cards": judge_rows(project),
        "runs": _runs(project)[:RUNS_SHOWN],
        "charts": charting.offered(project, ("judges",)),
    }
    return show(request, project, "judges.html", "judges", context, status=status_of(form))


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def judge(request: HttpRequest, project: Project, version_id: UUID) -> HttpResponse:
    """Show a judge version with its card and some verdicts in both orders; POST starts a run."""
    version = get_object_or_404(_versions(project), pk=version_id)
    form = RunForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
        try:
            run = start_run(version, started_by=request.user, **form.cleaned_data)
        except JudgeError as error:
            form.add_error("limit" if "limit" in str(error).lower() else "budget_usd", str(error))
        else:
            messages.success(request, _started(run))
            return redirect("judge", project.slug, version.pk)
    cards = {card["version_id"]: card for card in judge_rows(project)}
    context = {
        "version": version,
        "card": cards.get(str(version.pk)),
        "form": form,
        "can_run": version.judge.kind != JudgeKind.RECORDED,
        "runs": _runs(project).filter(version=version),
        "samples": _samples(version),
    }
    return show(request, project, "judge.html", "judges", context, status=status_of(form))


@require_GET
@managed
def run(request: HttpRequest, project: Project, run_id: UUID) -> HttpResponse:
    """Show how far a run is: the part that htmx asks for again."""
    found = get_object_or_404(_runs(project), pk=run_id)
    if request.headers.get("HX-Request") != "true":
        return redirect("judge", project.slug, found.version_id)
    return render(request, "dashboard/_run.html", {"project": project, "run": found})


@require_POST
@managed
def steer_run(request: HttpRequest, project: Project, run_id: UUID, action: str) -> HttpResponse:
    """Pause a run, resume it, or ask its failed questions again."""
    found = get_object_or_404(JudgeRun.objects.select_related("version__judge"), project=project, pk=run_id)
    try:
        if action == "pause":
            done = "Paused." if pause(found) else "The run was not running."
        elif action == "resume":
            resume(found)
            done = "The run goes on."
        elif action == "retry":
            done = f"{retry_failed(found):,} failed questions are asked again."
        else:
            raise Http404("No such action.")
    except JudgeError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, done)
    return redirect("judge", project.slug, found.version_id)


def _add(project: Project, values: dict[str, Any]) -> JudgeVersion:
    return add_judge(
        project,
        values["name"],
        kind=values["kind"],
        base_url=values["base_url"],
        model=values["model"],
        price_input_usd_per_million=values["price_input"],
        price_output_usd_per_million=values["price_output"],
    )


def _field_of(error: str) -> str:
    """Return the field an error of `add_judge` speaks of."""
    text = error.lower()
    if "address" in text or "host" in text or "key" in text:
        return "base_url"
    if "price" in text:
        return "price_input"
    return "name" if "name" in text else "kind"


def _versions(project: Project) -> Any:
    return JudgeVersion.objects.filter(judge__project=project).select_related("judge")


def _runs(project: Project) -> Any:
    return (
        JudgeRun.objects.filter(project=project)
        .select_related("version__judge")
        .annotate(
            done=Count("verdicts", filter=Q(verdicts__state=VerdictState.DONE)),
            failed=Count("verdicts", filter=Q(verdicts__state=VerdictState.FAILED)),
            open=Count("verdicts", filter=Q(verdicts__state__in=OPEN)),
        )
    )


def _samples(version: JudgeVersion) -> list[list[Verdict]]:
    """Return the newest answered or failed verdicts, both orders of a pair together."""
    finished = Verdict.objects.filter(version=version, state__in=[VerdictState.DONE, VerdictState.FAILED])
    newest = finished.order_by("-finished_at", "-id").values_list("pair_id", flat=True)[: 2 * SAMPLES]
    pairs = list(dict.fromkeys(newest))[:SAMPLES]
    by_pair: dict[UUID, list[Verdict]] = {pair: [] for pair in pairs}
    for verdict in finished.filter(pair__in=pairs).select_related("pair").order_by("order"):
        by_pair[verdict.pair_id].append(verdict)
    return list(by_pair.values())


def _started(run: JudgeRun) -> str:
    questions = run.verdicts.count()
    if not questions:
        return "Every pair has this judge's answer already."
    return f"{questions:,} question{pluralize(questions)} queued for a worker."
