"""Consumers' own code, offline and without torch: loading a folder, and TRL's functions with a toy tokenizer."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

OPEN, CLOSE = "\x02", "\x03"
TEMPLATE = (
    "{% for message in messages %}\x02{{ message['role'] }}\n{{ message['content'] }}\x03{% endfor %}"
    "{% if add_generation_prompt %}\x02assistant\n{% endif %}"
)
ASSISTANT = f"{OPEN}assistant\n"


def load(folder: Path, cache: Path, config: str | None = None) -> Any:
    """Return what `datasets` makes of a folder."""
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset(str(folder), config, cache_dir=str(cache))


def load_each(folder: Path, cache: Path, configs: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield every configuration with what `load_dataset` makes of it.

    Each call asks first what configurations the folder has, by their patterns, which takes longer than reading twenty
    rows; that answer, the same for all, is kept for the calls after the first.
    """
    import datasets

    find = datasets.load.dataset_module_factory
    kept: list[Any] = []

    def find_once(*asked: Any, **how: Any) -> Any:
        if not kept:
            kept.append(find(*asked, **how))
        # Its caller takes parts out of it.
        return dataclasses.replace(kept[0], builder_kwargs=dict(kept[0].builder_kwargs))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.load, "dataset_module_factory", find_once)
        for config in configs:
            yield config, load(folder, cache, config)


@cache
def toy_tokenizer() -> Any:
    """Return a tokenizer with a chat template that loses nothing."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def messages_of(text: str) -> list[dict[str, str]]:
    """Return the messages that the template rendered."""
    parts = [part.removesuffix(CLOSE) for part in text.split(OPEN)[1:]]
    return [{"role": part.partition("\n")[0], "content": part.partition("\n")[2]} for part in parts]


def round_trip(row: dict[str, Any], tokenizer: Any) -> None:
    """Have TRL split the prompt out and render the row; both must give back what went in."""
    from trl.data_utils import apply_chat_template, extract_prompt, is_conversational

    example = {name: row[name] for name in ("prompt", "chosen", "rejected")}
    assert is_conversational(example)
    implicit = {side: example["prompt"] + example[side] for side in ("chosen", "rejected")}
    assert extract_prompt(implicit) == example
    tools = json.loads(row["tools"]) if row.get("tools") else None
    rendered = apply_chat_template(example, tokenizer, tools=tools)
    assert messages_of(rendered["prompt"].removesuffix(ASSISTANT)) == example["prompt"]
    for side in ("chosen", "rejected"):
        assert messages_of(ASSISTANT + rendered[side]) == example[side]


def rows_in(folder: Path, profile: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the rows of a profile as its files hold them, each with its split."""
    import gzip

    import pyarrow.parquet as pq

    found = []
    for split in ("train", "test"):
        base = folder / profile
        if (plain := base / f"{split}.jsonl").exists():
            lines = plain.read_text(encoding="utf-8").split("\n")[:-1]
        elif (zipped := base / f"{split}.jsonl.gz").exists():
            lines = gzip.decompress(zipped.read_bytes()).decode().split("\n")[:-1]
        else:
            lines = []
            for path in sorted(base.glob(f"{split}-*.parquet")):
                found += [(split, row) for row in pq.read_table(path).to_pylist()]
        found += [(split, json.loads(line)) for line in lines]
    return found
