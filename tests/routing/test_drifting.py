"""What a plan was drawn on is held against what came after it: answers, pairs, and the judge's own ways."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotation.models import Origin, Pair, Preference, Project, Task, TaskState
from judges.models import JudgeVersion
from routing.models import Plan, PredictorFit, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.planning import Budget, draw_plan
from routing.predicting.drifting import alarm_of, drift_of, last_check, predictions_ahead, reasons_of
from routing.predicting.predictor import cold_predictor
from routing.predicting.refitting import refit
from routing.signals.reading import read_judged
from tests.builders import make_project
from tests.judged import answer_pairs, judge_pairs, make_judge, make_pairs

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def planned(n: int = 120, *, p_wrong: float | None = 0.15) -> Plan:
    """Return an applied plan that audits half of its pairs, on all of which P(wrong) was said to be this; or cold."""
    project = make_project(votes_wanted=1)
    judge_pairs(make_judge(project), make_pairs(project, n), ["a", "b"] * (n // 2))
    plan = draw_plan(project, budget=Budget.parse("60%"), judge="gpt", audit_share=0.5)
    apply_plan(plan)
    if p_wrong is not None:
        plan.figures["predictor"] |= {"calibrated": True, "labels": 500}
        Plan.objects.filter(pk=plan.pk).update(figures=plan.figures)
        plan.routes.update(p_wrong=p_wrong)
    return Plan.objects.get(pk=plan.pk)


def audited(plan: Plan) -> list[Pair]:
    return list(Pair.objects.filter(routes__plan=plan, routes__source=RouteSource.AUDIT).order_by("id"))


def answer(plan: Plan, pairs: list[Pair], *, wrong: int, judge: str = "gpt v1") -> None:
    """Let people answer: as the judge did, but for so many, evenly spaced. Their tasks are done."""
    said = dict(Preference.objects.filter(rater__name=judge).values_list("pair_id", "choice"))
    other = {"a": "b", "b": "a", "tie": "a"}
    missed = {number * len(pairs) // wrong for number in range(wrong)}
    answers = [other[said[pair.pk]] if number in missed else said[pair.pk] for number, pair in enumerate(pairs)]
    answer_pairs(pairs, answers, origin=Origin.LIVE)
    Task.objects.filter(pair__in=pairs).update(state=TaskState.DONE)


def check(plan: Plan) -> dict[str, Any]:
    judged = read_judged(plan.project, [JudgeVersion.objects.get(pk=plan.figures["judge"]["version_id"])])
    return drift_of(plan, judged, cold_predictor(judged.signals), now=NOW)


def test_answers_as_predicted_are_no_reason() -> None:
    plan = planned()
    answer(plan, audited(plan), wrong=9)
    drift = check(plan)
    answers = drift["answers"]
    assert (answers["n"], answers["expected"], answers["observed"]) == (60, pytest.approx(0.15), pytest.approx(0.15))
    assert drift["reasons"] == []
    assert drift["plan"] == str(plan.pk)


def test_a_judge_that_is_wrong_more_often_than_predicted_is_told_with_its_figures_and_what_to_do() -> None:
    plan = planned()
    pairs = audited(plan)
    answer(plan, pairs, wrong=27)
    [reason] = check(plan)["reasons"]
    assert reason["what"] == (
        "gpt · pairwise is wrong more often than the plan expected: on 45% of the last 60 audited pairs, where 15% "
        "was predicted."
    )
    assert reason["do"].startswith("Draw the plan again")


def test_pairs_that_still_get_votes_and_answers_from_before_the_plan_are_left_out() -> None:
    plan = planned()
    pairs = audited(plan)
    answer(plan, pairs, wrong=30)
    Task.objects.filter(pair__in=pairs[:10]).update(state=TaskState.OPEN)
    earlier = Preference.objects.filter(pair__in=pairs[10:15], rater__name="live person 0")
    earlier.update(created_at=plan.created_at - timedelta(seconds=1))
    assert check(plan)["answers"]["n"] == 45


def test_pairs_chosen_for_their_doubt_say_nothing_about_all() -> None:
    plan = planned()
    routed = list(Pair.objects.filter(routes__plan=plan, routes__source=RouteSource.PEOPLE))
    answer(plan, routed, wrong=len(routed))
    assert check(plan)["answers"]["note"] == "too few labels (0 of 30 audited answers)"


def test_imported_pairs_unlike_those_of_the_plan_are_told_by_their_signals() -> None:
    plan = planned()
    version = JudgeVersion.objects.get()
    judge_pairs(version, make_pairs(plan.project, 60, start=1000), ["flip"] * 60)
    drift = check(plan)
    pairs = drift["pairs"]
    assert (pairs["before"], pairs["since"], pairs["alarm"]) == (120, 60, True)
    flipped = next(one for one in pairs["signals"] if one["name"] == "flipped")
    assert (flipped["before"], flipped["since"], flipped["moved"]) == (0.0, 1.0, True)
    assert pairs["told_apart"] == pytest.approx(1.0)
    texts = [reason["what"] for reason in drift["reasons"]]
    moved = sum(one["moved"] for one in pairs["signals"])
    assert texts[0] == (
        "The 60 pairs imported since the plan was drawn differ from those before it in "
        f"{moved} of the {len(pairs['signals'])} signals that tell best where the judge is wrong."
    )


def test_imported_pairs_like_those_of_the_plan_are_no_reason() -> None:
    plan = planned()
    judge_pairs(JudgeVersion.objects.get(), make_pairs(plan.project, 60, start=1000), ["a", "b"] * 30)
    drift = check(plan)
    assert (drift["pairs"]["since"], drift["pairs"]["alarm"]) == (60, False)
    assert drift["reasons"] == []


def test_few_imported_pairs_are_too_few_to_compare() -> None:
    plan = planned()
    judge_pairs(JudgeVersion.objects.get(), make_pairs(plan.project, 49, start=1000), ["flip"] * 49)
    drift = check(plan)
    assert drift["pairs"]["note"] == "too few pairs (49 of 50 imported since the plan was drawn)"
    assert drift["judge"]["note"] == "too few answers (49 of 50 given since the plan was drawn)"
    assert drift["reasons"] == []


def test_a_judge_that_answers_otherwise_when_it_is_asked_anew_is_told() -> None:
    plan = planned()
    again = list(Preference.objects.of_judges().order_by("pair_id")[:60])
    later = timezone.now() + timedelta(hours=1)
    for preference in again:
        preference.choice, preference.created_at = "tie", later
    Preference.objects.bulk_update(again, ["choice", "created_at"])
    drift = check(plan)
    judge = drift["judge"]
    assert (judge["before"], judge["since"], judge["alarm"]) == (60, 60, True)
    assert [period["since"] for period in judge["periods"]] == [False, True]
    [reason] = drift["reasons"]
    assert "gpt · pairwise answers differently since the plan was drawn:" in reason["what"]
    assert "it calls it a tie on 100%, before on 0%" in reason["what"]
    assert "add it as a new version" in reason["do"]


def test_a_cold_plan_is_held_against_the_first_fit_made_before_its_pairs_were_answered() -> None:
    plan = planned(p_wrong=None)
    pairs = audited(plan)
    answer(plan, pairs[:10], wrong=0)
    said = predictions_ahead(plan, {str(pair.pk): 0.25 for pair in Pair.objects.all()})
    assert set(said) == {str(pair.pk) for pair in pairs[10:]}
    version = JudgeVersion.objects.get()
    for hour, ahead in enumerate(({}, said, dict.fromkeys(said, 0.9))):
        drift = {"plan": str(plan.pk), "ahead": ahead}
        PredictorFit.objects.create(
            project=plan.project,
            version=version,
            kind="logistic",
            labels=200,
            seed=0,
            drift=drift,
            fitted_at=NOW + timedelta(hours=hour),
        )
    answer(plan, pairs[10:], wrong=20)
    answers = check(plan)["answers"]
    assert (answers["n"], answers["expected"]) == (50, pytest.approx(0.25))


def stored(plan: Plan, *, reasons: list[dict[str, str]], hour: int = 0) -> PredictorFit:
    drift = {"plan": str(plan.pk), "reasons": reasons}
    version = JudgeVersion.objects.get(pk=plan.figures["judge"]["version_id"])
    return PredictorFit.objects.create(
        project=plan.project, version=version, kind="cold", seed=0, drift=drift, fitted_at=NOW + timedelta(hours=hour)
    )


def test_an_alarm_is_that_of_the_last_check_of_the_plan_applied_last() -> None:
    plan = planned()
    project, version = plan.project, JudgeVersion.objects.get()
    assert alarm_of(project, version) == ""
    assert last_check(plan) == {}
    stored(plan, reasons=[{"what": "It changed.", "do": "Look."}, {"what": "And so did they.", "do": "Look."}])
    with CaptureQueriesContext(connection) as queries:
        assert alarm_of(project, version) == "It changed. And so did they."
    assert len(queries) == 2
    assert [reason.do for reason in reasons_of(project)] == ["Look.", "Look."]
    assert alarm_of(project, make_judge(project, "another")) == ""
    stored(plan, reasons=[], hour=1)
    assert alarm_of(project, version) == ""


def test_an_alarm_ends_with_the_plan_it_was_about() -> None:
    plan = planned()
    stored(plan, reasons=[{"what": "It changed.", "do": "Look."}])
    make_pairs(plan.project, 10, start=1000)
    again = draw_plan(plan.project, budget=Budget.parse("30%"), judge="gpt")
    assert alarm_of(plan.project, JudgeVersion.objects.get()) == "It changed."
    apply_plan(again)
    assert alarm_of(plan.project, JudgeVersion.objects.get()) == ""


def test_a_project_without_a_plan_has_no_alarm() -> None:
    project: Project = make_project()
    assert alarm_of(project, make_judge(project)) == ""
    assert reasons_of(project) == []


def test_a_refit_stores_what_drifted_and_raises_the_alarm() -> None:
    plan = planned()
    answer(plan, audited(plan), wrong=30)
    version = JudgeVersion.objects.get()
    fit = refit(plan.project, version, now=NOW)
    assert fit is not None
    assert fit.alarm
    assert fit.drift["answers"]["observed"] == 0.5
    assert alarm_of(plan.project, version).startswith("gpt · pairwise is wrong more often than the plan expected")
