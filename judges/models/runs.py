"""Work for judges and what came back. A `Verdict` row is both: it waits, is claimed, and then holds the answer."""

from decimal import Decimal
from typing import TYPE_CHECKING, Self

from django.db import models

from annotation.ids import new_id
from annotation.models import Choice, Pair, Project, User
from judges.models.definitions import JudgeVersion

if TYPE_CHECKING:
    import uuid


class RunState(models.TextChoices):
    """Where a run is."""

    RUNNING = "running", "Running"
    PAUSED = "paused", "Paused"
    DONE = "done", "Done"


class RunPurpose(models.TextChoices):
    """What a run asks for."""

    LABEL = "label", "Preferences"
    EXPLAIN = "explain", "Rationales of preferences that are there"
    TAG = "tag", "Tags of prompts"


class JudgeRun(models.Model):
    """One request to have a judge version label pairs, with its own cap on money.

    `reserved_usd` is money promised to calls under way: reserve before, settle after, so that
    `spent_usd + reserved_usd <= budget_usd` at every instant. The runs of the members of a jury or cascade
    have a `parent`: its row holds the money of all of them, and pausing it pauses them.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="judge_runs")
    version = models.ForeignKey(JudgeVersion, on_delete=models.CASCADE, related_name="runs")
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, blank=True, related_name="children")
    purpose = models.CharField(max_length=8, choices=RunPurpose, default=RunPurpose.LABEL)
    fresh = models.BooleanField(
        default=False, help_text="Asks the server even where the same request was answered before."
    )
    state = models.CharField(max_length=8, choices=RunState, default=RunState.RUNNING)
    reason = models.TextField(blank=True, help_text="Why it is paused, in words for a person.")
    budget_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    spent_usd = models.DecimalField(max_digits=12, decimal_places=6, default=Decimal(0))
    reserved_usd = models.DecimalField(max_digits=12, decimal_places=6, default=Decimal(0))
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(spent_usd__gte=0, reserved_usd__gte=0), name="run_money_is_not_negative"
            ),
            models.CheckConstraint(
                condition=models.Q(budget_usd__isnull=True)
                | models.Q(budget_usd__gte=models.F("spent_usd") + models.F("reserved_usd")),
                name="run_money_stays_below_its_cap",
            ),
        ]

    parent_id: "uuid.UUID | None"

    def __str__(self) -> str:
        return f"run of {self.version}"

    @property
    def payer_id(self) -> "uuid.UUID":
        """The run whose row holds the money: its parent's where it has one."""
        return self.parent_id or self.pk


class VerdictState(models.TextChoices):
    """Where one question is."""

    PENDING = "pending", "Waiting"
    CLAIMED = "claimed", "Being asked"
    DONE = "done", "Answered"
    FAILED = "failed", "Failed"


class Order(models.TextChoices):
    """What the judge saw: both responses in an order, one alone (a rating), or none (a rule).

    `WHY` is the second pass: the pair with the choice made, asked for its reason. `TAGS` shows the prompt alone and
    asks what kind of prompt it is; one pair stands for all pairs of its prompt.
    """

    AB = "ab", "a first"
    BA = "ba", "b first"
    ONLY_A = "a", "a alone"
    ONLY_B = "b", "b alone"
    WHY = "why", "Its reason"
    TAGS = "tag", "Tags of its prompt"
    NONE = "", "No order"


# Orders that ask for no verdict: nothing about the judge's answers is counted from them.
SECOND_PASSES = (Order.WHY.value, Order.TAGS.value)


class VerdictQuerySet(models.QuerySet["Verdict"]):
    """Reads of verdicts."""

    def answered(self) -> Self:
        """Return the verdicts that hold an answer."""
        return self.filter(state=VerdictState.DONE)

    def of_labels(self) -> Self:
        """Return the verdicts that are about a pair's label, whatever their state: no reasons and no tags."""
        return self.exclude(order__in=SECOND_PASSES)


class Verdict(models.Model):
    """What one call in one order returned: the row is asked for first and filled in when the answer comes.

    `choice`, `prob_a`, `score_a` and `score_b` are in the stored order, whatever the judge saw. `rationale` and `raw`
    are as it wrote them, so they speak of the order it saw.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    version = models.ForeignKey(JudgeVersion, on_delete=models.CASCADE, related_name="verdicts")
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="verdicts")
    order = models.CharField(max_length=3, choices=Order, blank=True)
    run = models.ForeignKey(JudgeRun, on_delete=models.SET_NULL, null=True, blank=True, related_name="verdicts")
    state = models.CharField(max_length=8, choices=VerdictState, default=VerdictState.PENDING)
    lease_until = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    reserved_usd = models.DecimalField(max_digits=12, decimal_places=6, default=Decimal(0))
    batch = models.ForeignKey("judges.Batch", on_delete=models.SET_NULL, null=True, blank=True, related_name="verdicts")

    choice = models.CharField(max_length=8, choices=Choice, blank=True)
    prob_a = models.FloatField(null=True, blank=True, help_text="P(a is better), half of a tie's counted in.")
    distribution = models.JSONField(
        default=dict, blank=True, help_text="Probabilities: of a, tie and b; or, for a rating, of each score."
    )
    label_mass = models.FloatField(null=True, blank=True, help_text="What the labels held of all probability.")
    samples = models.PositiveSmallIntegerField(default=1, help_text="Calls whose answers this one sums up.")
    criteria = models.JSONField(
        default=dict, blank=True, help_text="By criterion: {choice, prob_a, distribution} or {score, distribution}."
    )
    request_key = models.CharField(
        max_length=64, blank=True, help_text="The request's hash (judges.caching), for verdicts asked by file."
    )
    from_cache = models.BooleanField(default=False, help_text="Answered before, by the same request; cost nothing.")
    score_a = models.FloatField(null=True, blank=True)
    score_b = models.FloatField(null=True, blank=True)
    rationale = models.TextField(blank=True)
    raw = models.TextField(blank=True)
    error = models.TextField(blank=True, help_text="Why there is no answer, in words for a person.")
    answered_by = models.CharField(max_length=200, blank=True, help_text="The model the server says it used.")
    prompt_tokens = models.PositiveIntegerField(null=True, blank=True)
    completion_tokens = models.PositiveIntegerField(null=True, blank=True)
    cached_tokens = models.PositiveIntegerField(null=True, blank=True, help_text="Of the prompt's, read from a cache.")
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    seconds = models.FloatField(null=True, blank=True)
    meta = models.JSONField(default=dict, blank=True, help_text="What an imported record said beside this.")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = VerdictQuerySet.as_manager()

    version_id: "uuid.UUID"
    pair_id: "uuid.UUID"

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "pair", "order"], name="one_verdict_per_version_pair_and_order"),
            models.CheckConstraint(
                condition=~models.Q(state="done")
                | models.Q(choice__in=Choice.values)
                | models.Q(order="a", score_a__isnull=False)
                | models.Q(order="b", score_b__isnull=False)
                | models.Q(order="tag"),
                name="verdict_done_has_an_answer",
            ),
            models.CheckConstraint(
                condition=~models.Q(state="failed") | ~models.Q(error=""), name="verdict_failed_says_why"
            ),
            models.CheckConstraint(
                condition=~models.Q(state="claimed") | models.Q(lease_until__isnull=False),
                name="verdict_claimed_has_a_lease",
            ),
            models.CheckConstraint(
                condition=models.Q(prob_a__isnull=True) | models.Q(prob_a__range=(0.0, 1.0)),
                name="verdict_prob_a_is_a_probability",
            ),
        ]
        indexes = [
            # A run's open work, in pair order so that both orders of a pair are asked next to each other.
            models.Index(
                fields=["run", "pair", "order"],
                condition=models.Q(state__in=["pending", "claimed"]),
                name="verdict_open_work",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.version} on {self.pair} ({self.order or 'no order'})"
