"""Tiny models with random weights, saved as folders: they judge nothing, and compute as large ones do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

# The token <10> stands for models that write numbers as one token.
CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<unk>", "<pad>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
SHAPE: Mapping[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "pad_token_id": 1,
    "eos_token_id": 2,
}


def make_tokenizer(*, template: str | None = CHAT) -> Any:
    """Return a tokenizer whose tokens are characters, digits included."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, *map(chr, range(32, 127)), "\n"]
    pieces = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    pieces.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    pieces.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="<|end|>",
        extra_special_tokens=["<|system|>", "<|user|>", "<|assistant|>"],
    )
    tokenizer.chat_template = template
    return tokenizer


def save_model(
    folder: Path, *, head: bool = False, kind: str = "Llama", template: str | None = CHAT, **shape: Any
) -> str:
    """Write a model with seeded random weights and its tokenizer into a folder; return its path."""
    import torch
    import transformers

    config = getattr(transformers, f"{kind}Config")(**{**SHAPE, **shape}, **({"num_labels": 1} if head else {}))
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}For{'SequenceClassification' if head else 'CausalLM'}")(config)
    # Larger than the usual start, so that what is asked changes the answer plainly.
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.3)
    model.save_pretrained(folder)
    make_tokenizer(template=template).save_pretrained(folder)
    return str(folder)
