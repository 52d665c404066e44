"""Rules that pause a person: what they look at, what they do, and what the person may read of it.

A worker looks after each answer on gold, by way of the outbox, so that a gold answer takes no longer than another.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import transaction
from django.db.models.functions import Coalesce
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from annotation.excluding import exclude_answers, include_answers, open_exclusion
from annotation.models import GoldKind, Project, Rater
from annotation.pausing import pause_person, resume_person
from annotation.qualifying import passed_try
from annotation.scoring import Mark, Rule, alarm_at, marks_of, score_of
from annotation.standards import Standards, standards_of


def rule_of(rater: Rater) -> Rule | None:
    """Return the rule that paused a person; None where nobody did, or a manager."""
    return Rule(rater.paused_reason) if rater.paused_reason in set(Rule) else None


def broken_rule(marks: Sequence[Mark], standards: Standards) -> Rule | None:
    """Return the rule that these marks, oldest first, break by now."""
    known = [mark.is_right for mark in marks if mark.kind == GoldKind.KNOWN]
    if standards.pause_on_gold and alarm_at(known, standards) is not None:
        return Rule.GOLD
    failed = score_of(marks).attention_failed
    return Rule.ATTENTION if standards.attention_fails and failed >= standards.attention_fails else None


def look_at(rater: Rater, *, now: datetime) -> Rule | None:
    """Pause a person whose marks break a rule, and return it. Looking again changes nothing. Locks the rater.

    Where the project says so, their answers so far are taken out of the count as well.
    """
    standards = standards_of(rater.project)
    if not standards.pause_on_gold and not standards.attention_fails:
        return None
    if rater.paused_at is not None:
        return None
    rule = broken_rule(_watched(rater, marks_of(rater.project, [rater.pk]).get(rater.pk, [])), standards)
    if rule is None:
        return None
    # Excluded first: a worker that dies between the two pauses them at the next look, and excludes nothing twice.
    if standards.exclude_on_pause:
        exclude_answers(rater, reason=rule, by=None, now=now)
    pause_person(rater, reason=rule, now=now)
    return rule


def let_go_on(rater: Rater, *, now: datetime) -> bool:
    """Resume a paused person by a manager's decision; say whether they were paused.

    The rules look at their answers from now on, and whatever the first gold pairs said, they are in.
    """
    if not resume_person(rater):
        return False
    Rater.objects.filter(pk=rater.pk).update(watched_from=now, qualified_at=Coalesce("qualified_at", now))
    rater.refresh_from_db(fields=["watched_from", "qualified_at"])
    return True


def look_again(project: Project, *, now: datetime) -> list[Rater]:
    """Resume the people whom a rule paused and would not any more, after known answers were revoked; return them.

    What the rule had taken out of the count goes back into it.
    """
    standards = standards_of(project)
    paused = Rater.objects.filter(project=project, paused_reason__in=list(Rule)).select_related("project")
    marks = marks_of(project, [rater.pk for rater in paused]) if paused else {}
    resumed = []
    for rater in paused:
        rule = rule_of(rater)
        if rule is Rule.FIRST_GOLD:
            if not passed_try(rater, standards, rater.qualification_tries):
                continue
            Rater.objects.filter(pk=rater.pk).update(qualified_at=now)
        elif broken_rule(_watched(rater, marks.get(rater.pk, [])), standards) is not None:
            continue
        exclusion = open_exclusion(rater)
        with transaction.atomic():
            resume_person(rater)
            if exclusion is not None and exclusion.by_id is None and exclusion.reason == rule:
                include_answers(rater, by=None, now=now)
        resumed.append(rater)
    return resumed


def _watched(rater: Rater, marks: Sequence[Mark]) -> list[Mark]:
    """Return the marks since a manager last let this person go on."""
    return [mark for mark in marks if rater.watched_from is None or mark.at >= rater.watched_from]


class Reason(NamedTuple):
    """Why somebody is paused, as they read it: what happened, on what it rests, and what they can do."""

    what: str
    rests_on: str
    what_now: str


def reason_for(rater: Rater) -> Reason | None:
    """Return why a rule paused a person, in their language; None where none did. Two queries where one did.

    It says how many pairs were looked at and never which. A manager's own words are in `Rater.paused_reason`.
    """
    rule = rule_of(rater)
    if rater.paused_at is None or rule is None:
        return None
    what_now = _("What you have answered is stored, and paid as agreed. If you think this is wrong, ask the manager.")
    standards = standards_of(rater.project)
    score = score_of(_watched(rater, marks_of(rater.project, [rater.pk]).get(rater.pk, [])))
    if rule is Rule.ATTENTION:
        return Reason(
            _("Some pairs ask for a certain answer, to see whether they are read. Several of yours were others."),
            _("Of %(answered)s such pairs, %(failed)s got another answer than they asked for.")
            % {"answered": score.attention_answered, "failed": score.attention_failed},
            what_now,
        )
    counted = {"right": score.right, "answered": score.answered}
    return Reason(
        _("For some pairs the answer is known. Too many of your answers to these were others."),
        _("Of %(answered)s such pairs, %(right)s of your answers were the known ones.") % counted
        + " "
        + _("People who read closely reach %(percent)s of 100 or more.")
        % {"percent": _wanted_percent(rule, standards)},
        what_now,
    )


def _wanted_percent(rule: Rule, standards: Standards) -> str:
    share = standards.pass_mark if rule is Rule.FIRST_GOLD else standards.good_accuracy
    return number_format(round(100 * share))
