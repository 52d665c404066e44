"""Texts are written: many by continuous batching, where a text that ends makes room for the next; few as one batch.

Continuous batching is transformers' own, with SDPA or flash attention. Whatever it leaves unwritten (a model it does
not know, a want of memory, a fault) is the caller's to write in batches: those can be halved until the cause is alone.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from judges.gpu.loading import Loaded
from judges.gpu.prefixes import Tokens

# Starting continuous batching costs a second; it gains where texts end at different lengths.
CONTINUOUS_FROM = 16
PAGE_TOKENS = 256
# Tokens of a step: prompts longer than that are read in parts, beside the texts being written.
STEP_TOKENS = 2048


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


def write_continuously(loaded: Loaded, wanted: Mapping[int, Wanted], budget: int) -> Iterator[tuple[int, Written]]:
    """Yield (key, text) as texts end, greedily written; keys that fail are left out. `budget` is in positions held."""
    from transformers import GenerationConfig
    from transformers.generation.configuration_utils import ContinuousBatchingConfig

    ends = _ends(loaded)
    longest = max(len(one.tokens) + one.max_tokens for one in wanted.values())
    config = ContinuousBatchingConfig(
        page_size=PAGE_TOKENS,
        # One that is the longest always fits.
        num_blocks=math.ceil(max(budget, longest) / PAGE_TOKENS) + 2,
        max_batch_tokens=min(STEP_TOKENS, max(budget, longest)),
        max_requests_per_batch=len(wanted),
        # The model stays as it was loaded, and steps do not depend on the timing of threads.
        auto_switch_to_flash=False,
        use_async_batching=False,
    )
    settings = GenerationConfig(do_sample=False, eos_token_id=ends or -1, pad_token_id=loaded.pad, max_new_tokens=1)
    with _quiet():
        try:
            manager = loaded.model.init_continuous_batching(settings, config)
            # All before the start, so that the same texts share the same steps every time.
            for key, one in wanted.items():
                manager.add_request(list(one.tokens), request_id=str(key), max_new_tokens=one.max_tokens)
        except Exception:  # noqa: BLE001  (a model that it does not know; batches tell what is wrong, if anything is)
            return
        manager.start()
        try:
            left = len(wanted)
            while left and (manager.is_running() or not manager.output_router.output_queue.empty()):
                found = manager.get_result(timeout=1)
                if found is None or not found.is_finished():
                    continue
                left -= 1
                key = int(found.request_id)
                if found.error is None:
                    yield key, _written(loaded, found.generated_tokens[: wanted[key].max_tokens], ends)
        finally:
            manager.stop(block=True, hard_stop=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from logging as an error what is tried again in batches."""
    log = logging.getLogger("ContinuousBatchingLogger")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _written(loaded: Loaded, tokens: Sequence[int], ends: Sequence[int]) -> Written:
    length = next((place for place, token in enumerate(tokens) if token in ends), None)
    text = loaded.tokenizer.decode(tokens[:length], skip_special_tokens=True)
    return Written(text, "length" if length is None else "stop", len(tokens) if length is None else length + 1)


def _ends(loaded: Loaded) -> list[int]:
    ends = loaded.model.generation_config.eos_token_id
    return [] if ends is None else list(ends) if isinstance(ends, Sequence) else [ends]


def _devices(loaded: Loaded) -> list[int]:
    return [loaded.device.index or 0] if loaded.device.type == "cuda" else []
