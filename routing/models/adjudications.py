"""What adjudicators decided."""

import uuid

from django.db import models

from annotation.ids import new_id
from annotation.models import Choice, Pair, Preference, Rater


class Cause(models.TextChoices):
    """Why people differed on a pair."""

    GUIDELINES = "guidelines", "The guidelines do not settle it"
    PROMPT = "prompt", "The prompt can be read in two ways"
    CLOSE = "close", "The responses are nearly equally good"
    TASTE = "taste", "Fair views differ: a matter of taste"
    KNOWLEDGE = "knowledge", "It takes knowledge that some lack"
    SLIP = "slip", "Somebody slipped or misread"
    CARELESS = "careless", "Somebody did not read it"
    SHOWN = "shown", "Something was not shown properly"


class Adjudication(models.Model):
    """An adjudicator's decision on a pair: after their own look, and then the votes. A later one takes its place."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="adjudications")
    rater = models.ForeignKey(Rater, on_delete=models.CASCADE, related_name="adjudications")
    look = models.ForeignKey(
        Preference, on_delete=models.CASCADE, related_name="+", help_text="What they said before they saw the votes."
    )
    choice = models.CharField(max_length=8, choices=Choice)
    causes = models.JSONField(default=list, help_text="Why people differed: [Cause].")
    comment = models.TextField(blank=True)
    votes = models.JSONField(default=dict, help_text="The votes as they were shown: {choice: number}.")
    is_current = models.BooleanField(default=True)
    created_at = models.DateTimeField()

    pair_id: uuid.UUID
    rater_id: uuid.UUID

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["pair"], condition=models.Q(is_current=True), name="one_current_adjudication_per_pair"
            ),
            models.CheckConstraint(
                condition=models.Q(choice__in=[Choice.A, Choice.B, Choice.TIE, Choice.BOTH_BAD]),
                name="adjudication_decides",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pair}: {self.choice}"
