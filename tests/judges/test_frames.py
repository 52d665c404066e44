"""Verdicts and judges' preferences as frames."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from annotation.importing import import_pairs
from annotation.models import Pair, Preference, Project
from judges import frames
from judges.frames import PREFERENCE_COLUMNS, VERDICT_COLUMNS, judge_preference_frame, verdict_frame
from judges.models import JudgeVersion, Verdict, VerdictState
from tests.builders import make_preference, make_project

pytestmark = pytest.mark.django_db


def make_judged(tmp_path: Path, n: int = 3) -> Project:
    project = make_project()
    path = tmp_path / "pairs.jsonl"
    rows = [
        {
            "id": f"p{number}",
            "prompt": f"Question {number}?",
            "response_a": "Yes.",
            "response_b": "No.",
            "meta": {"group": f"g{number % 2}"},
            "judges": [
                {
                    "model": "jo",
                    "protocol": "x",
                    "choice": "a",
                    "swapped": False,
                    "score_a": 8,
                    "rationale": "Because.",
                },
                {"model": "jo", "protocol": "x", "choice": "tie", "swapped": True, "prob_a": 0.4},
                {"model": "kim", "protocol": "y", "choice": "b", "swapped": None},
            ],
        }
        for number in range(n)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert not import_pairs(project, path).refused
    return project


def test_verdict_frame_has_a_row_a_verdict_with_string_ids(tmp_path: Path) -> None:
    project = make_judged(tmp_path)
    frame = verdict_frame(project)
    assert tuple(frame.columns) == VERDICT_COLUMNS
    assert len(frame) == 9
    pair = Pair.objects.get(external_id="p1")
    jo = frame[(frame["pair_id"] == str(pair.pk)) & (frame["judge"] == "jo")].set_index("order")
    version = JudgeVersion.objects.get(judge__name="jo")
    assert set(jo["version_id"]) == {str(version.pk)}
    assert set(jo["group"]) == {"g1"}
    assert jo[["choice", "score_a", "has_rationale"]].to_dict("index")["ab"] == {
        "choice": "a",
        "score_a": 8.0,
        "has_rationale": True,
    }
    assert jo[["choice", "prob_a", "has_rationale"]].to_dict("index")["ba"] == {
        "choice": "tie",
        "prob_a": 0.4,
        "has_rationale": False,
    }
    assert jo["cost"].isna().all()


def test_unanswered_verdicts_are_left_out(tmp_path: Path) -> None:
    project = make_judged(tmp_path)
    Verdict.objects.filter(order="ba").update(state=VerdictState.FAILED, choice="", error="No answer.")
    Verdict.objects.filter(order="ab").update(state=VerdictState.PENDING, choice="")
    assert verdict_frame(project)["judge"].unique().tolist() == ["kim"]


def test_preference_frame_has_a_row_a_pair_and_version(tmp_path: Path) -> None:
    project = make_judged(tmp_path)
    frame = judge_preference_frame(project)
    assert tuple(frame.columns) == PREFERENCE_COLUMNS
    jo = frame[frame["judge"] == "jo"]
    assert (len(frame), len(jo)) == (6, 3)
    assert jo["choice"].tolist() == ["a"] * 3
    assert jo["prob_a"].tolist() == pytest.approx([0.7] * 3)
    assert jo["consistent"].tolist() == [False] * 3
    assert frame.loc[frame["judge"] == "kim", "consistent"].tolist() == [None] * 3
    assert set(frame["rater_id"]) == {str(one) for one in JudgeVersion.objects.values_list("rater_id", flat=True)}


def test_measured_verdicts_carry_their_mass_their_tie_and_their_samples(tmp_path: Path) -> None:
    project = make_judged(tmp_path, 1)
    verdict = Verdict.objects.get(order="ba")
    verdict.distribution = {"a": 0.3, "tie": 0.2, "b": 0.5}
    verdict.label_mass, verdict.samples, verdict.from_cache = 0.9, 5, True
    verdict.save()
    rows = verdict_frame(project).set_index("order").to_dict("index")
    assert [rows["ba"][name] for name in ("prob_tie", "label_mass", "samples", "from_cache")] == [0.2, 0.9, 5, True]
    assert all(math.isnan(rows["ab"][name]) for name in ("prob_tie", "label_mass"))
    assert [rows["ab"][name] for name in ("samples", "from_cache")] == [1, False]


def test_reasons_of_the_second_pass_are_no_verdicts(tmp_path: Path) -> None:
    project = make_judged(tmp_path, 1)
    jo = JudgeVersion.objects.get(judge__name="jo")
    Verdict.objects.create(
        version=jo, pair=Pair.objects.get(), order="why", state=VerdictState.DONE, choice="a", rationale="So."
    )
    assert sorted(verdict_frame(project, [jo])["order"]) == ["ab", "ba"]


def test_preferences_carry_their_tie_and_the_scores_they_follow_from(tmp_path: Path) -> None:
    project = make_judged(tmp_path, 1)
    jo = JudgeVersion.objects.get(judge__name="jo")
    Preference.objects.filter(rater=jo.rater).update(meta={"prob_tie": 0.25, "score_a": 7.5, "score_b": 6.0})
    frame = judge_preference_frame(project).sort_values("judge")
    told = frame[["prob_tie", "score_a", "score_b"]]
    assert told.to_dict("split")["data"][0] == [0.25, 7.5, 6.0]
    assert told.iloc[1].isna().all()
    assert frame["prob_tie"].dtype == float


def test_people_replaced_answers_and_criteria_are_no_rows(tmp_path: Path) -> None:
    project = make_judged(tmp_path, 1)
    pair = Pair.objects.get()
    make_preference(pair, "fay", "a")
    kim = JudgeVersion.objects.get(judge__name="kim").rater
    Preference.objects.filter(rater=kim).update(is_current=False)
    assert judge_preference_frame(project)["judge"].tolist() == ["jo"]


def test_frames_narrow_to_versions_and_projects(tmp_path: Path) -> None:
    project = make_judged(tmp_path)
    kim = JudgeVersion.objects.get(judge__name="kim")
    assert verdict_frame(project, [kim])["judge"].unique().tolist() == ["kim"]
    assert judge_preference_frame(project, [kim])["judge"].unique().tolist() == ["kim"]
    other = make_project("other", with_people=False)
    assert len(verdict_frame(other)) == 0
    assert tuple(judge_preference_frame(other).columns) == PREFERENCE_COLUMNS


@pytest.mark.parametrize("frame", [verdict_frame, judge_preference_frame])
def test_a_frame_is_three_queries(tmp_path: Path, django_assert_num_queries: Any, frame: Any) -> None:
    project = make_judged(tmp_path, 40)
    with django_assert_num_queries(3):
        frame(project)


@pytest.mark.parametrize("frame", [verdict_frame, judge_preference_frame])
def test_a_frame_is_the_same_however_many_rows_are_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frame: Any
) -> None:
    project = make_judged(tmp_path, 7)
    whole = frame(project)
    monkeypatch.setattr(frames, "ROWS_PER_PIECE", 2)
    pd.testing.assert_frame_equal(frame(project), whole)
    # Ids are written as Python writes them, whatever the database keeps.
    assert set(whole["pair_id"]) == {str(pk) for pk in Pair.objects.values_list("pk", flat=True)}
    assert set(whole["version_id"]) == {str(pk) for pk in JudgeVersion.objects.values_list("pk", flat=True)}
