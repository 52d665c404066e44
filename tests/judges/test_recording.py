"""Judgements in a file become judges, verdicts, preferences and ratings."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.importing import import_pairs
from annotation.models import Criterion, Origin, Pair, Preference, Project, Rater, Rating
from judges.averaging import VerdictValues, settle
from judges.models import Judge, JudgeKind, JudgeVersion, Verdict
from judges.recording import check
from tests.builders import make_project
from tests.services import SHARED_DATA

pytestmark = pytest.mark.django_db


def judged(**overrides: Any) -> dict[str, Any]:
    return {"model": "gpt-4", "choice": "a", "swapped": False, "protocol": "pairwise", **overrides}


def write(path: Path, *rows: list[dict[str, Any]]) -> Path:
    lines = [
        {"id": f"p{n}", "prompt": f"Question {n}?", "response_a": "One.", "response_b": "Two.", "judges": judges}
        for n, judges in enumerate(rows)
    ]
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    return path


def imported(tmp_path: Path, *rows: list[dict[str, Any]]) -> Project:
    project = make_project()
    report = import_pairs(project, write(tmp_path / "pairs.jsonl", *rows))
    assert not report.refused, report.rejected
    return project


def test_each_protocol_of_a_model_is_a_version_with_its_own_rater(tmp_path: Path) -> None:
    imported(tmp_path, [judged(), judged(protocol="scores")], [judged()])
    judge = Judge.objects.get()
    assert (judge.name, judge.kind) == ("gpt-4", JudgeKind.RECORDED)
    versions = JudgeVersion.objects.order_by("number")
    assert [(one.number, one.protocol, one.model) for one in versions] == [
        (1, "pairwise", "gpt-4"),
        (2, "scores", "gpt-4"),
    ]
    assert set(Rater.objects.values_list("name", "kind", "origin")) == {
        ("gpt-4 · pairwise", "judge", Origin.RECORDED),
        ("gpt-4 · scores", "judge", Origin.RECORDED),
    }


def test_verdicts_keep_order_choice_scores_reason_and_everything_else(tmp_path: Path) -> None:
    imported(
        tmp_path,
        [
            judged(swapped=True, choice="b", score_a=3, score_b=7.5, rationale="The first one.", uncertainty=0.2),
            judged(swapped=None, protocol="alone", choice="tie", prob_a=0.5),
        ],
    )
    swapped = Verdict.objects.get(order="ba")
    assert (swapped.state, swapped.choice, swapped.score_a, swapped.score_b) == ("done", "b", 3.0, 7.5)
    assert (swapped.rationale, swapped.meta) == ("The first one.", {"uncertainty": 0.2})
    alone = Verdict.objects.get(order="")
    assert (alone.choice, alone.prob_a, alone.meta) == ("tie", 0.5, {})


def test_both_orders_are_averaged_before_the_choice_is_made(tmp_path: Path) -> None:
    imported(
        tmp_path,
        [judged(choice="a", prob_a=0.9, rationale="First."), judged(choice="b", prob_a=0.4, swapped=True)],
        [judged(choice="a"), judged(choice="b", swapped=True)],
        [judged(choice="a"), judged(choice="tie", swapped=True, rationale="Equal.")],
        [judged(choice="tie", rationale="Even."), judged(choice="tie", swapped=True)],
        [judged(choice="b", swapped=True, rationale="Second.")],
    )
    found = {
        one.pair.external_id: (one.choice, one.prob_a, one.meta, one.rationale, one.shown_order)
        for one in Preference.objects.select_related("pair")
    }
    assert found == {
        "p0": ("a", 0.65, {"consistent": False, "orders": 2}, "First.", "ab"),
        "p1": ("tie", 0.5, {"consistent": False, "orders": 2}, "", ""),
        "p2": ("a", 0.75, {"consistent": False, "orders": 2}, "", ""),
        "p3": ("tie", 0.5, {"consistent": True, "orders": 2}, "Even.", "ab"),
        "p4": ("b", 0.0, {"consistent": None, "orders": 1}, "Second.", "ba"),
    }


def test_scores_become_ratings_averaged_over_the_orders(tmp_path: Path) -> None:
    imported(
        tmp_path,
        [judged(score_a=8, score_b=6), judged(score_a=9, score_b=7, swapped=True)],
        [judged(score_a=4)],
    )
    pair = Pair.objects.get(external_id="p0")
    found = {one.response_id: one.value for one in Rating.objects.filter(pair=pair)}
    assert found == {pair.response_a_id: 8.5, pair.response_b_id: 6.5}
    assert Rating.objects.get(pair__external_id="p1").value == 4.0
    assert set(Rating.objects.values_list("criterion__name", flat=True)) == {"overall"}


def test_criteria_become_preferences_by_criterion_and_stay_with_the_verdict(tmp_path: Path) -> None:
    imported(tmp_path, [judged(swapped=None, criteria={"pacing": "b", "voice": "tie", "ending": None})])
    assert set(Preference.objects.values_list("criterion__name", "choice")) == {
        (None, "a"),
        ("pacing", "b"),
        ("voice", "tie"),
    }
    assert Verdict.objects.get().meta == {"criteria": {"pacing": "b", "voice": "tie", "ending": None}}
    assert set(Criterion.objects.values_list("name", flat=True)) == {"pacing", "voice"}


def test_second_file_uses_the_versions_of_the_first(tmp_path: Path) -> None:
    project = imported(tmp_path, [judged()])
    more = {"id": "q", "prompt": "More?", "response_a": "x", "response_b": "y", "judges": [judged()]}
    path = tmp_path / "more.jsonl"
    path.write_text(json.dumps(more), encoding="utf-8")
    import_pairs(project, path)
    assert (Judge.objects.count(), JudgeVersion.objects.count(), Verdict.objects.count()) == (1, 1, 2)


def test_live_judge_of_the_same_name_stays_apart(tmp_path: Path) -> None:
    project = make_project()
    Judge.objects.create(project=project, name="gpt-4", kind=JudgeKind.OPENAI)
    import_pairs(project, write(tmp_path / "pairs.jsonl", [judged()]))
    assert set(Judge.objects.values_list("name", "kind")) == {("gpt-4", "openai"), ("gpt-4 (recorded)", "recorded")}


@pytest.mark.parametrize(
    ("judges", "field", "reason"),
    [
        ("gpt-4 says a", "judges", "is a text, not a list of judgements"),
        (["a"], "judges[0]", "is a text, not an object"),
        ([judged(model=None)], "judges[0].model", "is missing: whose judgement is it?"),
        ([judged(), judged(model="m" * 101)], "judges[1].model", "is 101 characters long; the limit is 100"),
        ([judged(choice=None)], "judges[0].choice", "is missing"),
        ([judged(choice="A")], "judges[0].choice", "'A' is no choice (a, b, tie, both_bad, unsure)"),
        ([judged(swapped="no")], "judges[0].swapped", "is a text, not true, false or null"),
        ([judged(score_a="8")], "judges[0].score_a", "is a text, not a number"),
        ([judged(prob_a=1.2)], "judges[0].prob_a", "is 1.2, not a probability from 0 to 1"),
        ([judged(rationale=["x"])], "judges[0].rationale", "is a list, not a text"),
        ([judged(criteria={"pacing": 1})], "judges[0].criteria.pacing", "1 is no choice"),
        ([judged(criteria="pacing")], "judges[0].criteria", "is a text, not an object of name: choice"),
        ([judged(), judged(choice="b")], "judges[1].swapped", "repeats judges[0]"),
    ],
)
def test_bad_judgement_is_named_with_its_field(judges: Any, field: Any, reason: Any) -> None:
    ((found, why),) = check({"judges": judges})
    assert found == field
    assert why.startswith(reason)


def test_file_with_a_bad_judgement_is_refused_whole(tmp_path: Path) -> None:
    project = make_project()
    report = import_pairs(project, write(tmp_path / "pairs.jsonl", [judged()], [judged(choice="left")]))
    assert report.refused
    assert [(row.line, row.field) for row in report.rejected] == [(2, "judges[0].choice")]
    assert (Pair.objects.count(), Verdict.objects.count(), Judge.objects.count()) == (0, 0, 0)


def test_record_without_judgements_passes() -> None:
    assert check({}) == []
    assert check({"judges": None}) == []
    assert check({"judges": [judged(), judged(swapped=True), judged(swapped=None)]}) == []


def test_queries_do_not_grow_with_the_batch(tmp_path: Path, django_assert_max_num_queries: Any) -> None:
    project = make_project()
    rows = [[judged(), judged(swapped=True)] for _ in range(300)]
    path = write(tmp_path / "pairs.jsonl", *rows)
    with django_assert_max_num_queries(60):
        import_pairs(project, path)
    assert Verdict.objects.count() == 600


@pytest.mark.shared_data
def test_real_judgements_are_all_stored(tmp_path: Path) -> None:
    project = make_project()
    report = import_pairs(project, SHARED_DATA / "ttcw_creativity.jsonl.gz")
    assert not report.refused, report.rejected
    with gzip.open(SHARED_DATA / "ttcw_creativity.jsonl.gz", "rt", encoding="utf-8") as lines:
        entries = [entry for line in lines for entry in json.loads(line)["judges"]]
    assert Verdict.objects.count() == len(entries) == 243
    by_criterion = sum(choice is not None for entry in entries for choice in entry["criteria"].values())
    of_judges = Preference.objects.of_judges()
    assert of_judges.filter(criterion__isnull=False).count() == by_criterion
    assert of_judges.counted().count() == 243


# --- Averaging ------------------------------------------------------------------------------------------------------

CHOICES = st.sampled_from(["a", "b", "tie", "both_bad", "unsure"])
OTHER = {"a": "b", "b": "a"}


@settings(deadline=None)
@given(st.lists(st.tuples(CHOICES, st.none() | st.floats(0, 1)), min_size=1, max_size=3))
def test_renaming_a_and_b_mirrors_the_preference(verdicts: Any) -> None:
    settled = settle([VerdictValues("ab", choice, prob) for choice, prob in verdicts])
    mirrored = settle(
        [
            VerdictValues("ab", OTHER.get(choice, choice), None if prob is None else 1 - prob)
            for choice, prob in verdicts
        ]
    )
    assert mirrored.choice == OTHER.get(settled.choice, settled.choice)
    assert mirrored.consistent == settled.consistent
    if settled.prob_a is None:
        assert mirrored.prob_a is None
    else:
        assert mirrored.prob_a == pytest.approx(1 - settled.prob_a)


def test_unsure_verdict_leaves_the_other_to_decide() -> None:
    settled = settle([VerdictValues("ab", "unsure"), VerdictValues("ba", "b", 0.2)])
    assert settled == ("b", 0.2, None, 1, None)
    assert settle([VerdictValues("ab", "unsure")]) == ("unsure", None, None, 0, None)


def test_mean_inside_the_tie_band_is_a_tie() -> None:
    verdicts = [VerdictValues("ab", "a", 0.9), VerdictValues("ba", "b", 0.14)]
    assert settle(verdicts).choice == "a"
    settled = settle(verdicts, tie_band=0.05)
    assert (settled.choice, settled.consistent, settled.rationale_from) == ("tie", False, None)
    assert settled.prob_a == pytest.approx(0.52)


def test_agreeing_orders_stand_whatever_the_band() -> None:
    assert settle([VerdictValues("ab", "a", 0.52), VerdictValues("ba", "a", 0.5)], tie_band=0.1).choice == "a"


def test_nothing_cannot_be_settled() -> None:
    with pytest.raises(ValueError, match="at least one verdict"):
        settle([])


def test_person_may_use_a_criterion_that_a_judge_of_an_earlier_batch_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotation.importing.BATCH_PAIRS", 1)
    human = [[{"annotator": "w1", "choice": "a", "criteria": {name: "a"}}] for name in ("tone", "truth", "tone")]
    judges = [judged(criteria={"truth": "b"})]
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"id": f"p{n}", "prompt": f"Q{n}?", "response_a": "One.", "response_b": "Two.", "human": answers}
        for n, answers in enumerate(human)
    ]
    path.write_text("\n".join(json.dumps(row | {"judges": judges}) for row in rows), encoding="utf-8")
    report = import_pairs(make_project(), path)
    assert (report.added, report.refused) == (3, False)
    assert set(Criterion.objects.values_list("name", flat=True)) >= {"tone", "truth"}


def test_judgements_of_pairs_that_are_there_are_said_to_be_left_out(tmp_path: Path) -> None:
    project = imported(tmp_path, [judged()])
    report = import_pairs(project, write(tmp_path / "pairs.jsonl", [judged(), judged(model="other")]))
    assert "The pair was here before, so its judgements (judges) are not read again (1 row)." in report.notes
    assert Verdict.objects.count() == 1


def test_recorded_orders_that_average_near_one_half_are_a_tie_as_live_ones_are(tmp_path: Path) -> None:
    imported(tmp_path, [judged(prob_a=0.9), judged(swapped=True, choice="b", prob_a=0.13)])
    assert Preference.objects.get().choice == "tie"
