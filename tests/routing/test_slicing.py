"""The audit of a project: overall and part by part, beside the naive figure and people's own agreement."""

import pytest

from annotation.models import Origin, Pair, Preference, Project, Rater, RaterKind
from judges.models import JudgeVersion
from routing.auditing.estimating import ANSWERS_NEEDED_IN_SLICE
from routing.auditing.inferring import Estimate
from routing.auditing.slicing import AuditReport, Slice, audit_report
from routing.labels.resolving import resolve_labels
from routing.models import Plan, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.planning import Budget, draw_plan
from tests.builders import make_pair, make_project, make_prompt
from tests.judged import answer_pairs, judge_pairs, make_judge

pytestmark = pytest.mark.either_database

N = 240


@pytest.fixture
def project(db: None) -> Project:
    return make_project()


def judged(project: Project) -> tuple[JudgeVersion, list[Pair]]:
    """Return N pairs, half of them about code; the judge flips on each fourth and says a on the others."""
    pairs = []
    for number in range(N):
        prompt = make_prompt(project, category="code" if number % 2 else "chat", language="en")
        words = "word " * (number % 60 + 1)
        pairs.append(make_pair(project, prompt=prompt, response_a=words, response_b=f"{words} more"))
    version = make_judge(project)
    judge_pairs(version, pairs, ["flip" if number % 4 == 0 else "a" for number in range(N)])
    return version, pairs


def planned(project: Project, *, audit_share: float = 0.3) -> Plan:
    plan = draw_plan(project, budget=Budget.parse("50%"), judge="gpt", audit_share=audit_share)
    apply_plan(plan)
    return plan


def drawn(plan: Plan, *sources: RouteSource) -> list[Pair]:
    return [route.pair for route in plan.routes.filter(source__in=sources).order_by("pair_id").select_related("pair")]


def reported(project: Project) -> AuditReport:
    resolve_labels(project)
    found = audit_report(project)
    assert found is not None
    return found


def part(report: AuditReport, name: str) -> Slice:
    [found] = [one for one in report.slices if one.name == name]
    return found


def test_without_an_applied_plan_there_is_no_report(project: Project) -> None:
    judged(project)
    draw_plan(project, budget=Budget.parse("50%"), judge="gpt")
    assert audit_report(project) is None


def test_where_people_answered_everything_no_ai_label_is_left_to_be_right(project: Project) -> None:
    _, pairs = judged(project)
    plan = draw_plan(project, budget=Budget.parse("100%"), judge="gpt")
    apply_plan(plan)
    answer_pairs(pairs, ["a"] * N, origin=Origin.LIVE)
    report = reported(project)
    assert report.judge.value == pytest.approx(0.75)
    assert report.ai_labels == Estimate(None, None, None, 0, "no AI label is left: people answered every pair")


def test_report_of_a_finished_round_counts_what_is_known_and_estimates_the_rest(project: Project) -> None:
    _, pairs = judged(project)
    plan = planned(project)
    asked = drawn(plan, RouteSource.AUDIT, RouteSource.PEOPLE)
    # People say a everywhere: the judge is wrong where it flips, on a fourth of all pairs, which the router asks about.
    answer_pairs(asked, ["a"] * len(asked), origin=Origin.LIVE)
    report = reported(project)
    assert (report.complete, report.rounds, report.pairs, report.human, report.contested) == (True, 1, N, 120, 0)
    assert report.judge.value == pytest.approx(0.75, abs=0.03)
    wrong_asked = sum(pairs.index(pair) % 4 == 0 for pair in asked)
    assert report.naive.value == pytest.approx(1 - wrong_asked / 120)
    assert report.judge.value is not None
    assert report.naive_distance is not None
    assert report.naive_distance == pytest.approx(1 - wrong_asked / 120 - report.judge.value, abs=1e-9)
    assert report.naive_distance < -0.1
    left_wrong = N / 4 - wrong_asked
    assert report.ai_labels.value == pytest.approx(1 - left_wrong / 120, abs=0.06)
    assert report.labels.value == pytest.approx(1 - left_wrong / N, abs=0.03)
    assert report.lasting == pytest.approx(0.75)
    assert reported(project) == report
    # The judge may not label alone: nothing is left to be right or wrong.
    plan.figures["judge"]["labels"] = False
    plan.save(update_fields=["figures"])
    without = reported(project)
    assert without.judge == report.judge
    assert without.ai_labels.note == "no label of a judge stands: the plan's judge may not label alone"
    assert (without.ai_labels.value, without.labels.value) == (None, None)


def test_parts_show_where_the_judge_is_worse(project: Project) -> None:
    judged(project)
    plan = planned(project)
    asked = drawn(plan, RouteSource.AUDIT, RouteSource.PEOPLE)
    answer_pairs(asked, ["a"] * len(asked), origin=Origin.LIVE)
    report = reported(project)
    assert {one.by for one in report.slices} == {
        "Zone",
        "Category",
        "Length of both responses",
        "How sure the judge is",
    }
    chat, code = part(report, "chat"), part(report, "code")
    assert (chat.pairs, code.pairs) == (120, 120)
    # It flips on chat alone.
    assert chat.judge.value == pytest.approx(0.5, abs=0.06)
    assert code.judge.value == pytest.approx(1.0, abs=0.02)
    assert code.judge.low is not None
    assert code.judge.low < 0.98
    assert part(report, "least sure").judge.value == pytest.approx(0.0, abs=0.02)
    assert part(report, "surest").judge.value == pytest.approx(1.0, abs=0.02)
    names = [one.name for one in report.slices if one.by == "Length of both responses"]
    assert names == ["short", "middling", "long"]
    assert sum(one.pairs for one in report.slices if one.by == "Zone") == N


def test_unfinished_round_counts_by_its_audit_slice_and_small_parts_say_too_few(project: Project) -> None:
    judged(project)
    plan = planned(project, audit_share=0.15)
    audited = drawn(plan, RouteSource.AUDIT)
    answer_pairs(audited, ["a"] * len(audited), origin=Origin.LIVE)
    report = reported(project)
    assert not report.complete
    assert report.judge.n == len(audited) == 36
    unsure = part(report, "least sure")
    n = unsure.judge.n
    assert n < ANSWERS_NEEDED_IN_SLICE
    assert (unsure.judge.value, unsure.judge.note) == (None, f"too few labels ({n} of {ANSWERS_NEEDED_IN_SLICE})")


def test_nobody_has_answered_yet(project: Project) -> None:
    judged(project)
    planned(project)
    report = reported(project)
    few = "too few labels (0 of 30)"
    assert [report.judge.note, report.ai_labels.note, report.labels.note, report.naive.note] == [few] * 4
    assert report.people.note == "too few labels (0 of 30 answers beside another's)"
    assert (report.naive_distance, report.lasting) == (None, None)


def test_people_are_held_against_the_others_on_random_pairs_alone(project: Project) -> None:
    judged(project)
    plan = planned(project)
    raters = [
        Rater.objects.create(project=project, kind=RaterKind.PERSON, name=name, origin=Origin.LIVE)
        for name in ("one", "two", "three")
    ]
    audited = drawn(plan, RouteSource.AUDIT)
    # Of three, the third parts from the two others on every second pair: 4 of 6 answers are like the others' most.
    Preference.objects.bulk_create(
        Preference(pair=pair, rater=rater, choice="b" if rater.name == "three" and number % 2 else "a")
        for number, pair in enumerate(audited)
        for rater in raters
    )
    routed = drawn(plan, RouteSource.PEOPLE)
    Preference.objects.bulk_create(
        Preference(pair=pair, rater=rater, choice="ab"[number % 2])
        for pair in routed
        for number, rater in enumerate(raters)
    )
    report = reported(project)
    # Where the third parts, the two others' others are split and count for nobody; its own answer is against both.
    n = len(audited)
    agreeing, parted = 3 * (n - n // 2), n // 2
    assert report.people.n == agreeing + parted
    assert report.people.value == pytest.approx(agreeing / (agreeing + parted))
