"""Exports loaded by the consumers' own code: `datasets` and TRL, offline, without torch."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from annotation.creating import create_project
from annotation.importing import import_pairs
from annotation.models import Origin, Preference, Project, Task
from annotation.models.pairs import content_hash
from exports.profiles.dpo import COLUMNS
from exports.snapshotting import take_snapshot
from routing.plans.applying import apply_plan
from routing.plans.planning import Budget, draw_plan
from tests.builders import make_pair, make_preference, make_project, make_prompt
from tests.exports.consuming import load, round_trip, toy_tokenizer
from tests.replayed_people import replay_answers
from tests.services import SHARED_DATA

pytestmark = [
    pytest.mark.consumers,
    # What the consumers' own code warns of is theirs.
    pytest.mark.filterwarnings("ignore"),
]

NAMES = [column.name for column in COLUMNS if not column.only_with]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep the consumers away from the network and from this machine's caches."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path_factory.getbasetemp() / "hf"))


def awkward_project() -> Project:
    """Return a project of prompts and responses that formats tend to break."""
    project = make_project(with_people=False)
    turns = [
        {"role": "system", "content": "Answer briefly."},
        {"role": "user", "content": "Was ist π?"},
        {"role": "assistant", "content": "3.14159"},
        {"role": "user", "content": "Und weiter?"},
    ]
    texts = [
        ("```python\nprint('a\\n')\n```", "no code"),
        ("", "an empty answer wins"),
        ("  leading and trailing  \n\n", "a\tb\r\nc"),
        ("emoji 👩‍👩‍👧 and \u2028 separators \x85", "नमस्ते 你好 שלום"),
        ('{"json": "\\u0000 \\" }', "| table | <b>html</b> {{ jinja }} {% raw %}"),
    ]
    multi = make_prompt(project, messages=turns)
    for number, (a, b) in enumerate(texts):
        pair = make_pair(project, prompt=multi if number == 0 else None, response_a=a, response_b=b, meta={"n": number})
        make_preference(pair, "dora", "a" if number % 2 else "b")
    return project


@pytest.mark.django_db
@pytest.mark.parametrize("format", ["jsonl", "parquet", "both"])
def test_folder_loads_offline_with_every_column_in_its_type(tmp_path: Path, format: str) -> None:
    take_snapshot(awkward_project(), out=tmp_path / "out", format=format, test_share=0.4)
    data = load(tmp_path / "out", tmp_path / "cache")
    assert sum(split.num_rows for split in data.values()) == 5
    for split in data.values():
        assert split.column_names == NAMES
        # Columns that are null in every row keep their types.
        assert split.features["strength"].dtype == "float64"
        assert split.features["judge_version"].dtype == "int64"
        assert split.features["is_audit"].dtype == "bool"


@pytest.mark.django_db
@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_awkward_texts_come_back_exactly_through_trl(tmp_path: Path, format: str) -> None:
    project = awkward_project()
    take_snapshot(project, out=tmp_path / "out", format=format, test_share=0)
    data = load(tmp_path / "out", tmp_path / "cache")["train"]
    tokenizer = toy_tokenizer()
    pairs = {pair.external_id: pair for pair in project.pairs.with_texts()}
    assert len(data) == len(pairs) == 5
    for row in data:
        pair = pairs[row["external_id"]]
        winner, loser = (
            (pair.response_a, pair.response_b)
            if row["meta"] in ('{"n": 1}', '{"n": 3}')
            else (
                pair.response_b,
                pair.response_a,
            )
        )
        assert row["prompt"] == pair.prompt.messages
        assert (row["chosen"], row["rejected"]) == (winner.messages, loser.messages)
        round_trip(row, tokenizer)


@pytest.mark.django_db
def test_card_head_is_yaml_that_others_read(labelled: Project, out: Path) -> None:
    import yaml

    labelled.title = 'Tricky: "quotes" # and \x85 signs 👩\n---\nend'
    labelled.save()
    take_snapshot(labelled, out=out, format="jsonl")
    _, head, body = (out / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(head)
    assert card["pretty_name"] == 'Tricky: "quotes" # and signs 👩 --- end'
    assert card["configs"][0]["default"] is True
    assert [feature["name"] for feature in card["dataset_info"][0]["features"]] == NAMES
    assert card["language"] == ["en"]
    assert "\\# and signs" in body


text = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t "), max_size=60)


class TestDrawnSnapshots(TestCase):
    """Whatever the texts are, the files hold them and TRL gives them back."""

    @hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(text, text, text, st.booleans()), min_size=1, max_size=4))
    def test_any_text_survives(self, drawn: Any) -> None:
        import tempfile

        project = make_project(with_people=False)
        rows = []
        for number, (prompt, a, b, a_wins) in enumerate(drawn):
            messages = [{"role": "user", "content": prompt}]
            group = f"{number} {content_hash(messages)}"
            pair = make_pair(
                project,
                prompt=make_prompt(project, messages=messages, group=group),
                response_a=a,
                response_b=b + "." if a == b else b,
                external_id=str(number),
            )
            make_preference(pair, "dora", "a" if a_wins else "b")
        with tempfile.TemporaryDirectory() as folder:
            take_snapshot(project, out=Path(folder) / "out", format="jsonl", test_share=0.3)
            for path in (Path(folder) / "out" / "dpo").iterdir():
                rows += [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
        tokenizer = toy_tokenizer()
        assert len(rows) == len(drawn)
        for row in rows:
            prompt, a, b, a_wins = drawn[int(row["external_id"])]
            b = b + "." if a == b else b
            assert row["prompt"][0]["content"] == prompt
            assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ((a, b) if a_wins else (b, a))
            round_trip(row, tokenizer)


@pytest.mark.django_db
@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "people", "budget", "planned"),
    [
        # Two minutes on a loaded machine, and nothing in it that the other does not have.
        pytest.param("vicuna80_dev", [["slot1", "aggregated"]], "25%", 512, marks=pytest.mark.slow),
        ("pandalm_dev", [["annotator1"], ["annotator2"], ["annotator3"]], "10%", 76),
    ],
)
def test_real_pairs_go_from_import_through_people_to_trl_exactly(
    tmp_path: Path, name: str, people: list[list[str]], budget: str, planned: int
) -> None:
    # Without hidden repeats, so that every answer counts.
    project = create_project(slug=name.replace("_", "-"), votes_wanted=len(people), screen={"repeat_percent": 0.0})
    import_pairs(project, SHARED_DATA / f"{name}.jsonl.gz")
    assert apply_plan(draw_plan(project, budget=Budget.parse(budget), audit_share=0.05, seed=0)) == planned
    for number, recorded_names in enumerate(people):
        assert replay_answers(project, recorded_names, f"person{number}") == planned
    live = Preference.objects.counted().filter(pair__project=project, rater__origin=Origin.LIVE)
    assert live.count() == planned * len(people)
    assert Task.objects.filter(project=project, state="done", answered=len(people)).count() == planned
    take_snapshot(project, out=tmp_path / "out")
    data = load(tmp_path / "out", tmp_path / "cache")
    tokenizer = toy_tokenizer()
    pairs = {pair.external_id: pair for pair in project.pairs.with_texts().select_related("label")}
    seen = 0
    for split in data.values():
        for row in split:
            pair = pairs[row["external_id"]]
            a_wins = pair.label.choice == "a"
            winner, loser = (pair.response_a, pair.response_b) if a_wins else (pair.response_b, pair.response_a)
            assert row["prompt"] == pair.prompt.messages
            assert (row["chosen"], row["rejected"]) == (winner.messages, loser.messages)
            assert 0 < row["selection_prob"] <= 1
            assert row["plan"] == "plan-1"
            round_trip(row, tokenizer)
            seen += 1
    decided = [pair for pair in pairs.values() if pair.label.choice in ("a", "b")]
    identical = [pair for pair in decided if pair.response_a.text == pair.response_b.text]
    assert seen == len(decided) - len(identical)
    train, test = (set(data[split]["prompt_group"]) for split in ("train", "test"))
    assert not train & test
    train_texts = {
        message["content"] for row in data["train"] for side in ("chosen", "rejected") for message in row[side]
    }
    shared = {
        message["content"]
        for row in data["test"]
        for side in ("chosen", "rejected")
        for message in row[side]
        if len(message["content"]) >= 40 and message["content"] in train_texts
    }
    assert shared == set()
    assert settings.SECRET_KEY not in (tmp_path / "out" / "report.json").read_text()
