import io
import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from annotation.models import Preference
from judges.claiming import claim, release_expired
from judges.defining import add_judge
from judges.models import Batch, BatchState, JudgeRun, JudgeVersion, RunState, Verdict
from judges.running import resume, send_waiting, sweep
from tests.batch_server import answers_to, joined, output_line, vllm_line
from tests.builders import make_pair, make_project
from tests.judge_server import Call, Served, failure, prefer_longer, verdict

pytestmark = pytest.mark.django_db

PRICES: dict[str, Any] = {"price_input_usd_per_million": Decimal(1), "price_output_usd_per_million": Decimal(2)}
COST = Decimal("0.00014")


@pytest.fixture
def version() -> JudgeVersion:
    return judge()


def judge(pairs: int = 3, kind: str = "openai", **overrides: Any) -> JudgeVersion:
    project = make_project(with_people=False)
    for number in range(pairs):
        make_pair(project, response_a=f"long answer {number}", response_b=f"short {number}")
    address = "http://127.0.0.1:8000/v1"
    return add_judge(project, "vllm", **{"kind": kind, "base_url": address, "model": "m", **PRICES, **overrides})


def command(name: str, *arguments: object) -> tuple[str, dict[str, Any]]:
    """Run a command; return what it says and its JSON."""
    out = io.StringIO()
    call_command(name, "helpfulness", "vllm", *map(str, arguments), "--json", stdout=out)
    said, _, last = out.getvalue().rstrip("\n").rpartition("\n")
    return said, json.loads(last)


def export(path: Path, *arguments: object) -> tuple[str, dict[str, Any]]:
    return command("export_batch", "--out", path, *arguments)


def the_run() -> JudgeRun:
    return JudgeRun.objects.get()


def money() -> tuple[Decimal, Decimal]:
    run = the_run()
    return run.spent_usd, run.reserved_usd


def states() -> dict[str, int]:
    found = list(Verdict.objects.values_list("state", flat=True))
    return {state: found.count(state) for state in sorted(set(found))}


@pytest.mark.parametrize("kind", ["openai", "batch"])
@pytest.mark.parametrize("line", [output_line, vllm_line], ids=["openai", "vllm"])
def test_questions_go_out_as_a_file_and_their_answers_come_back(kind: str, line: Any, tmp_path: Path) -> None:
    version = judge(kind=kind)
    requests, answers = tmp_path / "requests.jsonl", tmp_path / "answers.jsonl"
    said, exported = export(requests)
    assert (exported["requests"], exported["questions"], exported["waiting"]) == (6, 6, 0)
    assert f"vllm run-batch -i {requests} -o answers.jsonl --model m" in said
    assert requests.stat().st_mode & 0o077 == 0
    assert {json.loads(one)["custom_id"] for one in requests.read_text().splitlines()} == set(
        Verdict.objects.values_list("request_key", flat=True)
    )
    assert (the_run().state, states()) == (RunState.PAUSED, {"claimed": 6})
    assert str(requests) in the_run().reason
    answers.write_bytes(joined(list(reversed(answers_to(requests.read_bytes(), line=line)))))
    said, imported = command("import_batch", answers)
    assert (imported["answered"], imported["failed"], imported["open"], imported["bad"]) == (6, 0, 0, [])
    assert "6 questions answered" in said
    assert (the_run().state, states(), money()) == (RunState.DONE, {"done": 6}, (6 * COST, Decimal(0)))
    assert {one.choice for one in Preference.objects.filter(rater=version.rater)} == {"a"}
    assert Batch.objects.get().state == BatchState.FETCHED
    assert requests.exists()
    assert answers.exists()


def test_same_answers_twice_change_nothing(version: JudgeVersion, tmp_path: Path) -> None:
    requests, answers = tmp_path / "requests.jsonl", tmp_path / "answers.jsonl"
    export(requests)
    answers.write_bytes(joined(answers_to(requests.read_bytes())[:4]))
    assert command("import_batch", answers)[1]["answered"] == 4
    before = list(Verdict.objects.order_by("pk").values()), money()
    _, again = command("import_batch", answers)
    assert (again["answered"], again["known"], again["open"]) == (0, 4, 2)
    assert (list(Verdict.objects.order_by("pk").values()), money()) == before
    answers.write_bytes(joined(answers_to(requests.read_bytes())))
    _, rest = command("import_batch", answers)
    assert (rest["answered"], rest["known"], rest["open"]) == (2, 4, 0)
    assert (states(), money()) == ({"done": 6}, (6 * COST, Decimal(0)))


def test_bad_lines_are_named_and_the_others_are_stored(version: JudgeVersion, tmp_path: Path) -> None:
    requests, answers = tmp_path / "requests.jsonl", tmp_path / "answers.jsonl"
    export(requests)
    good = answers_to(requests.read_bytes())
    unknown = b'{"custom_id": "somebody else\'s", "response": null, "error": "no"}'
    answers.write_bytes(
        joined([good[0], b"", b"not json", b"[]", b'{"custom_id": ""}', unknown, good[0], *good[1:5]]) + good[5][:40]
    )
    said, imported = command("import_batch", answers)
    assert imported["bad"] == [
        {"line": 3, "reason": "is no JSON, or is cut off"},
        {"line": 4, "reason": "is no JSON object"},
        {"line": 5, "reason": "has no custom_id, so it answers no question of ours"},
        {"line": 6, "reason": 'answers no question that was asked: custom_id "somebody else\'s"'},
        {"line": 7, "reason": f"repeats the custom_id {json.loads(good[0])['custom_id']}"},
        {"line": 12, "reason": "is no JSON, or is cut off"},
    ]
    assert "  line 3 is no JSON, or is cut off" in said
    assert (imported["answered"], imported["open"], states()) == (5, 1, {"claimed": 1, "done": 5})


def test_file_of_requests_is_no_file_of_answers(version: JudgeVersion, tmp_path: Path) -> None:
    requests = tmp_path / "requests.jsonl"
    export(requests)
    _, imported = command("import_batch", requests)
    assert (imported["answered"], imported["n_bad"]) == (0, 6)
    assert imported["bad"][0]["reason"] == "has neither a response nor an error: is this a file of answers?"


def test_failures_of_vllm_are_told_in_its_words(version: JudgeVersion, tmp_path: Path) -> None:
    def behave(call: Call) -> Served:
        if "0" in call.first:
            return failure(400, "This model's maximum context length is 512 tokens.")
        return failure(500, "Engine died.") if "1" in call.first else prefer_longer(call)

    requests, answers = tmp_path / "requests.jsonl", tmp_path / "answers.jsonl"
    export(requests)
    lines = answers_to(requests.read_bytes(), behave, line=vllm_line)
    answers.write_bytes(joined(lines))
    said, imported = command("import_batch", answers)
    assert (imported["answered"], imported["failed"], imported["again"]) == (2, 2, 2)
    assert "export_batch helpfulness vllm --again --out FILE" in said
    assert set(Verdict.objects.filter(state="failed").values_list("error", flat=True)) == {
        "The server refused this request (HTTP 400): This model's maximum context length is 512 tokens."
    }
    assert money() == (2 * COST, Decimal(0))
    rest = tmp_path / "rest.jsonl"
    assert export(rest)[1]["requests"] == 2
    answers.write_bytes(joined(answers_to(rest.read_bytes(), line=vllm_line)))
    command("import_batch", answers)
    assert (states(), money()) == ({"done": 4, "failed": 2}, (4 * COST, Decimal(0)))


def test_error_of_vllm_that_is_a_plain_text_is_a_reason(version: JudgeVersion, tmp_path: Path) -> None:
    requests, answers = tmp_path / "requests.jsonl", tmp_path / "answers.jsonl"
    export(requests, "--limit", 1)
    ids = [json.loads(one)["custom_id"] for one in requests.read_bytes().splitlines()]
    response = {"status_code": 400, "request_id": "vllm-batch-1", "body": None}
    lines = [{"id": "vllm-1", "custom_id": one, "response": response, "error": "bad prompt"} for one in ids]
    answers.write_bytes(joined([json.dumps(line).encode() for line in lines]))
    command("import_batch", answers)
    assert set(Verdict.objects.values_list("error", flat=True)) == {
        "The server refused this request (HTTP 400): bad prompt"
    }


def test_workers_leave_exported_questions_alone(version: JudgeVersion, tmp_path: Path, settings: Settings) -> None:
    settings.JUDGE_BATCH_REQUESTS = 4
    said, exported = export(tmp_path / "requests.jsonl")
    assert (exported["requests"], exported["waiting"]) == (4, 2)
    assert "2 questions did not fit; export them to another file." in said
    assert sweep(now=timezone.now()) == 0
    assert states() == {"claimed": 4, "pending": 2}
    _, second = export(tmp_path / "second.jsonl")
    assert (second["requests"], second["waiting"], states()) == (2, 0, {"claimed": 6})
    assert JudgeRun.objects.count() == 1
    # A resumed run asks what waits, and nothing of what is out.
    assert send_waiting(the_run(), now=timezone.now()) == 0


def test_only_as_many_go_out_as_the_budget_pays_for(tmp_path: Path) -> None:
    judge()
    export(tmp_path / "whole.jsonl")
    worst = money()[1]
    Verdict.objects.all().delete()
    JudgeRun.objects.all().delete()
    _, exported = export(tmp_path / "half.jsonl", "--budget-usd", worst / 2)
    assert exported["requests"] in {2, 3}
    assert exported["requests"] + exported["waiting"] == 6
    assert Decimal(exported["reserved_usd"]) <= worst / 2
    assert len((tmp_path / "half.jsonl").read_bytes().splitlines()) == exported["requests"]


def test_budget_that_pays_for_nothing_writes_no_file(version: JudgeVersion, tmp_path: Path) -> None:
    said, exported = export(tmp_path / "none.jsonl", "--budget-usd", "0.00001")
    assert (exported["file"], exported["requests"], exported["waiting"]) == (None, 0, 6)
    assert "No file was written: The budget of $0.0000 is used up" in said
    assert not (tmp_path / "none.jsonl").exists()


def test_limit_counts_pairs(version: JudgeVersion, tmp_path: Path) -> None:
    _, exported = export(tmp_path / "requests.jsonl", "--limit", 1)
    assert (exported["requests"], Verdict.objects.count()) == (2, 2)


def test_lost_file_is_written_again_and_answers_to_either_are_taken(version: JudgeVersion, tmp_path: Path) -> None:
    lost, again, answers = tmp_path / "lost.jsonl", tmp_path / "again.jsonl", tmp_path / "answers.jsonl"
    export(lost)
    said, nothing = export(again)
    assert (nothing["file"], nothing["requests"]) == (None, 0)
    assert f"6 requests are in {lost} already." in said
    _, exported = export(again, "--again")
    assert exported["requests"] == 6
    assert again.read_bytes() == lost.read_bytes()
    assert [one.state for one in Batch.objects.all()] == [BatchState.CANCELLED, BatchState.WRITTEN]
    answers.write_bytes(joined(answers_to(lost.read_bytes())))
    command("import_batch", answers)
    assert (states(), money()) == ({"done": 6}, (6 * COST, Decimal(0)))


def test_finish_puts_back_what_no_line_answers(version: JudgeVersion, tmp_path: Path) -> None:
    requests, answers = tmp_path / "requests.jsonl", tmp_path / "answers.jsonl"
    export(requests)
    answers.write_bytes(joined(answers_to(requests.read_bytes())[:1]))
    _, imported = command("import_batch", answers, "--finish")
    assert (imported["answered"], imported["again"], imported["open"]) == (1, 5, 0)
    assert (states(), money()) == ({"done": 1, "pending": 5}, (COST, Decimal(0)))
    assert Batch.objects.get().state == BatchState.FETCHED


def test_unusable_answer_is_a_failure_with_its_cost(version: JudgeVersion, tmp_path: Path) -> None:
    requests, answers = tmp_path / "requests.jsonl", tmp_path / "answers.jsonl"
    export(requests, "--limit", 1)
    answers.write_bytes(joined(answers_to(requests.read_bytes(), lambda call: verdict(text="Both are fine."))))
    _, imported = command("import_batch", answers)
    assert (imported["again"], money()) == (2, (2 * COST, Decimal(0)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("export_batch", "--out", "{folder}/taken.jsonl"), "There is a file"),
        (("export_batch", "--out", "{folder}/none/requests.jsonl"), "There is no folder"),
        (("export_batch", "--out", "{folder}/x.jsonl", "--limit", "0"), "The limit is 0"),
        (("export_batch", "--out", "{folder}/x.jsonl", "--budget-usd", "much"), "--budget-usd takes US dollars"),
        (("import_batch", "{folder}/nothing.jsonl"), "There is no file"),
        (("import_batch", "{folder}/taken.jsonl"), "Nothing was exported for vllm"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    version: JudgeVersion, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "taken.jsonl").write_text("taken")
    name, *rest = (one.format(folder=tmp_path) for one in arguments)
    with pytest.raises(CommandError, match=words):
        command(name, *rest)
    assert not Verdict.objects.exists()
    assert (tmp_path / "taken.jsonl").read_text() == "taken"


def test_judge_that_is_not_asked_in_chat_cannot_be_exported(tmp_path: Path) -> None:
    project = make_project(with_people=False)
    make_pair(project)
    add_judge(project, "vllm", kind="length")
    with pytest.raises(CommandError, match="cannot be exported"):
        export(tmp_path / "requests.jsonl")


def test_question_of_a_file_that_a_worker_asks_again_is_the_worker_s_and_comes_back_when_that_dies(
    version: JudgeVersion, tmp_path: Path
) -> None:
    requests, answers = tmp_path / "requests.jsonl", tmp_path / "answers.jsonl"
    export(requests)
    lines = answers_to(requests.read_bytes(), lambda call: failure(500) if "0" in call.first else prefer_longer(call))
    answers.write_bytes(joined(lines[:-1]))
    command("import_batch", answers)
    assert states() == {"claimed": 1, "done": 3, "pending": 2}
    run = resume(the_run(), send=False)
    again = list(run.verdicts.filter(state="pending").values_list("pk", flat=True))
    assert len(claim(run, [(pk, COST) for pk in again]).held) == 2
    assert release_expired(now=timezone.now() + timedelta(hours=2)) == 2
    assert states() == {"claimed": 1, "done": 3, "pending": 2}
    # Its worker, not the file, is who answers it now.
    assert not run.verdicts.filter(pk__in=again, batch__isnull=False).exists()
    assert version.runs.count() == 1
