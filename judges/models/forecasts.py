"""What a judge's probe measured, so that a run can be foretold before it is started."""

from django.db import models

from annotation.ids import new_id
from judges.models.definitions import JudgeVersion
from judges.models.runs import JudgeRun


class Forecast(models.Model):
    """The speed and the price of one version, measured by a run over a few pairs (`judges.forecasting`)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    version = models.ForeignKey(JudgeVersion, on_delete=models.CASCADE, related_name="forecasts")
    run = models.OneToOneField(JudgeRun, on_delete=models.CASCADE, related_name="forecast")
    pairs = models.PositiveIntegerField(default=0, help_text="Measured; 0 until the run has ended.")
    prompts = models.PositiveIntegerField(default=0)
    pairs_per_second = models.FloatField(null=True, blank=True)
    figures = models.JSONField(default=dict, blank=True, help_text="Means a pair, each with the variance of its mean.")
    measured_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-measured_at"]

    def __str__(self) -> str:
        return f"forecast of {self.version_id}"
