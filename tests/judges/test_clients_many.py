import json
from collections.abc import Sequence
from typing import Any

import pytest

from judges.clients import Endpoint, Reply, complete_many, submit
from judges.errors import CallFailed
from tests.judge_server import Behaviour, Call, JudgeServer, Served, failure, many, verdict

ROUTE = "POST /v1/chat/completions/batch"
KEY = "sk-CANARY-0123456789abcdef"


def body(text: str, **extra: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": 5, **extra}


def echo(call: Call) -> Served:
    """Answer with what was asked, and count one token a letter."""
    text = call.body["messages"][-1]["content"]
    return verdict(text=text, usage={"prompt_tokens": len(text), "completion_tokens": 2, "total_tokens": 0})


def ask(server: JudgeServer, bodies: Sequence[dict[str, Any]], **options: Any) -> list[Reply | CallFailed]:
    endpoint = Endpoint(server.base_url, KEY, options.get("timeout", 5.0), options.get("deadline", 20.0))
    return submit(complete_many(endpoint, bodies)).result(timeout=60)


def texts(answers: Sequence[Reply | CallFailed]) -> list[str]:
    return [one.text if isinstance(one, Reply) else f"failed: {one}" for one in answers]


def server_for_many(behave: Behaviour) -> JudgeServer:
    server = JudgeServer(echo)
    server.routes = {ROUTE: behave}
    return server


def test_conversations_go_in_one_request_and_answers_find_their_places() -> None:
    def in_reverse(call: Call) -> Served:
        data = json.loads(many(echo)(call).content)
        data["choices"].reverse()
        return Served(content=json.dumps(data).encode())

    asked = [body(f"question {number}") for number in range(7)]
    with server_for_many(in_reverse) as server:
        answers = ask(server, asked)
    assert texts(answers) == [f"question {number}" for number in range(7)]
    assert server.calls == []
    (seen,) = server.others
    assert seen.body == {"model": "m", "max_tokens": 5, "messages": [one["messages"] for one in asked]}


def test_shares_of_the_usage_add_up_to_it() -> None:
    asked = [body("x" * length) for length in (10, 20, 31)]
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 50},
    }

    def answer(call: Call) -> Served:
        data = json.loads(many(echo)(call).content)
        return Served(content=json.dumps({**data, "usage": usage}).encode())

    with server_for_many(answer) as server:
        replies = [one for one in ask(server, asked) if isinstance(one, Reply)]
    assert [one.prompt_tokens for one in replies] == [16, 33, 51]
    assert sum(one.prompt_tokens or 0 for one in replies) == 100
    assert sum(one.completion_tokens or 0 for one in replies) == 7
    assert sum(one.cached_tokens or 0 for one in replies) == 50


def test_usage_that_is_missing_is_unknown_for_all() -> None:
    def answer(call: Call) -> Served:
        data = json.loads(many(echo)(call).content)
        return Served(content=json.dumps({**data, "usage": None}).encode())

    with server_for_many(answer) as server:
        replies = [one for one in ask(server, [body("a"), body("b")]) if isinstance(one, Reply)]
    assert [(one.prompt_tokens, one.completion_tokens) for one in replies] == [(None, None)] * 2


def test_bodies_that_differ_in_more_than_messages_go_apart() -> None:
    with server_for_many(many(echo)) as server:
        answers = ask(server, [body("a"), body("b", seed=1), body("c"), body("d", seed=1)])
    assert texts(answers) == ["a", "b", "c", "d"]
    assert sorted(len(one.body["messages"]) for one in server.others) == [2, 2]


def test_one_conversation_that_is_refused_does_not_cost_the_others() -> None:
    def picky(call: Call) -> Served:
        if any("long" in one[-1]["content"] for one in call.body["messages"]):
            return failure(400, "This model's maximum context length is 10 tokens")
        return many(echo)(call)

    with server_for_many(picky) as server:
        server.behave = lambda call: failure(400, "too long") if "long" in str(call.body) else echo(call)
        answers = ask(server, [body(text) for text in ("a", "b", "c", "too long", "e", "f", "g", "h")])
    assert texts([*answers[:3], *answers[4:]]) == ["a", "b", "c", "e", "f", "g", "h"]
    refused = answers[3]
    assert isinstance(refused, CallFailed)
    assert (refused.status, refused.detail, refused.maybe_billed) == (400, "too long", False)


def test_conversation_without_a_choice_fails_alone_and_may_be_asked_again() -> None:
    def one_short(call: Call) -> Served:
        data = json.loads(many(echo)(call).content)
        data["choices"][1] = {"index": 1, "error": {"message": f"the engine fell over with {KEY}"}}
        return Served(content=json.dumps(data).encode())

    with server_for_many(one_short) as server:
        answers = ask(server, [body("a"), body("b"), body("c")])
    assert texts([answers[0], answers[2]]) == ["a", "c"]
    failed = answers[1]
    assert isinstance(failed, CallFailed)
    assert str(failed).endswith("the engine fell over with [key]")
    assert (failed.retryable, failed.maybe_billed) == (True, True)


@pytest.mark.parametrize("status", [404, 405, 501])
def test_server_that_knows_single_completions_only_is_remembered(status: int) -> None:
    with server_for_many(lambda _call: failure(status, "Not Found")) as server:
        assert texts(ask(server, [body("a"), body("b")])) == ["a", "b"]
        assert texts(ask(server, [body("c"), body("d")])) == ["c", "d"]
    assert len(server.others) == 1
    assert len(server.calls) == 4


def test_one_conversation_is_a_single_completion() -> None:
    with server_for_many(many(echo)) as server:
        assert texts(ask(server, [body("a")])) == ["a"]
        assert ask(server, []) == []
    assert (len(server.calls), len(server.others)) == (1, 0)


def test_trouble_is_tried_again_and_counted_once() -> None:
    def troubled(call: Call) -> Served:
        return failure(429, retry_after="0") if call.number == 1 else many(echo)(call)

    with server_for_many(troubled) as server:
        answers = ask(server, [body("a"), body("b")])
    assert texts(answers) == ["a", "b"]
    assert [one.rate_limits for one in answers] == [1, 0]


def test_request_that_fails_whole_fails_each_conversation_with_the_reason() -> None:
    with server_for_many(lambda _call: Served(content=b'{"choices": [{"ind')) as server:
        answers = ask(server, [body("a"), body("b")])
    assert all(isinstance(one, CallFailed) and "cut off" in str(one) and one.maybe_billed for one in answers)


def test_trouble_of_a_request_that_fails_whole_is_counted_once() -> None:
    with server_for_many(lambda _call: failure(429, retry_after="0")) as server:
        answers = ask(server, [body("a"), body("b"), body("c")])
    assert [one.rate_limits for one in answers] == [4, 0, 0]
    assert all(isinstance(one, CallFailed) and one.whole_judge and one.status == 429 for one in answers)
    assert answers[0] is not answers[1]


def test_many_long_answers_fit() -> None:
    def wordy(call: Call) -> Served:
        return many(lambda _one: verdict(text="x" * 600_000))(call)

    with server_for_many(wordy) as server:
        answers = ask(server, [body("a"), body("b"), body("c")])
    assert [len(text) for text in texts(answers)] == [600_000] * 3


def test_no_conversation_s_share_is_more_than_it_may_write_while_all_together_wrote_no_more() -> None:
    def reasoned_in_silence(call: Call) -> Served:
        data = json.loads(many(echo)(call).content)
        data["usage"] = {"prompt_tokens": 9, "completion_tokens": written}
        return Served(content=json.dumps(data).encode())

    asked = [body("long " * 90), body("x"), body("y")]
    with server_for_many(reasoned_in_silence) as server:
        for written in (3, 12, 15, 30):
            answers = ask(server, asked)
            shares = [one.completion_tokens or 0 for one in answers if isinstance(one, Reply)]
            # More than all of them may write is left as it is: whoever keeps a cap is to see it.
            assert (len(shares), sum(shares)) == (3, written)
            assert (max(shares) <= 5) == (written <= 15)
