"""Long calculations on stored data, with progress and a way to stop them."""

from typing import TYPE_CHECKING

from django.db import models

from annotation.ids import new_id
from annotation.models import Project, User

if TYPE_CHECKING:
    import uuid


class StudyKind(models.TextChoices):
    """What is calculated."""

    REPLAY = "replay", "Replay of routing"
    MIXES = "mixes", "Search over human/AI mixes"


class StudyState(models.TextChoices):
    """Where a study is."""

    QUEUED = "queued", "Waiting for a worker"
    RUNNING = "running", "Running"
    DONE = "done", "Done"
    STOPPED = "stopped", "Stopped"
    FAILED = "failed", "Failed"


class Study(models.Model):
    """A long calculation that reads what is stored and changes none of it: a replay, a search over mixes.

    `options` are the arguments it was asked with and `result` the JSON it returned. `checkpoint` holds finished steps,
    so that a killed worker's study goes on where it was. A manager stops it by `stop_requested`.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="studies")
    kind = models.CharField(max_length=8, choices=StudyKind)
    state = models.CharField(max_length=8, choices=StudyState, default=StudyState.QUEUED)
    judge_name = models.CharField(max_length=200)
    options = models.JSONField(default=dict)
    seed = models.PositiveIntegerField(default=0)
    done_steps = models.PositiveIntegerField(default=0)
    total_steps = models.PositiveIntegerField(default=0)
    stop_requested = models.BooleanField(default=False)
    checkpoint = models.JSONField(default=dict, blank=True)
    result = models.JSONField(default=dict, blank=True)
    error = models.TextField(blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    project_id: "uuid.UUID"

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.kind} of {self.judge_name}"
