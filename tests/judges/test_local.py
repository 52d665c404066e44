from decimal import Decimal

import pytest

from annotation.models import Preference
from judges.clients import Endpoint, complete, submit
from judges.defining import add_judge
from judges.errors import CallFailed
from judges.local import MODEL_NAME, local_server, stop_local_server
from judges.models import Order
from judges.probing import probe
from judges.running import start_run, work_off
from tests.builders import make_pair, make_project

pytestmark = [pytest.mark.local_judge, pytest.mark.django_db]

PAIRS = [
    ("What is two plus two?", "Four.", "Five, since two and two make five."),
    ("Name the capital of France.", "Lyon.", "Paris."),
    ("Is the sun a star?", "Yes, it is a star.", "No, it is a planet."),
    ("Spell 'cat' backwards.", "cat", "tac"),
    ("Which is heavier, iron or wood?", "Iron, for the same volume.", "Wood is always heavier."),
    ("Say hello in Spanish.", "Bonjour.", "Hola."),
]


def test_local_model_judges_for_real_and_picks_what_it_sees_first() -> None:
    project = make_project()
    for prompt, a, b in PAIRS:
        make_pair(project, prompt=prompt, response_a=a, response_b=b)
    version = add_judge(project, "SmolLM2", kind="local")
    run = start_run(version, send=False)
    report = work_off(run)
    assert (report.done, report.failed, report.spent_usd) == (12, 0, Decimal(0))
    verdicts = list(run.verdicts.all())
    first_shown = [(one.choice == "a") == (one.order == Order.AB) for one in verdicts]
    assert sum(first_shown) >= 10
    assert {one.answered_by for one in verdicts} == {MODEL_NAME}
    assert {one.meta["prob_from"] for one in verdicts} == {"logprobs"}
    assert all(one.prob_a is not None and 0.0 < one.prob_a < 1.0 for one in verdicts)
    assert all(one.label_mass is not None and 0.0 < one.label_mass <= 1.0 for one in verdicts)
    assert Preference.objects.filter(rater=version.rater).count() == 6


def test_probe_of_the_real_server_finds_what_llama_cpp_can_do() -> None:
    version = add_judge(make_project(), "SmolLM2", kind="local")
    served = probe(version)
    assert (served.error, served.base_url) == ("", "local")
    expected = {
        "answered_by": MODEL_NAME,
        "listed": True,
        "owner": "llamacpp",
        "usage": True,
        "limit": "max_completion_tokens",
        "format": "json_schema",
        "top_logprobs": 20,
        "temperature": True,
        "seed": True,
        "many": False,
        "batch": False,
        "decisions": "",
    }
    assert {name: served.found.get(name) for name in expected} == expected


def test_prompt_longer_than_the_context_is_a_reason_and_not_cut() -> None:
    project = make_project()
    make_pair(project, prompt="word " * 20_000, response_a="yes", response_b="no")
    run = start_run(add_judge(project, "SmolLM2", kind="local"), send=False)
    report = work_off(run)
    assert (report.done, report.failed) == (0, 2)
    assert all("context size" in one.error for one in run.verdicts.all())


def test_server_answers_on_loopback_only_to_who_has_the_key_and_stops() -> None:
    server = local_server()
    assert server.base_url.startswith("http://127.0.0.1:")
    assert local_server() == server
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    with pytest.raises(CallFailed, match="refused the key"):
        submit(complete(Endpoint(server.base_url, "wrong", 10.0, 10.0), body)).result(timeout=30)
    stop_local_server()
    with pytest.raises(CallFailed, match="cannot be reached"):
        submit(complete(Endpoint(server.base_url, server.key, 2.0, 2.0), body)).result(timeout=30)
