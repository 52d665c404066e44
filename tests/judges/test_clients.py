import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from typing import Any

import pytest

from judges.clients import (
    RESPONSE_LIMIT_BYTES,
    Endpoint,
    Reply,
    at_most,
    complete,
    exchange,
    network,
    read_object,
    read_reply,
    scrub,
    submit,
)
from judges.clients.transports import transport_of
from judges.errors import CallFailed
from tests.judge_server import Behaviour, Call, JudgeServer, Served, failure, listing, verdict

KEY = "sk-CANARY-0123456789abcdef"
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "?"}], "max_tokens": 5}


@pytest.fixture(params=["aiohttp", "httpx"])
def transport(request: pytest.FixtureRequest, settings: Any) -> str:
    """Run a test once on each transport: what guards one guards the other."""
    settings.JUDGE_TRANSPORT = request.param
    return str(request.param)


both_transports = pytest.mark.usefixtures("transport")


def call(server: JudgeServer, *, key: str = "", timeout: float = 5.0, deadline: float = 20.0) -> Reply:
    return submit(complete(Endpoint(server.base_url, key, timeout, deadline), BODY)).result(timeout=60)


def failed_call(behave: Behaviour, **options: Any) -> tuple[CallFailed, int]:
    with JudgeServer(behave) as server, pytest.raises(CallFailed) as failed:
        call(server, **options)
    return failed.value, len(server.calls)


@both_transports
def test_reply_holds_text_usage_and_model() -> None:
    with JudgeServer() as server:
        reply = call(server)
    assert (reply.model, reply.prompt_tokens, reply.completion_tokens) == ("stub-model", 100, 20)
    assert reply.seconds > 0


@pytest.mark.parametrize("status", [429, 500, 503, 409])
def test_failure_that_costs_nothing_is_tried_again_with_patience(status: int) -> None:
    with JudgeServer(lambda one: failure(status) if one.number < 3 else verdict("first")) as server:
        assert "first" in call(server).text
    assert len(server.calls) == 3


def test_tries_are_bounded() -> None:
    error, calls = failed_call(lambda one: failure(500))
    assert calls == 4
    assert error.retryable
    assert "HTTP 500" in str(error)


def test_retry_after_is_honoured() -> None:
    with JudgeServer(lambda one: failure(429, retry_after="1") if one.number == 1 else verdict()) as server:
        call(server)
    first, second = server.calls
    assert 0.95 <= second.at - first.at < 3.0


def test_retry_after_longer_than_the_deadline_fails_at_once() -> None:
    started = time.monotonic()
    error, calls = failed_call(lambda one: failure(429, retry_after="30"), deadline=2.0)
    assert calls == 1
    assert error.retry_after == 30.0
    assert time.monotonic() - started < 2.0


@both_transports
@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "TIEBREAK_JUDGE_KEYS"),
        (403, "TIEBREAK_JUDGE_KEYS"),
        (404, "address and model"),
        (418, "refused the request"),
    ],
)
def test_refusal_is_not_tried_again(status: int, words: str) -> None:
    error, calls = failed_call(lambda one: failure(status))
    assert calls == 1
    assert words in str(error)


@both_transports
def test_hanging_server_is_left_after_the_timeout() -> None:
    started = time.monotonic()
    error, calls = failed_call(lambda one: Served(delay=30.0), timeout=0.5)
    assert time.monotonic() - started < 5.0
    assert (calls, error.maybe_billed, error.whole_judge) == (1, True, True)
    assert "within 0.5 seconds" in str(error)


@both_transports
def test_server_that_is_down_is_named() -> None:
    with JudgeServer() as server:
        address = server.base_url
    with pytest.raises(CallFailed) as failed:
        submit(complete(Endpoint(address, "", 2.0, 20.0), BODY)).result(timeout=60)
    assert failed.value.whole_judge
    assert not failed.value.maybe_billed
    assert "127.0.0.1" in str(failed.value)


@both_transports
@pytest.mark.parametrize(
    ("served", "words"),
    [
        (Served(content=verdict().content[:40]), "cut off"),
        (Served(content=b""), "empty"),
        (Served(content=b"\xff\xfe{"), "no JSON"),
        (Served(content=b"[" * 100_000), "no JSON"),
        (Served(content=b"<html>hello</html>", headers=(("Content-Type", "text/html"),)), "web page"),
        (Served(content=b'"text"'), "no chat completion"),
        (Served(content=b"{}"), "no chat completion"),
        (Served(content=b'{"choices": []}'), "no chat completion"),
        (Served(content=b'{"choices": [{"message": "first"}]}'), "no chat completion"),
        (Served(content=b'{"a": "' + b"x" * 10 * 1024**2 + b'"}'), f"longer than {RESPONSE_LIMIT_BYTES:,} bytes"),
        (Served(content=b"\x1f\x8b", headers=(("Content-Encoding", "gzip"),)), "compressed"),
        (Served(content=verdict().content, cut=20), "broke the connection"),
    ],
)
def test_answer_that_is_no_chat_completion_is_said_to_be_none_and_not_asked_again_unpaid(
    served: Served, words: str
) -> None:
    error, calls = failed_call(lambda one: served)
    assert calls == 1
    assert words in str(error)


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": -5, "completion_tokens": "3"}, [], {"prompt_tokens": True}])
def test_usage_that_cannot_be_true_is_unknown(usage: Any) -> None:
    reply = read_reply(json.loads(verdict(usage=usage).content))
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)


@both_transports
def test_redirect_is_refused_and_nothing_reaches_the_other_server() -> None:
    with JudgeServer() as elsewhere:
        moved = Served(307, headers=(("Location", f"{elsewhere.base_url}/chat/completions"),))
        error, calls = failed_call(lambda one: moved, key=KEY)
    assert calls == 1
    assert elsewhere.calls == []
    assert "redirects" in str(error)


@both_transports
@pytest.mark.parametrize("status", [400, 401, 422, 500])
def test_key_in_an_error_is_neither_raised_nor_logged(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    quoting = f"Incorrect API key provided: {KEY}, or {KEY[:14]}***"
    error, _ = failed_call(lambda one: failure(status, quoting), key=KEY)
    pieces = {KEY[start : start + 8] for start in range(len(KEY) - 7)}
    for text in (str(error), error.detail, caplog.text):
        assert not [piece for piece in pieces if piece in text]


@both_transports
def test_key_is_sent_only_as_the_authorization_of_its_own_server() -> None:
    with JudgeServer() as server:
        call(server, key=KEY)
    assert server.calls[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in json.dumps(server.calls[0].body)


def test_scrub_keeps_the_text_around_the_key() -> None:
    assert scrub(f"a {KEY} b {KEY[3:15]} c", KEY) == "a [key] b [key] c"
    assert scrub("nothing here", KEY) == "nothing here"
    assert scrub("short k1 key", "k1") == "short [key] key"


@both_transports
def test_many_calls_share_one_thread_and_run_at_once() -> None:
    async def many(server: JudgeServer) -> list[Reply]:
        endpoint = Endpoint(server.base_url, "", 10.0, 20.0)
        return await asyncio.gather(*(complete(endpoint, BODY) for _ in range(20)))

    with JudgeServer(latency=0.3) as server:
        started = time.monotonic()
        assert len(submit(many(server)).result(timeout=60)) == 20
        assert time.monotonic() - started < 4.0


@both_transports
@pytest.mark.parametrize("content", [verdict().content, b""])
def test_server_that_drips_for_ever_is_left_after_the_timeout(content: bytes) -> None:
    started = time.monotonic()
    error, calls = failed_call(lambda one: Served(content=content, drip=0.05), timeout=0.7)
    assert time.monotonic() - started < 5.0
    assert (calls, error.maybe_billed, error.whole_judge) == (1, True, True)
    assert "within 0.7 seconds" in str(error)


@both_transports
def test_long_answer_is_cut_off_without_being_held() -> None:
    served = Served(content=b'{"a": "' + b"x" * 50 * 1024**2 + b'"}')
    tracemalloc.start()
    try:
        error, _ = failed_call(lambda one: served, timeout=20.0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "was cut off" in str(error)
    assert peak < 16 * 1024**2


@both_transports
def test_caller_may_allow_a_longer_answer_for_one_call() -> None:
    async def ask(endpoint: Endpoint) -> int:
        with at_most(3 * RESPONSE_LIMIT_BYTES):
            return len((await exchange(endpoint, "/chat/completions", BODY)).text)

    long = verdict(text="x" * 2 * RESPONSE_LIMIT_BYTES)
    with JudgeServer(lambda one: long) as server:
        endpoint = Endpoint(server.base_url, "", 10.0, 10.0)
        assert submit(ask(endpoint)).result(timeout=60) == len(long.content)
        with pytest.raises(CallFailed, match="longer than"):
            submit(complete(endpoint, BODY)).result(timeout=60)


@both_transports
def test_proxies_and_credentials_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with JudgeServer() as proxy, JudgeServer() as server:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.base_url)
        monkeypatch.setenv("OPENAI_ORG_ID", "org-secret")
        monkeypatch.setenv("OPENAI_PROJECT_ID", "project-secret")
        call(server, key="sk-of-this-test-alone")
    assert (proxy.calls, proxy.others) == ([], [])
    assert len(server.calls) == 1
    assert "secret" not in json.dumps(server.calls[0].headers)


@both_transports
def test_cookies_are_not_kept() -> None:
    answer = verdict()._replace(headers=(("Set-Cookie", "tracked=1"),))
    with JudgeServer(lambda one: answer) as server:
        call(server)
        call(server)
    assert ["cookie" in one.headers for one in server.calls] == [False, False]
    assert {one.headers["accept-encoding"] for one in server.calls} == {"identity"}


@both_transports
def test_connection_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with JudgeServer() as server:
        opened: list[Any] = []
        accept = server._http.get_request

        def counted() -> Any:
            opened.append(accept())
            return opened[-1]

        monkeypatch.setattr(server._http, "get_request", counted)
        for _ in range(5):
            call(server)
    assert len(server.calls) == 5
    assert len(opened) == 1


@both_transports
def test_connection_that_breaks_before_an_answer_may_have_been_charged() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def hang_up() -> None:
        connection, _ = listener.accept()
        connection.recv(100)
        connection.close()

    thread = threading.Thread(target=hang_up)
    thread.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    with pytest.raises(CallFailed) as failed:
        submit(complete(Endpoint(address, "", 5.0, 20.0), BODY)).result(timeout=60)
    thread.join()
    listener.close()
    assert failed.value.maybe_billed
    assert "broke the connection" in str(failed.value)
    assert (failed.value.rate_limits, failed.value.server_errors) == (0, 1)


@both_transports
def test_address_that_speaks_no_https_is_said_to_speak_none() -> None:
    with JudgeServer() as server:
        endpoint = Endpoint(server.base_url.replace("http://", "https://"), "", 5.0, 20.0)
        with pytest.raises(CallFailed) as failed:
            submit(complete(endpoint, BODY)).result(timeout=60)
    assert "No safe connection" in str(failed.value)
    assert (failed.value.maybe_billed, failed.value.whole_judge) == (False, True)


@both_transports
def test_list_is_read_by_a_get() -> None:
    with JudgeServer() as server:
        server.routes["GET /v1/models"] = listing("small")
        answer = submit(exchange(Endpoint(server.base_url, KEY, 5.0, 5.0), "/models?limit=1")).result(timeout=60)
    assert read_object(answer.text, "list")["data"][0]["id"] == "small"
    (seen,) = server.others
    assert (seen.method, seen.path, seen.query, seen.content) == ("GET", "/v1/models", "limit=1", b"")


def test_unknown_transport_is_refused_at_start() -> None:
    environment = {**os.environ, "TIEBREAK_JUDGE_TRANSPORT": "pigeon", "SECRET_KEY": "x"}
    started = subprocess.run(
        [sys.executable, "-c", "import config.settings"], env=environment, capture_output=True, text=True, check=False
    )
    assert started.returncode != 0
    assert "TIEBREAK_JUDGE_TRANSPORT is 'pigeon'; it takes 'aiohttp' or 'httpx'." in started.stderr


# What is registered first is run last: after the connections are closed.
ASK_ONCE = """
import atexit, gc, sys, django, httpx2
def left_open():
    return sum(type(one) is httpx2.AsyncClient and not one.is_closed for one in gc.get_objects())
atexit.register(lambda: print("open:", left_open()))
django.setup()
from judges.clients import Endpoint, complete, submit
body = {"model": "m", "messages": [{"role": "user", "content": "?"}], "max_tokens": 5}
print(submit(complete(Endpoint(sys.argv[1], "", 5.0, 5.0), body)).result(timeout=30).model)
"""


@pytest.mark.parametrize("name", ["aiohttp", "httpx"])
def test_process_that_asked_closes_its_connections_when_it_ends(name: str) -> None:
    environment = {**os.environ, "TIEBREAK_JUDGE_TRANSPORT": name, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    with JudgeServer() as server:
        asked = subprocess.run(
            [sys.executable, "-W", "always::ResourceWarning", "-c", ASK_ONCE, server.base_url],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert (asked.returncode, asked.stdout) == (0, "stub-model\nopen: 0\n")
    assert "Unclosed" not in asked.stderr


def test_every_transport_that_can_be_set_is_there() -> None:
    assert {name: type(transport_of(name)).__name__ for name in ("aiohttp", "httpx")} == {
        "aiohttp": "AiohttpTransport",
        "httpx": "HttpxTransport",
    }


def test_tries_that_met_trouble_are_counted() -> None:
    def troubled(one: Call) -> Served:
        return {1: failure(429), 2: failure(500), 3: failure(429)}.get(one.number, verdict())

    with JudgeServer(troubled) as server:
        reply = call(server)
    assert (reply.rate_limits, reply.server_errors) == (2, 1)
    error, calls = failed_call(lambda one: failure(429, retry_after="0"))
    assert (calls, error.rate_limits, error.server_errors, error.whole_judge) == (4, 4, 0, True)


def test_finer_retry_after_is_honoured_before_the_other() -> None:
    hurried = failure(429, retry_after="30", retry_after_ms="400")
    with JudgeServer(lambda one: hurried if one.number == 1 else verdict()) as server:
        call(server)
    first, second = server.calls
    assert 0.38 <= second.at - first.at < 3.0


@pytest.mark.parametrize("value", ["nan", "inf", "soon", "-3", "Sat, 01 Jan 2000 00:00:00 GMT"])
def test_retry_after_that_makes_no_sense_is_no_long_rest(value: str) -> None:
    started = time.monotonic()
    with JudgeServer(lambda one: failure(429, retry_after=value) if one.number == 1 else verdict()) as server:
        call(server)
    assert len(server.calls) == 2
    assert time.monotonic() - started < 4.0


def test_whole_endpoint_rests_when_one_call_is_told_to() -> None:
    async def one_then_many(server: JudgeServer) -> None:
        endpoint = Endpoint(server.base_url, "", 10.0, 20.0)
        first = asyncio.create_task(complete(endpoint, BODY))
        while not network().not_before.get(server.base_url):
            await asyncio.sleep(0.01)
        await asyncio.gather(first, *(complete(endpoint, BODY) for _ in range(5)))

    told = failure(429, retry_after="1")
    with JudgeServer(lambda one: told if one.number == 1 else verdict()) as server:
        submit(one_then_many(server)).result(timeout=60)
    assert len(server.calls) == 7
    assert min(one.at for one in server.calls[1:]) - server.calls[0].at >= 0.95


def test_rest_that_outlasts_the_deadline_fails_without_a_call() -> None:
    with JudgeServer() as server:
        network().not_before[server.base_url] = time.monotonic() + 30.0
        with pytest.raises(CallFailed, match="asks for a rest") as failed:
            call(server, deadline=2.0)
    assert server.calls == []
    assert (failed.value.retryable, failed.value.maybe_billed, failed.value.whole_judge) == (True, False, True)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"error": {"message": "wrong model"}}, "wrong model"),
        ({"error": "wrong model"}, "wrong model"),
        ({"detail": "wrong model"}, "wrong model"),
        ({"message": "wrong model"}, "wrong model"),
        ({"detail": [{"loc": ["body", "seed"], "msg": "extra"}]}, '[{"loc": ["body", "seed"], "msg": "extra"}]'),
        ({"detail": {"wrong": 1}}, ""),
        ([], ""),
    ],
)
def test_servers_words_of_refusal_are_read_in_every_form(body: Any, detail: str) -> None:
    error, _ = failed_call(lambda one: Served(400, json.dumps(body).encode()))
    assert error.detail == detail
    assert str(error).endswith(detail or "no reason")


def test_reply_comes_back_from_the_cache_as_it_went_in() -> None:
    tokens = [
        {"token": "A", "logprob": -0.25, "bytes": [65], "top_logprobs": [{"token": "A", "logprob": -0.25}, "odd"]},
        {"token": "}", "logprob": None},
    ]
    data = json.loads(verdict(usage={"prompt_tokens": 0, "prompt_tokens_details": {"cached_tokens": 7}}).content)
    data["choices"][0]["logprobs"] = {"content": tokens}
    reply = read_reply(data, seconds=0.5)._replace(rate_limits=3)
    stored = json.loads(json.dumps(reply.as_json()))
    assert "rate_limits" not in stored
    again = Reply.from_json(stored)
    assert again == reply._replace(
        rate_limits=0,
        logprobs=[
            {"token": "A", "logprob": -0.25, "top_logprobs": [{"token": "A", "logprob": -0.25}]},
            {"token": "}", "logprob": None, "top_logprobs": []},
        ],
    )
    assert (again.prompt_tokens, again.completion_tokens, again.cached_tokens) == (0, None, 7)


def test_texts_can_be_stored_whatever_the_server_sends() -> None:
    odd = "a\x00b\ud800c"
    content = json.dumps({"choices": [{"message": {"content": odd, "refusal": odd}}], "model": odd}).encode()
    with JudgeServer(lambda one: Served(content=content)) as server:
        reply = call(server)
    assert {reply.text, reply.refusal, reply.model} == {"a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"}


def test_bytes_that_are_no_utf8_are_marked_and_the_rest_is_read() -> None:
    content = (
        verdict(text="gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n").content.decode("unicode_escape").encode("latin-1")
    )
    with JudgeServer(lambda one: Served(content=content)) as server:
        assert call(server).text == "gr\N{REPLACEMENT CHARACTER}n"


def test_content_in_parts_is_one_text() -> None:
    parts = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "fir"},
        {"text": "st"},
        "odd",
        {"text": 3},
    ]
    data = {"choices": [{"message": {"content": parts}}]}
    assert read_reply(data).text == "first"


def test_logprobs_that_no_database_takes_are_stored_as_unknown() -> None:
    token = {"token": "A", "logprob": -1e999, "top_logprobs": [{"token": "A", "logprob": True}]}
    data = {"choices": [{"message": {"content": "A"}, "logprobs": {"content": [token]}}]}
    assert read_reply(data).as_json()["logprobs"] == [["A", None, [["A", None]]]]


def test_numbers_that_are_no_json_are_none() -> None:
    assert read_object('{"a": NaN, "b": [Infinity, -Infinity, 1.5]}', "test") == {"a": None, "b": [None, None, 1.5]}


@pytest.mark.parametrize("hidden", [KEY, KEY[5:], "".join(f"\\u{ord(letter):04x}" for letter in KEY)])
def test_key_in_an_answer_is_taken_out_however_it_is_written(hidden: str) -> None:
    content = verdict(text="It is @@.", model="@@").content.replace(b"@@", hidden.encode())
    with JudgeServer(lambda one: Served(content=content)) as server:
        reply = call(server, key=KEY)
    assert reply.text == "It is [key]."
    assert reply.model == "[key]"


def test_scrub_finds_every_piece_of_eight() -> None:
    for start in range(len(KEY) - 7):
        assert scrub(f"x{KEY[start : start + 8]}y", KEY) == "x[key]y"
    assert scrub(KEY[:7], KEY) == KEY[:7]
