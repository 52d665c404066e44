"""Small files that go with the rows: a JSON schema of each profile, and what each trainer wants beside its data.

Paths in them are relative to the export's folder: run the commands there.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from exports.carding import to_yaml
from exports.profiles.columns import Column, row_schema
from exports.profiles.dpo import DPO
from exports.profiles.trainers import LLAMA_FACTORY, SWIFT
from exports.writing import WrittenFile, write_json

MODEL = "Qwen/Qwen3-0.6B"

TRL = """\
# Run in this folder. With TRL 1.16; the prompt is explicit, so nothing is guessed.
trl dpo --model_name_or_path {model} --dataset_name . --dataset_config dpo --output_dir out --max_length 2048
"""
OPENRLHF = """\
# Run in this folder. With OpenRLHF 0.11.
deepspeed --module openrlhf.cli.train_dpo \\
  --model.model_name_or_path {model} \\
  --data.dataset {file} --data.dataset_split train \\
  --data.prompt_key prompt --data.chosen_key chosen --data.rejected_key rejected \\
  --data.apply_chat_template --data.max_len 2048 \\
  --ckpt.output_dir out --train.batch_size 32 --train.micro_batch_size 1 --ds.zero_stage 2 --ds.param_dtype bf16
"""
SWIFT_COMMAND = """\
# Run in this folder. With ms-swift.
swift rlhf --rlhf_type dpo --model {model} --dataset {file} --output_dir out --max_length 2048
"""


def write_companions(
    folder: Path, name: str, columns: Mapping[str, Sequence[Column]], files: Sequence[WrittenFile]
) -> list[str]:
    """Write the small files of an export; return their paths below `folder`. `name` is the project's."""
    written = []
    for profile, written_columns in columns.items():
        path = f"schemas/{profile}.json"
        write_json(folder / path, row_schema(profile, written_columns))
        written.append(path)
    if LLAMA_FACTORY.name in columns:
        path = f"{LLAMA_FACTORY.name}/dataset_info.json"
        write_json(folder / path, _dataset_info(name, files))
        written.append(path)
    for path, text in _snippets(name, set(columns), files):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8", newline="\n")
        written.append(path)
    return written


def _dataset_info(name: str, files: Sequence[WrittenFile]) -> dict[str, object]:
    """Return LLaMA-Factory's description of its rows: one entry a split, beside the files that it names."""
    tags = {
        "role_tag": "role",
        "content_tag": "content",
        "user_tag": "user",
        "assistant_tag": "assistant",
        "system_tag": "system",
    }
    prefix = f"{LLAMA_FACTORY.name}/"
    return {
        f"{name}_{Path(file.path).stem}": {
            "file_name": file.path.removeprefix(prefix),
            "formatting": "sharegpt",
            "ranking": True,
            "columns": {"messages": "messages", "chosen": "chosen", "rejected": "rejected"},
            "tags": tags,
        }
        for file in files
        if file.path.startswith(prefix)
    }


def _snippets(name: str, profiles: set[str], files: Sequence[WrittenFile]) -> Iterator[tuple[str, str]]:
    if DPO.name in profiles and (file := _train_file(DPO.name, files)):
        yield "snippets/trl-dpo.sh", TRL.format(model=MODEL)
        yield "snippets/openrlhf-dpo.sh", OPENRLHF.format(model=MODEL, file=file)
        yield "snippets/axolotl-dpo.yaml", to_yaml(_axolotl(file))
    if LLAMA_FACTORY.name in profiles and _train_file(LLAMA_FACTORY.name, files):
        yield "snippets/llama-factory-dpo.yaml", to_yaml(_llama_factory(name))
    if SWIFT.name in profiles and (file := _train_file(SWIFT.name, files)):
        yield "snippets/ms-swift-dpo.sh", SWIFT_COMMAND.format(model=MODEL, file=file)


def _train_file(profile: str, files: Sequence[WrittenFile]) -> str:
    """Return the profile's training rows: JSON lines where there are, else the shards."""
    mine = [file.path for file in files if file.path.startswith(f"{profile}/train")]
    lines = [path for path in mine if ".jsonl" in path]
    if lines:
        return lines[0]
    return f"{profile}/train-*.parquet" if len(mine) > 1 else "".join(mine)


def _axolotl(file: str) -> dict[str, object]:
    return {
        "base_model": MODEL,
        "rl": "dpo",
        "chat_template": "tokenizer_default",
        "datasets": [
            {
                "path": file,
                "ds_type": "parquet" if file.endswith(".parquet") else "json",
                "split": "train",
                "type": "chat_template.default",
                "field_messages": "prompt",
                "field_chosen": "chosen",
                "field_rejected": "rejected",
                "message_property_mappings": {"role": "role", "content": "content"},
            }
        ],
        "sequence_len": 2048,
        "output_dir": "out",
    }


def _llama_factory(name: str) -> dict[str, object]:
    return {
        "model_name_or_path": MODEL,
        "stage": "dpo",
        "do_train": True,
        "finetuning_type": "full",
        "pref_beta": 0.1,
        "pref_loss": "sigmoid",
        "dataset_dir": LLAMA_FACTORY.name,
        "dataset": f"{name}_train",
        "template": "qwen3",
        "cutoff_len": 2048,
        "output_dir": "out",
    }
