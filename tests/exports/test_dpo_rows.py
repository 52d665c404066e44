"""Which reason goes with a label, and what a row says about where it came from."""

from collections.abc import Callable
from typing import Any

import pytest

from annotation.models import Choice, Preference, Project, RationaleTiming
from exports.profiles.reasoning import opposing_rationales
from exports.pseudonymising import pseudonym
from judges.models import JudgeKind, JudgeVersion
from routing.models import BudgetKind, Plan, PlanState, Route, RouteSource
from tests.builders import make_pair, make_preference
from tests.exports.rows import KEY, records_of, rows_of

Cast = Callable[..., list[Preference]]
MakeJudge = Callable[..., JudgeVersion]


def row_of(project: Project, **settings: Any) -> dict[str, Any]:
    """Return the one row of a project of one pair."""
    rows, _ = rows_of(project, **settings)
    (row,) = rows
    return row


def test_rationale_of_a_person_who_chose_the_winner_goes_before_a_judges(
    project: Project, make_judge: MakeJudge, vote: Cast
) -> None:
    pair = make_pair(project)
    votes = vote(pair, "a", "a", "b", rationale="fits", rationale_timing=RationaleTiming.AFTER, shown_order="ba")
    make_preference(pair, make_judge(project).rater, "a", rationale="A is far more detailed than B.")
    row = row_of(project)
    assert (row["rationale"], row["rationale_source"], row["rationale_timing"]) == ("fits", "person", "after")
    assert row["rationale_origin"] == "live"
    assert row["rationale_order"] == "rejected_first"
    assert row["rationale_by"] in {pseudonym(KEY, vote.rater.name) for vote in votes[:2]}


def test_longest_reason_of_the_people_who_agree_is_taken(project: Project) -> None:
    pair = make_pair(project)
    for name, choice, text in (
        ("one", "b", "short"),
        ("two", "b", "a longer reason"),
        ("three", "a", "the longest reason of them all, for the loser"),
    ):
        make_preference(pair, name, choice, rationale=text)
    assert row_of(project)["rationale"] == "a longer reason"


def test_reason_for_the_other_side_is_never_exported_and_is_counted(project: Project, make_judge: MakeJudge) -> None:
    pair = make_pair(project)
    make_preference(pair, "one", "a")
    make_preference(pair, "two", "b", rationale="b is right")
    make_preference(pair, "three", "a")
    make_preference(pair, make_judge(project).rater, "b", rationale="Assistant 2 wins")
    row = row_of(project)
    assert (row["rationale"], row["rationale_source"], row["rationale_by"]) == ("", "none", "")
    (record,) = records_of(project)
    assert opposing_rationales(record, "a") == 2


def test_judges_reason_says_in_which_order_it_saw_the_responses(project: Project, make_judge: MakeJudge) -> None:
    pair = make_pair(project)
    make_preference(pair, "one", "b")
    version = make_judge(project, "gpt", protocol="pairwise")
    make_preference(pair, version.rater, "b", rationale="Assistant 1 is better", shown_order="ba")
    row = row_of(project)
    assert (row["rationale_source"], row["rationale_origin"]) == ("judge", "recorded")
    assert row["rationale_by"] == "gpt · pairwise"
    assert row["rationale_order"] == "chosen_first"
    assert row["judge"] == ""


def test_reason_of_a_rule_is_no_reason(project: Project, make_judge: MakeJudge) -> None:
    pair = make_pair(project)
    make_preference(pair, "one", "a")
    make_preference(pair, make_judge(project, "length", kind=JudgeKind.LENGTH).rater, "a", rationale="longer")
    assert row_of(project)["rationale_source"] == "none"


def test_blank_reason_is_no_reason(project: Project) -> None:
    make_preference(make_pair(project), "one", "a", rationale=" \n ")
    assert row_of(project)["rationale_source"] == "none"


def test_ai_label_names_judge_prompt_and_route(project: Project, make_judge: MakeJudge) -> None:
    pair = make_pair(project)
    version = make_judge(project, "gpt", kind=JudgeKind.OPENAI, prompt_template="Which is better?")
    make_preference(pair, version.rater, "a", prob_a=0.8)
    plan = Plan.objects.create(
        project=project,
        state=PlanState.APPLIED,
        budget_kind=BudgetKind.SHARE,
        budget_value="0.25",
        audit_share=0.05,
        seed=0,
        judge_name="gpt · pairwise",
        predictor_kind="lightgbm",
        figures={"judge": {"version_id": str(version.pk), "name": "gpt · pairwise", "labels": True}},
        applied_at=project.created_at,
    )
    Route.objects.create(
        plan=plan, pair=pair, source=RouteSource.AI, p_wrong=0.125, cost_usd=0, selection_prob=0.05, why=[]
    )
    row = row_of(project)
    assert (row["label_source"], row["judge"], row["judge_protocol"], row["judge_version"]) == (
        "ai",
        "gpt",
        "pairwise",
        1,
    )
    assert len(row["judge_prompt_hash"]) == 64
    assert (row["plan"], row["route_source"], row["is_audit"]) == ("plan-1", "ai", False)
    assert (row["selection_prob"], row["p_wrong"]) == (0.05, 0.125)
    assert row["p_correct"] == pytest.approx(0.875)
    assert row["prob"] == 0.8
    assert (row["n_votes"], row["agreement"], row["annotator_ids"]) == (0, None, [])


def test_min_agreement_does_not_touch_ai_labels(project: Project, make_judge: MakeJudge) -> None:
    version = make_judge(project, "gpt", kind=JudgeKind.OPENAI)
    make_preference(make_pair(project), version.rater, "a")
    assert row_of(project, min_agreement=1.0)["label_source"] == "ai"


def test_id_is_free_of_the_order_of_the_responses_and_unique_for_repeats(project: Project) -> None:
    prompt = make_pair(project, prompt="Q?", response_a="x", response_b="y", external_id="one").prompt
    make_pair(project, prompt=prompt, response_a="y", response_b="x", external_id="two")
    one, two = records_of(project)
    assert one.content_id == two.content_id
    assert one.id != two.id


def test_messages_keep_role_and_content_only(project: Project) -> None:
    pair = make_pair(project)
    pair.prompt.messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi", "name": "Dora"},
    ]
    pair.prompt.save()
    make_preference(pair, "one", Choice.A)
    assert row_of(project)["prompt"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
