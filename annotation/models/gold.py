"""Pairs with a known answer, and answers that a manager takes out of the count."""

import uuid
from typing import Self

from django.db import models

from annotation.ids import new_id
from annotation.models.pairs import Pair
from annotation.models.people import User
from annotation.models.projects import Project
from annotation.models.raters import Rater


class GoldKind(models.TextChoices):
    """What a gold pair tests."""

    KNOWN = "known", "Known answer"
    ATTENTION = "attention", "Attention check"


class GoldSource(models.TextChoices):
    """Where a known answer comes from."""

    FILE = "file", "A column of a file"
    MANAGER = "manager", "A manager"
    LABEL = "label", "An adjudicated label"


class GoldQuerySet(models.QuerySet["Gold"]):
    """Reads of gold."""

    def live(self) -> Self:
        """Leave out what was revoked: it tests nobody and scores nothing."""
        return self.filter(revoked_at__isnull=True)


class Gold(models.Model):
    """A pair with a known answer, mixed in unseen to check people: the choices accepted, in the stored order.

    Revoking keeps the row; the same pair can be set again, as another row.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="gold")
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="gold")
    kind = models.CharField(max_length=12, choices=GoldKind, default=GoldKind.KNOWN)
    accepted = models.JSONField(help_text="The choices that count as right, in the stored order: [a, b, tie, ...].")
    source = models.CharField(max_length=12, choices=GoldSource)
    note = models.TextField(blank=True, help_text="Why this is the answer; for managers.")
    answers = models.PositiveIntegerField(default=0, help_text="How often it was asked as gold and answered.")
    set_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    revoke_reason = models.TextField(blank=True)

    objects = GoldQuerySet.as_manager()

    pair_id: uuid.UUID
    project_id: uuid.UUID

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["pair"], condition=models.Q(revoked_at__isnull=True), name="one_live_gold_per_pair"
            ),
            models.CheckConstraint(condition=models.Q(kind__in=GoldKind.values), name="gold_kind_is_known"),
        ]
        indexes = [
            # What can be mixed in: a project's live gold.
            models.Index(fields=["project"], condition=models.Q(revoked_at__isnull=True), name="gold_live"),
        ]

    def __str__(self) -> str:
        return f"{self.pair}: {', '.join(self.accepted)}"


class Exclusion(models.Model):
    """A manager's or a rule's decision that a person's answers so far do not count; they are kept. Undoing keeps it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    rater = models.ForeignKey(Rater, on_delete=models.CASCADE, related_name="exclusions")
    reason = models.TextField()
    by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField()
    undone_at = models.DateTimeField(null=True, blank=True)
    undone_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    rater_id: uuid.UUID

    class Meta:
        constraints = [
            models.CheckConstraint(condition=~models.Q(reason=""), name="exclusion_has_a_reason"),
        ]

    def __str__(self) -> str:
        return f"{self.rater}: {self.reason}"
