"""The one message that travels upward: a fact, written in the transaction that made it true."""

from django.db import models

from annotation.ids import new_id


class OutboxEvent(models.Model):
    """A fact other apps may act on. `annotation.publishing` rings the Celery tasks that `OUTBOX_CONSUMERS` names."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    topic = models.CharField(max_length=64)
    payload = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    published_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            # The relay's walk over what has not been rung yet.
            models.Index(
                fields=["created_at"], condition=models.Q(published_at__isnull=True), name="outbox_unpublished"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.topic} {self.id}"
