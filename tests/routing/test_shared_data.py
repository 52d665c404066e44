"""Routing on real pairs with human and judge labels: import, plan, apply, replay through the commands."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotation.creating import create_project
from annotation.importing import OnError, import_pairs
from annotation.models import Project, Task
from routing.models import Label, Plan
from routing.plans.trusting import find_version
from tests.services import SHARED_DATA

pytestmark = [pytest.mark.django_db, pytest.mark.shared_data]


def imported(name: str) -> Project:
    project = create_project(slug="real")
    import_pairs(project, SHARED_DATA / f"{name}.jsonl.gz", on_error=OnError.SKIP)
    return project


def replayed(judge: str, *, repeats: int) -> dict[str, Any]:
    out = StringIO()
    call_command("replay_routing", "real", "--judge", judge, "--repeats", str(repeats), "--json", stdout=out)
    result: dict[str, Any] = json.loads(out.getvalue().splitlines()[-1])
    return result


@pytest.mark.parametrize(
    ("name", "judge", "repeats", "pairs", "auroc", "gain"),
    [
        pytest.param("vicuna80_dev", "GPT-4", 2, 1862, 0.82, 0.10, marks=pytest.mark.slow),
        ("pandalm_dev", "gpt-3.5-turbo", 1, 738, 0.72, 0.06),
    ],
)
def test_learned_beats_random_on_real_pairs(
    name: str, judge: str, repeats: int, pairs: int, auroc: float, gain: float
) -> None:
    imported(name)
    result = replayed(judge, repeats=repeats)
    assert result["pairs"] == pairs
    assert result["auroc"]["learned"] >= auroc
    assert result["auroc"]["learned"] >= result["auroc_best_signal"]["value"]
    at_25 = next(row for row in result["budgets"] if row["budget"] == 0.25)
    assert at_25["learned_minus_random"]["low"] > 0
    assert at_25["learned_minus_random"]["mean"] > gain
    assert result["calibration"]["ece"] <= 0.06


def test_plan_at_25_percent_opens_a_quarter_of_the_real_pairs() -> None:
    project = imported("pandalm_dev")
    call_command("plan_routing", "real", "--budget", "25%", "--apply", stdout=StringIO())
    assert Task.objects.filter(project=project).count() == 190
    assert Label.objects.filter(pair__project=project, source="human").count() == 761
    plan = Plan.objects.get()
    assert plan.figures["counts"]["audit"] == 38
    assert min(plan.routes.values_list("selection_prob", flat=True)) >= 38 / 761


def test_replay_without_labels_of_people_says_too_few_labels() -> None:
    imported("sparse_feedback_ai_only")
    with pytest.raises(CommandError, match=r"too few labels \(0 of 100"):
        replayed("gpt-3.5-turbo", repeats=1)


def test_judge_with_several_protocols_is_replayed_on_the_pairwise_one() -> None:
    project = imported("vicuna80_dev")
    with pytest.raises(CommandError, match="gpt-4 · joint 1-10 scores, gpt-4 · pairwise three-way"):
        replayed("gpt-5", repeats=1)
    assert find_version(project, "gpt-4").protocol == "pairwise three-way"
    assert find_version(project, "GPT-4 · Joint 1-10 scores").protocol == "joint 1-10 scores"
