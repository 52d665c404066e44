"""Licences of rows and terms of the models that wrote them: what is let in, and what is counted where it is not."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from annotation.models import Project
from exports.errors import ExportError
from exports.licensing import shown_on_hub
from exports.profiles import PROFILES
from exports.settings import SnapshotSettings
from exports.snapshotting import take_snapshot
from tests.builders import make_pair, make_preference
from tests.exports.rows import written_rows

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]

FREE, OTHER, UNREADABLE, NONE = "free", "other", "unreadable", "none"


@pytest.fixture
def licensed(project: Project) -> Project:
    """Return four pairs: of two licences, of one that is no text, and of none."""
    metas: dict[str, dict[str, Any]] = {
        FREE: {"license": " CC-BY-4.0 "},
        OTHER: {"licence": "cc-by-nc-4.0"},
        UNREADABLE: {"license": {"name": "cc-by-4.0"}},
        NONE: {},
    }
    for name, meta in metas.items():
        pair = make_pair(
            project, prompt=f"{name}?", external_id=name, meta=meta, model_a="gpt", model_b=f"{name}-model"
        )
        make_preference(pair, "dora", "a")
    return project


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["external_id"] for row in rows]


def test_filter_lets_in_the_named_licences_and_nothing_unknown(licensed: Project, tmp_path: Path) -> None:
    rows, _, tally = written_rows(licensed, tmp_path / "one", licences_allowed=["cc-by-4.0"])
    assert names(rows) == [FREE]
    assert tally.left_out == {"licence": 2, "licence_unknown": 1}
    assert tally.to_json()["licenses"] == {"CC-BY-4.0": 1}


def test_unknown_is_let_in_by_its_name_only_and_an_export_may_name_the_licence_of_the_rest(
    licensed: Project, tmp_path: Path
) -> None:
    rows, _, tally = written_rows(licensed, tmp_path / "one", licences_allowed=["cc-by-4.0", "unknown"])
    assert (names(rows), tally.left_out) == ([FREE, NONE], {"licence": 2})
    # The export's licence stands for pairs that name none, never for those that name one that is no text.
    rows, _, _ = written_rows(licensed, tmp_path / "two", licences_allowed=["cc-by-4.0"], license="cc-by-4.0")
    assert {row["external_id"]: row["license"] for row in rows} == {FREE: "CC-BY-4.0", NONE: "cc-by-4.0"}
    rows, _, tally = written_rows(licensed, tmp_path / "three")
    assert (len(rows), tally.left_out) == (4, {})
    assert {row["license"] for row in rows} == {"", "CC-BY-4.0", "cc-by-nc-4.0", '{"name": "cc-by-4.0"}'}


@pytest.mark.parametrize("profile", ["annotations", "icai", "listwise", "kto"])
def test_no_profile_holds_a_pair_that_the_filter_leaves_out(licensed: Project, tmp_path: Path, profile: str) -> None:
    _, gathered, tally = written_rows(licensed, tmp_path, profile, licences_allowed=["cc-by-4.0"])
    assert tally.rows == (2 if profile == "kto" else 1)
    assert tally.left_out == {"licence": 2, "licence_unknown": 1}
    text = "".join(path.read_text() for path in (tmp_path / profile).iterdir())
    assert f"{FREE}?" in text
    assert not any(f"{name}?" in text for name in (OTHER, UNREADABLE, NONE))
    assert PROFILES[profile].version >= 1
    assert len(gathered.tested)


def test_terms_of_models_are_columns_and_a_filter_with_unknown_as_a_case_of_its_own(
    licensed: Project, tmp_path: Path
) -> None:
    told = {"gpt": "free", f"{FREE}-model": "free", f"{OTHER}-model": "restricted"}
    rows, _, tally = written_rows(licensed, tmp_path / "one", generator_terms=told)
    assert [(row["external_id"], row["terms_chosen"], row["terms_rejected"]) for row in rows] == [
        (FREE, "free", "free"),
        (NONE, "free", "unknown"),
        (OTHER, "free", "restricted"),
        (UNREADABLE, "free", "unknown"),
    ]
    rows, _, tally = written_rows(licensed, tmp_path / "two", generator_terms=told, terms_allowed="unrestricted")
    assert (names(rows), tally.left_out) == ([FREE, NONE, UNREADABLE], {"terms": 1})
    rows, _, tally = written_rows(licensed, tmp_path / "three", generator_terms=told, terms_allowed="free")
    assert (names(rows), tally.left_out) == ([FREE], {"terms": 1, "terms_unknown": 2})


def test_card_names_the_licences_of_the_rows_and_counts_what_is_not_known(licensed: Project, tmp_path: Path) -> None:
    told = {"gpt": "free", "other-model": "restricted"}
    take_snapshot(licensed, out=tmp_path / "all", format="jsonl", generator_terms=told)
    head, card = (tmp_path / "all" / "README.md").read_text().removeprefix("---\n").split("---\n", 1)
    shown = yaml.safe_load(head)
    assert (shown["license"], shown["license_name"]) == (
        "other",
        "cc-by-4.0-and-cc-by-nc-4.0-and-unknown-and-name-cc-by-4.0",
    )
    said = card[card.index("## Licences and terms") : card.index("## Personal data")]
    assert "- 1 rows: CC-BY-4.0.\n" in said
    assert "- 1 rows: not stated in `license`" in said
    assert "- The terms of other-model: others may not train on its outputs.\n" in said
    catalog = json.loads((tmp_path / "all" / "croissant.json").read_text())
    assert catalog["license"] == ["CC-BY-4.0", "cc-by-nc-4.0", "unknown", '{"name": "cc-by-4.0"}']


def licence_shown(folder: Path) -> tuple[str, str | None]:
    head = yaml.safe_load((folder / "README.md").read_text().removeprefix("---\n").split("---\n", 1)[0])
    return head["license"], head.get("license_name")


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["CC-BY-4.0", " cc-by-4.0"], ("cc-by-4.0", None)),
        (["openrail++"], ("openrail++", None)),
        (["acme-1.0"], ("other", "acme-1.0")),
        (["gpl-3.0+"], ("other", "gpl-3.0-plus")),
        (["Acme Internal Terms (2025)."], ("other", "acme-internal-terms-2025")),
        (["mit", "apache-2.0"], ("other", "apache-2.0-and-mit")),
        (["許諾"], ("other", "other")),
        (["unknown"], ("unknown", None)),
    ],
)
def test_hub_is_told_a_licence_of_its_list_or_other_by_name(names: list[str], shown: tuple[str, str | None]) -> None:
    head = shown_on_hub(names)
    assert (head["license"], head.get("license_name")) == shown


def test_one_licence_of_all_rows_is_the_dataset_s_and_what_no_row_has_is_not_named(
    licensed: Project, tmp_path: Path
) -> None:
    snapshot = take_snapshot(
        licensed, out=tmp_path / "one", format="jsonl", license="mit", licences_allowed=["cc-by-nc-4.0"]
    )
    assert licence_shown(tmp_path / "one") == ("cc-by-nc-4.0", None)
    assert json.loads((tmp_path / "one" / "croissant.json").read_text())["license"] == ["cc-by-nc-4.0"]
    assert "No one licence" not in (tmp_path / "one" / "README.md").read_text()
    assert snapshot.counts["licences"] == {"cc-by-nc-4.0": 1}


def test_profile_without_a_column_for_it_states_the_licences_of_its_pairs(licensed: Project, tmp_path: Path) -> None:
    take_snapshot(
        licensed, out=tmp_path / "two", profiles=["llama-factory"], license="mit", licences_allowed=["mit", "cc-by-4.0"]
    )
    assert licence_shown(tmp_path / "two") == ("other", "cc-by-4.0-and-mit")
    card = (tmp_path / "two" / "README.md").read_text()
    assert "- 1 rows: CC-BY-4.0.\n- 1 rows: mit.\n- No one licence covers all rows" in card


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"licences_allowed": "cc-by-4.0"}, "licences_allowed is 'cc-by-4.0'; it takes a list"),
        ({"licences_allowed": [""]}, "it takes a list of names"),
        (
            {"generator_terms": {"gpt": "maybe"}},
            "The terms of the model 'gpt' are 'maybe'; they are free or restricted.",
        ),
        ({"terms_allowed": "all"}, "Unknown terms_allowed 'all'"),
        ({"licences_allowed": ["mit"], "with_project": True}, "cannot leave some out by their licence"),
        ({"terms_allowed": "free", "with_project": True}, "cannot leave some out by their licence"),
        ({"least_in_group": 0}, "least_in_group is 0"),
        ({"pii_prompts": "hide"}, "Unknown pii_prompts 'hide'"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_words(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ExportError) as refused:
        SnapshotSettings.parse(settings)
    assert said in str(refused.value)
