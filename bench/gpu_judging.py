"""How far judges in this process use the device: prefill of both orders of real pairs, beside a plain matrix product.

Weights are random: speed does not depend on them, only on a model's shape. On CUDA the shapes are of 0.5, 1.5 and 8
billion parameters (Qwen2.5's two, Llama 3.1's one). Without it two layers of the smallest run on one thread of the
processor, timed by that thread's processor time: ratios mean something, speed does not. What is asked are the pairs of
vicuna80_dev, read from the folder beside the checkout, in Tiebreak's own prompt (letter protocol), as tokens of
Llama 2's vocabulary, which wordllama brings. Measured in turns: one conversation at a time, batches, and batches that
compute common beginnings once. The ceiling is the best matrix product of the same data type in the same run.

    python bench/gpu_judging.py [--pairs 1000] [--repeat 3] [--device auto] [--shapes 0.5B 1.5B 8B]
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
DATA = Path(os.environ.get("TIEBREAK_SHARED_DATA", ROOT.parent / "shared" / "data")) / "vicuna80_dev.jsonl.gz"
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LABELS = ("A", "B", "C")
# At most so much of what is computed may be padding.
WANTED_PADDING = 0.05
# As many as a worker claims at once.
PLANNED_PAIRS = 200
# What the largest shape has to reach of the ceiling on a GPU.
WANTED_SHARE = 0.5
# Common beginnings computed once have to be worth their code wherever they run.
WANTED_REUSE = 1.05
# On a processor one conversation is enough to keep it busy; a GPU is not half used by it.
WANTED_BATCHING = {"cpu": 0.8, "cuda": 1.5}


class Shape(NamedTuple):
    """A decoder's size, in transformers' terms; `kind` is the architecture whose shape it is."""

    kind: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    tie_word_embeddings: bool


SHAPES: Mapping[str, Shape] = {
    # Two of the layers of the next: what attention and weights cost has the same relation.
    "2 layers": Shape("Qwen2", 896, 4864, 2, 14, 2, 32_064, True),
    "0.5B": Shape("Qwen2", 896, 4864, 24, 14, 2, 151_936, True),
    "1.5B": Shape("Qwen2", 1536, 8960, 28, 12, 2, 151_936, True),
    "8B": Shape("Llama", 4096, 14_336, 32, 32, 8, 128_256, False),
}


class Way(NamedTuple):
    """One way of asking, measured: seconds, the tokens asked, and what the engine counted of them."""

    seconds: float
    tokens: int
    padding: int
    reused: int
    passes: int

    @property
    def seconds_a_token(self) -> float:
        """Return seconds for each token asked, whether computed or reused."""
        return self.seconds / (self.tokens + self.reused)

    @property
    def padding_share(self) -> float:
        """Return padding as a share of the positions computed."""
        return self.padding / (self.tokens + self.padding)


def main() -> None:
    """Measure every shape, print a table and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=0, help="0: 1,000 on a GPU, 8 on a processor")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES))
    options = parser.parse_args()
    import torch

    from judges.gpu import EngineSettings
    from judges.gpu.devices import device_of

    device = device_of(EngineSettings(device=options.device))
    on_gpu = device.type == "cuda"
    if not on_gpu:
        torch.set_num_threads(1)
    shapes = options.shapes or (["0.5B", "1.5B", "8B"] if on_gpu else ["2 layers"])
    pairs = options.pairs or (1000 if on_gpu else 8)
    some = conversations(max(pairs, PLANNED_PAIRS))
    asked = some[: 2 * pairs]
    name = torch.cuda.get_device_name(device) if on_gpu else "one thread of the processor, no GPU"
    print(f"{name}; {len(asked) // 2} pairs in both orders, median of {options.repeat}; random weights")
    rows = {shape: measured(shape, asked, device, options.repeat) for shape in shapes}
    show(rows)
    gpu_plan = planned(some[: 2 * PLANNED_PAIRS])
    print(
        f"A GPU's batches of {PLANNED_PAIRS} pairs, planned and not computed: {gpu_plan['batches']:.0f} batches, "
        f"padding {gpu_plan['padding_share']:.1%}, {gpu_plan['computed_share']:.0%} of the tokens computed, the others "
        "reused"
    )
    missing = [] if on_gpu else [shape for shape in SHAPES if shape not in shapes]
    if missing:
        print(
            f"Missing for want of a GPU: {', '.join(missing)}, and with them the share of the ceiling that is aimed at."
        )
    checks = checked([*rows.values(), gpu_plan], rows, on_gpu)
    for what, (value, kept) in checks.items():
        print(f"{'ok  ' if kept else 'MISS'} {what}: {value:.3g}")
    held = {what: kept for what, (_, kept) in checks.items()}
    print(
        json.dumps(
            {
                "device": name,
                "pairs": len(asked) // 2,
                "shapes": rows,
                "plan": gpu_plan,
                "missing": missing,
                "checks": held,
            }
        )
    )
    sys.exit(not all(held.values()))


def show(rows: Mapping[str, Mapping[str, float]]) -> None:
    """Print the table."""
    print(
        f"{'shape':>8} {'pairs/s':>9} {'tokens/s':>10} {'of ceiling':>11} {'ceiling':>9} {'padding':>8} "
        f"{'reuse gain':>11} {'batching gain':>14} {'reused':>7}"
    )
    for shape, row in rows.items():
        print(
            f"{shape:>8} {row['pairs_s']:>9,.1f} {row['tokens_s']:>10,.0f} {row['share_of_ceiling']:>10.0%} "
            f"{row['ceiling_tflops']:>6,.2f} TF {row['padding_share']:>8.1%} {row['reuse_gain']:>10.2f}x "
            f"{row['batching_gain']:>13.2f}x {row['reused_share']:>7.0%}"
        )


def checked(
    padded: Sequence[Mapping[str, float]], rows: Mapping[str, Mapping[str, float]], on_gpu: bool
) -> dict[str, tuple[float, bool]]:
    """Return every floor that can be held against a value here, with the value and whether it is kept."""
    worst_padding = max(one["padding_share"] for one in padded)
    reuse, batching = (min(row[name] for row in rows.values()) for name in ("reuse_gain", "batching_gain"))
    wanted_batching = WANTED_BATCHING["cuda" if on_gpu else "cpu"]
    checks = {
        f"padding as a share of what is computed, at most {WANTED_PADDING:g}": (
            worst_padding,
            worst_padding <= WANTED_PADDING,
        ),
        f"gain from common beginnings, at least {WANTED_REUSE:g}": (reuse, reuse >= WANTED_REUSE),
        f"gain from batches, at least {wanted_batching:g}": (batching, batching >= wanted_batching),
    }
    if on_gpu and "8B" in rows:
        share = rows["8B"]["share_of_ceiling"]
        checks[f"share of the ceiling at 8B, at least {WANTED_SHARE:g}"] = (share, share >= WANTED_SHARE)
    return checks


# --- What is asked ----------------------------------------------------------------------------------------------------


def conversations(pairs: int) -> list[Any]:
    """Return real pairs in both orders as the letter protocol asks them, beside each other as a run claims them."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    os.environ["DATABASE_URL"] = "sqlite://:memory:"
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    import django

    django.setup()
    from django.core.management import call_command

    from annotation.creating import create_project
    from annotation.importing import import_pairs
    from annotation.models import Pair
    from judges.gpu import Conversation
    from judges.models import JudgeVersion
    from judges.options import Options
    from judges.prompting import messages_for, system_message
    from judges.questions import Protocol, Question, orders_of, shown

    if not DATA.is_file():
        raise SystemExit(
            f"There are no real pairs: no file {DATA}. Set TIEBREAK_SHARED_DATA to the folder that has it."
        )
    call_command("migrate", verbosity=0)
    project = create_project(slug="bench")
    import_pairs(project, DATA)
    version = JudgeVersion(
        protocol=Protocol.LETTER, prompt_template=system_message(project, Protocol.LETTER, Options())
    )
    asked = []
    for pair in Pair.objects.select_related("prompt", "response_a", "response_b").order_by("external_id")[:pairs]:
        texts = [str(one.messages[-1]["content"]) for one in (pair.response_a, pair.response_b)]
        for order in orders_of(version):
            first, second = shown(order, texts[0], texts[1])
            question = Question(None, pair.prompt.messages, first, second, order)
            asked.append(Conversation(messages_for(question, version), LABELS))
    return asked


def tokenizer() -> Any:
    """Return Llama 2's tokenizer, of the file that wordllama brings, with ChatML's control tokens."""
    import wordllama
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    path = Path(wordllama.__file__).parent / "tokenizers" / "l2_supercat_tokenizer_config.json"
    pieces = Tokenizer.from_file(str(path))
    pieces.no_padding()
    pieces.no_truncation()
    found = PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        extra_special_tokens=["<|im_start|>"],
    )
    found.chat_template = CHAT
    return found


# --- What is measured -------------------------------------------------------------------------------------------------


def measured(name: str, asked: Sequence[Any], device: Any, repeat: int) -> dict[str, float]:
    """Return the figures of one shape."""
    import torch

    from judges.gpu import EngineSettings

    model, words, facts = build(SHAPES[name], device)
    clock = Clock(device)
    # One at a time is slow, and every conversation much like the others.
    few = asked[: max(8, len(asked) // 10)]
    usual = EngineSettings(device=device.type)
    ways: dict[str, Callable[[], Way]] = {
        "one": lambda: ask(model, words, facts, usual._replace(tokens_a_batch=1, reuse_prefix=False), few, clock),
        "batches": lambda: ask(model, words, facts, usual._replace(reuse_prefix=False), asked, clock),
        "reuse": lambda: ask(model, words, facts, usual, asked, clock),
    }
    turns: dict[str, list[Way]] = {way: [] for way in ways}
    ceilings = []
    for turn in range(repeat + 1):
        ceiling = ceiling_flops(device, model.dtype, clock)
        done = {way: run() for way, run in ways.items()}
        # The first turn loads kernels and fills the allocator.
        if turn:
            ceilings.append(ceiling)
            for way, one in done.items():
                turns[way].append(one)
    middle = {way: statistics.median(one.seconds for one in all_of) for way, all_of in turns.items()}
    batches, reuse = turns["batches"][0], turns["reuse"][0]

    def ratio(slow: str, fast: str) -> float:
        """Of each turn's two neighbours, so that a load that comes and goes meets both."""
        both = zip(turns[slow], turns[fast], strict=True)
        return statistics.median(one.seconds_a_token / other.seconds_a_token for one, other in both)

    flops = prefill_flops(model, SHAPES[name], lengths(words, facts, asked))
    if device.type == "cuda":
        del model, ways
        torch.cuda.empty_cache()
    ceiling = max(ceilings)
    return {
        "pairs_s": len(asked) / 2 / middle["reuse"],
        "pairs_s_without_reuse": len(asked) / 2 / middle["batches"],
        # Of what is asked, computed or reused.
        "tokens_s": batches.tokens / middle["reuse"],
        "tokens_s_computed": batches.tokens / middle["batches"],
        "share_of_ceiling": flops / middle["batches"] / ceiling,
        "ceiling_tflops": ceiling / 1e12,
        "padding_share": max(batches.padding_share, reuse.padding_share),
        "reused_share": reuse.reused / batches.tokens,
        "reuse_gain": ratio("batches", "reuse"),
        "batching_gain": ratio("one", "batches"),
        "passes": reuse.passes,
    }


def planned(asked: Sequence[Any]) -> dict[str, float]:
    """Return what a GPU's batches would be, which follows from the tokens alone: counts, and shares of tokens."""
    from judges.gpu import ModelFacts
    from judges.gpu.batching import plan, shape_of
    from judges.gpu.devices import PASS_TOKENS, TOKENS_A_BATCH
    from judges.gpu.encoding import encode

    facts = ModelFacts("random", "", "chat", "", 8192, SHAPES["2 layers"].vocab_size)
    sequences = [one.tokens for one in encode(tokenizer(), facts, asked)]
    batches = plan(sequences, budget=TOKENS_A_BATCH["cuda"], pass_tokens=PASS_TOKENS["cuda"], reuse=True)
    # Without the trunk's own pass, which is kept from call to call.
    held = sum(shape_of(sequences, batch).cost(0) for batch in batches)
    families = [(batch.trunk, family) for batch in batches for family in batch.families]
    computed = sum(
        family.branch + sum(len(sequences[place]) - trunk - family.branch for place in family.places)
        for trunk, family in families
    )
    asked_tokens = sum(map(len, sequences))
    return {
        "batches": len(batches),
        "padding_share": (held - computed) / held,
        "computed_share": computed / asked_tokens,
    }


class Clock:
    """Seconds of the device: wall time on a GPU once it has done all, processor time of the one thread otherwise."""

    def __init__(self, device: Any) -> None:
        self.on_gpu = device.type == "cuda"

    def now(self) -> float:
        """Return the time."""
        if not self.on_gpu:
            return time.thread_time()
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()


def ask(model: Any, words: Any, facts: Any, settings: Any, asked: Sequence[Any], clock: Clock) -> Way:
    """Ask all by an engine of their own, tokenising included. Raises `SystemExit` where one is not answered."""
    from judges.gpu import Engine
    from judges.gpu.loading import prepare

    engine = Engine(prepare(model, words, facts, settings), settings)
    started = clock.now()
    outcomes = list(engine.answer(asked))
    seconds = clock.now() - started
    if failed := [one.error for one in outcomes if one.error]:
        raise SystemExit(f"{len(failed)} of {len(asked)} conversations have no answer: {failed[0]}")
    if settings.reuse_prefix and engine.facts.no_reuse:
        raise SystemExit(f"Common beginnings were not reused: {engine.facts.no_reuse}")
    stats = engine.stats
    return Way(seconds, stats.tokens, stats.padding_tokens, stats.reused_tokens, stats.passes)


def build(shape: Shape, device: Any) -> tuple[Any, Any, Any]:
    """Return a model of a shape with random weights on the device, its tokenizer and its facts."""
    import torch
    import transformers

    from judges.gpu import EngineSettings, ModelFacts
    from judges.gpu.devices import attention_of, dtype_of

    settings = EngineSettings(device=device.type)
    dtype = dtype_of(settings, device)
    config = getattr(transformers, f"{shape.kind}Config")(
        **{name: value for name, value in shape._asdict().items() if name != "kind"},
        max_position_embeddings=8192,
        bos_token_id=None,
        eos_token_id=None,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=dtype, attn_implementation=attention_of(settings, device, dtype)
        )
    facts = ModelFacts("random", "", "chat", f"{shape.kind}ForCausalLM", 8192, shape.vocab_size)
    return model, tokenizer(), facts


def lengths(words: Any, facts: Any, asked: Sequence[Any]) -> list[int]:
    """Return the tokens of each conversation."""
    from judges.gpu.encoding import encode

    return [len(one.tokens) for one in encode(words, facts, asked)]


def prefill_flops(model: Any, shape: Shape, tokens: Sequence[int]) -> float:
    """Return the floating-point operations that prompts need at least: none for padding, one position a vocabulary.

    Two a weight of the layers and a token; causal attention has two products over half of the positions squared; the
    vocabulary is multiplied once a prompt (Kaplan et al. 2020, table 1, with a causal half).
    """
    weights = sum(one.numel() for name, one in model.named_parameters() if ".layers." in name and one.dim() == 2)
    attention = 2 * shape.num_hidden_layers * shape.hidden_size
    head = 2 * shape.hidden_size * shape.vocab_size
    return float(sum(2 * weights * length + attention * length * length + head for length in tokens))


def ceiling_flops(device: Any, dtype: Any, clock: Clock) -> float:
    """Return the operations a second of the best square matrix product of a data type, the best of five."""
    import torch

    size, rounds = (8192, 20) if device.type == "cuda" else (768, 4)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    torch.matmul(a, b)
    best = 0.0
    for _ in range(5):
        started = clock.now()
        for _ in range(rounds):
            torch.matmul(a, b)
        best = max(best, 2 * size**3 * rounds / (clock.now() - started))
    return best


if __name__ == "__main__":
    main()
