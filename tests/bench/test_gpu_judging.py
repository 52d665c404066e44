"""What the bench of judges on a GPU counts and holds to floors by itself."""

import math
from typing import NamedTuple

import pytest

from bench.gpu_judging import SHAPES, Shape, checked, prefill_flops

ROW = {"padding_share": 0.02, "reuse_gain": 1.2, "batching_gain": 2.0, "share_of_ceiling": 0.6}


def kept(on_gpu: bool, **values: float) -> list[bool]:
    """Return which floors are kept by one row of these values."""
    row = {**ROW, **values}
    return [fine for _, fine in checked([row], {"8B": row}, on_gpu).values()]


def test_a_row_within_its_floors_is_kept() -> None:
    assert kept(True) == [True, True, True, True]


@pytest.mark.parametrize(
    ("values", "missed"),
    [
        ({"padding_share": 0.051}, 0),
        ({"reuse_gain": 1.04}, 1),
        ({"batching_gain": 1.4}, 2),
        ({"share_of_ceiling": 0.49}, 3),
    ],
)
def test_each_floor_is_missed_by_itself(values: dict[str, float], missed: int) -> None:
    assert [place for place, fine in enumerate(kept(True, **values)) if not fine] == [missed]


def test_the_ceiling_is_held_to_on_a_gpu_alone() -> None:
    assert kept(False, share_of_ceiling=0.1, batching_gain=0.85) == [True, True, True]
    assert kept(False, batching_gain=0.79) == [True, True, False]


class Weights(NamedTuple):
    """A tensor, as far as it is counted."""

    shape: tuple[int, ...]

    def dim(self) -> int:
        return len(self.shape)

    def numel(self) -> int:
        return math.prod(self.shape)


class Model:
    def named_parameters(self) -> list[tuple[str, Weights]]:
        return [("m.layers.0.up", Weights((8, 4))), ("m.layers.0.norm", Weights((4,))), ("head", Weights((9, 4)))]


def test_operations_are_those_of_weights_attention_and_one_position_of_the_vocabulary() -> None:
    shape = Shape("Llama", 4, 8, 1, 2, 2, 9, False)
    # 2 x 32 weights a token; 2 products over half of 3 x 3 positions of 4 channels; 2 x 4 x 9 for the vocabulary.
    assert prefill_flops(Model(), shape, [3]) == 3 * 64 + 2 * (2 * 4 * 9) / 2 + 72
    assert prefill_flops(Model(), shape, [3, 3]) == 2 * prefill_flops(Model(), shape, [3])


def test_shapes_have_the_sizes_they_are_named_for() -> None:
    def billions(name: str) -> float:
        one = SHAPES[name]
        head = one.hidden_size // one.num_attention_heads
        attention = one.hidden_size * head * 2 * (one.num_attention_heads + one.num_key_value_heads)
        layer = attention + 3 * one.hidden_size * one.intermediate_size
        embedding = one.vocab_size * one.hidden_size * (1 if one.tie_word_embeddings else 2)
        return (one.num_hidden_layers * layer + embedding) / 1e9

    assert {name: round(billions(name), 2) for name in ("0.5B", "1.5B", "8B")} == {
        "0.5B": 0.49,
        "1.5B": 1.54,
        "8B": 8.03,
    }
