"""The resolved answer of a pair."""

from typing import TYPE_CHECKING

from django.db import models

from annotation.ids import new_id
from annotation.models import Choice, Pair

if TYPE_CHECKING:
    import uuid


class LabelSource(models.TextChoices):
    """Who decided."""

    HUMAN = "human", "People"
    AI = "ai", "AI judge"
    ADJUDICATED = "adjudicated", "Adjudicated"


class Label(models.Model):
    """The resolved answer of a pair, derived from preferences by `routing.labels.resolving`, again when they change.

    `choice` is empty where no side has a majority (`provenance["rule"]` says which rule left it open).
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    pair = models.OneToOneField(Pair, on_delete=models.CASCADE, related_name="label")
    source = models.CharField(max_length=12, choices=LabelSource)
    choice = models.CharField(max_length=8, choices=Choice, blank=True)
    prob_a = models.FloatField(null=True)
    p_correct = models.FloatField(null=True)
    strength = models.FloatField(null=True)
    n_votes = models.PositiveSmallIntegerField(default=0)
    agreement = models.FloatField(null=True, help_text="Share of votes for the choice.")
    provenance = models.JSONField(default=dict)
    resolved_at = models.DateTimeField()

    pair_id: "uuid.UUID"

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(prob_a__isnull=True) | models.Q(prob_a__range=(0.0, 1.0)),
                name="label_prob_a_is_a_probability",
            ),
            models.CheckConstraint(
                condition=models.Q(p_correct__isnull=True) | models.Q(p_correct__range=(0.0, 1.0)),
                name="label_p_correct_is_a_probability",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pair}: {self.choice or 'open'} ({self.source})"
