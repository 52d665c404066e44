"""Batches: full, of like lengths, within their budget."""

import random

from hypothesis import given
from hypothesis import strategies as st

from judges.gpu.batching import Batch, plan, shape_of
from judges.gpu.prefixes import Family

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=12)


def computed(sequences: list[tuple[int, ...]], batches: list[Batch]) -> int:
    """Return the positions that a plan computes, padding included: each trunk once."""
    trunks = {sequences[batch.places[0]][: batch.trunk] for batch in batches}
    return sum(map(len, trunks)) + sum(shape_of(sequences, batch).cost(0) for batch in batches)


@given(SEQUENCES, st.integers(1, 60), st.integers(0, 12), st.booleans())
def test_a_plan_holds_every_sequence_once_within_its_budget(
    sequences: list[tuple[int, ...]], budget: int, pass_tokens: int, reuse: bool
) -> None:
    batches = plan(sequences, budget=budget, pass_tokens=pass_tokens, reuse=reuse)
    assert sorted(place for batch in batches for place in batch.places) == list(range(len(sequences)))
    for batch in batches:
        assert shape_of(sequences, batch).positions <= budget or len(batch.places) == 1
        assert len({family.branch > 0 for family in batch.families}) == 1
        assert reuse or (batch.trunk, {family.branch for family in batch.families}) == (0, {0})


def test_batches_of_real_lengths_waste_under_five_percent() -> None:
    rng = random.Random(3)
    # As 200 comparisons have them: two responses of 50 to 400 tokens behind a rubric.
    sequences = [tuple(rng.choices(range(1000), k=rng.randint(400, 1100))) for _ in range(400)]
    batches = plan(sequences, budget=32_768, pass_tokens=256, reuse=False)
    held = sum(shape_of(sequences, batch).positions for batch in batches)
    tokens = sum(map(len, sequences))
    assert (held - tokens) / held <= 0.05
    # And not by batches that a GPU would hardly notice.
    assert tokens / len(batches) >= 8192


def test_both_orders_of_a_pair_compute_the_prompt_once() -> None:
    rng = random.Random(4)

    def some(length: int) -> tuple[int, ...]:
        return tuple(rng.choices(range(1000), k=length))

    rubric = some(200)
    sequences = []
    for _ in range(20):
        prompt, a, b = some(100), some(60), some(60)
        sequences += [(*rubric, *prompt, *a, *b), (*rubric, *prompt, *b, *a)]
    batches = plan(sequences, budget=100_000, pass_tokens=100, reuse=True)
    assert [(batch.trunk, len(batch.families)) for batch in batches] == [(200, 20)]
    assert computed(sequences, batches) == 200 + 20 * 100 + 40 * 120
    # Of short prompts a pass of their own costs more than it saves.
    short = [sequence[:200] + sequence[290:] for sequence in sequences]
    batches = plan(short, budget=100_000, pass_tokens=300, reuse=True)
    assert [(batch.trunk, {family.branch for family in batch.families}) for batch in batches] == [(200, {0})]


def test_a_family_that_padding_takes_over_the_budget_is_cut() -> None:
    shared = (7,) * 20
    sequences = [*((*shared, number) for number in range(5)), (*shared, *range(50, 59)), (1, 2)]
    batches = plan(sequences, budget=140, pass_tokens=0, reuse=True)
    assert sum(map(len, sequences)) < 140 < 6 * len(sequences[5])
    assert all(shape_of(sequences, batch).positions <= 140 for batch in batches)
    assert sorted(len(batch.places) for batch in batches if batch.families[0].branch) == [2, 4]


def test_the_same_input_is_planned_alike() -> None:
    rng = random.Random(5)
    sequences = [tuple(rng.choices(range(3), k=rng.randint(1, 40))) for _ in range(60)]
    plans = [plan(sequences, budget=200, pass_tokens=10, reuse=True) for _ in range(2)]
    assert plans[0] == plans[1]


def test_places_of_a_part_are_named_as_in_the_whole() -> None:
    batch = Batch(2, (Family(1, (0, 2)), Family(0, (1,))))
    assert batch.renamed([10, 20, 30]) == Batch(2, (Family(1, (10, 30)), Family(0, (20,))))
