"""Servers that judges are asked at: what they can do, how fast they may be asked, and what they answered before."""

from django.db import models

from annotation.ids import new_id


class ModelServer(models.Model):
    """A server and its limits. One row an address, shared by all workers; `judges.limiting` keeps it.

    `concurrency` is what the controller allows now, between 1 and `max_concurrency`; each worker takes its share of it
    (`ServerShare`). `requests_left` and `tokens_left` are buckets, refilled by the minute's rates since `refilled_at`.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    base_url = models.URLField(max_length=500, unique=True)
    max_concurrency = models.PositiveIntegerField(default=64)
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_minute = models.PositiveIntegerField(null=True, blank=True)
    concurrency = models.PositiveIntegerField(default=16)
    requests_left = models.FloatField(null=True, blank=True)
    tokens_left = models.FloatField(null=True, blank=True)
    refilled_at = models.DateTimeField(null=True, blank=True)
    not_before = models.DateTimeField(null=True, blank=True, help_text="Nobody asks it until then.")
    reason = models.TextField(blank=True, help_text="Why it rests or was slowed down, in words for a person.")
    rounds = models.JSONField(default=dict, blank=True, help_text="What the controller counts in this round.")
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(concurrency__gte=1, max_concurrency__gte=1), name="server_may_be_asked_at_all"
            ),
        ]

    def __str__(self) -> str:
        return self.base_url


class ServerShare(models.Model):
    """What one worker process asks a server: a heartbeat; it counts for as long as it is fresh."""

    server = models.ForeignKey(ModelServer, on_delete=models.CASCADE, related_name="shares")
    worker = models.CharField(max_length=64, help_text="One process; made anew each time it starts.")
    in_flight = models.PositiveIntegerField(default=0)
    seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["server", "worker"], name="one_share_per_server_and_worker"),
        ]

    def __str__(self) -> str:
        return f"{self.worker} at {self.server_id}"


class ServedModel(models.Model):
    """What the probe found that a model at a server can do (`judges.probing`)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    base_url = models.URLField(max_length=500)
    model = models.CharField(max_length=200)
    found = models.JSONField(default=dict, blank=True)
    error = models.TextField(blank=True, help_text="Why it could not be probed, in words for a person.")
    probed_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["base_url", "model"], name="one_probe_per_server_and_model"),
        ]

    def __str__(self) -> str:
        return f"{self.model} at {self.base_url}"


class CachedReply(models.Model):
    """A server's answer to a request, by the request's hash: the same request is never paid twice, in any run."""

    key = models.CharField(primary_key=True, max_length=64)
    reply = models.JSONField(help_text="A list: one entry a sample.")
    # Forgetting the old ones (`judges.caching.forget`) looks for them by age.
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    def __str__(self) -> str:
        return self.key
