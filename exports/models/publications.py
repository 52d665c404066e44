"""What was published where: a row is written before anything is sent, so that a death in between can be looked into."""

from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q

from annotation.ids import new_id
from annotation.models import Project, User
from exports.models.snapshots import Snapshot

if TYPE_CHECKING:
    import uuid


class Place(models.TextChoices):
    """What kind of place a dataset is published to."""

    HUB = "hub", "Hub"
    FOLDER = "folder", "Folder"


class PublicationState(models.TextChoices):
    """How far a publication is."""

    QUEUED = "queued", "Waiting for a worker"
    RUNNING = "running", "Publishing"
    DONE = "done", "Published"
    FAILED = "failed", "Failed"


UNDER_WAY = (PublicationState.QUEUED.value, PublicationState.RUNNING.value)


class Publication(models.Model):
    """An export on its way to a place, or there.

    `parent` and `sent_at` are stored before the commit is sent, `commit` after: whoever finds `sent_at` without a
    commit looks at the place before sending anything. No token is in here; `address` and `target` name the place.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, null=True, blank=True, related_name="publications")
    snapshot = models.ForeignKey(
        Snapshot, on_delete=models.SET_NULL, null=True, blank=True, related_name="publications"
    )
    place = models.CharField(max_length=8, choices=Place)
    address = models.CharField(max_length=200, blank=True, help_text="The Hub's address; empty for a folder.")
    target = models.CharField(max_length=1000, help_text="NAMESPACE/NAME on the Hub, or a folder's path.")
    folder = models.CharField(max_length=1000, help_text="Where the export lies.")
    project_slug = models.CharField(max_length=200, help_text="The project's short name in the export's manifest.")
    content_hash = models.CharField(max_length=64)
    tag = models.CharField(max_length=100)
    onto = models.CharField(max_length=64, blank=True, help_text="The state that a person said to write over.")
    wants_public = models.BooleanField(default=False, help_text="Confirmed a second time by a person.")
    is_public = models.BooleanField(default=False, help_text="As it was last seen.")
    parent = models.CharField(max_length=64, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    commit = models.CharField(max_length=64, blank=True)
    was_there = models.BooleanField(default=False, help_text="The same export was there already: no second commit.")
    state = models.CharField(max_length=8, choices=PublicationState, default=PublicationState.QUEUED)
    stage = models.CharField(max_length=200, blank=True, help_text="What is being done, in words.")
    error = models.TextField(blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    snapshot_id: "uuid.UUID | None"
    project_id: "uuid.UUID | None"

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["place", "address", "target"],
                condition=Q(state__in=UNDER_WAY),
                name="one_publication_under_way_per_target",
            ),
            models.CheckConstraint(condition=~Q(state="done") | ~Q(commit=""), name="publication_done_has_a_commit"),
            models.CheckConstraint(condition=~Q(state="failed") | ~Q(error=""), name="publication_failed_says_why"),
            models.CheckConstraint(
                condition=Q(sent_at__isnull=True) | ~Q(parent=""), name="publication_sent_has_a_parent"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.tag} to {self.target}"

    @property
    def is_under_way(self) -> bool:
        """Say whether somebody works on it, or will."""
        return self.state in UNDER_WAY

    @property
    def link(self) -> str:
        """Return the address of what was published, where a browser can open one."""
        if self.place != Place.HUB:
            return ""
        return f"{self.address}/datasets/{self.target}" + (f"/tree/{self.commit}" if self.commit else "")
