"""Pairs opened to people, and the leases on them."""

import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Self

from django.db import models
from django.utils.translation import gettext_lazy as _

from annotation.ids import new_id
from annotation.models.gold import Gold
from annotation.models.pairs import Pair, Slate
from annotation.models.projects import Project
from annotation.models.raters import Origin, Preference, Ranking, Rater

if TYPE_CHECKING:
    from datetime import datetime


class Tier(models.TextChoices):
    """Who a task is for."""

    CROWD = "crowd", "Crowd"
    EXPERT = "expert", "Expert"
    FINAL = "final", "Adjudication"


class TaskState(models.TextChoices):
    """Whether a task takes answers."""

    OPEN = "open", "Open"
    DONE = "done", "Done"
    CLOSED = "closed", "Closed"


class AssignmentState(models.TextChoices):
    """What became of a lease. Leased and submitted ones hold a slot; the others do not."""

    LEASED = "leased", "Held"
    SUBMITTED = "submitted", "Submitted"
    SKIPPED = "skipped", "Skipped"
    EXPIRED = "expired", "Expired"
    EXTRA = "extra", "Submitted after the slot was given away, or excluded"
    ERASED = "erased", "Answered by somebody who was erased since"


class ShownOrder(models.TextChoices):
    """Which stored response stands first on the screen."""

    AB = "ab", "a first"
    BA = "ba", "b first"


class SkipReason(models.TextChoices):
    """Why a person passes a pair on."""

    TOO_HARD = "too_hard", _("I lack the knowledge")
    UNCLEAR = "unclear", _("The prompt is unclear")
    LANGUAGE = "language", _("I do not read this language well")
    HARMFUL = "harmful", _("I would rather not read this")
    BROKEN = "broken", _("Something is not shown properly")


class TaskQuerySet(models.QuerySet["Task"]):
    """Reads of tasks."""

    def with_texts(self) -> Self:
        """Fetch the pair, its prompt and both responses in the same query."""
        return self.select_related("pair__prompt", "pair__response_a", "pair__response_b")


class Task(models.Model):
    """A pair, or the slate it is part of, opened to people: votes wanted, priority, tier.

    `taken` counts the slots that are held or answered. It changes only in the transaction that changes the
    assignment, under a lock on this row, so `taken <= votes_wanted` holds at every instant.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="tasks")
    # Without an index of its own where one of those below begins with it: every answer writes them all.
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, db_index=False, related_name="tasks")
    slate = models.ForeignKey(
        Slate,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        db_index=False,
        related_name="tasks",
        help_text="Several responses to order at once; `pair` is the one it was opened for.",
    )
    tier = models.CharField(max_length=8, choices=Tier, default=Tier.CROWD)
    state = models.CharField(max_length=8, choices=TaskState, default=TaskState.OPEN)
    votes_wanted = models.PositiveSmallIntegerField()
    most_votes = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="How far votes_wanted may grow while the answers differ; empty: not at all."
    )
    expert_on_split = models.BooleanField(
        default=False, help_text="Answers that differ open one vote of an expert instead of one more of the crowd."
    )
    taken = models.PositiveSmallIntegerField(default=0)
    answered = models.PositiveSmallIntegerField(default=0)
    next_slot = models.PositiveIntegerField(default=0, help_text="The number of the next lease's slot; none is reused.")
    priority = models.FloatField(default=0.0, help_text="Higher is served first.")
    is_paused = models.BooleanField(default=False, help_text="Nobody new gets it; answers under way are taken.")
    language = models.CharField(max_length=16, blank=True, help_text="Who gets it reads this language; empty: anybody.")
    domain = models.CharField(max_length=120, blank=True, help_text="Who gets it knows this domain; empty: anybody.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TaskQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["pair", "tier"], name="one_task_per_pair_and_tier"),
            models.UniqueConstraint(fields=["slate", "tier"], name="one_task_per_slate_and_tier"),
            models.CheckConstraint(
                condition=models.Q(taken__lte=models.F("votes_wanted")), name="task_takes_no_more_than_wanted"
            ),
            models.CheckConstraint(condition=models.Q(answered__lte=models.F("taken")), name="task_answers_hold_slots"),
            models.CheckConstraint(condition=models.Q(votes_wanted__gte=1), name="task_wants_a_vote"),
            models.CheckConstraint(
                condition=models.Q(most_votes__isnull=True) | models.Q(most_votes__gte=models.F("votes_wanted")),
                name="task_grows_no_further_than_its_most",
            ),
        ]
        indexes = [
            # "The next task": open tasks with a free slot, best first; read without a sort.
            models.Index(
                "project",
                "tier",
                models.F("priority").desc(),
                "id",
                condition=models.Q(state="open", is_paused=False, taken__lt=models.F("votes_wanted")),
                name="task_queue",
            ),
        ]

    def __str__(self) -> str:
        return f"task {self.id}"


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    """Reads of assignments."""

    def answered(self) -> Self:
        """Return those that were answered: in time or too late, hidden repeats too. A ranking is one answer."""
        return self.filter(state__in=[AssignmentState.SUBMITTED, AssignmentState.EXTRA])

    def paid(self) -> Self:
        """Return the answers that people are paid for: all that were given here and are nobody's simulation."""
        return self.answered().filter(rater__origin=Origin.LIVE)

    def beside(self) -> Self:
        """Return those without a slot, which their tasks do not count: too late, excluded, repeats and gold."""
        beside = models.Q(repeats__isnull=False) | models.Q(gold__isnull=False)
        return self.filter(models.Q(state=AssignmentState.EXTRA) | beside)


class Assignment(models.Model):
    """The lease of one slot of a task to one person until a time; becomes their answer.

    Its id is random, so that nothing on a person's page tells an order of creation. One that `repeats` an earlier one
    asks the same person again with the sides swapped, and one with `gold` asks what is known: they hold no slot and
    their answers count for no label.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # As with tasks.
    task = models.ForeignKey(Task, on_delete=models.CASCADE, db_index=False, related_name="assignments")
    rater = models.ForeignKey(Rater, on_delete=models.CASCADE, db_index=False, related_name="assignments")
    state = models.CharField(max_length=12, choices=AssignmentState, default=AssignmentState.LEASED)
    slot = models.PositiveIntegerField(null=True)
    place = models.PositiveSmallIntegerField(
        null=True, help_text="Which of the pairs that its person holds at a time; while leased."
    )
    shown_order = models.CharField(
        max_length=8, help_text="'ab' or 'ba'; for a slate the stored positions in the order shown, as in '2013'."
    )
    repeats = models.OneToOneField("self", on_delete=models.CASCADE, null=True, blank=True, related_name="repeated_by")
    gold = models.ForeignKey(Gold, on_delete=models.CASCADE, null=True, blank=True, related_name="assignments")
    promised_usd = models.DecimalField(
        max_digits=10,
        decimal_places=4,
        default=Decimal(0),
        help_text="What the project pays for the answer, from the lease on; 0 once given back.",
    )
    leased_at = models.DateTimeField()
    lease_until = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    skip_reason = models.CharField(max_length=16, choices=SkipReason, blank=True)
    note = models.TextField(blank=True)
    draft = models.JSONField(default=dict, blank=True)
    preference = models.OneToOneField(
        Preference, on_delete=models.PROTECT, null=True, blank=True, related_name="assignment"
    )
    ranking = models.OneToOneField(Ranking, on_delete=models.PROTECT, null=True, blank=True, related_name="assignment")

    objects = AssignmentQuerySet.as_manager()

    task_id: uuid.UUID
    gold_id: uuid.UUID | None
    rater_id: uuid.UUID

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["task", "rater"],
                condition=models.Q(repeats__isnull=True),
                name="one_assignment_per_task_and_rater",
            ),
            models.UniqueConstraint(fields=["task", "slot"], name="one_assignment_per_task_and_slot"),
            models.CheckConstraint(
                condition=models.Q(
                    state__in=["leased", "submitted"], slot__isnull=False, repeats__isnull=True, gold__isnull=True
                )
                | models.Q(state__in=["skipped", "expired", "extra", "erased"], slot__isnull=True)
                | models.Q(slot__isnull=True, repeats__isnull=False)
                | models.Q(slot__isnull=True, gold__isnull=False),
                name="assignment_holds_a_slot_while_it_counts",
            ),
            models.CheckConstraint(
                condition=~models.Q(state__in=["submitted", "extra"])
                | models.Q(preference__isnull=False, ranking__isnull=True)
                | models.Q(preference__isnull=True, ranking__isnull=False),
                name="assignment_submitted_has_an_answer",
            ),
            models.CheckConstraint(
                condition=~models.Q(state="erased") | models.Q(preference__isnull=True, ranking__isnull=True),
                name="assignment_erased_has_no_answer",
            ),
            # Two tabs that reach for the same place of a person's hands: one of them finds it taken.
            models.UniqueConstraint(fields=["rater", "place"], name="one_lease_per_rater_and_place"),
            models.CheckConstraint(
                condition=models.Q(state="leased", place__isnull=False)
                | models.Q(~models.Q(state="leased"), place__isnull=True),
                name="assignment_has_a_place_while_leased",
            ),
            models.CheckConstraint(
                condition=models.Q(promised_usd=0)
                | models.Q(promised_usd__gt=0, state__in=["leased", "submitted", "extra", "erased"]),
                name="assignment_promises_pay_while_it_may_earn_it",
            ),
        ]
        indexes = [
            # The reaper's walk over leases that have run out.
            models.Index(fields=["lease_until"], condition=models.Q(state="leased"), name="assignment_leases"),
            # A person's held and finished work.
            models.Index(fields=["rater", "state", "finished_at"], name="assignment_by_rater"),
            # How many gold pairs a person was led to: looked up at each of their answers.
            models.Index(fields=["rater"], condition=models.Q(gold__isnull=False), name="assignment_gold_by_rater"),
        ]

    def __str__(self) -> str:
        return f"assignment {self.id}"

    def is_held(self, now: "datetime") -> bool:
        """Say whether the lease still runs at `now` (UTC)."""
        return self.state == AssignmentState.LEASED and self.lease_until > now


class Suggestion(models.Model):
    """A judge's answer that a person saw after giving their own, and what they made of it."""

    class Outcome(models.TextChoices):
        """What the person did then."""

        KEPT = "kept", "Kept their answer"
        CHANGED = "changed", "Changed their answer"

    assignment = models.OneToOneField(Assignment, on_delete=models.CASCADE, related_name="suggestion")
    before = models.ForeignKey(Preference, on_delete=models.PROTECT, related_name="+")
    suggested = models.ForeignKey(Preference, on_delete=models.CASCADE, related_name="+")
    outcome = models.CharField(max_length=8, choices=Outcome, blank=True)
    shown_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.assignment}: {self.outcome or 'undecided'}"
