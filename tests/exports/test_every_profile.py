"""Whatever a project holds, every profile keeps its schema, loads offline, and goes through TRL unchanged."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from jsonschema import Draft202012Validator

from annotation.models import Project
from exports.likening import likeness, runs_of
from exports.profiles import PROFILES
from exports.profiles.columns import row_schema
from exports.profiles.icai import COLUMNS as ICAI_COLUMNS
from exports.snapshotting import take_snapshot
from tests.exports import drawing
from tests.exports.consuming import ASSISTANT, load_each, messages_of, round_trip, rows_in, toy_tokenizer

pytestmark = [
    pytest.mark.consumers,
    pytest.mark.either_database,
    # What the consumers' own code warns of is theirs.
    pytest.mark.filterwarnings("ignore"),
]
# An example takes seconds: one that fails is told as it was drawn.
UNSHRUNK = hypothesis_settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    report_multiple_bugs=False,
)
SHARDS, EXAMPLES_PER_SHARD = 8, 25
TABLES = [name for name, profile in PROFILES.items() if profile.document_head is None]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the consumers away from the network and from this machine's caches."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path_factory.getbasetemp() / "hf"))


def check(project: Project, settings: dict[str, Any], *, loads: bool) -> None:
    """Export every profile, twice, and hold it against all that is promised."""
    with tempfile.TemporaryDirectory() as folder:
        out, again = Path(folder) / "out", Path(folder) / "again"
        snapshot = take_snapshot(project, profiles=list(PROFILES), out=out, **settings)
        assert (
            take_snapshot(project, profiles=list(PROFILES), out=again, **settings).content_hash == snapshot.content_hash
        )
        assert (out / "manifest.json").read_bytes() == (again / "manifest.json").read_bytes()
        rows = {name: rows_in(out, name) for name in TABLES}
        for name in TABLES:
            check_schema(out, name, [row for _, row in rows[name]])
            assert snapshot.counts["profiles"][name]["rows"] == len(rows[name])
        for name, data in load_each(out, Path(folder) / "cache", TABLES) if loads else ():
            check_loading(out, name, data, rows[name])
        check_icai(out, rows)
        check_trl(rows)
        check_splits(project, rows)
        check_sense(rows)


def check_schema(out: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Every row is exactly what the schema beside it says: no column more, less, or of another type."""
    schema = json.loads((out / "schemas" / f"{name}.json").read_text())
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    assert rows
    for row in rows:
        validator.validate(row)


def check_loading(out: Path, name: str, data: Any, rows: list[tuple[str, dict[str, Any]]]) -> None:
    """`datasets` gives back the rows of the files, in their order."""
    assert [(split, row) for split in ("train", "test") if split in data for row in data[split]] == rows
    schema = json.loads((out / "schemas" / f"{name}.json").read_text())
    assert {tuple(sorted(split.column_names)) for split in data.values()} == {tuple(sorted(schema["properties"]))}


def check_icai(out: Path, rows: dict[str, list[tuple[str, dict[str, Any]]]]) -> None:
    """Look for every pair that somebody answered in the one document, and for its annotators."""
    document = json.loads((out / "icai" / "annotated_pairs.json").read_text(encoding="utf-8"))
    validator = Draft202012Validator(row_schema("icai", ICAI_COLUMNS))
    for comparison in document["comparisons"]:
        validator.validate(comparison)
        assert comparison["annotations"].keys() <= document["annotators"].keys()
    assert document["metadata"]["version"] == "2.0"
    assert document["metadata"]["default_annotator"] in document["annotators"]
    answered = {row["pair"] for _, row in rows["annotations"] if row["form"] == "choice" and not row["criterion"]}
    assert {comparison["id"] for comparison in document["comparisons"]} == answered


def check_trl(rows: dict[str, list[tuple[str, dict[str, Any]]]]) -> None:
    from datasets import Dataset
    from trl.data_utils import apply_chat_template, extract_prompt, unpair_preference_dataset

    tokenizer = toy_tokenizer()
    for name in ("dpo", "reward", "curriculum", "rationale"):
        for _, row in rows[name]:
            round_trip(row, tokenizer)
    for _, row in rows["dpo-legacy-lists"]:
        split = extract_prompt({"chosen": row["chosen"], "rejected": row["rejected"]})
        assert split["prompt"] + split["chosen"] == row["chosen"]
    for _, row in rows["kto"]:
        example = {name: row[name] for name in ("prompt", "completion", "label")}
        rendered = apply_chat_template(example, tokenizer)
        assert messages_of(ASSISTANT + rendered["completion"]) == row["completion"]
        assert rendered["label"] == row["label"]
    for _, row in rows["rationale_sft"]:
        assert messages_of(apply_chat_template({"messages": row["messages"]}, tokenizer)["text"]) == row["messages"]
    # TRL's own unpairing of the decided pairs is our unpaired profile.
    pairs = Dataset.from_list(
        [{name: row[name] for name in ("prompt", "chosen", "rejected")} for _, row in rows["dpo"]]
    )
    unpaired = [(row["prompt"], row["completion"], row["label"]) for row in unpair_preference_dataset(pairs)]
    decided = {row["pair"] for _, row in rows["kto"] if row["label_rule"] == "pair"}
    mine = [(r["prompt"], r["completion"], r["label"]) for _, r in rows["kto"] if r["label_rule"] == "pair"]
    once = [row for row in rows["dpo"] if row[1]["id"] in decided]
    assert len(mine) == 2 * len(decided)
    if len(once) == len(rows["dpo"]) == len(decided):
        assert sorted(map(repr, mine)) == sorted(map(repr, unpaired))


def check_splits(project: Project, rows: dict[str, list[tuple[str, dict[str, Any]]]]) -> None:
    """Nothing that is shared crosses, counted anew from the rows; and every profile has a pair on the same side."""
    side: dict[str, set[str]] = {}
    keys: dict[tuple[str, str], set[str]] = {}
    runs: dict[str, tuple[frozenset[int], str]] = {}
    for name in TABLES:
        for split, row in rows[name]:
            if group := row.get("prompt_group"):
                keys.setdefault(("group", group), set()).add(split)
            if pair := row.get("pair") or row.get("comparison_id"):
                side.setdefault(pair, set()).add(split)
    for split, row in rows["annotations"]:
        said = "\n\n".join(turn["content"] for turn in row["prompt"] if turn["role"] != "system")
        keys.setdefault(("prompt", json.dumps(row["prompt"])), set()).add(split)
        for name in ("response_a", "response_b"):
            if len(row[name][0]["content"]) >= 40:
                keys.setdefault(("response", row[name][0]["content"]), set()).add(split)
        runs[said] = (runs_of(said), split)
    assert [key for key, splits in keys.items() if len(splits) > 1] == []
    assert [pair for pair, splits in side.items() if len(splits) > 1] == []
    crossing = [
        (one, other)
        for one, (mine, here) in runs.items()
        for other, (theirs, there) in runs.items()
        if here != there and likeness(mine, theirs) >= 0.8
    ]
    assert crossing == []


def check_sense(rows: dict[str, list[tuple[str, dict[str, Any]]]]) -> None:
    """Hold the rows against what they claim: the sides differ, reasons go with the winner, ranks have no gaps."""
    for name in ("dpo", "reward", "curriculum"):
        assert all(row["chosen"] != row["rejected"] for _, row in rows[name])
        assert all(("margin" in row) == ("margin" in rows[name][0][1]) for _, row in rows[name])
    assert [row["id"] for _, row in rows["dpo"]] == [row["id"] for _, row in rows["reward"]]
    by_prompt: dict[str, list[int]] = {}
    for _, row in rows["curriculum"]:
        by_prompt.setdefault(row["prompt_id"], []).append(row["curriculum_rank"])
    assert all(ranks == list(range(1, len(ranks) + 1)) for ranks in by_prompt.values())
    for _, row in rows["rationale_sft"]:
        letter = row["messages"][1]["content"][-1]
        assert letter == ("A" if row["order"] == "chosen_first" else "B")
        assert row["rationale"].strip() in row["messages"][1]["content"]
    for _, row in rows["listwise"]:
        ranks = [one["rank"] for one in row["completions"]]
        assert ranks == sorted(ranks)
        assert set(ranks) == set(range(max(ranks) + 1))
        assert len(ranks) == len(row["scores"]) == len(row["pairwise_probs"])
    for _, row in rows["llama-factory"]:
        turns = [turn["role"] for turn in row["messages"] if turn["role"] != "system"]
        assert len(turns) % 2 == 1
        assert turns[-1] == "user"


@pytest.mark.django_db
def test_every_configuration_loads_from_one_folder(tmp_path: Path) -> None:
    vote = drawing.DrawnVote("b", None, "It says why.", None, None)
    drawn = [
        drawing.DrawnPair(number, "first", f"second {number}", [vote], "tie", False, False, False)
        for number in range(8)
    ]
    check(drawing.build(drawn, [f"Question {number}?" for number in range(8)]), {"test_share": 0.4}, loads=True)


class TestEveryProfile(TestCase):
    @hypothesis_settings(UNSHRUNK, max_examples=3, derandomize=True)
    @given(st.lists(drawing.pairs, min_size=3, max_size=8), drawing.turns, drawing.settings)
    def test_drawn_snapshots_keep_what_is_promised(self, drawn: Any, said: Any, settings: Any) -> None:
        check(drawing.build(drawn, said), settings, loads=False)


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("shard", range(SHARDS))
def test_two_hundred_drawn_snapshots_keep_what_is_promised(
    shard: int, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight shards, so that workers share them and each says how far it came; other seeds than those are not drawn."""
    checked = 0

    @seed(shard)
    @hypothesis_settings(UNSHRUNK, max_examples=EXAMPLES_PER_SHARD, database=None)
    @given(st.lists(drawing.pairs, min_size=1, max_size=10), drawing.turns, drawing.settings)
    def sweep(drawn: Any, said: Any, settings: Any) -> None:
        nonlocal checked
        with transaction.atomic():
            check(drawing.build(drawn, said), settings, loads=True)
            transaction.set_rollback(True)
        checked += 1
        with capsys.disabled():
            print(f"shard {shard}: {checked} of {EXAMPLES_PER_SHARD} snapshots", flush=True)  # noqa: T201

    sweep()
    record_property("snapshots", checked)
    assert checked >= EXAMPLES_PER_SHARD
