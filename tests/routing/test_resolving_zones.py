"""A second judge confirms a label or leaves it open, and a guarantee leaves open what it does not reach."""

from typing import Any

import pytest

from annotation.models import Origin, Pair
from exports.deciding import Entry, decide
from exports.profiles import PROFILES, Context, LeftOut
from exports.reading import read_records
from exports.reporting import routing_report
from exports.settings import SnapshotSettings
from judges.models import JudgeRun, JudgeVersion, Verdict
from routing import tasks
from routing.auditing import accepting
from routing.auditing.guaranteeing import Guarantee
from routing.labels.resolving import NOT_GUARANTEED, SPLIT, resolve_labels, split_pairs
from routing.models import Label, LabelSource, Plan, Route, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.options import PlanOptions
from routing.plans.planning import Budget, draw_plan
from routing.tasks import resolve_after_run, resolve_pair
from tests.builders import make_pair, make_preference, make_project
from tests.judged import answer_pairs, judge_pairs, make_judge

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]


def planned(**options: Any) -> tuple[list[Pair], Plan]:
    """Return 40 pairs, of which a quarter are with people, and the applied plan."""
    project = make_project()
    pairs = [make_pair(project) for _ in range(40)]
    judge_pairs(make_judge(project), pairs, ["a", "b", "flip", "tie"] * 10)
    plan = draw_plan(project, budget=Budget.parse("25%"), judge="gpt", options=PlanOptions(**options))
    apply_plan(plan)
    return pairs, plan


def give_to_second(plan: Plan, pairs: list[Pair]) -> JudgeVersion:
    """Make these pairs the zone of a second judge that has answered nothing yet."""
    second = make_judge(plan.project, "claude")
    Route.objects.filter(plan=plan, pair__in=pairs).update(source=RouteSource.SECOND)
    plan.figures = {**plan.figures, "second": {"version_id": str(second.pk), "name": "claude"}}
    plan.save()
    return second


def ai_pairs(plan: Plan, answer: str) -> list[Pair]:
    """Return the pairs that keep the judge's label, and have this one."""
    routes = plan.routes.filter(source=RouteSource.AI, pair__label__choice=answer)
    return [route.pair for route in routes.select_related("pair").order_by("pair_id")]


def doubts(plan: Plan) -> list[float]:
    return [route.p_wrong for route in plan.routes.all() if route.p_wrong is not None]


def label_of(pair: Pair) -> Label:
    return Label.objects.get(pair=pair)


def guarantee(threshold: float | None, accepted: int = 10) -> Guarantee:
    note = "" if threshold is not None else "too few labels (3 of about 40 audited answers)"
    return Guarantee(threshold, accepted, accepted, 1, 0.1, 0.15, 0.1, 0, note)


# --- Two judges -----------------------------------------------------------------------------------------------------


def test_a_label_that_a_second_judge_confirms_stands_and_names_both() -> None:
    _, plan = planned()
    mine = ai_pairs(plan, "a")[:2] + ai_pairs(plan, "tie")[:1]
    second = give_to_second(plan, mine)
    judge_pairs(second, mine[:1], ["a"])
    make_preference(mine[2], second.rater, "both_bad")
    resolve_labels(plan.project)
    label = label_of(mine[0])
    assert (label.source, label.choice) == (LabelSource.AI, "a")
    assert label.provenance["rule"] == "judges_agree"
    assert (label.provenance["judge"], label.provenance["second_judge"]) == ("gpt · pairwise", "claude · pairwise")
    assert label.provenance["second_judge_version_id"] == str(second.pk)
    assert label.provenance["second_judge_choice"] == "a"
    # No preference is one answer, however it is called.
    assert (label_of(mine[2]).choice, label_of(mine[2]).provenance["rule"]) == ("tie", "judges_agree")
    # Where the second has not answered, the first alone stands.
    assert (label_of(mine[1]).choice, label_of(mine[1]).provenance["rule"]) == ("a", "judge")
    assert "second_judge" not in label_of(mine[1]).provenance


def test_two_judges_who_differ_leave_the_label_open_and_the_pair_to_people() -> None:
    _, plan = planned()
    mine = ai_pairs(plan, "a")[:2]
    second = give_to_second(plan, mine)
    judge_pairs(second, mine, ["b", "tie"])
    resolve_labels(plan.project, [pair.pk for pair in mine])
    for pair, said in zip(mine, ("b", "tie"), strict=True):
        label = label_of(pair)
        assert (label.source, label.choice, label.prob_a, label.p_correct) == (LabelSource.AI, "", None, None)
        assert label.provenance["rule"] == SPLIT
        assert label.provenance["withheld"] == f"gpt · pairwise says a, claude · pairwise says {said}"
    assert split_pairs(plan.project) == {str(pair.pk) for pair in mine}
    # A person decides, whatever judges say.
    make_preference(mine[0], "x", "b")
    resolve_labels(plan.project, [mine[0].pk])
    assert (label_of(mine[0]).source, label_of(mine[0]).choice) == (LabelSource.HUMAN, "b")
    assert split_pairs(plan.project) == {str(mine[1].pk)}


def test_a_later_plan_does_not_take_back_that_two_judges_differ() -> None:
    _, plan = planned()
    mine = ai_pairs(plan, "a")[:1]
    judge_pairs(give_to_second(plan, mine), mine, ["b"])
    later = draw_plan(plan.project, budget=Budget.parse("10%"), judge="gpt")
    later.routes.filter(pair=mine[0]).update(source=RouteSource.AI)
    apply_plan(later)
    label = label_of(mine[0])
    assert (label.provenance["rule"], label.provenance["plan"]) == (SPLIT, str(later.pk))


def test_the_end_of_the_second_judges_run_makes_the_labels() -> None:
    _, plan = planned()
    mine = ai_pairs(plan, "a")[:1]
    second = give_to_second(plan, mine)
    judge_pairs(second, mine, ["b"])
    run = JudgeRun.objects.create(project=plan.project, version=second)
    Verdict.objects.filter(version=second).update(run=run)
    assert label_of(mine[0]).choice == "a"
    resolve_after_run(run_id=str(run.pk))
    assert label_of(mine[0]).provenance["rule"] == SPLIT


def test_what_the_second_judge_says_elsewhere_changes_nothing() -> None:
    _, plan = planned()
    mine, other = ai_pairs(plan, "a")[:2]
    second = give_to_second(plan, [mine])
    judge_pairs(second, [other], ["b"])
    resolve_labels(plan.project)
    assert (label_of(other).choice, label_of(other).provenance["rule"]) == ("a", "judge")


# --- A guarantee ----------------------------------------------------------------------------------------------------


def test_nothing_is_accepted_while_the_audit_slice_has_too_few_answers() -> None:
    _, plan = planned(guarantee_alpha=0.15)
    labels = Label.objects.filter(pair__project=plan.project)
    assert labels.count() == 40
    assert set(labels.values_list("choice", "provenance__rule")) == {("", NOT_GUARANTEED)}
    plan.refresh_from_db()
    assert plan.figures["after"]["guarantee"]["threshold"] is None
    assert labels[0].provenance["withheld"].startswith("nothing is guaranteed yet: ")


def test_labels_up_to_the_threshold_are_accepted_and_the_others_say_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    _, plan = planned(guarantee_alpha=0.15)
    values = sorted(doubts(plan))
    threshold = values[20]
    monkeypatch.setattr(accepting, "guarantee_of", lambda _: guarantee(threshold))
    resolve_labels(plan.project)
    for route in plan.routes.select_related("pair"):
        label = label_of(route.pair)
        accepted = route.p_wrong is not None and route.p_wrong <= threshold
        assert bool(label.choice) is accepted
        if not accepted:
            assert label.provenance["rule"] == NOT_GUARANTEED
            assert label.provenance["withheld"] == (
                f"P(wrong) {route.p_wrong:.3f} is above {threshold:.3f}, up to where at most 15% of the labels are "
                "wrong with 90% confidence"
            )


def test_an_audited_answer_moves_the_threshold_and_only_the_labels_between(monkeypatch: pytest.MonkeyPatch) -> None:
    _, plan = planned(guarantee_alpha=0.15)
    audited = plan.routes.filter(source=RouteSource.AUDIT).first()
    routed = plan.routes.filter(source=RouteSource.PEOPLE).first()
    assert audited is not None
    assert routed is not None
    counted: list[int] = []
    resolved: list[int] = []
    middle = sorted(doubts(plan))[20]

    def count(_: Plan) -> Guarantee:
        counted.append(1)
        return guarantee(middle, accepted=len(counted))

    monkeypatch.setattr(accepting, "guarantee_of", count)

    def resolve(project: Any, pair_ids: Any = None) -> int:
        resolved.append(len(list(pair_ids)) if pair_ids is not None else -1)
        return resolve_labels(project, pair_ids)

    monkeypatch.setattr(tasks, "resolve_labels", resolve)
    between = plan.routes.filter(p_wrong__lte=middle).count()
    assert between > 20
    resolve_pair(pair_id=str(routed.pair_id))
    assert (counted, resolved) == ([], [1])
    resolve_pair(pair_id=str(audited.pair_id))
    assert (len(counted), resolved) == (1, [1, 1, between])
    assert Label.objects.exclude(choice="").count() == between
    # The same threshold from more answers: counted, and nothing else to do.
    resolve_pair(pair_id=str(audited.pair_id))
    assert (len(counted), resolved) == (2, [1, 1, between, 1])
    plan.refresh_from_db()
    assert plan.figures["after"]["guarantee"]["accepted"] == 2


def test_peoples_answers_need_no_guarantee_and_pairs_of_no_plan_have_none() -> None:
    pairs, plan = planned(guarantee_alpha=0.15)
    answer_pairs(pairs[:1], ["b"], origin=Origin.LIVE)
    late = make_pair(plan.project)
    judge_pairs(JudgeVersion.objects.get(judge__name="gpt"), [late], ["a"])
    resolve_labels(plan.project)
    assert (label_of(pairs[0]).source, label_of(pairs[0]).choice) == (LabelSource.HUMAN, "b")
    assert label_of(late).provenance["withheld"] == "the guarantee knows no P(wrong) of it"


# --- What leaves the house ------------------------------------------------------------------------------------------


def test_exports_say_why_a_label_is_open_and_who_confirmed_one() -> None:
    _, plan = planned()
    agreed, differed = ai_pairs(plan, "a")[:2]
    second = give_to_second(plan, [agreed, differed])
    judge_pairs(second, [agreed, differed], ["a", "b"])
    resolve_labels(plan.project)
    open_label = Label.objects.filter(pair__in=ai_pairs(plan, "b")[:1])
    open_label.update(choice="", provenance={"rule": NOT_GUARANTEED})
    (not_guaranteed,) = open_label.values_list("pair__external_id", flat=True)
    records = {record.external_id: record for record in read_records(plan.project, key=b"k")}
    settings = SnapshotSettings.parse({})
    decisions = {external_id: decide(record, settings, {}) for external_id, record in records.items()}
    assert decisions[differed.external_id].left_out == LeftOut.JUDGES_SPLIT
    assert decisions[not_guaranteed].left_out == LeftOut.NOT_GUARANTEED
    entry = Entry(records[agreed.external_id], decisions[agreed.external_id])
    (row,) = PROFILES["dpo"].start(Context(settings))([entry])
    assert isinstance(row, dict)
    assert (row["label_source"], row["judge"], row["second_judge"]) == ("ai", "gpt", "claude · pairwise")
    report = routing_report(plan.project)
    assert (report["withheld"], report["contested"]) == (2, 0)
    assert "version_id" not in report["plans"][0]["second"]
