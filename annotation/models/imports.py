"""A file on its way in."""

from django.db import models

from annotation.ids import new_id
from annotation.models.people import User
from annotation.models.projects import Project


class Import(models.Model):
    """One uploaded file and what came of it; the report is kept so that a refusal can be read later."""

    class State(models.TextChoices):
        """Where the file is."""

        QUEUED = "queued", "Waiting for a worker"
        RUNNING = "running", "Reading"
        DONE = "done", "Imported"
        REFUSED = "refused", "Refused"
        FAILED = "failed", "Failed"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="imports")
    filename = models.CharField(max_length=255)
    path = models.CharField(max_length=1000, help_text="Below UPLOAD_DIR, under a name of our own.")
    format = models.CharField(max_length=32, default="auto")
    field_map = models.JSONField(default=dict, blank=True)
    on_error = models.CharField(max_length=8, choices=[("refuse", "Refuse the file"), ("skip", "Skip bad rows")])
    dry_run = models.BooleanField(default=False)
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    rows_read = models.PositiveIntegerField(default=0)
    report = models.JSONField(default=dict, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.filename
