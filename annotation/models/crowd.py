"""People from a crowd platform: the study they come by, who they are there, and each of their submissions."""

from typing import TYPE_CHECKING, Self

from django.db import models

from annotation.ids import new_id
from annotation.models.projects import Project
from annotation.models.raters import Rater

if TYPE_CHECKING:
    import uuid


class Platform(models.TextChoices):
    """Where people come from."""

    PROLIFIC = "prolific", "Prolific"
    GENERIC = "generic", "Another platform"
    MTURK = "mturk", "Mechanical Turk"


class ArrivalCheck(models.TextChoices):
    """How it is known that who arrives is who the address says."""

    SIGNED = "signed", "By the platform's signature"
    API = "api", "By asking the platform"
    NONE = "none", "Not at all"


class CrowdStudy(models.Model):
    """A project on a crowd platform: what the platform calls a study, a survey or a HIT."""

    class State(models.TextChoices):
        """Whether people may arrive."""

        OPEN = "open", "Open"
        CLOSED = "closed", "Closed"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="crowd_studies")
    platform = models.CharField(max_length=16, choices=Platform)
    name = models.CharField(max_length=120)
    external_id = models.CharField(max_length=64, blank=True, help_text="The platform's own id of it, once known.")
    state = models.CharField(max_length=8, choices=State, default=State.OPEN)
    platform_state = models.CharField(max_length=32, blank=True, help_text="What the platform last said of it.")
    platform_state_at = models.DateTimeField(null=True, blank=True)
    arrival_check = models.CharField(max_length=8, choices=ArrivalCheck)
    answers_wanted = models.PositiveIntegerField(default=20, help_text="Answers of one visit, then its end page.")
    settings = models.JSONField(default=dict, blank=True, help_text="What only its platform has (`annotation.crowd`).")
    created_at = models.DateTimeField(auto_now_add=True)

    project_id: "uuid.UUID"

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["platform", "external_id"],
                condition=~models.Q(external_id=""),
                name="one_study_per_platform_and_its_id",
            ),
            models.UniqueConstraint(fields=["project", "name"], name="one_crowd_study_per_project_and_name"),
            models.CheckConstraint(condition=models.Q(answers_wanted__gte=1), name="crowd_study_wants_an_answer"),
            models.CheckConstraint(
                condition=~models.Q(platform="prolific", arrival_check="none"), name="prolific_arrivals_are_checked"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class CompletionCode(models.Model):
    """A code that the end page gives: one for each way a visit ends."""

    class Kind(models.TextChoices):
        """How a visit ended."""

        COMPLETED = "completed", "Answered all"
        SCREENED_OUT = "screened_out", "Did not pass the questions"
        FAILED_ATTENTION_CHECK = "failed_attention_check", "Failed attention checks"
        NOTHING_TO_DO = "nothing_to_do", "Found nothing to answer"

    class Actor(models.TextChoices):
        """Who hands it in."""

        PARTICIPANT = "participant", "Participant"
        RESEARCHER = "researcher", "Researcher"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    study = models.ForeignKey(CrowdStudy, on_delete=models.CASCADE, related_name="codes")
    kind = models.CharField(max_length=24, choices=Kind)
    code = models.CharField(max_length=64)
    actor = models.CharField(max_length=12, choices=Actor, default=Actor.PARTICIPANT)
    actions = models.JSONField(default=list, help_text="What the platform does on it, as it writes that.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["study", "kind"], name="one_code_per_study_and_kind"),
            models.UniqueConstraint(fields=["study", "code"], name="codes_of_a_study_differ"),
            models.CheckConstraint(condition=~models.Q(code=""), name="code_is_not_empty"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.study}"


class Guest(models.Model):
    """Who somebody is on a platform, and the rater they are here. There is no account, name or address of theirs.

    One for a project: who comes by a second study of it is the same rater, and gets no pair twice.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="guests")
    platform = models.CharField(max_length=16, choices=Platform)
    external_id = models.CharField(max_length=128, help_text="The platform's id of the person.")
    rater = models.OneToOneField(Rater, on_delete=models.CASCADE, related_name="guest")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "platform", "external_id"], name="one_guest_per_project_platform_and_id"
            ),
            models.CheckConstraint(condition=~models.Q(external_id=""), name="guest_has_an_id"),
        ]

    def __str__(self) -> str:
        return self.rater.name


class SubmissionQuerySet(models.QuerySet["Submission"]):
    """Reads of submissions."""

    def in_project(self, project: Project) -> Self:
        """Return those of a project's studies."""
        return self.filter(study__project=project)

    def reviewable(self) -> Self:
        """Return those that wait for a manager's word."""
        return self.filter(state=Submission.State.AWAITING_REVIEW)


class Submission(models.Model):
    """One visit of a guest to a study; on Prolific a submission, whose id is the `SESSION_ID` of the arrival."""

    class State(models.TextChoices):
        """What the platform says of it."""

        RESERVED = "reserved", "Reserved"
        ACTIVE = "active", "Active"
        AWAITING_REVIEW = "awaiting_review", "Awaiting review"
        APPROVED = "approved", "Approved"
        PARTIALLY_APPROVED = "partially_approved", "Partially approved"
        REJECTED = "rejected", "Rejected"
        RETURNED = "returned", "Returned"
        TIMED_OUT = "timed_out", "Timed out"
        SCREENED_OUT = "screened_out", "Screened out"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    study = models.ForeignKey(CrowdStudy, on_delete=models.CASCADE, related_name="submissions")
    guest = models.ForeignKey(Guest, on_delete=models.CASCADE, related_name="submissions")
    external_id = models.CharField(max_length=128, help_text="The platform's id of the visit.")
    state = models.CharField(max_length=24, choices=State, default=State.ACTIVE)
    state_at = models.DateTimeField(help_text="When the platform said so; older news changes nothing.")
    checked_by = models.CharField(max_length=8, choices=ArrivalCheck)
    captured = models.JSONField(default=dict, blank=True, help_text="Further parameters of the arrival.")
    answered_before = models.PositiveIntegerField(default=0, help_text="Answers of this person before the visit.")
    ended_as = models.CharField(max_length=24, choices=CompletionCode.Kind, blank=True)
    arrived_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True, help_text="When the end page gave its code.")

    objects = SubmissionQuerySet.as_manager()

    study_id: "uuid.UUID"
    guest_id: "uuid.UUID"

    class Meta:
        ordering = ["-arrived_at"]
        constraints = [
            models.UniqueConstraint(fields=["study", "external_id"], name="one_submission_per_study_and_id"),
            models.CheckConstraint(condition=~models.Q(external_id=""), name="submission_has_an_id"),
            models.CheckConstraint(
                condition=models.Q(ended_at__isnull=True, ended_as="")
                | models.Q(models.Q(ended_at__isnull=False), ~models.Q(ended_as="")),
                name="submission_that_ended_says_how",
            ),
        ]
        indexes = [
            # The manager's list: a study's submissions by state, newest first.
            models.Index(fields=["study", "state", "-arrived_at"], name="submission_by_state"),
        ]

    def __str__(self) -> str:
        return f"{self.guest} in {self.study}"


class UsedArrival(models.Model):
    """A signed arrival that was let in: its signature is good for one."""

    digest = models.CharField(primary_key=True, max_length=64, help_text="SHA-256 of the token, in hexadecimal.")
    submission = models.ForeignKey(Submission, on_delete=models.CASCADE, related_name="+")
    expires_at = models.DateTimeField(help_text="From then on the token is refused for its age.")

    def __str__(self) -> str:
        return self.digest[:12]


class PlatformEvent(models.Model):
    """Something that a platform told of by itself; each id is taken once."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    platform = models.CharField(max_length=16, choices=Platform)
    external_id = models.CharField(max_length=128)
    digest = models.CharField(
        max_length=64,
        unique=True,
        help_text="SHA-256 of its signature: its id is not signed, so a repeat may bear another.",
    )
    kind = models.CharField(max_length=64)
    body = models.JSONField()
    said_at = models.DateTimeField(help_text="When the platform says it sent this.")
    received_at = models.DateTimeField(auto_now_add=True)
    effect = models.CharField(max_length=200, blank=True, help_text="What became of it.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["platform", "external_id"], name="one_event_per_platform_and_id"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.external_id}"
