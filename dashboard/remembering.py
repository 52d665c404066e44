"""Reports cost seconds on large projects, so a page keeps them for as long as the data under them are the same."""

import hashlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.core.cache import cache
from django.db.models import Count, Max

from annotation.models import (
    Assignment,
    Exclusion,
    Gold,
    LedgerEntry,
    Pair,
    Payment,
    Preference,
    Project,
    Rater,
    Rating,
)
from annotation.sampling import Sample, sample_of
from exports.reporting import make_report
from judges.auditing import judge_audit, judge_cards
from judges.models import Judge, JudgeRun, JudgeVersion, ResponseFlag, RunState, Verdict
from routing.models import Label, Plan

Value = TypeVar("Value")

KEPT_SECONDS = 24 * 3600
LIVE_SECONDS = 120


def data_version(project: Project) -> str:
    """Return a key that changes whenever something a report counts changes; eighteen queries over few rows.

    While judges work, what they answer changes the key every two minutes at most: otherwise each look at a page would
    wait for figures that are old again at once.
    """
    answers = Preference.objects.filter(rater__project=project)
    verdicts = Verdict.objects.filter(version__judge__project=project)
    of_judges: Any = int(time.time() // LIVE_SECONDS)
    if not JudgeRun.objects.filter(project=project, state=RunState.RUNNING).exists():
        of_judges = [answers.of_judges().count(), verdicts.aggregate(Count("id"), Max("finished_at"))]
    seen: list[Any] = [
        of_judges,
        [project.pay_per_answer_usd, project.people_budget_usd, project.models_budget_usd, project.aggregation],
        [project.rate_id, project.pay_floor_usd_per_hour],
        Pair.objects.filter(project=project).aggregate(Count("id")),
        answers.of_people().aggregate(Count("id"), Max("created_at")),
        Assignment.objects.answered().filter(task__project=project).count(),
        LedgerEntry.objects.in_project(project).count(),
        list(Payment.objects.filter(project=project).order_by("number").values_list("state", "reason", "fees_usd")),
        Rating.objects.filter(rater__project=project).aggregate(Count("id")),
        JudgeVersion.objects.filter(judge__project=project).aggregate(Count("id")),
        # A card rules by its judge's thresholds, and an audit shows the fitted map.
        list(Judge.objects.filter(project=project).order_by("id").values_list("id", "gate")),
        list(JudgeVersion.objects.filter(judge__project=project).exclude(calibration={}).values_list("calibration")),
        ResponseFlag.objects.filter(response__prompt__project=project).aggregate(Count("id")),
        Label.objects.filter(pair__project=project).aggregate(Count("id"), Max("resolved_at")),
        Plan.objects.filter(project=project).aggregate(Count("id"), Max("applied_at")),
        [project.standards, Gold.objects.filter(project=project).aggregate(Count("id"), Max("revoked_at"))],
        Exclusion.objects.filter(rater__project=project).aggregate(Count("id"), Max("undone_at")),
        Rater.objects.filter(project=project).aggregate(Count("id"), Count("paused_at"), Max("paused_at")),
    ]
    return hashlib.sha256(f"{project.pk}{seen}".encode()).hexdigest()[:32]


def remembered(key: str, compute: Callable[[], Value]) -> Value:
    """Return the value kept under a key, or compute and keep it. A key names the data, so nothing is ever stale."""
    kept: Value | None = cache.get(key)
    if kept is not None:
        return kept
    value = compute()
    cache.set(key, value, KEPT_SECONDS)
    return value


def report(project: Project, name: str, version: str | None = None) -> dict[str, Any]:
    """Return one of the reports of `exports.reporting`, computed once for each state of the data."""
    version = version or data_version(project)
    return remembered(f"report:{name}:{version}", lambda: make_report(project, name))


def judge_rows(project: Project, version: str | None = None) -> list[dict[str, Any]]:
    """Return the cards of a project's judge versions by name and number, with `version_id` and `version` to link by."""
    version = version or data_version(project)
    return remembered(f"judges:{version}", lambda: _judge_rows(project))


def audit(version: JudgeVersion) -> dict[str, Any]:
    """Return the full audit of a judge version as JSON values, computed once for each state of the data.

    Of a very large project `sample` says what it counts, as in a report.
    """
    project = version.judge.project

    def compute() -> dict[str, Any]:
        drawn = sample_of(project)
        said = {} if drawn is None else {"sample": drawn.as_dict()}
        return {**said, **judge_audit(version).as_dict()}

    return remembered(f"audit:{version.pk}:{data_version(project)}", compute)


def sample(project: Project) -> Sample | None:
    """Return the sample that a project's figures count, drawn once for each number of pairs; None: they count all."""
    pairs = Pair.objects.filter(project=project).count()
    return remembered(f"sample:{project.pk}:{project.seed}:{pairs}", lambda: sample_of(project))


def _judge_rows(project: Project) -> list[dict[str, Any]]:
    versions = JudgeVersion.objects.filter(judge__project=project).select_related("judge")
    cards = judge_cards(project)
    return [
        {
            **cards[version.pk].as_dict(),
            "version_id": str(version.pk),
            "version": version.number,
            "model": version.model,
        }
        for version in versions.order_by("judge__name", "number")
    ]
