"""Runs as a manager follows them: how far, how fast, what it costs, what goes wrong, and when it ends."""

from datetime import datetime
from typing import NamedTuple

from django.db.models import Q, QuerySet
from django.utils import timezone

from annotation.models import Project
from judges.defining import SERVED
from judges.models import Batch, BatchState, JudgeRun, JudgeVersion, ModelServer, RunState, Verdict, VerdictState
from judges.running import RunProgress, progress_of

OPEN_BATCHES = {BatchState.WRITTEN, BatchState.SUBMITTED}


class Following(NamedTuple):
    """One run with its progress, the server it asks, its members' runs and its files.

    `under_way` are questions a worker holds now; `resting` says that nobody asks the server for a while.
    """

    run: JudgeRun
    progress: RunProgress
    under_way: int
    server: ModelServer | None
    resting: bool
    children: list["Following"]
    batches: list[Batch]

    @property
    def cancellable(self) -> bool:
        """Say whether a file of it is open at a server."""
        return any(batch.state in OPEN_BATCHES and not batch.by_hand for batch in self.batches)

    @property
    def finished(self) -> int:
        """Return the questions that need no more work."""
        return self.progress.done + self.progress.failed

    @property
    def total(self) -> int:
        """Return all of the run's questions."""
        return self.finished + self.progress.open


def runs_of(project: Project) -> QuerySet[JudgeRun]:
    """Return a project's runs; those of members stand under the run of their jury or cascade."""
    return JudgeRun.objects.filter(project=project, parent=None).select_related("version__judge")


def unsettled(project: Project, *, most: int) -> list[JudgeRun]:
    """Return the newest runs that go on or are paused; one query."""
    return list(runs_of(project).exclude(state=RunState.DONE).order_by("-created_at")[:most])


def follow(run: JudgeRun, *, now: datetime | None = None) -> Following:
    """Return where a run is, with the runs of its members and its files; about eight queries for each."""
    now = now or timezone.now()
    server = server_of(run.version)
    return Following(
        run=run,
        progress=progress_of(run),
        under_way=Verdict.objects.filter(
            Q(run=run) | Q(run__parent=run), state=VerdictState.CLAIMED, lease_until__gt=now, batch=None
        ).count(),
        server=server,
        resting=server is not None and server.not_before is not None and server.not_before > now,
        children=[follow(child, now=now) for child in run.children.select_related("version__judge").order_by("pk")],
        batches=list(run.batches.all()),
    )


def server_of(version: JudgeVersion) -> ModelServer | None:
    """Return the row of the server a version is asked at, if it was asked yet; one query."""
    if version.judge.kind not in SERVED:
        return None
    return ModelServer.objects.filter(base_url=version.base_url).first()
