from collections.abc import Sequence
from typing import Any

import pytest
from django.utils import timezone

from judges.capabilities import Capabilities, address_of, capabilities_of
from judges.defining import add_judge
from judges.errors import CallFailed
from judges.models import Judge, JudgeKind, JudgeVersion, ServedModel
from judges.questions import Protocol, Question
from tests.builders import make_project

QUESTION = Question(None, [{"role": "user", "content": "Name a prime."}], "Seven.", "Eight.", "ab")
ADDRESS = "http://127.0.0.1:8000/v1"


def version_of(protocol: str = Protocol.LETTER, **fields: Any) -> JudgeVersion:
    """Return a version that is in no database."""
    kind = JudgeKind.DECISIONS if protocol == Protocol.DECISIONS else JudgeKind.OPENAI
    values = {"sampling": {"max_tokens": 24, "temperature": 0}, "prompt_template": "Judge.", "model": "m", **fields}
    return JudgeVersion(judge=Judge(name="Stub", kind=kind), protocol=protocol, base_url=ADDRESS, **values)


def refusal(detail: str, status: int = 400) -> CallFailed:
    return CallFailed("refused", status=status, detail=detail)


def taught(version: JudgeVersion, refusals: Sequence[str], address: str = ADDRESS) -> Capabilities:
    can = Capabilities(version, address)
    for detail in refusals:
        assert can.learn_from(refusal(detail), can.tried())
    return can


def test_first_request_asks_for_everything() -> None:
    version = version_of()
    body = Capabilities(version, ADDRESS).request(version, QUESTION)
    assert (body["model"], body["max_tokens"], body["temperature"]) == ("m", 24, 0)
    assert body["response_format"]["type"] == "json_schema"
    assert body["response_format"]["json_schema"]["strict"] is True
    assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]


def test_log_probabilities_are_asked_for_only_where_they_are_read() -> None:
    version = version_of(Protocol.PAIRWISE, sampling={"max_tokens": 500})
    body = Capabilities(version, ADDRESS).request(version, QUESTION)
    assert "logprobs" not in body


def test_openai_is_asked_by_the_newer_name_of_the_limit() -> None:
    version = version_of()
    body = Capabilities(version, "https://api.openai.com/v1").request(version, QUESTION)
    assert body["max_completion_tokens"] == 24
    assert "max_tokens" not in body


@pytest.mark.parametrize(
    ("refusals", "left_out", "kept"),
    [
        (["response_format is not supported"], set(), {"response_format": {"type": "json_object"}}),
        (["no json_schema", "no json_object"], {"response_format"}, {}),
        (["grammar cannot be built"], set(), {"response_format": {"type": "json_object"}}),
        (["top_logprobs must be at most 5"], set(), {"top_logprobs": 5}),
        (["top_logprobs must be at most 5", "top_logprobs must be 0"], {"logprobs", "top_logprobs"}, {}),
        (["logprobs are not supported"], {"logprobs", "top_logprobs"}, {"temperature": 0}),
        (["Unsupported value: 'temperature'"], {"temperature"}, {"max_tokens": 24}),
        (["Use 'max_completion_tokens' instead of 'max_tokens'"], {"max_tokens"}, {"max_completion_tokens": 24}),
    ],
)
def test_what_a_server_refuses_is_left_out(refusals: list[str], left_out: set[str], kept: dict[str, Any]) -> None:
    version = version_of()
    body = taught(version, refusals).request(version, QUESTION)
    assert not left_out.intersection(body)
    assert {name: body[name] for name in kept} == kept


@pytest.mark.parametrize(
    "failure",
    [
        refusal("the model does not exist"),
        refusal("temperature", status=401),
        refusal("logprobs", status=500),
        refusal("seed is not supported"),
        refusal("", status=404),
    ],
)
def test_refusal_that_teaches_nothing_is_not_asked_again(failure: CallFailed) -> None:
    can = Capabilities(version_of(), ADDRESS)
    before = can.tried()
    assert not can.learn_from(failure, before)
    assert can.tried() == before


def test_learning_ends() -> None:
    everything = refusal(
        "logprobs, top_logprobs, temperature, seed, top_p, json_schema, max_tokens, max_completion_tokens"
    )
    can = Capabilities(version_of(sampling={"max_tokens": 9, "temperature": 0, "seed": 1, "top_p": 1}), ADDRESS)
    learned = 0
    while learned < 20 and can.learn_from(everything, can.tried()):
        learned += 1
    assert learned == 8


def test_refusal_of_a_form_that_another_question_has_changed_is_asked_again() -> None:
    can = Capabilities(version_of(), ADDRESS)
    tried = can.tried()
    assert can.learn_from(refusal("logprobs"), tried)
    learned = can.tried()
    assert can.learn_from(refusal("logprobs"), tried)
    assert can.tried() == learned


def test_what_was_left_out_is_kept_with_the_answer() -> None:
    can = taught(version_of(), ["temperature", "json_schema"])
    assert can.in_words() == {"format": "json_object", "without": ["temperature"]}


def test_decisions_go_to_the_other_address_once() -> None:
    version = version_of(Protocol.DECISIONS, sampling={"max_tokens": 1})
    can = Capabilities(version, ADDRESS)
    assert set(can.request(version, QUESTION)) == {"model", "input", "questions"}
    assert can.learn_from(refusal("Not Found", status=404), can.tried())
    assert set(can.request(version, QUESTION)) == {"model", "state", "questions"}
    assert not can.learn_from(refusal("Not Found", status=404), can.tried())


def test_findings_of_the_probe_are_where_it_starts() -> None:
    version = version_of(sampling={"max_tokens": 24, "temperature": 0, "seed": 3})
    found = {
        "format": "text",
        "top_logprobs": 5,
        "limit": "max_completion_tokens",
        "temperature": False,
        "seed": True,
        "many": True,
    }
    can = Capabilities(version, ADDRESS, found)
    body = can.request(version, QUESTION)
    assert can.many
    assert {"response_format", "temperature", "max_tokens"}.isdisjoint(body)
    assert (body["top_logprobs"], body["max_completion_tokens"], body["seed"]) == (5, 24, 3)


@pytest.mark.django_db
def test_later_probe_replaces_what_was_known() -> None:
    version = add_judge(make_project(), "Stub", kind="openai", base_url=ADDRESS, model="m", protocol="letter")
    can = capabilities_of(version, ADDRESS)
    assert capabilities_of(version, ADDRESS) is can
    row = ServedModel.objects.create(
        base_url=address_of(version), model="m", found={"top_logprobs": 0}, probed_at=timezone.now()
    )
    probed = capabilities_of(version, ADDRESS)
    assert probed.top_logprobs == 0
    assert capabilities_of(version, ADDRESS) is probed
    row.found, row.probed_at = {"top_logprobs": 5}, timezone.now()
    row.save()
    assert capabilities_of(version, ADDRESS).top_logprobs == 5


@pytest.mark.django_db
def test_findings_made_with_another_reasoning_effort_are_not_used() -> None:
    project = make_project()
    plain = add_judge(project, "Stub", kind="openai", base_url=ADDRESS, model="m")
    quick = add_judge(
        project, "Stub", kind="openai", base_url=ADDRESS, model="m", sampling={"reasoning_effort": "none"}
    )
    found = {"top_logprobs": 0, "temperature": False}
    ServedModel.objects.create(base_url=ADDRESS, model="m", found=found, probed_at=timezone.now())
    assert capabilities_of(plain, ADDRESS).top_logprobs == 0
    assert capabilities_of(quick, ADDRESS).top_logprobs == 20


@pytest.mark.django_db
def test_capabilities_are_known_by_one_query(django_assert_num_queries: Any) -> None:
    version = add_judge(make_project(), "Stub", kind="openai", base_url=ADDRESS, model="m")
    with django_assert_num_queries(1):
        capabilities_of(version, ADDRESS)
