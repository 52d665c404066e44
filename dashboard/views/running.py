"""Runs of judges: watch one, steer it, and read what a test asked."""

from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.defaultfilters import pluralize
from django.views.decorators.http import require_GET, require_POST

from annotation.models import Project, User
from dashboard.access import managed
from dashboard.browsing import quotes_of_run
from dashboard.following import follow
from dashboard.judge_forms import CapForm
from dashboard.views.showing import show
from judges.batching import cancel_batches
from judges.errors import JudgeError
from judges.forecasting import start_probe
from judges.models import JudgeRun, JudgeVersion, RunState
from judges.running import pause, resume, retry_failed, start_run
from routing.labels.explaining import ask_reasons

# A test asks so few pairs that each exchange can be read.
TEST_PAIRS = 5
# Five pairs in two orders, each several samples: one row an order.
MOST_QUOTED = 20


@require_GET
@managed
def run(request: HttpRequest, project: Project, run_id: UUID) -> HttpResponse:
    """Show how far a run is: the part that htmx asks for again."""
    found = get_object_or_404(JudgeRun.objects.select_related("version__judge"), project=project, pk=run_id)
    if request.headers.get("HX-Request") != "true":
        return redirect("judge", project.slug, found.version_id)
    return render(request, "dashboard/_run.html", {"project": project, "one": follow(found)})


@require_POST
@managed
def steer_run(request: HttpRequest, project: Project, run_id: UUID, action: str) -> HttpResponse:
    """Pause a run, resume it (under another cap), cancel its files, or ask its failed questions again."""
    found = get_object_or_404(JudgeRun.objects.select_related("version__judge"), project=project, pk=run_id)
    try:
        if action == "pause":
            done = "Paused." if pause(found) else "The run was not running."
        elif action == "resume":
            resume(found)
            done = "The run goes on."
        elif action == "raise":
            done = _raise_cap(found, CapForm(request.POST))
        elif action == "cancel":
            count = cancel_batches(found)
            done = f"{count:,} file{pluralize(count)} cancelled; what was answered until then is stored."
        elif action == "retry":
            count = retry_failed(found)
            done = f"{count:,} failed question{pluralize(count)} asked again."
        else:
            raise Http404("No such action.")
    except JudgeError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, done)
    return redirect("judge", project.slug, found.version_id)


@require_POST
@managed
def test_judge(request: HttpRequest, project: Project, version_id: UUID) -> HttpResponse:
    """Start a run of five pairs and lead to the page that shows each exchange."""
    version = get_object_or_404(JudgeVersion.objects.filter(judge__project=project), pk=version_id)
    assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
    try:
        found = start_run(version, limit=TEST_PAIRS, started_by=request.user)
    except JudgeError as error:
        messages.error(request, f"The test was not started. {error}")
        return redirect("judge", project.slug, version.pk)
    return redirect("run_test", project.slug, found.pk)


@require_POST
@managed
def forecast_judge(request: HttpRequest, project: Project, version_id: UUID) -> HttpResponse:
    """Start a probe: a run of 200 pairs whose time and cost foretell the rest."""
    version = get_object_or_404(JudgeVersion.objects.filter(judge__project=project), pk=version_id)
    assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
    try:
        found = start_probe(version, started_by=request.user)
    except JudgeError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, started(found))
    return redirect("judge", project.slug, version.pk)


@require_POST
@managed
def explain_judge(request: HttpRequest, project: Project, version_id: UUID) -> HttpResponse:
    """Ask a version for the reasons of its answers where its label stands, or where people dispute."""
    version = get_object_or_404(JudgeVersion.objects.filter(judge__project=project), pk=version_id)
    assert isinstance(request.user, User)  # noqa: S101  (a manager is signed in)
    try:
        found = ask_reasons(version, started_by=request.user)
    except JudgeError as error:
        messages.error(request, str(error))
    else:
        count = found.verdicts.count()
        messages.success(request, f"{count:,} reason{pluralize(count)} asked for.")
    return redirect("judge", project.slug, version.pk)


@require_GET
@managed
def run_test(request: HttpRequest, project: Project, run_id: UUID) -> HttpResponse:
    """Show what a small run asked and was answered: messages, raw text, what was read from it, and its cost."""
    runs = JudgeRun.objects.select_related("version__judge").filter(project=project)
    found = get_object_or_404(runs, pk=run_id)
    context = {
        "run": found,
        "version": found.version,
        "one": follow(found),
        "pairs": quotes_of_run(found, most=MOST_QUOTED),
        "running": found.state == RunState.RUNNING,
    }
    if request.headers.get("HX-Request") == "true":
        return render(request, "dashboard/_test.html", {"project": project, **context})
    return show(request, project, "judge_test.html", "judges", context)


def started(run: JudgeRun) -> str:
    """Return what a manager is told about a run that was just started."""
    questions = run.verdicts.count()
    if not questions and not run.children.exists():
        return "Every pair has this judge's answer already."
    if not questions:
        return "The judges it is made of are asked first; its own answers follow."
    return f"{questions:,} question{pluralize(questions)} queued for a worker."


def _raise_cap(run: JudgeRun, form: CapForm) -> str:
    if not form.is_valid():
        raise JudgeError(f"The cap was not changed: {form.errors['budget_usd'][0]}")
    resume(run, budget_usd=form.cleaned_data["budget_usd"])
    return "The cap is changed and the run goes on."
