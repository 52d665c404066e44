"""A judge's answer, shown to a person after their own, where the project asks for it; what it moved is logged."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from annotation.answering import choice_in_words
from annotation.errors import LeaseNotYours
from annotation.leasing import ANSWERED
from annotation.models import Assignment, Choice, Preference, Project, Rater, RaterKind, Suggestion
from annotation.questionnaires import Questionnaire

# "Cannot judge" suggests nothing.
SUGGESTING = (Choice.A, Choice.B, Choice.TIE, Choice.BOTH_BAD)


def suggest(assignment_id: UUID, questionnaire: Questionnaire, *, now: datetime) -> Suggestion | None:
    """Return the judge's answer to show for an answer that was just given, noted as shown; None where there is none.

    Never before the person's own answer, never on a hidden repeat (which would no longer be their own), and once.
    """
    if not questionnaire.suggestion:
        return None
    mine = Assignment.objects.select_related("preference").get(pk=assignment_id)
    if mine.repeats_id is not None or mine.state not in ANSWERED or mine.preference is None:
        return None
    said = Preference.objects.counted().filter(
        pair_id=mine.preference.pair_id,
        rater__kind=RaterKind.JUDGE,
        rater__name=questionnaire.suggestion,
        choice__in=SUGGESTING,
    )
    if (suggested := said.first()) is None:
        return None
    suggestion, _made = Suggestion.objects.get_or_create(
        assignment=mine, defaults={"before": mine.preference, "suggested": suggested, "shown_at": now}
    )
    return suggestion if not suggestion.outcome else None


class Said(NamedTuple):
    """A suggestion in the words of the screen: what the person said, what the judge said, by the letters shown."""

    assignment_id: UUID
    own: str
    suggested: str
    agree: bool


def said_of(suggestion: Suggestion) -> Said:
    """Return a suggestion as its person may see it: no name of a judge or a model, no probability."""
    shown_order = suggestion.assignment.shown_order
    return Said(
        suggestion.assignment_id,
        choice_in_words(suggestion.before, shown_order),
        choice_in_words(suggestion.suggested, shown_order),
        suggestion.before.choice == suggestion.suggested.choice,
    )


def suggestion_of(assignment_id: UUID, rater: Rater) -> Suggestion:
    """Return what was suggested to a person on a pair of theirs. Raises `LeaseNotYours`."""
    rows = Suggestion.objects.select_related("assignment", "before", "suggested")
    found = rows.filter(assignment_id=assignment_id, assignment__rater=rater).first()
    if found is None:
        raise LeaseNotYours(_("Nothing was suggested to you on this pair."))
    return found


def keep_own(assignment_id: UUID, rater: Rater, *, now: datetime) -> Suggestion:
    """Note that a person kept their answer. Deciding twice changes nothing. Raises `LeaseNotYours`."""
    with transaction.atomic():
        suggestion = suggestion_of(assignment_id, rater)
        undecided = Suggestion.objects.filter(pk=suggestion.pk, outcome="")
        undecided.update(outcome=Suggestion.Outcome.KEPT, decided_at=now)
    return suggestion


class Moved(NamedTuple):
    """How a judge's answers moved people's: how often shown where the two differed, changed, and changed towards it."""

    shown: int
    differed: int
    changed: int
    towards: int


def moved_by_suggestions(project: Project) -> Moved:
    """Count what suggestions did to people's answers in a project. One query."""
    rows = Suggestion.objects.filter(assignment__task__project=project).values_list(
        "before__choice", "suggested__choice", "assignment__preference__choice", "outcome"
    )
    shown = differed = changed = towards = 0
    for before, suggested, after, outcome in rows.iterator():
        shown += 1
        differed += before != suggested
        changed += outcome == Suggestion.Outcome.CHANGED
        towards += before != suggested and after == suggested
    return Moved(shown, differed, changed, towards)


def note_change(assignment: Assignment, *, changed: bool, now: datetime) -> dict[str, Any]:
    """Note what a person did after a suggestion that is still undecided; return what to keep with the new answer."""
    undecided = Suggestion.objects.filter(assignment=assignment, outcome="").select_related("suggested").first()
    if undecided is None:
        return {}
    undecided.outcome = Suggestion.Outcome.CHANGED if changed else Suggestion.Outcome.KEPT
    undecided.decided_at = now
    undecided.save(update_fields=["outcome", "decided_at"])
    return {"after_suggestion": undecided.suggested.choice} if changed else {}
