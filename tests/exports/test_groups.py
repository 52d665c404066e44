"""What rows tell of the people behind them: only what at least k people who answered share."""

import json
from pathlib import Path
from typing import Any

import pytest

from annotation.models import Membership, Project, Role
from exports.grouping import Groups
from tests.builders import make_pair, make_person, make_preference
from tests.exports.rows import written_rows

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]


def answered(project: Project, name: str, people: range, meta: dict[str, Any]) -> None:
    pair = make_pair(project, prompt=f"{name}?", external_id=name, meta={**meta, "n": 1})
    for number in people:
        make_preference(pair, f"person-{number}", "a")


@pytest.fixture
def grouped(project: Project) -> Project:
    """Return pairs of teachers (6 people, of whom 5 Danes), nurses (4) and of nobody's community."""
    answered(project, "danes", range(5), {"community": "teachers", "country": "DK"})
    answered(project, "swede", range(5, 6), {"community": "teachers", "country": "SE"})
    answered(project, "nurses", range(10, 14), {"community": "nurses"})
    answered(project, "plain", range(14, 15), {})
    return project


def told(rows: list[dict[str, Any]]) -> dict[str, tuple[str, dict[str, Any]]]:
    return {row["external_id"]: (row["community"], json.loads(row["meta"])) for row in rows}


def test_combination_is_told_whole_in_part_or_not_by_how_many_people_share_it(grouped: Project, tmp_path: Path) -> None:
    rows, gathered, _ = written_rows(grouped, tmp_path / "five")
    assert told(rows) == {
        "danes": ("teachers", {"community": "teachers", "country": "DK", "n": 1}),
        "swede": ("teachers", {"community": "teachers", "n": 1}),
        "nurses": ("", {"n": 1}),
        "plain": ("", {"n": 1}),
    }
    assert gathered.groups.as_dict() == {
        "least": 5, "pairs_told_whole": 1, "pairs_told_in_part": 1, "pairs_not_told": 1, "experts": None,
    }  # fmt: skip
    rows, _, _ = written_rows(grouped, tmp_path / "four", least_in_group=4)
    assert told(rows)["nurses"][0] == "nurses"
    rows, gathered, _ = written_rows(grouped, tmp_path / "one", least_in_group=1)
    assert told(rows)["swede"][1]["country"] == "SE"
    assert gathered.groups.as_dict()["pairs_told_whole"] == 3


def test_language_beside_a_community_counts_with_it(project: Project, tmp_path: Path) -> None:
    for number, language in enumerate(["en"] * 5 + ["da"]):
        pair = make_pair(project, prompt=f"{number}?", external_id=f"p{number}", meta={"community": "teachers"})
        pair.prompt.language = language
        pair.prompt.save()
        make_preference(pair, f"person-{number}", "a")
    rows, _, _ = written_rows(project, tmp_path)
    assert [row["community"] for row in rows] == [*["teachers"] * 5, ""]


@pytest.mark.parametrize(("experts", "others", "is_told"), [(5, 5, True), (4, 5, False), (5, 4, False)])
def test_experts_are_told_only_where_they_and_the_others_are_enough(
    project: Project, tmp_path: Path, experts: int, others: int, is_told: bool
) -> None:
    pair = make_pair(project, prompt="Which?", external_id="p")
    for number in range(experts + others):
        rater = make_person(project, f"somebody-{number}")
        assert rater.user
        role = Role.EXPERT if number < experts else Role.ANNOTATOR
        Membership.objects.create(project=project, user=rater.user, role=role)
        make_preference(pair, rater, "a", strength=2)
    (row,), gathered, _ = written_rows(project, tmp_path, "multipref")
    shown = len(row["expert_worker_annotations"]), len(row["normal_worker_annotations"])
    assert shown == ((experts, others) if is_told else (0, experts + others))
    assert gathered.groups.as_dict()["experts"] == (experts if is_told else None)


def test_report_tells_no_group_of_fewer_people_either() -> None:
    report = {
        "least_in_group": 5,
        "groups": [
            {
                "by": "stated community",
                "groups": [{"name": "teachers", "people": 9}, {"name": "nurses", "people": 6}],
                "worst": "nurses",
                "people_in_small_groups": 1,
            }
        ],
    }
    Groups(8).limit_report(report)
    assert report["least_in_group"] == 8
    assert report["groups"] == [
        {
            "by": "stated community",
            "groups": [{"name": "teachers", "people": 9}],
            "worst": "",
            "people_in_small_groups": 7,
        }
    ]
