"""Juries and cascades: judges that answer from what other judges of the project answer."""

import itertools
import math
import random
import threading
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from annotation.models import Pair, Preference, Project
from judges.combining import (
    Said,
    advance,
    asked_versions,
    combined_answers,
    fit_weights,
    is_unsure,
    member_ids,
    members_of,
)
from judges.defining import add_judge
from judges.errors import JudgeError
from judges.models import JudgeRun, JudgeVersion, RunState, Verdict, VerdictState
from judges.options import Options
from judges.questions import Answer, Question
from judges.running import judge_chunk, pause, resume, retry_failed, start_run, sweep, work_off
from tests.builders import make_pair, make_preference, make_project
from tests.judge_server import Behaviour, Call, JudgeServer, Served, failure, prefer_longer, verdict
from tests.judged import make_judge

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]

PRICES: dict[str, Any] = {"price_input_usd_per_million": Decimal(1), "price_output_usd_per_million": Decimal(2)}


def say(version: JudgeVersion, pair: Pair, prob_a: float, choice: str = "", **meta: Any) -> Preference:
    chosen = choice or ("a" if prob_a > 0.5 else "b" if prob_a < 0.5 else "tie")
    rationale = meta.pop("rationale", "")
    return make_preference(
        pair,
        version.rater,
        chosen,
        prob_a=prob_a,
        rationale=rationale,
        shown_order="ba" if rationale else "",
        meta=meta,
    )


def question(pair: Pair, group: str = "") -> Question:
    return Question(None, pair.prompt.messages, "", "", "", pair_id=pair.pk, group=group)


def panel(project: Project, n: int = 3) -> list[JudgeVersion]:
    return [make_judge(project, f"judge {number}") for number in range(n)]


def jury(members: list[JudgeVersion], **options: Any) -> JudgeVersion:
    ids = tuple(str(member.pk) for member in members)
    return add_judge(members[0].judge.project, "panel", kind="jury", options=Options(members=ids, **options))


def cascade(first: JudgeVersion, second: JudgeVersion, **options: Any) -> JudgeVersion:
    ids = (str(first.pk), str(second.pk))
    return add_judge(first.judge.project, "cheap first", kind="cascade", options=Options(members=ids, **options))


def answer_of(version: JudgeVersion, pair: Pair, group: str = "") -> Answer:
    (answer,) = combined_answers(version, [question(pair, group)])
    return answer


def served(server: JudgeServer, project: Project, name: str, **overrides: Any) -> JudgeVersion:
    return add_judge(project, name, **{"kind": "openai", "base_url": server.base_url, "model": name, **overrides})


def sure(confidence: int) -> Behaviour:
    """Return a judge that prefers the longer response, this confident."""

    def behave(call: Call) -> Served:
        return verdict("first" if len(call.first) > len(call.second) else "second", confidence=confidence)

    return behave


# --- Defining -------------------------------------------------------------------------------------------------------


def test_members_are_found_by_name_and_number() -> None:
    project = make_project()
    first, second = make_judge(project, "gpt"), make_judge(project, "gpt")
    assert member_ids(project, ["gpt", "gpt v1"]) == (str(second.pk), str(first.pk))
    with pytest.raises(JudgeError, match=r"no judge 'claude' in helpfulness to be a member. Judges: gpt"):
        member_ids(project, ["claude"])


def test_content_of_a_jury_is_its_members_and_its_rule() -> None:
    one, two, three = panel(make_project())
    version = jury([one, two])
    assert [member.pk for member in members_of(version)] == [one.pk, two.pk]
    assert (version.protocol, version.asks_both_orders) == ("jury", False)
    assert jury([one, two]).pk == version.pk
    assert len({version.pk, jury([two, one]).pk, jury([one, three]).pk, jury([one, two], rule="majority").pk}) == 4
    assert jury([one, two], tie=False, samples=3).pk == version.pk


@pytest.mark.parametrize(
    ("kind", "members", "match"),
    [
        ("jury", [0], "at least two members; 1 given"),
        ("jury", [0, 0], "each member once"),
        ("cascade", [0, 1, 2], "exactly two members"),
        ("jury", [0, "elsewhere"], "No judge of helpfulness has the version"),
        ("jury", [0, "nonsense"], "named by the id of a judge's version"),
    ],
)
def test_members_that_cannot_be_are_refused(kind: str, members: list[Any], match: str) -> None:
    own = panel(make_project())
    other = make_judge(make_project("other", with_people=False), "stranger")
    ids = {"elsewhere": str(other.pk), "nonsense": "gpt"}
    wanted = tuple(ids[one] if isinstance(one, str) else str(own[one].pk) for one in members)
    with pytest.raises(JudgeError, match=match):
        add_judge(own[0].judge.project, "panel", kind=kind, options=Options(members=wanted))


def test_weights_are_of_members_and_above_nothing() -> None:
    members = panel(make_project(), 2)
    with pytest.raises(JudgeError, match="no member"):
        jury(members, weights={"gpt": 1.0})
    with pytest.raises(JudgeError, match="takes a number above 0"):
        jury(members, weights={str(members[0].pk): -1})


def test_those_asked_for_a_jury_of_juries_are_each_named_once() -> None:
    one, two, three = panel(make_project())
    inner = jury([one, two])
    outer = add_judge(one.judge.project, "court", kind="cascade", options=Options(members=(str(inner.pk), str(two.pk))))
    both = add_judge(
        one.judge.project, "all", kind="jury", options=Options(members=(str(outer.pk), str(three.pk)), rule="majority")
    )
    assert [version.pk for version in asked_versions(both)] == [one.pk, two.pk, three.pk]


# --- Answering ------------------------------------------------------------------------------------------------------


def test_mean_of_probabilities_decides_and_says_who_said_what() -> None:
    project = make_project()
    pair, members = make_pair(project), panel(project)
    for member, prob_a in zip(members, (0.9, 0.8, 0.1), strict=True):
        say(member, pair, prob_a, rationale=f"reason of {prob_a}")
    answer = answer_of(jury(members), pair)
    assert (answer.choice, answer.error) == ("a", "")
    assert answer.prob_a == pytest.approx(0.6)
    assert answer.meta["members"] == {
        str(member.pk): {"judge": str(member), "choice": choice, "prob_a": prob_a}
        for member, choice, prob_a in zip(members, "aab", (0.9, 0.8, 0.1), strict=True)
    }
    assert answer.meta["disagree"] is True
    assert answer.meta["spread"] == pytest.approx(math.sqrt((0.09 + 0.04 + 0.25) / 3), abs=1e-6)
    # The reason of the surest that agrees, and the order it was written in.
    assert (answer.rationale, answer.meta["rationale_order"]) == ("reason of 0.9", "ba")
    assert answer.meta["rationale_from"] == str(members[0].pk)


def test_mean_near_one_half_is_a_tie_unless_all_chose_the_same() -> None:
    project = make_project()
    members = panel(project, 2)
    split, agreed = make_pair(project), make_pair(project)
    say(members[0], split, 0.6), say(members[1], split, 0.42)
    say(members[0], agreed, 0.51), say(members[1], agreed, 0.52)
    version = jury(members)
    assert answer_of(version, split).choice == "tie"
    assert answer_of(version, agreed).choice == "a"


def test_weights_move_the_mean() -> None:
    project = make_project()
    pair, members = make_pair(project), panel(project, 2)
    say(members[0], pair, 0.9), say(members[1], pair, 0.2)
    assert answer_of(jury(members), pair).prob_a == pytest.approx(0.55)
    heavy = jury(members, weights={str(members[1].pk): 3.0})
    assert answer_of(heavy, pair).prob_a == pytest.approx((0.9 + 3 * 0.2) / 4)
    assert answer_of(heavy, pair).choice == "b"


@pytest.mark.parametrize(
    ("choices", "choice", "prob_a"),
    [("aab", "a", 2 / 3), ("abb", "b", 1 / 3), ("att", "tie", 2 / 3), ("abt", "tie", 0.5), ("aat", "a", 5 / 6)],
)
def test_majority_counts_choices(choices: str, choice: str, prob_a: float) -> None:
    project = make_project()
    pair, members = make_pair(project), panel(project)
    for member, letter in zip(members, choices, strict=True):
        say(member, pair, 0.51 if letter == "a" else 0.01 if letter == "b" else 0.5)
    answer = answer_of(jury(members, rule="majority"), pair)
    assert answer.choice == choice
    assert answer.prob_a == pytest.approx(prob_a)


def test_jury_answers_from_two_and_not_from_one() -> None:
    project = make_project()
    pair, lonely, members = make_pair(project), make_pair(project), panel(project)
    say(members[0], pair, 0.9), say(members[1], pair, 0.7), say(members[2], pair, 0.5, choice="unsure")
    say(members[2], lonely, 0.9)
    version = jury(members)
    assert answer_of(version, pair).prob_a == pytest.approx(0.8)
    assert answer_of(version, lonely).error == (
        "1 of 3 members have an answer, and a jury needs 2: none from judge 0 v1, judge 1 v1."
    )


def test_swapping_the_responses_swaps_the_answer() -> None:
    project = make_project()
    pair, mirrored, members = make_pair(project), make_pair(project), panel(project)
    for member, prob_a in zip(members, (0.9, 0.3, 0.55), strict=True):
        say(member, pair, prob_a), say(member, mirrored, 1 - prob_a)
    for rule in ("mean", "majority"):
        version = jury(members, rule=rule)
        there, back = answer_of(version, pair), answer_of(version, mirrored)
        assert back.prob_a == pytest.approx(1 - (there.prob_a or 0.0))


@pytest.mark.parametrize(
    ("choice", "prob_a", "consistent", "prob_tie", "unsure"),
    [
        ("a", 0.81, True, None, False),
        ("a", 0.79, True, None, True),
        ("b", 0.19, None, None, False),
        ("b", 0.21, None, None, True),
        ("a", 0.99, False, None, True),
        ("tie", 0.5, True, None, False),
        ("tie", 0.5, None, None, True),
        ("tie", 0.5, None, 0.9, False),
        ("tie", 0.5, True, 0.6, True),
    ],
)
def test_cascade_asks_on_where_the_first_is_unsure_or_contradicts_itself(
    choice: str, prob_a: float, consistent: bool | None, prob_tie: float | None, unsure: bool
) -> None:
    assert is_unsure(Said(choice, prob_a, consistent, prob_tie, "", ""), 0.8) is unsure


def test_cascade_takes_the_first_where_sure_and_the_second_where_not() -> None:
    project = make_project()
    first, second = panel(project, 2)
    clear, doubtful, contradicted, silent, lost = (make_pair(project) for _ in range(5))
    say(first, clear, 0.95), say(second, clear, 0.1)
    say(first, doubtful, 0.6), say(second, doubtful, 0.1)
    say(first, contradicted, 0.9, consistent=False), say(second, contradicted, 0.2)
    say(second, silent, 0.3)
    say(first, lost, 0.6)
    version = cascade(first, second)
    answers = combined_answers(version, [question(one) for one in (clear, doubtful, contradicted, silent, lost)])
    assert [one.choice for one in answers] == ["a", "b", "b", "b", ""]
    assert [len(one.meta.get("asked", ())) for one in answers] == [1, 2, 2, 2, 0]
    assert answers[4].error == "judge 0 v1 is unsure and judge 1 v1 has no answer."
    assert cascade(first, second, unsure_below=0.5).pk != version.pk
    assert answer_of(cascade(first, second, unsure_below=0.5), doubtful).choice == "a"


def test_answers_of_a_thousand_questions_take_two_queries(django_assert_num_queries: Any) -> None:
    project = make_project()
    pairs, members = [make_pair(project) for _ in range(30)], panel(project)
    for pair, member in itertools.product(pairs, members):
        say(member, pair, 0.7)
    version = jury(members)
    with django_assert_num_queries(2):
        assert len(combined_answers(version, [question(pair) for pair in pairs])) == 30


# --- Learned weights ------------------------------------------------------------------------------------------------


def labelled_panel(n: int = 120) -> tuple[Project, list[JudgeVersion], list[Pair]]:
    """Return a good judge, a coin and a judge that is always wrong, on pairs that people decided."""
    rng = random.Random(7)
    project = make_project()
    members = panel(project)
    pairs = [make_pair(project, model_a=f"m{number}") for number in range(n)]
    for pair in pairs:
        people = rng.choice("ab")
        make_preference(pair, "person", people)
        right = 0.9 if people == "a" else 0.1
        say(members[0], pair, right if rng.random() < 0.85 else 1 - right)
        say(members[1], pair, rng.choice([0.1, 0.9]))
        say(members[2], pair, 1 - right if rng.random() < 0.8 else right)
    return project, members, pairs


def test_learned_jury_weighs_by_worth_and_never_judges_a_pair_by_its_own_label() -> None:
    _, members, pairs = labelled_panel()
    version = jury(members, rule="learned", tie_band=0.0)
    weights = [version.fitted["weights"][str(member.pk)] for member in members]
    assert weights[0] > 0.3
    assert abs(weights[1]) < 0.15
    assert weights[2] < -0.2
    assert (version.fitted["n"], version.fitted["groups"]) == (120, 120)
    assert version.fitted["cv_accuracy"] > 0.7
    pair = pairs[0]
    with_own, without = answer_of(version, pair), answer_of(version, pair, group=pair.prompt.group)
    assert with_own.prob_a != without.prob_a
    answers = combined_answers(version, [question(one, one.prompt.group) for one in pairs])
    people = dict(Preference.objects.filter(rater__name="person").values_list("pair_id", "choice"))
    right = sum(one.choice == people[pair.pk] for one, pair in zip(answers, pairs, strict=True))
    assert right / len(pairs) == pytest.approx(version.fitted["cv_accuracy"], abs=0.02)


def test_learned_jury_with_too_few_labels_says_how_many_there_are() -> None:
    project, members, pairs = labelled_panel(40)
    Preference.objects.filter(rater__name="person", pair__in=pairs[20:]).delete()
    with pytest.raises(JudgeError, match=r"needs 30 pairs .* too few labels \(20 of 30\)"):
        fit_weights(project, members)
    with pytest.raises(JudgeError, match="finds its weights itself"):
        jury(members, rule="learned", weights={str(members[0].pk): 1.0})


# --- Running --------------------------------------------------------------------------------------------------------


def project_with(pairs: int = 4) -> Project:
    project = make_project()
    for number in range(pairs):
        make_pair(project, response_a=f"a long answer {number}", response_b=f"short {number}")
    return project


def test_run_of_a_jury_asks_each_member_once_and_labels_the_pairs() -> None:
    with JudgeServer(prefer_longer) as server:
        project = project_with()
        members = [served(server, project, name) for name in ("one", "two")]
        run = start_run(jury(members), send=False)
        report = work_off(run)
    assert (report.done, report.failed, report.pending, report.state) == (4, 0, 0, RunState.DONE)
    assert len(server.calls) == 4 * 2 * 2
    assert JudgeRun.objects.filter(parent=run).count() == 2
    made = Preference.objects.filter(rater=run.version.rater, is_current=True)
    assert [one.choice for one in made] == ["a"] * 4
    assert [one.prob_a for one in made] == pytest.approx([0.9] * 4)
    advance(run)
    sweep(now=timezone.now())
    again = work_off(start_run(run.version, send=False))
    assert (again.done, len(server.calls), made.count()) == (0, 16, 4)


def test_judge_that_labelled_the_pairs_before_is_not_asked_again() -> None:
    with JudgeServer(prefer_longer) as server:
        project = project_with()
        cheap, strong = (served(server, project, name) for name in ("cheap", "strong"))
        work_off(start_run(cheap, send=False))
        work_off(start_run(jury([cheap, strong]), send=False))
    asked = [call.body["model"] for call in server.calls]
    assert (asked.count("cheap"), asked.count("strong")) == (8, 8)


def test_cascade_asks_the_second_only_about_what_the_first_is_unsure_of() -> None:
    def behave(call: Call) -> Served:
        if call.body["model"] == "strong":
            return prefer_longer(call)
        return sure(95 if "0" in call.first else 20)(call)

    with JudgeServer(behave) as server:
        project = project_with()
        version = cascade(*(served(server, project, name) for name in ("cheap", "strong")))
        report = work_off(start_run(version, send=False))
    asked = [call.body["model"] for call in server.calls]
    assert (report.done, report.state) == (4, RunState.DONE)
    assert (asked.count("cheap"), asked.count("strong")) == (8, 6)
    assert sorted(len(one.meta["asked"]) for one in Verdict.objects.filter(version=version)) == [1, 2, 2, 2]


def test_jury_of_a_cascade_runs_to_the_end_under_one_parent() -> None:
    with JudgeServer(sure(30)) as server:
        project = project_with(2)
        one, two, three = (served(server, project, name) for name in ("one", "two", "three"))
        outer = add_judge(
            project, "court", kind="jury", options=Options(members=(str(cascade(one, two).pk), str(three.pk)))
        )
        run = start_run(outer, send=False)
        report = work_off(run)
    assert (report.done, report.state) == (2, RunState.DONE)
    assert set(JudgeRun.objects.exclude(pk=run.pk).values_list("parent", flat=True)) == {run.pk}
    assert not JudgeRun.objects.exclude(state=RunState.DONE).exists()
    assert len(server.calls) == 2 * 2 * 3


def test_member_that_fails_leaves_the_rest_and_the_failed_ones_can_be_asked_again() -> None:
    broken = True

    def behave(call: Call) -> Served:
        return verdict(text="I cannot say.") if broken and call.body["model"] != "one" else prefer_longer(call)

    with JudgeServer(behave) as server:
        project = project_with(2)
        run = start_run(jury([served(server, project, name) for name in ("one", "two", "three")]), send=False)
        report = work_off(run)
        assert (report.done, report.failed) == (0, 2)
        error = Verdict.objects.filter(version=run.version)[0].error
        assert error.startswith("1 of 3 members have an answer")
        broken = False
        retry_failed(run, send=False)
        report = work_off(run)
    assert (report.done, report.failed, report.state) == (2, 0, RunState.DONE)


def test_one_cap_holds_for_all_members_and_the_run_goes_on_with_more() -> None:
    with JudgeServer(prefer_longer) as server:
        project = project_with(6)
        version = jury(
            [served(server, project, name, sampling={"max_tokens": 64}, **PRICES) for name in ("one", "two")]
        )
        run = start_run(version, budget_usd=Decimal("0.004"), send=False)
        report = work_off(run)
        assert report.state == RunState.PAUSED
        assert "budget" in report.reason
        assert 0 < report.spent_usd <= Decimal("0.004")
        run.refresh_from_db()
        assert run.reserved_usd == 0
        resume(run, budget_usd=Decimal(1), send=False)
        report = work_off(run)
    assert (report.done, report.state) == (6, RunState.DONE)
    assert report.spent_usd == sum(one.cost_usd or 0 for one in Verdict.objects.all()) == Decimal("0.00014") * 24
    assert len(server.calls) == 24


def test_jury_with_a_member_of_unknown_price_takes_no_cap() -> None:
    with JudgeServer(prefer_longer) as server:
        project = project_with(1)
        version = jury([served(server, project, "priced", **PRICES), served(server, project, "unpriced")])
        with pytest.raises(JudgeError, match="The price of unpriced v1 is unknown"):
            start_run(version, budget_usd=Decimal(1), send=False)


def test_member_whose_server_refuses_pauses_the_jury_with_its_reason() -> None:
    def behave(call: Call) -> Served:
        return failure(401, "bad key") if call.body["model"] == "two" else prefer_longer(call)

    with JudgeServer(behave) as server:
        project = project_with(20)
        run = start_run(jury([served(server, project, name) for name in ("one", "two")]), send=False)
        report = work_off(run)
        assert report.state == RunState.PAUSED
        assert "two v1" in report.reason
        assert "401" in report.reason
        server.behave = prefer_longer
        report = work_off(resume(run, send=False))
    assert (report.done, report.failed, report.state) == (20, 0, RunState.DONE)


def test_jury_that_waits_for_a_paused_run_says_so() -> None:
    with JudgeServer(prefer_longer) as server:
        project = project_with(2)
        members = [served(server, project, name) for name in ("one", "two")]
        own = start_run(members[0], send=False)
        pause(own, "Not now.")
        run = start_run(jury(members), send=False)
        report = work_off(run)
        assert report.state == RunState.PAUSED
        assert report.reason == "It waits for one v1, whose own run is paused: Not now. Resume that run first."
        work_off(resume(own, send=False))
        assert work_off(resume(run, send=False)).done == 2


def test_recorded_members_are_heard_and_never_asked() -> None:
    project = project_with(2)
    recorded = panel(project)
    for pair, member in itertools.product(Pair.objects.all(), recorded):
        say(member, pair, 0.8, rationale="Because of the first.")
    rule = add_judge(project, "length", kind="length")
    run = start_run(jury([*recorded, rule]), send=False)
    report = work_off(run)
    assert (report.done, report.state) == (2, RunState.DONE)
    made = Preference.objects.filter(rater=run.version.rater)
    assert made[0].prob_a == pytest.approx((3 * 0.8 + 1) / 4)
    assert {(one.rationale, one.shown_order) for one in made} == {("Because of the first.", "ba")}


def test_workers_alone_bring_a_cascade_to_its_end() -> None:
    """Nobody calls `advance`: a member's run that ends does, and starts the second stage."""
    with JudgeServer(sure(20)) as server:
        project = project_with(3)
        run = start_run(cascade(*(served(server, project, name) for name in ("cheap", "strong"))), send=False)
        for name in ("cheap", "strong"):
            child = JudgeRun.objects.get(parent=run, version__judge__name=name)
            judge_chunk(child.pk, list(child.verdicts.values_list("pk", flat=True)))
    run.refresh_from_db()
    assert run.state == RunState.DONE
    assert Verdict.objects.filter(version=run.version, state=VerdictState.DONE).count() == 3
    assert len(server.calls) == 3 * 2 * 2


@pytest.mark.django_db(transaction=True)
def test_two_that_advance_at_once_ask_each_member_once() -> None:
    with JudgeServer(prefer_longer) as server:
        project = project_with(3)
        run = start_run(jury([served(server, project, name) for name in ("one", "two")]), send=False)
        JudgeRun.objects.filter(parent=run).delete()
        Verdict.objects.exclude(version=run.version).delete()
        barrier = threading.Barrier(4)
        failures: list[BaseException] = []

        def bring_on() -> None:
            try:
                mine = JudgeRun.objects.select_related("version__judge", "parent").get(pk=run.pk)
                barrier.wait(timeout=30)
                advance(mine, send=False)
            except BaseException as error:  # noqa: BLE001 - a thread's failure must reach the test
                failures.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=bring_on) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        assert failures == []
        assert JudgeRun.objects.filter(parent=run).count() == 2
        assert work_off(run).done == 3
    assert len(server.calls) == 3 * 2 * 2
