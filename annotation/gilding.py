"""Setting pairs as gold, and revoking it.

Whoever answered a gold pair, by whichever way, is scored by it from then on; a revoked one scores nobody, and who was
paused for it is looked at again (`annotation.ruling`).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db import IntegrityError, transaction

from annotation.errors import GoldInvalid
from annotation.models import Choice, Gold, GoldKind, GoldSource, Pair, Project, Task, TaskState, Template, Tier, User
from annotation.publishing import publish
from annotation.skilling import Needs, needs_of

GOLD_REVOKED = "gold_revoked"
# What may be accepted: "cannot judge" is no answer to a pair whose answer is known.
ACCEPTABLE = (Choice.A.value, Choice.B.value, Choice.TIE.value, Choice.BOTH_BAD.value)


class KnownAnswer(NamedTuple):
    """What is known of a pair: the choices accepted, in the stored order, and what the pair tests."""

    accepted: tuple[str, ...]
    kind: str = GoldKind.KNOWN.value


def read_answer(accepted: Iterable[str], kind: str = GoldKind.KNOWN) -> KnownAnswer:
    """Return a known answer, checked. Raises `GoldInvalid`."""
    given = tuple(dict.fromkeys(accepted))
    if not given or any(one not in ACCEPTABLE for one in given):
        raise GoldInvalid(
            f"A known answer is one or more of {', '.join(ACCEPTABLE)}; this is {', '.join(given) or ''!r}."
        )
    if len(given) == len(ACCEPTABLE):
        raise GoldInvalid("A known answer that accepts every choice tests nothing. Accept fewer.")
    if kind not in GoldKind.values:
        raise GoldInvalid(f"{kind!r} is no kind of gold. It is one of: {', '.join(GoldKind.values)}.")
    return KnownAnswer(given, GoldKind(kind).value)


def set_gold(pair: Pair, answer: KnownAnswer, *, source: GoldSource, note: str = "", by: User | None = None) -> Gold:
    """Set a pair as gold. Raises `GoldInvalid` where it is gold already, or the project orders several responses."""
    try:
        with transaction.atomic():
            return set_golds(pair.project, [(pair, answer)], source=source, note=note, by=by)[0]
    except IntegrityError as error:
        raise GoldInvalid(f"{pair.external_id} is gold already. Revoke that first to give another answer.") from error


def set_golds(
    project: Project,
    known: Sequence[tuple[Pair, KnownAnswer]],
    *,
    source: GoldSource,
    note: str = "",
    by: User | None = None,
) -> list[Gold]:
    """Set pairs as gold; three queries. Caller holds a transaction. Raises `GoldInvalid` or `IntegrityError`."""
    if project.template in (Template.RANKING, Template.BEST_WORST):
        raise GoldInvalid(f"{project} asks for orders of several responses; gold goes with pairs.")
    # Leases are on tasks. One that is closed is served to nobody, and a plan can still open it.
    needs = needs_of(project, [pair.pk for pair, _ in known])
    tasks = [
        Task(
            project=project,
            pair=pair,
            tier=Tier.CROWD,
            state=TaskState.CLOSED,
            votes_wanted=project.votes_wanted,
            **needs.get(pair.pk, Needs())._asdict(),
        )
        for pair, _ in known
    ]
    Task.objects.bulk_create(tasks, ignore_conflicts=True)
    gold = [
        Gold(
            project=project,
            pair=pair,
            kind=answer.kind,
            accepted=list(answer.accepted),
            source=source,
            note=note.strip(),
            set_by=by,
        )
        for pair, answer in known
    ]
    return Gold.objects.bulk_create(gold)


def revoke_gold(gold: Gold, *, reason: str, by: User | None, now: datetime) -> bool:
    """Revoke a known answer; say whether that changed anything. Who was paused for it is looked at again."""
    with transaction.atomic():
        live = Gold.objects.live().filter(pk=gold.pk)
        if not live.update(revoked_at=now, revoked_by=by, revoke_reason=reason.strip()):
            return False
        publish(GOLD_REVOKED, {"project_id": str(gold.project_id)})
    return True
