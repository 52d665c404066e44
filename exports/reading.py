"""Reads pairs into canonical records, in batches: a dozen queries for each 2,000 pairs, whatever the project's size."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.models import Q, QuerySet

from annotation.ids import id_text
from annotation.models import Gold, Membership, Pair, Preference, Project, Rater, RaterKind, Rating, Role
from annotation.models.pairs import content_hash, joined_text
from annotation.training import training_of
from exports.likening import plain_words
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
    """What is read once for all batches of a project. Ids are texts, as `id_text` brings them."""

    givers: dict[str, Giver]
    plans: dict[str, str]
    gold: frozenset[str]
    examples: tuple[str, ...]
    has_scores: bool


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
    id out, so that repeats of one content share it. Holds one batch at a time. Seven queries a project and two a
    batch, one more where anybody scored, and one more `with_calls`.
    """
    whole = _read_project(project, key)
    pairs = Pair.objects.in_project(project)
    rows = pairs.values_list(*STORED_FIELDS).iterator(chunk_size=PAIRS_PER_BATCH)
    while batch := [_Stored._make(row) for row in islice(rows, PAIRS_PER_BATCH)]:
        # As a range, the database finds them faster than by 2,000 ids.
        these = pairs.filter(id__range=(batch[0].id, batch[-1].id)).order_by()
        yield from _read_batch(batch, these, whole, with_calls)


def plan_names(project: Project) -> dict[str, str]:
    """Return the name of every applied plan, by its id: `plan-1` was applied first."""
    applied = Plan.objects.filter(project=project, state=PlanState.APPLIED).order_by("applied_at", "id")
    return {str(plan_id): f"plan-{number}" for number, plan_id in enumerate(applied.values_list("id", flat=True), 1)}


def _read_project(project: Project, key: bytes) -> Whole:
    experts = set(Membership.objects.filter(project=project, role=Role.EXPERT).values_list("user_id", flat=True))
    versions = JudgeVersion.objects.filter(judge__project=project).select_related("judge").in_bulk()
    givers = {}
    raters = Rater.objects.filter(project=project).values_list(
        id_text("id"), "kind", "name", "origin", "user_id", "judge_version"
    )
    for rater_id, kind, name, origin, user_id, version_id in raters.iterator():
        if kind == RaterKind.PERSON:
            givers[rater_id] = Giver(pseudonym(key, name), True, origin, user_id in experts)
        elif version := versions.get(version_id):
            givers[rater_id] = _judge_giver(version, origin)
    practice = [
        text for pair in training_of(project).practice for text in (pair.prompt, pair.response_a, pair.response_b)
    ]
    templates = sorted({version.prompt_template for version in versions.values() if version.prompt_template})
    gold = Gold.objects.live().filter(project=project).values_list(id_text("pair_id"), flat=True)
    has_scores = Rating.objects.filter(rater__project=project).exists()
    return Whole(givers, plan_names(project), frozenset(gold), ("\n\n".join(practice), *templates), has_scores)


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
    id_text("id"),
    "external_id",
    "source",
    "meta",
    id_text("response_a_id"),
    id_text("response_b_id"),
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

    id: str
    external_id: str
    source: str
    meta: dict[str, Any]
    response_a_id: str
    response_b_id: str
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

    votes: dict[str, list[Vote]]
    judgements: dict[str, list[Judgement]]
    aspects: dict[str, list[Aspect]]
    scores: dict[str, list[Scores]]
    calls: dict[str, list[Call]]
    labels: dict[str, Resolved]


def _read_batch(batch: Sequence[_Stored], these: QuerySet[Pair], whole: Whole, with_calls: bool) -> Iterator[Record]:
    said = _Batch(
        *_answers(these, whole.givers),
        _scores(batch, these, whole.givers) if whole.has_scores else {},
        _calls(these, whole.givers) if with_calls else {},
        _labels(these),
    )
    for pair in batch:
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
    ours, theirs = set(plain_words(a)), set(plain_words(b))
    shared = len(ours & theirs)
    return shared / (len(ours) + len(theirs) - shared) if ours or theirs else 0.0


def _is_example(prompt: Sequence[Message], responses: Sequence[str], examples: Sequence[str]) -> bool:
    asked = prompt[-1]["content"].strip() if prompt else ""
    return len(asked) >= EXAMPLE_CHARACTERS and any(
        asked in shown and any(text.strip() and text.strip() in shown for text in responses) for shown in examples
    )


def _labels(pairs: QuerySet[Pair]) -> dict[str, Resolved]:
    rows = Label.objects.filter(pair__in=pairs).values_list(id_text("pair_id"), *Resolved._fields)
    return {pair_id: Resolved(*rest) for pair_id, *rest in rows.iterator()}


def _messages(messages: list[dict[str, Any]]) -> list[Message]:
    return [{"role": message["role"], "content": message["content"]} for message in messages]


ANSWER_FIELDS = (
    id_text("pair_id"),
    id_text("rater_id"),
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


class _Answer(NamedTuple):
    """An answer as it is stored: `ANSWER_FIELDS`."""

    pair_id: str
    rater_id: str
    criterion: str | None
    choice: str
    strength: int | None
    prob_a: float | None
    rationale: str
    timing: str
    shown_order: str
    basis: str
    seconds: float | None
    confidence: int | None
    reasons: list[dict[str, str]]
    content_flags: list[str]


def _answers(
    pairs: QuerySet[Pair], givers: dict[str, Giver]
) -> tuple[dict[str, list[Vote]], dict[str, list[Judgement]], dict[str, list[Aspect]]]:
    """Return people's votes, judges' answers and answers by criterion, by pair. One query."""
    rows = Preference.objects.current().filter(pair__in=pairs, is_extra=False).values_list(*ANSWER_FIELDS)
    votes: dict[str, list[Vote]] = defaultdict(list)
    judgements: dict[str, list[Judgement]] = defaultdict(list)
    aspects: dict[str, list[Aspect]] = defaultdict(list)
    for answer in map(_Answer._make, rows.iterator()):
        giver = givers.get(answer.rater_id)
        if giver is None:
            continue
        if answer.criterion is not None:
            aspect = Aspect(giver.name, giver.is_person, answer.criterion, answer.choice, answer.strength)
            aspects[answer.pair_id].append(aspect)
        elif giver.is_person:
            votes[answer.pair_id].append(_vote(giver, answer))
        else:
            judgements[answer.pair_id].append(_judgement(giver, answer))
    return votes, judgements, aspects


def _vote(giver: Giver, answer: _Answer) -> Vote:
    return Vote(
        person=giver.name,
        origin=giver.origin,
        choice=answer.choice,
        strength=answer.strength,
        rationale=answer.rationale,
        timing=answer.timing,
        shown_order=answer.shown_order,
        basis=answer.basis,
        seconds=answer.seconds,
        confidence=answer.confidence,
        reasons=tuple((one["side"], one["reason"]) for one in answer.reasons),
        content_flags=tuple(answer.content_flags),
        is_expert=giver.is_expert,
    )


def _judgement(giver: Giver, answer: _Answer) -> Judgement:
    return Judgement(
        judge=giver.judge,
        protocol=giver.protocol,
        version=giver.version,
        kind=giver.kind,
        prompt_hash=giver.prompt_hash,
        choice=answer.choice,
        strength=answer.strength,
        prob_a=answer.prob_a,
        rationale=answer.rationale if giver.kind in KINDS_WITH_REASONS else "",
        timing=answer.timing,
        shown_order=answer.shown_order,
    )


def _scores(batch: Sequence[_Stored], pairs: QuerySet[Pair], givers: dict[str, Giver]) -> dict[str, list[Scores]]:
    """Return what raters scored, by pair: with the pair, else each response alone. One query."""
    responses = pairs.values("response_a").union(pairs.values("response_b"))
    rows = Rating.objects.filter(Q(pair__isnull=True) | Q(pair__in=pairs), response__in=responses)
    given: dict[tuple[str, str | None], dict[tuple[str, str], float]] = defaultdict(dict)
    for response, pair_id, rater, criterion, value in rows.values_list(
        id_text("response_id"), id_text("pair_id"), id_text("rater_id"), "criterion__name", "value"
    ).iterator():
        given[response, pair_id][rater, criterion] = value
    found: dict[str, list[Scores]] = defaultdict(list)
    for pair in batch:
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


def _calls(pairs: QuerySet[Pair], givers: dict[str, Giver]) -> dict[str, list[Call]]:
    rows = Verdict.objects.answered().of_labels().filter(pair__in=pairs)
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
    calls: dict[str, list[Call]] = defaultdict(list)
    for pair_id, rater, order, choice, *rest in rows.values_list(
        id_text("pair_id"), id_text("version__rater_id"), "order", "choice", *fields
    ).iterator():
        if giver := givers.get(rater):
            call = Call(giver.judge, giver.protocol, giver.version, giver.kind, giver.prompt_hash, order, choice, *rest)
            calls[pair_id].append(call)
    return calls
