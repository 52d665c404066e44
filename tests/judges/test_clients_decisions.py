import json
from typing import Any

import pytest

from judges.clients import Endpoint, Reply, decide, submit, system_one
from judges.errors import CallFailed
from tests.judge_server import Behaviour, JudgeServer, Served, decided, decided_by_system_one, failure

KEY = "sk-CANARY-0123456789abcdef"
BODY: dict[str, Any] = {
    "model": "m",
    "input": "two responses",
    "questions": [
        {
            "type": "choice",
            "name": "overall",
            "instructions": "Which is better?",
            "choices": [{"value": "A", "description": "the first"}, {"value": "B"}],
        },
        {
            "type": "score",
            "name": "depth",
            "instructions": "How deep?",
            "levels": [{"label": "1", "description": "shallow"}, {"label": "2"}],
        },
        {"type": "predicate", "name": "safe", "instructions": "It is safe."},
    ],
}
ANSWERS: list[dict[str, Any]] = [
    {
        "type": "choice",
        "name": "overall",
        "choice": "A",
        "confidence": 0.4,
        "probabilities": [{"value": "A", "probability": 0.7}, {"value": "B", "probability": 0.3}],
    },
    {
        "type": "score",
        "name": "depth",
        "score": 0.9,
        "confidence": 0.8,
        "probabilities": [
            {"value": 0, "label": "1", "probability": 0.1},
            {"value": 1, "label": "2", "probability": 0.9},
        ],
    },
    {"type": "predicate", "name": "safe", "probability": 0.95},
]


def ask(behave: Behaviour, body: dict[str, Any], route: str = "POST /v1/decisions") -> tuple[Reply, JudgeServer]:
    with JudgeServer() as server:
        server.routes = {route: behave}
        return submit(decide(Endpoint(server.base_url, KEY, 5.0, 20.0), body)).result(timeout=60), server


def test_decisions_come_back_in_order_with_their_usage() -> None:
    reply, server = ask(lambda _call: decided(*ANSWERS), BODY)
    assert reply.decisions == ANSWERS
    assert (reply.model, reply.text, reply.refusal) == ("stub-decider", "", "")
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens) == (50, 0, 8)
    assert server.others[0].body == BODY
    assert Reply.from_json(json.loads(json.dumps(reply.as_json()))) == reply


def test_system_one_is_asked_in_its_form_and_read_into_ours() -> None:
    answers = {
        "safe": {"type": "noul", "noul": 0.95},
        "depth": {
            "type": "score",
            "score": 0.9,
            "confidence": 0.8,
            "legend": {"0": "1", "1": "2"},
            "probabilities": {"0": 0.1, "1": 0.9},
        },
        "overall": {"type": "choice", "choice": "A", "confidence": 0.4, "probabilities": {"A": 0.7, "B": 0.3}},
    }
    body = system_one(BODY)
    assert body == {
        "model": "m",
        "state": "two responses",
        "questions": {
            "overall": {
                "type": "choice",
                "instructions": "Which is better?",
                "criteria": {"A": "the first", "B": None},
            },
            "depth": {"type": "score", "instructions": "How deep?", "criteria": ["shallow", "2"]},
            "safe": {"type": "noul", "instructions": "It is safe."},
        },
    }
    reply, server = ask(lambda _call: decided_by_system_one(answers), body, "POST /v1/systemone")
    assert reply.decisions == ANSWERS
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens) == (50, 2, None)
    assert server.others[0].body == body


def test_refusal_of_every_question_is_a_refusal() -> None:
    declined = {"type": "refusal", "name": None}
    some, _ = ask(lambda _call: decided(ANSWERS[0], declined), BODY)
    assert some.refusal == ""
    assert some.decisions[1]["type"] == "refusal"
    none, _ = ask(lambda _call: decided(declined, declined, declined), BODY)
    assert "declined" in none.refusal


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{}", "no answers"),
        (b'{"answers": []}', "no answers"),
        (b'{"answers": ["A"]}', "no answers"),
        (b'{"answers": {"overall": 3}}', "no answers"),
        (b"[]", "no object"),
        (b"", "empty"),
        (b'{"answers": [{"type"', "cut off"),
        (b"<html>", "web page"),
    ],
)
def test_answer_that_is_no_decision_is_said_to_be_none(content: bytes, words: str) -> None:
    with pytest.raises(CallFailed, match=words):
        ask(lambda _call: Served(content=content), BODY)
    with pytest.raises(CallFailed, match=words):
        ask(lambda _call: Served(content=content), system_one(BODY), "POST /v1/systemone")


def test_texts_in_answers_are_free_of_the_key_and_can_be_stored() -> None:
    odd = {"type": "choice", "name": "overall", "choice": f"\x00{KEY}", "probabilities": []}
    reply, _ = ask(lambda _call: decided(odd), BODY)
    assert reply.decisions[0]["choice"] == "\N{REPLACEMENT CHARACTER}[key]"


def test_trouble_is_tried_again_and_counted() -> None:
    reply, server = ask(lambda call: failure(503) if call.number == 1 else decided(*ANSWERS), BODY)
    assert (reply.server_errors, len(server.others)) == (1, 2)


def test_probability_that_no_database_takes_is_unknown() -> None:
    content = decided({"type": "predicate", "name": "safe", "probability": 0.5}).content.replace(b"0.5", b"1e999")
    reply, _ = ask(lambda _call: Served(content=content), BODY)
    assert reply.decisions == [{"type": "predicate", "name": "safe", "probability": None}]
