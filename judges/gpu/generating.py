"""Texts are written: batches of like lengths, each token by token until every text has ended."""

from collections.abc import Sequence
from typing import NamedTuple

from judges.gpu.loading import Loaded
from judges.gpu.prefixes import Tokens


class Wanted(NamedTuple):
    """A text to write behind `tokens`: greedily at temperature 0."""

    tokens: Tokens
    max_tokens: int
    temperature: float = 0.0
    seed: int = 0

    @property
    def manner(self) -> tuple[float, int]:
        """Return what has to be the same for all texts of a batch."""
        return (self.temperature, self.seed if self.temperature else 0)


class Written(NamedTuple):
    """A text, why it ended (`stop` or `length`), and its tokens, the one that ends it included."""

    text: str
    finish_reason: str
    tokens: int


def write(loaded: Loaded, wanted: Sequence[Wanted]) -> list[Written]:
    """Return a text for each, all in one `manner`. The same texts in one batch are written alike every time."""
    import torch
    from transformers import GenerationConfig

    longest = max(len(one.tokens) for one in wanted)
    gaps = [longest - len(one.tokens) for one in wanted]
    ids = [[loaded.pad] * gap + list(one.tokens) for gap, one in zip(gaps, wanted, strict=True)]
    mask = [[0] * gap + [1] * len(one.tokens) for gap, one in zip(gaps, wanted, strict=True)]
    temperature, seed = wanted[0].manner
    ends = _ends(loaded)
    config = GenerationConfig(
        max_new_tokens=max(one.max_tokens for one in wanted),
        eos_token_id=ends or None,
        pad_token_id=loaded.pad,
        **({"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}),
    )
    # The seed moves no other random numbers of the process.
    with torch.inference_mode(), torch.random.fork_rng(devices=_devices(loaded)):
        torch.manual_seed(seed)
        found = loaded.model.generate(
            torch.tensor(ids, device=loaded.device),
            attention_mask=torch.tensor(mask, device=loaded.device),
            generation_config=config,
        )
    rows = found[:, longest:].tolist()
    return [_written(loaded, row[: one.max_tokens], ends) for row, one in zip(rows, wanted, strict=True)]


def _written(loaded: Loaded, tokens: Sequence[int], ends: Sequence[int]) -> Written:
    length = next((place for place, token in enumerate(tokens) if token in ends), None)
    text = loaded.tokenizer.decode(tokens[:length], skip_special_tokens=True)
    return Written(text, "length" if length is None else "stop", len(tokens) if length is None else length + 1)


def _ends(loaded: Loaded) -> list[int]:
    ends = loaded.model.generation_config.eos_token_id
    return [] if ends is None else list(ends) if isinstance(ends, Sequence) else [ends]


def _devices(loaded: Loaded) -> list[int]:
    return [loaded.device.index or 0] if loaded.device.type == "cuda" else []
