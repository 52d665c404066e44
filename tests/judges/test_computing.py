"""Judges whose model runs inside the worker, from the definition to preferences: a tiny model of random weights on CPU."""

import math
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from annotation.models import Pair, Preference, Project, Rating
from judges import computing
from judges.defining import add_judge
from judges.errors import JudgeError
from judges.gpu import EngineSettings
from judges.gpu import Engine as RealEngine
from judges.models import JudgeVersion, Order, RunState, Verdict, VerdictState
from judges.options import Options
from judges.preparing import conversation_of, questions_about
from judges.running import start_run, work_off
from tests.builders import make_pair, make_project
from tests.tiny_models import make_model

pytestmark = [pytest.mark.gpu_judge, pytest.mark.django_db]


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def reward_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny-reward", reward=True)


@pytest.fixture(autouse=True)
def models(settings: Settings, chat_folder: Path, reward_folder: Path) -> None:
    settings.GPU_MODELS = {"tiny": str(chat_folder), "reward": str(reward_folder)}
    settings.GPU_DEVICE = "cpu"


def project_with(pairs: int = 3) -> Project:
    project = make_project(with_people=False)
    for number in range(pairs):
        make_pair(project, response_a=f"a long answer {number}", response_b=f"short {number}")
    return project


def gpu_judge(project: Project, name: str = "tiny", **overrides: Any) -> JudgeVersion:
    values = {"kind": "gpu", "model": "tiny", "protocol": "letter", "sampling": {"dtype": "float32"}, **overrides}
    return add_judge(project, name, **values)


def test_letters_are_weighed_in_both_orders_and_become_preferences(chat_folder: Path) -> None:
    project = project_with(3)
    version = gpu_judge(project)
    report = work_off(start_run(version, send=False))
    assert (report.done, report.failed, report.state) == (6, 0, RunState.DONE)
    engine = RealEngine.load(str(chat_folder), EngineSettings(device="cpu", dtype="float32"))
    pair = Pair.objects.select_related("prompt", "response_a", "response_b").order_by("id")[0]
    ab, ba = list(engine.answer([conversation_of(version, one) for one in questions_about(version, pair)]))
    rows = {row.order: row for row in Verdict.objects.filter(pair=pair)}
    for outcome, row, first in ((ab, rows["ab"], "a"), (ba, rows["ba"], "b")):
        held = {label: math.exp(logprob) for label, logprob in outcome.logprobs.items()}
        second = "b" if first == "a" else "a"
        shares = {first: held["A"], second: held["B"], "tie": held["C"]}
        total = sum(shares.values())
        assert row.distribution == pytest.approx({side: share / total for side, share in shares.items()}, abs=1e-4)
        assert row.label_mass == pytest.approx(total, rel=1e-3)
        assert row.choice == max(shares, key=lambda side: shares[side])
        assert (row.meta["prob_from"], row.prompt_tokens, row.answered_by) == ("logprobs", outcome.prompt_tokens, "tiny")
    preference = Preference.objects.get(pair=pair, rater=version.rater, is_current=True)
    mean = (rows["ab"].prob_a + rows["ba"].prob_a) / 2
    assert preference.prob_a == pytest.approx(mean)


def test_reward_is_a_score_a_response_and_the_difference_decides(reward_folder: Path) -> None:
    project = project_with(2)
    version = gpu_judge(project, model="reward", protocol="reward")
    assert version.asks_both_orders is False
    report = work_off(start_run(version, send=False))
    assert (report.done, report.failed) == (4, 0)
    for pair in Pair.objects.filter(project=project):
        rows = {row.order: row for row in pair.verdicts.all()}
        a, b = rows[Order.ONLY_A].score_a, rows[Order.ONLY_B].score_b
        preference = Preference.objects.get(pair=pair, is_current=True)
        assert preference.prob_a == pytest.approx(1 / (1 + math.exp(b - a)))
        assert preference.meta["score_a"] == a
        assert sorted(Rating.objects.filter(pair=pair).values_list("value", flat=True)) == pytest.approx(sorted([a, b]))
