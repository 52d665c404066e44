"""How people come in: invitations, links that sign in once, identities, the second step, limits on tries."""

from typing import TYPE_CHECKING, Self

from django.db import models

from annotation.ids import new_id
from annotation.models.people import Role, User
from annotation.models.projects import Project

if TYPE_CHECKING:
    from datetime import datetime


class InvitationQuerySet(models.QuerySet["Invitation"]):
    """Reads of invitations."""

    def valid(self, now: "datetime") -> Self:
        """Return those that still let somebody in."""
        return self.filter(revoked_at=None, expires_at__gt=now, used__lt=models.F("limit"))


class Invitation(models.Model):
    """A link into a project, for so many people and so long. Only a hash of it is kept: it is shown once."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="invitations")
    role = models.CharField(max_length=16, choices=Role)
    note = models.CharField(max_length=120, blank=True, help_text="For whom it is, for the manager's list.")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the token, in hexadecimal.")
    limit = models.PositiveSmallIntegerField(default=1, help_text="How many people may join by it.")
    used = models.PositiveSmallIntegerField(default=0)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=models.Q(limit__gte=1), name="invitation_is_for_somebody"),
            models.CheckConstraint(
                condition=models.Q(used__lte=models.F("limit")), name="invitation_is_used_no_more_than_its_limit"
            ),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="invitation_role_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.get_role_display()} in {self.project}"


class SignInLink(models.Model):
    """A link that signs one person in, once. Only a hash of it is kept."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sign_in_links")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the token, in hexadecimal.")
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"a link of {self.user}"


class Identity(models.Model):
    """Who somebody is at an OpenID Connect provider: its name for them never changes, unlike their address there."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="identities")
    issuer = models.CharField(max_length=500, help_text="The provider, as it names itself.")
    subject = models.CharField(max_length=255, help_text="The provider's name for this person.")
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name_plural = "identities"
        constraints = [
            models.UniqueConstraint(fields=["issuer", "subject"], name="one_account_per_issuer_and_subject"),
            models.UniqueConstraint(fields=["user", "issuer"], name="one_identity_per_user_and_issuer"),
        ]

    def __str__(self) -> str:
        return f"{self.user} at {self.issuer}"


class SecondStep(models.Model):
    """An app that makes codes for somebody's sign-in (TOTP, RFC 6238)."""

    user = models.OneToOneField(User, on_delete=models.CASCADE, primary_key=True, related_name="second_step")
    secret = models.TextField(help_text="Signed and encrypted with the site's key.")
    confirmed_at = models.DateTimeField(null=True, blank=True, help_text="Empty: shown, and not in force yet.")
    last_counter = models.BigIntegerField(default=0, help_text="The time step of the last code: none works twice.")
    recovery_digests = models.JSONField(default=list, help_text="SHA-256 of the recovery codes that are left.")

    def __str__(self) -> str:
        return f"second step of {self.user}"


class Throttle(models.Model):
    """How often something was tried in a while, such as passwords of one account; shared by all processes."""

    key = models.CharField(primary_key=True, max_length=64, help_text="SHA-256 of what is tried and by whom.")
    tries = models.PositiveIntegerField(default=0)
    until = models.DateTimeField(help_text="When the count begins anew.")

    def __str__(self) -> str:
        return self.key[:12]
