"""Who judges, and what they said. People and judges share these tables, so that every report compares them alike."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

from django.db import models
from django.db.models.functions import Coalesce

from annotation.ids import new_id
from annotation.models.money import LedgerEntry
from annotation.models.pairs import Pair, Response
from annotation.models.people import Membership, User
from annotation.models.projects import Criterion, Project

if TYPE_CHECKING:
    import uuid

    from annotation.models.crowd import Submission


class RaterKind(models.TextChoices):
    """Who gives the judgement."""

    PERSON = "person", "Person"
    JUDGE = "judge", "AI judge"


class Origin(models.TextChoices):
    """How a rater's judgements come to be here."""

    LIVE = "live", "Given here"
    RECORDED = "recorded", "Imported"
    SIMULATED = "simulated", "Simulated"


class Choice(models.TextChoices):
    """A rater's answer on a pair, in the stored order."""

    A = "a", "A is better"
    B = "b", "B is better"
    TIE = "tie", "Equally good"
    BOTH_BAD = "both_bad", "Both bad"
    UNSURE = "unsure", "Cannot judge"


class RationaleTiming(models.TextChoices):
    """Whether the reason was written before or after the choice was made."""

    BEFORE = "before", "Before the choice"
    AFTER = "after", "After the choice"
    UNKNOWN = "", "Not known"


class Basis(models.TextChoices):
    """How a preference was asked for, or what it follows from."""

    CHOICE = "choice", "A choice between the two"
    RATINGS = "ratings", "Ratings of each response"
    RANKING = "ranking", "A ranking of several responses"
    BEST_WORST = "best_worst", "The best and the worst of several responses"


def _summed(of_a_rater: "models.QuerySet[Any]", total: models.Aggregate) -> models.Subquery:
    return models.Subquery(of_a_rater.order_by().values("rater").annotate(total=total).values("total"))


def _counted(of_a_rater: "models.QuerySet[Any]") -> Coalesce:
    # Of rows, not of their keys: those are in no index of a rater's, and each row would be looked up.
    return Coalesce(_summed(of_a_rater, models.Count("*")), 0)


class RaterQuerySet(models.QuerySet["Rater"]):
    """Reads of raters."""

    def counted(self) -> Self:
        """Return them with project, rate, number of answers, their pay, and of gold pairs leased: one query.

        Each is a subquery, served by an index: joined and grouped, project and account would stand beside every answer.
        """
        from annotation.models.tasks import Assignment  # names raters itself

        mine = Assignment.objects.filter(rater=models.OuterRef("pk"))
        earned = LedgerEntry.objects.earned().filter(rater=models.OuterRef("pk"))
        return self.select_related("project__rate").annotate(
            answered=_counted(mine.answered()),
            gold_asked=_counted(mine.filter(gold__isnull=False).exclude(state="expired")),
            earned_usd=_summed(earned, models.Sum("amount_usd")),
        )

    def at_work(self, user: "uuid.UUID", slug: str) -> Self:
        """Return a member's rater in a project, with their account and role, and as `counted` does: one query."""
        role = Membership.objects.filter(project=models.OuterRef("project"), user=user)
        mine = self.filter(project__slug=slug, user=user).counted().select_related("user")
        return mine.annotate(role=models.Subquery(role.values("role")[:1]))


class Rater(models.Model):
    """Who gives judgements: a person in a project, or one version of a judge.

    `role`, `answered`, `earned_usd` and `gold_asked` are there where `at_work` loaded the row: the membership's role,
    how many answers were given before this request and in it, what they earned (None: nothing), and how many gold pairs
    were leased to them and did not run out. `visit` is there where a guest's session did: the submission it is of.
    """

    role: str | None = None
    answered: int | None = None
    gold_asked: int | None = None
    visit: "Submission | None" = None
    earned_usd: Decimal | None = None

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="raters")
    kind = models.CharField(max_length=8, choices=RaterKind)
    origin = models.CharField(max_length=16, choices=Origin, default=Origin.LIVE)
    name = models.CharField(max_length=200)
    user = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="raters")
    guidelines_read = models.PositiveIntegerField(
        default=0, help_text="The newest version of the guidelines that this person said they have read; 0: none."
    )
    practice_done = models.PositiveIntegerField(default=0, help_text="Practice pairs answered, from the first on.")
    gate_tries = models.PositiveSmallIntegerField(default=0, help_text="Tries at the gate's questions so far.")
    gate_extra = models.PositiveSmallIntegerField(
        default=0, help_text="Tries that a manager allowed beyond the project's."
    )
    gate_passed_at = models.DateTimeField(null=True, blank=True)
    gate_answers = models.JSONField(
        default=dict, blank=True, help_text="The last try: {key: of the questions asked, answers: [[option]]}."
    )
    paused_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when this person gets no pairs and gives no answers."
    )
    paused_reason = models.CharField(
        max_length=500, blank=True, help_text="A rule (`annotation.scoring`), or words for the person."
    )
    most_answers = models.PositiveIntegerField(null=True, blank=True, help_text="Empty: the project's.")
    most_answers_a_day = models.PositiveIntegerField(null=True, blank=True, help_text="Empty: the project's.")
    languages = models.JSONField(default=list, blank=True, help_text="Languages of prompts that this person reads.")
    domains = models.JSONField(default=list, blank=True, help_text="Categories of prompts that this person knows.")
    qualified_at = models.DateTimeField(null=True, blank=True, help_text="When the first gold pairs were passed.")
    qualification_tries = models.PositiveSmallIntegerField(
        default=0, help_text="Tries at the first gold pairs that have ended."
    )
    watched_from = models.DateTimeField(
        null=True, blank=True, help_text="The rules that pause look at answers from here on; empty: at all."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = RaterQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "kind", "name"], name="one_rater_per_project_kind_and_name"),
            models.UniqueConstraint(
                fields=["project", "user"],
                condition=models.Q(user__isnull=False),
                name="one_rater_per_project_and_user",
            ),
            models.CheckConstraint(
                condition=models.Q(kind=RaterKind.PERSON) | models.Q(user__isnull=True), name="a_judge_is_no_user"
            ),
            models.CheckConstraint(
                condition=models.Q(paused_at__isnull=False) | models.Q(paused_reason=""),
                name="rater_has_a_reason_only_while_paused",
            ),
            models.CheckConstraint(
                condition=(models.Q(most_answers__isnull=True) | models.Q(most_answers__gte=1))
                & (models.Q(most_answers_a_day__isnull=True) | models.Q(most_answers_a_day__gte=1)),
                name="rater_shares_are_answers",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class SuppressedName(models.Model):
    """A name that an erased person had, as a digest (`annotation.suppressing`): no import brings back what it said."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="suppressed_names")
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "digest"], name="one_suppressed_name_per_project_and_digest"),
        ]

    def __str__(self) -> str:
        return self.digest


class PreferenceQuerySet(models.QuerySet["Preference"]):
    """Reads of preferences."""

    def current(self) -> Self:
        """Leave out answers that a later one replaces."""
        return self.filter(is_current=True)

    def counted(self) -> Self:
        """Return the answers that count towards a label: current, on the whole pair, not extra."""
        return self.current().filter(criterion__isnull=True, is_extra=False)

    def of_people(self) -> Self:
        """Return people's answers (live, imported and simulated)."""
        return self.filter(rater__kind=RaterKind.PERSON)

    def of_judges(self) -> Self:
        """Return judges' answers."""
        return self.filter(rater__kind=RaterKind.JUDGE)


class AnswerBase(models.Model):
    """What comes with an answer of any form: how it was asked, the time it took, why, and whether it stands."""

    basis = models.CharField(max_length=12, choices=Basis, default=Basis.CHOICE)
    seconds = models.FloatField(null=True, blank=True, help_text="Active time spent on the answer.")
    reading_seconds = models.FloatField(null=True, blank=True, help_text="Of these, before the first act of answering.")
    deciding_seconds = models.FloatField(null=True, blank=True, help_text="Of these, from the first act on.")
    confidence = models.PositiveSmallIntegerField(null=True, blank=True, help_text="1 unsure, 2 fairly sure, 3 sure.")
    reasons = models.JSONField(default=list, blank=True, help_text="Chips: [{side, reason}]; side as the spans'.")
    content_flags = models.JSONField(default=list, blank=True, help_text="What is wrong with the content: [text].")
    rationale = models.TextField(blank=True)
    rationale_timing = models.CharField(max_length=8, choices=RationaleTiming, blank=True, default="")
    rationale_spans = models.JSONField(
        default=list, blank=True, help_text="[{side, start, end, text}]: a or b, or a position of the slate from 0."
    )
    is_extra = models.BooleanField(
        default=False, help_text="Counts for no label: too late, asked as gold, or excluded."
    )
    is_current = models.BooleanField(default=True)
    exclusion = models.ForeignKey(
        "annotation.Exclusion", on_delete=models.RESTRICT, null=True, blank=True, related_name="%(class)ss"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class Preference(AnswerBase):
    """A rater's answer on a pair, overall (`criterion` null) or by one criterion. A changed answer is a new row."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, related_name="preferences")
    # `preference_by_rater` begins with it.
    rater = models.ForeignKey(Rater, on_delete=models.CASCADE, db_index=False, related_name="preferences")
    criterion = models.ForeignKey(Criterion, on_delete=models.CASCADE, null=True, blank=True)
    choice = models.CharField(max_length=8, choices=Choice)
    strength = models.PositiveSmallIntegerField(null=True, blank=True, help_text="1 slightly, 2 better, 3 much better.")
    prob_a = models.FloatField(null=True, blank=True)
    shown_order = models.CharField(max_length=2, blank=True, help_text="'ab' or 'ba'; empty: not known.")
    repeats = models.ForeignKey(
        "self",
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="repeated_by",
        help_text="The answer that this one was asked again to test, with the sides swapped; it counts for nothing.",
    )
    ranking = models.ForeignKey(
        "annotation.Ranking", on_delete=models.CASCADE, null=True, blank=True, related_name="preferences"
    )
    replaces = models.OneToOneField("self", on_delete=models.PROTECT, null=True, blank=True, related_name="replaced_by")
    meta = models.JSONField(default=dict, blank=True, help_text="What an imported record said beside this.")

    objects = PreferenceQuerySet.as_manager()

    pair_id: "uuid.UUID"
    rater_id: "uuid.UUID"

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["pair", "rater"],
                condition=models.Q(is_current=True, criterion__isnull=True),
                name="one_current_preference_per_pair_and_rater",
            ),
            models.UniqueConstraint(
                fields=["pair", "rater", "criterion"],
                condition=models.Q(is_current=True, criterion__isnull=False),
                name="one_current_preference_per_pair_rater_and_criterion",
            ),
            models.CheckConstraint(condition=models.Q(choice__in=Choice.values), name="preference_choice_is_known"),
            models.CheckConstraint(
                condition=models.Q(strength__isnull=True) | models.Q(strength__range=(1, 3)),
                name="preference_strength_is_1_to_3",
            ),
            models.CheckConstraint(
                condition=models.Q(prob_a__isnull=True) | models.Q(prob_a__range=(0.0, 1.0)),
                name="preference_prob_a_is_a_probability",
            ),
            models.CheckConstraint(
                condition=models.Q(shown_order__in=["ab", "ba", ""]), name="preference_shown_order_is_known"
            ),
            models.CheckConstraint(
                condition=models.Q(confidence__isnull=True) | models.Q(confidence__range=(1, 3)),
                name="preference_confidence_is_1_to_3",
            ),
            models.CheckConstraint(
                condition=models.Q(repeats__isnull=True) | models.Q(is_current=False),
                name="preference_that_repeats_is_not_current",
            ),
        ]
        indexes = [
            # A rater's answers over a project: agreement, audit cards, a person's history.
            models.Index(fields=["rater", "created_at"], name="preference_by_rater"),
        ]

    def __str__(self) -> str:
        return f"{self.rater}: {self.choice}"


class Ranking(AnswerBase):
    """A rater's order of the responses of a slate: a rank for each, 1 the best; equal ranks are ties.

    Of a best-worst answer only the ends are known: the best has rank 1, the worst 3, and those between 2, which says
    nothing of their order among each other. `preferences` holds what it says pair by pair. A changed one is a new row.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    slate = models.ForeignKey("annotation.Slate", on_delete=models.CASCADE, related_name="rankings")
    rater = models.ForeignKey(Rater, on_delete=models.CASCADE, related_name="rankings")
    ranks = models.JSONField(help_text="A rank for each position of the slate, in the stored order.")
    replaces = models.OneToOneField("self", on_delete=models.PROTECT, null=True, blank=True, related_name="replaced_by")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["slate", "rater"],
                condition=models.Q(is_current=True),
                name="one_current_ranking_per_slate_and_rater",
            ),
            models.CheckConstraint(
                condition=models.Q(basis__in=[Basis.RANKING, Basis.BEST_WORST]), name="ranking_basis_is_an_order"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rater}: {self.ranks}"


class Rating(models.Model):
    """A rater's score of one response on one criterion, in the pair it was given with (null: scored alone)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    rater = models.ForeignKey(Rater, on_delete=models.CASCADE, related_name="ratings")
    response = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="ratings")
    criterion = models.ForeignKey(Criterion, on_delete=models.CASCADE, related_name="ratings")
    pair = models.ForeignKey(Pair, on_delete=models.CASCADE, null=True, blank=True, related_name="ratings")
    value = models.FloatField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["rater", "response", "criterion", "pair"],
                condition=models.Q(pair__isnull=False),
                name="one_rating_per_rater_response_criterion_and_pair",
            ),
            models.UniqueConstraint(
                fields=["rater", "response", "criterion"],
                condition=models.Q(pair__isnull=True),
                name="one_rating_alone_per_rater_response_and_criterion",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rater}: {self.value:g}"
