"""Mixes handed out for training elsewhere, and scores taken back; what does not fit is refused with line and field."""

import csv
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command

from annotation.models import Project
from routing.errors import RoutingError, TooFewLabels
from routing.studies.exchanging import export_mixes, read_scores, recommend_from_scores
from routing.studies.mixing import MixOptions, MixWorld, read_mix_pairs, world_of
from tests.builders import make_project
from tests.routing.mixed import fill_project

OPTIONS = MixOptions((0.1, 0.25), 90, 30)
pytestmark = [pytest.mark.django_db, pytest.mark.either_database]


@pytest.fixture
def project() -> Project:
    project = make_project()
    fill_project(project)
    return project


@pytest.fixture
def exported(project: Project, tmp_path: Path) -> Path:
    path = tmp_path / "mixes.csv"
    export_mixes(project, judge="gpt", options=OPTIONS, seed=2, path=path)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_scores(exported: Path, score: Callable[[dict[str, str]], Any], *, header: str = "mix_id,score") -> Path:
    path = exported.with_name("scores.csv")
    lines = [f"{row['mix_id']},{score(row)}" for row in rows_of(exported)]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_files_say_which_pairs_take_whose_label(project: Project, exported: Path) -> None:
    rows = rows_of(exported)
    assert [row["mix_id"] for row in rows[:3]] == ["all-people", "all-judge", "mix-0001"]
    assert len(rows) == 92
    pairs = [json.loads(line) for line in exported.with_suffix(".pairs.jsonl").read_text("utf-8").splitlines()]
    people = [json.loads(line) for line in exported.with_suffix(".people.jsonl").read_text("utf-8").splitlines()]
    assert [line["pair"] for line in pairs] == list(range(220))
    assert {line["people"] for line in pairs} == {"a", "b", "tie"}
    assert pairs[0]["prompt"] == "Question 0?"
    for row, mix in zip(rows, people, strict=True):
        assert row["mix_id"] == mix["mix_id"]
        assert int(row["n_people"]) == len(mix["people"]) == int(float(row["budget"]) * 220)
    # The counts are those of the pairs listed: here of those that the judge called a tie.
    ties = {line["pair"] for line in pairs if line["judge"] == "tie"}
    assert [int(row["tie"]) for row in rows] == [len(ties & set(mix["people"])) for mix in people]


def test_the_same_seed_writes_the_same_bytes(project: Project, exported: Path, tmp_path: Path) -> None:
    again = export_mixes(project, judge="gpt", options=OPTIONS, seed=2, path=tmp_path / "again.csv")
    assert [path.read_bytes() for path in again.files] == [
        exported.with_suffix(end).read_bytes() for end in (".csv", ".pairs.jsonl", ".people.jsonl")
    ]


def test_scores_from_elsewhere_lead_to_the_mix_they_favour(project: Project, exported: Path, tmp_path: Path) -> None:
    # A benchmark that likes people's labels where the judge called a tie.
    scores = write_scores(exported, lambda row: 60 + 0.3 * int(row["tie"]) + 0.01 * int(row["n_people"]))
    out, printed = tmp_path / "recommended.jsonl", StringIO()
    call_command(
        "predict_mixes", project.slug, "--judge", "gpt", "--budgets", "10,25", "--candidates", "30", "--seed", "2",
        "--exported", str(exported), "--scores", str(scores), "--out", str(out), "--json", stdout=printed,
    )  # fmt: skip
    result = json.loads(printed.getvalue().splitlines()[-1])
    assert (result["scored"], result["unscored"], result["refusal"]) == (92, 0, "")
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [line["mix_id"] for line in lines] == ["recommended-10%", "recommended-25%"]
    pairs = [json.loads(line) for line in exported.with_suffix(".pairs.jsonl").read_text("utf-8").splitlines()]
    ties = [line["judge"] == "tie" for line in pairs]
    for line, row in zip(lines, result["budgets"], strict=True):
        assert len(line["people"]) == row["people"]
        assert np.mean([ties[pair] for pair in line["people"]]) > 2 * np.mean(ties)
        assert row["predicted"]["recommended"] > row["predicted"]["random"]


def test_scores_that_are_noise_recommend_nothing(project: Project, exported: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    scores = write_scores(exported, lambda row: rng.normal())
    out = tmp_path / "recommended.jsonl"
    result = recommend_from_scores(
        project, judge="gpt", options=OPTIONS, seed=2, mixes=exported, scores=scores, out=out
    )
    assert "cannot rank mixes here" in result["refusal"]
    assert not out.exists()
    assert all("recommended" not in row["predicted"] for row in result["budgets"])


def test_files_that_do_not_fit_are_refused_with_line_and_field(project: Project, exported: Path) -> None:
    world = world_of(read_mix_pairs(project, "gpt", 2), 2)
    good = write_scores(exported, lambda row: float(row["n_people"]))
    scores, mixes = good.read_text("utf-8"), exported.read_text("utf-8")
    assert len(read_scores(exported, good, world).scores) == 92
    for text, words in (
        (scores.replace("mix_id,score", "id,score"), "line 1: it needs the columns mix_id and score"),
        (scores + "mix-9999,1\n", "line 94, field mix_id: there is no mix 'mix-9999'"),
        (scores + "mix-0001,1\n", "line 94, field mix_id: 'mix-0001' has a score"),
        (scores.replace("all-judge,0.0", "all-judge,nan"), "line 3, field score: 'nan' is not a number"),
        (scores.replace("all-judge,0.0", "all-judge,"), "line 3, field score: '' is not a number"),
        (scores.replace("all-judge,0.0", "all-judge"), "line 3: 1 fields where the first line has 2"),
        ("", "line 1: it needs the columns mix_id and score, and has: none"),
    ):
        good.write_text(text, encoding="utf-8")
        refused(exported, good, world, words)
    good.write_bytes(b"mix_id,score\n\xff\xfe,1\n")
    refused(exported, good, world, "not a CSV file in UTF-8")
    good.write_text(scores, encoding="utf-8")
    refused(exported.with_name("nowhere.csv"), good, world, "nowhere.csv cannot be read: No such file")
    lines = mixes.splitlines()
    for text, words in (
        (mixes.replace("tie", "teye"), "its columns are not the"),
        ("\n".join([lines[0], *lines[2:]]), "does not count this project's pairs as they are now"),
        ("\n".join([*lines, lines[2]]), "line 94, field mix_id: 'all-judge' stands in an earlier line"),
        ("\n".join([*lines, "mix-x,clumps,many" + lines[2][len("all-judge,all,0.0") :]]), "line 94, field budget"),
        ("\n".join([*lines, "mix-x,clumps"]), "line 94: 2 fields where the first line has"),
    ):
        exported.write_text(text, encoding="utf-8")
        refused(exported, good, world, words)
    exported.write_text(mixes, encoding="utf-8")
    same = write_scores(exported, lambda row: 1.0)
    refused(exported, same, world, "all 92 scores are 1; nothing can be learned")
    same.write_text("\n".join(same.read_text("utf-8").splitlines()[:31]), encoding="utf-8")
    with pytest.raises(TooFewLabels, match=r"too few scores \(30 of 60 mixes\)"):
        read_scores(exported, same, world)


def refused(mixes: Path, scores: Path, world: MixWorld, words: str) -> None:
    with pytest.raises(RoutingError) as caught:
        read_scores(mixes, scores, world)
    assert words in str(caught.value)


def test_a_folder_that_is_not_there_is_named(project: Project, tmp_path: Path) -> None:
    with pytest.raises(RoutingError, match="could not be written to"):
        export_mixes(project, judge="gpt", options=OPTIONS, seed=2, path=tmp_path / "missing" / "mixes.csv")
