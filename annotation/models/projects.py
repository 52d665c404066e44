"""A project and what it asks people to judge by."""

from decimal import Decimal
from typing import TYPE_CHECKING, Self

from django.db import models

from annotation.ids import new_id
from annotation.models.people import Role

if TYPE_CHECKING:
    import uuid

    from django.contrib.auth.models import AnonymousUser

    from annotation.models.money import PayRate
    from annotation.models.people import User


class ProjectQuerySet(models.QuerySet["Project"]):
    """Loading is the permission check: what is not visible is 404."""

    def visible_to(self, user: "User | AnonymousUser") -> Self:
        """Return the projects this person is a member of (all, for a superuser)."""
        if user.is_superuser:
            return self
        return self.filter(memberships__user_id=user.pk)

    def managed_by(self, user: "User | AnonymousUser") -> Self:
        """Return the projects this person manages (all, for a superuser)."""
        if user.is_superuser:
            return self
        return self.filter(memberships__user_id=user.pk, memberships__role=Role.MANAGER)


class Template(models.TextChoices):
    """What the annotation screen asks."""

    PAIRWISE = "pairwise", "Choose between two responses"
    RATINGS = "ratings", "Rate each response"
    PAIRWISE_RATINGS = "pairwise_ratings", "Rate both responses, then choose"
    RANKING = "ranking", "Rank several responses"
    BEST_WORST = "best_worst", "Pick the best and the worst of several responses"


class Method(models.TextChoices):
    """How people's votes on a pair become one answer (`annotation.aggregating`)."""

    PLURALITY = "plurality", "Most votes"
    STRENGTH = "strength", "Most votes, by strength of preference"
    WEIGHTED = "weighted", "Most votes, by agreement with others"
    ONE_COIN = "one_coin", "One skill a person (one-coin Dawid-Skene)"
    DAWID_SKENE = "dawid_skene", "Habits of each person (Dawid-Skene)"
    MACE = "mace", "Who guesses (MACE)"
    BRADLEY_TERRY = "noisy_bradley_terry", "Scores of responses (noisy Bradley-Terry)"


class Project(models.Model):
    """One collection effort: guidelines, criteria, scale, judges, budgets, people."""

    Template = Template

    class Status(models.TextChoices):
        """Whether people get new tasks."""

        RUNNING = "running", "Running"
        PAUSED = "paused", "Paused"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    slug = models.SlugField(max_length=64, unique=True)
    title = models.CharField(max_length=200)
    guidelines = models.TextField(blank=True, help_text="Markdown, shown beside every task.")
    guidelines_number = models.PositiveIntegerField(
        default=0, help_text="The version that `guidelines` is the text of; 0: there were none yet."
    )
    template = models.CharField(max_length=16, choices=Template, default=Template.PAIRWISE)
    questionnaire = models.JSONField(
        default=dict, blank=True, help_text="What the screen asks otherwise than the template does by default."
    )
    training = models.JSONField(
        default=dict, blank=True, help_text="Practice pairs and the questions of the gate (`annotation.training`)."
    )
    standards = models.JSONField(
        default=dict, blank=True, help_text="How people are checked, where not as usual (`annotation.standards`)."
    )
    status = models.CharField(max_length=16, choices=Status, default=Status.RUNNING)
    rationale_required = models.BooleanField(default=False)
    aggregation = models.CharField(
        max_length=20, choices=Method, default=Method.PLURALITY, help_text="How people's votes become one answer."
    )
    votes_wanted = models.PositiveSmallIntegerField(default=3, help_text="People's answers wanted per pair.")
    lease_seconds = models.PositiveIntegerField(default=1200, help_text="How long a pair is held for one person.")
    pay_per_answer_usd = models.DecimalField(max_digits=10, decimal_places=4, default=Decimal("0.30"))
    rate: "models.ForeignKey[PayRate | None]" = models.ForeignKey(
        "annotation.PayRate",
        on_delete=models.RESTRICT,
        null=True,
        blank=True,
        related_name="+",
        help_text="The rate in force (`annotation.pricing`); empty: every answer is paid `pay_per_answer_usd`.",
    )
    pay_floor_usd_per_hour = models.DecimalField(
        max_digits=8, decimal_places=2, null=True, blank=True, help_text="What an hour of work should come to at least."
    )
    payments_need_second = models.BooleanField(
        default=False, help_text="A payment is confirmed by somebody else than who drew it up."
    )
    people_budget_usd = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True)
    most_answers = models.PositiveIntegerField(
        null=True, blank=True, help_text="Answers a person may give in all; empty: as many as there are."
    )
    most_answers_a_day = models.PositiveIntegerField(
        null=True, blank=True, help_text="Answers a person may give in a day (UTC); empty: as many as there are."
    )
    needs_language = models.BooleanField(
        default=False, help_text="A pair goes to people who read the language of its prompt only."
    )
    needs_domain = models.BooleanField(
        default=False, help_text="A pair goes to people who know the category of its prompt only."
    )
    models_budget_usd = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True)
    sign_up_open = models.BooleanField(default=False, help_text="Whether whoever comes may join as an annotator.")
    seed = models.PositiveIntegerField(default=0, help_text="Seed of every draw that is not given its own.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ProjectQuerySet.as_manager()

    rate_id: "uuid.UUID | None"

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(condition=models.Q(votes_wanted__gte=1), name="project_wants_a_vote"),
            models.CheckConstraint(condition=models.Q(lease_seconds__gte=10), name="project_lease_is_long_enough"),
            models.CheckConstraint(condition=models.Q(pay_per_answer_usd__gte=0), name="project_pay_is_not_negative"),
            models.CheckConstraint(
                condition=models.Q(people_budget_usd__isnull=True) | models.Q(people_budget_usd__gte=0),
                name="project_people_budget_is_not_negative",
            ),
            models.CheckConstraint(
                condition=(models.Q(most_answers__isnull=True) | models.Q(most_answers__gte=1))
                & (models.Q(most_answers_a_day__isnull=True) | models.Q(most_answers_a_day__gte=1)),
                name="project_shares_are_answers",
            ),
            models.CheckConstraint(
                condition=models.Q(aggregation__in=Method.values), name="project_aggregation_is_known"
            ),
            models.CheckConstraint(
                condition=models.Q(pay_floor_usd_per_hour__isnull=True) | models.Q(pay_floor_usd_per_hour__gte=0),
                name="project_pay_floor_is_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return self.slug


class Purse(models.Model):
    """A part of what is left of a project's budget for people: what no lease and no answer has promised yet.

    There are several, so that people who lease at the same moment do not wait for each other (`annotation.promising`).
    In millionths of a US dollar, since SQLite subtracts decimals in binary.
    """

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="purses")
    number = models.PositiveSmallIntegerField()
    budget_micros = models.BigIntegerField(help_text="The budget that this was counted for; another one counts anew.")
    left_micros = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="one_purse_per_project_and_number"),
            # Money comes back to the first purse, which may owe some: a budget that was set below what was promised.
            models.CheckConstraint(
                condition=models.Q(left_micros__gte=0) | models.Q(number=0), name="purse_promises_what_it_has"
            ),
        ]

    def __str__(self) -> str:
        return f"purse {self.number} of {self.project}"


class Criterion(models.Model):
    """A named aspect to judge by, with its rating scale."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="criteria")
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    position = models.PositiveSmallIntegerField(default=0)
    scale_min = models.FloatField(null=True, blank=True)
    scale_max = models.FloatField(null=True, blank=True)

    class Meta:
        ordering = ["position", "name"]
        constraints = [
            models.UniqueConstraint(fields=["project", "name"], name="one_criterion_per_project_and_name"),
        ]

    def __str__(self) -> str:
        return self.name
