import asyncio
import json
import logging
import time
from typing import Any

import pytest

from judges.clients import RESPONSE_LIMIT_BYTES, Endpoint, Reply, complete, read_reply, scrub, submit
from judges.errors import CallFailed
from tests.judge_server import Behaviour, JudgeServer, Served, failure, verdict

KEY = "sk-CANARY-0123456789abcdef"
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "?"}], "max_tokens": 5}


def call(server: JudgeServer, *, key: str = "", timeout: float = 5.0, deadline: float = 20.0) -> Reply:
    return submit(complete(Endpoint(server.base_url, key, timeout, deadline), BODY)).result(timeout=60)


def failed_call(behave: Behaviour, **options: Any) -> tuple[CallFailed, int]:
    with JudgeServer(behave) as server, pytest.raises(CallFailed) as failed:
        call(server, **options)
    return failed.value, len(server.calls)


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


def test_hanging_server_is_left_after_the_timeout() -> None:
    started = time.monotonic()
    error, calls = failed_call(lambda one: Served(delay=30.0), timeout=0.5)
    assert time.monotonic() - started < 5.0
    assert (calls, error.maybe_billed, error.whole_judge) == (1, True, True)
    assert "within 0.5 seconds" in str(error)


def test_server_that_is_down_is_named() -> None:
    with JudgeServer() as server:
        address = server.base_url
    with pytest.raises(CallFailed) as failed:
        submit(complete(Endpoint(address, "", 2.0, 20.0), BODY)).result(timeout=60)
    assert failed.value.whole_judge
    assert not failed.value.maybe_billed
    assert "127.0.0.1" in str(failed.value)


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
    reply = read_reply(verdict(usage=usage).content, 0.1)
    assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)


def test_redirect_is_refused_and_nothing_reaches_the_other_server() -> None:
    with JudgeServer() as elsewhere:
        moved = Served(307, headers=(("Location", f"{elsewhere.base_url}/chat/completions"),))
        error, calls = failed_call(lambda one: moved, key=KEY)
    assert calls == 1
    assert elsewhere.calls == []
    assert "redirects" in str(error)


@pytest.mark.parametrize("status", [400, 401, 422, 500])
def test_key_in_an_error_is_neither_raised_nor_logged(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    quoting = f"Incorrect API key provided: {KEY}, or {KEY[:14]}***"
    error, _ = failed_call(lambda one: failure(status, quoting), key=KEY)
    pieces = {KEY[start : start + 8] for start in range(len(KEY) - 7)}
    for text in (str(error), error.detail, caplog.text):
        assert not [piece for piece in pieces if piece in text]


def test_key_is_sent_only_as_the_authorization_of_its_own_server() -> None:
    with JudgeServer() as server:
        call(server, key=KEY)
    assert server.calls[0].headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in json.dumps(server.calls[0].body)


def test_scrub_keeps_the_text_around_the_key() -> None:
    assert scrub(f"a {KEY} b {KEY[3:15]} c", KEY) == "a [key] b [key] c"
    assert scrub("nothing here", KEY) == "nothing here"
    assert scrub("short k1 key", "k1") == "short [key] key"


def test_many_calls_share_one_thread_and_run_at_once() -> None:
    async def many(server: JudgeServer) -> list[Reply]:
        endpoint = Endpoint(server.base_url, "", 10.0, 20.0)
        return await asyncio.gather(*(complete(endpoint, BODY) for _ in range(20)))

    with JudgeServer(latency=0.3) as server:
        started = time.monotonic()
        assert len(submit(many(server)).result(timeout=60)) == 20
        assert time.monotonic() - started < 4.0
