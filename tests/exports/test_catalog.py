"""croissant.json: valid for mlcroissant, which loads the very rows of the files by it, offline."""

import hashlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from annotation.models import Project
from exports.snapshotting import take_snapshot
from tests.builders import make_pair, make_preference
from tests.exports.consuming import rows_in
from tests.judged import judge_pairs, make_judge

PROFILES = ("dpo", "annotations", "listwise", "multipref", "icai")
TABLES = PROFILES[:-1]
# What the vocabulary for responsible AI has and this export can tell.
TOLD = {
    "annotationsPerItem", "annotatorDemographics", "dataAnnotationAnalysis", "dataAnnotationPlatform",
    "dataAnnotationProtocol", "dataBiases", "dataCollection", "dataCollectionMissingData", "dataCollectionType",
    "dataLimitations", "dataReleaseMaintenancePlan", "dataUseCases", "machineAnnotationTools",
    "personalSensitiveInformation",
}  # fmt: skip

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.either_database,
    # What the consumers' own code warns of is theirs.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture
def folder(project: Project, out: Path) -> Path:
    """Return an export of eight pairs that two people answered with a strength, and a judge."""
    pairs = [make_pair(project, prompt=f"Question {number}?", external_id=f"p{number}") for number in range(8)]
    for pair in pairs:
        make_preference(pair, "dora", "a", strength=2, rationale="Clearer {text}.")
        make_preference(pair, "emil", "a", strength=1)
    judge_pairs(make_judge(project), pairs, ["a"] * 8)
    take_snapshot(project, profiles=PROFILES, out=out, test_share=0.4, license="cc-by-4.0")
    return out


def plain(value: Any) -> Any:
    """Return a record of mlcroissant with our names and types: texts are bytes there, parts have the whole's name."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {key.rpartition("/")[2]: plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value.item() if hasattr(value, "item") else value


def test_catalog_names_every_data_file_with_its_hash_and_says_what_must_be_disclosed(folder: Path) -> None:
    catalog = json.loads((folder / "croissant.json").read_text())
    files = [one for one in catalog["distribution"] if one["@type"] == "cr:FileObject"]
    data = {str(path.relative_to(folder)) for name in PROFILES for path in (folder / name).iterdir()}
    assert {one["contentUrl"] for one in files} == data
    for one in files:
        content = (folder / one["contentUrl"]).read_bytes()
        assert (one["sha256"], one["contentSize"]) == (hashlib.sha256(content).hexdigest(), f"{len(content)} B")
    assert {one["@id"] for one in catalog["recordSet"]} == set(TABLES)
    assert {name.removeprefix("rai:") for name in catalog if name.startswith("rai:")} == TOLD
    assert all(catalog[f"rai:{name}"] for name in TOLD)
    assert catalog["rai:machineAnnotationTools"] == ["gpt version 1 (recorded, pairwise, prompt not known)"]
    assert catalog["rai:annotationsPerItem"].startswith("16 answers of people on 8 pairs")
    assert catalog["license"] == ["cc-by-4.0"]
    card = (folder / "README.md").read_text()
    # The card and the catalog say the same.
    for name in ("dataLimitations", "dataUseCases", "personalSensitiveInformation", "annotatorDemographics"):
        assert all(f"- {sentence}\n" in card for sentence in catalog[f"rai:{name}"])
    assert catalog["citeAs"] in card
    manifest = json.loads((folder / "manifest.json").read_text())
    assert "croissant.json" in {file["path"] for file in manifest["files"]}


@pytest.mark.consumers
def test_catalog_is_valid_and_loads_the_rows_of_the_files_offline(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the catalog reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    import mlcroissant

    dataset = mlcroissant.Dataset(str(folder / "croissant.json"))
    assert dataset.metadata.ctx.issues.errors == set()
    assert dataset.metadata.data_annotation_platform == ["Tiebreak"]
    for name in ("dpo", "annotations"):
        found = [plain(record) for record in dataset.records(name)]
        # Sorted by the names of files: the test split comes first.
        expected = sorted(rows_in(folder, name), key=lambda one: one[0])
        for record, (split, row) in zip(found, expected, strict=True):
            empty = {key for key, value in row.items() if value == []}
            assert {key: value for key, value in record.items() if key not in empty} == {
                "split": split,
                **{key: value for key, value in row.items() if key not in empty},
            }
    # A list within a list: each response of a row, as its first message.
    deep = [[part["content"] for part in plain(record)["completion"]] for record in dataset.records("listwise")]
    rows = sorted(rows_in(folder, "listwise"), key=lambda one: one[0])
    assert deep == [[one["completion"][0]["content"] for one in row["completions"]] for _, row in rows]
