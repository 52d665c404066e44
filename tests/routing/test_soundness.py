"""What a plan claims holds under the cases that bend it: money, guarantee, mirrored pairs, baselines that learned."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from django.utils import timezone

from annotation.models import Assignment, AssignmentState, Origin, Project, Task
from routing.auditing.accepting import acceptance_of, renew_acceptances
from routing.auditing.estimating import join_rounds, read_measured
from routing.auditing.guaranteeing import certify, guarantee_of, read_audited
from routing.errors import RoutingError
from routing.models import Plan, RouteSource
from routing.plans.applying import apply_plan
from routing.plans.budgeting import promised_usd
from routing.plans.options import PlanOptions
from routing.plans.planning import Budget, draw_plan
from routing.plans.replanning import left_of
from routing.predicting.predictor import fit_predictor
from routing.signals.deriving import build_signals
from routing.signals.measuring import PairTexts, measure_texts
from tests.builders import make_person, make_preference, make_project
from tests.judged import answer_pairs, judge_pairs, make_judge, make_pairs

pytestmark = pytest.mark.either_database

TURNED = {"a": "b", "b": "a", "tie": "tie", "ab": "ba", "ba": "ab"}


def judged_project(n: int, **overrides: Any) -> Project:
    project = make_project(**overrides)
    judge_pairs(make_judge(project), make_pairs(project, n), ["a"] * n)
    return project


def answer_audit(plan: Plan) -> None:
    audited = plan.routes.filter(source=RouteSource.AUDIT).order_by("pair_id").select_related("pair")
    answer_pairs([route.pair for route in audited], ["a"] * len(audited), origin=Origin.LIVE)


# --- Money ----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_votes_and_pay_that_were_raised_since_the_draw_do_not_pass_the_plans_money() -> None:
    project = judged_project(40, votes_wanted=1, pay_per_answer_usd="0.10")
    first = draw_plan(project, budget=Budget.money("1.00"))
    Project.objects.filter(pk=project.pk).update(votes_wanted=3)
    apply_plan(first)
    # The plan said one answer a pair, and promised its dollar on that.
    assert set(Task.objects.values_list("votes_wanted", flat=True)) == {1}
    project.refresh_from_db()
    second = draw_plan(project, budget=Budget.money("1.50"))
    Project.objects.filter(pk=project.pk).update(pay_per_answer_usd="0.20")
    with pytest.raises(RoutingError, match=r"pay an answer was raised .* \$3\.00, and its budget is \$1\.50"):
        apply_plan(second)
    assert Task.objects.count() == 10


@pytest.mark.django_db
def test_extra_answers_are_paid_and_so_are_promised() -> None:
    project = judged_project(40, votes_wanted=1, pay_per_answer_usd="0.10")
    plan = draw_plan(project, budget=Budget.money("1.00"))
    apply_plan(plan)
    assert promised_usd(project, None) == Decimal("1.00")
    task = Task.objects.filter(pair__routes__plan=plan, pair__routes__source=RouteSource.PEOPLE)[0]
    rater = make_person(project)
    late = make_preference(task.pair, rater, is_extra=True, shown_order="ab")
    Assignment.objects.create(
        task=task,
        rater=rater,
        state=AssignmentState.EXTRA,
        slot=None,
        preference=late,
        leased_at=timezone.now(),
        lease_until=timezone.now(),
        finished_at=timezone.now(),
        shown_order="ab",
    )
    assert promised_usd(project, None) == Decimal("1.10")
    # Two audited pairs stay, and so does the one that somebody began: it may take a vote, and was paid one more.
    assert left_of(project) == Budget.money("0.60")


# --- The guarantee --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_labels_exactly_at_the_threshold_are_accepted_as_they_were_counted() -> None:
    project = judged_project(120)
    plan = draw_plan(project, budget=Budget.parse("60%"), audit_share=0.5, options=PlanOptions(guarantee_alpha=0.2))
    # 1 - (1 - 0.1) is below 0.1.
    plan.routes.update(p_wrong=0.1)
    apply_plan(plan)
    answer_audit(plan)
    renew_acceptances(project)
    plan.refresh_from_db()
    accepted = acceptance_of(plan)
    assert accepted.threshold == 0.1
    assert accepted.against(plan.routes.filter(source=RouteSource.AI)[0].p_wrong) == ""


@pytest.mark.django_db
def test_pairs_that_have_recorded_answers_vouch_for_no_label_of_the_judge() -> None:
    project = judged_project(120)
    plan = draw_plan(project, budget=Budget.parse("60%"), audit_share=0.5)
    apply_plan(plan)
    answer_audit(plan)
    before = read_audited(plan)
    audited = plan.routes.filter(source=RouteSource.AUDIT, selection_prob__lt=0.55).select_related("pair")[:3]
    unasked = plan.routes.filter(source=RouteSource.AI, selection_prob__lt=0.55).select_related("pair")[:4]
    known = [route.pair for route in (*audited, *unasked)]
    # Their labels are people's, whatever the judge says: how often it is right there says nothing about its labels.
    answer_pairs(known, ["a"] * 7, origin=Origin.RECORDED)
    after = read_audited(plan)
    assert len(after.wrong) == len(before.wrong) - 3
    assert len(after.p_all) == len(before.p_all) - 7


@pytest.mark.django_db
def test_labels_with_recorded_answers_are_peoples_in_the_audit_too() -> None:
    project = judged_project(200)
    version = project.judges.get().versions.get()
    plan = draw_plan(project, budget=Budget.parse("50%"), audit_share=0.3)
    apply_plan(plan)
    audited = plan.routes.filter(source=RouteSource.AUDIT).order_by("pair_id").select_related("pair")
    answer_pairs([route.pair for route in audited], ["a", "b"] * (len(audited) // 2), origin=Origin.LIVE)
    everything = np.ones(200, dtype=bool)
    joined = join_rounds(read_measured(project, version, [plan]))
    assert joined.labels(everything).value == pytest.approx(1 - 0.5 * (1 - len(audited) / 200), abs=0.05)
    unasked = plan.routes.exclude(source=RouteSource.AUDIT).select_related("pair")
    answer_pairs([route.pair for route in unasked], ["b"] * len(unasked), origin=Origin.RECORDED)
    joined = join_rounds(read_measured(project, version, [plan]))
    # People answered every pair, here or before: no label is the judge's.
    assert joined.labels(everything).value == pytest.approx(1.0)


def test_ranks_of_a_cold_start_are_no_word_on_what_is_out_of_reach() -> None:
    ranks = 0.05 + 0.5 * np.linspace(0, 1, 200)
    nothing, none = np.array([]), np.array([], dtype=bool)
    found = certify(nothing, none, alpha=0.15, delta=0.1, p_all=ranks, calibrated=False)
    assert (found.threshold, found.tested) == (None, 0)
    assert found.note.startswith("too few labels (0 of about ")
    assert found.needed >= 15
    # Answers may say so: a judge that is wrong every other time.
    p, wrong = np.resize(ranks, 100), np.arange(100) % 2 == 0
    assert "out of reach" in certify(p, wrong, alpha=0.15, delta=0.1, p_all=ranks, calibrated=False).note


def test_few_answers_do_not_put_an_aim_out_of_reach() -> None:
    p = np.full(12, 0.4)
    found = certify(p, np.arange(12) < 5, alpha=0.15, delta=0.1, p_all=np.full(100, 0.4))
    assert found.note.startswith("too few labels (12 ")


@pytest.mark.django_db
def test_answers_that_are_counted_as_they_come_must_pass_a_stricter_test() -> None:
    project = judged_project(200)
    plan = draw_plan(project, budget=Budget.parse("40%"), audit_share=0.2)
    apply_plan(plan)
    audited = [route.pair for route in plan.routes.filter(source=RouteSource.AUDIT).select_related("pair")]
    unlikely = [
        route.pair
        for route in plan.routes.filter(source=RouteSource.AUDIT, selection_prob__lt=0.5).select_related("pair")
    ]
    # 15 answers without an error are enough for "at most 15 %" where one looks once.
    answer_pairs(unlikely[:16], ["a"] * 16, origin=Origin.LIVE)
    early = guarantee_of(plan)
    assert (early.threshold, early.tested) == (None, 16)
    assert early.needed == len(unlikely) - 16 > 0
    assert early.note == f"too few labels (16 audited answers; {early.needed} are still to come)"
    answer_pairs(
        [pair for pair in audited if pair not in unlikely[:16]], ["a"] * (len(audited) - 16), origin=Origin.LIVE
    )
    assert guarantee_of(plan).threshold is not None
    assert guarantee_of(plan).delta == 0.1


# --- Signals --------------------------------------------------------------------------------------------------------


def mirrored_world(turned: bool, n: int = 60) -> pd.DataFrame:
    """Return the signals of n pairs about a judge; `turned` has every other pair stored the other way round."""
    rng = np.random.default_rng(4)
    texts = [" ".join(["word", "- point", "12", "I cannot help", "other"][: int(k)]) for k in rng.integers(0, 6, n * 2)]
    pairs, verdicts, preferences = [], [], []
    for number in range(n):
        names = [f"m{int(k)}" for k in rng.choice(4, 2, replace=False)]
        sides = [texts[2 * number], texts[2 * number + 1]]
        records = [f"r{int(k)}" for k in rng.choice(30, 2, replace=False)]
        flip = turned and number % 2 == 0
        if flip:
            names, sides, records = names[::-1], sides[::-1], records[::-1]
        said = [[{"role": "user", "content": text}] for text in ("Why? List 3.", *sides)]
        pairs.append(PairTexts(f"p{number}", f"g{number % 20}", said[0], "en", said[1], said[2], *names, *records))
        for judge in ("gpt", "claude", "bard"):
            orders = ["ab", "ba"] if rng.random() < 0.7 else ["ab"]
            chosen = {order: str(rng.choice(["a", "b", "tie"])) for order in orders}
            p = float(rng.choice([0.125, 0.25, 0.5, 0.75, 0.875]))
            # Multiples of an eighth are exact, and so is what is left of 1.
            whole = "a" if p > 0.5 else "b" if p < 0.5 else "tie"
            scores = [float(k) for k in rng.integers(1, 8, 2)]
            of = {"pair_id": f"p{number}", "version_id": f"{judge}-v1", "judge": judge}
            for order, choice in chosen.items():
                kept = {**of, "order": order, "choice": choice, "prob_a": np.nan, "label_mass": 0.9}
                kept |= {"score_a": scores[0], "score_b": scores[1]}
                if flip:
                    kept |= {"order": TURNED[order], "choice": TURNED[choice]}
                    kept |= {"score_a": scores[1], "score_b": scores[0]}
                verdicts.append(kept)
            answer = {**of, "choice": whole, "prob_a": p}
            preferences.append(answer | {"choice": TURNED[whole], "prob_a": 1 - p} if flip else answer)
    measures = measure_texts(pairs)
    return build_signals(measures, pd.DataFrame(verdicts), pd.DataFrame(preferences), ["gpt-v1"])


def test_which_side_a_response_is_stored_on_changes_no_signal_and_no_p_wrong() -> None:
    one, other = mirrored_world(turned=False), mirrored_world(turned=True)
    assert len(one.columns) > 30
    pd.testing.assert_frame_equal(one, other, rtol=0, atol=1e-12)
    wrong, groups = np.arange(60) % 3 == 0, np.array([f"g{number % 20}" for number in range(60)], dtype=object)
    first, second = (fit_predictor(frame, wrong, groups, folds=3) for frame in (one, other))
    assert first.out_of_fold == pytest.approx(second.out_of_fold, abs=1e-6)


def test_what_people_said_of_a_pair_reaches_none_of_its_signals_by_way_of_a_learned_baseline() -> None:
    def message(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": text}]

    measures = measure_texts(
        PairTexts(f"p{k}", f"g{k}", message("Why?"), "en", message("one"), message("two"), "m1", "m2") for k in range(4)
    )

    def signals(elsewhere: float) -> pd.Series:
        # The baseline is fitted without a pair's own group: the pair's answer moves what it says of other pairs.
        rows = [("gpt", f"p{k}", 0.75) for k in range(4)] + [("claude", f"p{k}", 0.25) for k in range(4)]
        rows += [("learned", "p0", 0.6)] + [("learned", f"p{k}", elsewhere) for k in range(1, 4)]
        preferences = pd.DataFrame(
            [
                {
                    "pair_id": pair,
                    "version_id": f"{judge}-v1",
                    "judge": judge,
                    "order": "",
                    "choice": "a" if p > 0.5 else "b",
                    "prob_a": p,
                    "score_a": np.nan,
                    "score_b": np.nan,
                    "label_mass": np.nan,
                }
                for judge, pair, p in rows
            ]
        )
        frame = build_signals(measures, preferences.iloc[:0], preferences, ["gpt-v1"], learned=["learned"])
        return frame.T["p0"]

    pd.testing.assert_series_equal(signals(0.6), signals(0.95))
