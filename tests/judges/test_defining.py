import json
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from annotation.models import Choice, Criterion, Pair, Project, RaterKind
from judges.defining import add_judge, check_address, key_of
from judges.errors import JudgeError
from judges.exemplifying import LONGEST_EXAMPLE, choose_examples
from judges.models import Judge, JudgeVersion
from judges.options import Options, read_options
from tests.builders import make_pair, make_preference, make_project
from tests.judge_server import JudgeServer

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
        {"options": Options(tie=False)},
        {"options": Options(samples=5)},
        {"options": Options(aggregation="likelihood")},
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
    assert version.price_cached_usd_per_million is None
    prices: dict[str, Any] = {
        "price_input_usd_per_million": Decimal("0.1"),
        "price_output_usd_per_million": Decimal("0.4"),
    }
    add_judge(project, "gpt", **SERVER, **prices, price_cached_usd_per_million=Decimal("0.01"))
    version.refresh_from_db()
    assert version.price_cached_usd_per_million == Decimal("0.01")
    assert JudgeVersion.objects.count() == 1


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
        ({"sampling": {"max_tokens": True}}, "max_tokens"),
        ({"protocol": "decisions"}, "Unknown protocol 'decisions' for a judge of kind openai"),
        ({"options": Options(samples=5), "sampling": {"temperature": 0}}, "all samples say the same"),
        ({"options": Options(criteria=("truth",))}, "has no criterion truth. It has: style"),
        ({"options": Options(criteria=("overall",))}, "what every judge answers"),
        ({"price_cached_usd_per_million": Decimal(1)}, "goes with the prices"),
        ({"price_input_usd_per_million": Decimal(1)}, "both prices"),
        (
            {"price_input_usd_per_million": Decimal(-1), "price_output_usd_per_million": Decimal(1)},
            "A price is -1",
        ),
    ],
)
def test_wrong_definition_is_refused_by_name(wrong: dict[str, Any], words: str) -> None:
    project = make_project()
    Criterion.objects.create(project=project, name="style")
    with pytest.raises(JudgeError, match=words):
        add_judge(project, "gpt", **{**SERVER, **wrong})
    assert not Judge.objects.exists()


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


def test_protocol_and_options_are_frozen_into_the_version() -> None:
    project = make_project()
    Criterion.objects.create(project=project, name="truth", description="No false statement.")
    options = Options(criteria=("truth",), rationale="with")
    version = add_judge(project, "letters", **SERVER, protocol="letter", options=options)
    assert version.options == {"criteria": ["truth"], "rationale": "with"}
    assert read_options(version.options) == options
    assert version.sampling["max_tokens"] > 500
    assert version.asks_both_orders
    rating = add_judge(project, "scores", **SERVER, protocol="rating")
    assert (rating.asks_both_orders, rating.options) == (False, {"rationale": "none"})


def test_decision_judge_has_a_protocol_of_its_own() -> None:
    version = add_judge(make_project(), "luna", **{**SERVER, "kind": "decisions"})
    assert (version.protocol, version.judge.kind, version.asks_both_orders) == ("decisions", "decisions", True)


def test_batch_judge_is_asked_as_a_live_one_is() -> None:
    project = make_project()
    live, batch = add_judge(project, "live", **SERVER), add_judge(project, "files", **{**SERVER, "kind": "batch"})
    assert batch.prompt_template == live.prompt_template
    assert batch.content_hash != live.content_hash


@pytest.mark.parametrize("given", [{"options": Options(samples=3)}, {"sampling": {"temperature": 1}}])
def test_rule_takes_no_options(given: dict[str, Any]) -> None:
    with pytest.raises(JudgeError, match="takes no sampling and no options"):
        add_judge(make_project(), "longer", kind="length", **given)


def make_agreed(project: Project, *choices: str, people: int = 2, **overrides: Any) -> list[Pair]:
    """Return a pair a choice, on which so many people agree."""
    pairs = []
    for choice in choices:
        pair = make_pair(project, **overrides)
        for number in range(people):
            make_preference(pair, ("ben", "cyd", "fay")[number], choice)
        pairs.append(pair)
    return pairs


def test_examples_are_balanced_and_change_the_order_shown() -> None:
    project = make_project()
    agreed = make_agreed(project, *["a"] * 5, *["b"] * 4, *["tie"] * 3)
    examples = choose_examples(project, 6, seed=1)
    pairs = {str(pair.pk): pair for pair in agreed}
    choices = []
    for number, one in enumerate(examples):
        pair = pairs[one["pair_id"]]
        texts = [pair.response_a.text, pair.response_b.text]
        swapped = number >= 3
        assert [one["first"], one["second"]] == (texts[::-1] if swapped else texts)
        choices.append(one["choice"])
    assert choices == ["first", "second", "tie", "second", "first", "tie"]
    assert choose_examples(project, 6, seed=1) == examples
    assert choose_examples(project, 6, seed=2) != examples
    assert {one["choice"] for one in choose_examples(project, 9, seed=1, tie=False)} == {"first", "second"}


def test_examples_are_short_pairs_on_which_several_people_agree() -> None:
    project = make_project()
    good = make_agreed(project, Choice.A)
    make_agreed(project, Choice.B, people=1)
    make_agreed(project, Choice.BOTH_BAD)
    make_agreed(project, Choice.A, response_a="long" * LONGEST_EXAMPLE)
    [contested] = make_agreed(project, Choice.A)
    make_preference(contested, "fay", Choice.B)
    assert [one["pair_id"] for one in choose_examples(project, 1, seed=0)] == [str(good[0].pk)]
    with pytest.raises(JudgeError, match=r"too few \(1 of 2\)"):
        choose_examples(project, 2, seed=0)


def run_command(project: Project, *arguments: str) -> dict[str, Any]:
    out = StringIO()
    call_command("add_judge", project.slug, *arguments, "--json", stdout=out, stderr=StringIO())
    found: dict[str, Any] = json.loads(out.getvalue().splitlines()[-1])
    return found


def test_command_takes_every_option_and_says_the_same_twice() -> None:
    project = make_project()
    Criterion.objects.create(project=project, name="truth")
    make_agreed(project, "a", "b")
    arguments = [
        *("letters", "--kind", "openai", "--base-url", SERVER["base_url"], "--model", "m", "--protocol", "letter"),
        *("--criteria", "truth", "--samples", "5", "--rationale", "later", "--examples", "2", "--option", "tie=no"),
        *("--option", "tie_band=0.1", "--price-in", "1", "--price-out", "2", "--price-cached", "0.5", "--no-probe"),
    ]
    first = run_command(project, *arguments)
    examples = first["options"].pop("examples")
    assert first["options"] == {
        "criteria": ["truth"],
        "samples": 5,
        "rationale": "later",
        "tie": False,
        "tie_band": 0.1,
    }
    assert [one["choice"] for one in examples] == ["first", "second"]
    second = run_command(project, *arguments)
    assert (second["id"], second["version"]) == (first["id"], 1)
    assert JudgeVersion.objects.get().price_cached_usd_per_million == Decimal("0.5")


def test_command_asks_the_server_what_it_can_do() -> None:
    project = make_project()
    with JudgeServer() as server:
        found = run_command(project, "gpt", "--kind", "openai", "--base-url", server.base_url, "--model", "m")
    assert found["server"]["error"] == ""
    assert "format" in found["server"]["found"]


def test_command_makes_a_jury_of_judges_by_name() -> None:
    project = make_project()
    members = [add_judge(project, name, **SERVER, protocol=name) for name in ("pairwise", "letter")]
    found = run_command(
        project, "jury", "--kind", "jury", "--member", "pairwise", "--member", "letter v1", "--rule", "majority"
    )
    assert found["options"]["members"] == [str(one.pk) for one in members]
    assert found["options"]["rule"] == "majority"


def test_command_says_what_is_wrong() -> None:
    project = make_project()
    with pytest.raises(CommandError, match="no option"):
        run_command(project, "x", "--kind", "length", "--option", "taste=1")
    with pytest.raises(CommandError, match="--price-cached takes US dollars"):
        run_command(project, "x", "--kind", "openai", "--price-cached", "cheap")
