"""Slates: which responses of a prompt people order at once, and the pairs that such an order decides.

In a project that asks for orders, opening a pair opens the slate it is part of. A slate is made once, from the
responses there are then; the pairs among them that no file brought are made too, so that all an order says has a row.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from itertools import combinations
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet

from annotation.models import Pair, Project, Slate, SlateEntry, Task
from annotation.models.pairs import content_hash

MOST_RESPONSES = 8


def slates_of(project: Project, pair_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Return the slate of every pair named, made where there is none. Caller holds the project's row, in a transaction.

    A prompt with more than eight responses gets several slates, in the order of import; a pair whose responses ended up
    in two of them gets one of its own.
    """
    named = list(Pair.objects.filter(project=project, pk__in=pair_ids).order_by("pk"))
    prompts = {pair.prompt_id for pair in named}
    slate_of = _existing(prompts)
    slated = {response for both in slate_of for response in both}
    responses = _responses_of(prompts)
    made: dict[UUID, UUID] = {}
    for pair in named:
        both = frozenset((pair.response_a_id, pair.response_b_id))
        if both not in slate_of:
            free = [one for one in responses[pair.prompt_id] if one not in slated]
            group = _group_with(both, free)
            slate = _make(project, pair.prompt_id, group)
            slate_of.update({frozenset(two): slate for two in combinations(group, 2)})
            slated.update(group)
        made[pair.pk] = slate_of[both]
    return made


def asked_in(tasks: "QuerySet[Task]", *, pair: str = "") -> Q:
    """Return the condition that one of these tasks asks about an outer query's pair: its own, or of a slate it is in.

    `pair` is the way from the outer row to its pair, as in "pair__"; empty where the row is a pair.
    """
    responses = [OuterRef(f"{pair}response_{side}") for side in "ab"]
    slated = tasks.filter(slate__entries__response=responses[0]).filter(slate__entries__response=responses[1])
    return Q(Exists(tasks.filter(pair=OuterRef(f"{pair}pk")))) | Q(Exists(slated))


def _existing(prompts: Iterable[UUID]) -> dict[frozenset[UUID], UUID]:
    entries = SlateEntry.objects.filter(slate__prompt__in=list(prompts)).order_by("slate_id", "position")
    members: dict[UUID, list[UUID]] = defaultdict(list)
    for slate, response in entries.values_list("slate_id", "response_id"):
        members[slate].append(response)
    return {frozenset(two): slate for slate, group in members.items() for two in combinations(group, 2)}


def _responses_of(prompts: Iterable[UUID]) -> dict[UUID, list[UUID]]:
    """Return the responses of each prompt that stand in a pair, in the order in which pairs brought them."""
    rows = Pair.objects.filter(prompt__in=list(prompts)).order_by("pk")
    found: dict[UUID, dict[UUID, None]] = defaultdict(dict)
    for prompt, a, b in rows.values_list("prompt_id", "response_a_id", "response_b_id"):
        found[prompt].update({a: None, b: None})
    return {prompt: list(responses) for prompt, responses in found.items()}


def _group_with(both: frozenset[UUID], free: list[UUID]) -> list[UUID]:
    """Return a slate's responses: the two of a pair, with others that are in no slate yet."""
    if not both <= set(free):
        return sorted(both)
    others = [one for one in free if one not in both][: MOST_RESPONSES - len(both)]
    chosen = both | set(others)
    return [one for one in free if one in chosen]


def _make(project: Project, prompt_id: UUID, group: list[UUID]) -> UUID:
    slate = Slate.objects.create(project=project, prompt_id=prompt_id)
    SlateEntry.objects.bulk_create(
        SlateEntry(slate=slate, response_id=response, position=position) for position, response in enumerate(group)
    )
    there = {
        frozenset(two)
        for two in Pair.objects.filter(response_a__in=group, response_b__in=group).values_list(
            "response_a_id", "response_b_id"
        )
    }
    Pair.objects.bulk_create(
        Pair(
            project=project,
            prompt_id=prompt_id,
            response_a_id=a,
            response_b_id=b,
            external_id=content_hash(["slate", str(a), str(b)]),
            source="slate",
        )
        for a, b in combinations(group, 2)
        if frozenset((a, b)) not in there
    )
    return slate.pk
