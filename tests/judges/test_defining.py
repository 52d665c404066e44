from decimal import Decimal
from typing import Any

import pytest
from pytest_django import Settings

from annotation.models import RaterKind
from judges.defining import add_judge, check_address, key_of
from judges.errors import JudgeError
from judges.models import Judge, JudgeVersion
from tests.builders import make_project

pytestmark = pytest.mark.django_db

SERVER: dict[str, Any] = {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}


def test_new_judge_gets_a_version_and_a_rater_of_its_own() -> None:
    version = add_judge(make_project(), "gpt", **SERVER)
    assert (version.number, str(version)) == (1, "gpt v1")
    assert (version.rater.kind, version.rater.name) == (RaterKind.JUDGE, "gpt v1")
    assert version.asks_both_orders
    assert version.sampling == {"max_tokens": 1024}


def test_same_content_is_the_same_version() -> None:
    project = make_project()
    assert add_judge(project, "gpt", **SERVER) == add_judge(
        project, "gpt", **{**SERVER, "base_url": SERVER["base_url"] + "/"}
    )
    assert JudgeVersion.objects.count() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"base_url": "http://127.0.0.1:10/v1"},
        {"sampling": {"temperature": 0.5}},
        {"protocol": "letter"},
    ],
)
def test_any_change_of_what_is_asked_makes_a_new_version(change: dict[str, Any]) -> None:
    project = make_project()
    first = add_judge(project, "gpt", **SERVER)
    second = add_judge(project, "gpt", **{**SERVER, **change})
    assert (first.number, second.number) == (1, 2)
    assert Judge.objects.count() == 1


def test_changed_guidelines_make_a_new_version_and_leave_the_old_one_as_it_was() -> None:
    project = make_project(guidelines="Be kind.")
    old = add_judge(project, "gpt", **SERVER)
    project.guidelines = "Be exact."
    new = add_judge(project, "gpt", **SERVER)
    old.refresh_from_db()
    assert new.number == 2
    assert "Be kind." in old.prompt_template
    assert "Be exact." in new.prompt_template


def test_other_prices_update_the_version() -> None:
    project = make_project()
    version = add_judge(project, "gpt", **SERVER)
    assert version.price_input_usd_per_million is None
    add_judge(
        project,
        "gpt",
        **SERVER,
        price_input_usd_per_million=Decimal("0.1"),
        price_output_usd_per_million=Decimal("0.4"),
    )
    version.refresh_from_db()
    assert version.price_output_usd_per_million == Decimal("0.4")


@pytest.mark.parametrize(
    "address",
    [
        "ftp://127.0.0.1/v1",
        "file:///etc/passwd",
        "127.0.0.1:9/v1",
        "http://",
        "http://[::1",
        "http://evil.example/v1",
        "http://169.254.169.254/v1",
        "http://127.0.0.1.evil.example/v1",
        "http://127.1/v1",
        "http://2130706433/v1",
        "http://127.0.0.1@evil.example/v1",
        "http://name:secret@127.0.0.1/v1",
        "http://127.0.0.1:99999/v1",
        "http://127.0.0.1/v1?key=1",
        "gopher://127.0.0.1/",
    ],
)
def test_address_that_must_not_be_asked_is_refused_and_nothing_is_stored(address: str) -> None:
    project = make_project()
    with pytest.raises(JudgeError) as refused:
        add_judge(project, "gpt", **{**SERVER, "base_url": address})
    assert "secret" not in str(refused.value)
    assert not Judge.objects.exists()


def test_key_belongs_to_its_host_and_port(settings: Settings) -> None:
    settings.JUDGE_KEYS = {"127.0.0.1:1": "one", "127.0.0.1": "any", "api.openai.com": "open"}
    assert key_of("http://127.0.0.1:1/v1") == "one"
    assert key_of("http://127.0.0.1:2/v1") == "any"
    assert key_of("http://localhost:1/v1") == ""


def test_key_does_not_travel_unencrypted_to_another_machine(settings: Settings) -> None:
    settings.JUDGE_HOSTS = ["models.example"]
    assert check_address("http://models.example/v1") == "http://models.example/v1"
    settings.JUDGE_KEYS = {"models.example": "k"}
    with pytest.raises(JudgeError, match="unencrypted"):
        check_address("http://models.example/v1")
    assert check_address("https://Models.example/v1/") == "https://models.example/v1"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"model": ""}, "--model"),
        ({"base_url": ""}, "--base-url"),
        ({"kind": "recorded"}, "cannot be added"),
        ({"protocol": "poem"}, "Unknown protocol"),
        ({"sampling": {"tools": []}}, "Unknown sampling"),
        ({"sampling": {"max_tokens": 0}}, "max_tokens"),
        ({"price_input_usd_per_million": Decimal(1)}, "both prices"),
        (
            {"price_input_usd_per_million": Decimal(-1), "price_output_usd_per_million": Decimal(1)},
            "A price is -1",
        ),
    ],
)
def test_wrong_definition_is_refused_by_name(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(JudgeError, match=words):
        add_judge(make_project(), "gpt", **{**SERVER, **wrong})


def test_length_rule_costs_nothing_and_sees_no_order() -> None:
    version = add_judge(make_project(), "longer", kind="length")
    assert not version.asks_both_orders
    assert version.price_input_usd_per_million == 0
    assert version.prompt_template == ""


def test_name_of_a_judge_of_another_kind_is_refused() -> None:
    project = make_project()
    add_judge(project, "mine", kind="length")
    with pytest.raises(JudgeError, match="Choose another name"):
        add_judge(project, "mine", **SERVER)
