"""People who were erased, and which exports and publications still hold what they said."""

from django.db import models

from annotation.ids import new_id
from annotation.models import Project, Rater, User
from exports.models.publications import Publication
from exports.models.snapshots import Snapshot


class Erasure(models.Model):
    """An erased person: when, by whom, why, and what was made before and may still hold their answers.

    Nothing here leads back to them: `rater` is the nameless row that is left, `reason` a manager's words.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="erasures")
    rater = models.OneToOneField(Rater, on_delete=models.CASCADE, related_name="erasure")
    reason = models.CharField(max_length=500)
    answers = models.PositiveIntegerField(help_text="Answers that stood and went.")
    rationales = models.PositiveIntegerField(help_text="Of these, with a reason in words.")
    account = models.CharField(
        max_length=8, choices=[("erased", "Erased"), ("kept", "Kept: it is used elsewhere"), ("none", "There was none")]
    )
    snapshots = models.ManyToManyField(Snapshot, related_name="erasures", blank=True)
    publications = models.ManyToManyField(Publication, related_name="erasures", blank=True)
    by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    at = models.DateTimeField()

    class Meta:
        ordering = ["-at"]
        constraints = [
            models.CheckConstraint(condition=~models.Q(reason=""), name="erasure_has_a_reason"),
        ]

    def __str__(self) -> str:
        return self.rater.name
