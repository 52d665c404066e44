"""What token sequences share, as plain arithmetic."""

from hypothesis import given
from hypothesis import strategies as st

from judges.gpu.prefixes import Family, Grove, find_families, find_trunks, shared_length

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=12)


def best_saving(sequences: list[tuple[int, ...]], places: tuple[int, ...], trunk: int) -> int:
    """Return the most tokens that families can save, by trying every beginning."""
    beginnings: dict[tuple[int, ...], list[int]] = {}
    for place in places:
        for length in range(trunk + 1, len(sequences[place])):
            beginnings.setdefault(sequences[place][:length], []).append(place)

    def saved(beginning: tuple[int, ...]) -> int:
        """Return the best of the family of this beginning and of those with longer ones."""
        longer = [one for one in beginnings if len(one) == len(beginning) + 1 and one[:-1] == beginning]
        own = (len(beginnings[beginning]) - 1) * (len(beginning) - trunk) if len(beginning) > trunk else 0
        return max(own, sum(map(saved, longer)))

    starts = {sequences[place][:trunk] for place in places}
    return sum(saved(one) for one in beginnings if len(one) == trunk + 1 and one[:trunk] in starts)


def test_the_last_token_is_never_shared() -> None:
    assert shared_length((1, 2, 3), (1, 2, 3)) == 2
    assert shared_length((1, 2), (1, 2, 3)) == 1
    assert shared_length((1, 2, 3), (1, 2, 4)) == 2
    assert shared_length((1,), (1,)) == 0
    assert shared_length((5, 2, 3), (1, 2, 3)) == 0


@given(SEQUENCES, st.integers(0, 6), st.integers(0, 20))
def test_every_sequence_is_in_one_grove_and_has_its_trunk(
    sequences: list[tuple[int, ...]], least: int, fill: int
) -> None:
    groves = find_trunks(sequences, least=least, fill=fill)
    assert sorted(place for grove in groves for place in grove.places) == list(range(len(sequences)))
    for grove in groves:
        assert len({sequences[place][: grove.trunk] for place in grove.places}) == 1
        assert all(len(sequences[place]) > grove.trunk for place in grove.places)


def test_a_trunk_is_made_where_it_saves_more_than_a_pass_costs() -> None:
    rubric = tuple(range(100, 120))
    sequences = [(*rubric, number, number) for number in range(5)]
    assert find_trunks(sequences, least=79, fill=1000) == [Grove(20, (0, 1, 2, 3, 4))]
    # Four of five computations of twenty tokens: eighty.
    assert find_trunks(sequences, least=80, fill=0) == [Grove(0, (0, 1, 2, 3, 4))]


def test_two_rubrics_with_a_common_beginning_are_two_trunks() -> None:
    one, other = (1, *range(100, 140)), (1, *range(200, 240))
    sequences = [(*one, 5), (*other, 5), (*one, 6), (*other, 6), (*one, 7), (9, 9)]
    assert find_trunks(sequences, least=30, fill=0) == [Grove(41, (0, 2, 4)), Grove(41, (1, 3)), Grove(0, (5,))]
    # Batched apart, they would leave batches of a few tokens; as families they share a batch.
    assert find_trunks(sequences, least=30, fill=500) == [Grove(0, (0, 2, 4, 1, 3, 5))]


@given(SEQUENCES, st.integers(0, 6))
def test_families_save_as_much_as_any_choice_could(sequences: list[tuple[int, ...]], least: int) -> None:
    for grove in find_trunks(sequences, least=least, fill=8):
        families = find_families(sequences, grove)
        assert sorted(place for family in families for place in family.places) == sorted(grove.places)
        for family in families:
            end = grove.trunk + family.branch
            assert len({sequences[place][:end] for place in family.places}) == 1
            assert all(len(sequences[place]) > end for place in family.places)
            assert (family.branch > 0) == (len(family.places) > 1)
        saved = sum(family.branch * (len(family.places) - 1) for family in families)
        assert saved == best_saving(sequences, grove.places, grove.trunk)


def test_three_responses_in_all_orders_share_the_prompt_with_the_first() -> None:
    prompt, responses = (50, 51, 52), [(1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3)]
    sequences = [(*prompt, *a, *b) for a in responses for b in responses if a != b]
    assert find_families(sequences, Grove(0, tuple(range(6)))) == [
        Family(7, (0, 1)),
        Family(7, (2, 3)),
        Family(7, (4, 5)),
    ]
