"""Files of requests, for servers that answer them hours later at half the price."""

from typing import TYPE_CHECKING

from django.db import models

from annotation.ids import new_id
from judges.models.runs import JudgeRun

if TYPE_CHECKING:
    import uuid


class BatchState(models.TextChoices):
    """Where a batch is. All but the last three are open."""

    WRITTEN = "written", "Written to a file"
    SUBMITTED = "submitted", "Being answered"
    FETCHED = "fetched", "Answers stored"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


class Batch(models.Model):
    """One file of requests of a run; its verdicts are claimed until its answers are stored or it ends without."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    run = models.ForeignKey(JudgeRun, on_delete=models.CASCADE, related_name="batches")
    state = models.CharField(max_length=12, choices=BatchState, default=BatchState.WRITTEN)
    by_hand = models.BooleanField(
        default=False, help_text="Exported for another program; a person brings its answers back."
    )
    lease_until = models.DateTimeField(
        null=True, blank=True, help_text="Nobody else touches it until then: a worker is at it, or its server rests."
    )
    path = models.CharField(max_length=500, blank=True, help_text="The file of requests, once it is whole.")
    server_file_id = models.CharField(max_length=200, blank=True)
    server_batch_id = models.CharField(max_length=200, blank=True)
    server_state = models.CharField(max_length=40, blank=True, help_text="The server's own word for it.")
    n_requests = models.PositiveIntegerField(default=0)
    n_done = models.PositiveIntegerField(default=0)
    n_failed = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    submitted_at = models.DateTimeField(null=True, blank=True)
    polled_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    run_id: "uuid.UUID"

    class Meta:
        verbose_name_plural = "batches"
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return f"batch of {self.n_requests} requests of {self.run_id}"
