"""Short texts: the reasons for a choice."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from judges.gpu import Conversation, Engine, EngineSettings, Outcome, answering
from judges.gpu.encoding import encode
from judges.gpu.generating import CONTINUOUS_FROM, Wanted, Written, write
from judges.gpu.loading import Loaded
from tests.judges.gpu.asked import both_orders, by_place, compare, gap

# In one process: torch takes seconds to import.
pytestmark = [pytest.mark.gpu_judge, pytest.mark.xdist_group("gpu")]
END = 2


@pytest.fixture
def ending(engine: Engine) -> Engine:
    """Return an engine whose model likes to end a text, so that some end by themselves."""
    engine._loaded.model.lm_head.weight.data[END] *= 3
    return engine


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many texts each batch that is written has."""
    sizes: list[int] = []

    def counted(loaded: Loaded, wanted: Sequence[Wanted]) -> list[Written]:
        sizes.append(len(wanted))
        return write(loaded, wanted)

    monkeypatch.setattr(answering, "write", counted)
    return sizes


def reasons(pairs: int) -> list[Conversation]:
    """Return conversations that want labels and a text each, of lengths that differ."""
    return [one._replace(max_tokens=4 + place % 5) for place, one in enumerate(both_orders(pairs))]


def written_alone(engine: Engine, asked: Sequence[Conversation]) -> list[tuple[str, str, int]]:
    """Return what the model writes token by token: text, why it ends, tokens."""
    import torch

    texts = []
    for one in asked:
        tokens = list(encode(engine._loaded.tokenizer, engine.facts, [one])[0].tokens)
        written: list[int] = []
        while len(written) < one.max_tokens and written[-1:] != [END]:
            with torch.no_grad():
                logits = engine._loaded.model(torch.tensor([tokens + written])).logits[0, -1]
            written.append(int(logits.argmax()))
        text = engine._loaded.tokenizer.decode(written, skip_special_tokens=True)
        texts.append((text, "stop" if written[-1] == END else "length", len(written)))
    return texts


def told(outcomes: Sequence[Outcome]) -> list[tuple[str, str, int]]:
    """Return what outcomes say of their texts."""
    return [(one.text, one.finish_reason, one.completion_tokens) for one in outcomes]


@pytest.mark.parametrize("pairs", [3, CONTINUOUS_FROM // 2])
def test_texts_are_what_the_model_writes_alone(ending: Engine, batches: list[int], pairs: int) -> None:
    asked = reasons(pairs)
    wanted = written_alone(ending, asked)
    assert {reason for _, reason, _ in wanted} == {"stop", "length"}
    outcomes = by_place(ending.answer(asked))
    assert told(outcomes) == wanted
    # Many are written by continuous batching, a few as batches.
    assert sum(batches) == (0 if len(asked) >= CONTINUOUS_FROM else len(asked))
    assert ending.stats.generated_tokens == sum(tokens for _, _, tokens in wanted)
    # The labels' probabilities are still those of the place before the text.
    without = by_place(ending.answer([one._replace(max_tokens=0) for one in asked]))
    assert gap(outcomes, without) <= 1e-5


def test_what_continuous_batching_leaves_is_written_in_batches(
    ending: Engine, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = reasons(CONTINUOUS_FROM // 2)
    wanted = written_alone(ending, asked)
    model = type(ending._loaded.model)

    def unknown(*_arguments: Any, **_options: Any) -> None:
        raise ValueError("not for this model")

    monkeypatch.setattr(model, "init_continuous_batching", unknown)
    assert told(by_place(ending.answer(asked))) == wanted
    assert sum(batches) == len(asked)


def test_a_fault_in_continuous_batching_loses_nobody(
    ending: Engine, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = reasons(CONTINUOUS_FROM // 2)
    wanted = written_alone(ending, asked)
    from transformers.generation.continuous_batching.continuous_api import ContinuousBatchProcessor

    original, steps = ContinuousBatchProcessor._generation_step, []

    def third_fails(self: Any, model: Any) -> Any:
        steps.append(1)
        if len(steps) == 6:
            raise RuntimeError("CUDA out of memory")
        return original(self, model)

    monkeypatch.setattr(ContinuousBatchProcessor, "_generation_step", third_fails)
    assert told(by_place(ending.answer(asked))) == wanted
    # Those that had ended before are not written again.
    assert 0 < sum(batches) < len(asked)


def test_a_text_alone_needs_no_labels(ending: Engine) -> None:
    asked = [one._replace(labels=()) for one in reasons(2)]
    outcomes = by_place(ending.answer(asked))
    assert told(outcomes) == written_alone(ending, asked)
    assert all(one.logprobs == {} and not one.error for one in outcomes)
    assert ending.stats.passes == 0


def test_sampling_is_repeated_by_its_seed(engine: Engine) -> None:
    asked = [one._replace(max_tokens=12, temperature=2.0, seed=5) for one in both_orders(2)]
    first = told(by_place(engine.answer(asked)))
    assert told(by_place(engine.answer(asked))) == first
    assert told(by_place(engine.answer([one._replace(seed=6) for one in asked]))) != first
    assert told(by_place(engine.answer([one._replace(temperature=0.0) for one in asked]))) != first


def test_want_of_memory_while_writing_halves_batches(ending: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked, sizes = reasons(4), []
    wanted = written_alone(ending, asked)

    def three_at_most(loaded: Loaded, some: Sequence[Wanted]) -> list[Written]:
        sizes.append(len(some))
        if len(some) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return write(loaded, some)

    monkeypatch.setattr(answering, "write", three_at_most)
    ending._loaded = ending._loaded._replace(pass_tokens=5000)
    assert told(by_place(ending.answer(asked))) == wanted
    assert ending.stats.out_of_memory == sum(size > 3 for size in sizes) > 0


def test_a_fault_while_writing_is_one_conversations(ending: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = reasons(3)
    asked[2] = compare("poison ~", "a", "b")._replace(max_tokens=4)
    tilde = ending._loaded.tokenizer.convert_tokens_to_ids("~")

    def poisoned(loaded: Loaded, some: Sequence[Wanted]) -> list[Written]:
        if any(tilde in one.tokens for one in some):
            raise ValueError("no text for this")
        return write(loaded, some)

    monkeypatch.setattr(answering, "write", poisoned)
    outcomes = by_place(ending.answer(asked))
    assert [one.error for one in outcomes] == ["", "", "ValueError: no text for this", "", "", ""]
    # What its labels said stays.
    assert set(outcomes[2].logprobs) == {"A", "B", "C"}


def test_the_answer_has_to_fit_too(engine: Engine) -> None:
    asked = both_orders(1)[0]._replace(max_tokens=1000)
    assert " tokens and 1,000 for the answer, and the model takes 1,024" in next(engine.answer([asked])).error


def test_what_the_makers_sample_with_is_not_used(chat_model: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(chat_model, folder)
    liked = {"do_sample": True, "temperature": 0.7, "repetition_penalty": 5.0, "eos_token_id": [END, 100]}
    (folder / "generation_config.json").write_text(json.dumps(liked))
    engine = Engine.load(str(folder), EngineSettings(device="cpu"))
    asked = [one._replace(max_tokens=20) for one in both_orders(2)]
    outcomes = by_place(engine.answer(asked))
    assert told(outcomes) == written_alone(engine, asked)
    # Where a text ends is the model's, and is kept.
    assert engine._loaded.model.generation_config.eos_token_id == [END, 100]
