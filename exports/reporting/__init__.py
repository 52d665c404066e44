"""A project's reports: how far people and judges agree, with others and with themselves, and what it cost.

Every figure comes with its n, its interval and a sentence; where there is too little data it says so and has no value.
`docs/reports.md` explains each number. Reports are plain JSON values: no NaN, no database ids.
"""

from collections.abc import Callable
from typing import Any

from annotation.models import Project
from annotation.sampling import sample_of
from exports.reporting.agreement import agreement_report
from exports.reporting.blinding import blinding_report
from exports.reporting.consistency import consistency_report
from exports.reporting.data import data_report
from exports.reporting.disagreement import disagreement_report
from exports.reporting.judges import judges_report
from exports.reporting.noise import noise_report
from exports.reporting.people import people_report, quality_report, steadiness_report
from exports.reporting.rationales import rationales_report
from exports.reporting.routing import routing_report
from exports.reporting.spending import spending_report
from exports.reporting.stating import plain
from judges.auditing import judge_audits

REPORTS: dict[str, Callable[..., dict[str, Any]]] = {
    "agreement": agreement_report,
    "blinding": blinding_report,
    "consistency": consistency_report,
    "data": data_report,
    "disagreement": disagreement_report,
    "judges": judges_report,
    "noise": noise_report,
    "people": people_report,
    "quality": quality_report,
    "rationales": rationales_report,
    "routing": routing_report,
    "spending": spending_report,
    "steadiness": steadiness_report,
}


# Nobody's standing and nobody's pay is told from a sample.
NEVER_SAMPLED = ("quality", "spending")
# What a report counts over the whole project even where all else in it is of a sample.
WHOLE = {
    "agreement": ("pairs", "pairs_with_votes", "votes_by_origin", "aggregation", "labelled_pairs"),
    "data": ("pairs", "labelled"),
    "judges": ("n_pairs", "n_verdicts", "failed", "refused", "unreadable"),
    "people": (
        "votes",
        "answers",
        "unsure",
        "revised",
        "with_seconds",
        "total_seconds",
        "with_confidence",
        "mean_confidence",
    ),
    "rationales": ("simulated",),
    "routing": ("pairs", "labels", "contested", "withheld", "plans", "draft", "cost"),
    "steadiness": ("suggestions",),
}


def make_report(project: Project, name: str) -> dict[str, Any]:
    """Return a report by its name; of a very large project its first part, `sample`, says what it counts.

    `sample` has `pairs` of `of_pairs`, `groups` of `of_groups`, the `seed`, `whole` (the names of what is counted over
    the whole project all the same) and a `sentence`; it is not there where everything was counted.
    """
    if name in NEVER_SAMPLED:
        return REPORTS[name](project)
    sample = sample_of(project)
    report = REPORTS[name](project, sample=sample)
    return report if sample is None else {"sample": {**sample.as_dict(), "whole": list(WHOLE.get(name, ()))}, **report}


def export_reports(project: Project, *, name_of: Callable[[str], str]) -> dict[str, Any]:
    """Return the reports that an export carries, people under the names that `name_of` gives; the audits are made once.

    `judges` is the list of cards alone. `sample` is as in `make_report`, with what is whole by report. Caller holds a
    consistent read.
    """
    sample = sample_of(project)
    audits = judge_audits(project, sample=sample)
    reports = {
        "agreement": agreement_report(project, sample=sample, cards={key: audit.card for key, audit in audits.items()}),
        "noise": noise_report(project, sample=sample),
        "consistency": consistency_report(project, sample=sample, audits=audits),
        "judges": judges_report(project, sample=sample, audits=audits)["judges"],
        "people": people_report(project, sample=sample, name_of=name_of),
        "steadiness": steadiness_report(project, sample=sample, name_of=name_of),
        "disagreement": disagreement_report(project, sample=sample, name_of=name_of),
        "routing": routing_report(project, sample=sample),
        "data": data_report(project, sample=sample),
        "rationales": rationales_report(project, sample=sample),
    }
    if sample is None:
        return reports
    whole = {name: list(parts) for name, parts in WHOLE.items() if name in reports}
    return {"sample": {**sample.as_dict(), "whole": whole}, **reports}


__all__ = [
    "REPORTS",
    "agreement_report",
    "blinding_report",
    "consistency_report",
    "data_report",
    "disagreement_report",
    "export_reports",
    "judges_report",
    "make_report",
    "noise_report",
    "people_report",
    "plain",
    "quality_report",
    "rationales_report",
    "routing_report",
    "spending_report",
    "steadiness_report",
]
