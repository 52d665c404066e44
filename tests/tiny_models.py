"""Models of a few thousand random weights in folders, made in the test: all that a real one has, and no sense."""

import json
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>")
CONTEXT_TOKENS = 4096


def make_model(
    folder: Path, *, reward: bool = False, context: int = CONTEXT_TOKENS, template: str = TEMPLATE, seed: int = 0
) -> Path:
    """Write a tiny Llama with a tokenizer of single bytes into a folder, and return the folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_bytes_tokenizer(), eos_token="<|end|>", pad_token="<|pad|>", additional_special_tokens=SPECIAL
    )
    tokenizer.chat_template = template
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        tie_word_embeddings=False,
        # Without it random weights say nearly the same of every text.
        initializer_range=0.5,
        **({"num_labels": 1} if reward else {}),
    )
    torch.manual_seed(seed)
    model: Any = (LlamaForSequenceClassification if reward else LlamaForCausalLM)(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _bytes_tokenizer() -> Any:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={sign: at for at, sign in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    return tokenizer


def edit_json(path: Path, **values: Any) -> None:
    """Change values of a JSON file; None takes a name out."""
    data = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({name: value for name, value in data.items() if value is not None}))
