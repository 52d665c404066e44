"""Judges side by side, and how far each version can be trusted."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotation.models import Project, User
from dashboard import charting, comparing
from dashboard.access import managed
from dashboard.auditing import audit_groups, calibration_facts
from dashboard.browsing import failed_verdicts
from dashboard.following import follow, runs_of, unsettled
from dashboard.judge_forms import GateForm, RunForm
from dashboard.remembering import audit, judge_rows, sample
from dashboard.views.running import started
from dashboard.views.showing import show, status_of
from judges.capabilities import served_of
from judges.defining import key_of
from judges.errors import JudgeError
from judges.forecasting import beside_each_other, can_forecast
from judges.gating import gate_of, set_gate
from judges.models import JudgeKind, JudgeRun, JudgeVersion, RunState
from judges.options import read_options
from judges.probing import asks_a_server, describe
from judges.running import start_run
from routing.labels.calibrating import calibrate_judge as calibrate_judge_version

RUNS_SHOWN = 5


@require_GET
@managed
def judges(request: HttpRequest, project: Project) -> HttpResponse:
    """Compare the judges of a project, with the runs that need an eye."""
    rows = judge_rows(project)
    every = request.GET.get("versions") == "all"
    shown = comparing.with_tests(project, rows if every else comparing.newest(rows))
    context = {
        "rows": comparing.ordered(shown, request.GET.get("sort", ""), falling=request.GET.get("down") == "1"),
        "columns": comparing.COLUMNS,
        "sort": request.GET.get("sort", ""),
        "falling": request.GET.get("down") == "1",
        "every": every,
        "has_older": len(rows) > len(comparing.newest(rows)),
        "references": comparing.references(project, rows),
        "matrix": comparing.agreement_matrix(project, shown),
        "sample": sample(project),
        "followed": [follow(run) for run in unsettled(project, most=RUNS_SHOWN)],
        "dismissed": [row for row in shown if row["n_pairs"] and not row["trusted"]],
        "failed": failed_verdicts(project).count(),
        "charts": charting.offered(project, ("judges",)),
    }
    return show(request, project, "judges.html", "judges", context)


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def judge(request: HttpRequest, project: Project, version_id: UUID) -> HttpResponse:
    """Show a judge version: whether it may label alone, its main figures and its runs; POST starts a run."""
    version = get_object_or_404(versions_of(project), pk=version_id)
    form = RunForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
        try:
            run = start_run(version, started_by=request.user, **form.cleaned_data)
        except JudgeError as error:
            form.add_error("limit" if "limit" in str(error).lower() else "budget_usd", str(error))
        else:
            messages.success(request, started(run))
            return redirect("judge", project.slug, version.pk)
    context = {
        "card": card_of(project, version),
        "form": form,
        "can_run": version.judge.kind != JudgeKind.RECORDED,
        "gives_reasons_later": read_options(version.options).rationale == "later",
        "followed": [follow(run) for run in _runs(project, version)[:RUNS_SHOWN]],
        **_server(version),
        **_forecast(project, version),
    }
    return show_judge(request, project, version, "judge.html", "judge", context, status=status_of(form))


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def judge_audit(request: HttpRequest, project: Project, version_id: UUID) -> HttpResponse:
    """Show all that is measured about a judge version; POST sets the thresholds it must meet to label alone."""
    version = get_object_or_404(versions_of(project), pk=version_id)
    form = GateForm(request.POST or None, gate=gate_of(version.judge))
    if request.method == "POST" and form.is_valid():
        try:
            set_gate(version.judge, form.thresholds())
        except JudgeError as error:
            form.place(str(error))
        else:
            messages.success(request, f"{version.judge.name} is held to these thresholds now.")
            return redirect("judge_audit", project.slug, version.pk)
    found = audit(version)
    context = {
        "card": found["card"],
        "groups": audit_groups(found),
        "calibration": calibration_facts(version.calibration),
        "form": form,
        "charts": charting.of_version(version),
    }
    return show_judge(request, project, version, "judge_audit.html", "judge_audit", context, status=status_of(form))


@require_GET
@managed
def audit_json(request: HttpRequest, project: Project, version_id: UUID) -> HttpResponse:
    """Send the audit of a judge version as a file, with all of its numbers."""
    version = get_object_or_404(versions_of(project), pk=version_id)
    name = f"{project.slug}-{version.judge.name}-v{version.number}.json".replace(" ", "-")
    return JsonResponse(
        audit(version),
        json_dumps_params={"indent": 2, "sort_keys": True},
        headers={"Content-Disposition": f'attachment; filename="{_ascii(name)}"'},
    )


@require_POST
@managed
def calibrate_judge(request: HttpRequest, project: Project, version_id: UUID) -> HttpResponse:
    """Fit the map from stated to true probability to people's answers, weighed by the odds that each was asked."""
    version = get_object_or_404(versions_of(project), pk=version_id)
    try:
        calibrate_judge_version(version)
    except JudgeError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"The probabilities of {version} are calibrated to people's answers.")
    return redirect("judge_audit", project.slug, version.pk)


def versions_of(project: Project) -> QuerySet[JudgeVersion]:
    """Return the judge versions of a project, with their judges."""
    return JudgeVersion.objects.filter(judge__project=project).select_related("judge__project")


def card_of(project: Project, version: JudgeVersion) -> dict[str, Any]:
    """Return the card of a version of this project, as JSON values."""
    return next(card for card in judge_rows(project) if card["version_id"] == str(version.pk))


TABS = (
    ("judge", "Trust and runs"),
    ("judge_audit", "Audit"),
    ("judge_answers", "Answers"),
    ("judge_prompt", "What it is asked"),
)


def show_judge(
    request: HttpRequest,
    project: Project,
    version: JudgeVersion,
    template: str,
    tab: str,
    context: dict[str, Any],
    *,
    status: int = 200,
) -> HttpResponse:
    """Render one of the pages of a judge version."""
    shared = {"version": version, "tabs": TABS, "tab": tab, "sample": sample(project)}
    return show(request, project, template, "judges", {**shared, **context}, status=status)


def _server(version: JudgeVersion) -> dict[str, Any]:
    """Return what the page says of the version's server: what a probe found, and whether there is a key for it."""
    if not asks_a_server(version):
        return {}
    served = served_of(version)
    return {
        "asks_a_server": True,
        "served": served,
        "findings": describe(served) if served is not None else [],
        "key_is_set": bool(key_of(version.base_url)) if version.base_url else None,
    }


def _forecast(project: Project, version: JudgeVersion) -> dict[str, Any]:
    """Return what a run would take of the judges that were probed, and whether this one can be."""
    told = beside_each_other(project)
    probes = version.forecasts.filter(run__state=RunState.RUNNING, measured_at=None)
    return {
        "can_forecast": can_forecast(version),
        "told": told,
        "measured": any(one.version == version for one in told),
        "probing": probes.exists(),
    }


def _runs(project: Project, version: JudgeVersion) -> QuerySet[JudgeRun]:
    return runs_of(project).filter(version=version).order_by("-created_at")


def _ascii(name: str) -> str:
    return "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_.") else "-" for sign in name)
