"""Every judge's card and audit, side by side."""

from collections.abc import Mapping
from typing import Any

from annotation.models import (
    Project,
)
from annotation.models.pairs import content_hash
from annotation.sampling import Sample
from exports.reporting.saying import JUDGE_SENTENCES
from exports.reporting.stating import stated
from judges.auditing import Audit, JudgeCard, judge_audits, judge_cards
from judges.models import JudgeVersion

Cards = Mapping[Any, JudgeCard]


def judges_report(
    project: Project, *, sample: Sample | None = None, audits: Mapping[Any, Audit] | None = None
) -> dict[str, Any]:
    """Return the card of every judge version, with the rest of what is known about it under `audit`.

    Position bias, flips, ties, agreement, cost, and whether to trust it. `audits` are
    `judge_audits(project, sample=sample)`, for a caller that has them.
    """
    known = judge_audits(project, sample=sample) if audits is None else audits
    cards = {key: audit.card for key, audit in known.items()}
    found = [_card(version, card, known[version.pk]) for version, card in by_version(project, cards)]
    return stated({"judges": found}, JUDGE_SENTENCES)


def by_version(project: Project, cards: Cards | None) -> list[tuple[JudgeVersion, JudgeCard]]:
    """Return every judge version with its card, by name and number. `cards` as for a report on agreement."""
    known = judge_cards(project) if cards is None else cards
    versions = JudgeVersion.objects.filter(judge__project=project).select_related("judge")
    return [(version, known[version.pk]) for version in versions.order_by("judge__name", "number")]


def named(version: JudgeVersion) -> dict[str, Any]:
    """Return what a report calls a judge version by."""
    return {
        "judge": version.judge.name,
        "kind": version.judge.kind,
        "protocol": version.protocol,
        "version": version.number,
        "prompt_hash": content_hash(version.prompt_template) if version.prompt_template else "",
    }


def _card(version: JudgeVersion, card: JudgeCard, audit: Audit) -> dict[str, Any]:
    figures = {name: value for name, value in card.as_dict().items() if name != "version_id"}
    rest = {name: value for name, value in audit.as_dict().items() if name != "card"}
    return {**figures, **named(version), "audit": rest}
