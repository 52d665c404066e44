"""What an engine is asked and what it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Needs = Literal["chat", "reward"]


class Conversation(NamedTuple):
    """One question, as chat messages {role, content} that go through the model's chat template.

    A last message of the assistant is the beginning of the answer: labels are read and text is generated right behind
    it. `labels` are the texts whose probability as the next text is wanted. For a reward head, `response` is scored as
    the answer to `messages`. `max_tokens` of text are generated too, 0 for none: greedily, or at a `temperature` above
    0 with `seed`.
    """

    messages: Sequence[Mapping[str, str]]
    labels: Sequence[str] = ()
    response: str = ""
    max_tokens: int = 0
    temperature: float = 0.0
    seed: int = 0


class Outcome(NamedTuple):
    """What came of a conversation; `place` is its index in what was asked.

    `logprobs`, by label: natural logarithms of the softmax over the whole vocabulary at the last position. `score` is a
    reward head's. `text` is what was generated; `finish_reason` says `stop` or `length`. `cached_tokens` are those of
    the prompt that were computed once for several conversations. `seconds` is this one's share of its batch's time.
    `error` says why there is no answer (too long a context, a fault of this conversation alone).
    """

    place: int
    logprobs: Mapping[str, float] = {}
    score: float | None = None
    text: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    error: str = ""


class EngineSettings(NamedTuple):
    """How an engine computes. `auto` is CUDA where there is one, bfloat16 there and float32 on a CPU.

    `attention` `auto` is flash attention where its package and the device allow it, else SDPA. `tokens_a_batch` bounds
    the positions that a batch holds, padding and reused ones included (0: 32,768 on CUDA, 4,096 on a CPU).
    `kept_prefix_tokens` bounds the prefixes kept from batch to batch. A prefix is computed apart where that saves more
    tokens than a forward pass costs by itself, which `pass_tokens` states in tokens (0: 512 on CUDA, 64 on a CPU); so
    does a batch take a longer conversation only where its padding costs less.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    attention: Literal["auto", "sdpa", "flash_attention_2", "eager"] = "auto"
    tokens_a_batch: int = 0
    reuse_prefix: bool = True
    kept_prefix_tokens: int = 16_384
    pass_tokens: int = 0


class ModelFacts(NamedTuple):
    """What is known of a model without its weights.

    `needs` says what it can do: answer a chat, or score a response. `context_tokens` is 0 where the config names no
    limit. `label_tokens` are the single tokens of the labels that were checked. `no_reuse` says why prefixes are not
    reused, '' where they are. `takes_system` is False where the template refuses a system message: it is then put
    before the first message of the user.
    """

    name: str
    path: str
    needs: Needs
    architecture: str
    context_tokens: int
    vocabulary: int
    label_tokens: Mapping[str, int] = {}
    no_reuse: str = ""
    takes_system: bool = True


@dataclass
class EngineStats:
    """What an engine has computed so far. `tokens` are positions of forward passes over prompts, without padding.

    `reused_tokens` were not computed again. `seconds` are those inside forward passes, `generating_seconds` those of
    writing text. `out_of_memory` counts batches that were split for want of memory, `split` those split for a fault.
    """

    conversations: int = 0
    failed: int = 0
    batches: int = 0
    passes: int = 0
    tokens: int = 0
    padding_tokens: int = 0
    reused_tokens: int = 0
    generated_tokens: int = 0
    out_of_memory: int = 0
    split: int = 0
    seconds: float = 0.0
    generating_seconds: float = 0.0

    @property
    def padding_share(self) -> float:
        """Return padding as a share of all positions computed, 0 to 1."""
        return self.padding_tokens / max(1, self.tokens + self.padding_tokens)
