"""A project's reports: how far people and judges agree, with others and with themselves, and what it cost.

Every figure comes with its n, its interval and a sentence; where there is too little data it says so and has no value.
`docs/reports.md` explains each number. Reports are plain JSON values: no NaN, no database ids.
"""

from collections.abc import Callable
from typing import Any

from annotation.models import Project
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

REPORTS: dict[str, Callable[[Project], dict[str, Any]]] = {
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


def export_reports(project: Project, *, name_of: Callable[[str], str]) -> dict[str, Any]:
    """Return the reports that an export carries, people under the names that `name_of` gives; the audits are made once.

    `judges` is the list of cards alone. Caller holds a consistent read.
    """
    audits = judge_audits(project)
    return {
        "agreement": agreement_report(project, cards={key: audit.card for key, audit in audits.items()}),
        "noise": noise_report(project),
        "consistency": consistency_report(project, audits=audits),
        "judges": judges_report(project, audits=audits)["judges"],
        "people": people_report(project, name_of=name_of),
        "steadiness": steadiness_report(project, name_of=name_of),
        "disagreement": disagreement_report(project, name_of=name_of),
        "routing": routing_report(project),
        "data": data_report(project),
        "rationales": rationales_report(project),
    }


__all__ = [
    "REPORTS",
    "agreement_report",
    "blinding_report",
    "consistency_report",
    "data_report",
    "disagreement_report",
    "export_reports",
    "judges_report",
    "noise_report",
    "people_report",
    "plain",
    "quality_report",
    "rationales_report",
    "routing_report",
    "spending_report",
    "steadiness_report",
]
