import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from annotation.models import OutboxEvent, Pair, Preference, Project
from judges import working
from judges.capabilities import capabilities_of
from judges.defining import add_judge
from judges.errors import JudgeError
from judges.models import JudgeRun, JudgeVersion, Order, RunPurpose, RunState, Verdict, VerdictState
from judges.options import Options
from judges.questions import Answer, Question
from judges.running import (
    finish_if_done,
    judge_chunk,
    pause,
    progress_of,
    resume,
    retry_failed,
    start_explaining,
    start_run,
    sweep,
    unfinished_run,
    work_off,
)
from judges.working import Claim, Work, claim, give_back, questions_of, release_expired, store_answers
from tests.builders import make_pair, make_project, make_prompt
from tests.judge_server import Call, JudgeServer, Served, failure, many, prefer_longer, verdict

pytestmark = pytest.mark.django_db

PRICES: dict[str, Any] = {"price_input_usd_per_million": Decimal(1), "price_output_usd_per_million": Decimal(2)}
NOWHERE = "http://127.0.0.1:9/v1"


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with JudgeServer() as started:
        yield started


def project_with(pairs: int = 3) -> Project:
    project = make_project(with_people=False)
    for number in range(pairs):
        make_pair(project, response_a=f"long answer {number}", response_b=f"short {number}")
    return project


def judge_of(project: Project, base_url: str = NOWHERE, name: str = "stub", **overrides: Any) -> JudgeVersion:
    return add_judge(project, name, **{"kind": "openai", "base_url": base_url, "model": "m", **overrides})


def waiting_run(pairs: int = 3, **overrides: Any) -> JudgeRun:
    return start_run(judge_of(project_with(pairs), **overrides), send=False)


def take_all(run: JudgeRun, amount: Decimal = Decimal(0)) -> list[Claim]:
    ids = run.verdicts.order_by("pair_id", "order").values_list("pk", flat=True)
    return claim(run, [(verdict_id, amount) for verdict_id in ids]).held


def answers_to(claims: Sequence[Claim], **values: Any) -> list[Answer]:
    return [Answer(one.verdict_id, **{"choice": "a", "prob_a": 0.9, **values}) for one in claims]


# --- Claiming -------------------------------------------------------------------------------------------------------


def test_claim_takes_as_many_as_the_money_reaches_and_reserves_no_more() -> None:
    run = start_run(judge_of(project_with(3), **PRICES), budget_usd=Decimal("0.035"), send=False)
    ids = list(run.verdicts.order_by("pair_id", "order").values_list("pk", flat=True))
    claims = claim(run, [(verdict_id, Decimal("0.01")) for verdict_id in ids])
    assert ([one.verdict_id for one in claims.held], claims.affordable, claims.running) == (ids[:3], 3, True)
    run.refresh_from_db()
    assert run.reserved_usd == Decimal("0.03")
    again = claim(run, [(verdict_id, Decimal("0.01")) for verdict_id in ids[3:]])
    assert (again.held, again.affordable, again.running) == ([], 0, True)


def test_claim_pays_nothing_for_what_another_worker_holds() -> None:
    run = waiting_run(2, **PRICES)
    first = take_all(run, Decimal("0.01"))
    second = claim(run, [(one.verdict_id, Decimal("0.01")) for one in first])
    assert (len(first), second.held, second.affordable) == (4, [], 4)
    run.refresh_from_db()
    assert run.reserved_usd == Decimal("0.04")


def test_paused_run_gives_no_verdict() -> None:
    run = waiting_run()
    pause(run)
    ids = run.verdicts.values_list("pk", flat=True)
    claims = claim(run, [(verdict_id, Decimal(0)) for verdict_id in ids])
    assert (claims.held, claims.running) == ([], False)


def test_what_was_claimed_and_not_asked_goes_back_as_if_it_had_not_been_claimed() -> None:
    run = waiting_run(1, **PRICES)
    held = take_all(run, Decimal("0.01"))
    assert give_back(run, held) == 2
    run.refresh_from_db()
    assert run.reserved_usd == 0
    assert {(one.state, one.attempts, one.reserved_usd) for one in run.verdicts.all()} == {("pending", 0, Decimal(0))}
    assert give_back(run, held) == 0


def test_questions_show_each_order_as_the_judge_will_see_it() -> None:
    project = make_project(with_people=False)
    prompt = make_prompt(project, "Why?", context="a story", reference="because", group="g")
    make_pair(project, prompt=prompt, response_a="yes", response_b="no")
    run = start_run(judge_of(project), send=False)
    ids = list(run.verdicts.order_by("order").values_list("pk", flat=True))
    ab, ba = questions_of(run.version, ids)
    assert [(one.order, one.first, one.second, one.attempt) for one in (ab, ba)] == [
        ("ab", "yes", "no", 1),
        ("ba", "no", "yes", 1),
    ]
    assert (ab.context, ab.reference, ab.group) == ("a story", "because", "g")
    assert ab.prompt is ba.prompt
    rating = start_run(judge_of(project, name="rater", protocol="rating"), send=False)
    ids = list(rating.verdicts.order_by("order").values_list("pk", flat=True))
    alone = questions_of(rating.version, ids)
    assert [(one.order, one.first, one.second) for one in alone] == [("a", "yes", ""), ("b", "no", "")]


# --- Storing --------------------------------------------------------------------------------------------------------


def test_storing_many_answers_takes_as_many_statements_as_storing_two() -> None:
    counts = []
    for pairs in (1, 30):
        run = waiting_run(pairs, name=f"judge of {pairs}", **PRICES) if pairs == 1 else None
        run = run or start_run(judge_of(project_named(f"p{pairs}", pairs), **PRICES), send=False)
        claims = take_all(run, Decimal("0.01"))
        answers = answers_to(claims, cost_usd=Decimal("0.001"))
        with CaptureQueriesContext(connection) as queries:
            states = store_answers(run, run.version, claims, answers)
        assert set(states.values()) == {VerdictState.DONE}
        assert Preference.objects.filter(rater=run.version.rater).count() == pairs
        counts.append(len(queries))
    # SQLite takes a thousand values a statement: the thirty pairs need a second one in places.
    assert counts[0] <= counts[1] <= counts[0] + 3 <= 14


def project_named(slug: str, pairs: int) -> Project:
    project = make_project(slug, with_people=False)
    for number in range(pairs):
        make_pair(project, response_a=f"long answer {number}", response_b=f"short {number}")
    return project


def test_answer_that_cannot_be_stored_fails_alone() -> None:
    run = waiting_run(2, **PRICES)
    claims = take_all(run, Decimal("0.01"))
    answers = answers_to(claims, cost_usd=Decimal("0.001"))
    answers[1] = answers[1]._replace(prob_a=7.0)
    states = store_answers(run, run.version, claims, answers)
    assert Counter(states.values()) == {VerdictState.DONE: 3, VerdictState.FAILED: 1}
    poison = run.verdicts.get(pk=claims[1].verdict_id)
    assert "cannot be stored" in poison.error
    run.refresh_from_db()
    # What it cost is not known to the database, so all that was reserved for it is booked.
    assert (run.spent_usd, run.reserved_usd) == (Decimal("0.013"), Decimal(0))


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_workers_that_finish_both_orders_at_once_settle_every_pair() -> None:
    run = waiting_run(20)
    claims = take_all(run)
    orders = dict(run.verdicts.values_list("pk", "order"))
    start = threading.Barrier(2)

    def finish(order: str, *, backwards: bool) -> None:
        mine = [one for one in claims if orders[one.verdict_id] == order]
        mine = mine[::-1] if backwards else mine
        try:
            start.wait()
            for place in range(0, len(mine), 5):
                store_answers(run, run.version, mine[place : place + 5], answers_to(mine[place : place + 5]))
        finally:
            connection.close()

    threads = [
        threading.Thread(target=finish, args=(order,), kwargs={"backwards": order == "ba"}) for order in ("ab", "ba")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert run.verdicts.filter(state=VerdictState.DONE).count() == 40
    assert Preference.objects.filter(rater=run.version.rater).count() == 20


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_answers_wait_for_a_database_that_drops_the_connection(server: JudgeServer) -> None:
    run = waiting_run(2, base_url=server.base_url)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]

    def drop_and_answer(call: Call) -> Served:
        if call.number == 1:
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
            finally:
                connection.close()
        return prefer_longer(call)

    server.behave = drop_and_answer
    report = work_off(run)
    assert (report.done, len(server.calls)) == (4, 4)


# --- Asking ---------------------------------------------------------------------------------------------------------


def test_response_in_many_pairs_is_rated_once() -> None:
    project = make_project(with_people=False)
    prompt = make_prompt(project, "Which?")
    for number in range(4):
        make_pair(project, prompt=prompt, response_a="the same in all", response_b=f"other {number}")
    with JudgeServer(lambda call: verdict(text='{"rationale": "", "score": 7}')) as server:
        run = start_run(judge_of(project, server.base_url, protocol="rating", **PRICES), send=False)
        report = work_off(run)
    assert (report.done, len(server.calls)) == (8, 5)
    kept = run.verdicts.filter(from_cache=True)
    assert kept.count() == 3
    assert {(one.score_a, one.cost_usd, one.order) for one in kept} == {(7.0, Decimal(0), "a")}
    assert report.spent_usd == 5 * Decimal("0.00014")


def test_kept_answers_cost_and_reserve_nothing_and_fresh_runs_ask_anyway(server: JudgeServer) -> None:
    project = project_with(2)
    work_off(start_run(judge_of(project, server.base_url), send=False))
    assert len(server.calls) == 4
    # Another judge that asks the same.
    twin = judge_of(project, server.base_url, name="twin", **PRICES)
    run = start_run(twin, budget_usd=Decimal("0.000002"), send=False)
    report = work_off(run)
    assert (report.done, report.spent_usd, len(server.calls)) == (4, Decimal(0), 4)
    assert set(run.verdicts.values_list("from_cache", flat=True)) == {True}
    assert Preference.objects.filter(rater=twin.rater, choice="a").count() == 2
    third = judge_of(project, server.base_url, name="third")
    work_off(start_run(third, send=False, fresh=True))
    assert len(server.calls) == 8


def test_samples_are_asked_paid_and_summed_up_and_seeds_differ() -> None:
    texts = {0: "first", 1: "first", 2: "second"}

    def behave(call: Call) -> Served:
        return verdict(texts[call.body["seed"] - 5], confidence=100)

    with JudgeServer(behave) as server:
        version = judge_of(
            project_with(1),
            server.base_url,
            options=Options(samples=3),
            sampling={"seed": 5, "temperature": 1},
            **PRICES,
        )
        report = work_off(start_run(version, budget_usd=Decimal(1), send=False))
    assert (report.done, len(server.calls)) == (2, 6)
    ab = Verdict.objects.get(version=version, order="ab")
    assert (ab.samples, ab.choice) == (3, "a")
    assert ab.prob_a is not None
    assert 0.5 < ab.prob_a < 1.0
    assert report.spent_usd == 6 * Decimal("0.00014")


def test_neighbours_go_in_one_request_where_the_server_takes_many(server: JudgeServer, settings: Settings) -> None:
    settings.JUDGE_CONVERSATIONS_A_REQUEST = 8
    server.routes["POST /v1/chat/completions/batch"] = many(prefer_longer)
    version = judge_of(project_with(10), server.base_url, **PRICES)
    capabilities_of(version, server.base_url).many = True
    run = start_run(version, send=False)
    report = work_off(run)
    assert (report.done, report.spent_usd) == (20, 20 * Decimal("0.00014"))
    # Sixteen requests are allowed at once, so all went at once: two full ones and the rest.
    assert sorted(len(call.body["messages"]) for call in server.others) == [4, 8, 8]
    assert server.calls == []
    assert Preference.objects.filter(rater=version.rater, choice="a").count() == 10


# --- Runs -----------------------------------------------------------------------------------------------------------


def test_reasons_are_asked_once_for_the_preferences_there_are() -> None:
    project = project_with(2)
    longer = {True: verdict(text='{"choice": "A"}'), False: verdict(text='{"choice": "B"}')}
    with JudgeServer(lambda call: longer[len(call.first) > len(call.second)]) as server:
        version = judge_of(project, server.base_url, protocol="letter", options=Options(rationale="later"))
        work_off(start_run(version, limit=1, send=False))
        server.behave = lambda call: verdict(text='{"rationale": "It is longer.", "choice": "first"}')
        run = start_explaining(version, project.pairs.all(), send=False)
        report = work_off(run)
        assert start_explaining(version, project.pairs.all(), send=False).state == RunState.DONE
    assert (run.purpose, report.done, report.failed) == (RunPurpose.EXPLAIN, 1, 0)
    why = run.verdicts.get()
    assert (why.order, why.choice, why.rationale) == (Order.WHY, "a", "It is longer.")
    preference = Preference.objects.get(rater=version.rater, is_current=True)
    assert (preference.choice, preference.rationale, preference.rationale_timing) == ("a", "It is longer.", "after")


def test_rule_gives_no_reasons() -> None:
    project = project_with(1)
    with pytest.raises(JudgeError, match="gives no reasons"):
        start_explaining(add_judge(project, "longer", kind="length"), project.pairs.all())


def test_progress_counts_predicts_and_names_the_reasons() -> None:
    run = waiting_run(5, **PRICES)
    claims = take_all(run, Decimal("0.01"))
    good = answers_to(claims[:4], cost_usd=Decimal("0.001"), seconds=0.5)
    bad = [Answer(one.verdict_id, error="No.", cost_usd=Decimal("0.001")) for one in claims[4:6]]
    store_answers(run, run.version, claims[:6], [*good, *bad])
    progress = progress_of(run)
    assert (progress.done, progress.failed, progress.open, progress.from_cache) == (4, 2, 4, 0)
    assert (progress.spent_usd, progress.predicted_usd) == (Decimal("0.006"), Decimal("0.01"))
    assert (progress.p50_seconds, progress.p95_seconds) == (0.5, 0.5)
    assert progress.errors == [("No.", 2)]
    assert 0 < progress.rate_per_second <= 6
    assert progress.seconds_left == pytest.approx(4 / progress.rate_per_second)
    with CaptureQueriesContext(connection) as queries:
        progress_of(run)
    assert len(queries) == 4


def test_run_that_ends_is_published_once(server: JudgeServer) -> None:
    run = waiting_run(1, base_url=server.base_url)
    work_off(run)
    finish_if_done(run)
    sweep(now=timezone.now())
    assert [event.payload for event in OutboxEvent.objects.filter(topic="judge_run_finished")] == [
        {"run_id": str(run.pk)}
    ]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_run_is_not_done_while_questions_are_being_put_back() -> None:
    with JudgeServer(lambda call: failure(400)) as server:
        run = waiting_run(1, base_url=server.base_url)
        work_off(run)
    JudgeRun.objects.filter(pk=run.pk).update(state=RunState.RUNNING)
    done: list[bool] = []

    def finish() -> None:
        try:
            done.append(finish_if_done(JudgeRun.objects.get(pk=run.pk)))
        finally:
            connection.close()

    other = threading.Thread(target=finish)
    with transaction.atomic():
        assert retry_failed(run, send=False) == 2
        # It sees nothing open, and must wait for this transaction before it may say so.
        other.start()
        other.join(timeout=1.0)
        assert done == []
    other.join(timeout=30)
    assert done == [False]


def test_only_the_named_failures_are_asked_again() -> None:
    with JudgeServer(lambda call: failure(400)) as server:
        run = waiting_run(2, base_url=server.base_url)
        work_off(run)
        one = run.verdicts.order_by("pk")[0]
        server.behave = prefer_longer
        assert retry_failed(run, verdict_ids=[one.pk], send=False) == 1
        run.refresh_from_db()
        report = work_off(run)
    assert (report.done, report.failed) == (1, 3)
    one.refresh_from_db()
    assert one.state == VerdictState.DONE


def test_member_of_a_jury_is_paid_by_its_parent_and_stops_with_it(server: JudgeServer) -> None:
    project = project_with(1)
    parent = start_run(judge_of(project, name="parent", **PRICES), budget_usd=Decimal("0.1"), send=False)
    child = start_run(judge_of(project, server.base_url, name="child", **PRICES), parent=parent, send=False)
    assert child.budget_usd is None
    pause(parent)
    assert work_off(child).done == 0
    child.refresh_from_db()
    assert child.state == RunState.PAUSED
    resume(parent, send=False)
    child.refresh_from_db()
    assert child.state == RunState.RUNNING
    Work(child, list(child.verdicts.values_list("pk", flat=True))).do()
    parent.refresh_from_db()
    child.refresh_from_db()
    assert (parent.spent_usd, parent.reserved_usd) == (Decimal("0.00028"), Decimal(0))
    assert (child.spent_usd, child.reserved_usd) == (Decimal(0), Decimal(0))
    assert progress_of(parent).done == 2


def test_pair_that_is_shown_as_an_example_is_not_asked() -> None:
    project = project_with(2)
    shown = Pair.objects.order_by("id")[0]
    version = judge_of(project)
    version.options = {"examples": [{"pair_id": str(shown.pk)}]}
    version.save()
    run = start_run(version, send=False)
    assert set(run.verdicts.values_list("pair_id", flat=True)) == set(
        Pair.objects.exclude(pk=shown.pk).values_list("pk", flat=True)
    )


def test_run_whose_judge_failed_stays_paused_with_its_reason_although_nothing_is_open() -> None:
    with JudgeServer(lambda call: failure(401)) as server:
        run = waiting_run(3, base_url=server.base_url)
        report = work_off(run)
        assert (report.state, report.failed) == (RunState.PAUSED, 6)
        assert "TIEBREAK_JUDGE_KEYS" in report.reason
        server.behave = prefer_longer
        assert unfinished_run(run.version) == run
        report = work_off(resume(run, send=False))
    assert (report.done, report.state) == (6, RunState.DONE)


def test_questions_under_way_when_a_worker_died_are_asked_one_by_one() -> None:
    most = under_way = 0
    lock = threading.Lock()

    def behave(call: Call) -> Served:
        nonlocal most, under_way
        with lock:
            under_way += 1
            most = max(most, under_way)
        served = prefer_longer(call)
        threading.Event().wait(0.02)
        with lock:
            under_way -= 1
        return served

    with JudgeServer(behave) as server:
        run = waiting_run(3, base_url=server.base_url)
        run.verdicts.update(attempts=1)
        judge_chunk(run.pk, list(run.verdicts.values_list("pk", flat=True)))
    assert (most, len(server.calls)) == (1, 6)


# --- Late, twice and across -----------------------------------------------------------------------------------------


def ask_again(run: JudgeRun, claims: Sequence[Claim]) -> list[Claim]:
    """Let the leases run out and claim the same verdicts anew."""
    release_expired(now=timezone.now() + timedelta(hours=2))
    return claim(run, [(one.verdict_id, Decimal("0.01")) for one in claims]).held


def books_of(run: JudgeRun) -> Decimal:
    rows = run.verdicts.all()
    return sum(((one.cost_usd or 0) + Decimal(one.meta.get("lost_usd", "0")) for one in rows), Decimal(0))


def test_late_answer_to_a_question_that_failed_meanwhile_keeps_what_the_failure_cost() -> None:
    run = waiting_run(1, **PRICES)
    first = take_all(run, Decimal("0.01"))
    second = ask_again(run, first)
    refusals = [Answer(one.verdict_id, error="no", raw="x", cost_usd=Decimal("0.003")) for one in second]
    store_answers(run, run.version, second, refusals)
    store_answers(run, run.version, first, answers_to(first, cost_usd=Decimal("0.002")))
    run.refresh_from_db()
    assert {one.state for one in run.verdicts.all()} == {VerdictState.DONE}
    assert (run.spent_usd, run.reserved_usd) == (Decimal("0.026"), Decimal(0))
    assert books_of(run) == run.spent_usd


def test_two_late_answers_do_not_hide_what_is_reserved_for_a_third_call() -> None:
    run = waiting_run(1, **PRICES)
    first = take_all(run, Decimal("0.01"))
    second = ask_again(run, first)
    ask_again(run, second)
    for late in (first, second):
        store_answers(run, run.version, late, answers_to(late))
    release_expired(now=timezone.now() + timedelta(hours=2))
    run.refresh_from_db()
    assert (run.spent_usd, run.reserved_usd) == (Decimal("0.06"), Decimal(0))
    assert books_of(run) == run.spent_usd


@pytest.mark.django_db(transaction=True)
def test_reading_waits_for_the_database_while_calls_are_under_way(
    server: JudgeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []

    def away_once(*arguments: Any, **named: Any) -> list[Question]:
        reads.append(1)
        if len(reads) == 2:
            raise OperationalError("the connection is closed")
        return questions_of(*arguments, **named)

    monkeypatch.setattr(working, "questions_of", away_once)
    monkeypatch.setattr(working, "READ_BATCH", 4)
    run = start_run(judge_of(project_with(4), server.base_url), send=False)
    report = work_off(run)
    assert (report.done, len(server.calls)) == (8, 8)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_workers_of_a_rule_whose_batches_cross_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    run = start_run(add_judge(project_with(4), "length", kind="length"), send=False)
    ids = list(run.verdicts.order_by("pair_id").values_list("pk", flat=True))
    both, met, errors = threading.Barrier(2), threading.local(), list[Exception]()

    def claim_and_wait(*arguments: Any) -> Any:
        claims = claim(*arguments)
        if not getattr(met, "once", False):
            met.once = True
            both.wait(timeout=30)
        return claims

    monkeypatch.setattr(working, "READ_BATCH", 2)
    monkeypatch.setattr(working, "claim", claim_and_wait)

    def work(mine: Sequence[Any]) -> None:
        try:
            Work(run, mine).do()
        except OperationalError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(mine,)) for mine in (ids, ids[2:] + ids[:2])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert errors == []
    assert run.verdicts.filter(state=VerdictState.DONE).count() == 4


# --- The order of questions -------------------------------------------------------------------------------------------


def test_questions_that_share_a_prefix_follow_each_other(server: JudgeServer, settings: Settings) -> None:
    settings.JUDGE_CONCURRENCY = 1
    project = make_project(with_people=False)
    prompts = [make_prompt(project, f"Question {number}?") for number in range(3)]
    for number in range(3):
        # Pairs of the same prompt are imported apart from each other.
        for prompt in prompts:
            make_pair(project, prompt=prompt, response_a=f"long answer {number}", response_b=f"short {number}")
    work_off(start_run(judge_of(project, server.base_url), send=False))
    asked = [
        (re.findall(r"Question \d", str(call.body["messages"][-1]["content"]))[0], {call.first, call.second})
        for call in server.calls
    ]
    assert len(asked) == 18
    prompts_in_turn = [prompt for prompt, _ in asked]
    assert [len(list(group)) for _, group in groupby(prompts_in_turn)] == [6, 6, 6]
    assert all(asked[place] == asked[place + 1] for place in range(0, 18, 2))
