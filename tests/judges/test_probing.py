import io
import json
import time
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from annotation.models import Project
from judges.capabilities import capabilities_of, served_of
from judges.defining import add_judge
from judges.errors import JudgeError
from judges.models import JudgeVersion, ServedModel
from judges.probing import describe, probe
from judges.questions import Question
from tests.builders import make_project
from tests.judge_server import (
    Call,
    JudgeServer,
    Served,
    Talent,
    decided,
    decided_by_system_one,
    failure,
    listing,
    many,
    verdict,
    vllm_metrics,
)

pytestmark = pytest.mark.django_db


def judge_at(server: JudgeServer, *, model: str = "stub-model", **settings: Any) -> JudgeVersion:
    project = Project.objects.first() or make_project()
    return add_judge(project, "Stub", **{"kind": "openai", "base_url": server.base_url, "model": model, **settings})


def complete_server() -> JudgeServer:
    """Return a server that can do everything a probe asks for."""
    talent = Talent()
    server = JudgeServer(talent)
    answer = decided({"type": "predicate", "name": "greeting", "probability": 0.9})
    empty = Served(content=b'{"object": "list", "data": []}')
    server.routes = {
        "GET /v1/models": listing("stub-model", "another", max_model_len=8192),
        "POST /v1/chat/completions/batch": many(talent),
        "POST /v1/decisions": lambda _call: answer,
        "GET /v1/files": lambda _call: empty,
        "GET /v1/batches": lambda _call: empty,
        "GET /metrics": lambda _call: vllm_metrics(running=3, waiting=0),
    }
    return server


def test_everything_a_server_can_do_is_found_and_stored() -> None:
    with complete_server() as server:
        served = probe(judge_at(server))
    stored = ServedModel.objects.get()
    assert (stored.base_url, stored.model, stored.error) == (server.base_url, "stub-model", "")
    assert stored.probed_at == served.probed_at
    times = {name: stored.found.pop(name) for name in ("round_trip_ms", "answer_ms")}
    assert all(isinstance(value, int) and value >= 0 for value in times.values())
    assert stored.found == {
        "models": 2,
        "listed": True,
        "owner": "tests",
        "context_tokens": 8192,
        "limit": "max_completion_tokens",
        "answered_by": "stub-model",
        "usage": True,
        "format": "json_schema",
        "top_logprobs": 20,
        "temperature": True,
        "seed": True,
        "many": True,
        "metrics": "vllm",
        "batch": True,
        "decisions": "decisions",
    }


@pytest.mark.parametrize(
    ("talent", "found"),
    [
        (Talent(schema=False), {"format": "json_object"}),
        (Talent(schema=False, refuses=False), {"format": "json_object"}),
        (Talent(schema=False, json_object=False), {"format": "text"}),
        (Talent(schema=False, json_object=False, refuses=False), {"format": "text"}),
        (Talent(top_logprobs=5), {"top_logprobs": 5}),
        (Talent(top_logprobs=0), {"top_logprobs": 0}),
        (Talent(top_logprobs=0, refuses=False), {"top_logprobs": 0}),
        (Talent(limits=("max_tokens",)), {"limit": "max_tokens"}),
        (Talent(limits=("max_tokens",), refuses=False), {"limit": "max_tokens"}),
        (Talent(limits=("max_completion_tokens",)), {"limit": "max_completion_tokens"}),
        (Talent(temperature=False, seed=False), {"temperature": False, "seed": False}),
        (Talent(usage={}), {"usage": False}),
        (Talent(usage={"prompt_tokens": -4, "completion_tokens": 3}), {"usage": False}),
    ],
)
def test_what_a_server_refuses_or_ignores_is_found(talent: Talent, found: dict[str, Any]) -> None:
    with JudgeServer(talent) as server:
        served = probe(judge_at(server))
    assert served.error == ""
    assert {name: served.found[name] for name in found} == found
    assert (served.found["many"], served.found["batch"], served.found["decisions"]) == (False, False, "")
    assert "context_tokens" not in served.found


def test_probe_costs_a_handful_of_requests() -> None:
    with complete_server() as server:
        probe(judge_at(server))
    assert len(server.calls) <= 6
    assert len(server.others) <= 6
    assert all(call.body.get("max_completion_tokens", 0) <= 400 for call in server.calls)


def test_part_that_breaks_the_server_is_not_found_and_the_rest_is() -> None:
    def broken_by_schema(call: Call) -> Served:
        form = call.body.get("response_format", {}).get("type")
        return failure(429) if form == "json_schema" else Talent()(call)

    with JudgeServer(broken_by_schema) as server:
        served = probe(judge_at(server))
    assert served.error == ""
    assert "format" not in served.found
    assert served.found["top_logprobs"] == 20
    assert dict(describe(served))["Form of answers"] == "Not found out."


def test_system_one_is_found_and_asked() -> None:
    def answer(call: Call) -> Served:
        return decided_by_system_one({name: {"type": "noul", "noul": 0.8} for name in call.body["questions"]})

    with JudgeServer(lambda _call: failure(501)) as server:
        server.routes["POST /v1/systemone"] = answer
        served = probe(judge_at(server, kind="decisions", model="decider"))
    assert served.error == ""
    assert served.found["decisions"] == "systemone"
    assert server.calls == []
    assert server.others[-1].body["questions"] == {
        "greeting": {"type": "noul", "instructions": "The text is a greeting."}
    }


def test_decision_judge_at_a_server_without_decisions_is_told_so() -> None:
    with JudgeServer() as server:
        served = probe(judge_at(server, kind="decisions", model="decider"))
    assert "answers no decisions" in served.error


def test_model_that_is_not_there_is_named_with_those_that_are() -> None:
    with JudgeServer(lambda _call: failure(404, "The model does not exist")) as server:
        server.routes["GET /v1/models"] = listing("small", "large")
        served = probe(judge_at(server, model="medium"))
    assert "HTTP 404" in served.error
    assert "lists other models: small, large" in served.error
    assert served.found["listed"] is False


def test_later_probe_replaces_the_earlier() -> None:
    with JudgeServer(lambda _call: failure(401)) as server:
        version = judge_at(server)
        assert "refused the key" in probe(version).error
        server.behave = Talent()
        assert probe(version).error == ""
    assert ServedModel.objects.count() == 1


def test_judges_without_a_server_have_nothing_to_probe() -> None:
    version = add_judge(make_project(), "Length", kind="length")
    with pytest.raises(JudgeError, match="nothing to probe"):
        probe(version)
    assert not ServedModel.objects.exists()


def test_host_that_is_not_allowed_any_more_is_said_and_not_asked(settings: Any) -> None:
    with complete_server() as server:
        version = judge_at(server)
        settings.JUDGE_HOSTS = ["api.openai.com"]
        served = probe(version)
    assert "TIEBREAK_JUDGE_HOSTS" in served.error
    assert (server.calls, server.others) == ([], [])


def test_server_that_answers_slowly_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("judges.probing.PROBE_SECONDS", 2.0)

    def slow_later(call: Call) -> Served:
        return Talent()(call)._replace(delay=0.0 if "Count" in str(call.body["messages"]) else 60.0)

    with JudgeServer(slow_later) as server:
        started = time.monotonic()
        served = probe(judge_at(server))
    assert time.monotonic() - started < 10.0
    assert served.error == ""
    assert served.found["limit"] == "max_completion_tokens"
    assert "format" not in served.found


def test_words_say_what_was_found() -> None:
    with complete_server() as server:
        server.behave = Talent(schema=False, top_logprobs=5, temperature=False)
        words = dict(describe(probe(judge_at(server))))
    assert words["Form of answers"] == "Kept to JSON objects; a schema is not."
    assert words["Log-probabilities"] == "Yes, of 5 alternatives a token."
    assert words["Context"] == "8,192 tokens."
    assert words["Temperature"] == "Refused, so it is left out."
    assert words["Many conversations a request"] == "Yes."
    assert words["Decisions"] == "Yes, at /decisions."


def test_command_prints_what_was_found() -> None:
    out = io.StringIO()
    with complete_server() as server:
        version = judge_at(server)
        call_command("probe_judge", version.judge.project.slug, "Stub", "--json", stdout=out)
    lines = out.getvalue().splitlines()
    assert any("Kept to a JSON schema." in line for line in lines)
    assert json.loads(lines[-1])["found"]["format"] == "json_schema"
    with pytest.raises(CommandError, match="no judge 'Other'"):
        call_command("probe_judge", version.judge.project.slug, "Other")


def test_a_judge_is_asked_as_its_probe_found(monkeypatch: pytest.MonkeyPatch) -> None:
    question = Question(None, [{"role": "user", "content": "?"}], "one", "two", "ab")
    with JudgeServer(Talent(schema=False, limits=("max_tokens",), temperature=False)) as server:
        version = judge_at(server, sampling={"temperature": 0})
        before = capabilities_of(version, server.base_url).request(version, question)
        probe(version)
        after = capabilities_of(version, server.base_url).request(version, question)
    assert before["response_format"]["type"] == "json_schema"
    assert after["response_format"] == {"type": "json_object"}
    assert "temperature" in before
    assert "temperature" not in after
    assert "max_tokens" in after
    served = served_of(version)
    assert served is not None
    assert served.found["format"] == "json_object"


def test_nul_and_broken_texts_are_stored_clean() -> None:
    with JudgeServer(lambda _call: verdict(text="hello", model="st\x00ub\ud800")) as server:
        server.routes["GET /v1/models"] = listing("stub-model", owned_by="o\x00wner")
        served = probe(judge_at(server))
    assert served.found["answered_by"] == "st\N{REPLACEMENT CHARACTER}ub\N{REPLACEMENT CHARACTER}"
    assert served.found["owner"] == "o\N{REPLACEMENT CHARACTER}wner"
