"""What a manager types in about money. Forms check shape; the verbs check meaning."""

from decimal import Decimal
from typing import Any
from uuid import uuid4

from django import forms

from annotation.models import Origin, PayBasis, Payment, Project, Rater, RaterKind
from annotation.money.payers import Channel, channels_of
from dashboard.forms import usd_field

BY_FILE = "csv"


class RateForm(forms.Form):
    """What people are paid from now on."""

    basis = forms.ChoiceField(label="Paid for", choices=PayBasis.choices)
    crowd_usd = usd_field("Crowd", "US dollars for one of these.", required=True)
    expert_usd = usd_field("Experts", "US dollars, adjudicators too. Empty: as the crowd.")
    most_minutes = forms.DecimalField(
        label="Minutes paid at most",
        help_text="For one answer, where minutes are paid.",
        required=False,
        min_value=Decimal("0.01"),
        max_digits=6,
        decimal_places=2,
    )

    @classmethod
    def of(cls, project: Project, data: Any = None) -> "RateForm":
        """Return the form with what is in force."""
        rate = project.rate
        initial = {"basis": PayBasis.ANSWER, "crowd_usd": project.pay_per_answer_usd}
        if rate is not None:
            initial = {name: getattr(rate, name) for name in ("basis", "crowd_usd", "expert_usd", "most_minutes")}
        return cls(data, initial=initial, prefix="rate")

    def clean(self) -> dict[str, Any]:
        """Leave out a cap that is left over from minutes: for answers it means nothing."""
        values = super().clean() or self.cleaned_data
        if values.get("basis") == PayBasis.ANSWER:
            values["most_minutes"] = None
        return values


class RulesForm(forms.Form):
    """What an hour should come to at least, and who confirms a payment."""

    pay_floor_usd_per_hour = forms.DecimalField(
        label="An hour should pay at least",
        help_text="US dollars. Where an hour is expected to pay less, this page says so. Empty: no floor.",
        required=False,
        min_value=Decimal(0),
        max_digits=8,
        decimal_places=2,
    )
    payments_need_second = forms.BooleanField(
        label="A second manager confirms payments",
        help_text="Somebody else than who drew it up. Payments under way keep their rule.",
        required=False,
    )

    @classmethod
    def of(cls, project: Project, data: Any = None) -> "RulesForm":
        """Return the form with what holds now."""
        return cls(data, initial={name: getattr(project, name) for name in cls.base_fields}, prefix="rules")


class AddForm(forms.Form):
    """An amount that a person gets beside what their answers earn, or that is taken off."""

    rater = forms.ModelChoiceField(label="Person", queryset=Rater.objects.none())
    amount_usd = forms.DecimalField(
        label="Amount", help_text="US dollars; below 0 it is taken off what is owed.", max_digits=8, decimal_places=2
    )
    note = forms.CharField(label="What for", max_length=500)
    key = forms.UUIDField(widget=forms.HiddenInput)

    @classmethod
    def of(cls, project: Project, data: Any = None) -> "AddForm":
        """Return the form for a project's people."""
        form = cls(data, initial={"key": uuid4()}, prefix="add")
        people = Rater.objects.filter(project=project, kind=RaterKind.PERSON, origin=Origin.LIVE).order_by("name")
        form.fields["rater"].queryset = people  # type: ignore[attr-defined]  # a choice of rows has one
        return form


class DrawForm(forms.Form):
    """By which way people are paid."""

    way = forms.ChoiceField(label="Pay by", widget=forms.RadioSelect)

    @classmethod
    def of(cls, project: Project, data: Any = None) -> "DrawForm":
        """Return the form with the ways there are: a file always, and every platform's study that is connected."""
        form = cls(data, initial={"way": BY_FILE})
        form.channels = {f"{one.payer.name}:{one.study_id}": one for one in channels_of(project)}
        form.fields["way"].choices = [  # type: ignore[attr-defined]
            (BY_FILE, "A file that you upload"),
            *((key, f"{one.payer.name}, study {one.study_id}") for key, one in form.channels.items()),
        ]
        return form

    channels: dict[str, Channel]

    def channel(self) -> Channel | None:
        """Return the platform's study that was chosen, or None: by file."""
        return self.channels.get(self.cleaned_data["way"])


class ConfirmForm(forms.Form):
    """The total that a person has before them."""

    total_usd = forms.DecimalField(widget=forms.HiddenInput, max_digits=14, decimal_places=2)

    @classmethod
    def of(cls, payment: Payment, data: Any = None) -> "ConfirmForm":
        """Return the form with the payment's total, and its fees once they are known."""
        return cls(data, initial={"total_usd": payment.total_usd + payment.fees_usd})


class MarkPaidForm(forms.Form):
    """That a file was uploaded and paid."""

    fees_usd = usd_field("The platform's fees", "US dollars, as its page shows them. Empty: none.", places=2)
    note = forms.CharField(label="Note", required=False, max_length=500, help_text="Where you saw it.")


class SettleForm(forms.Form):
    """Which people got their part of a payment that is unclear."""

    paid = forms.UUIDField(required=False)
    note = forms.CharField(
        label="How you know", max_length=500, help_text="What the platform's page showed, and when you looked."
    )
