"""What people were told when: each text of a project's guidelines that was in force."""

from typing import TYPE_CHECKING

from django.db import models

from annotation.ids import new_id
from annotation.models.people import User
from annotation.models.projects import Project

if TYPE_CHECKING:
    import uuid


class GuidelinesVersion(models.Model):
    """One text of the guidelines; numbers run from 1 in a project and a version never changes.

    The current text is also `Project.guidelines`, and its number `Project.guidelines_number`, so that no screen needs
    this table to show it.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="guidelines_versions")
    number = models.PositiveIntegerField()
    text = models.TextField(blank=True)
    note = models.TextField(blank=True, help_text="What changed, in words for annotators.")
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    project_id: "uuid.UUID"

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="one_guidelines_version_per_project_and_number"),
            models.CheckConstraint(condition=models.Q(number__gte=1), name="guidelines_versions_count_from_one"),
        ]

    def __str__(self) -> str:
        return f"{self.project_id}: guidelines {self.number}"
