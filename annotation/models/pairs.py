"""What is compared: prompts, responses and pairs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from django.db import models

from annotation.ids import new_id
from annotation.models.projects import Project

if TYPE_CHECKING:
    import uuid


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def canonical(value: Any) -> str:
    """Return a JSON value in canonical form: sorted keys, no spaces."""
    return _CANONICAL.encode(value)


def content_hash(value: Any) -> str:
    """Return the SHA-256 (hex) of a JSON value in canonical form, as UTF-8."""
    return hash_canonical(canonical(value))


def hash_canonical(text: str) -> str:
    """Return the SHA-256 (hex) of a JSON value that is in canonical form already."""
    return hashlib.sha256(text.encode()).hexdigest()


def joined_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the contents of chat messages, joined by blank lines."""
    return "\n\n".join(message["content"] for message in messages)


def draw_of(text: str) -> int:
    """Return a number below 2**31 that looks random and is the same for the same text everywhere."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


class DrawField(models.PositiveIntegerField):  # type: ignore[type-arg]
    """The place of a prompt's group in random order (`draw_of`): it follows from `group` whenever a row is written."""

    def pre_save(self, model_instance: models.Model, add: bool) -> int:
        """Return the draw of the group as it stands."""
        draw = draw_of(model_instance.group)  # type: ignore[attr-defined]
        setattr(model_instance, self.attname, draw)
        return draw


class Prompt(models.Model):
    """What the responses answer: a list of chat messages `{role, content}`, with what a rater needs beside it.

    `group` ties prompts that must not be split across train and test. Two groups may hold the same text (a question
    asked about two stories), so both make the key. `draw` is what samples of groups go by (`annotation.sampling`).
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prompts")
    messages = models.JSONField()
    content_hash = models.CharField(max_length=64)
    group = models.CharField(max_length=200)
    draw = DrawField(editable=False)
    language = models.CharField(max_length=16, blank=True)
    category = models.CharField(max_length=120, blank=True)
    reference = models.TextField(blank=True, help_text="A known good answer, shown to judges and people if asked.")
    context = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "content_hash", "group"], name="one_prompt_per_project_content_and_group"
            ),
        ]
        indexes = [
            # Splits and grouped cross-validation read a project's prompts by group.
            models.Index(fields=["project", "group"], name="prompt_by_group"),
            # A sample is the prompts whose draws lie between two ends.
            models.Index(fields=["project", "draw"], name="prompt_by_draw"),
        ]

    def __str__(self) -> str:
        return f"prompt {self.id}"


class Response(models.Model):
    """One candidate answer: a list of messages (one assistant message, usually) and the model that wrote it.

    An empty text is a real answer: the model said nothing.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="responses")
    messages = models.JSONField()
    content_hash = models.CharField(max_length=64)
    model = models.CharField(max_length=200, blank=True, help_text="The model that wrote it; never shown to raters.")
    sampling = models.JSONField(default=dict, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["prompt", "content_hash", "model"], name="one_response_per_prompt_content_and_model"
            ),
        ]

    def __str__(self) -> str:
        return f"response {self.id}"

    @property
    def text(self) -> str:
        """The response as plain text: the contents of its messages, joined by blank lines."""
        return joined_text(self.messages)


class PairQuerySet(models.QuerySet["Pair"]):
    """Reads of pairs."""

    def in_project(self, project: Project) -> Self:
        """Return one project's pairs in the order they were imported."""
        return self.filter(project=project).order_by("id")

    def with_texts(self) -> Self:
        """Fetch prompt and both responses in the same query."""
        return self.select_related("prompt", "response_a", "response_b")


class Pair(models.Model):
    """Two responses to one prompt. The stored order a/b never changes; the order shown is drawn per rater."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="pairs")
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="pairs")
    response_a = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="pairs_as_a")
    response_b = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="pairs_as_b")
    external_id = models.CharField(max_length=200, help_text="The file's own id, or a hash of the content without one.")
    source = models.CharField(max_length=200, blank=True)
    meta = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = PairQuerySet.as_manager()

    prompt_id: "uuid.UUID"
    response_a_id: "uuid.UUID"
    response_b_id: "uuid.UUID"

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "external_id"], name="one_pair_per_project_and_external_id"),
            models.CheckConstraint(
                condition=~models.Q(response_a=models.F("response_b")), name="pair_compares_two_responses"
            ),
        ]
        indexes = [
            # Lists and chunks walk a project's pairs in import order.
            models.Index(fields=["project", "id"], name="pair_by_project"),
        ]

    def __str__(self) -> str:
        return self.external_id


class Slate(models.Model):
    """Two to eight responses to one prompt that people order at once. What it holds never changes."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="slates")
    prompt = models.ForeignKey(Prompt, on_delete=models.CASCADE, related_name="slates")
    created_at = models.DateTimeField(auto_now_add=True)

    prompt_id: "uuid.UUID"

    def __str__(self) -> str:
        return f"slate {self.id}"


class SlateEntry(models.Model):
    """A response at its stored position in a slate."""

    slate = models.ForeignKey(Slate, on_delete=models.CASCADE, related_name="entries")
    response = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="slate_entries")
    position = models.PositiveSmallIntegerField()

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["slate", "position"], name="one_response_per_slate_and_position"),
            models.UniqueConstraint(fields=["slate", "response"], name="one_position_per_slate_and_response"),
            models.CheckConstraint(condition=models.Q(position__lt=8), name="slate_holds_eight_at_most"),
        ]

    def __str__(self) -> str:
        return f"{self.slate}: {self.position}"
