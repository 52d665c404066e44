"""What was computed about pairs and responses, kept so that only what is new is computed again."""

from typing import TYPE_CHECKING

from django.db import models

from annotation.ids import new_id
from annotation.models import Project, Response
from judges.models import JudgeVersion

if TYPE_CHECKING:
    import uuid


class TableKind(models.TextChoices):
    """What the rows of a table hold."""

    MEASURES = "measures", "Text measures of pairs"
    SIGNALS = "signals", "Signals about a judge"
    FITS = "fits", "Predictors of a judge's errors"


class SignalTable(models.Model):
    """A frame with a row a pair, as Parquet: it can be dropped at any time and is computed again.

    `key` tells tables of one kind apart (the judge versions of signals and fits). `version` is that of the code that
    computes it and `fingerprint` that of the data it came from: where either differs, rows are computed anew.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="signal_tables")
    kind = models.CharField(max_length=12, choices=TableKind)
    key = models.CharField(max_length=64, blank=True)
    version = models.CharField(max_length=64)
    fingerprint = models.CharField(max_length=64, blank=True)
    rows = models.PositiveIntegerField()
    data = models.BinaryField()
    made_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "kind", "key"], name="one_table_per_project_kind_and_key"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.project_id}"


class SignalSettings(models.Model):
    """Which signals beyond the built-in ones a project's router uses; a row is made when a manager changes something.

    `columns` are keys of `Pair.meta` that the manager vouches for: nothing a person said about the pair may be in them.
    `embedder` is empty (none), `local`, or the base URL and model of an embeddings endpoint; `tagger` names the judge
    version that tags prompts, null for none.
    """

    project = models.OneToOneField(Project, on_delete=models.CASCADE, primary_key=True, related_name="signal_settings")
    columns = models.JSONField(default=list, blank=True)
    embedder = models.CharField(max_length=300, blank=True, default="local")
    tagger = models.ForeignKey(JudgeVersion, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    embedding_asked_at = models.DateTimeField(
        null=True, blank=True, help_text="When a worker was asked to fetch embeddings; null once one began."
    )
    embedding_until = models.DateTimeField(
        null=True, blank=True, help_text="The lease of the worker that fetches embeddings; null where none does."
    )
    embedding_error = models.TextField(blank=True, help_text="Why fetching embeddings ended early, for a person.")

    def __str__(self) -> str:
        return f"signals of {self.project}"


class ResponseEmbedding(models.Model):
    """A response as a vector: 16-bit floats of an embedding model, scaled to length 1."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    response = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="embeddings")
    model = models.CharField(max_length=300)
    vector = models.BinaryField()

    response_id: "uuid.UUID"

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["response", "model"], name="one_embedding_per_response_and_model"),
        ]

    def __str__(self) -> str:
        return f"{self.model} of {self.response_id}"
