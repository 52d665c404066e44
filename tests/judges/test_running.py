import json
import os
import re
import signal
import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError, connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from annotation.models import Preference, Project
from judges import running
from judges.defining import add_judge
from judges.errors import JudgeError
from judges.models import JudgeRun, JudgeVersion, Order, RunState, Verdict, VerdictState
from judges.questions import Answer
from judges.running import RunReport, judge_chunk, pause, resume, retry_failed, send_waiting, start_run, sweep, work_off
from judges.working import MAX_ATTEMPTS, Claim, Work, claim, release_expired, store_answers
from tests.builders import make_pair, make_project, make_prompt
from tests.judge_server import Behaviour, Call, JudgeServer, Served, failure, prefer_first, prefer_longer, verdict

pytestmark = pytest.mark.django_db

PRICES: dict[str, Any] = {"price_input_usd_per_million": Decimal(1), "price_output_usd_per_million": Decimal(2)}
KEY = "sk-CANARY-0123456789abcdef"


def project_with(pairs: int = 3, **overrides: Any) -> Project:
    project = make_project(**overrides)
    for number in range(pairs):
        make_pair(project, response_a=f"long answer {number}", response_b=f"short {number}")
    return project


def judge_at(server: JudgeServer, project: Project, **overrides: Any) -> JudgeVersion:
    return add_judge(project, "stub", **{"kind": "openai", "base_url": server.base_url, "model": "m", **overrides})


def judged(behave: Behaviour, *, pairs: int = 3, **overrides: Any) -> tuple[JudgeRun, RunReport, JudgeServer]:
    """Run a judge with this behaviour over some pairs; return (run, report, server)."""
    with JudgeServer(behave) as server:
        run = start_run(judge_at(server, project_with(pairs), **overrides), send=False)
        report = work_off(run)
    return run, report, server


def costs_of(run: JudgeRun) -> list[Decimal]:
    return [one.cost_usd for one in run.verdicts.all() if one.cost_usd is not None]


def fail_once(served: Served) -> Behaviour:
    return lambda call: served if call.number == 1 else prefer_longer(call)


def test_each_pair_is_asked_in_both_orders_and_becomes_one_preference() -> None:
    run, report, server = judged(prefer_longer)
    assert (report.done, report.failed, report.pending, report.state) == (6, 0, 0, RunState.DONE)
    assert len(server.calls) == 6
    assert {(call.first, call.second) for call in server.calls if "0" in call.first} == {
        ("long answer 0", "short 0"),
        ("short 0", "long answer 0"),
    }
    for preference in Preference.objects.filter(rater=run.version.rater):
        assert preference.choice == "a"
        assert preference.prob_a == pytest.approx(0.9)
        assert preference.meta == {"consistent": True}
        assert preference.rationale == "It answers the question."
        assert preference.rationale_timing == "before"
        assert preference.shown_order in {"ab", "ba"}
    assert Preference.objects.filter(rater=run.version.rater).count() == 3


def test_verdicts_are_stored_in_the_stored_order_with_what_they_cost() -> None:
    run, _, _ = judged(prefer_longer, pairs=1, **PRICES)
    ab, ba = run.verdicts.order_by("order")
    assert (ab.order, ba.order) == (Order.AB, Order.BA)
    assert (ab.choice, ba.choice) == ("a", "a")
    assert ab.prob_a == ba.prob_a == pytest.approx(0.9)
    assert (ab.prompt_tokens, ab.completion_tokens, ab.answered_by) == (100, 20, "stub-model")
    assert ab.cost_usd == Decimal("0.00014")
    assert json.loads(ab.raw)["choice"] == "first"
    assert ab.meta["format"] == "json_schema"
    run.refresh_from_db()
    assert (run.spent_usd, run.reserved_usd) == (Decimal("0.00028"), Decimal(0))


def test_judge_that_prefers_what_stands_first_ends_at_a_tie_and_is_inconsistent() -> None:
    run, _, _ = judged(prefer_first, pairs=1)
    preference = Preference.objects.get(rater=run.version.rater)
    assert preference.choice == "tie"
    assert preference.prob_a == pytest.approx(0.5)
    assert preference.meta == {"consistent": False}
    assert preference.rationale == ""


def test_both_orders_of_a_pair_are_asked_one_after_the_other() -> None:
    _, _, server = judged(prefer_longer, pairs=4)
    shown = [frozenset((call.first, call.second)) for call in sorted(server.calls, key=lambda call: call.number)]
    # Sixteen calls may be under way at once, so neighbours may swap, but all orders of a pair stay close.
    for pair in set(shown):
        first, second = (index for index, one in enumerate(shown) if one == pair)
        assert second - first <= 7


def test_second_run_asks_only_what_was_not_asked() -> None:
    with JudgeServer() as server:
        project = project_with(2)
        version = judge_at(server, project)
        work_off(start_run(version, limit=1, send=False))
        assert len(server.calls) == 2
        again = start_run(version, send=False)
        assert again.verdicts.count() == 2
        work_off(again)
        assert len(server.calls) == 4
        assert start_run(version, send=False).state == RunState.DONE
    assert len(server.calls) == 4


@pytest.mark.parametrize(
    ("served", "words"),
    [
        (failure(401), "refused the key"),
        (failure(429, retry_after="99"), "HTTP 429"),
        (failure(418), "HTTP 418"),
        (verdict(text='{"choice": "fir', finish_reason="length"), "max_tokens=1024"),
        (Served(content=b"<html>"), "web page"),
        (Served(content=b'{"a": "' + b"x" * 10 * 1024**2 + b'"}'), "longer than"),
        (Served(307, headers=(("Location", "http://127.0.0.1:9/"),)), "redirects"),
    ],
)
def test_question_that_fails_keeps_its_reason_and_the_run_goes_on_and_it_can_be_asked_again(
    served: Served, words: str
) -> None:
    with JudgeServer(fail_once(served)) as server:
        run = start_run(judge_at(server, project_with(2)), send=False)
        report = work_off(run)
        assert (report.done, report.failed, report.state) == (3, 1, RunState.DONE)
        failed = run.verdicts.get(state=VerdictState.FAILED)
        assert words in failed.error
        assert Preference.objects.filter(rater=run.version.rater).count() == 1
        assert retry_failed(run, send=False) == 1
        report = work_off(run)
    assert (report.done, report.failed, report.state) == (4, 0, RunState.DONE)
    assert Preference.objects.filter(rater=run.version.rater).count() == 2
    assert len(server.calls) == 5


@pytest.mark.parametrize("served", [Served(content=verdict().content[:50]), Served(delay=30.0)], ids=["cut", "hang"])
def test_answer_that_may_have_been_paid_for_is_asked_again_by_itself(served: Served, settings: Settings) -> None:
    settings.JUDGE_TIMEOUT_SECONDS = 1.0
    run, report, server = judged(fail_once(served), pairs=1, **PRICES)
    assert (report.done, report.failed) == (2, 0)
    assert len(server.calls) == 3
    lost = [Decimal(one.meta.get("lost_usd", "0")) for one in run.verdicts.all()]
    assert sum(lost) > 0
    assert report.spent_usd == sum(lost) + sum(costs_of(run))


@pytest.mark.parametrize("text", ["I like the first.", "", "{}\x00\ud800"])
def test_answer_that_cannot_be_read_is_asked_for_once_more_and_then_fails_with_its_reason(text: str) -> None:
    run, report, server = judged(lambda call: verdict(text=text), pairs=1, **PRICES)
    assert (report.done, report.failed, len(server.calls)) == (0, 2, 4)
    assert report.reason.startswith("All 2 questions failed, 2 of them so: Gave up after 2 attempts: ")
    assert all(one.meta["unanswered"] == "unreadable" for one in run.verdicts.all())
    # Both calls were paid: the first as lost, the second as the failure's own cost.
    assert report.spent_usd == Decimal("0.00056")
    once = fail_once(verdict(text=text))
    with JudgeServer(once) as server:
        run.version.base_url = server.base_url
        run.version.save()
        assert retry_failed(run, send=False) == 2
        run = JudgeRun.objects.select_related("version__judge").get(pk=run.pk)
        assert work_off(run).done == 2
    assert len(server.calls) == 3


def test_question_that_never_ends_well_is_given_up_after_five_attempts() -> None:
    run, report, server = judged(lambda call: Served(content=b"{"), pairs=1)
    assert (report.done, report.failed) == (0, 2)
    assert len(server.calls) == 2 * MAX_ATTEMPTS
    for one in run.verdicts.all():
        assert one.error.startswith("Gave up after 5 attempts: The server's answer is cut off")


def test_server_that_refuses_the_key_pauses_the_run_and_resume_asks_everything_again() -> None:
    with JudgeServer(lambda call: failure(401)) as server:
        project = project_with(30)
        run = start_run(judge_at(server, project), send=False)
        report = work_off(run)
        assert report.state == RunState.PAUSED
        assert "TIEBREAK_JUDGE_KEYS" in report.reason
        assert report.pending > 0
        assert len(server.calls) < 60
        server.behave = prefer_longer
        report = work_off(resume(run, send=False))
    assert (report.done, report.failed, report.state) == (60, 0, RunState.DONE)


def test_paused_run_asks_nothing() -> None:
    with JudgeServer() as server:
        run = start_run(judge_at(server, project_with(1)), send=False)
        assert pause(run)
        report = work_off(run)
        assert (report.pending, report.state) == (2, RunState.PAUSED)
        assert server.calls == []
        assert work_off(resume(run, send=False)).done == 2


def test_host_that_is_not_allowed_any_more_is_not_asked(settings: Settings) -> None:
    with JudgeServer() as server:
        run = start_run(judge_at(server, project_with(1)), send=False)
        settings.JUDGE_HOSTS = ["api.openai.com"]
        report = work_off(run)
    assert report.state == RunState.PAUSED
    assert "TIEBREAK_JUDGE_HOSTS" in report.reason
    assert server.calls == []


@pytest.mark.parametrize(
    ("said", "format_used"), [("response_format is not supported", "json_object"), ("bad json_schema", "json_object")]
)
def test_server_without_json_schema_is_asked_in_a_simpler_form(said: str, format_used: str) -> None:
    def behave(call: Call) -> Served:
        if call.body.get("response_format", {}).get("type") == "json_schema":
            return failure(400, said)
        return prefer_longer(call)

    run, report, _ = judged(behave)
    assert report.done == 6
    assert {one.meta["format"] for one in run.verdicts.all()} == {format_used}


def test_server_without_any_format_is_asked_in_plain_text() -> None:
    def behave(call: Call) -> Served:
        return failure(422, "unexpected: response_format") if "response_format" in call.body else prefer_longer(call)

    run, report, _ = judged(behave, pairs=1)
    assert report.done == 2
    assert {one.meta["format"] for one in run.verdicts.all()} == {"text"}


def test_key_a_server_echoes_is_stored_nowhere(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")

    def echo(call: Call) -> Served:
        key = call.headers["authorization"].removeprefix("Bearer ")
        if call.number % 2:
            return verdict("first", rationale=f"Your key is {key}", model=key)
        return failure(400, f"bad key {key}")

    with JudgeServer(echo) as server:
        settings.JUDGE_KEYS = {"127.0.0.1": KEY}
        run = start_run(judge_at(server, project_with(2)), send=False)
        work_off(run)
    assert server.calls[0].headers["authorization"] == f"Bearer {KEY}"
    stored = json.dumps([list(run.verdicts.values()), list(Preference.objects.values())], default=str)
    stored += json.dumps(list(JudgeRun.objects.values()), default=str) + caplog.text
    assert "[key]" in stored
    assert not [KEY[start : start + 8] for start in range(len(KEY) - 7) if KEY[start : start + 8] in stored]


# --- Money ----------------------------------------------------------------------------------------------------------


def test_budget_without_a_price_is_refused() -> None:
    with JudgeServer() as server:
        version = judge_at(server, project_with(1))
        with pytest.raises(JudgeError, match="--price-in"):
            start_run(version, budget_usd=Decimal(1), send=False)
    assert not JudgeRun.objects.exists()


def test_unknown_price_leaves_the_cost_unknown() -> None:
    run, report, _ = judged(prefer_longer, pairs=1)
    assert report.spent_usd == 0
    assert [one.cost_usd for one in run.verdicts.all()] == [None, None]


def test_budget_is_never_passed_and_more_money_lets_the_run_go_on() -> None:
    with JudgeServer() as server:
        run = start_run(judge_at(server, project_with(20), **PRICES), budget_usd=Decimal("0.006"), send=False)
        report = work_off(run)
        assert report.state == RunState.PAUSED
        assert "The budget of $0.0060 is used up" in report.reason
        assert "the next call may cost up to $0.00" in report.reason
        run.refresh_from_db()
        assert run.reserved_usd == 0
        assert 0 < run.spent_usd <= Decimal("0.006")
        assert run.spent_usd == sum(costs_of(run))
        assert len(server.calls) == report.done
        assert not run.verdicts.filter(state=VerdictState.CLAIMED).exists()
        report = work_off(resume(run, budget_usd=Decimal(1), send=False))
    assert (report.done, report.state) == (40, RunState.DONE)
    assert len(server.calls) == 40


def test_answer_without_usage_is_booked_at_its_bound() -> None:
    run, report, _ = judged(lambda call: verdict("first", usage={"prompt_tokens": -1}), pairs=1, **PRICES)
    costs = costs_of(run)
    # At least the longest answer that was allowed: 1024 tokens at $2 a million.
    assert min(costs) > Decimal("0.002048")
    assert report.spent_usd == sum(costs)


def test_server_that_claims_more_tokens_than_possible_cannot_pass_the_cap() -> None:
    greedy = {"prompt_tokens": 50_000_000, "completion_tokens": 20}
    with JudgeServer(lambda call: verdict("first", usage=greedy)) as server:
        run = start_run(judge_at(server, project_with(1), **PRICES), budget_usd=Decimal("0.02"), send=False)
        report = work_off(run)
    assert report.state == RunState.PAUSED or report.pending == 0
    assert report.spent_usd <= Decimal("0.02")


def test_project_budget_for_models_caps_every_run() -> None:
    with JudgeServer() as server:
        project = project_with(2, models_budget_usd=Decimal("0.05"))
        version = judge_at(server, project, **PRICES)
        first = start_run(version, limit=1, budget_usd=Decimal("0.04"), send=False)
        second = start_run(version, send=False)
        assert (first.budget_usd, second.budget_usd) == (Decimal("0.04"), Decimal("0.01"))
        make_pair(project)
        with pytest.raises(JudgeError, match="budget for models"):
            start_run(version, send=False)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_four_threads_share_a_budget_and_ask_nothing_twice() -> None:
    if connection.vendor != "postgresql":
        pytest.fail("the marker promises PostgreSQL")
    with JudgeServer(latency=0.02) as server:
        run = start_run(judge_at(server, project_with(60), **PRICES), budget_usd=Decimal("0.01"), send=False)
        ids = list(run.verdicts.values_list("pk", flat=True))

        def work() -> None:
            try:
                Work(JudgeRun.objects.select_related("version__judge").get(pk=run.pk), ids).do()
            finally:
                connection.close()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
    run.refresh_from_db()
    done = run.verdicts.filter(state=VerdictState.DONE)
    assert run.reserved_usd == 0
    assert 0 < run.spent_usd <= Decimal("0.01")
    assert run.spent_usd == sum(costs_of(run))
    shown = [(call.first, call.second) for call in server.calls]
    assert len(shown) == len(set(shown)) == done.count()


# --- Leases ---------------------------------------------------------------------------------------------------------


def take(run: JudgeRun, verdict: Verdict, amount: Decimal = Decimal(0)) -> Claim | None:
    """Claim one verdict with an amount reserved."""
    held = claim(run, [(verdict.pk, amount)]).held
    return held[0] if held else None


def hold(run: JudgeRun, *, minutes_ago: float = 60.0, reserved: Decimal = Decimal(0)) -> Verdict:
    """Claim a verdict as a worker would that was then killed, and let its lease run out."""
    waiting: Verdict = run.verdicts.filter(state=VerdictState.PENDING).order_by("order")[0]
    assert take(run, waiting, reserved)
    run.verdicts.filter(pk=waiting.pk).update(lease_until=timezone.now() - timedelta(minutes=minutes_ago))
    return waiting


def test_killed_workers_verdict_is_asked_again_and_its_money_is_booked() -> None:
    with JudgeServer() as server:
        run = start_run(judge_at(server, project_with(1), **PRICES), budget_usd=Decimal("0.1"), send=False)
        held = hold(run, reserved=Decimal("0.01"))
        report = work_off(run)
    assert (report.done, report.state) == (2, RunState.DONE)
    held.refresh_from_db()
    assert (held.attempts, held.meta["lost_usd"]) == (2, "0.010000")
    assert report.spent_usd == Decimal("0.01") + sum(costs_of(run))


def test_live_lease_is_left_alone() -> None:
    with JudgeServer() as server:
        run = start_run(judge_at(server, project_with(1)), send=False)
        held = hold(run, minutes_ago=-60)
        report = work_off(run)
    assert (report.done, report.pending, report.state) == (1, 1, RunState.RUNNING)
    held.refresh_from_db()
    assert held.state == VerdictState.CLAIMED


def test_sweep_gives_up_after_five_lost_workers() -> None:
    with JudgeServer() as server:
        run = start_run(judge_at(server, project_with(1)), send=False)
        held = hold(run)
        Verdict.objects.filter(pk=held.pk).update(attempts=MAX_ATTEMPTS)
        sweep(now=timezone.now())
    held.refresh_from_db()
    assert held.state == VerdictState.FAILED
    assert held.error.startswith("Gave up after 5 attempts")


def test_sweep_sends_waiting_verdicts_once_a_lease_and_finishes_runs() -> None:
    with JudgeServer() as server:
        run = start_run(judge_at(server, project_with(2)), send=False)
        now = timezone.now()
        assert sweep(now=now) == 1
        assert sweep(now=now) == 0
        assert sweep(now=now + timedelta(hours=1)) == 1
        run.verdicts.update(state=VerdictState.FAILED, error="for the test")
        assert sweep(now=now) == 0
    run.refresh_from_db()
    assert run.state == RunState.DONE
    assert run.finished_at is not None


def test_answer_that_comes_after_its_lease_is_kept_because_it_was_paid_for() -> None:
    project = project_with(1)
    version = add_judge(project, "stub", kind="openai", base_url="http://127.0.0.1:9/v1", model="m", **PRICES)
    run = start_run(version, budget_usd=Decimal(1), send=False)
    waiting = run.verdicts.select_related("pair").get(order="ab")
    held = take(run, waiting, Decimal("0.01"))
    assert held
    assert release_expired(now=timezone.now() + timedelta(hours=1)) == 1
    late = Answer(waiting.pk, choice="a", prob_a=0.9, cost_usd=Decimal("0.004"))
    assert store_answers(run, version, [held], [late]) == {waiting.pk: VerdictState.DONE}
    waiting.refresh_from_db()
    run.refresh_from_db()
    assert waiting.choice == "a"
    # What the sweeper booked as lost is this call's cost now, and counted once.
    assert (waiting.cost_usd, Decimal(waiting.meta["lost_usd"])) == (Decimal("0.01"), Decimal(0))
    assert (run.spent_usd, run.reserved_usd) == (Decimal("0.01"), Decimal(0))


def test_second_answer_to_one_question_changes_nothing_but_the_books() -> None:
    project = project_with(1)
    version = add_judge(project, "stub", kind="openai", base_url="http://127.0.0.1:9/v1", model="m", **PRICES)
    run = start_run(version, send=False)
    first = take(run, run.verdicts.get(order="ab"), Decimal("0.01"))
    assert first
    release_expired(now=timezone.now() + timedelta(hours=1))
    second = take(run, run.verdicts.get(order="ab"), Decimal("0.01"))
    assert second
    for held, choice in ((first, "a"), (second, "b")):
        store_answers(run, version, [held], [Answer(held.verdict_id, choice=choice, cost_usd=Decimal("0.004"))])
    row = run.verdicts.get(order="ab")
    run.refresh_from_db()
    assert (row.state, row.choice, row.reserved_usd) == (VerdictState.DONE.value, "a", Decimal(0))
    assert run.reserved_usd == 0
    assert run.spent_usd == sum(costs_of(run)) + Decimal(row.meta["lost_usd"]) == Decimal("0.014")


def test_length_rule_labels_every_pair_without_a_call() -> None:
    project = project_with(3)
    version = add_judge(project, "longer", kind="length")
    report = work_off(start_run(version, send=False))
    assert (report.done, report.failed, report.spent_usd) == (3, 0, Decimal(0))
    preferences = Preference.objects.filter(rater=version.rater)
    assert {(one.choice, one.prob_a, one.shown_order) for one in preferences} == {("a", 1.0, "")}


def test_changed_answer_replaces_the_preference() -> None:
    run, _, _ = judged(prefer_longer, pairs=1)
    old = Preference.objects.get(rater=run.version.rater)
    run.verdicts.update(state=VerdictState.FAILED, error="for the test")
    retry_failed(run, send=False)
    with JudgeServer(lambda call: verdict("second" if len(call.first) > len(call.second) else "first")) as server:
        run.version.base_url = server.base_url
        run.version.save()
        run = JudgeRun.objects.select_related("version__judge").get(pk=run.pk)
        work_off(run)
    new = Preference.objects.get(rater=run.version.rater, is_current=True)
    assert (old.choice, new.choice, new.replaces_id) == ("a", "b", old.pk)


# --- Commands -------------------------------------------------------------------------------------------------------


def run_command(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    call_command(*arguments, "--json")
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_commands_add_and_run_a_judge(capsys: pytest.CaptureFixture[str]) -> None:
    project = project_with(2)
    with JudgeServer() as server:
        added = run_command(
            capsys, "add_judge", project.slug, "stub", "--kind", "openai", "--base-url", server.base_url, "--model", "m"
        )
        assert (added["judge"], added["version"]) == ("stub", 1)
        report = run_command(capsys, "run_judge", project.slug, "stub", "--wait")
        assert (report["done"], report["failed"], report["state"]) == (4, 0, "done")


def test_run_judge_says_why_questions_failed(capsys: pytest.CaptureFixture[str]) -> None:
    project = project_with(2)
    with JudgeServer(lambda _call: verdict(text="I would rather not say.")) as server:
        judge_at(server, project)
        with pytest.raises(CommandError, match="No question was answered"):
            call_command("run_judge", project.slug, "stub", "--wait")
    said = capsys.readouterr().out
    assert "4 failed" in said.splitlines()[0]
    assert any(line.startswith("All 4 questions failed") for line in said.splitlines())


def test_ctrl_c_lets_the_questions_under_way_finish_and_the_command_goes_on(
    capsys: pytest.CaptureFixture[str], settings: Settings
) -> None:
    settings.JUDGE_CONCURRENCY = 2
    project = project_with(10)
    interrupt = threading.Event()

    def behave(call: Call) -> Served:
        if call.number == 4 and not interrupt.is_set():
            interrupt.set()
            os.kill(os.getpid(), signal.SIGINT)
        return prefer_longer(call)

    with JudgeServer(behave) as server:
        version = judge_at(server, project)
        with pytest.raises(CommandError, match=r"Stopped\. Run the command again to go on\."):
            call_command("run_judge", project.slug, "stub", "--wait")
        run = version.runs.get()
        states = list(run.verdicts.values_list("state", flat=True))
        # Nothing is left claimed, nothing was asked and not stored.
        assert set(states) == {VerdictState.DONE, VerdictState.PENDING}
        assert states.count(VerdictState.DONE) == len(server.calls) < 20
        report = run_command(capsys, "run_judge", project.slug, "stub", "--wait")
        assert (report["done"], report["state"], len(server.calls)) == (20, "done", 20)


def test_waiting_says_that_another_process_holds_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    project = project_with(2)
    with JudgeServer() as server:
        run = start_run(judge_at(server, project), send=False)
        held = claim(run, [(run.verdicts.order_by("pk")[0].pk, Decimal(0))])
        until = Verdict.objects.get(pk=held.held[0].verdict_id).lease_until
        assert until
        said = f"1 questions are held by another process, until {until:%H:%M} UTC at the latest. Run it again to go on."
        with pytest.raises(CommandError, match=re.escape(said)):
            call_command("run_judge", project.slug, "stub", "--wait")


def test_run_that_was_asked_about_everything_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    project = project_with(2)
    with JudgeServer() as server:
        judge_at(server, project)
        call_command("run_judge", project.slug, "stub", "--wait")
        capsys.readouterr()
        call_command("run_judge", project.slug, "stub", "--wait")
    assert capsys.readouterr().out.splitlines() == ["stub v1 has been asked about every pair."]


def test_budget_of_nothing_is_refused() -> None:
    with JudgeServer() as server, pytest.raises(JudgeError, match=re.escape("A budget of $0 buys no answer.")):
        start_run(judge_at(server, project_with(1), **PRICES), budget_usd=Decimal(0), send=False)


def test_run_judge_goes_on_with_an_interrupted_run(capsys: pytest.CaptureFixture[str]) -> None:
    project = project_with(2)
    with JudgeServer() as server:
        run = start_run(judge_at(server, project), send=False)
        report = run_command(capsys, "run_judge", project.slug, "stub", "--wait")
    assert report["run"] == str(run.pk)
    assert report["done"] == 4


def test_question_that_another_worker_asked_meanwhile_is_no_lack_of_money() -> None:
    with JudgeServer() as server:
        run = start_run(judge_at(server, project_with(1), **PRICES), budget_usd=Decimal(1), send=False)
        ids = list(run.verdicts.order_by("order").values_list("pk", flat=True))
        # Read before its first question was asked, and claimed by another worker since.
        lease = timezone.now() + timedelta(minutes=1)
        other = run.verdicts.filter(order=Order.BA)
        claimed = {"state": VerdictState.CLAIMED, "attempts": 1, "lease_until": lease}
        questions = Work(run, ids, on_finished=lambda: other.update(**claimed))
        with override_settings(JUDGE_CONCURRENCY=1):
            questions.do()
    run.refresh_from_db()
    assert (run.state, run.reason, questions.asked) == (RunState.RUNNING, "", 1)


def test_answer_locks_its_run_before_its_verdicts_as_a_claim_does() -> None:
    run = start_run(judge_with_prices(), budget_usd=Decimal(1), send=False)
    first, second = run.verdicts.order_by("order")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        held = take(run, first, Decimal("0.01"))
        claiming = len(queries)
        assert held
        store_answers(run, run.version, [held], [Answer(first.pk, choice="a", cost_usd=Decimal("0.001"))])
        storing = len(queries)
        assert take(run, second, Decimal("0.01"))
        run.verdicts.filter(pk=second.pk).update(lease_until=timezone.now() - timedelta(minutes=1))
        reading = len(queries)
        release_expired(now=timezone.now())
    tables = [tables_of(query["sql"]) for query in queries.captured_queries]
    for start, end in ((0, claiming), (claiming, storing), (reading + 1, None)):
        touched = [table for table in tables[start:end] if table]
        assert touched[0] == "run"
        assert "verdict" in touched


def tables_of(sql: str) -> str:
    """Return which table a statement reads or writes first, where it may lock it."""
    found = re.match(r'(?:UPDATE|SELECT .*? FROM) "judges_(?:judge)?(run|verdict)"', sql, re.DOTALL)
    return found[1] if found else ""


def judge_with_prices() -> JudgeVersion:
    with JudgeServer() as server:
        return judge_at(server, project_with(1), **PRICES)


def test_finished_run_that_asks_again_takes_only_what_other_runs_left_of_the_projects_money() -> None:
    with JudgeServer(lambda call: failure(400)) as server:
        project = project_with(1, models_budget_usd=Decimal("0.05"))
        version = judge_at(server, project, **PRICES)
        run = start_run(version, send=False)
        assert work_off(run).state == RunState.DONE
    run.refresh_from_db()
    assert run.budget_usd == Decimal("0.05")
    make_pair(project)
    other = start_run(version, budget_usd=Decimal("0.03"), send=False)
    assert retry_failed(run, send=False) == 2
    run.refresh_from_db()
    assert other.budget_usd == Decimal("0.03")
    assert run.budget_usd == Decimal("0.02")


def test_run_whose_money_is_promised_to_others_asks_nothing_again() -> None:
    with JudgeServer(lambda call: failure(400)) as server:
        project = project_with(1, models_budget_usd=Decimal("0.05"))
        version = judge_at(server, project, **PRICES)
        run = start_run(version, send=False)
        work_off(run)
    make_pair(project)
    start_run(version, send=False)
    for go_on in (retry_failed, resume):
        with pytest.raises(JudgeError, match="budget for models"):
            go_on(run, send=False)
    run.refresh_from_db()
    assert (run.state, run.verdicts.filter(state=VerdictState.FAILED).count()) == (RunState.DONE, 2)


def test_what_a_stopping_worker_leaves_is_sent_at_the_next_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    run = start_run(judge_with_prices(), send=False)
    run.verdicts.update(lease_until=timezone.now() + timedelta(minutes=10))
    stopped = threading.Event()
    stopped.set()
    monkeypatch.setattr("judges.working.stopping", stopped)
    judge_chunk(run.pk, list(run.verdicts.values_list("pk", flat=True)))
    assert sweep(now=timezone.now()) == 1


# --- Rows that others hold, and money to the last digit ------------------------------------------------------------


def waiting_run(project: Project) -> JudgeRun:
    version = add_judge(project, "stub", kind="openai", base_url="http://127.0.0.1:9/v1", model="m", **PRICES)
    return start_run(version, budget_usd=Decimal(1), send=False)


def test_cap_is_raised_while_calls_are_under_way_whatever_the_sums_are_in_binary() -> None:
    run = waiting_run(project_with(1))
    # 0.01 + 0.05 is more than 0.06 in binary, which is how SQLite adds.
    held = {"spent_usd": Decimal("0.01"), "reserved_usd": Decimal("0.05")}
    JudgeRun.objects.filter(pk=run.pk).update(state=RunState.PAUSED, **held)
    assert resume(run, budget_usd=Decimal(2), send=False).budget_usd == 2
    with pytest.raises(JudgeError, match=r"must be above what is spent and reserved: \$0\.0600"):
        resume(run, budget_usd=Decimal("0.06"), send=False)
    run.refresh_from_db()
    assert run.budget_usd == 2


def test_failed_questions_go_back_in_a_handful_of_statements_with_what_they_cost() -> None:
    run = waiting_run(project_with(20))
    failed = {"state": VerdictState.FAILED, "error": "no", "attempts": 5, "cost_usd": Decimal("0.001"), "raw": "x"}
    run.verdicts.update(**failed, meta={"lost_usd": "0.002", "at_fault": "judge"})
    with CaptureQueriesContext(connection) as queries:
        assert retry_failed(run, send=False) == 40
    assert len(queries) < 20
    rows = list(run.verdicts.all())
    assert {(one.state, one.attempts, one.error, one.cost_usd) for one in rows} == {("pending", 0, "", None)}
    assert {str(one.meta) for one in rows} == {"{'lost_usd': '0.003000'}"}


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_sending_locks_rows_in_the_order_in_which_answers_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project()
    prompts = sorted((make_prompt(project, "Which?"), make_prompt(project, "Why?")), key=lambda one: one.pk)
    # So that the rows are made, and lie in the table, in another order than that of their pairs.
    for prompt in reversed(prompts):
        make_pair(project, prompt=prompt)
    run = waiting_run(project)
    monkeypatch.setattr(running, "wake", lambda *_message: True)
    errors: list[Exception] = []

    def send() -> None:
        try:
            send_waiting(run, now=timezone.now())
        except OperationalError as error:
            errors.append(error)
        finally:
            connection.close()

    sender = threading.Thread(target=send)
    first, second = sorted(set(run.verdicts.values_list("pair_id", flat=True)))
    with transaction.atomic():
        assert len(run.verdicts.select_for_update().filter(pair_id=first)) == 2
        sender.start()
        with connection.cursor() as cursor:
            waiting = [(0,)]
            while sender.is_alive() and waiting == [(0,)]:
                cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()")
                waiting = cursor.fetchall()
        assert len(run.verdicts.select_for_update().filter(pair_id=second)) == 2
    sender.join(timeout=60)
    assert errors == []
    assert not run.verdicts.filter(lease_until=None).exists()
