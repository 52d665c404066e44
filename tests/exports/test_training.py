"""A step of a real trainer on a real export: slow, and only where torch is installed."""

import copy
import math
from pathlib import Path

import pytest

from annotation.creating import create_project
from annotation.importing import import_pairs
from exports.snapshotting import take_snapshot
from tests.exports.consuming import load
from tests.services import SHARED_DATA

CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.mark.slow
@pytest.mark.shared_data
@pytest.mark.consumers
@pytest.mark.django_db
@pytest.mark.either_database
@pytest.mark.filterwarnings("ignore")
def test_a_dpo_step_of_trl_on_real_pairs_has_a_finite_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: make gpu, and run this again")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import DPOConfig, DPOTrainer

    project = create_project(slug="vicuna80")
    import_pairs(project, SHARED_DATA / "vicuna80_dev.jsonl.gz")
    take_snapshot(project, out=tmp_path / "out")
    data = load(tmp_path / "out", tmp_path / "cache")["train"]
    rows = len(data)
    words = {word: number for number, word in enumerate(["<unk>", "<pad>", "</s>"])}
    pieces = Tokenizer(models.WordLevel({**words, **{chr(code): code for code in range(32, 127)}}, unk_token="<unk>"))
    pieces.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, unk_token="<unk>", pad_token="<pad>", eos_token="</s>")
    tokenizer.chat_template = CHAT
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=128, pad_token_id=1, eos_token_id=2, **shape))
    trainer = DPOTrainer(
        model,
        # A model without a name cannot be loaded again to compare with.
        ref_model=copy.deepcopy(model),
        args=DPOConfig(
            output_dir=str(tmp_path / "run"),
            max_steps=1,
            per_device_train_batch_size=4,
            max_length=256,
            report_to=[],
            use_cpu=True,
            bf16=False,
            save_strategy="no",
        ),
        train_dataset=data.select(range(16)),
        processing_class=tokenizer,
    )
    loss = trainer.train().training_loss
    print(f"TRL's DPO loss after one step on {rows} rows: {loss:.4f}")  # noqa: T201  (what a person runs this for)
    assert rows > 500
    # A model that prefers neither has a loss of ln 2.
    assert math.isfinite(loss)
    assert loss == pytest.approx(math.log(2), abs=0.1)
