"""What people are paid: rates by version, the book of what was earned and paid, and payments with their lines."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn, Self

from django.db import models
from django.db.models import F, Q

from annotation.ids import new_id
from annotation.models.people import User
from annotation.models.projects import Project

if TYPE_CHECKING:
    import uuid

CENT = Decimal("0.01")


class PayBasis(models.TextChoices):
    """What a rate is paid for."""

    ANSWER = "answer", "Each answer"
    MINUTE = "minute", "Each minute of active time"


class PayRate(models.Model):
    """What people are paid, from when it was set on: so much for an answer or a minute, for each tier.

    Numbers run from 1 in a project and a rate never changes, so what was earned under one stays as it was. The one in
    force is `Project.rate`; without any, every answer is paid `Project.pay_per_answer_usd`.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="rates")
    number = models.PositiveIntegerField()
    basis = models.CharField(max_length=8, choices=PayBasis)
    crowd_usd = models.DecimalField(max_digits=10, decimal_places=4)
    expert_usd = models.DecimalField(max_digits=10, decimal_places=4)
    most_minutes = models.DecimalField(
        max_digits=6, decimal_places=2, null=True, blank=True, help_text="Paid for one answer at most, by the minute."
    )
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    since = models.DateTimeField(help_text="Pairs handed out from then on are paid it.")

    project_id: "uuid.UUID"

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="one_rate_per_project_and_number"),
            models.CheckConstraint(condition=Q(number__gte=1), name="rates_count_from_one"),
            models.CheckConstraint(condition=Q(crowd_usd__gte=0, expert_usd__gte=0), name="rate_is_not_negative"),
            models.CheckConstraint(
                condition=Q(basis=PayBasis.ANSWER, most_minutes__isnull=True)
                | Q(basis=PayBasis.MINUTE, most_minutes__gt=0),
                name="rate_by_the_minute_has_a_cap",
            ),
        ]

    def __str__(self) -> str:
        return f"rate {self.number}"


class EntryKind(models.TextChoices):
    """What an entry of the book is for. What is above 0 was earned by a person (a fee: by a platform), below 0 paid."""

    ANSWER = "answer", "Answer"
    LATE = "late", "Answer too late to count"
    REPEAT = "repeat", "Hidden repeat"
    CHANGE = "change", "More time on a changed answer"
    ADDED = "added", "Added by hand"
    REWARD = "reward", "Paid by the platform's own reward"
    PAYMENT = "payment", "Payment"
    FEE = "fee", "Platform fee"


# What an answered pair earns when it comes in; a change may earn more.
FOR_ANSWERS = (EntryKind.ANSWER.value, EntryKind.LATE.value, EntryKind.REPEAT.value)
EARNED = (*FOR_ANSWERS, EntryKind.CHANGE.value, EntryKind.ADDED.value)


class LedgerEntryQuerySet(models.QuerySet["LedgerEntry"]):
    """Reads of the book, and the refusal to write in what is written."""

    def update(self, **values: Any) -> NoReturn:
        """Refuse: a wrong entry is reversed by another one."""
        raise TypeError("Entries of the book are never changed; reverse them (annotation.money.booking.reverse).")

    def delete(self) -> NoReturn:
        """Refuse: a wrong entry is reversed by another one."""
        raise TypeError("Entries of the book are never deleted; reverse them (annotation.money.booking.reverse).")

    def in_project(self, project: Project) -> Self:
        """Return a project's entries."""
        return self.filter(project=project)

    def earned(self) -> Self:
        """Return what people earned, reversals of it included."""
        return self.filter(kind__in=EARNED)

    def of_people(self) -> Self:
        """Return what is owed or was paid to people: everything but fees. Its sum for a person is what they are due."""
        return self.exclude(kind=EntryKind.FEE)


class LedgerEntry(models.Model):
    """One line of the book: an amount, for whom, for what and when. Never updated, only reversed.

    It goes with its whole project only: an answer or a person with an entry cannot be deleted.

    `key` says for what it is, once: `answer:<assignment>`, `reward:<submission>`, `payment:<line>`, `fee:<payment>`,
    `reversal:<entry>`. A reversal has the kind of what it reverses and the opposite amount. `at` is when the fact
    happened.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    # Two indexes below begin with the project and the person.
    project = models.ForeignKey(Project, on_delete=models.CASCADE, db_index=False, related_name="ledger")
    key = models.CharField(max_length=200)
    kind = models.CharField(max_length=8, choices=EntryKind)
    amount_usd = models.DecimalField(max_digits=12, decimal_places=4)
    rater = models.ForeignKey(
        "annotation.Rater", on_delete=models.RESTRICT, null=True, blank=True, db_index=False, related_name="+"
    )
    assignment = models.ForeignKey(
        "annotation.Assignment", on_delete=models.RESTRICT, null=True, blank=True, related_name="ledger"
    )
    rate = models.ForeignKey(PayRate, on_delete=models.RESTRICT, null=True, blank=True, related_name="+")
    reverses = models.OneToOneField(
        "self", on_delete=models.RESTRICT, null=True, blank=True, related_name="reversed_by"
    )
    note = models.TextField(blank=True)
    created_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    at = models.DateTimeField()

    objects = LedgerEntryQuerySet.as_manager()

    project_id: "uuid.UUID"
    rater_id: "uuid.UUID | None"
    assignment_id: "uuid.UUID | None"
    rate_id: "uuid.UUID | None"
    reverses_id: "uuid.UUID | None"

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["key"], name="one_entry_per_key"),
            models.CheckConstraint(
                condition=Q(kind=EntryKind.FEE, rater__isnull=True) | Q(~Q(kind=EntryKind.FEE), rater__isnull=False),
                name="entry_is_for_a_person_or_a_fee",
            ),
            models.CheckConstraint(
                condition=Q(reverses__isnull=False)
                | Q(kind=EntryKind.ADDED)
                | Q(kind__in=[EntryKind.PAYMENT, EntryKind.REWARD], amount_usd__lt=0)
                | Q(kind__in=[*FOR_ANSWERS, EntryKind.CHANGE, EntryKind.FEE], amount_usd__gte=0),
                name="entry_has_the_sign_of_its_kind",
            ),
            models.CheckConstraint(
                condition=Q(kind__in=[*FOR_ANSWERS, EntryKind.CHANGE], assignment__isnull=False)
                | Q(
                    kind__in=[EntryKind.ADDED, EntryKind.REWARD, EntryKind.PAYMENT, EntryKind.FEE],
                    assignment__isnull=True,
                ),
                name="entry_for_an_answer_names_it",
            ),
        ]
        indexes = [
            # What a person earned, read with every request of theirs; on PostgreSQL from the index alone.
            models.Index(fields=["rater", "kind"], include=["amount_usd"], name="ledger_by_rater"),
            # The book of a project, page by page and week by week.
            models.Index(fields=["project", "at"], name="ledger_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.key}: {self.amount_usd} USD"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store a new entry. Raises `TypeError` for one that is stored already."""
        if not self._state.adding:
            raise TypeError("Entries of the book are never changed; reverse them (annotation.money.booking.reverse).")
        super().save(*args, **kwargs)


class PaymentState(models.TextChoices):
    """How far a payment is."""

    DRAWN = "drawn", "Drawn up"
    CONFIRMED = "confirmed", "Confirmed"
    SET_UP = "set_up", "Set up at the platform"
    SENDING = "sending", "Being sent"
    UNCLEAR = "unclear", "Unclear"
    PAID = "paid", "Paid"
    RECONCILED = "reconciled", "Reconciled"
    FAILED = "failed", "Failed"
    WITHDRAWN = "withdrawn", "Withdrawn"


# While one of these is there no other payment of the project is drawn up: what was paid must be told apart.
UNDER_WAY = ("drawn", "confirmed", "set_up", "sending", "unclear")
# The money may have left: only a record of the platform or a person may say otherwise.
MAY_HAVE_LEFT = ("sending", "unclear")
SETTLED = ("paid", "reconciled")


class PaymentMethod(models.TextChoices):
    """How the money gets to people."""

    CSV = "csv", "By file"
    PLATFORM = "platform", "By the platform's API"


class Payment(models.Model):
    """What people are to be paid at once: drawn up, confirmed by a person, sent once, and known to have arrived or not.

    A state changes by conditional update only (`annotation.money`), so that of two who press a button one does it.
    `sending` is stored before the platform is asked to pay; what happens to that call after, nobody asks twice.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="payments")
    number = models.PositiveIntegerField()
    method = models.CharField(max_length=8, choices=PaymentMethod)
    platform = models.CharField(max_length=40, blank=True, help_text="The name of the payer; empty: by file.")
    study_id = models.CharField(max_length=64, blank=True, help_text="The platform's study whose people are paid.")
    state = models.CharField(max_length=12, choices=PaymentState, default=PaymentState.DRAWN)
    total_usd = models.DecimalField(max_digits=12, decimal_places=2)
    needs_second = models.BooleanField(default=False, help_text="Somebody else than who drew it up has to confirm it.")
    drawn_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+")
    drawn_at = models.DateTimeField()
    confirmed_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    confirmed_at = models.DateTimeField(null=True, blank=True)
    platform_id = models.CharField(max_length=64, blank=True, help_text="The platform's name for what was set up.")
    fees_usd = models.DecimalField(max_digits=12, decimal_places=2, default=Decimal(0))
    sent_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    sent_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.ForeignKey(User, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    ended_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(blank=True, help_text="Why it failed or is unclear, or how it was settled, in words.")

    project_id: "uuid.UUID"

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="one_payment_per_project_and_number"),
            # Of two managers who draw up at the same moment one finds it done.
            models.UniqueConstraint(
                fields=["project"], condition=Q(state__in=UNDER_WAY), name="one_payment_under_way_per_project"
            ),
            models.UniqueConstraint(
                fields=["platform", "platform_id"], condition=~Q(platform_id=""), name="one_payment_per_platform_id"
            ),
            models.CheckConstraint(condition=Q(state__in=PaymentState.values), name="payment_state_is_known"),
            models.CheckConstraint(condition=Q(total_usd__gt=0, fees_usd__gte=0), name="payment_is_of_money"),
            models.CheckConstraint(
                condition=Q(needs_second=False) | Q(confirmed_by__isnull=True) | ~Q(confirmed_by=F("drawn_by")),
                name="payment_is_confirmed_by_a_second_person",
            ),
            models.CheckConstraint(
                condition=Q(state__in=["drawn", "failed", "withdrawn"]) | Q(confirmed_by__isnull=False),
                name="payment_goes_on_confirmed",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[*MAY_HAVE_LEFT, *SETTLED]) | Q(sent_at__isnull=False),
                name="payment_says_when_it_was_sent",
            ),
            models.CheckConstraint(
                condition=Q(method=PaymentMethod.CSV, platform="", platform_id="") | Q(method=PaymentMethod.PLATFORM),
                name="payment_by_file_names_no_platform",
            ),
        ]

    def __str__(self) -> str:
        return f"payment {self.number}"

    @property
    def is_under_way(self) -> bool:
        """Whether it is neither settled nor given up."""
        return self.state in UNDER_WAY


class LineOutcome(models.TextChoices):
    """What became of one person's part of a payment."""

    OPEN = "", "Not known yet"
    PAID = "paid", "Paid"
    UNPAID = "unpaid", "Not paid"


class PaymentLine(models.Model):
    """One person's part of a payment: the intent, stored with its entry in the book before anything is sent.

    The entry takes the amount off what the person is owed, so that nothing else pays it; where it turns out not to have
    been paid, the entry is reversed. `before_usd` is what the platform's record said of them just before sending.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    payment = models.ForeignKey(Payment, on_delete=models.CASCADE, related_name="lines")
    rater = models.ForeignKey("annotation.Rater", on_delete=models.RESTRICT, related_name="+")
    recipient = models.CharField(max_length=200, help_text="The person or submission as the platform names it.")
    amount_usd = models.DecimalField(max_digits=12, decimal_places=2)
    entry = models.OneToOneField(LedgerEntry, on_delete=models.RESTRICT, related_name="line")
    before_usd = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)
    outcome = models.CharField(max_length=8, choices=LineOutcome, blank=True, default="")

    payment_id: "uuid.UUID"
    rater_id: "uuid.UUID"

    class Meta:
        ordering = ["recipient"]
        constraints = [
            models.UniqueConstraint(fields=["payment", "rater"], name="one_line_per_payment_and_rater"),
            models.UniqueConstraint(fields=["payment", "recipient"], name="one_line_per_payment_and_recipient"),
            models.CheckConstraint(condition=Q(amount_usd__gt=0), name="payment_line_is_of_money"),
            models.CheckConstraint(condition=Q(outcome__in=LineOutcome.values), name="payment_line_outcome_is_known"),
        ]

    def __str__(self) -> str:
        return f"{self.recipient}: {self.amount_usd} USD"
