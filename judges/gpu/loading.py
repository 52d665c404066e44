"""A model's weights come into memory: from its folder, onto the device, without the network or foreign code."""

import inspect
import warnings
from typing import Any, NamedTuple

from judges.gpu.asking import EngineSettings, ModelFacts, Needs
from judges.gpu.checking import check_model, load_tokenizer
from judges.gpu.devices import PASS_TOKENS, TOKENS_A_BATCH, attention_of, device_of, dtype_of
from judges.gpu.errors import GpuError

# The tokens that are tried to see whether a prefix computed apart changes the answer, and how far rounding may take it.
TRIED_TOKENS = 24
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.25}


class Loaded(NamedTuple):
    """A model on its device, ready to answer. `takes` names arguments of its forward pass that not all models have."""

    model: Any
    tokenizer: Any
    facts: ModelFacts
    device: Any
    dtype: Any
    budget: int
    pass_tokens: int
    pad: int
    takes: frozenset[str]


def load_model(name: str, settings: EngineSettings, *, needs: Needs = "chat") -> Loaded:
    """Return a model loaded. Seconds to minutes, and the memory of its weights. Raises `GpuError`."""
    facts = check_model(name, needs=needs)
    device = device_of(settings)
    dtype = dtype_of(settings, device)
    tokenizer = load_tokenizer(name, facts.path)
    model = _weights(facts, device, dtype, attention_of(settings, device, dtype))
    return prepare(model, tokenizer, facts, settings)


def prepare(model: Any, tokenizer: Any, facts: ModelFacts, settings: EngineSettings) -> Loaded:
    """Return a model that lies on its device already as one to ask."""
    from transformers import GenerationConfig

    model.eval()
    if hasattr(model, "generation_config"):
        # What a model's makers like to sample with (a temperature, a penalty) is not what a judge is asked with.
        ends = model.generation_config.eos_token_id if model.generation_config is not None else None
        model.generation_config = GenerationConfig(eos_token_id=ends if ends is not None else tokenizer.eos_token_id)
    pads = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    loaded = Loaded(
        model=model,
        tokenizer=tokenizer,
        facts=facts,
        device=model.device,
        dtype=model.dtype,
        budget=settings.tokens_a_batch or TOKENS_A_BATCH[model.device.type],
        pass_tokens=settings.pass_tokens or PASS_TOKENS[model.device.type],
        # Padding is masked, so it matters only that the embedding has it.
        pad=next(pad for pad in pads if pad is not None and 0 <= pad < facts.vocabulary),
        takes=frozenset(inspect.signature(model.forward).parameters) & {"position_ids", "logits_to_keep"},
    )
    reason = facts.no_reuse or ("switched off" if not settings.reuse_prefix else _why_no_reuse(loaded))
    return loaded._replace(facts=facts._replace(no_reuse=reason))


def _weights(facts: ModelFacts, device: Any, dtype: Any, attention: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
    from transformers.utils import logging

    kind = AutoModelForCausalLM if facts.needs == "chat" else AutoModelForSequenceClassification
    try:
        logging.disable_progress_bar()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = kind.from_pretrained(
                facts.path,
                local_files_only=True,
                trust_remote_code=False,
                dtype=dtype,
                attn_implementation=attention,
            )
        return model.to(device)
    except torch.OutOfMemoryError as error:
        raise GpuError(
            f"The weights of {facts.name} do not fit into the memory of {device}: {error}. "
            "Choose a smaller model, or stop what else uses the GPU (nvidia-smi lists it)."
        ) from error
    except Exception as error:
        raise GpuError(
            f"The weights of {facts.name} in {facts.path} cannot be loaded: {type(error).__name__}: {error}"[:1000]
        ) from error


def _why_no_reuse(loaded: Loaded) -> str:
    """Return why prefixes cannot be computed apart, '' where they can: a few tokens are tried both ways."""
    from judges.gpu.computing import Passes

    try:
        gap = Passes(loaded).gap_of_reuse([number % loaded.facts.vocabulary for number in range(7, 7 + TRIED_TOKENS)])
    except Exception as error:  # noqa: BLE001  (a model that cannot do it raises what it likes, and works without)
        return f"its cache cannot be cut: {type(error).__name__}: {error}"[:300]
    bound = TOLERANCE[str(loaded.dtype).removeprefix("torch.")]
    # Not a number is beyond every bound too.
    return "" if gap <= bound else f"its answer changes by {gap:.2g} where a prefix is computed apart"
