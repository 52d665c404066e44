"""Ask decision models: a probability for each option of typed questions, and no text.

Two forms are in use. OpenAI's (`/decisions`, also SGLang and LiteLLM) takes an `input` and a list of questions; System
One (`/systemone`: llama.cpp, vLLM, transformers, LiteLLM) a `state` and a map of them. The form of the body says which
is meant, and both come back in OpenAI's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from judges.clients.calling import exchange, persist
from judges.clients.completing import Reply, cached_tokens, finite, read_object, token_count
from judges.clients.failing import clean
from judges.clients.network import Endpoint
from judges.errors import CallFailed

DECISION = "decision"


def system_one(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request in System One's form, for one in OpenAI's. Questions keep their names, or get their numbers."""
    questions = {}
    for place, question in enumerate(body["questions"]):
        asked: dict[str, Any] = {"instructions": question["instructions"]}
        if question["type"] == "choice":
            options = {str(one["value"]): one.get("description") for one in question["choices"]}
            asked |= {"type": "choice", "criteria": options}
        elif question["type"] == "score":
            levels = [one.get("description") or one["label"] for one in question["levels"]]
            asked |= {"type": "score", "criteria": levels}
        else:
            asked["type"] = "noul"
        questions[question.get("name") or str(place)] = asked
    return {"model": body["model"], "state": body["input"], "questions": questions}


async def decide(endpoint: Endpoint, body: Mapping[str, Any]) -> Reply:
    """Ask for decisions, again where that is free and useful; `Reply.decisions` holds one entry a question.

    A body with a `state` goes to `/systemone`, one with an `input` to `/decisions`. Raises `CallFailed`.
    """
    names: Sequence[str] = list(body["questions"]) if "state" in body else []

    async def call() -> Reply:
        answer = await exchange(endpoint, "/systemone" if "state" in body else "/decisions", body)
        return read_decision(read_object(answer.text, DECISION), names, seconds=answer.seconds, key=endpoint.key)

    reply, met = await persist(endpoint, call)
    return reply._replace(rate_limits=met.rate_limits, server_errors=met.server_errors)


def read_decision(data: Mapping[str, Any], names: Sequence[str] = (), *, seconds: float = 0.0, key: str = "") -> Reply:
    """Read a decision in either form; `names` are those of the questions, in order. Raises `CallFailed` for none."""
    answers = data.get("answers")
    if isinstance(answers, dict):
        answers = [_in_our_form(name, answers.get(name)) for name in names]
    if not isinstance(answers, list) or not answers or not all(isinstance(one, dict) for one in answers):
        raise CallFailed(f"The server's answer is no {DECISION} (no answers).", maybe_billed=True, status=200)
    usage = data.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Reply(
        text="",
        finish_reason="",
        refusal="The model declined to answer." if all(one.get("type") == "refusal" for one in answers) else "",
        model=clean(data.get("model"), key)[:200],
        prompt_tokens=token_count(counts.get("input_tokens")),
        completion_tokens=token_count(counts.get("output_tokens")),
        logprobs=[],
        seconds=seconds,
        cached_tokens=cached_tokens(counts),
        decisions=[_storable(one, key) for one in answers],
    )


def _in_our_form(name: str, answer: object) -> object:
    """Return one answer of System One in OpenAI's form; anything else as it came."""
    if not isinstance(answer, dict):
        return answer
    if "noul" in answer:
        return {**_besides(answer, "noul"), "type": "predicate", "name": name, "probability": answer["noul"]}
    shares = answer.get("probabilities")
    if not isinstance(shares, dict):
        return {**answer, "name": name}
    legend = answer.get("legend")
    if answer.get("type") == "score":
        labels = legend if isinstance(legend, dict) else {}
        listed: list[dict[str, Any]] = [
            {"value": int(level), "label": labels.get(level, level), "probability": share}
            for level, share in shares.items()
            if level.isdecimal()
        ]
    else:
        listed = [{"value": option, "probability": share} for option, share in shares.items()]
    return {**_besides(answer, "legend"), "name": name, "probabilities": listed}


def _besides(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != name}


def _storable(value: Any, key: str) -> Any:
    if isinstance(value, str):
        return clean(value, key)
    if isinstance(value, list):
        return [_storable(one, key) for one in value]
    if isinstance(value, dict):
        return {clean(name, key): _storable(one, key) for name, one in value.items()}
    return finite(value) if isinstance(value, float) else value
