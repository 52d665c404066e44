"""Studies: one worker each, stopped, taken up again, healed; the same bytes however often they were interrupted."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from annotation.models import Project
from routing.errors import RoutingError
from routing.models import Study, StudyKind, StudyState
from routing.studies import studying
from routing.studies.studying import (
    DEAD_AFTER,
    LOST_AFTER,
    StudyProgress,
    queue_study,
    resume_study,
    send_waiting_studies,
    stop_study,
    work_study,
)
from tests.builders import make_project
from tests.judged import make_judge
from tests.replayable import add_judge_with_few_labels, make_replayable

pytestmark = [pytest.mark.django_db, pytest.mark.either_database]
SHORT = {"budgets": [0.25], "repeats": 2}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the ids of the studies that workers are woken for, as they are; no broker is asked."""
    ids: list[str] = []

    def wake(tasks: list[str], payload: dict[str, Any]) -> bool:
        assert tasks == ["routing.tasks.work_study"]
        ids.append(payload["study_id"])
        return True

    monkeypatch.setattr(studying, "wake", wake)
    return ids


@pytest.fixture
def replayable(sent: list[str]) -> Project:
    return make_replayable()


def queued(project: Project, **options: Any) -> Study:
    return queue_study(project, StudyKind.REPLAY, judge_name="gpt", options={**SHORT, **options}, seed=3)


def finished(study: Study) -> Study:
    done = work_study(study.pk)
    assert done is not None
    return done


@pytest.fixture
def run_as(monkeypatch: pytest.MonkeyPatch, sent: list[str]) -> Callable[[studying.Runner], Study]:
    """Return a function that queues a study whose calculation is the one given."""

    def queue(runner: studying.Runner) -> Study:
        monkeypatch.setitem(studying.RUNNERS, StudyKind.MIXES, runner)
        monkeypatch.setattr(studying, "SECONDS_BETWEEN_WRITES", 0.0)
        return Study.objects.create(project=make_project(), kind=StudyKind.MIXES, judge_name="gpt")

    return queue


@pytest.mark.django_db(transaction=True)
def test_queued_replay_wakes_a_worker_and_ends_with_its_figures(replayable: Project, sent: list[str]) -> None:
    study = queued(replayable)
    assert sent == [str(study.pk)]
    done = finished(study)
    assert (done.state, done.done_steps, done.total_steps, done.error) == (StudyState.DONE, 2, 2, "")
    assert done.result["pairs"] == 100
    assert done.result["budgets"][0]["budget"] == 0.25
    assert done.checkpoint == {}
    assert done.started_at is not None
    assert done.finished_at is not None
    assert work_study(study.pk) is None, "a message that comes twice does nothing"


def test_unknown_judge_kind_or_option_is_refused_before_anything_waits(replayable: Project) -> None:
    with pytest.raises(RoutingError, match="No judge named 'none'"):
        queue_study(replayable, StudyKind.REPLAY, judge_name="none", options=SHORT, seed=0)
    with pytest.raises(RoutingError, match=r"no study called 'dance'\. There are: replay, mixes"):
        queue_study(replayable, "dance", judge_name="gpt", options=SHORT, seed=0)
    with pytest.raises(RoutingError, match="no option colour"):
        queued(replayable, colour="red")
    with pytest.raises(RoutingError, match="1 to 100 repeats, not 0"):
        queued(replayable, repeats=0)
    with pytest.raises(RoutingError, match=r"up to 1 \(all pairs\), not \[1.5\]"):
        queued(replayable, budgets=[1.5])
    assert not Study.objects.exists()


def test_too_few_labels_end_in_the_study_in_words(replayable: Project) -> None:
    add_judge_with_few_labels(replayable)
    study = queue_study(replayable, StudyKind.REPLAY, judge_name="rare", options=SHORT, seed=0)
    done = finished(study)
    assert done.state == StudyState.FAILED
    assert "too few labels (7 of 100 pairs answered by both)" in done.error


def test_study_of_an_unlabelled_project_says_too_few_labels(sent: list[str]) -> None:
    project = make_project()
    make_judge(project)
    with pytest.raises(RoutingError, match="Judges that have: none yet"):
        queued(project)


def test_interrupted_study_gives_the_bytes_of_an_undisturbed_one(
    replayable: Project, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = finished(queued(replayable))
    rough = queued(replayable)
    keep = StudyProgress.keep

    def keep_and_die(self: StudyProgress, checkpoint: dict[str, Any], *, done: int, total: int) -> None:
        keep(self, checkpoint, done=done, total=total)
        raise SystemExit

    monkeypatch.setattr(StudyProgress, "keep", keep_and_die)
    with pytest.raises(SystemExit):
        work_study(rough.pk)
    monkeypatch.setattr(StudyProgress, "keep", keep)
    rough.refresh_from_db()
    assert (rough.state, rough.done_steps, len(rough.checkpoint["repeats"])) == (StudyState.RUNNING, 1, 1)
    assert work_study(rough.pk) is None, "a study that is held is not taken"
    now = timezone.now()
    assert send_waiting_studies(now=now) == 0, "a worker that wrote just now is not dead"
    assert send_waiting_studies(now=now + DEAD_AFTER + timedelta(seconds=1)) == 1
    assert sent[-1] == str(rough.pk)
    done = finished(rough)
    assert done.state == StudyState.DONE
    assert json.dumps(done.result) == json.dumps(calm.result)


def test_checkpoint_of_other_data_is_not_used(replayable: Project) -> None:
    study = queued(replayable, repeats=1)
    foreign = {"fingerprint": "of other data", "repeats": [{"p": "", "predictors": []}]}
    Study.objects.filter(pk=study.pk).update(checkpoint=foreign)
    again = finished(queued(replayable, repeats=1))
    assert finished(study).result == again.result


def test_study_gives_the_worker_to_others_between_its_turns(
    run_as: Callable[[studying.Runner], Study], sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(study: Study, progress: StudyProgress) -> dict[str, Any]:
        for step in range(progress.checkpoint.get("step", 0) + 1, 4):
            progress.keep({"step": step}, done=step, total=3)
        return {"steps": 3}

    monkeypatch.setattr(studying, "TURN_SECONDS", 0.0)
    study = run_as(count)
    states = [finished(study).state for _ in range(3)]
    assert states == [StudyState.QUEUED, StudyState.QUEUED, StudyState.DONE]
    assert sent == [str(study.pk)] * 2
    study.refresh_from_db()
    assert study.result == {"steps": 3}


def test_running_study_stops_at_its_next_step_and_goes_on_when_resumed(
    run_as: Callable[[studying.Runner], Study], django_capture_on_commit_callbacks: Any, sent: list[str]
) -> None:
    def stopped_by_a_manager(study: Study, progress: StudyProgress) -> dict[str, Any]:
        begin = progress.checkpoint.get("step", 0)
        for step in range(begin + 1, 4):
            progress.keep({"step": step}, done=step, total=3)
            if step == 2:
                assert stop_study(study)
        return {"began_at": begin}

    study = run_as(stopped_by_a_manager)
    stopped = finished(study)
    assert (stopped.state, stopped.done_steps) == (StudyState.STOPPED, 3)
    assert not stop_study(stopped), "it is not under way"
    with django_capture_on_commit_callbacks(execute=True):
        assert resume_study(stopped)
    assert sent == [str(study.pk)]
    assert not resume_study(stopped), "it is queued already"
    done = finished(study)
    assert (done.state, done.result) == (StudyState.DONE, {"began_at": 3})


def test_study_that_gives_way_while_it_is_told_to_stop_stops(replayable: Project) -> None:
    study = queued(replayable)
    Study.objects.update(state=StudyState.RUNNING, started_at=timezone.now())
    turns: list[str] = []

    def give_way_after_the_first_look(execute: Any, sql: str, *rest: Any) -> Any:
        found = execute(sql, *rest)
        if sql.startswith("UPDATE") and not turns:
            turns.append("over")
            Study.objects.update(state=StudyState.QUEUED)
        return found

    with connection.execute_wrapper(give_way_after_the_first_look):
        assert stop_study(study)
    assert finished(study).state == StudyState.STOPPED


def test_queued_study_stops_at_once(replayable: Project) -> None:
    study = queued(replayable)
    assert stop_study(study)
    assert work_study(study.pk) is None
    study.refresh_from_db()
    assert study.state == StudyState.STOPPED


def test_study_that_breaks_off_says_so_and_the_worker_hears_of_it(
    run_as: Callable[[studying.Runner], Study],
) -> None:
    def broken(study: Study, progress: StudyProgress) -> dict[str, Any]:
        return {"share": 1 // (study.done_steps)}

    study = run_as(broken)
    with pytest.raises(ZeroDivisionError):
        work_study(study.pk)
    study.refresh_from_db()
    assert study.state == StudyState.FAILED
    assert study.error.startswith("The calculation broke off (ZeroDivisionError)")


def test_slow_worker_leaves_when_another_took_its_study(run_as: Callable[[studying.Runner], Study]) -> None:
    def overtaken(study: Study, progress: StudyProgress) -> dict[str, Any]:
        Study.objects.filter(pk=study.pk).update(started_at=timezone.now(), done_steps=7)
        progress(1, 2)
        raise AssertionError("it went on")

    done = finished(run_as(overtaken))
    assert (done.state, done.done_steps) == (StudyState.RUNNING, 7), "nothing of the other worker's was written over"


def test_worker_taken_for_dead_goes_on_where_nobody_took_its_place(
    run_as: Callable[[studying.Runner], Study], sent: list[str]
) -> None:
    def slow(study: Study, progress: StudyProgress) -> dict[str, Any]:
        assert send_waiting_studies(now=timezone.now() + DEAD_AFTER + timedelta(seconds=1)) == 1
        progress(1, 2)
        return {"ended": True}

    done = finished(run_as(slow))
    assert (done.state, done.result) == (StudyState.DONE, {"ended": True})


def test_lost_messages_are_sent_again_and_a_dead_stopped_study_is_not(replayable: Project, sent: list[str]) -> None:
    waiting, dead = queued(replayable), queued(replayable)
    long_ago = timezone.now() - 2 * DEAD_AFTER
    Study.objects.filter(pk=dead.pk).update(state=StudyState.RUNNING, stop_requested=True, heartbeat_at=long_ago)
    sent.clear()
    assert send_waiting_studies(now=timezone.now()) == 0
    assert send_waiting_studies(now=timezone.now() + LOST_AFTER + timedelta(seconds=1)) == 1
    assert sent == [str(waiting.pk)]
    dead.refresh_from_db()
    assert dead.state == StudyState.STOPPED


def test_progress_is_written_at_most_once_a_second(
    run_as: Callable[[studying.Runner], Study], monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    def quick(study: Study, progress: StudyProgress) -> dict[str, Any]:
        monkeypatch.setattr(studying, "SECONDS_BETWEEN_WRITES", 1.0)
        with django_assert_num_queries(2):
            for step in range(1000):
                progress(step, 1000)
        return {}

    assert finished(run_as(quick)).state == StudyState.DONE
