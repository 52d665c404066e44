"""Long calculations as jobs: queued, worked off by one worker with progress, stopped, taken up again where they were.

The row is the job; a message only wakes a worker. `started_at` tells the workers apart: whoever set it last holds the
study, and everybody else's writes find no row. So a worker that was thought dead and was only slow goes on where nobody
took its place, and leaves where somebody did.

The same worker makes labels and plans. So a study that keeps what it finished works for a minute at a time, and then
goes to the end of the queue.
"""

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from annotation.errors import TiebreakError
from annotation.models import Project, User
from annotation.publishing import wake
from routing.errors import RoutingError
from routing.models import Study, StudyKind, StudyState
from routing.plans.trusting import find_versions
from routing.studies.mixing import MixOptions, search_mixes
from routing.studies.replaying import ReplayOptions, replay_study

logger = logging.getLogger(__name__)

TASK = "routing.tasks.work_study"
UNFINISHED = (StudyState.QUEUED, StudyState.RUNNING)
ENDED_EARLY = (StudyState.STOPPED, StudyState.FAILED)
# A queued study's message counts as lost after this long; sending it twice is harmless.
LOST_AFTER = timedelta(minutes=2)
# A worker that said nothing for so long counts as dead. No step of a study may take longer.
DEAD_AFTER = timedelta(minutes=5)
SECONDS_BETWEEN_WRITES = 1.0
TURN_SECONDS = 60.0
# Where a checkpoint says how many seconds a step takes.
PACE = "seconds_a_step"


class StudyStopped(Exception):
    """Raised inside a runner by its `progress` when it is to stop: a manager asked, or another worker has the study."""


class TurnOver(Exception):
    """Raised inside a runner when it has worked for long enough; it goes on in its next turn."""


class StudyProgress:
    """What a runner reports to: `progress(done, total)` after each step, and `keep` for what must not be lost.

    Either raises `StudyStopped` when the study is to stop, `keep` also `TurnOver` when others are to have the worker;
    a runner lets both through. `checkpoint` is what earlier turns kept ({} at first).
    """

    def __init__(self, study: Study) -> None:
        self.checkpoint: dict[str, Any] = study.checkpoint
        self._id = study.pk
        self._mine = Study.objects.filter(pk=study.pk, started_at=study.started_at, state__in=UNFINISHED)
        self._begun, self._steps_before = time.monotonic(), study.done_steps
        self._written = float("-inf")

    def __call__(self, done: int, total: int) -> None:
        """Store how far the work is, at most once a second; two queries where it does."""
        if time.monotonic() - self._written >= SECONDS_BETWEEN_WRITES:
            self._write(done_steps=done, total_steps=total)

    def keep(self, checkpoint: dict[str, Any], *, done: int, total: int) -> None:
        """Store what is finished, and how far that is."""
        pace = (time.monotonic() - self._begun) / max(done - self._steps_before, 1)
        self._write(checkpoint={**checkpoint, PACE: pace}, done_steps=done, total_steps=total)
        if done < total and time.monotonic() - self._begun >= TURN_SECONDS:
            raise TurnOver

    def give_way(self) -> None:
        """Put the study at the end of the queue, unless another worker has it."""
        if self._mine.update(state=StudyState.QUEUED, heartbeat_at=timezone.now()):
            _send(self._id)

    def finish(self, state: StudyState, **fields: Any) -> None:
        """End the study, unless another worker has it."""
        self._mine.update(state=state, finished_at=timezone.now(), **fields)

    def _write(self, **fields: Any) -> None:
        # A sweep that thought this worker dead has queued the study again: it is running after all.
        held = self._mine.update(state=StudyState.RUNNING, heartbeat_at=timezone.now(), **fields)
        self._written = time.monotonic()
        if not held or self._mine.filter(stop_requested=True).exists():
            raise StudyStopped


Runner = Callable[[Study, StudyProgress], dict[str, Any]]


def queue_study(
    project: Project,
    kind: StudyKind | str,
    *,
    judge_name: str,
    options: Mapping[str, Any],
    seed: int,
    created_by: User | None = None,
) -> Study:
    """Have a worker calculate something about a judge. Raises `RoutingError` for an unknown judge, kind or option.

    A broker that is down loses nothing: the row waits, and `send_waiting_studies` sends it again.
    """
    if kind not in StudyKind.values:
        raise RoutingError(f"There is no study called {kind!r}. There are: {', '.join(StudyKind.values)}.")
    find_versions(project, judge_name)
    checked = ReplayOptions.from_json(options) if kind == StudyKind.REPLAY else MixOptions.from_json(options)
    with transaction.atomic():
        study = Study.objects.create(
            project=project,
            kind=kind,
            judge_name=judge_name,
            options=checked.to_json(),
            seed=seed,
            created_by=created_by,
            heartbeat_at=timezone.now(),
        )
        transaction.on_commit(lambda: _send(study.pk))
    return study


def work_study(study_id: UUID | str) -> Study | None:
    """Work off a queued study, to its end or for a turn; None where it is gone, held by another, or ended.

    One worker gets it, by conditional update. What goes wrong in words for a person ends in its `error`; any other
    exception does too, and is raised.
    """
    claimed = Study.objects.filter(pk=study_id, state=StudyState.QUEUED)
    now = timezone.now()
    if not claimed.update(state=StudyState.RUNNING, started_at=now, heartbeat_at=now, finished_at=None):
        return None
    study = Study.objects.select_related("project").get(pk=study_id)
    progress = StudyProgress(study)
    try:
        result = RUNNERS[StudyKind(study.kind)](study, progress)
    except TurnOver:
        progress.give_way()
    except StudyStopped:
        progress.finish(StudyState.STOPPED)
    except TiebreakError as error:
        logger.info("study %s ended: %s", study.pk, error)
        progress.finish(StudyState.FAILED, error=str(error))
    except Exception as error:
        said = f"The calculation broke off ({type(error).__name__}); the worker's log says more. Ask for it again."
        progress.finish(StudyState.FAILED, error=said)
        raise
    else:
        progress.finish(StudyState.DONE, result=result, checkpoint={}, error="")
    study.refresh_from_db()
    return study


def stop_study(study: Study) -> bool:
    """Ask a study to stop; say whether it was under way. What it finished is kept, and `resume_study` goes on there.

    One that waits stops at once, one that runs at its next step.
    """
    one = Study.objects.filter(pk=study.pk)
    if one.filter(state=StudyState.QUEUED).update(state=StudyState.STOPPED, finished_at=timezone.now()):
        return True
    # It may go back to the queue between the two: whoever takes it up then stops at its first step.
    return bool(one.filter(state__in=UNFINISHED).update(stop_requested=True))


def resume_study(study: Study) -> bool:
    """Queue a study again that was stopped or failed; say whether it was."""
    with transaction.atomic():
        queued = Study.objects.filter(pk=study.pk, state__in=ENDED_EARLY).update(
            state=StudyState.QUEUED, stop_requested=False, error="", finished_at=None, heartbeat_at=timezone.now()
        )
        if queued:
            transaction.on_commit(lambda: _send(study.pk))
    return bool(queued)


def seconds_left(study: Study) -> float | None:
    """Return about how long a running study will go on; None where no step tells yet. One query.

    What waits before it in the queue is not counted.
    """
    left = study.total_steps - study.done_steps
    if study.state != StudyState.RUNNING or not study.done_steps or left <= 0:
        return None
    pace: float | None = Study.objects.filter(pk=study.pk).values_list(f"checkpoint__{PACE}", flat=True).first()
    if pace is None and study.started_at and study.heartbeat_at:
        # It keeps nothing, so all its steps are of this turn.
        pace = (study.heartbeat_at - study.started_at).total_seconds() / study.done_steps
    return None if pace is None else left * pace


def send_waiting_studies(*, now: datetime) -> int:
    """Send the studies again whose message or worker was lost; return how many messages left."""
    dead = Study.objects.filter(state=StudyState.RUNNING, heartbeat_at__lt=now - DEAD_AFTER)
    healed = set(dead.values_list("pk", flat=True))
    # Asked to stop, and nobody was left to hear it.
    dead.filter(stop_requested=True).update(state=StudyState.STOPPED, finished_at=now)
    dead.update(state=StudyState.QUEUED, heartbeat_at=now)
    waiting = Study.objects.filter(state=StudyState.QUEUED).order_by("created_at")
    sent = 0
    for study_id, heartbeat_at in waiting.values_list("pk", "heartbeat_at"):
        if study_id not in healed and heartbeat_at is not None and heartbeat_at > now - LOST_AFTER:
            continue
        if not _send(study_id):
            break
        sent += 1
    return sent


def _send(study_id: UUID) -> bool:
    """Wake a worker for a study; say whether the broker took the message."""
    return wake([TASK], {"study_id": str(study_id)})


def _run_replay(study: Study, progress: StudyProgress) -> dict[str, Any]:
    return replay_study(
        study.project,
        judge=study.judge_name,
        options=ReplayOptions.from_json(study.options),
        seed=study.seed,
        kept=progress.checkpoint,
        keep=lambda kept, done, total: progress.keep(kept, done=done, total=total),
        progress=progress,
    )


def _run_mixes(study: Study, progress: StudyProgress) -> dict[str, Any]:
    return search_mixes(
        study.project, judge=study.judge_name, options=study.options, seed=study.seed, progress=progress
    )


RUNNERS: dict[StudyKind, Runner] = {StudyKind.REPLAY: _run_replay, StudyKind.MIXES: _run_mixes}
