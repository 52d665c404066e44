"""Reads pairs into canonical records, in batches: a dozen queries for each 2,000 pairs, whatever the project's size."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Q

from annotation.models import Gold, Membership, Pair, Preference, Project, Rater, RaterKind, Rating, Role
from annotation.models.pairs import content_hash, joined_text
from annotation.training import training_of
from exports.pseudonymising import pseudonym
from exports.records import (
    PROTOCOL_MARK,
    Aspect,
    Call,
    Judgement,
    Message,
    Record,
    Resolved,
    Scores,
    Side,
    Vote,
    identify,
)
from judges.models import JudgeKind, JudgeVersion, Verdict
from routing.models import Label, Plan, PlanState
from routing.signals.measuring import WORD

PAIRS_PER_BATCH = 2000
# A rule's "reason" is the rule; it says nothing about the pair.
KINDS_WITH_REASONS = (JudgeKind.OPENAI, JudgeKind.LOCAL, JudgeKind.GPU, JudgeKind.RECORDED)
# Shorter texts ("Yes.") stand in many prompts of judges by chance.
EXAMPLE_CHARACTERS = 20


class Giver(NamedTuple):
    """A rater as files name them: a pseudonym, or a judge's full name with its version."""

    name: str
    is_person: bool
    origin: str
    is_expert: bool
    judge: str = ""
    protocol: str = ""
    version: int = 0
    kind: str = ""
    prompt_hash: str = ""


class Whole(NamedTuple):
    """What is read once for all batches of a project."""

    givers: dict[UUID, Giver]
    plans: dict[str, str]
    gold: frozenset[UUID]
    examples: tuple[str, ...]


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


def read_records(project: Project, *, key: bytes, with_calls: bool = False) -> Iterator[Record]:
    """Yield a project's pairs as records, in the order of import; people appear under pseudonyms.

    `id` is a hash of prompt, responses (in either order) and the pair's external id; `content_id` leaves the external
    id out, so that repeats of one content share it. Holds one batch at a time. Six queries a project and six a batch,
    one more `with_calls`.
    """
    whole = _read_project(project, key)
    rows = Pair.objects.in_project(project).values_list(*STORED_FIELDS).iterator(chunk_size=PAIRS_PER_BATCH)
    while batch := [_Stored._make(row) for row in islice(rows, PAIRS_PER_BATCH)]:
        yield from _read_batch(batch, whole, with_calls)


def plan_names(project: Project) -> dict[str, str]:
    """Return the name of every applied plan, by its id: `plan-1` was applied first."""
    applied = Plan.objects.filter(project=project, state=PlanState.APPLIED).order_by("applied_at", "id")
    return {str(plan_id): f"plan-{number}" for number, plan_id in enumerate(applied.values_list("id", flat=True), 1)}


def _read_project(project: Project, key: bytes) -> Whole:
    experts = set(Membership.objects.filter(project=project, role=Role.EXPERT).values_list("user_id", flat=True))
    versions = {
        version.rater_id: version
        for version in JudgeVersion.objects.filter(judge__project=project).select_related("judge")
    }
    givers = {}
    for rater in Rater.objects.filter(project=project).iterator():
        if rater.kind == RaterKind.PERSON:
            givers[rater.pk] = Giver(pseudonym(key, rater.name), True, rater.origin, rater.user_id in experts)
        elif version := versions.get(rater.pk):
            givers[rater.pk] = _judge_giver(version, rater.origin)
    practice = [
        text for pair in training_of(project).practice for text in (pair.prompt, pair.response_a, pair.response_b)
    ]
    templates = sorted({version.prompt_template for version in versions.values() if version.prompt_template})
    gold = Gold.objects.live().filter(project=project).values_list("pair_id", flat=True)
    return Whole(givers, plan_names(project), frozenset(gold), ("\n\n".join(practice), *templates))


def _judge_giver(version: JudgeVersion, origin: str) -> Giver:
    judge = version.judge
    named = f"{judge.name}{PROTOCOL_MARK}{version.protocol}" if version.protocol else judge.name
    return Giver(
        name=f"{named} v{version.number}",
        is_person=False,
        origin=origin,
        is_expert=False,
        judge=judge.name,
        protocol=version.protocol,
        version=version.number,
        kind=judge.kind,
        prompt_hash=content_hash(version.prompt_template) if version.prompt_template else "",
    )


STORED_FIELDS = (
    "id",
    "external_id",
    "source",
    "meta",
    "response_a_id",
    "response_b_id",
    "prompt__group",
    "prompt__language",
    "prompt__category",
    "prompt__context",
    "prompt__messages",
    "response_a__messages",
    "response_a__model",
    "response_b__messages",
    "response_b__model",
)


class _Stored(NamedTuple):
    """A pair with its texts as they are stored: `STORED_FIELDS`, without a model's objects, which take longer."""

    id: UUID
    external_id: str
    source: str
    meta: dict[str, Any]
    response_a_id: UUID
    response_b_id: UUID
    group: str
    language: str
    category: str
    context: str
    prompt: list[dict[str, Any]]
    messages_a: list[dict[str, Any]]
    model_a: str
    messages_b: list[dict[str, Any]]
    model_b: str


class _Batch(NamedTuple):
    """What raters said of a batch's pairs, by pair."""

    votes: dict[UUID, list[Vote]]
    judgements: dict[UUID, list[Judgement]]
    aspects: dict[UUID, list[Aspect]]
    scores: dict[UUID, list[Scores]]
    calls: dict[UUID, list[Call]]
    labels: dict[UUID, Resolved]


def _read_batch(pairs: Sequence[_Stored], whole: Whole, with_calls: bool) -> Iterator[Record]:
    ids = [pair.id for pair in pairs]
    said = _Batch(
        *_answers(ids, whole.givers),
        _scores(pairs, whole.givers),
        _calls(ids, whole.givers) if with_calls else {},
        _labels(ids),
    )
    for pair in pairs:
        yield _record(pair, whole, said)


def _record(pair: _Stored, whole: Whole, said: _Batch) -> Record:
    prompt = _messages(pair.prompt)
    a, b = (
        Side(messages, joined_text(messages), model)
        for messages, model in ((_messages(pair.messages_a), pair.model_a), (_messages(pair.messages_b), pair.model_b))
    )
    label = said.labels.get(pair.id)
    plan = label.provenance.get("plan") if label else None
    ids = identify(prompt, (a.messages, b.messages), group=pair.group, external_id=pair.external_id)
    return Record(
        **ids._asdict(),
        prompt_group=pair.group,
        external_id=pair.external_id,
        source=pair.source,
        language=pair.language,
        category=pair.category,
        context=pair.context,
        prompt=prompt,
        a=a,
        b=b,
        similarity=similarity(a.text, b.text),
        votes=tuple(sorted(said.votes.get(pair.id, ()), key=lambda vote: vote.person)),
        judgements=tuple(sorted(said.judgements.get(pair.id, ()), key=lambda one: (one.judge, one.version))),
        aspects=tuple(sorted(said.aspects.get(pair.id, ()), key=lambda one: (one.by, one.criterion))),
        scores=tuple(sorted(said.scores.get(pair.id, ()), key=lambda one: (one.by, one.criterion))),
        calls=tuple(sorted(said.calls.get(pair.id, ()), key=lambda one: (one.judge, one.version, one.order))),
        label=label,
        plan=whole.plans.get(plan, "") if plan else "",
        is_gold=pair.id in whole.gold,
        is_example=_is_example(prompt, (a.text, b.text), whole.examples),
        meta=pair.meta,
    )


def similarity(a: str, b: str) -> float:
    """Return the words two texts share over all words of both, 0 to 1; 0 where neither has any."""
    ours, theirs = set(WORD.findall(a.lower())), set(WORD.findall(b.lower()))
    return len(ours & theirs) / len(ours | theirs) if ours or theirs else 0.0


def _is_example(prompt: Sequence[Message], responses: Sequence[str], examples: Sequence[str]) -> bool:
    asked = prompt[-1]["content"].strip() if prompt else ""
    return len(asked) >= EXAMPLE_CHARACTERS and any(
        asked in shown and any(text.strip() and text.strip() in shown for text in responses) for shown in examples
    )


def _labels(pair_ids: Collection[UUID]) -> dict[UUID, Resolved]:
    rows = Label.objects.filter(pair_id__in=pair_ids).values_list("pair_id", *Resolved._fields)
    return {pair_id: Resolved(*rest) for pair_id, *rest in rows.iterator()}


def _messages(messages: list[dict[str, Any]]) -> list[Message]:
    return [{"role": message["role"], "content": message["content"]} for message in messages]


ANSWER_FIELDS = (
    "pair_id",
    "rater_id",
    "criterion__name",
    "choice",
    "strength",
    "prob_a",
    "rationale",
    "rationale_timing",
    "shown_order",
    "basis",
    "seconds",
    "confidence",
    "reasons",
    "content_flags",
)


def _answers(
    pair_ids: Collection[UUID], givers: dict[UUID, Giver]
) -> tuple[dict[UUID, list[Vote]], dict[UUID, list[Judgement]], dict[UUID, list[Aspect]]]:
    """Return people's votes, judges' answers and answers by criterion, by pair. One query."""
    rows = Preference.objects.current().filter(pair_id__in=pair_ids, is_extra=False)
    votes: dict[UUID, list[Vote]] = defaultdict(list)
    judgements: dict[UUID, list[Judgement]] = defaultdict(list)
    aspects: dict[UUID, list[Aspect]] = defaultdict(list)
    for row in rows.values(*ANSWER_FIELDS).iterator():
        giver = givers.get(row["rater_id"])
        if giver is None:
            continue
        pair_id = row["pair_id"]
        if row["criterion__name"] is not None:
            aspect = Aspect(giver.name, giver.is_person, row["criterion__name"], row["choice"], row["strength"])
            aspects[pair_id].append(aspect)
        elif giver.is_person:
            votes[pair_id].append(_vote(giver, row))
        else:
            judgements[pair_id].append(_judgement(giver, row))
    return votes, judgements, aspects


def _vote(giver: Giver, row: dict[str, Any]) -> Vote:
    return Vote(
        person=giver.name,
        origin=giver.origin,
        choice=row["choice"],
        strength=row["strength"],
        rationale=row["rationale"],
        timing=row["rationale_timing"],
        shown_order=row["shown_order"],
        basis=row["basis"],
        seconds=row["seconds"],
        confidence=row["confidence"],
        reasons=tuple((one["side"], one["reason"]) for one in row["reasons"]),
        content_flags=tuple(row["content_flags"]),
        is_expert=giver.is_expert,
    )


def _judgement(giver: Giver, row: dict[str, Any]) -> Judgement:
    return Judgement(
        judge=giver.judge,
        protocol=giver.protocol,
        version=giver.version,
        kind=giver.kind,
        prompt_hash=giver.prompt_hash,
        choice=row["choice"],
        strength=row["strength"],
        prob_a=row["prob_a"],
        rationale=row["rationale"] if giver.kind in KINDS_WITH_REASONS else "",
        timing=row["rationale_timing"],
        shown_order=row["shown_order"],
    )


def _scores(pairs: Sequence[_Stored], givers: dict[UUID, Giver]) -> dict[UUID, list[Scores]]:
    """Return what raters scored, by pair: with the pair, else each response alone. One query."""
    responses = {pair.response_a_id for pair in pairs} | {pair.response_b_id for pair in pairs}
    rows = Rating.objects.filter(response_id__in=responses).filter(
        Q(pair__isnull=True) | Q(pair_id__in=[pair.id for pair in pairs])
    )
    given: dict[tuple[UUID, UUID | None], dict[tuple[UUID, str], float]] = defaultdict(dict)
    for response, pair_id, rater, criterion, value in rows.values_list(
        "response_id", "pair_id", "rater_id", "criterion__name", "value"
    ).iterator():
        given[response, pair_id][rater, criterion] = value
    found: dict[UUID, list[Scores]] = defaultdict(list)
    for pair in pairs:
        a, b = (
            {**given.get((response, None), {}), **given.get((response, pair.id), {})}
            for response in (pair.response_a_id, pair.response_b_id)
        )
        for rater, criterion in a.keys() | b.keys():
            if giver := givers.get(rater):
                one = Scores(
                    giver.name, giver.is_person, criterion, a.get((rater, criterion)), b.get((rater, criterion))
                )
                found[pair.id].append(one)
    return found


def _calls(pair_ids: Collection[UUID], givers: dict[UUID, Giver]) -> dict[UUID, list[Call]]:
    rows = Verdict.objects.answered().of_labels().filter(pair_id__in=pair_ids)
    fields = (
        "prob_a",
        "score_a",
        "score_b",
        "rationale",
        "answered_by",
        "samples",
        "prompt_tokens",
        "completion_tokens",
    )
    calls: dict[UUID, list[Call]] = defaultdict(list)
    for pair_id, rater, order, choice, *rest in rows.values_list(
        "pair_id", "version__rater_id", "order", "choice", *fields
    ).iterator():
        if giver := givers.get(rater):
            call = Call(giver.judge, giver.protocol, giver.version, giver.kind, giver.prompt_hash, order, choice, *rest)
            calls[pair_id].append(call)
    return calls
