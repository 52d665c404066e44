"""Erasing a person from a project: their answers, words and account go; a nameless row stays where money hangs on it.

The book of what people earned is never changed, so its entries keep their assignment and their rater: that rater gets a
random name that nothing leads back from, and the assignments say `erased` and hold no answer. Everything else of the
person goes. Slots of their answers are free again, as with excluded ones, and labels are made anew.
"""

import json
import secrets
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q, QuerySet, Sum, TextField
from django.db.models.functions import Cast

from annotation.errors import AnnotationError
from annotation.excluding import LABELS_OUTDATED, exclude_answers
from annotation.models import (
    Assignment,
    AssignmentState,
    Guest,
    Identity,
    Import,
    LedgerEntry,
    Membership,
    PaymentLine,
    PlatformEvent,
    Preference,
    Ranking,
    Rater,
    RaterKind,
    Rating,
    Role,
    SecondStep,
    SignInLink,
    Submission,
    Suggestion,
    User,
)
from annotation.models.money import UNDER_WAY
from annotation.pausing import pause_person
from annotation.publishing import publish
from annotation.recognising import LABEL_RATER
from annotation.suppressing import suppress

ERASED = "erased"
ANSWERED = (AssignmentState.SUBMITTED, AssignmentState.EXTRA)


class Erased(NamedTuple):
    """What went: answers, those of them with a reason, and whether the account did ("erased", "kept", "none")."""

    name: str
    answers: int
    rationales: int
    account: str


def reasons_against(rater: Rater) -> list[str]:
    """Return what has to be settled before a person can be erased, in words. Five queries."""
    said = []
    if rater.kind != RaterKind.PERSON:
        return [f"{rater} is a judge; only people are erased."]
    if rater.user is not None:
        managers = Membership.objects.filter(project=rater.project_id, role=Role.MANAGER)
        if managers.filter(user=rater.user).exists() and not managers.exclude(user=rater.user).exists():
            said.append(f"{rater} is the project's only manager. Make somebody else a manager first.")
    if PaymentLine.objects.filter(rater=rater, payment__state__in=UNDER_WAY).exists():
        said.append("A payment to them is under way. Settle or withdraw it first, since it needs their name.")
    if owed := owed_usd(rater):
        said.append(
            f"They are owed {owed:.2f} USD, and nobody could be paid after. Pay them first, or reverse it by hand."
        )
    if Submission.objects.filter(guest__rater=rater).reviewable().exists():
        said.append("A visit of theirs waits for review. Approve or reject it first, since that needs their name.")
    if Import.objects.filter(project=rater.project_id, state=Import.State.RUNNING).exists():
        # It reads who was erased when it begins to write.
        said.append("A file is being imported, which may name them. Erase them once it is done.")
    return said


def owed_usd(rater: Rater) -> Decimal:
    """Return what a person has earned and was not paid yet, in US dollars; 0 where less than a cent."""
    owed = LedgerEntry.objects.of_people().filter(rater=rater).aggregate(usd=Sum("amount_usd"))["usd"] or Decimal(0)
    return owed if owed >= Decimal("0.01") else Decimal(0)


def erase_answers(rater: Rater, *, by: User | None, now: datetime) -> Erased:
    """Erase a person from their project, all or nothing; return what went.

    Whatever they hold is taken back first. Where the project was the last place of their account, the account is made
    nameless and closed; otherwise it loses this project. Raises `AnnotationError` with what has to be settled before.
    One transaction, which locks their row, and then tasks as `exclude_answers` does.
    """
    with transaction.atomic():
        if reasons := reasons_against(rater):
            raise AnnotationError(f"{rater} was not erased. {' '.join(reasons)}")
        pause_person(rater, reason=ERASED, now=now)
        exclude_answers(rater, reason=ERASED, by=by, now=now)
        standing = Preference.objects.filter(rater=rater, criterion__isnull=True, is_current=True)
        answers, rationales = standing.count(), standing.exclude(rationale="").count()
        _delete_answers(rater)
        suppress(rater.project, _names(rater))
        name = f"{ERASED}-{secrets.token_hex(6)}"
        _erase_reports(rater)
        _erase_visits(rater, name)
        account = _erase_account(rater)
        rater.exclusions.all().delete()
        Rater.objects.filter(pk=rater.pk).update(
            name=name, user=None, languages=[], domains=[], gate_answers={}, guidelines_read=0, practice_done=0,
            gate_tries=0, gate_extra=0, gate_passed_at=None, qualified_at=None, qualification_tries=0,
            watched_from=None,
        )  # fmt: skip
        publish(LABELS_OUTDATED, {"project_id": str(rater.project_id)})
    rater.refresh_from_db()
    return Erased(name, answers, rationales, account)


def _delete_answers(rater: Rater) -> None:
    """Delete what a person said, and empty what led to it. Caller holds the transaction."""
    mine: QuerySet[Assignment] = Assignment.objects.filter(rater=rater)
    Suggestion.objects.filter(assignment__in=mine).delete()
    mine.filter(state__in=ANSWERED).update(state=AssignmentState.ERASED, slot=None, preference=None, ranking=None)
    mine.update(note="", skip_reason="", draft={})
    answers, orders = Preference.objects.filter(rater=rater), Ranking.objects.filter(rater=rater)
    # What repeats or replaces another answer holds it.
    answers.update(repeats=None, replaces=None)
    orders.update(replaces=None)
    answers.delete()
    orders.delete()
    Rating.objects.filter(rater=rater).delete()


def _names(rater: Rater) -> set[str]:
    """Return the names under which a file may know a person; a label without a name is nobody's."""
    ids = Guest.objects.filter(rater=rater).values_list("external_id", flat=True)
    return {rater.name, *ids, *([rater.user.username] if rater.user is not None else [])} - {LABEL_RATER}


def _erase_reports(rater: Rater) -> None:
    """Take a person's name out of what imports say of bad rows."""
    # As `ascii` writes it there, and as that stands in JSON.
    shown = json.dumps(ascii(rater.name))[1:-1]
    for one in Import.objects.filter(project=rater.project_id).iterator():
        text = json.dumps(one.report)
        if shown in text:
            one.report = json.loads(text.replace(shown, "somebody who was erased"))
            one.save(update_fields=["report"])


def _erase_visits(rater: Rater, name: str) -> None:
    """Delete who a person is on a crowd platform; lines of payments keep their amount under the nameless row's name."""
    guest = Guest.objects.filter(rater=rater).first()
    if guest is not None:
        ids = [guest.external_id, *guest.submissions.values_list("external_id", flat=True)]
        told = Q()
        for one in ids:
            told |= Q(text__contains=one)
        events = PlatformEvent.objects.filter(platform=guest.platform).annotate(text=Cast("body", TextField()))
        events.filter(told).update(body={})
        guest.delete()
    PaymentLine.objects.filter(rater=rater).update(recipient=name)


def _erase_account(rater: Rater) -> str:
    """Take a person's account out of the project, and make it nameless where that was its last."""
    user = rater.user
    if user is None:
        return "none"
    Membership.objects.filter(project=rater.project_id, user=user).delete()
    elsewhere = user.memberships.exists() or user.raters.exclude(pk=rater.pk).exists()
    if elsewhere or user.is_staff or user.is_superuser:
        return "kept"
    for model in (Identity, SecondStep, SignInLink):
        model._default_manager.filter(user=user).delete()
    user.username, user.email, user.first_name, user.last_name = f"{ERASED}-{secrets.token_hex(8)}", "", "", ""
    user.is_active, user.interface, user.last_login = False, {}, None
    user.set_unusable_password()
    user.save()
    return ERASED
