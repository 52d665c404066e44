"""The first gold pairs: before anything else a person answers some, unseen, and has to reach the pass mark.

They look like any other pair. A try ends when as many are answered as the project asks; who fails the last one is
paused, and can read why.
"""

from datetime import datetime

from annotation.models import Assignment, Rater
from annotation.pausing import pause_person
from annotation.scoring import Rule, marks_of
from annotation.standards import Standards


def is_qualified(rater: Rater, standards: Standards) -> bool:
    """Say whether a person may answer other pairs than the first gold ones; no query."""
    return not standards.first_gold or rater.qualified_at is not None


def lock_try(rater: Rater) -> None:
    """Lock a person's row and read at which try they are, so that two of their tabs do not lease for one try twice.

    Caller holds a transaction that has locked nothing yet.
    """
    locked = Rater.objects.select_for_update(no_key=True).get(pk=rater.pk)
    rater.qualification_tries, rater.qualified_at = locked.qualification_tries, locked.qualified_at


def gold_left(rater: Rater, standards: Standards, *, answered: int, held: int) -> int:
    """Return how many gold pairs to lease to somebody who is not qualified, in the try they are at."""
    tries = min(rater.qualification_tries + 1, standards.tries)
    return standards.first_gold * tries - answered - held


def first_gold_answered(rater: Rater) -> int:
    """Return how many gold pairs a person has answered. One query."""
    return Assignment.objects.answered().filter(rater=rater, gold__isnull=False).count()


def end_try(rater: Rater, standards: Standards, *, now: datetime) -> bool:
    """End a try at the first gold pairs and say whether the person goes on; after the last one they are paused.

    A conditional update, so of two tabs one ends the try.
    """
    if rater.qualification_tries >= standards.tries:
        # Another tab has ended the last one, and is about to pause them.
        pause_person(rater, reason=Rule.FIRST_GOLD, now=now)
        return False
    tries = rater.qualification_tries + 1
    passed_at = now if passed_try(rater, standards, tries) else None
    open_try = Rater.objects.filter(pk=rater.pk, qualification_tries=tries - 1, qualified_at__isnull=True)
    if open_try.update(qualification_tries=tries, qualified_at=passed_at):
        rater.qualification_tries, rater.qualified_at = tries, passed_at
    else:
        rater.refresh_from_db(fields=["qualification_tries", "qualified_at"])
    if rater.qualified_at is not None or rater.qualification_tries < standards.tries:
        return True
    pause_person(rater, reason=Rule.FIRST_GOLD, now=now)
    return False


def passed_try(rater: Rater, standards: Standards, number: int) -> bool:
    """Say whether a person passed a try at the first gold pairs, by its number from 1. Three queries.

    The pass mark is of a whole try, so what was passed on, or could not be asked because no gold was left, is not
    right; a known answer that was revoked since is out of the try.
    """
    answered = Assignment.objects.answered().filter(rater=rater, gold__isnull=False).order_by("finished_at", "pk")
    pairs = list(answered.values_list("task__pair_id", flat=True))[: standards.first_gold * number]
    pairs = pairs[standards.first_gold * (number - 1) :]
    marks = {mark.pair_id: mark.is_right for mark in marks_of(rater.project, [rater.pk]).get(rater.pk, [])}
    tested = [marks[pair] for pair in pairs if pair in marks]
    asked = standards.first_gold - (len(pairs) - len(tested))
    return asked > 0 and sum(tested) >= standards.pass_mark * asked - 1e-9
