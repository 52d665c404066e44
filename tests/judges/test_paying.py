from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from judges.defining import add_judge
from judges.models import JudgeRun, JudgeVersion, RunState
from judges.options import Options
from judges.paying import cost_of, largest_cost, prompt_bytes, reserve, settle
from judges.questions import Question
from judges.running import start_run
from tests.builders import make_pair, make_project

pytestmark = pytest.mark.django_db


class Tokens(NamedTuple):
    prompt_tokens: int | None = 1000
    completion_tokens: int | None = 100
    cached_tokens: int | None = None


def judge_with(input_price: str | None = "1", output_price: str | None = "2", **overrides: Any) -> JudgeVersion:
    project = make_project(with_people=False)
    make_pair(project)
    prices = {"price_input_usd_per_million": input_price, "price_output_usd_per_million": output_price}
    given = {name: None if price is None else Decimal(price) for name, price in prices.items()}
    return add_judge(
        project, "stub", **{"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m", **given, **overrides}
    )


def test_tokens_cost_their_price_rounded_up_to_a_millionth() -> None:
    version = judge_with()
    assert cost_of(version, Tokens()) == Decimal("0.0012")
    assert cost_of(version, Tokens(1, 0)) == Decimal("0.000001")
    assert cost_of(judge_price(version, "0.1"), Tokens(1, 0)) == Decimal("0.000001")


def judge_price(version: JudgeVersion, price: str) -> JudgeVersion:
    version.price_input_usd_per_million = Decimal(price)
    return version


def test_cached_tokens_cost_their_own_price_where_there_is_one() -> None:
    version = judge_with()
    assert cost_of(version, Tokens(cached_tokens=800)) == Decimal("0.0012")
    version.price_cached_usd_per_million = Decimal("0.1")
    assert cost_of(version, Tokens(cached_tokens=800)) == Decimal("0.00048")
    assert cost_of(version, Tokens(cached_tokens=5000)) == Decimal("0.0003")
    version.price_cached_usd_per_million = Decimal(0)
    assert cost_of(version, Tokens(cached_tokens=1000)) == Decimal("0.0002")


@pytest.mark.parametrize("tokens", [Tokens(prompt_tokens=None), Tokens(completion_tokens=None)])
def test_cost_of_unknown_usage_is_unknown(tokens: Tokens) -> None:
    assert cost_of(judge_with(), tokens) is None


def test_unknown_price_has_no_cost_and_no_bound() -> None:
    version = judge_with(None, None)
    assert cost_of(version, Tokens()) is None
    assert largest_cost(version, question("x")) is None


def question(text: str) -> Question:
    return Question(None, [{"role": "user", "content": "Why?"}], text, text, "ab")


def test_most_a_question_can_cost_covers_every_byte_the_longest_answer_and_all_samples() -> None:
    version = judge_with(sampling={"max_tokens": 100})
    short, long = question("é"), question("é" * 1001)
    assert prompt_bytes(version, long) - prompt_bytes(version, short) == 2 * 2 * 1000
    bound = largest_cost(version, long)
    assert bound == Decimal(prompt_bytes(version, long) + 2 * 100) / 1_000_000
    sampled = add_judge(
        version.judge.project,
        "sampled",
        kind="openai",
        base_url=version.base_url,
        model="m",
        sampling={"max_tokens": 100},
        options=Options(samples=3),
        price_input_usd_per_million=Decimal(1),
        price_output_usd_per_million=Decimal(2),
    )
    assert largest_cost(sampled, long) == 3 * bound


def test_money_is_set_aside_for_as_many_calls_as_it_reaches_and_comes_back() -> None:
    run = start_run(judge_with(), budget_usd=Decimal("0.05"), send=False)
    cent = Decimal("0.01")
    assert reserve(run, [cent] * 7) == 4
    assert reserve(run, [cent]) == 0
    settle(run.pk, reserved=4 * cent, booked=cent)
    run.refresh_from_db()
    assert (run.spent_usd, run.reserved_usd) == (cent, Decimal(0))
    assert reserve(run, [cent, 5 * cent]) == 1
    JudgeRun.objects.filter(pk=run.pk).update(state=RunState.PAUSED)
    assert reserve(run, [Decimal(0)]) == 0
