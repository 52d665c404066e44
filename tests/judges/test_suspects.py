"""A question that was under way when a worker died may be what ended it: it is asked apart from the others."""

import threading
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from judges.defining import add_judge
from judges.models import JudgeRun, Verdict, VerdictState
from judges.running import judge_chunk, start_run
from tests.builders import make_pair, make_project
from tests.judge_server import Call, JudgeServer, Served, prefer_longer

pytestmark = pytest.mark.django_db

PAIRS = 3


class Counting:
    """A judge's behaviour that counts how many questions are under way at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = self.most = 0

    def __call__(self, call: Call) -> Served:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        threading.Event().wait(0.05)
        with self._lock:
            self._now -= 1
        return prefer_longer(call)


def start(server: JudgeServer) -> JudgeRun:
    project = make_project()
    for number in range(PAIRS):
        make_pair(project, response_a=f"a long answer {number}", response_b=f"short {number}")
    return start_run(add_judge(project, "stub", kind="openai", base_url=server.base_url, model="m"), send=False)


def states() -> list[str]:
    return list(Verdict.objects.order_by("pk").values_list("state", flat=True))


def test_suspects_are_asked_one_at_a_time_and_others_together(settings: Settings) -> None:
    settings.JUDGE_CONCURRENCY = 4
    counting = Counting()
    with JudgeServer(counting) as server:
        run = start(server)
        ids = list(Verdict.objects.order_by("pk").values_list("pk", flat=True))
        suspects, fresh = ids[:3], ids[3:]
        Verdict.objects.filter(pk__in=suspects).update(attempts=1)
        judge_chunk(run.pk, suspects)
        assert (len(server.calls), counting.most) == (3, 1)
        judge_chunk(run.pk, fresh)
        assert (len(server.calls), counting.most > 1) == (6, True)
    assert set(states()) == {VerdictState.DONE}


def test_message_delivered_again_leaves_its_suspects_to_a_message_of_their_own() -> None:
    with JudgeServer() as server:
        run = start(server)
        ids = list(Verdict.objects.order_by("pk").values_list("pk", flat=True))
        Verdict.objects.filter(pk=ids[0]).update(attempts=1)
        judge_chunk(run.pk, ids)
        assert states() == [VerdictState.PENDING] + [VerdictState.DONE] * 5
        judge_chunk(run.pk, ids)
        assert set(states()) == {VerdictState.DONE}


def test_suspects_wait_while_another_of_the_run_is_under_way() -> None:
    with JudgeServer() as server:
        run = start(server)
        ids = list(Verdict.objects.order_by("pk").values_list("pk", flat=True))
        soon = timezone.now() + timedelta(minutes=1)
        Verdict.objects.update(attempts=1, lease_until=soon)
        Verdict.objects.filter(pk=ids[0]).update(attempts=2, state=VerdictState.CLAIMED)
        judge_chunk(run.pk, ids[1:])
        assert server.calls == []
        assert states() == [VerdictState.CLAIMED] + [VerdictState.PENDING] * 5
        # No message speaks for them any more: the next sweep sends one.
        assert not Verdict.objects.filter(pk__in=ids[1:]).exclude(lease_until=None).exists()
