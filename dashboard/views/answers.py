"""What judges were asked and said: verdicts to browse, prompts and versions, and the questions that failed."""

import uuid

from django.contrib import messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.defaultfilters import pluralize
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from annotation.models import Project
from dashboard import browsing
from dashboard.access import managed
from dashboard.comparing import changes_between, facts_of
from dashboard.quoting import says_nothing, sent_for, with_texts
from dashboard.views.judging import show_judge, versions_of
from dashboard.views.pairs import as_uuid
from dashboard.views.showing import show
from judges.errors import JudgeError
from judges.models import JudgeRun, Verdict
from judges.running import retry_failed


@require_GET
@managed
def judge_answers(request: HttpRequest, project: Project, version_id: uuid.UUID) -> HttpResponse:
    """Browse a version's answers, each with what was sent and the raw text; the address holds the filter."""
    version = get_object_or_404(versions_of(project), pk=version_id)
    wanted = request.GET.get("show", "")
    context = {
        "page": browsing.page_of_quotes(version, show=wanted, after=as_uuid(request.GET.get("after", ""))),
        "filters": [(name, title) for name, (title, _) in browsing.FILTERS.items()],
        "wanted": wanted if wanted in browsing.FILTERS else "",
    }
    return show_judge(request, project, version, "judge_answers.html", "judge_answers", context)


@require_GET
@managed
def judge_prompt(request: HttpRequest, project: Project, version_id: uuid.UUID) -> HttpResponse:
    """Show what a version is asked, its settings, and how the judge's versions differ."""
    version = get_object_or_404(versions_of(project), pk=version_id)
    example = with_texts(Verdict.objects.of_labels().filter(version=version)).order_by("pk").first()
    versions = list(versions_of(project).filter(judge=version.judge).order_by("-number"))
    context = {
        "facts": facts_of(version),
        "example": example,
        "sent": sent_for(example) if example is not None else None,
        "nothing": says_nothing(version),
        "versions": [
            (one, changes_between(before, one)) for one, before in zip(versions, [*versions[1:], None], strict=True)
        ],
    }
    return show_judge(request, project, version, "judge_prompt.html", "judge_prompt", context)


@require_http_methods(["GET", "HEAD", "POST"])
@managed
def failed_questions(request: HttpRequest, project: Project) -> HttpResponse:
    """List the questions that failed, by reason; POST asks one, those of a reason, or all again."""
    wanted = request.GET.get("judge", "")
    version_id = as_uuid(wanted)
    if wanted and version_id is None:
        raise Http404("No such judge.")
    failed = browsing.failed_verdicts(project, version_id=version_id)
    if request.method == "POST":
        _ask_again(request, project, failed)
        return redirect(f"{reverse('failed_questions', args=[project.slug])}?{request.GET.urlencode()}".rstrip("?"))
    reason = request.GET.get("reason", "")
    chosen = browsing.of_reason(failed, reason) if reason else failed
    pairs, next_after = browsing.page_of_failed(chosen, after=as_uuid(request.GET.get("after", "")))
    context = {
        "total": failed.count(),
        "reasons": browsing.reasons_of(failed),
        "reason": reason,
        "pairs": pairs,
        "next_after": next_after,
        "versions": versions_of(project).filter(verdicts__state="failed").distinct().order_by("judge__name", "number"),
        "judge": wanted,
    }
    return show(request, project, "failed_questions.html", "judges", context)


def _ask_again(request: HttpRequest, project: Project, failed: QuerySet[Verdict]) -> None:
    if "verdict" in request.POST:
        failed = failed.filter(pk__in=[as_uuid(request.POST["verdict"]) or uuid.UUID(int=0)])
    elif "reason" in request.POST:
        failed = browsing.of_reason(failed, request.POST["reason"])
    wanted = browsing.by_run(failed)
    runs = JudgeRun.objects.filter(project=project, pk__in=wanted).select_related("version__judge")
    count = 0
    for run in runs:
        try:
            count += retry_failed(run, verdict_ids=wanted[run.pk])
        except JudgeError as error:
            messages.error(request, f"{run.version}: {error}")
    if count:
        messages.success(request, f"{count:,} question{pluralize(count)} asked again.")
