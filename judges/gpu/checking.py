"""Whether a model can judge as wanted, said before a run and without its weights. Nothing here asks the network."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from judges.gpu.asking import Conversation, ModelFacts, Needs
from judges.gpu.devices import require_packages
from judges.gpu.encoding import encode, template_text
from judges.gpu.errors import GpuError

# What templates are tried with.
RUBRIC, SAMPLE, ANSWER = "You judge.", "Which is better?", "The first."
# Attention whose cache can be cut and shared: each position is kept, and depends on those before it alone.
FULL_ATTENTION = "full_attention"


def check_model(name: str, *, labels: Sequence[str] = (), needs: Needs = "chat", beginning: str = "") -> ModelFacts:
    """Return what is known of a model: a local folder, or a name in the Hub's cache of this machine.

    Every label has to be exactly one token in the place where it is generated: right after the template's generation
    prompt, or after `beginning` where the answer's first text is given. Raises `GpuError`, with what to do.
    """
    require_packages()
    path = _folder(name)
    config = _config(name, path)
    _check_kind(name, config, needs)
    tokenizer = load_tokenizer(name, str(path))
    if not tokenizer.chat_template:
        raise GpuError(
            f"{name} has no chat template, so it is not known how to ask it. Choose a model that was tuned for chat, "
            f"or put its template into {path / 'chat_template.jinja'}."
        )
    text_config = config.get_text_config(decoder=True)
    facts = ModelFacts(
        name=name,
        path=str(path),
        needs=needs,
        architecture=config.architectures[0],
        context_tokens=int(getattr(text_config, "max_position_embeddings", 0) or 0),
        vocabulary=int(text_config.vocab_size),
        no_reuse=_why_no_reuse(text_config),
    )
    facts = facts._replace(takes_system=_takes_system(tokenizer, facts))
    return facts._replace(label_tokens=_label_tokens(tokenizer, facts, labels, beginning))


def check_conversations(name: str, conversations: Sequence[Conversation], *, needs: Needs = "chat") -> list[int]:
    """Return the tokens of each conversation. Raises `GpuError` where one cannot be tokenised or does not fit."""
    facts = check_model(name, needs=needs)
    encoded = encode(load_tokenizer(name, facts.path), facts, conversations)
    failed = [(place, one.error) for place, one in enumerate(encoded) if one.error]
    if failed:
        place, error = failed[0]
        raise GpuError(
            f"{len(failed):,} of {len(encoded):,} conversations cannot be put to {name}; the first is number "
            f"{place + 1}: {error}. Leave these pairs out, or choose a model with a longer context."
        )
    return [len(one.tokens) for one in encoded]


def load_tokenizer(name: str, path: str) -> Any:
    """Return the tokenizer of a model's folder. Raises `GpuError`."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise GpuError(f"The tokenizer of {name} in {path} cannot be read: {_said(error)}") from error


def _folder(name: str) -> Path:
    """Return where a model's files lie: the folder itself, or the snapshot of a Hub name in this machine's cache."""
    # Not transformers' cached_file: it asks the Hub about a name it does not find, whatever it is told.
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise GpuError(
                f"The folder {path} has no config.json, so it is no model of transformers. Name the folder that "
                "save_pretrained wrote or huggingface-cli downloaded."
            )
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise GpuError(f"There is no folder {path} on this machine. Name a folder with a model's files, or a Hub name.")
    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError as error:
        raise GpuError(f"{name!r} is neither a folder here nor a name that the Hub could have: {error}") from error
    if not isinstance(found, str):
        raise GpuError(
            f"{name} is neither a folder here nor in this machine's cache of the Hub ({constants.HF_HUB_CACHE}), and "
            f"nothing is downloaded while judging. Fetch it first: hf download {name}"
        )
    return Path(found).parent


def _config(name: str, path: Path) -> Any:
    from transformers import AutoConfig

    try:
        raw = json.loads((path / "config.json").read_text(encoding="utf-8"))
        if "auto_map" in raw and raw.get("model_type") not in _known_types():
            raise GpuError(
                f"{name} brings code of its own (auto_map in config.json), and foreign code is not run. "
                "Choose a model of an architecture that transformers has."
            )
        return AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    except GpuError:
        raise
    except Exception as error:
        raise GpuError(f"The config of {name} in {path / 'config.json'} cannot be read: {_said(error)}") from error


def _check_kind(name: str, config: Any, needs: Needs) -> None:
    """Raise `GpuError` unless the config names a causal language model, or a head with one label."""
    from transformers.models.auto import modeling_auto

    architecture = (config.architectures or [""])[0]
    known: Mapping[str, str] = {
        "chat": modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        "reward": modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    }[needs]
    found = f"{name} is a {architecture or 'model without a named architecture'} ({config.model_type})"
    if architecture not in _class_names(known.get(config.model_type, "")):
        wanted = {
            "chat": "A judge that is asked needs a causal language model (an architecture ...ForCausalLM)",
            "reward": "A reward judge needs a sequence classification head (...ForSequenceClassification)",
        }[needs]
        raise GpuError(f"{found}. {wanted} that transformers has; choose such a model, or the other way of judging.")
    if needs == "reward" and config.num_labels != 1:
        raise GpuError(f"{found} with {config.num_labels} labels. A reward judge needs a head with one: the score.")


def _class_names(entry: str | Sequence[str]) -> Sequence[str]:
    return (entry,) if isinstance(entry, str) else entry


def _why_no_reuse(config: Any) -> str:
    """Return why a prefix cannot be computed apart for a model of this config, '' where it can, as far as it says."""
    kinds = set(getattr(config, "layer_types", None) or ())
    others = sorted(kinds - {FULL_ATTENTION})
    if others:
        return f"its cache cannot be cut: it has layers of {', '.join(others)}"
    if not kinds and getattr(config, "sliding_window", None) is not None:
        return "its cache cannot be cut: it attends within a sliding window"
    return ""


def _takes_system(tokenizer: Any, facts: ModelFacts) -> bool:
    """Say whether the template shows a system message. Raises `GpuError` where it does not show a question at all."""
    answer = [{"role": "assistant", "content": ANSWER}] if facts.needs == "reward" else []
    asked = [{"role": "user", "content": SAMPLE}, *answer]
    try:
        # Some templates refuse one, and some leave it out without a word.
        if RUBRIC in template_text(tokenizer, facts, [{"role": "system", "content": RUBRIC}, *asked]):
            return True
        text = template_text(tokenizer, facts, asked)
    except Exception:  # noqa: BLE001  (a template raises what it likes)
        try:
            text = template_text(tokenizer, facts, asked)
        except Exception as error:
            raise GpuError(f"The chat template of {facts.name} cannot be used: {_said(error)}") from error
    left_out = [one["role"] for one in asked if one["content"] not in text]
    if left_out:
        raise GpuError(
            f"The chat template of {facts.name} leaves out what the {left_out[0]} says, so the model would judge what "
            "it has not seen. Look at its chat_template.jinja, or choose another model."
        )
    return False


def _label_tokens(tokenizer: Any, facts: ModelFacts, labels: Sequence[str], beginning: str) -> dict[str, int]:
    """Return each label's one token, where it follows a question. Raises `GpuError` for those that are not one."""
    messages = [{"role": "user", "content": SAMPLE}]
    if beginning:
        messages.append({"role": "assistant", "content": beginning})
    found = label_tokens(tokenizer, template_text(tokenizer, facts, messages), labels)
    split = {label: pieces for label, pieces in found.items() if len(pieces) != 1}
    if split:
        told = "; ".join(f"{label!r} into {_pieces(tokenizer, pieces)}" for label, pieces in split.items())
        raise GpuError(
            f"The labels of this judge are not one token each for {facts.name}: it splits {told}. Their probability "
            "cannot be read at one place. Choose labels that it writes as one token (A, B, C; a rating up to 9), or "
            "another model."
        )
    ids = {label: pieces[0] for label, pieces in found.items()}
    if len(set(ids.values())) < len(ids):
        raise GpuError(f"Two labels of this judge are the same token for {facts.name}: {ids}. Choose other labels.")
    return ids


def label_tokens(tokenizer: Any, before: str, labels: Sequence[str]) -> dict[str, list[int]]:
    """Return the tokens that each label adds behind a text, with those of the text's end where both melt together."""

    def tokens(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    base = tokens(before)
    found = {}
    for label in labels:
        whole = tokens(before + label)
        shared = len(base) if whole[: len(base)] == base else _shared(base, whole)
        found[label] = whole[shared:] if shared == len(base) else [*base[shared:], *whole[shared:]]
    return found


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    return next(
        (place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )


def _pieces(tokenizer: Any, tokens: Sequence[int]) -> str:
    return " + ".join(repr(tokenizer.decode([token])) for token in tokens) or "nothing"


def _known_types() -> Sequence[str]:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return list(CONFIG_MAPPING_NAMES)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
