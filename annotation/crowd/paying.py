"""Money that goes to people by Prolific: bonuses by its API, and the rewards that it pays by itself, in the book."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from uuid import UUID

from django.conf import settings

from annotation.crowd.errors import PlatformRefused
from annotation.crowd.prolific.client import ProlificClient
from annotation.crowd.studies import terms_of
from annotation.models import CrowdStudy, Guest, LedgerEntry, Platform, Project, Submission
from annotation.money.booking import book_reward
from annotation.money.errors import PayRefused
from annotation.money.payers import Channel, SetUp

# The currency of the book: a study in another pays its rewards, but its people get no bonus from here.
CURRENCY = "USD"
# With these nothing was done. A conflict or a limit on requests may come after something was.
CERTAIN = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND)


@dataclass(frozen=True)
class ProlificPayer:
    """Prolific as payments know it (`annotation.money.payers.Payer`); people are named by their Prolific ids."""

    client: ProlificClient
    name: str = Platform.PROLIFIC.value

    def set_up_bonuses(self, study_id: str, lines: Sequence[tuple[str, Decimal]]) -> SetUp:
        """Have Prolific take bonuses down; refused where the study does not pay in US dollars."""
        with _certain_refusals():
            currency = self.client.read_study(study_id).currency
            if currency != CURRENCY:
                raise PayRefused(f"the study {study_id} pays in {currency}, and people here are owed {CURRENCY}.")
            order = self.client.set_up_bonuses(study_id, lines)
        return SetUp(order.id, order.amount, order.fees + order.vat)

    def pay_bonuses(self, bonus_id: str) -> None:
        """Have Prolific pay what was set up."""
        with _certain_refusals():
            self.client.pay_bonuses(bonus_id)

    def bonuses_paid(self, study_id: str) -> Mapping[str, Decimal]:
        """Return what each person got as bonuses in all their submissions to a study."""
        paid: dict[str, Decimal] = {}
        for one in self.client.list_submissions(study_id):
            paid[one.participant_id] = paid.get(one.participant_id, Decimal(0)) + sum(one.bonuses, Decimal(0))
        return paid


@contextmanager
def _certain_refusals() -> Iterator[None]:
    """Say of what Prolific refused for certain that it was refused; all else stays what it is: unclear."""
    try:
        yield
    except PlatformRefused as error:
        if error.status in CERTAIN:
            raise PayRefused(str(error)) from error
        raise


def channels_in(project: Project) -> list[Channel]:
    """Return the ways to pay a project's people by Prolific: a study each, where this site has a token."""
    if not settings.PROLIFIC_TOKEN:
        return []
    payer = ProlificPayer(ProlificClient.configured())
    studies = CrowdStudy.objects.filter(project=project, platform=Platform.PROLIFIC).exclude(external_id="")
    return [Channel(payer, study.external_id, _recipients(study)) for study in studies.order_by("created_at")]


def _recipients(study: CrowdStudy) -> dict[UUID, str]:
    arrived = Guest.objects.filter(submissions__study=study).distinct()
    return dict(arrived.values_list("rater_id", "external_id"))


def book_reward_of(submission: Submission, *, now: datetime) -> LedgerEntry | None:
    """Book what Prolific pays by itself for a submission that it approved or screened out, once.

    None where it pays nothing that the book can hold: in another currency, or a part that its state does not tell.
    Locks the project.
    """
    study = submission.study
    if study.platform != Platform.PROLIFIC:
        return None
    terms = terms_of(study)
    rewards = {
        Submission.State.APPROVED: terms.reward,
        Submission.State.SCREENED_OUT: terms.screen_out_reward,
    }
    reward = rewards.get(Submission.State(submission.state))
    if reward is None or terms.currency != CURRENCY:
        return None
    named = f"{Platform.PROLIFIC.value}:{submission.external_id}"
    return book_reward(submission.guest.rater, reward, submission=named, by=None, now=now)
