"""What a judge is. Any change of prompt, model, sampling or protocol makes a new version."""

from django.db import models

from annotation.ids import new_id
from annotation.models import Project, Rater


class JudgeKind(models.TextChoices):
    """How a judge comes to its answer."""

    OPENAI = "openai", "Model behind an OpenAI-compatible server"
    DECISIONS = "decisions", "Decision model (a probability per option, no text)"
    BATCH = "batch", "Model asked by files of requests (batch API)"
    GPU = "gpu", "Model run by our own workers, on a GPU"
    JURY = "jury", "Jury: several judges as one"
    CASCADE = "cascade", "Cascade: a cheap judge first, a strong one where it is unsure"
    LOCAL = "local", "Small local model (plumbing demo)"
    LENGTH = "length", "The longer response wins (baseline)"
    LEARNED = "learned", "Learned from this project's human labels (baseline)"
    RECORDED = "recorded", "Imported judgements"


# Kinds that ask no model themselves: they answer from what other judges of the project have answered.
COMBINED = {JudgeKind.JURY, JudgeKind.CASCADE}
# Kinds whose answers follow from the texts alone: no call, no money, no order.
RULES = {JudgeKind.LENGTH, JudgeKind.LEARNED}


class Judge(models.Model):
    """An LLM, a rule or a learned baseline that gives preferences."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="judges")
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=16, choices=JudgeKind)
    gate = models.JSONField(
        default=dict, blank=True, help_text="Thresholds a manager set for its labels to stand alone (judges.gating)."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="one_judge_per_project_and_name"),
        ]

    def __str__(self) -> str:
        return self.name

    def latest(self) -> "JudgeVersion":
        """Return the newest version. Raises `JudgeVersion.DoesNotExist` when there is none."""
        return self.versions.latest("number")


class JudgeVersion(models.Model):
    """A judge asked with a fixed prompt, model, sampling and protocol; the rater its preferences belong to."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    judge = models.ForeignKey(Judge, on_delete=models.CASCADE, related_name="versions")
    rater = models.OneToOneField(Rater, on_delete=models.PROTECT, related_name="judge_version")
    number = models.PositiveIntegerField()
    protocol = models.CharField(max_length=120, default="pairwise", help_text="What is asked for.")
    model = models.CharField(max_length=200, blank=True)
    base_url = models.URLField(max_length=500, blank=True)
    prompt_template = models.TextField(blank=True)
    sampling = models.JSONField(default=dict, blank=True)
    options = models.JSONField(default=dict, blank=True, help_text="How it is asked and read (judges.options).")
    calibration = models.JSONField(
        default=dict, blank=True, help_text="The map fitted to people's labels (judges.calibrating); not content."
    )
    files_hash = models.CharField(
        max_length=64, blank=True, help_text="Of a model that our own workers run: a hash of its files."
    )
    # What a learned baseline was fitted to, and its coefficients.
    fitted = models.JSONField(default=dict, blank=True)
    asks_both_orders = models.BooleanField(default=True, help_text="Off for rules that cannot see an order.")
    price_input_usd_per_million = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    price_output_usd_per_million = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    price_cached_usd_per_million = models.DecimalField(
        max_digits=12, decimal_places=6, null=True, blank=True, help_text="Input tokens the server had in its cache."
    )
    price_gpu_usd_per_hour = models.DecimalField(
        max_digits=12, decimal_places=6, null=True, blank=True, help_text="Of a model that our own workers run."
    )
    content_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["judge", "number"]
        constraints = [
            models.UniqueConstraint(fields=["judge", "number"], name="one_version_per_judge_and_number"),
            models.UniqueConstraint(fields=["judge", "content_hash"], name="one_version_per_judge_and_content"),
        ]

    def __str__(self) -> str:
        return f"{self.judge.name} v{self.number}"
