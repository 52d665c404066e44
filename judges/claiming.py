"""Take waiting verdicts under a lease with their money reserved, and put back what was never answered."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Case, DecimalField, F, Q, Value, When
from django.utils import timezone

from annotation.models import Pair, Preference, Prompt
from judges import paying
from judges.models import BatchState, JudgeRun, JudgeVersion, Order, Verdict, VerdictState
from judges.questions import Question, shown

MAX_ATTEMPTS = 5


class Claim(NamedTuple):
    """A verdict held by this process: its attempt is the token that tells a later claim from this one."""

    verdict_id: uuid.UUID
    pair_id: uuid.UUID
    attempt: int
    reserved: Decimal


class Claims(NamedTuple):
    """What came of a claim: the verdicts held, how many of the wanted were affordable, and whether the run goes on."""

    held: list[Claim]
    affordable: int
    running: bool


def questions_of(
    version: JudgeVersion, verdict_ids: Sequence[uuid.UUID], *, state: str = VerdictState.PENDING
) -> list[Question]:
    """Return the questions of those verdicts that still wait, as the judge will see them, in the order given.

    With `state`, of those in another state: what was claimed for a file is read again when its answers come.

    Three queries whatever their number (four for reasons); questions about one prompt share its messages.
    """
    waiting = Verdict.objects.filter(pk__in=verdict_ids, state=state)
    rows = {row[0]: row for row in waiting.values_list("pk", "pair_id", "order", "attempts")}
    pairs = (
        Pair.objects.filter(pk__in={row[1] for row in rows.values()})
        .select_related("response_a", "response_b")
        .only("prompt_id", "response_a__messages", "response_b__messages")
    )
    texts = {pair.pk: (pair.prompt_id, pair.response_a.text, pair.response_b.text) for pair in pairs}
    prompts = Prompt.objects.in_bulk({prompt_id for prompt_id, _, _ in texts.values()})
    why = [row[1] for row in rows.values() if row[2] == Order.WHY]
    chosen = _choices(version, why) if why else {}
    questions = []
    for verdict_id in verdict_ids:
        if verdict_id not in rows or rows[verdict_id][1] not in texts:
            # Somebody else has it, or its pair was deleted.
            continue
        _, pair_id, order, attempts = rows[verdict_id]
        prompt_id, text_a, text_b = texts[pair_id]
        prompt = prompts[prompt_id]
        first, second = shown(order, text_a, text_b)
        # The reference answers a prompt; it does not say what kind of prompt it is.
        reference = "" if order == Order.TAGS else prompt.reference
        questions.append(
            Question(
                verdict_id=verdict_id,
                prompt=prompt.messages,
                first=first,
                second=second,
                order=order,
                pair_id=pair_id,
                context=prompt.context,
                reference=reference,
                attempt=attempts + (state == VerdictState.PENDING),
                group=prompt.group,
                choice=chosen.get(pair_id, ""),
            )
        )
    return questions


def claim(
    run: JudgeRun,
    wanted: Sequence[tuple[uuid.UUID, Decimal]],
    *,
    lease_seconds: float | None = None,
    columns: Mapping[str, Any] | None = None,
) -> Claims:
    """Take those of the verdicts that still wait, as far as the run's money reaches, each with its amount reserved.

    One transaction of at most six statements; the run's row is locked first (where money is), then the verdicts in
    the order of their pairs. `columns` are written with the claim.
    """
    with transaction.atomic():
        affordable = paying.reserve(run, [amount for _, amount in wanted])
        if not affordable:
            return Claims([], 0, running=paying.running_payer(run).exists())
        amounts = dict(wanted[:affordable])
        free = Verdict.objects.select_for_update(no_key=True).filter(pk__in=amounts, state=VerdictState.PENDING)
        held = [
            Claim(verdict_id, pair_id, attempts + 1, amounts[verdict_id])
            for verdict_id, pair_id, attempts in free.order_by("pair_id", "order").values_list(
                "pk", "pair_id", "attempts"
            )
        ]
        if held:
            Verdict.objects.filter(pk__in=[one.verdict_id for one in held]).update(
                state=VerdictState.CLAIMED,
                attempts=F("attempts") + 1,
                lease_until=timezone.now() + timedelta(seconds=lease_seconds or settings.JUDGE_LEASE_SECONDS),
                reserved_usd=_each(held),
                # Asked anew, and no longer by the file it was once in.
                **{"batch": None, **(columns or {})},
            )
        taken = sum((one.reserved for one in held), Decimal(0))
        paying.settle(run.payer_id, reserved=sum(amounts.values(), Decimal(0)) - taken, booked=Decimal(0))
    return Claims(held, affordable, running=True)


def give_back(run: JudgeRun, claims: Sequence[Claim]) -> int:
    """Put claimed verdicts back that were never asked, as if they had not been claimed; return how many."""
    with transaction.atomic():
        if any(one.reserved for one in claims):
            paying.hold(run.payer_id)
        held = {(one.verdict_id, one.attempt) for one in claims}
        rows = Verdict.objects.select_for_update(no_key=True).filter(
            pk__in=[one.verdict_id for one in claims], state=VerdictState.CLAIMED
        )
        mine = [
            (verdict_id, reserved)
            for verdict_id, attempts, reserved in rows.order_by("pair_id", "order").values_list(
                "pk", "attempts", "reserved_usd"
            )
            if (verdict_id, attempts) in held
        ]
        Verdict.objects.filter(pk__in=[verdict_id for verdict_id, _ in mine]).update(
            state=VerdictState.PENDING, attempts=F("attempts") - 1, lease_until=None, reserved_usd=Decimal(0)
        )
        paying.settle(run.payer_id, reserved=sum((amount for _, amount in mine), Decimal(0)), booked=Decimal(0))
    return len(mine)


def renew(claims: Sequence[Claim]) -> None:
    """Give claims that are still worked on another lease; those that others have taken meanwhile are left alone.

    A statement that locks and one that writes, for each number of attempts there is.
    """
    until = timezone.now() + timedelta(seconds=settings.JUDGE_LEASE_SECONDS)
    by_attempt: dict[int, list[uuid.UUID]] = {}
    for one in claims:
        by_attempt.setdefault(one.attempt, []).append(one.verdict_id)
    with transaction.atomic():
        for attempt, ids in sorted(by_attempt.items()):
            mine = Verdict.objects.filter(pk__in=ids, state=VerdictState.CLAIMED, attempts=attempt)
            locked = mine.select_for_update(no_key=True).order_by("pair_id", "order")
            Verdict.objects.filter(pk__in=list(locked.values_list("pk", flat=True))).update(lease_until=until)


def release_expired(*, now: datetime, run: JudgeRun | None = None) -> int:
    """Put verdicts back whose lease ran out, or give them up after five attempts; return how many.

    Their reservation is booked as spent (`meta.lost_usd`): the lost call may have been charged. What is in the files
    of an open batch is left alone: its answers come, whoever is down here.
    """
    expired = Verdict.objects.filter(
        Q(state=VerdictState.CLAIMED) | Q(reserved_usd__gt=0, run__isnull=False), lease_until__lt=now
    ).exclude(batch__state__in=(BatchState.WRITTEN, BatchState.SUBMITTED))
    if run is not None:
        expired = expired.filter(run=run)
    released = 0
    for verdict_id, run_id, parent_id in list(expired.values_list("pk", "run_id", "run__parent_id")):
        payer_id = parent_id or run_id
        with transaction.atomic():
            paying.hold(payer_id)
            row = Verdict.objects.select_for_update().filter(pk=verdict_id, lease_until__lt=now).first()
            if row is None or not (row.state == VerdictState.CLAIMED or row.reserved_usd):
                continue
            if row.run_id:
                paying.settle(payer_id, reserved=row.reserved_usd, booked=row.reserved_usd)
            row.meta = with_lost(row.meta, row.reserved_usd)
            row.reserved_usd, row.lease_until = Decimal(0), None
            if row.state == VerdictState.CLAIMED and row.attempts >= MAX_ATTEMPTS:
                row.state, row.finished_at = VerdictState.FAILED, now
                row.error = f"Gave up after {row.attempts} attempts: each worker that asked ended before the answer."
            elif row.state == VerdictState.CLAIMED:
                row.state = VerdictState.PENDING
            row.save(update_fields=["state", "error", "meta", "reserved_usd", "lease_until", "finished_at"])
            released += 1
    return released


def with_lost(meta: Mapping[str, Any], amount: Decimal) -> dict[str, Any]:
    """Return a verdict's meta with what calls without a stored answer cost: a run's spending is the sum of its rows."""
    if not amount:
        return dict(meta)
    return {**meta, "lost_usd": str(Decimal(meta.get("lost_usd", "0")) + amount)}


def _each(held: Sequence[Claim]) -> Any:
    """Return the reservation of each verdict as one expression for all."""
    if not any(one.reserved for one in held):
        return Decimal(0)
    cases = [When(pk=one.verdict_id, then=Value(one.reserved)) for one in held]
    return Case(*cases, output_field=DecimalField(max_digits=12, decimal_places=6))


def _choices(version: JudgeVersion, pair_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Return what the version prefers on these pairs, overall: what a reason is asked for."""
    current = Preference.objects.filter(rater_id=version.rater_id, pair__in=pair_ids, criterion=None, is_current=True)
    return dict(current.values_list("pair_id", "choice"))
