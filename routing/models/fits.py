"""Predictors as they were fitted while labels arrived, and what was seen to drift."""

from django.db import models

from annotation.ids import new_id
from annotation.models import Project
from judges.models import JudgeVersion


class PredictorFit(models.Model):
    """A predictor of P(judge wrong) fitted to the labels of one moment, and how the labels since the last fit met it.

    `predictor` is `routing.predicting.predictor.Predictor.to_json`, `comparison` the candidates on held-out groups.
    `drift` says how new answers and new pairs differ from those the applied plan was drawn on
    (`routing.predicting.drifting`). A row whose `kind` is empty is a worker's claim: the fit is being made.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="predictor_fits")
    version = models.ForeignKey(JudgeVersion, on_delete=models.CASCADE, related_name="predictor_fits")
    kind = models.CharField(max_length=16)
    predictor = models.JSONField(default=dict)
    comparison = models.JSONField(default=list)
    labels = models.PositiveIntegerField(default=0)
    wrong = models.PositiveIntegerField(default=0)
    seed = models.PositiveIntegerField()
    drift = models.JSONField(default=dict, blank=True)
    alarm = models.BooleanField(default=False)
    fitted_at = models.DateTimeField()

    class Meta:
        ordering = ["-fitted_at"]
        constraints = [
            models.UniqueConstraint(fields=["version"], condition=models.Q(kind=""), name="one_fit_being_made"),
        ]
        indexes = [models.Index(fields=["version", "-fitted_at"], name="fit_by_version")]

    def __str__(self) -> str:
        return f"{self.kind} on {self.labels} labels"
