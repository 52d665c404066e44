"""Servers that misbehave: each gives a clear message and a state the page shows, by the probe and in a run."""

import json
import logging
import resource
import threading
from collections.abc import Iterator
from decimal import Decimal
from importlib import import_module
from typing import Any, NamedTuple

import pytest
from django.forms.models import model_to_dict

from annotation.models import Preference
from judges.defining import add_judge
from judges.models import CachedReply, JudgeRun, JudgeVersion, RunState, ServedModel, Verdict, VerdictState
from judges.probing import probe
from judges.running import start_run, work_off
from tests.builders import make_pair, make_project
from tests.judge_server import Behaviour, Call, JudgeServer, Served, Talent, decided, failure, listing, verdict

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.either_database]

KEY = "sk-CANARY-0123456789abcdefghij"
PIECES = {KEY[start : start + 8] for start in range(len(KEY) - 7)}
PAIRS = 4
# More questions than are asked at once, so that some still wait when the run is paused.
MANY_PAIRS = 20
PRICES: dict[str, Any] = {"price_input_usd_per_million": Decimal(1), "price_output_usd_per_million": Decimal(2)}
HTML = Served(content=b"<!doctype html><html>Welcome</html>", headers=(("Content-Type", "text/html"),))


@pytest.fixture(autouse=True)
def impatient(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait as little as the rules allow; what is waited for is told in other tests."""
    settings.JUDGE_TIMEOUT_SECONDS = 20.0
    settings.JUDGE_KEYS = {"127.0.0.1": KEY}
    monkeypatch.setattr(import_module("judges.clients.network"), "FIRST_WAIT_SECONDS", 0.01)


def judge_at(base_url: str, *, pairs: int = PAIRS, **settings: Any) -> JudgeVersion:
    project = make_project()
    for number in range(pairs):
        make_pair(project, response_a=f"A long answer, number {number}", response_b=f"Short {number}")
    return add_judge(project, "Stub", **{"kind": "openai", "base_url": base_url, "model": "stub-model", **settings})


def run_of(version: JudgeVersion) -> JudgeRun:
    run = start_run(version, send=False)
    work_off(run)
    run.refresh_from_db()
    return run


class Bad(NamedTuple):
    """A server, what the probe says of it, and how a run with it ends: its reason, or the reason of its verdicts."""

    behave: Behaviour
    probe: str
    paused: str = ""
    failed: str = ""
    timeout: float = 20.0


def answer(served: Served) -> Behaviour:
    return lambda _call: served


REDIRECT = Served(307, headers=(("Location", "http://127.0.0.1:9/v1/chat/completions"),))
NO_JSON = "is cut off or is no JSON"
CASES = {
    "401": Bad(answer(failure(401)), "refused the key (HTTP 401)", paused="refused the key (HTTP 401)"),
    "403": Bad(answer(failure(403)), "refused the key (HTTP 403)", paused="refused the key (HTTP 403)"),
    "404 model": Bad(
        answer(failure(404, "The model `stub-model` does not exist")),
        "knows no such address or model (HTTP 404)",
        paused="knows no such address or model (HTTP 404)",
    ),
    "400 model": Bad(
        answer(failure(400, "stub-model is not a valid model ID")),
        "refused the request (HTTP 400): stub-model is not a valid model ID",
        failed="refused the request (HTTP 400): stub-model is not a valid model ID",
    ),
    "web page": Bad(answer(HTML), "answered with a web page", paused="usually ends in /v1"),
    "redirect": Bad(answer(REDIRECT), "redirects elsewhere (HTTP 307)", paused="Give the final address"),
    "10 MB": Bad(
        answer(Served(content=b'{"a": "' + b"x" * 10 * 1024**2 + b'"}')),
        "was cut off: the answer is longer than 1,048,576 bytes",
        failed="was cut off: the answer is longer than 1,048,576 bytes",
    ),
    "packed": Bad(
        answer(Served(content=b"\x1f\x8b", headers=(("Content-Encoding", "gzip"),))),
        "was cut off: the answer is compressed",
        failed="was cut off: the answer is compressed",
    ),
    "drips": Bad(
        answer(Served(content=verdict().content, drip=0.05)),
        "gave no answer within 1 seconds",
        paused="gave no answer within 1 seconds",
        timeout=1.0,
    ),
    "silent": Bad(
        answer(Served(delay=60.0)),
        "gave no answer within 1 seconds",
        paused="gave no answer within 1 seconds",
        timeout=1.0,
    ),
    "cut JSON": Bad(answer(Served(content=verdict().content[:60])), NO_JSON, failed=NO_JSON),
    "cut connection": Bad(
        answer(Served(content=verdict().content, cut=60)), "broke the connection", paused="broke the connection"
    ),
    "empty": Bad(answer(Served()), "The server's answer is empty", failed="The server's answer is empty"),
    "no UTF-8": Bad(answer(Served(content=b"\xff\xfe\x00{")), NO_JSON, failed=NO_JSON),
    "NUL": Bad(answer(Served(content=b"\x00" * 40)), NO_JSON, failed=NO_JSON),
    "no completion": Bad(answer(Served(content=b'{"ok": true}')), "no chat completion", failed="no chat completion"),
    "429 for ever": Bad(
        answer(failure(429)), "asks for fewer requests (HTTP 429)", paused="asks for fewer requests (HTTP 429)"
    ),
    "500 for ever": Bad(
        answer(failure(500, "CUDA out of memory")),
        "failed (HTTP 500): CUDA out of memory",
        failed="failed (HTTP 500): CUDA out of memory",
    ),
    "503 for ever": Bad(answer(failure(503)), "failed (HTTP 503)", paused="failed (HTTP 503)"),
}


@pytest.mark.parametrize("bad", CASES.values(), ids=CASES.keys())
def test_probe_says_what_is_wrong_and_stores_it(bad: Bad, settings: Any) -> None:
    settings.JUDGE_TIMEOUT_SECONDS = bad.timeout
    with JudgeServer(bad.behave) as server:
        served = probe(judge_at(server.base_url))
    assert bad.probe in served.error
    stored = ServedModel.objects.get()
    assert (stored.error, stored.found) == (served.error, served.found)
    assert "format" not in stored.found


@pytest.mark.parametrize("bad", CASES.values(), ids=CASES.keys())
def test_run_says_what_is_wrong_and_stores_it(bad: Bad, settings: Any) -> None:
    settings.JUDGE_TIMEOUT_SECONDS = bad.timeout
    with JudgeServer(bad.behave) as server:
        run = run_of(judge_at(server.base_url, pairs=MANY_PAIRS if bad.paused else PAIRS))
    verdicts = list(run.verdicts.all())
    states = {one.state for one in verdicts}
    if bad.paused:
        assert run.state == RunState.PAUSED
        assert bad.paused in run.reason
        assert "resume the run" in run.reason
        assert states <= {VerdictState.FAILED, VerdictState.PENDING}
    else:
        assert run.state == RunState.DONE
        assert states == {VerdictState.FAILED}
        assert all(bad.failed in one.error for one in verdicts)
    assert not Preference.objects.exists()
    assert run.reserved_usd == 0


@pytest.mark.parametrize("name", ["401", "web page", "redirect", "silent"])
def test_probe_of_a_server_that_is_bad_at_every_address_says_the_same(name: str, settings: Any) -> None:
    bad = CASES[name]
    settings.JUDGE_TIMEOUT_SECONDS = bad.timeout
    with JudgeServer(bad.behave) as server:
        server.routes = {"GET /": bad.behave, "POST /": bad.behave}
        served = probe(judge_at(server.base_url))
    assert bad.probe in served.error


def test_server_that_is_not_there() -> None:
    with JudgeServer() as server:
        address = server.base_url
    version = judge_at(address, pairs=MANY_PAIRS)
    assert "cannot be reached. Check that it runs and that its address is right" in probe(version).error
    run = run_of(version)
    assert (run.state, run.verdicts.filter(state=VerdictState.PENDING).exists()) == (RunState.PAUSED, True)
    assert "cannot be reached" in run.reason


@pytest.mark.parametrize("refuses", [True, False])
def test_server_without_log_probabilities_still_judges(refuses: bool) -> None:
    def letters(call: Call) -> Served:
        if not call.first:
            return Talent(top_logprobs=0, refuses=refuses)(call)
        if refuses and "logprobs" in call.body:
            return failure(400, "logprobs are not supported by this model")
        return verdict(text=json.dumps({"choice": "A" if len(call.first) > len(call.second) else "B"}))

    with JudgeServer(letters) as server:
        version = judge_at(server.base_url, protocol="letter")
        served = probe(version)
        run = run_of(version)
    assert served.error == ""
    assert served.found["top_logprobs"] == 0
    assert run.state == RunState.DONE
    verdicts = list(run.verdicts.all())
    assert {(one.choice, one.meta["prob_from"]) for one in verdicts} == {("a", "choice")}
    assert all("logprobs" not in call.body for call in server.calls if call.first)
    assert Preference.objects.filter(choice="a").count() == PAIRS


@pytest.mark.parametrize("probed", [True, False])
def test_server_that_refuses_json_schema_still_judges(probed: bool) -> None:
    with JudgeServer(Talent(schema=False)) as server:
        version = judge_at(server.base_url)
        if probed:
            assert probe(version).found["format"] == "json_object"
        run = run_of(version)
    verdicts = list(run.verdicts.all())
    assert {(one.state, one.meta["format"]) for one in verdicts} == {(VerdictState.DONE, "json_object")}
    asked_in_vain = [call for call in server.calls if call.first and "json_schema" in json.dumps(call.body)]
    assert bool(asked_in_vain) != probed


def test_texts_that_no_database_takes_are_stored_marked() -> None:
    odd = "a\x00b\ud800c"
    with JudgeServer(lambda _call: verdict(rationale=odd, model=odd)) as server:
        version = judge_at(server.base_url)
        served = probe(version)
        run = run_of(version)
    marked = "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"
    assert served.found["answered_by"] == marked
    assert {(one.state, one.rationale, one.answered_by) for one in run.verdicts.all()} == {("done", marked, marked)}


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": -5, "completion_tokens": -1}, [], "many"])
def test_usage_that_cannot_be_true_is_unknown_and_books_the_most_a_call_can_cost(usage: Any) -> None:
    with JudgeServer(lambda _call: verdict(usage=usage)) as server:
        version = judge_at(server.base_url, **PRICES)
        served = probe(version)
        run = run_of(version)
    assert served.found["usage"] is False
    verdicts = list(run.verdicts.all())
    assert {(one.state, one.prompt_tokens, one.completion_tokens) for one in verdicts} == {("done", None, None)}
    assert all(one.cost_usd is not None and one.cost_usd > 0 for one in verdicts)
    assert run.spent_usd == sum(one.cost_usd or 0 for one in verdicts)


def test_memory_stays_bounded_while_a_server_sends_too_much() -> None:
    long = Served(content=b'{"a": "' + b"x" * 30 * 1024**2 + b'"}')
    with JudgeServer(answer(long)) as server:
        version = judge_at(server.base_url)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run = run_of(version)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert run.verdicts.filter(state=VerdictState.FAILED).count() == 2 * PAIRS
    # In KiB. The server's own copy was there before; eight answers of 30 MB were not taken in.
    assert after - before < 60 * 1024


def everything_stored() -> str:
    rows: list[Any] = []
    for model in (ServedModel, Verdict, CachedReply, JudgeRun, JudgeVersion, Preference):
        rows += [model_to_dict(row) | {"pk": row.pk} for row in model.objects.all()]
    return json.dumps(rows, default=str, ensure_ascii=False)


def quoting(call: Call) -> Iterator[Served]:
    """Yield answers that quote the key in every place a server can write in."""
    yield failure(401, f"Incorrect API key provided: {KEY}, or {KEY[:14]}***")
    yield failure(400, f"response_format is refused for {KEY}")
    yield failure(500, f"crashed with {KEY}")
    yield verdict(rationale=f"Your key is {KEY}, or {KEY[4:19]}.", model=f"model-{KEY}", finish_reason=KEY)
    yield verdict(text=f"{KEY} is what I was called with")
    yield verdict(text=json.dumps({"choice": KEY}))


@pytest.mark.parametrize("number", range(6))
def test_key_is_nowhere_but_in_the_header_of_its_own_server(number: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    def quote(call: Call) -> Served:
        return list(quoting(call))[number]

    with JudgeServer(quote) as server:
        server.routes["GET /v1/models"] = listing("stub-model", KEY, owned_by=KEY)
        server.routes["POST /v1/decisions"] = answer(decided({"type": "predicate", "name": KEY, "probability": 0.5}))
        version = judge_at(server.base_url)
        served = probe(version)
        run = run_of(version)
    assert {call.headers["authorization"] for call in server.calls + server.others} == {f"Bearer {KEY}"}
    assert all(KEY not in call.content.decode() for call in server.calls + server.others)
    stored = everything_stored() + str(served.error) + run.reason
    assert not [piece for piece in PIECES if piece in stored]
    assert not [piece for piece in PIECES if piece in caplog.text]


def test_no_request_of_a_bad_server_outlives_the_run(settings: Any) -> None:
    settings.JUDGE_TIMEOUT_SECONDS = 1.0
    before = threading.active_count()
    with JudgeServer(CASES["silent"].behave) as server:
        run_of(judge_at(server.base_url))
    assert threading.active_count() <= before + 3
