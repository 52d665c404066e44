"""Who may sign in, and what they may do in a project."""

from typing import TYPE_CHECKING

from django.contrib.auth.models import AbstractUser
from django.db import models

from annotation.ids import new_id

if TYPE_CHECKING:
    from annotation.models.projects import Project


class User(AbstractUser):
    """Somebody who signs in. What they may do is decided per project by `Membership`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    interface = models.JSONField(
        default=dict, blank=True, help_text="How this person set up the annotation screen (`annotation.personalising`)."
    )


class Role(models.TextChoices):
    """What a member does in a project."""

    MANAGER = "manager", "Manager"
    ANNOTATOR = "annotator", "Annotator"
    EXPERT = "expert", "Expert"
    ADJUDICATOR = "adjudicator", "Adjudicator"


class Membership(models.Model):
    """A person's role in one project."""

    project: "models.ForeignKey[Project]" = models.ForeignKey(
        "annotation.Project", on_delete=models.CASCADE, related_name="memberships"
    )
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="one_membership_per_project_and_user"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} is {self.role} in {self.project}"
