"""Worked examples for a judge: pairs on which people agree, frozen into its version."""

from collections import deque
from itertools import islice
from random import Random
from typing import Any
from uuid import UUID

from annotation.aggregating import consensus, vote_frame
from annotation.models import Choice, Pair, Project
from judges.errors import JudgeError

# One person cannot agree with nobody.
LEAST_VOTES = 2
# Each question carries all examples: a long one would cost more than it teaches.
LONGEST_EXAMPLE = 6_000
CHOICES = (Choice.A.value, Choice.B.value, Choice.TIE.value)
READ_AT_ONCE = 200


def choose_examples(project: Project, n: int, *, seed: int, tie: bool = True) -> tuple[dict[str, Any], ...]:
    """Return `n` worked examples, as `Options.examples` keeps them: the same for the same seed and answers.

    From pairs that at least two people answered, all of them alike, with texts of at most 6,000 characters. The choices
    a, b and tie (without `tie`, only a and b) take turns as long as each lasts, and the orders shown change with each
    round. Raises `JudgeError` where there are too few such pairs.
    """
    if n < 1:
        raise JudgeError(f"The number of examples is {n}; it takes a whole number from 1.")
    people = consensus(vote_frame(project))
    alike = people[(people["n_votes"] >= LEAST_VOTES) & (people["agreement"] == 1.0)]
    # By the file's ids, so that the same data gives the same examples in another database.
    names = {str(pk): name for pk, name in Pair.objects.filter(project=project).values_list("pk", "external_id")}
    rng = Random(seed)
    piles: list[deque[Pair]] = []
    for choice in CHOICES if tie else CHOICES[:2]:
        ids = sorted(alike.index[alike["choice"] == choice], key=lambda pair_id: (names[pair_id], pair_id))
        rng.shuffle(ids)
        piles.append(_short_ones(ids, n))
    there = sum(len(pile) for pile in piles)
    if there < n:
        raise JudgeError(
            f"Examples come from short pairs that at least {LEAST_VOTES} people answered, all alike; there are too few "
            f"({there} of {n}). Have people answer more pairs, or ask for fewer examples."
        )
    examples: list[dict[str, Any]] = []
    swapped = False
    while len(examples) < n:
        for choice, pile in zip(CHOICES, piles, strict=False):
            if pile and len(examples) < n:
                examples.append(_example(pile.popleft(), choice, swapped=swapped))
        swapped = not swapped
    return tuple(examples)


def _short_ones(ids: list[str], n: int) -> deque[Pair]:
    """Return the first `n` of these pairs that are short enough."""
    found: deque[Pair] = deque()
    for start in range(0, len(ids), READ_AT_ONCE):
        chunk = ids[start : start + READ_AT_ONCE]
        pairs = Pair.objects.select_related("prompt", "response_a", "response_b").in_bulk([UUID(one) for one in chunk])
        short = (pairs[UUID(one)] for one in chunk if _length(pairs[UUID(one)]) <= LONGEST_EXAMPLE)
        found.extend(islice(short, n - len(found)))
        if len(found) == n:
            break
    return found


def _example(pair: Pair, choice: str, *, swapped: bool) -> dict[str, Any]:
    first, second = pair.response_a.text, pair.response_b.text
    shown = {"a": "first", "b": "second"}.get(choice, choice)
    if swapped:
        first, second = second, first
        shown = {"first": "second", "second": "first"}.get(shown, shown)
    return {
        "prompt": pair.prompt.messages,
        "context": pair.prompt.context,
        "reference": pair.prompt.reference,
        "first": first,
        "second": second,
        "choice": shown,
        "pair_id": str(pair.pk),
    }


def _length(pair: Pair) -> int:
    prompt = pair.prompt
    texts = [pair.response_a.text, pair.response_b.text, prompt.context, prompt.reference]
    return sum(map(len, texts)) + sum(len(str(one.get("content", ""))) for one in prompt.messages)
