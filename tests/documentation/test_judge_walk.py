"""The commands of docs/judges.md do what the page says, in its order, against a stub of the servers it names."""

import json
import re
import shlex
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from annotation.models import Project
from judges.models import JudgeRun, JudgeVersion, RunState, Verdict, VerdictState
from tests.builders import make_pair, make_person, make_preference, make_project
from tests.judge_server import Call, JudgeServer, Served, verdict

pytestmark = pytest.mark.either_database

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "judges.md").read_text()
FENCE = re.compile(r"^```\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ADDRESSES = ("https://api.openai.com/v1", "http://127.0.0.1:8000/v1", "http://127.0.0.1:11434/v1")
PAIRS = 40


def commands() -> list[list[str]]:
    """Return what the page's blocks tell the reader to type, one command after the other."""
    text = "\n".join(FENCE.findall(PAGE)).replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in text.splitlines() if line.strip()]


def answer(call: Call) -> Served:
    """Prefer the longer response, in whatever form the request's schema wants."""
    wanted = call.body.get("response_format", {}).get("json_schema", {}).get("schema", {}).get("properties")
    if not wanted or "choice" not in wanted:
        return verdict(text="hello")
    labels = wanted["choice"]["enum"]
    given: dict[str, Any] = {}
    for name, schema in wanted.items():
        given[name] = {"string": "It says more.", "integer": 80}.get(schema.get("type", ""), "")
    given["choice"] = labels[0] if len(call.first) >= len(call.second) else labels[1]
    return verdict(text=json.dumps(given))


@pytest.fixture
def study(transactional_db: None) -> Project:
    """Return the page's project: pairs that two people answered."""
    project = make_project("study")
    for number in range(PAIRS):
        long, short = "A long answer that says a good deal more.", "Short."
        a, b = (long, short) if number % 2 else (short, long)
        pair = make_pair(project, prompt=f"Question {number}?", response_a=a, response_b=b)
        # People like the longer one in three pairs of four.
        better = "a" if (number % 2 == 1) == (number % 4 != 3) else "b"
        for name in ("ben", "cyd"):
            make_preference(pair, make_person(project, name), better)
    return project


def run_batch(base_url: str, questions: Path, answers: Path) -> None:
    """Answer a file of requests as `vllm run-batch` does."""
    lines = []
    for line in questions.read_text().splitlines():
        asked = json.loads(line)
        body = json.dumps(asked["body"]).encode()
        request = urllib.request.Request(
            f"{base_url}/chat/completions", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as response:
            answered = {"status_code": 200, "request_id": "1", "body": json.load(response)}
        lines.append(json.dumps({"id": "1", "custom_id": asked["custom_id"], "response": answered, "error": None}))
    answers.write_text("\n".join(lines))


def test_the_page_shows_a_way_with_each_server() -> None:
    typed = [" ".join(words) for words in commands()]
    for address in ADDRESSES:
        assert any(f"--base-url {address}" in line for line in typed), address
    names = {words[1] for words in commands() if words[0] == "manage.py"}
    assert {"add_judge", "run_judge", "probe_judge", "calibrate_judge", "export_batch", "import_batch"} <= names


def test_every_command_of_the_page_works(study: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with JudgeServer(answer) as server:
        for words in commands():
            words = [server.base_url if word in ADDRESSES else word for word in words]
            if words[0] == "manage.py":
                call_command(*words[1:])
            elif words[:2] == ["vllm", "run-batch"]:
                run_batch(server.base_url, tmp_path / "questions.jsonl", tmp_path / "answers.jsonl")
    versions = {version.judge.name: version for version in JudgeVersion.objects.select_related("judge")}
    assert set(versions) == {"gpt", "qwen", "local", "both", "careful", "gpu"}
    assert versions["gpt"].calibration["n"] >= 30
    assert not Verdict.objects.filter(state=VerdictState.FAILED).exists()
    answered = {name: version.verdicts.answered().count() for name, version in versions.items()}
    assert answered == {"gpt": 80, "qwen": 80, "local": 80, "both": 40, "careful": 0, "gpu": 80}
    assert set(JudgeRun.objects.values_list("state", flat=True)) == {RunState.DONE}
