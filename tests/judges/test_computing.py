"""Judges whose model runs inside the worker, from definition to preferences: a tiny model of random weights on CPU."""

import json
import math
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from annotation.models import Pair, Preference, Project, Rating, User
from config.celery import app as celery
from judges import computing, running, working
from judges.claiming import Claim, Claims, claim, renew
from judges.defining import add_judge
from judges.errors import JudgeError
from judges.gpu import Conversation, DeviceLost, Engine, EngineSettings, Outcome
from judges.models import JudgeVersion, Order, RunState, Verdict, VerdictState
from judges.options import Options
from judges.preparing import conversation_of, questions_about
from judges.running import resume, start_run, work_off
from judges.working import stopping
from tests.builders import make_pair, make_project
from tests.judges.gpu.tiny_models import save_model

BATCH = 4

pytestmark = [pytest.mark.gpu_judge, pytest.mark.django_db]


class FakeEngine:
    """An engine that needs no model: it prefers A, in batches of four, and does `during` while it computes one."""

    def __init__(self, during: Callable[[int], object] = lambda _batch: None) -> None:
        self.asked: list[Conversation] = []
        self.batches = 0
        self._during = during

    def answer(
        self, conversations: Sequence[Conversation], *, stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Outcome]:
        for start in range(0, len(conversations), BATCH):
            if stopped():
                return
            self._during(self.batches)
            self.batches += 1
            for place in range(start, min(start + BATCH, len(conversations))):
                self.asked.append(conversations[place])
                logprobs = {"A": math.log(0.6), "B": math.log(0.3), "C": math.log(0.1)}
                yield Outcome(place, logprobs=logprobs, prompt_tokens=10, seconds=0.5)


@pytest.fixture
def engine_is(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any], None]]:
    """Put another engine in the place of the real one, for one test."""

    def put(engine: Any) -> None:
        computing.unload()
        monkeypatch.setattr(Engine, "load", lambda *_arguments, **_options: engine)

    yield put
    computing.unload()


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save_model(tmp_path_factory.mktemp("tiny"), max_position_embeddings=4096))


@pytest.fixture(scope="session")
def reward_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save_model(tmp_path_factory.mktemp("reward"), head=True, max_position_embeddings=4096))


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
    engine = Engine.load(str(chat_folder), EngineSettings(device="cpu", dtype="float32"))
    pair = Pair.objects.select_related("prompt", "response_a", "response_b").order_by("id")[0]
    asked = [conversation_of(version, one) for one in questions_about(version, pair)]
    ab, ba = sorted(engine.answer(asked), key=lambda outcome: outcome.place)
    rows = {row.order: row for row in Verdict.objects.filter(pair=pair)}
    for outcome, row, first in ((ab, rows["ab"], "a"), (ba, rows["ba"], "b")):
        held = {label: math.exp(logprob) for label, logprob in outcome.logprobs.items()}
        second = "b" if first == "a" else "a"
        shares = {first: held["A"], second: held["B"], "tie": held["C"]}
        total = sum(shares.values())
        assert row.distribution == pytest.approx({side: share / total for side, share in shares.items()}, abs=1e-4)
        assert row.label_mass == pytest.approx(total, rel=1e-3)
        assert row.choice == max(shares, key=lambda side: shares[side])
        assert (row.meta["prob_from"], row.prompt_tokens, row.answered_by) == (
            "logprobs",
            outcome.prompt_tokens,
            "tiny",
        )
    preference = Preference.objects.get(pair=pair, rater=version.rater, is_current=True)
    mean = fmean(row.prob_a for row in rows.values() if row.prob_a is not None)
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
        assert a is not None
        assert b is not None
        preference = Preference.objects.get(pair=pair, is_current=True)
        assert preference.prob_a == pytest.approx(1 / (1 + math.exp(b - a)))
        assert preference.meta["score_a"] == a
        assert sorted(Rating.objects.filter(pair=pair).values_list("value", flat=True)) == pytest.approx(sorted([a, b]))


# --- Before a run ---------------------------------------------------------------------------------------------------


def test_only_models_that_the_operator_named_are_read(settings: Settings, chat_folder: Path) -> None:
    project = project_with(1)
    with pytest.raises(JudgeError, match=r"no model '/etc' for our own workers. Models: reward, tiny. .*TIEBREAK_GPU"):
        gpu_judge(project, model="/etc")
    with pytest.raises(JudgeError, match="There is no model"):
        gpu_judge(project, model=str(chat_folder))
    settings.GPU_MODELS = {}
    with pytest.raises(JudgeError, match="The operator sets TIEBREAK_GPU_MODELS, as in"):
        gpu_judge(project)


def test_what_a_model_cannot_do_is_said_when_the_judge_is_added(settings: Settings, tmp_path: Path) -> None:
    project = project_with(1)
    bare = save_model(tmp_path / "bare", template=None)
    settings.GPU_MODELS |= {"gone": str(tmp_path / "gone"), "empty": str(tmp_path), "bare": bare}
    with pytest.raises(JudgeError, match="There is no folder"):
        gpu_judge(project, model="gone")
    with pytest.raises(JudgeError, match=r"has no config\.json"):
        gpu_judge(project, model="empty")
    with pytest.raises(JudgeError, match="has no chat template"):
        gpu_judge(project, model="bare")
    with pytest.raises(JudgeError, match=r"splits '10' into '1' \+ '0'.*--scale 5"):
        gpu_judge(project, protocol="rating")
    with pytest.raises(JudgeError, match="needs a causal language model"):
        gpu_judge(project, model="reward")
    with pytest.raises(JudgeError, match="needs a sequence classification head"):
        gpu_judge(project, protocol="reward")
    assert gpu_judge(project, "stars", protocol="rating", options=Options(scale=5)).options["scale"] == 5
    assert not project.judges.exclude(name="stars").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"options": Options(criteria=("tone",))}, "criteria cannot be answered"),
        ({"options": Options(rationale="with")}, "rationale later, or the protocol pairwise"),
        ({"sampling": {"temperature": 0.7}}, "takes the likeliest text"),
        ({"sampling": {"dtype": "int4"}}, "bfloat16 or float32"),
        ({"sampling": {"top_p": 0.5}}, "has no setting top_p"),
        ({"options": Options(samples=5)}, "At temperature 0 all samples say the same"),
        ({"protocol": "decisions"}, "Unknown protocol"),
        ({"price_input_usd_per_million": Decimal(1)}, "no price per token"),
        ({"price_gpu_usd_per_hour": Decimal(-1)}, "US dollars per hour of a GPU"),
    ],
)
def test_what_a_judge_of_this_kind_does_not_have_is_refused(overrides: dict[str, Any], said: str) -> None:
    with pytest.raises(JudgeError, match=said):
        gpu_judge(project_with(1), **overrides)


def test_a_pair_that_does_not_fit_is_named_before_the_run(settings: Settings, tmp_path: Path) -> None:
    settings.GPU_MODELS = {"tiny": save_model(tmp_path / "short", max_position_embeddings=2500)}
    project = project_with(2)
    version = gpu_judge(project)
    make_pair(project, response_a="word " * 600, response_b="short", external_id="the-long-one")
    with pytest.raises(JudgeError, match=r"The pair the-long-one is too long for tiny, which takes 2,500 tokens"):
        start_run(version, send=False)
    assert not version.runs.exists()
    fitting = Pair.objects.exclude(external_id="the-long-one")
    assert work_off(start_run(version, pairs=fitting, send=False)).done == 4


def test_other_weights_under_the_same_name_are_another_version(
    settings: Settings, tmp_path: Path, chat_folder: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(chat_folder, folder)
    settings.GPU_MODELS = {"tiny": str(folder)}
    project = project_with(1)
    version = gpu_judge(project)
    assert gpu_judge(project).pk == version.pk
    save_model(folder, max_position_embeddings=4096, intermediate_size=32)
    with pytest.raises(JudgeError, match="The files of the model tiny changed since"):
        start_run(version, send=False)
    second = gpu_judge(project)
    assert (second.number, second.files_hash == version.files_hash) == (2, False)
    assert work_off(start_run(second, send=False)).done == 2


# --- While it works -------------------------------------------------------------------------------------------------


def test_an_answer_is_kept_by_the_files_and_the_arithmetic(engine_is: Callable[[Any], None]) -> None:
    engine = FakeEngine()
    engine_is(engine)
    project = project_with(3)
    assert work_off(start_run(gpu_judge(project), send=False)).done == 6
    assert len(engine.asked) == 6
    again = gpu_judge(project, "the same elsewhere")
    run = start_run(again, send=False)
    assert work_off(run).done == 6
    assert run.verdicts.filter(from_cache=True).count() == 6
    assert len(engine.asked) == 6
    assert work_off(start_run(gpu_judge(project, "other", sampling={"dtype": "bfloat16"}), send=False)).done == 6
    assert len(engine.asked) == 12


def test_a_stop_ends_with_the_batch_under_way_and_gives_the_rest_back(engine_is: Callable[[Any], None]) -> None:
    engine_is(FakeEngine(lambda batch: stopping.set() if batch == 1 else None))
    run = start_run(gpu_judge(project_with(10)), send=False)
    try:
        work_off(run)
    finally:
        stopping.clear()
    states = Counter(run.verdicts.values_list("state", "attempts", "lease_until"))
    assert states == {("done", 1, None): 2 * BATCH, ("pending", 0, None): 20 - 2 * BATCH}
    engine = FakeEngine()
    engine_is(engine)
    assert work_off(run).done == 20
    assert len(engine.asked) == 20 - 2 * BATCH


def test_an_engine_that_breaks_pauses_the_run_with_the_reason_and_loses_nothing(
    engine_is: Callable[[Any], None], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(batch: int) -> None:
        if batch == 2:
            raise DeviceLost("The GPU answers no more in this process.")

    claims: list[int] = []

    def counted(*arguments: Any, **options: Any) -> Claims:
        made = claim(*arguments, **options)
        claims.append(len(made.held))
        return made

    settings.GPU_GROUP_SIZE = BATCH
    monkeypatch.setattr(working, "claim", counted)
    engine_is(FakeEngine(lose))
    run = start_run(gpu_judge(project_with(10)), send=False)
    report = work_off(run)
    # Beside what was answered only the two groups under way were ever claimed.
    assert 2 * BATCH < sum(claims) <= 4 * BATCH
    assert (report.done, report.pending, report.state) == (2 * BATCH, 20 - 2 * BATCH, RunState.PAUSED)
    assert report.reason.startswith("The GPU answers no more")
    assert set(run.verdicts.filter(state=VerdictState.PENDING).values_list("attempts", flat=True)) == {0}
    engine = FakeEngine()
    engine_is(engine)
    assert work_off(resume(run, send=False)).done == 20
    assert len(engine.asked) == 20 - 2 * BATCH


def test_leases_are_renewed_while_a_batch_computes(
    engine_is: Callable[[Any], None], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.JUDGE_LEASE_SECONDS = 3
    renewed = threading.Event()
    leases: list[set[datetime | None]] = []

    def renew_and_tell(claims: Sequence[Claim]) -> None:
        before = run.verdicts.values_list("lease_until", flat=True)
        leases.append(set(before))
        renew(claims)
        leases.append(set(before.all()))
        renewed.set()

    monkeypatch.setattr(working, "renew", renew_and_tell)
    engine_is(FakeEngine(lambda _batch: renewed.wait(30)))
    run = start_run(gpu_judge(project_with(2)), send=False)
    assert work_off(run).done == 4
    (claimed,), (later,), *_ = leases
    assert claimed is not None
    assert later is not None
    assert later > claimed


def test_a_lease_that_somebody_else_holds_is_not_renewed() -> None:
    run = start_run(gpu_judge(project_with(1)), send=False)
    first, second = claim(run, [(pk, Decimal(0)) for pk in run.verdicts.values_list("pk", flat=True)]).held
    theirs = timezone.now() + timedelta(seconds=7)
    run.verdicts.filter(pk=first.verdict_id).update(attempts=2, lease_until=theirs)
    renew([first, second])
    leases = dict(run.verdicts.values_list("pk", "lease_until"))
    assert leases[first.verdict_id] == theirs
    renewed = leases[second.verdict_id]
    assert renewed is not None
    assert renewed > theirs


def test_one_conversation_that_fails_fails_alone(engine_is: Callable[[Any], None]) -> None:
    class Stumbling(FakeEngine):
        def answer(self, conversations: Sequence[Conversation], **options: Any) -> Iterator[Outcome]:
            for outcome in super().answer(conversations, **options):
                poisonous = outcome.place == 1
                yield Outcome(outcome.place, error="ValueError: odd") if poisonous else outcome

    engine_is(Stumbling())
    run = start_run(gpu_judge(project_with(3)), send=False)
    report = work_off(run)
    assert (report.done, report.failed, report.state) == (5, 1, RunState.DONE)
    assert run.verdicts.get(state=VerdictState.FAILED).error == "The model gave no answer: ValueError: odd"


def test_an_hour_of_the_gpu_is_booked_by_the_share_of_each_question(engine_is: Callable[[Any], None]) -> None:
    engine_is(FakeEngine())
    version = gpu_judge(project_with(3), price_gpu_usd_per_hour=Decimal(36))
    run = start_run(version, budget_usd=Decimal("1.00"), send=False)
    # Half a second each of an hour for 36 dollars; five seconds of it are reserved before.
    assert work_off(run).spent_usd == Decimal("0.03")
    assert set(run.verdicts.values_list("cost_usd", flat=True)) == {Decimal("0.005")}
    assert start_run(gpu_judge(version.judge.project), budget_usd=Decimal(1), send=False).state == RunState.DONE


def test_forked_workers_are_refused_with_what_to_do(
    engine_is: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_is(FakeEngine())
    run = start_run(gpu_judge(project_with(1)), send=False)
    monkeypatch.setattr(computing, "current_process", lambda: SimpleNamespace(name="ForkPoolWorker-1"))
    report = work_off(run)
    assert (report.done, report.pending, report.state) == (0, 2, RunState.PAUSED)
    assert "-P prefork" in report.reason
    assert "celery -A config worker -Q judges.gpu -P solo" in report.reason


def test_another_model_takes_the_place_of_the_one_that_was_loaded(
    monkeypatch: pytest.MonkeyPatch, chat_folder: Path, reward_folder: Path
) -> None:
    loads: list[str] = []
    load = Engine.load

    def counted(name: str, *arguments: Any, **options: Any) -> Engine:
        loads.append(Path(name).name)
        return load(name, *arguments, **options)

    computing.unload()
    monkeypatch.setattr(Engine, "load", counted)
    project = project_with(1)
    for name, model, protocol in (("l", "tiny", "letter"), ("w", "tiny", "pairwise"), ("r", "reward", "reward")):
        work_off(start_run(gpu_judge(project, name, model=model, protocol=protocol), send=False))
    assert loads == [chat_folder.name, reward_folder.name]
    computing.unload()


# --- Messages -------------------------------------------------------------------------------------------------------


def test_its_questions_go_to_the_queue_of_workers_with_a_gpu(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    settings.GPU_CHUNK_SIZE = 4
    sent: list[tuple[str, int]] = []

    def wake(tasks: Sequence[str], payload: dict[str, Any]) -> bool:
        sent.append((tasks[0], len(payload["verdict_ids"])))
        return True

    monkeypatch.setattr(running, "wake", wake)
    with django_capture_on_commit_callbacks(execute=True):
        start_run(gpu_judge(project_with(3)))
    assert sent == [("judges.tasks.judge_on_gpu", 4), ("judges.tasks.judge_on_gpu", 2)]
    assert celery.amqp.router.route({}, "judges.tasks.judge_on_gpu")["queue"].name == "judges.gpu"


def test_a_command_makes_and_runs_the_judge(capsys: pytest.CaptureFixture[str]) -> None:
    project = project_with(2)
    call_command("add_judge", project.slug, "ours", kind="gpu", model="tiny", protocol="letter", dtype="float32")
    call_command("run_judge", project.slug, "ours", wait=True)
    assert "ours v1: 4 answered, 0 failed, 0 waiting (done)." in capsys.readouterr().out
    with pytest.raises(CommandError, match="no model 'other'"):
        call_command("add_judge", project.slug, "theirs", kind="gpu", model="other", protocol="letter")


def test_the_page_shows_what_a_model_is_given_and_adds_the_judge(client: Client) -> None:
    project = make_project()
    make_pair(project, prompt="Why is the sky blue?", response_a="It scatters.", response_b="It is paint.")
    client.force_login(User.objects.get(username="ada"))
    url = f"/projects/{project.slug}/judges/new/?kind=gpu"
    values = {"name": "ours", "model": "tiny", "protocol": "letter", "tie": "on", "scale": "5", "dtype": "float32"}
    shown = client.post(url, {**values, "preview": "1"}).context["preview"]
    assert shown.error == ""
    assert shown.sent.messages[0]["content"].endswith("Answer with nothing but A, B or C (equally good).")
    assert "Why is the sky blue?" in shown.sent.messages[1]["content"]
    assert shown.sent.messages[1]["content"].endswith("Answer with the letter alone.")
    assert json.loads(shown.sent.settings) == {"probabilities_of": ["A", "B", "C"]}
    scored = client.post(url, {**values, "model": "reward", "protocol": "reward", "preview": "1"}).context["preview"]
    assert [message["content"] for message in scored.sent.messages] == ["Why is the sky blue?", "It scatters."]
    wrong = client.post(url, {**values, "protocol": "reward"})
    assert "needs a sequence classification head" in wrong.context["form"].errors["model"][0]
    client.post(url, values)
    version = JudgeVersion.objects.get()
    assert (version.model, version.protocol, version.sampling["dtype"]) == ("tiny", "letter", "float32")


def test_a_long_run_has_so_many_messages_at_once_and_the_sweep_sends_more(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    settings.GPU_CHUNK_SIZE = 2
    monkeypatch.setattr(running, "GPU_MESSAGES", 3)
    sent: list[list[str]] = []

    def wake(_tasks: Sequence[str], payload: dict[str, Any]) -> bool:
        sent.append(payload["verdict_ids"])
        return True

    monkeypatch.setattr(running, "wake", wake)
    with django_capture_on_commit_callbacks(execute=True):
        run = start_run(gpu_judge(project_with(5)))
    assert [len(ids) for ids in sent] == [2, 2, 2]
    running.sweep(now=timezone.now())
    assert len(sent) == 3
    claim(run, [(uuid.UUID(pk), Decimal(0)) for pk in sent[0]])
    running.sweep(now=timezone.now())
    assert len(sent) == 4
    assert len({pk for ids in sent for pk in ids}) == 8
