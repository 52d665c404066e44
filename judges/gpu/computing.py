"""Forward passes over batches: left padding, and prefixes computed once. The only module here that shapes tensors."""

import copy
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from judges.gpu.asking import EngineStats
from judges.gpu.batching import Batch
from judges.gpu.loading import Loaded
from judges.gpu.prefixes import Tokens


class Row(NamedTuple):
    """What a pass says of one sequence: natural logarithms of its labels' probabilities, or a head's score."""

    logprobs: tuple[float, ...] = ()
    score: float | None = None


class Context(NamedTuple):
    """Keys and values of what was computed before. `mask`, [rows, positions], is 0 for padding, if it is `padded`."""

    cache: Any = None
    mask: Any = None
    padded: bool = False


class Passes:
    """Computes batches with one model. Trunks are kept from batch to batch, the last used longest."""

    def __init__(self, loaded: Loaded, *, kept_tokens: int = 0) -> None:
        self.loaded = loaded
        self.kept_tokens = kept_tokens
        self.stats = EngineStats()
        self._trunks: OrderedDict[Tokens, Context] = OrderedDict()

    def rows(self, batch: Batch, sequences: Sequence[Tokens], labels: Mapping[int, Sequence[int]]) -> list[Row]:
        """Return a row for every place of a batch, in its order; `labels` are token ids by place."""
        import torch

        started = time.perf_counter()
        with torch.inference_mode():
            last = self._last(batch, sequences)
            rows = self._scores(last) if self.loaded.facts.needs == "reward" else self._logprobs(last, batch, labels)
        self.stats.seconds += time.perf_counter() - started
        self.stats.batches += 1
        return rows

    def forget(self) -> None:
        """Drop the trunks kept, and hand the device's unused memory back."""
        import torch

        self._trunks.clear()
        if self.loaded.device.type == "cuda":
            torch.cuda.empty_cache()

    def gap_of_reuse(self, tokens: Sequence[int]) -> float:
        """Return how far the last position's values move, at most, where the first half is computed apart."""
        import torch

        half = len(tokens) // 2
        with torch.inference_mode():
            whole = self._values([tuple(tokens)], None)
            context = self._context([tuple(tokens[:half])], None)
            # Twice, as the rows of a batch use it.
            parts = self._values([tuple(tokens[half:])] * 2, self._expanded(context, 2))
            return float((parts - whole).abs().max())

    def _last(self, batch: Batch, sequences: Sequence[Tokens]) -> Any:
        """Return the last position's values, [rows, vocabulary] or [rows, 1]."""
        context = self._trunk(sequences[batch.places[0]][: batch.trunk]) if batch.trunk else None
        begin = batch.trunk
        reused = batch.trunk * len(batch.places)
        if batch.families[0].branch:
            branches = [sequences[one.places[0]][begin : begin + one.branch] for one in batch.families]
            context = self._context(branches, self._expanded(context, len(branches)))
            parents = [number for number, one in enumerate(batch.families) for _ in one.places]
            context = self._selected(context, parents)
            reused += sum(one.branch * (len(one.places) - 1) for one in batch.families)
        else:
            context = self._expanded(context, len(batch.places))
        leaves = [sequences[place][begin + one.branch :] for one in batch.families for place in one.places]
        self.stats.reused_tokens += reused
        return self._values(leaves, context)

    def _trunk(self, tokens: Tokens) -> Context:
        """Return a trunk's keys and values, [1, tokens]: the kept ones, or new ones, the same numbers either way."""
        found = self._trunks.pop(tokens, None)
        if found is None:
            found = self._context([tokens], None)
            self.stats.reused_tokens -= len(tokens)
        self._trunks[tokens] = found
        while len(self._trunks) > 1 and sum(map(len, self._trunks)) > self.kept_tokens:
            self._trunks.popitem(last=False)
        return found

    def _context(self, sequences: Sequence[Tokens], before: Context | None) -> Context:
        from transformers import DynamicCache

        before = before or Context(DynamicCache(config=self.loaded.model.config))
        ids, options, after = self._inputs(sequences, before)
        self.loaded.model.base_model(ids, **options)
        return after

    def _values(self, sequences: Sequence[Tokens], before: Context | None) -> Any:
        """Return the last position's values, [rows, vocabulary] or, of a head, [rows, 1]. A cache grows by the pass."""
        ids, options, _ = self._inputs(sequences, before or Context())
        model = self.loaded.model
        if self.loaded.facts.needs == "reward":
            return model.score(model.base_model(ids, **options).last_hidden_state[:, -1])
        if "logits_to_keep" in self.loaded.takes:
            options["logits_to_keep"] = 1
        return model(ids, **options).logits[:, -1]

    def _inputs(self, sequences: Sequence[Tokens], before: Context) -> tuple[Any, dict[str, Any], Context]:
        """Return token ids padded on the left, [rows, longest], what a pass takes beside them, the context after."""
        import torch

        pad, device = self.loaded.pad, self.loaded.device
        longest = max(map(len, sequences))
        gaps = [longest - len(one) for one in sequences]
        ids = torch.tensor([[pad] * gap + list(one) for gap, one in zip(gaps, sequences, strict=True)], device=device)
        mask = (torch.arange(longest, device=device) >= torch.tensor(gaps, device=device)[:, None]).long()
        if before.mask is not None:
            mask = torch.cat([before.mask, mask], dim=1)
        after = Context(before.cache, mask, before.padded or any(gaps))
        options: dict[str, Any] = {"use_cache": before.cache is not None}
        if before.cache is not None:
            options["past_key_values"] = before.cache
        if after.padded:
            # Without one, attention takes its fast causal path.
            options["attention_mask"] = mask
        if "position_ids" in self.loaded.takes:
            options["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -longest:]
        self.stats.passes += 1
        self.stats.tokens += sum(map(len, sequences))
        self.stats.padding_tokens += sum(gaps)
        return ids, options, after

    def _expanded(self, context: Context | None, rows: int) -> Context | None:
        """Return a context of one row as one of many, without a copy: a pass adds to it by making new tensors."""
        if context is None:
            return None
        cache = _shallow(context.cache)
        for layer in cache.layers:
            layer.keys = layer.keys.expand(rows, -1, -1, -1)
            layer.values = layer.values.expand(rows, -1, -1, -1)
        return Context(cache, context.mask.expand(rows, -1), context.padded)

    def _selected(self, context: Context, parents: Sequence[int]) -> Context:
        """Return a context with the rows of these parents."""
        import torch

        index = torch.tensor(parents, device=self.loaded.device)
        cache = _shallow(context.cache)
        cache.batch_select_indices(index)
        return Context(cache, context.mask[index], context.padded)

    def _scores(self, last: Any) -> list[Row]:
        return [Row(score=score) for score in last[:, 0].float().tolist()]

    def _logprobs(self, last: Any, batch: Batch, labels: Mapping[int, Sequence[int]]) -> list[Row]:
        import torch

        wanted = [labels[place] for place in batch.places]
        width = max(map(len, wanted))
        if not width:
            return [Row()] * len(wanted)
        index = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in wanted], device=last.device)
        found = last.float().log_softmax(dim=-1).gather(1, index).tolist()
        return [Row(tuple(row[: len(ids)])) for row, ids in zip(found, wanted, strict=True)]


def _shallow(cache: Any) -> Any:
    """Return a cache whose layers can be given other tensors without changing the first."""
    new = copy.copy(cache)
    new.layers = [copy.copy(layer) for layer in cache.layers]
    return new
