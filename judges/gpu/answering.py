"""The engine: conversations in, outcomes out, whatever goes wrong with one of them."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from judges.gpu.asking import Conversation, EngineSettings, EngineStats, ModelFacts, Needs, Outcome
from judges.gpu.batching import Batch, plan, shape_of
from judges.gpu.checking import SAMPLE, label_tokens
from judges.gpu.computing import Passes, Row
from judges.gpu.encoding import encode, template_text
from judges.gpu.errors import DeviceLost
from judges.gpu.generating import CONTINUOUS_FROM, Wanted, Written, write, write_continuously
from judges.gpu.loading import Loaded, load_model
from judges.gpu.prefixes import Family, Tokens

# Conversations that are planned together: enough for full batches of like lengths, few enough to hold their tokens.
TOGETHER = 4096


class _Done(NamedTuple):
    """What became of one sequence: `found`, or an `error`."""

    place: int
    found: Any = None
    error: str = ""
    reused: int = 0
    seconds: float = 0.0


class _Failure(NamedTuple):
    """Why a batch failed; `memory` where a smaller one may not."""

    said: str
    memory: bool


class Engine:
    """One model in this process. Not for use by two threads at once."""

    def __init__(self, loaded: Loaded, settings: EngineSettings) -> None:
        self.settings = settings
        self.budget = loaded.budget
        self._loaded = loaded
        self._passes = Passes(loaded, kept_tokens=settings.kept_prefix_tokens)
        # By the beginning of an answer and a label: the label's token there, or None where it is not one token.
        self._labels: dict[tuple[str, str], int | None] = {}
        self._stopped: Callable[[], bool] = lambda: False

    @classmethod
    def load(cls, name: str, settings: EngineSettings | None = None, *, needs: Needs = "chat") -> "Engine":
        """Return an engine with its model in memory: seconds to minutes. Raises `GpuError`."""
        settings = settings or EngineSettings()
        return cls(load_model(name, settings, needs=needs), settings)

    @property
    def facts(self) -> ModelFacts:
        """Return what is known of the model, now that it is loaded."""
        return self._loaded.facts

    @property
    def stats(self) -> EngineStats:
        """Return what has been computed so far."""
        return self._passes.stats

    def answer(
        self, conversations: Sequence[Conversation], *, stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Outcome]:
        """Yield an outcome for every conversation once, as its batch ends, in no particular order.

        No batch is begun once `stopped` says so: what is not computed then has no outcome. What fails for one is its
        outcome's `error`. Raises `DeviceLost` where the device answers no more.
        """
        self._stopped = stopped
        for start in range(0, len(conversations), TOGETHER):
            for outcome in self._answer(conversations[start : start + TOGETHER]):
                self.stats.conversations += 1
                self.stats.failed += bool(outcome.error)
                yield outcome._replace(place=outcome.place + start)

    def _answer(self, conversations: Sequence[Conversation]) -> Iterator[Outcome]:
        encoded = encode(self._loaded.tokenizer, self.facts, conversations)
        sequences = [one.tokens for one in encoded]
        labels: dict[int, list[int]] = {}
        compute: list[int] = []
        write_only: list[int] = []
        for place, (one, asked) in enumerate(zip(encoded, conversations, strict=True)):
            error = one.error or self._refused(asked)
            if error:
                yield Outcome(place, prompt_tokens=len(one.tokens), error=error)
                continue
            labels[place] = [self._label(asked, label) or 0 for label in asked.labels]
            (compute if asked.labels or self.facts.needs == "reward" else write_only).append(place)
        outcomes = {place: Outcome(place, prompt_tokens=len(sequences[place])) for place in (*compute, *write_only)}
        rows = partial(self._passes.rows, sequences=sequences, labels=labels)
        for done in self._survive(compute, sequences, rows, reuse=not self.facts.no_reuse):
            outcome = _judged(outcomes[done.place], conversations[done.place], done)
            if outcome.error or not conversations[done.place].max_tokens:
                yield outcome
            else:
                outcomes[done.place] = outcome
                write_only.append(done.place)
        wanted = {place: _wanted(conversations[place], sequences[place]) for place in sorted(write_only)}
        # A text takes its room from the beginning.
        full = [tokens + (0,) * one.max_tokens for tokens, one in zip(sequences, conversations, strict=True)]
        for manner in sorted({one.manner for one in wanted.values()}):
            some = {place: one for place, one in wanted.items() if one.manner == manner}
            for done in self._continuously(some):
                del some[done.place]
                yield _told(outcomes[done.place], done)
            for done in self._survive(list(some), full, partial(self._written, wanted=some), reuse=False):
                yield _told(outcomes[done.place], done)

    def _refused(self, conversation: Conversation) -> str:
        """Return why a conversation cannot be answered by this model, '' where it can."""
        if self.facts.needs == "reward":
            asks = conversation.labels or conversation.max_tokens
            return "a reward head scores a response; it has no labels and writes no text" if asks else ""
        if not conversation.labels and not conversation.max_tokens:
            return "it asks for nothing: neither labels nor a text"
        split = [label for label in conversation.labels if self._label(conversation, label) is None]
        return f"the label {split[0]!r} is not one token for this model" if split else ""

    def _label(self, conversation: Conversation, label: str) -> int | None:
        """Return a label's token where this conversation's answer is, None where it is not one token."""
        last = conversation.messages[-1]
        beginning = last["content"] if last["role"] == "assistant" else ""
        if (beginning, label) not in self._labels:
            messages = [{"role": "user", "content": SAMPLE}]
            if beginning:
                messages.append({"role": "assistant", "content": beginning})
            before = template_text(self._loaded.tokenizer, self.facts, messages)
            tokens = label_tokens(self._loaded.tokenizer, before, [label])[label]
            self._labels[beginning, label] = tokens[0] if len(tokens) == 1 else None
        return self._labels[beginning, label]

    def _written(self, batch: Batch, wanted: Mapping[int, Wanted]) -> list[Written]:
        started = time.perf_counter()
        texts = write(self._loaded, [wanted[place] for place in batch.places])
        self.stats.generating_seconds += time.perf_counter() - started
        self.stats.generated_tokens += sum(text.tokens for text in texts)
        return texts

    def _continuously(self, wanted: Mapping[int, Wanted]) -> Iterator[_Done]:
        """Yield texts written by continuous batching, where they are many and greedy."""
        if len(wanted) < CONTINUOUS_FROM or any(one.temperature for one in wanted.values()):
            return
        # A step's time is all texts': each has its share of the time since the last one ended.
        before = time.perf_counter()
        for place, text in write_continuously(self._loaded, wanted, self.budget):
            now = time.perf_counter()
            self.stats.generating_seconds += now - before
            self.stats.generated_tokens += text.tokens
            yield _Done(place, text, seconds=now - before)
            before = time.perf_counter()

    def _planned(self, places: Sequence[int], sequences: Sequence[Tokens], *, reuse: bool) -> list[Batch]:
        some = [sequences[place] for place in places]
        found = plan(some, budget=self.budget, pass_tokens=self._loaded.pass_tokens, reuse=reuse)
        return [batch.renamed(places) for batch in found]

    def _survive(
        self,
        places: Sequence[int],
        sequences: Sequence[Tokens],
        work: Callable[[Batch], Sequence[Row | Written]],
        *,
        reuse: bool,
    ) -> Iterator[_Done]:
        """Yield what became of every place. A batch that fails is tried again in halves, down to one alone.

        Want of memory halves the budget of all that follows as well.
        """
        waiting = deque(self._planned(places, sequences, reuse=reuse))
        while waiting and not self._stopped():
            batch = waiting.popleft()
            started = time.perf_counter()
            rows, failure = _attempt(work, batch)
            seconds = (time.perf_counter() - started) / len(batch.places)
            if failure is None:
                reused = [batch.trunk + family.branch for family in batch.families for _ in family.places]
                for place, row, shared in zip(batch.places, rows, reused, strict=True):
                    yield _Done(place, row, reused=shared, seconds=seconds)
                continue
            # The failed attempt's tensors are referred to no more, so that their memory is free.
            if failure.memory:
                self._passes.forget()
                self.stats.out_of_memory += 1
            if len(batch.places) == 1 and not batch.trunk:
                yield _Done(batch.places[0], error=failure.said, seconds=seconds)
            elif len(batch.places) == 1:
                waiting.appendleft(Batch(0, (Family(0, batch.places),)))
            elif failure.memory:
                self.budget = max(1, min(self.budget, shape_of(sequences, batch).positions) // 2)
                left = [place for one in (batch, *waiting) for place in one.places]
                waiting = deque(self._planned(left, sequences, reuse=reuse))
            else:
                self.stats.split += 1
                half = len(batch.places) // 2
                for some in (batch.places[half:], batch.places[:half]):
                    waiting.extendleft(reversed(self._planned(some, sequences, reuse=reuse)))


def _attempt(
    work: Callable[[Batch], Sequence[Row | Written]], batch: Batch
) -> tuple[Sequence[Row | Written], _Failure | None]:
    import torch

    try:
        return work(batch), None
    except torch.AcceleratorError as error:
        raise DeviceLost(
            f"The GPU answers no more in this process ({error}). Stop the worker and start it again; what was not "
            "stored is asked again."
        ) from error
    except Exception as error:  # noqa: BLE001  (whatever one conversation sets off must not end the others)
        # Of the CPU's allocator there is no class of its own.
        memory = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        said = f"{type(error).__name__}: {error}"[:500]
        return (), _Failure(f"out of memory, even alone: {said}" if memory else said, memory)


def _judged(outcome: Outcome, conversation: Conversation, done: _Done) -> Outcome:
    outcome = outcome._replace(seconds=done.seconds, cached_tokens=done.reused, error=done.error)
    if done.error:
        return outcome
    row: Row = done.found
    if not all(map(math.isfinite, (*row.logprobs, row.score or 0.0))):
        return outcome._replace(error="the model's answer is not a number: it cannot compute this in its data type")
    return outcome._replace(logprobs=dict(zip(conversation.labels, row.logprobs, strict=True)), score=row.score)


def _wanted(conversation: Conversation, tokens: Tokens) -> Wanted:
    return Wanted(tokens, conversation.max_tokens, conversation.temperature, conversation.seed)


def _told(outcome: Outcome, done: _Done) -> Outcome:
    outcome = outcome._replace(seconds=outcome.seconds + done.seconds, error=done.error)
    if done.error:
        return outcome
    text: Written = done.found
    return outcome._replace(text=text.text, finish_reason=text.finish_reason, completion_tokens=text.tokens)
