"""The canonical record: everything an export may say about a pair, read once and free of database ids.

Every profile is a function of these records, so two databases that hold the same data give the same files.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from annotation.models import Pair, Preference, Project
from annotation.models.pairs import content_hash
from exports.pseudonymising import pseudonym
from judges.models import JudgeKind, JudgeVersion
from routing.models import Label, Plan, PlanState
from routing.signals.measuring import PairTexts, measure_texts

Message = dict[str, str]
ROWS_PER_FETCH = 2000
# A rule's "reason" is the rule; it says nothing about the pair.
KINDS_WITH_REASONS = (JudgeKind.OPENAI, JudgeKind.LOCAL, JudgeKind.RECORDED)


class Vote(NamedTuple):
    """A person's counted answer, under a pseudonym; `reasons` are (side, reason), the side a or b."""

    person: str
    origin: str
    choice: str
    rationale: str
    timing: str
    shown_order: str
    basis: str
    seconds: float | None
    confidence: int | None
    reasons: tuple[tuple[str, str], ...]
    content_flags: tuple[str, ...]


class Judgement(NamedTuple):
    """A judge's answer that comes with a reason."""

    judge: str
    protocol: str
    version: int
    recorded: bool
    choice: str
    rationale: str
    timing: str
    shown_order: str


class Side(NamedTuple):
    """One response: its messages (role and content only), its text and the model that wrote it."""

    messages: list[Message]
    text: str
    model: str


@dataclass(frozen=True, slots=True)
class Record:
    """One pair with all that is known about it. `label` is None where nobody has labelled it."""

    id: str
    content_id: str
    prompt_id: str
    prompt_hash: str
    prompt_group: str
    external_id: str
    source: str
    language: str
    category: str
    context: str
    prompt: list[Message]
    a: Side
    b: Side
    similarity: float
    votes: tuple[Vote, ...]
    judgements: tuple[Judgement, ...]
    label: Label | None
    plan: str
    meta: dict[str, Any]


@contextmanager
def consistent_read() -> Iterator[None]:
    """Hold one view of the database: what is written meanwhile is not seen, and nobody waits for this reader.

    Inside a caller's transaction it is that transaction's view.
    """
    connection: Any = connections[DEFAULT_DB_ALIAS]
    outermost = not connection.in_atomic_block
    sqlite = connection.vendor == "sqlite"
    # Opening the connection sets its transaction mode.
    connection.ensure_connection()
    usual_mode = connection.transaction_mode if sqlite else None
    if outermost and sqlite:
        # The project's default takes the write lock at once; a reader in WAL mode needs none.
        connection.transaction_mode = "DEFERRED"
    try:
        with transaction.atomic():
            if outermost and connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield
    finally:
        if sqlite:
            connection.transaction_mode = usual_mode


def read_records(project: Project, *, key: bytes) -> list[Record]:
    """Return a project's pairs as records, ordered by their `id`. Seven queries; people appear under pseudonyms.

    `id` is a hash of prompt, responses (in either order) and the pair's external id; `content_id` leaves the external
    id out, so that repeats of one content share it.
    """
    pairs = list(Pair.objects.in_project(project).with_texts().iterator(chunk_size=ROWS_PER_FETCH))
    votes = _votes(project, key)
    judgements = _judgements(project)
    labels = {label.pair_id: label for label in Label.objects.filter(pair__project=project).iterator()}
    plans = plan_names(project)
    similarities = measure_texts(map(_texts, pairs))["similarity"].to_dict()
    records = []
    for pair in pairs:
        label = labels.get(pair.id)
        plan = label.provenance.get("plan") if label else None
        records.append(
            _record(
                pair,
                similarity=float(similarities[str(pair.id)]),
                votes=tuple(sorted(votes[pair.id])),
                judgements=tuple(sorted(judgements[pair.id])),
                label=label,
                plan=plans.get(plan, "") if plan else "",
            )
        )
    return sorted(records, key=lambda record: record.id)


def plan_names(project: Project) -> dict[str, str]:
    """Return the name of every applied plan, by its id: `plan-1` was applied first."""
    applied = Plan.objects.filter(project=project, state=PlanState.APPLIED).order_by("applied_at", "id")
    return {str(plan_id): f"plan-{number}" for number, plan_id in enumerate(applied.values_list("id", flat=True), 1)}


def _record(
    pair: Pair,
    *,
    similarity: float,
    votes: tuple[Vote, ...],
    judgements: tuple[Judgement, ...],
    label: Label | None,
    plan: str,
) -> Record:
    prompt = _messages(pair.prompt.messages)
    a, b = (
        Side(_messages(response.messages), response.text, response.model)
        for response in (pair.response_a, pair.response_b)
    )
    content = {"prompt": prompt, "responses": sorted([content_hash(a.messages), content_hash(b.messages)])}
    return Record(
        id=content_hash({**content, "external_id": pair.external_id}),
        content_id=content_hash(content),
        prompt_id=content_hash({"prompt": prompt, "group": pair.prompt.group}),
        prompt_hash=content_hash(prompt),
        prompt_group=pair.prompt.group,
        external_id=pair.external_id,
        source=pair.source,
        language=pair.prompt.language,
        category=pair.prompt.category,
        context=pair.prompt.context,
        prompt=prompt,
        a=a,
        b=b,
        similarity=similarity,
        votes=votes,
        judgements=judgements,
        label=label,
        plan=plan,
        meta=pair.meta,
    )


def _messages(messages: list[dict[str, Any]]) -> list[Message]:
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _texts(pair: Pair) -> PairTexts:
    return PairTexts(
        str(pair.id),
        pair.prompt.group,
        pair.prompt.messages,
        pair.prompt.language,
        pair.response_a.messages,
        pair.response_b.messages,
        pair.response_a.model,
        pair.response_b.model,
    )


def _votes(project: Project, key: bytes) -> dict[UUID, list[Vote]]:
    rows = (
        Preference.objects.counted()
        .of_people()
        .filter(pair__project=project)
        .values_list(
            "pair_id",
            "rater__name",
            "rater__origin",
            "choice",
            "rationale",
            "rationale_timing",
            "shown_order",
            "basis",
            "seconds",
            "confidence",
            "reasons",
            "content_flags",
        )
    )
    votes: dict[UUID, list[Vote]] = defaultdict(list)
    for pair_id, name, origin, choice, why, timing, shown, basis, seconds, sure, reasons, flags in rows.iterator():
        vote = Vote(
            person=pseudonym(key, name),
            origin=origin,
            choice=choice,
            rationale=why,
            timing=timing,
            shown_order=shown,
            basis=basis,
            seconds=seconds,
            confidence=sure,
            reasons=tuple((one["side"], one["reason"]) for one in reasons),
            content_flags=tuple(flags),
        )
        votes[pair_id].append(vote)
    return votes


def _judgements(project: Project) -> dict[UUID, list[Judgement]]:
    versions = JudgeVersion.objects.filter(judge__project=project, judge__kind__in=KINDS_WITH_REASONS)
    by_rater = {version.rater_id: version for version in versions.select_related("judge")}
    rows = (
        Preference.objects.counted()
        .of_judges()
        .filter(pair__project=project)
        .exclude(rationale="")
        .values_list("pair_id", "rater_id", "choice", "rationale", "rationale_timing", "shown_order")
    )
    judgements: dict[UUID, list[Judgement]] = defaultdict(list)
    for pair_id, rater_id, *rest in rows.iterator():
        if version := by_rater.get(rater_id):
            recorded = version.judge.kind == JudgeKind.RECORDED
            judgements[pair_id].append(Judgement(version.judge.name, version.protocol, version.number, recorded, *rest))
    return judgements
