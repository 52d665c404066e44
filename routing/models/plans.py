"""A routing decision and its row for each pair."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.db import models, transaction

from annotation.ids import new_id
from annotation.models import Pair, Project, User

if TYPE_CHECKING:
    import uuid


class BudgetKind(models.TextChoices):
    """What a plan may spend: a share of the pairs, a number of them, money, or what an agreement target needs."""

    SHARE = "share", "Share of pairs"
    COUNT = "count", "Number of pairs"
    MONEY = "money", "Money"
    TARGET = "target", "Agreement target"


class PlanState(models.TextChoices):
    """Where a plan is: being drawn by a worker, looked at, being applied, applied, or given up with a reason."""

    DRAWING = "drawing", "Being drawn"
    DRAFT = "draft", "Draft"
    APPLYING = "applying", "Being applied"
    APPLIED = "applied", "Applied"
    FAILED = "failed", "Failed"


class Plan(models.Model):
    """A routing decision for a project at a budget: which pairs people answer and which keep their AI label.

    `figures` holds what the manager is shown before applying it (counts, cost, predicted agreement, the predictor and
    how it was chosen); `predictor` holds the fitted predictor as text, so that the plan can be explained later.
    `options` is a `routing.plans.options.PlanOptions` as JSON. A plan drawn again as answers arrive names the plan it
    `replaces`; `round` counts from 1.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="plans")
    state = models.CharField(max_length=8, choices=PlanState, default=PlanState.DRAFT)
    error = models.TextField(blank=True, help_text="Why it could not be drawn or applied, in words for a person.")
    replaces = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="replaced_by")
    round = models.PositiveSmallIntegerField(default=1)
    budget_kind = models.CharField(max_length=8, choices=BudgetKind)
    budget_value = models.DecimalField(
        max_digits=14, decimal_places=6, help_text="A share, US dollars or an agreement."
    )
    audit_share = models.FloatField(help_text="Share of all pairs drawn at random, whatever the router thinks.")
    seed = models.PositiveIntegerField()
    options = models.JSONField(default=dict, blank=True)
    judge_name = models.CharField(max_length=200, help_text="The judge whose labels stand where nobody is asked.")
    predictor_kind = models.CharField(max_length=16)
    predictor = models.JSONField(default=dict, blank=True)
    figures = models.JSONField(default=dict, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    applied_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(audit_share__gte=0.0, audit_share__lte=1.0), name="plan_audit_share_is_a_share"
            ),
        ]

    def __str__(self) -> str:
        return f"plan {self.id}"

    def note_after(self, **values: Any) -> None:
        """Keep what became of the plan since it was drawn, in `figures["after"]`; locks its row."""
        with transaction.atomic():
            held = Plan.objects.select_for_update(no_key=True).only("figures").get(pk=self.pk)
            held.figures = {**held.figures, "after": {**held.figures.get("after", {}), **values}}
            held.save(update_fields=["figures"])
        self.figures = held.figures


class RouteSource(models.TextChoices):
    """Where a pair's label is to come from."""

    AI = "ai", "AI label"
    SECOND = "second", "A second judge, then its AI label or people"
    PEOPLE = "people", "People, chosen by the router"
    AUDIT = "audit", "People, drawn at random"


class Route(models.Model):
    """A plan's row for one pair.

    `selection_prob` is the probability that people are asked about this pair under the plan; it is above 0 for every
    pair as long as there is an audit slice, which is what makes unbiased estimates possible.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="routes")
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="routes")
    source = models.CharField(max_length=8, choices=RouteSource)
    p_wrong = models.FloatField(null=True, help_text="P(the judge's label differs from the human consensus).")
    expected_gain = models.FloatField(null=True, help_text="Expected corrected labels per US dollar.")
    cost_usd = models.DecimalField(
        max_digits=12, decimal_places=6, help_text="The most that people's answers may cost."
    )
    expected_usd = models.DecimalField(max_digits=12, decimal_places=6, default=Decimal(0))
    expected_seconds = models.FloatField(null=True, help_text="Seconds of people's time expected for all votes.")
    selection_prob = models.FloatField()
    why = models.JSONField(default=list, blank=True, help_text="Reasons in words, strongest first.")

    plan_id: "uuid.UUID"
    pair_id: "uuid.UUID"

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["plan", "pair"], name="one_route_per_plan_and_pair"),
            models.CheckConstraint(
                condition=models.Q(p_wrong__isnull=True) | models.Q(p_wrong__range=(0.0, 1.0)),
                name="route_p_wrong_is_a_probability",
            ),
            models.CheckConstraint(
                condition=models.Q(selection_prob__range=(0.0, 1.0)), name="route_selection_prob_is_a_probability"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pair}: {self.source}"


class PlanSignals(models.Model):
    """The signals a plan was drawn from, as Parquet (index `pair_id`): what it takes to draw it again."""

    plan = models.OneToOneField(Plan, on_delete=models.CASCADE, primary_key=True, related_name="signals")
    data = models.BinaryField()

    def __str__(self) -> str:
        return f"signals of {self.plan}"
