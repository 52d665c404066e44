"""A probe of a few pairs foretells the rest: the arithmetic on known worlds, and the probe as a run."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from annotation.models import Project, User
from judges.defining import add_judge
from judges.errors import JudgeError
from judges.forecasting import Mean, beside_each_other, foretell, mean_of, measure, pace, start_probe, total_of
from judges.models import Forecast, JudgeVersion, RunState, Verdict
from judges.running import work_off
from tests.builders import make_pair, make_project, make_prompt
from tests.judge_server import JudgeServer

PRICES: dict[str, Any] = {"price_input_usd_per_million": Decimal(10), "price_output_usd_per_million": Decimal(0)}


def test_mean_is_that_of_pairs_and_not_of_prompts() -> None:
    mean = mean_of([1, 3], [1.0, 9.0])
    assert (mean.value, mean.pairs_per_prompt, mean.prompts) == (2.5, 2.0, 2)
    # Residuals -1.5 and 1.5, by hand: 4.5 / 1 / 2 / 2 ** 2.
    assert mean.variance == pytest.approx(0.5625)


def test_pairs_that_all_take_the_same_leave_no_doubt_and_few_prompts_no_interval() -> None:
    sure = mean_of([2] * 20, [3.0] * 20)
    assert total_of(sure, 1000) == (1500.0, 1500.0, 1500.0)
    assert total_of(sure._replace(prompts=9), 1000) == (1500.0, None, None)


def test_interval_holds_what_the_rest_takes_as_often_as_it_says() -> None:
    rng = random.Random(3)
    held = 0
    for _ in range(400):
        world = [(rng.randint(1, 6), rng.lognormvariate(0.0, 0.4)) for _ in range(300)]
        probe, rest = world[:50], world[50:]
        foretold = total_of(_mean(probe), sum(pairs for pairs, _ in rest))
        assert foretold.low is not None
        assert foretold.high is not None
        held += foretold.low <= sum(pairs * each for pairs, each in rest) <= foretold.high
    assert 0.91 <= held / 400 <= 0.98


def test_an_interval_without_the_prompts_would_be_too_narrow() -> None:
    # Pairs of a prompt are alike: as if each were drawn alone, 50 prompts of 6 would count as 300.
    rng = random.Random(4)
    world = [(6, rng.lognormvariate(0.0, 0.8)) for _ in range(50)]
    apart = [(1, each) for _, each in world for _ in range(6)]
    assert _mean(world).variance > 4 * _mean(apart).variance


def _mean(world: Sequence[tuple[int, float]]) -> Mean:
    return mean_of([pairs for pairs, _ in world], [pairs * each for pairs, each in world])


def test_pace_leaves_out_the_start_and_the_end() -> None:
    begun = datetime(2026, 1, 1, tzinfo=UTC)
    steady = [begun + timedelta(seconds=number / 10) for number in range(100)]
    late = [begun - timedelta(hours=1), *steady, begun + timedelta(hours=1)]
    assert pace(late) == pytest.approx(10.0)
    assert pace([begun, begun]) is None


# --- As a run -------------------------------------------------------------------------------------------------------


def judged_world(server: JudgeServer, prompts: int = 20) -> JudgeVersion:
    project = make_project()
    for number in range(prompts):
        prompt = make_prompt(project, f"Question {number}?")
        for pair in range(3):
            make_pair(project, prompt=prompt, response_a=f"a long answer {pair}", response_b=f"short {pair}")
    return add_judge(project, "stub", kind="openai", base_url=server.base_url, model="m", **PRICES)


@pytest.mark.django_db
def test_a_probe_is_a_run_of_whole_prompts_whose_cost_foretells_the_rest() -> None:
    with JudgeServer() as server:
        version = judged_world(server)
        assert foretell(version) is None
        run = start_probe(version, pairs=36, send=False)
        assert measure(run) is None
        work_off(run)
    pairs = Verdict.objects.filter(run=run).values_list("pair__prompt", flat=True)
    assert len(pairs) == 72
    assert {list(pairs).count(prompt) for prompt in pairs} == {6}
    told = foretell(version)
    assert told is not None
    assert (told.measured_pairs, told.measured_prompts, told.rest, told.gpu_hours) == (36, 12, 24, None)
    # A hundred tokens a call at ten dollars a million, two calls a pair.
    assert told.usd is not None
    assert told.usd.value == pytest.approx(24 * 0.002)
    assert told.usd.low == pytest.approx(told.usd.high)
    assert told.seconds is not None
    assert told.pairs_per_second is not None
    assert told.seconds.value * told.pairs_per_second.value == pytest.approx(24)
    stored = Forecast.objects.get()
    assert (stored.version, stored.pairs, stored.prompts) == (version, 36, 12)
    assert [one.version for one in beside_each_other(version.judge.project)] == [version]


@pytest.mark.django_db
def test_judges_whose_pace_says_nothing_are_refused() -> None:
    project = make_project()
    make_pair(project)
    with pytest.raises(JudgeError, match="asks no model"):
        start_probe(add_judge(project, "length", kind="length"))
    batch = add_judge(project, "files", kind="batch", base_url="http://127.0.0.1:9/v1", model="m")
    with pytest.raises(JudgeError, match="by files within a day"):
        start_probe(batch)
    with pytest.raises(JudgeError, match="1 to 10000"):
        start_probe(add_judge(project, "stub", kind="openai", base_url="http://127.0.0.1:9/v1", model="m"), pairs=0)


@pytest.mark.django_db
def test_the_command_measures_and_then_only_tells(capsys: pytest.CaptureFixture[str]) -> None:
    with JudgeServer() as server:
        version = judged_world(server)
        slug = version.judge.project.slug
        call_command("forecast_judge", slug, "stub", pairs=36, wait=True)
        said = capsys.readouterr().out
        calls = len(server.calls)
        call_command("forecast_judge", slug, "stub", wait=True)
    assert "measured on 36 pairs of 12 prompts; 24 pairs are left." in said
    assert "US dollars:     0.05 (0.05 to 0.05)" in said
    assert "GPU-hours:      not known" in said
    assert capsys.readouterr().out == said
    assert len(server.calls) == calls == 72


@pytest.mark.django_db
def test_the_page_of_a_judge_starts_a_probe_and_shows_all_that_were_measured(client: Client) -> None:
    with JudgeServer() as server:
        version = judged_world(server)
        client.force_login(User.objects.get(username="ada"))
        page = f"/projects/{version.judge.project.slug}/judges/{version.pk}/"
        assert "Not measured yet" in client.get(page).text
        client.post(f"{page}forecast/")
        assert "A probe is under way" in client.get(page).text
        run = version.runs.get()
        work_off(run)
    assert run.state == RunState.DONE
    shown = client.get(page).text
    assert "60 pairs" in shown
    assert "$0.00" in shown
    assert Project.objects.count() == 1
