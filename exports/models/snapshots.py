"""An immutable export and the files it wrote."""

from django.db import models

from annotation.ids import new_id
from annotation.models import Project, User


class SnapshotState(models.TextChoices):
    """Where an export is."""

    QUEUED = "queued", "Waiting for a worker"
    RUNNING = "running", "Writing"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    DELETED = "deleted", "Deleted"


class Snapshot(models.Model):
    """An immutable export: settings, seed, files with their hashes, reports.

    `content_hash` covers every file, so two snapshots of the same data with the same settings have the same hash.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="snapshots")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=8, choices=SnapshotState, default=SnapshotState.QUEUED)
    profiles = models.JSONField(default=list)
    settings = models.JSONField(default=dict, help_text="Format, seed, tie rule, test share, filters.")
    folder = models.CharField(max_length=1000, blank=True)
    files = models.JSONField(default=list, help_text="[{path, sha256, bytes, rows}], by path.")
    counts = models.JSONField(default=dict, help_text="Rows written, and rows left out by reason.")
    report = models.JSONField(default=dict)
    content_hash = models.CharField(max_length=64, blank=True)
    error = models.TextField(blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True, help_text="Files and reports are gone; the number is not.")

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="one_snapshot_per_project_and_number"),
            models.CheckConstraint(
                condition=~models.Q(state="done") | ~models.Q(content_hash=""), name="snapshot_done_has_a_hash"
            ),
            models.CheckConstraint(
                condition=~models.Q(state="failed") | ~models.Q(error=""), name="snapshot_failed_says_why"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.project} v{self.number}"
