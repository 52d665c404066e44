import io
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import Sum
from django.utils import timezone
from pytest_django import Settings

from annotation.ids import new_id
from annotation.models import Preference, Project
from judges import batching, tasks
from judges.batching import cancel_batches, poll, submit, work_off
from judges.clients import filing
from judges.defining import add_judge
from judges.models import Batch, BatchState, CachedReply, JudgeRun, JudgeVersion, RunState, Verdict, VerdictState
from judges.options import Options
from judges.running import resume, start_run, sweep
from judges.storing import pause_run
from tests.batch_server import BatchServer, joined
from tests.builders import make_pair, make_project, make_prompt
from tests.judge_server import Call, Served, failure, prefer_longer, verdict

pytestmark = pytest.mark.django_db

PRICES: dict[str, Any] = {"price_input_usd_per_million": Decimal(1), "price_output_usd_per_million": Decimal(2)}
# 100 tokens in and 20 out, as the stub reports.
COST = Decimal("0.00014")


@pytest.fixture(autouse=True)
def _own_folder(settings: Settings, tmp_path: Path) -> None:
    settings.BATCH_DIR = tmp_path / "batches"
    settings.JUDGE_BATCH_POLL_SECONDS = 0.01


def project_with(pairs: int = 3, **overrides: Any) -> Project:
    project = make_project(with_people=False, **overrides)
    for number in range(pairs):
        make_pair(project, response_a=f"long answer {number}", response_b=f"short {number}")
    return project


def judge_at(server: BatchServer, project: Project | None = None, **overrides: Any) -> JudgeVersion:
    return add_judge(
        project or project_with(),
        "by file",
        **{"kind": "batch", "base_url": server.base_url, "model": "m", **PRICES, **overrides},
    )


def started(server: BatchServer, project: Project | None = None, **overrides: Any) -> JudgeRun:
    return start_run(judge_at(server, project, **overrides), send=False)


def states(run: JudgeRun) -> dict[str, int]:
    found = list(run.verdicts.values_list("state", flat=True))
    return {state: found.count(state) for state in sorted(set(found))}


def later(minutes: float = 60.0) -> Any:
    return timezone.now() + timedelta(minutes=minutes)


def assert_money_is_exact(run: JudgeRun, server: BatchServer) -> None:
    """Check that the run spent what the server charged for, row by row, and that nothing is reserved."""
    run.refresh_from_db()
    assert (run.spent_usd, run.reserved_usd) == (COST * len(server.answered), Decimal(0))
    rows = run.verdicts.all()
    lost = sum((Decimal(row.meta.get("lost_usd", "0")) for row in rows), Decimal(0))
    assert sum((row.cost_usd or Decimal(0) for row in rows), Decimal(0)) + lost == run.spent_usd
    assert not run.verdicts.filter(reserved_usd__gt=0).exists()


def test_run_is_answered_by_one_file_whose_answers_come_in_another_order() -> None:
    with BatchServer() as server:
        run = started(server)
        assert submit(run) == 1
        batch = run.batches.get()
        assert (batch.state, batch.n_requests, batch.server_batch_id) == (BatchState.SUBMITTED, 6, "batch_1")
        assert states(run) == {"claimed": 6}
        run.refresh_from_db()
        assert run.reserved_usd > 6 * COST
        assert poll(now=timezone.now()) == 1
        answered = [json.loads(line)["custom_id"] for line in server.files["file-output-batch_1"].splitlines()]
        asked = server.requests_of("batch_1")
        assert answered != [line["custom_id"] for line in asked]
        assert sorted(answered) == sorted(line["custom_id"] for line in asked)
        assert_money_is_exact(run, server)
    run.refresh_from_db()
    assert (run.state, states(run)) == (RunState.DONE, {"done": 6})
    assert {one.choice for one in Preference.objects.filter(rater=run.version.rater)} == {"a"}
    assert Preference.objects.filter(rater=run.version.rater).count() == 3
    batch.refresh_from_db()
    assert (batch.state, batch.n_done, batch.n_failed, batch.error) == (BatchState.FETCHED, 6, 0, "")
    assert batch.finished_at is not None
    assert list(Path(batch.path).parent.iterdir()) == []


def test_lines_are_those_of_the_batch_api() -> None:
    with BatchServer() as server:
        run = started(server)
        submit(run)
        lines = server.requests_of("batch_1")
        batch = server.batches["batch_1"]
    keys = set(run.verdicts.values_list("request_key", flat=True))
    assert {line["custom_id"] for line in lines} == keys
    assert {(line["method"], line["url"], line["body"]["model"]) for line in lines} == {
        ("POST", "/v1/chat/completions", "m")
    }
    assert set(lines[0]) == {"custom_id", "method", "url", "body"}
    assert lines[0]["body"]["messages"][0]["role"] == "system"
    assert (batch["endpoint"], batch["completion_window"]) == ("/v1/chat/completions", "24h")
    assert batch["metadata"] == {"tiebreak_batch": str(run.batches.get().pk)}
    shown = [frozenset((line["body"]["messages"][1]["content"].count("long answer"),)) for line in lines]
    assert len(shown) == 6


def test_work_off_waits_for_the_server_and_reports_progress() -> None:
    seen: list[tuple[int, int]] = []
    with BatchServer() as server:
        server.looks = 3
        run = started(server)
        report = work_off(run, progress=lambda done, total: seen.append((done, total)))
        assert server.count("GET", "/v1/batches/batch_1") == 4
    assert (report.done, report.failed, report.pending, report.state) == (6, 0, 0, RunState.DONE)
    assert (seen[0], seen[-1]) == ((0, 6), (6, 6))


def test_run_is_split_into_files_that_the_server_takes(settings: Settings) -> None:
    settings.JUDGE_BATCH_REQUESTS = 4
    with BatchServer() as server:
        run = started(server, project_with(5))
        assert submit(run) == 3
        assert [len(server.requests_of(one)) for one in sorted(server.batches)] == [4, 4, 2]
        assert poll(now=timezone.now()) == 3
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 10}


def test_no_file_is_longer_than_the_server_takes(settings: Settings) -> None:
    with BatchServer() as server:
        run = started(server, project_with(5))
        submit(run)
        settings.JUDGE_BATCH_BYTES = len(server.files["file-1"]) // 3
        other = started(server, project_with(5, slug="other"), model="m2")
        assert submit(other) >= 3
        files = [content for name, content in server.files.items() if name != "file-1"]
    assert all(len(content) <= settings.JUDGE_BATCH_BYTES for content in files)
    assert sum(len(content.splitlines()) for content in files) == 10


def test_request_that_is_longer_than_a_file_goes_alone(settings: Settings) -> None:
    settings.JUDGE_BATCH_BYTES = 100
    with BatchServer() as server:
        run = started(server, project_with(1))
        assert submit(run) == 2
        assert [len(server.requests_of(one)) for one in server.batches] == [1, 1]
    assert states(run) == {"claimed": 2}


def test_expired_batch_keeps_what_finished_and_the_rest_is_asked_again() -> None:
    with BatchServer() as server:
        server.ending, server.reached = "expired", 3
        run = started(server)
        submit(run)
        server_first = dict(server.batches)
        assert poll(now=timezone.now()) == 1
        assert states(run) == {"claimed": 3, "done": 3}
        first, second = run.batches.all()
        assert "3 without an answer: The batch expired before this was answered." in first.error
        assert (second.state, second.n_requests) == (BatchState.SUBMITTED, 3)
        server.ending = "completed"
        poll(now=timezone.now())
        assert len(server.answered) == len(set(server.answered)) == 6
        assert_money_is_exact(run, server)
    assert server_first
    assert states(run) == {"done": 6}
    assert set(run.verdicts.values_list("attempts", flat=True)) == {1, 2}


def test_questions_of_batches_that_always_expire_are_given_up_after_five() -> None:
    with BatchServer() as server:
        server.ending = "expired"
        run = started(server, project_with(1))
        report = work_off(run)
        assert len(server.batches) == 5
        assert_money_is_exact(run, server)
    assert (report.done, report.failed) == (0, 2)
    assert run.verdicts.first().error == (  # type: ignore[union-attr]
        "Gave up after 5 attempts: The batch expired before this was answered."
    )


def test_batch_cancelled_at_the_server_pauses_the_run_and_keeps_what_finished() -> None:
    with BatchServer() as server:
        server.ending, server.reached = "cancelled", 2
        run = started(server)
        submit(run)
        poll(now=timezone.now())
        run.refresh_from_db()
        assert (run.state, states(run)) == (RunState.PAUSED, {"done": 2, "pending": 4})
        assert "cancelled at the server" in run.reason
        assert run.batches.get().state == BatchState.CANCELLED
        assert_money_is_exact(run, server)
        assert len(server.batches) == 1
        server.ending = "completed"
        work_off(resume(run, send=False))
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 6}


def test_cancelling_a_run_s_batches_stops_the_server_and_stores_what_was_finished() -> None:
    with BatchServer() as server:
        server.looks, server.reached = 9, 1
        run = started(server)
        submit(run)
        assert cancel_batches(run) == 1
        assert server.count("POST", "/v1/batches/batch_1/cancel") == 1
        run.refresh_from_db()
        assert run.state == RunState.PAUSED
        assert run.batches.get().server_state == "cancelling"
        poll(now=timezone.now())
        assert states(run) == {"done": 1, "pending": 5}
        assert_money_is_exact(run, server)
        poll(now=timezone.now())
    assert len(server.batches) == 1


def test_pausing_a_run_submits_nothing_new_and_still_stores_what_is_paid() -> None:
    with BatchServer() as server:
        run = started(server)
        submit(run)
        pause_run(run.pk, "Paused by a manager.")
        poll(now=timezone.now())
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 6}


def test_file_refused_for_some_lines_fails_those_and_asks_the_rest_again() -> None:
    with BatchServer() as server:
        server.ending = "failed"
        server.problems = [{"code": "invalid", "line": 2, "message": "Too long for m.", "param": None}]
        run = started(server)
        submit(run)
        second = server.requests_of("batch_1")[1]["custom_id"]
        poll(now=timezone.now())
        failed = run.verdicts.get(state=VerdictState.FAILED)
        assert (failed.request_key, failed.error) == (second, "The server refused this request: Too long for m.")
        server.ending = "completed"
        poll(now=timezone.now())
        assert_money_is_exact(run, server)
        assert len(server.requests_of("batch_2")) == 5
    assert states(run) == {"done": 5, "failed": 1}
    assert [one.state for one in run.batches.all()] == [BatchState.FAILED, BatchState.FETCHED]


def test_file_refused_as_a_whole_pauses_the_run_with_the_server_s_words() -> None:
    with BatchServer() as server:
        server.ending = "failed"
        server.problems = [{"code": "token_limit_exceeded", "line": None, "message": "Enqueued token limit reached."}]
        run = started(server)
        submit(run)
        poll(now=timezone.now())
        run.refresh_from_db()
        assert (run.state, states(run)) == (RunState.PAUSED, {"pending": 6})
        assert "Enqueued token limit reached." in run.reason
        assert_money_is_exact(run, server)
        poll(now=timezone.now())
        assert len(server.batches) == 1
        server.ending = "completed"
        work_off(resume(run, send=False))
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 6}


def test_requests_that_failed_say_why_and_only_those_worth_it_are_asked_again() -> None:
    def behave(call: Call) -> Served:
        if "0" in call.first:
            return failure(400, "The prompt is too long.")
        if "1" in call.first and len(server.batches) == 1:
            return failure(500, "Internal error.")
        return prefer_longer(call)

    with BatchServer(behave) as server:
        run = started(server)
        submit(run)
        poll(now=timezone.now())
        assert states(run) == {"claimed": 2, "done": 2, "failed": 2}
        assert "2 without an answer: The server failed this request (HTTP 500): Internal error." in (
            run.batches.first().error  # type: ignore[union-attr]
        )
        poll(now=timezone.now())
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 4, "failed": 2}
    assert set(run.verdicts.filter(state="failed").values_list("error", flat=True)) == {
        "The server refused this request (HTTP 400): The prompt is too long."
    }


def test_unreadable_answer_is_paid_and_asked_once_more() -> None:
    with BatchServer(
        lambda call: verdict(text="I like the first.") if len(server.batches) == 1 else prefer_longer(call)
    ) as server:
        run = started(server, project_with(1))
        work_off(run)
        assert len(server.answered) == 4
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 2}
    assert CachedReply.objects.count() == 2


def test_server_that_refuses_a_part_of_the_request_is_asked_without_it() -> None:
    def behave(call: Call) -> Served:
        if "response_format" in call.body and call.body["response_format"]["type"] == "json_schema":
            return failure(400, "response_format json_schema is not supported")
        return prefer_longer(call)

    with BatchServer(behave) as server:
        run = started(server, project_with(2))
        work_off(run)
        assert [line["body"]["response_format"]["type"] for line in server.requests_of("batch_2")] == [
            "json_object"
        ] * 4
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 4}
    assert {one.meta["format"] for one in run.verdicts.all()} == {"json_object"}


def test_cut_line_means_its_question_may_have_been_paid_and_is_asked_again() -> None:
    def cut(lines: list[bytes]) -> bytes:
        return joined(lines[:-1]) + lines[-1][: len(lines[-1]) // 2]

    with BatchServer() as server:
        server.rewrite = cut
        run = started(server)
        submit(run)
        run.refresh_from_db()
        reserved = run.reserved_usd / 6
        poll(now=timezone.now())
        batch = run.batches.first()
        assert batch is not None
        assert "1 lines of its answers were of no use; line 6 is no JSON, or is cut off." in batch.error
        assert states(run) == {"claimed": 1, "done": 5}
        lost = run.verdicts.get(state=VerdictState.CLAIMED)
        assert Decimal(lost.meta["lost_usd"]) == pytest.approx(reserved, rel=Decimal("0.05"))
        server.rewrite = joined
        poll(now=timezone.now())
    run.refresh_from_db()
    lost.refresh_from_db()
    assert states(run) == {"done": 6}
    assert (run.spent_usd, run.reserved_usd) == (6 * COST + Decimal(lost.meta["lost_usd"]), Decimal(0))


def test_lines_twice_unknown_or_wild_change_nothing_else() -> None:
    def wild(lines: list[bytes]) -> bytes:
        unknown = lines[0].replace(json.loads(lines[0])["custom_id"].encode(), b"f" * 64)
        noise = [b"[1]", b"{}", b'{"custom_id": 5, "response": null}', b"\xff\xfe", b"[" * 5000, b"x" * 1_200_000, b""]
        return joined([*lines, lines[2], unknown, *noise, b'{"custom_id": "a"}'])

    with BatchServer() as server:
        server.rewrite = wild
        run = started(server)
        submit(run)
        poll(now=timezone.now())
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 6}
    assert "9 lines of its answers were of no use; line 7 repeats the custom_id" in run.batches.get().error


def test_same_files_read_again_change_nothing() -> None:
    with BatchServer() as server:
        server.ending, server.reached = "expired", 4
        run = started(server)
        submit(run)
        server.looks = 9
        poll(now=timezone.now())
        before = list(Verdict.objects.order_by("pk").values())
        spent = JudgeRun.objects.values("spent_usd", "reserved_usd").get()
        first = run.batches.first()
        assert first is not None
        Batch.objects.filter(pk=first.pk).update(state=BatchState.SUBMITTED)
        poll(now=timezone.now())
        assert list(Verdict.objects.order_by("pk").values()) == before
        assert JudgeRun.objects.values("spent_usd", "reserved_usd").get() == spent
        assert len(server.batches) == 2


def test_key_that_is_refused_pauses_the_run_and_resume_goes_on_where_it_stopped() -> None:
    with BatchServer() as server:
        server.refuse = lambda call: failure(401)
        run = started(server)
        assert submit(run) == 0
        run.refresh_from_db()
        assert run.state == RunState.PAUSED
        assert "TIEBREAK_JUDGE_KEYS" in run.reason
        batch = run.batches.get()
        assert (batch.state, "TIEBREAK_JUDGE_KEYS" in batch.error) == (BatchState.WRITTEN, True)
        server.refuse = lambda call: None
        poll(now=timezone.now())
        assert server.batches == {}
        work_off(resume(run, send=False))
        assert run.batches.count() == len(server.batches) == 1
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 6}


def test_upload_rests_as_long_as_the_server_asks() -> None:
    with BatchServer() as server:
        server.refuse = lambda call: failure(429, retry_after="1") if server.count("POST", "/v1/files") == 1 else None
        run = started(server)
        assert submit(run) == 1
        first, second = (call.at for call in server.others if call.path == "/v1/files")
    assert 0.9 <= second - first < 5.0


def test_longer_rest_is_left_to_a_later_poll() -> None:
    with BatchServer() as server:
        server.refuse = lambda call: failure(429, retry_after="600") if call.method == "POST" else None
        run = started(server)
        assert submit(run) == 0
        run.refresh_from_db()
        batch = run.batches.get()
        assert (run.state, "HTTP 429" in batch.error) == (RunState.RUNNING, True)
        assert batch.lease_until is not None
        assert 500 < (batch.lease_until - timezone.now()).total_seconds() < 600
        server.refuse = lambda call: None
        assert (submit(run), run.batches.count()) == (0, 1)
        Batch.objects.update(lease_until=timezone.now())
        assert submit(run) == 1
    assert states(run) == {"claimed": 6}


def test_server_without_files_says_so() -> None:
    with BatchServer() as server:
        server.refuse = lambda call: failure(404, "Not Found")
        run = started(server)
        submit(run)
    run.refresh_from_db()
    assert run.state == RunState.PAUSED
    assert "takes no files of requests (HTTP 404)" in run.reason


def test_answers_that_are_too_large_are_refused_before_they_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filing, "BYTES_A_REQUEST", 10)
    monkeypatch.setattr(filing, "LINE_LIMIT_BYTES", 100)
    with BatchServer() as server:
        run = started(server)
        submit(run)
        poll(now=timezone.now())
    run.refresh_from_db()
    assert "longer than 160 bytes" in run.batches.get().error
    assert run.state == RunState.PAUSED
    assert states(run) == {"claimed": 6}


def test_download_that_breaks_off_is_made_again(settings: Settings) -> None:
    def broken(call: Call) -> Served | None:
        content = server.files.get("file-output-batch_1")
        if call.path.endswith("/content") and content and server.count("GET", ".*/content") == 1:
            return Served(content=content, cut=len(content) // 2)
        return None

    with BatchServer() as server:
        server.refuse = broken
        run = started(server)
        submit(run)
        poll(now=timezone.now())
        assert server.count("GET", ".*/content") == 2
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 6}
    assert list(settings.BATCH_DIR.iterdir()) == []


def test_known_answers_are_not_in_the_file_and_cost_nothing() -> None:
    with BatchServer() as server:
        first = started(server)
        work_off(first)
        copy = make_project("copy", with_people=False)
        for pair in first.project.pairs.order_by("pk"):
            prompt = make_prompt(copy, messages=pair.prompt.messages)
            make_pair(copy, prompt=prompt, response_a=pair.response_a.text, response_b=pair.response_b.text)
        make_pair(copy, response_a="a new pair's long answer", response_b="short")
        run = started(server, copy)
        work_off(run)
        assert len(server.requests_of("batch_2")) == 2
    run.refresh_from_db()
    assert run.spent_usd == 2 * COST
    assert run.verdicts.filter(from_cache=True).aggregate(cost=Sum("cost_usd"))["cost"] == 0
    assert run.verdicts.filter(from_cache=True).count() == 6
    assert Preference.objects.filter(rater=run.version.rater).count() == 4


def test_known_answers_fill_no_file_however_many_they_are(settings: Settings) -> None:
    with BatchServer() as server:
        first = started(server, project_with(4))
        work_off(first)
        settings.JUDGE_BATCH_REQUESTS = 2
        # The same questions again: the answers were taken from the verdicts, and are still in the cache.
        Verdict.objects.all().delete()
        run = start_run(first.version, send=False)
        assert submit(run) == 0
        assert len(server.batches) == 1
    run.refresh_from_db()
    assert (states(run), run.spent_usd, run.batches.count()) == ({"done": 8}, Decimal(0), 0)


def test_tasks_submit_and_poll_and_forget(settings: Settings) -> None:
    settings.JUDGE_CACHE_DAYS = 1
    with BatchServer() as server:
        run = started(server)
        tasks.submit_batches(str(run.pk))
        assert states(run) == {"claimed": 6}
        tasks.poll_batches()
        assert_money_is_exact(run, server)
    tasks.submit_batches(str(new_id()))
    assert states(run) == {"done": 6}
    CachedReply.objects.update(created_at=timezone.now() - timedelta(days=2))
    tasks.forget_replies()
    assert not CachedReply.objects.exists()


def test_run_judge_waits_for_a_judge_of_kind_batch() -> None:
    out = io.StringIO()
    with BatchServer() as server:
        server.looks = 2
        judge_at(server)
        call_command("run_judge", "helpfulness", "by file", "--wait", stdout=out)
    assert "by file v1: 6 answered, 0 failed, 0 waiting, $0.0008 spent (done)." in out.getvalue()


def test_host_that_is_not_allowed_any_more_pauses_the_run(settings: Settings) -> None:
    with BatchServer() as server:
        run = started(server)
        settings.JUDGE_HOSTS = ["api.openai.com"]
        assert submit(run) == 0
        assert server.others == []
    run.refresh_from_db()
    assert (run.state, "TIEBREAK_JUDGE_HOSTS" in run.reason) == (RunState.PAUSED, True)


def test_response_in_many_pairs_is_rated_by_one_line() -> None:
    def rate(call: Call) -> Served:
        text = call.body["messages"][1]["content"]
        return verdict(text=json.dumps({"score": 9 if "best" in text else 4}))

    with BatchServer(rate) as server:
        project = make_project(with_people=False)
        prompt = make_prompt(project)
        for other in ("one", "two", "three"):
            make_pair(project, prompt=prompt, response_a="the best", response_b=other)
        run = started(server, project, protocol="rating")
        assert submit(run) == 1
        assert states(run) == {"claimed": 6}
        assert len(server.requests_of("batch_1")) == run.batches.get().n_requests == 4
        poll(now=timezone.now())
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 6}
    assert run.verdicts.filter(order="a", score_a=9.0).count() == 3
    assert run.verdicts.filter(order="a", from_cache=True, cost_usd=0, prompt_tokens=None).count() == 2
    assert {one.choice for one in Preference.objects.filter(rater=run.version.rater)} == {"a"}


def test_samples_are_lines_of_their_own_and_come_together() -> None:
    with BatchServer() as server:
        run = started(server, project_with(1), options=Options(samples=3), sampling={"seed": 7, "temperature": 1.0})
        submit(run)
        lines = server.requests_of("batch_1")
        assert [line["body"]["seed"] for line in lines] == [7, 8, 9, 7, 8, 9]
        keys = set(run.verdicts.values_list("request_key", flat=True))
        assert {line["custom_id"] for line in lines} == {f"{key}.{number}" for key in keys for number in (1, 2, 3)}
        poll(now=timezone.now())
        assert_money_is_exact(run, server)
    assert set(run.verdicts.values_list("samples", flat=True)) == {3}


def test_money_is_reserved_for_the_worst_case_and_only_as_many_are_asked_as_the_cap_allows() -> None:
    with BatchServer() as server:
        version = judge_at(server, project_with(10))
        whole = start_run(version, send=False)
        submit(whole)
        whole.refresh_from_db()
        worst = whole.reserved_usd
        cancel_batches(whole)
        poll(now=timezone.now())
        Verdict.objects.all().delete()
        run = start_run(version, budget_usd=worst / 2, send=False)
        submit(run)
        run.refresh_from_db()
        assert run.reserved_usd <= worst / 2
        assert states(run) == {"claimed": 10, "pending": 10} or states(run)["claimed"] in {9, 10}
        assert len(server.requests_of("batch_2")) == states(run)["claimed"]
        report = work_off(run)
    run.refresh_from_db()
    # What was not used came back and paid for the rest.
    assert (report.done, report.pending, run.reserved_usd) == (20, 0, Decimal(0))
    assert run.spent_usd <= worst / 2


def test_run_without_money_for_a_question_is_paused_with_what_to_do() -> None:
    with BatchServer() as server:
        run = start_run(judge_at(server), budget_usd=Decimal("0.000010"), send=False)
        assert submit(run) == 0
        assert server.others == []
    run.refresh_from_db()
    assert (run.state, run.reserved_usd, run.batches.count()) == (RunState.PAUSED, Decimal(0), 0)
    assert "6 questions wait. Raise the budget" in run.reason


def test_verdicts_in_a_file_are_left_alone_by_the_sweeper_however_long_it_takes() -> None:
    with BatchServer() as server:
        run = started(server)
        submit(run)
        sweep(now=timezone.now() + timedelta(days=400))
        assert states(run) == {"claimed": 6}
        poll(now=timezone.now())
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 6}


class Killed(BaseException):
    """The process is gone: nothing that would tidy up runs."""


def _once(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, after: bool, at: int = 1) -> None:
    """Have the process killed at the given call of a function, before it or after it."""
    real: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def killed(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != at:
            return real(*args, **options)
        if after:
            real(*args, **options)
        raise Killed

    monkeypatch.setattr(owner, name, killed)


def _submitted_and_polled(run: JudgeRun) -> None:
    submit(run)
    poll(now=timezone.now())


SEAMS: dict[str, tuple[Any, str, bool, int]] = {
    "before the first claim": (batching, "claim", False, 1),
    "between two claims": (batching, "claim", False, 2),
    "before the file is written": (batching, "_write", False, 1),
    "while the file is written": (filing, "request_line", False, 20),
    "before the upload": (filing, "upload", False, 1),
    "between upload and create": (batching, "_begin", False, 1),
    "before create": (filing, "create", False, 1),
    "before the answers are downloaded": (batching, "_downloaded", False, 1),
    "between download and storing": (batching, "_fetch", False, 1),
    "while answers are stored": (batching, "store_answers", False, 3),
    "after some answers are stored": (batching, "store_answers", True, 2),
    "before the batch ends": (batching, "_end", False, 1),
    "after the batch ended": (batching, "_end", True, 1),
}


@pytest.mark.parametrize("seam", SEAMS)
def test_killed_process_loses_nothing_and_submits_nothing_twice(
    seam: str, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(batching, "PORTION", 4)
    owner, name, after, at = SEAMS[seam]
    with BatchServer() as server:
        run = started(server, project_with(7))
        with monkeypatch.context() as patch:
            _once(patch, owner, name, after=after, at=at)
            with pytest.raises(Killed):
                _submitted_and_polled(run)
        # Nobody touches it while the dead process may still be at work ...
        poll(now=timezone.now())
        # ... and then another goes on.
        for _round in range(3):
            Batch.objects.filter(lease_until__isnull=False).update(lease_until=timezone.now())
            poll(now=timezone.now())
        asked = [line["custom_id"] for batch in server.batches for line in server.requests_of(batch)]
        assert len(asked) == len(set(asked)) == 14
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 14}
    assert Preference.objects.filter(rater=run.version.rater, is_current=True).count() == 7
    assert not Batch.objects.filter(state__in=["written", "submitted"]).exists()
    assert list(settings.BATCH_DIR.iterdir()) == []


def test_process_killed_between_create_and_its_commit_finds_the_batch_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has begun, and nobody here knows: the mark in the batch's metadata tells."""
    real = filing.create

    async def killed(*args: Any) -> Any:
        await real(*args)
        raise Killed

    with BatchServer() as server:
        run = started(server)
        with monkeypatch.context() as patch:
            patch.setattr(filing, "create", killed)
            with pytest.raises(Killed):
                submit(run)
        assert len(server.batches) == 1
        assert run.batches.get().server_batch_id == ""
        # Others came after it: it is not the newest any more, nor on the first page.
        for _other in range(150):
            server.begin({"input_file_id": "file-1", "metadata": {}})
        server.files["file-other"] = b""
        for batch in list(server.batches.values())[1:]:
            batch["input_file_id"] = "file-other"
        Batch.objects.update(lease_until=timezone.now())
        assert submit(run) == 1
        assert run.batches.get().server_batch_id == "batch_1"
        assert server.count("POST", "/v1/batches") == 1
        poll(now=timezone.now())
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 6}


def test_create_without_an_answer_is_looked_for_before_it_is_tried_again() -> None:
    def silent(call: Call) -> Served | None:
        if (call.method, call.path) == ("POST", "/v1/batches") and server.count("POST", "/v1/batches") == 1:
            server.begin(call.body)
            return Served(content=b"{}", cut=0)
        return None

    with BatchServer() as server:
        server.refuse = silent
        run = started(server)
        assert submit(run) == 0
        assert submit(run) == 1
        assert (server.count("POST", "/v1/batches"), len(server.batches)) == (1, 1)
        poll(now=timezone.now())
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 6}


def test_two_workers_do_not_look_after_one_batch_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    real, inside = batching._downloaded, []

    def meanwhile(*args: Any) -> Any:
        inside.append(poll(now=timezone.now()))
        return real(*args)

    with BatchServer() as server:
        run = started(server)
        submit(run)
        monkeypatch.setattr(batching, "_downloaded", meanwhile)
        assert poll(now=timezone.now()) == 1
        assert inside == [0]
        assert server.count("GET", ".*/content") == 1
        assert_money_is_exact(run, server)


@pytest.mark.django_db(transaction=True)
def test_workers_that_poll_at_once_ask_and_store_everything_once(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(batching, "PORTION", 5)
    settings.JUDGE_BATCH_REQUESTS = 8
    failed: list[BaseException] = []

    def work() -> None:
        try:
            while JudgeRun.objects.filter(state=RunState.RUNNING).exists():
                poll(now=timezone.now())
        except BaseException as error:  # noqa: BLE001
            failed.append(error)
        finally:
            connection.close()

    with BatchServer() as server:
        server.ending, server.reached, server.looks = "expired", 6, 1
        run = started(server, project_with(15))
        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=120)
        assert failed == []
        assert len(server.answered) == len(set(server.answered)) == 30
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 30}
    assert Preference.objects.filter(rater=run.version.rater).count() == 15


def test_batch_the_server_forgot_is_given_up_on_request() -> None:
    with BatchServer() as server:
        run = started(server)
        submit(run)
        run.refresh_from_db()
        reserved = run.reserved_usd
        server.batches.clear()
        poll(now=timezone.now())
        run.refresh_from_db()
        assert "does not know this batch any more. Cancel the run's batches" in run.reason
        assert states(run) == {"claimed": 6}
        cancel_batches(run)
    run.refresh_from_db()
    # Whether it was answered and charged nobody knows.
    assert (states(run), run.spent_usd, run.reserved_usd) == ({"pending": 6}, reserved, Decimal(0))


def test_written_batch_that_never_reached_the_server_is_cancelled_for_free() -> None:
    with BatchServer() as server:
        server.refuse = lambda call: failure(500)
        run = started(server)
        submit(run)
        assert cancel_batches(run) == 1
        assert_money_is_exact(run, server)
    assert states(run) == {"pending": 6}
    assert run.batches.get().state == BatchState.CANCELLED


@pytest.mark.slow
def test_ten_thousand_requests_in_several_files_to_the_cent(settings: Settings) -> None:
    settings.JUDGE_BATCH_REQUESTS = 3000
    with BatchServer() as server:
        run = started(server, project_with(5000))
        report = work_off(run)
        assert [len(server.requests_of(one)) for one in server.batches] == [3000, 3000, 3000, 1000]
        assert_money_is_exact(run, server)
    assert (report.done, report.failed, report.pending) == (10_000, 0, 0)
    assert Preference.objects.filter(rater=run.version.rater).count() == 5000


# --- Between two statements -----------------------------------------------------------------------------------------


def dies(*_arguments: object, **_named: object) -> Any:
    raise KeyboardInterrupt


def test_process_that_dies_while_it_cancels_a_written_file_has_nothing_paid_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with BatchServer() as server:
        run = started(server)
        for step, call in (("_begin", submit), ("_end", cancel_batches)):
            with monkeypatch.context() as patched:
                patched.setattr(batching, step, dies)
                with pytest.raises(KeyboardInterrupt):
                    call(run)
            Batch.objects.update(lease_until=None)
        assert states(run) == {"claimed": 6}
        work_off(resume(run, send=False))
        assert len(server.answered) == len(set(server.answered)) == 6
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 6}


def test_process_whose_hold_ran_out_while_it_uploaded_does_not_have_the_server_begin_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with BatchServer() as server:
        run = started(server)
        upload = filing.upload

        def slow_upload(*arguments: Any) -> Any:
            monkeypatch.setattr(filing, "upload", upload)
            Batch.objects.update(lease_until=later(-60))
            assert submit(run) == 1
            return upload(*arguments)

        monkeypatch.setattr(filing, "upload", slow_upload)
        assert submit(run) == 0
        assert len(server.batches) == 1
        poll(now=timezone.now())
        assert_money_is_exact(run, server)
    assert states(run) == {"done": 6}


@contextmanager
def twenty_values_a_statement() -> Iterator[None]:
    """Let SQLite take as few values as it would with 30,000 pairs; PostgreSQL knows no such limit."""
    if connection.vendor != "sqlite":
        yield
        return
    connection.ensure_connection()
    most = connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 20)
    try:
        yield
    finally:
        connection.connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, most)


def test_any_number_of_pairs_may_be_exported(tmp_path: Path) -> None:
    version = add_judge(project_with(30), "by file", kind="batch", base_url="http://127.0.0.1:9/v1", model="m")
    run = start_run(version, send=False)
    with twenty_values_a_statement():
        ids = batching._waiting_ids(run, 25)
    assert len(ids) == 50
    assert run.verdicts.filter(pk__in=ids).values("pair_id").distinct().count() == 25
