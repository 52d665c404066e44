"""From people's answers to money at Prolific: what it pays by itself is not owed, and the rest goes out as bonuses."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from pytest_django.fixtures import Settings

from annotation.crowd.errors import PlatformRefused
from annotation.crowd.paying import book_reward_of, channels_in
from annotation.crowd.reviewing import approve, screen_out
from annotation.crowd.states import note_state, refresh
from annotation.models import CrowdStudy, Guest, LedgerEntry, Payment, PaymentState, RaterKind, Submission
from annotation.money.booking import balance_of, balances
from annotation.money.drawing import confirm, draw_up
from annotation.money.errors import PayRefused
from annotation.money.payers import channel_for, channels_of
from annotation.money.reconciling import reconcile
from annotation.money.sending import send, set_up
from tests.arrivals import make_crowd_study
from tests.builders import make_answer, make_pair, make_project
from tests.paying import LATER, NOW, manager
from tests.prolific_server import STUDY, ProlificServer

State = Submission.State
SET_UP, PAY = "/api/v1/submissions/bonus-payments/", "/api/v1/bulk-bonus-payments/bonus1/pay/"


def arrived(study: CrowdStudy, prolific: ProlificServer, name: str, *, answers: int, state: State) -> Submission:
    """Return a submission of somebody who gave so many answers of 0.30 US dollars."""
    rater = study.project.raters.create(kind=RaterKind.PERSON, name=f"guest-{name}")
    for _ in range(answers):
        make_answer(make_pair(study.project), rater)
    guest = Guest.objects.create(project=study.project, platform="prolific", external_id=f"p{name}", rater=rater)
    prolific.add_submission(f"s{name}", f"p{name}", state.label.upper())
    return Submission.objects.create(
        study=study,
        guest=guest,
        external_id=f"s{name}",
        state=state,
        state_at=NOW - timedelta(days=1),
        arrived_at=NOW - timedelta(days=1),
        checked_by="signed",
    )


def owed(submission: Submission) -> Decimal:
    return balances(submission.study.project)[submission.guest.rater_id].owed_usd


def rewards() -> list[tuple[str, Decimal]]:
    return list(LedgerEntry.objects.filter(kind="reward").order_by("pk").values_list("note", "amount_usd"))


# --- Rewards --------------------------------------------------------------------------------------------------------


def test_the_reward_of_an_approved_submission_is_not_owed_any_more(study: CrowdStudy, prolific: ProlificServer) -> None:
    seven = arrived(study, prolific, "7", answers=7, state=State.AWAITING_REVIEW)
    assert owed(seven) == Decimal("2.10")
    approve(study, [seven])
    assert rewards() == [("prolific:s7", Decimal("-1.50"))]
    assert owed(seven) == Decimal("0.60")
    # The event, the list and a second word of the same say nothing new.
    note_state(seven, State.APPROVED, said_at=datetime.now(UTC) + timedelta(hours=1))
    refresh(study)
    assert book_reward_of(seven, now=LATER) is not None
    assert len(rewards()) == 1


def test_an_approval_that_prolific_tells_of_is_booked_too(study: CrowdStudy, prolific: ProlificServer) -> None:
    seven = arrived(study, prolific, "7", answers=7, state=State.AWAITING_REVIEW)
    prolific.submissions["s7"]["status"] = "APPROVED"
    refresh(study)
    assert owed(seven) == Decimal("0.60")


def test_a_screen_out_pays_its_own_reward(prolific: ProlificServer, db: None) -> None:
    study = make_crowd_study(make_project(), prolific, screen_out_reward=Decimal("0.20"))
    screen_out(study, [arrived(study, prolific, "1", answers=0, state=State.ACTIVE)], add_places=False)
    assert rewards() == [("prolific:s1", Decimal("-0.20"))]


@pytest.mark.parametrize("state", sorted({*State} - {State.APPROVED}))
def test_other_states_pay_nothing(study: CrowdStudy, prolific: ProlificServer, state: State) -> None:
    assert book_reward_of(arrived(study, prolific, "1", answers=1, state=state), now=NOW) is None


def test_rewards_in_pounds_stay_out_of_a_book_in_dollars(prolific: ProlificServer, db: None) -> None:
    study = make_crowd_study(make_project(), prolific, currency="GBP")
    approve(study, [arrived(study, prolific, "7", answers=7, state=State.AWAITING_REVIEW)])
    assert rewards() == []


def test_a_state_is_kept_only_together_with_its_reward(
    study: CrowdStudy, prolific: ProlificServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seven = arrived(study, prolific, "7", answers=7, state=State.AWAITING_REVIEW)

    def broken(*_: object, **__: object) -> None:
        raise ConnectionError("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr("annotation.crowd.paying.book_reward", broken)
        with pytest.raises(ConnectionError):
            note_state(seven, State.APPROVED, said_at=NOW)
    assert note_state(Submission.objects.get(), State.APPROVED, said_at=NOW)
    assert len(rewards()) == 1


# --- Bonuses --------------------------------------------------------------------------------------------------------


def confirmed(study: CrowdStudy) -> Payment:
    [channel] = channels_of(study.project)
    payment = draw_up(study.project, by=manager(), now=NOW, channel=channel)
    return confirm(payment, by=manager(), total_usd=payment.total_usd, now=NOW)


def test_what_is_owed_beyond_the_reward_is_paid_as_bonuses_once(study: CrowdStudy, prolific: ProlificServer) -> None:
    seven = arrived(study, prolific, "7", answers=7, state=State.AWAITING_REVIEW)
    two = arrived(study, prolific, "2", answers=2, state=State.ACTIVE)
    approve(study, [seven])
    payment = confirmed(study)
    channel = channel_for(study.project, "prolific", STUDY)
    assert channel is not None
    payment = set_up(payment, channel.payer, by=manager(), now=NOW)
    assert prolific.asked[-1].body == {"study_id": STUDY, "csv_bonuses": "p2,0.60\np7,0.60"}
    assert (payment.total_usd, payment.fees_usd) == (Decimal("1.20"), Decimal("0.40"))
    payment = send(payment, channel.payer, by=manager(), cost_usd=Decimal("1.60"), now=NOW)
    assert (payment.state, prolific.paid) == (PaymentState.PAID, ["bonus1"])
    assert channel.payer.bonuses_paid(STUDY) == {"p7": Decimal("0.60"), "p2": Decimal("0.60")}
    assert [one.is_paid for one in reconcile(payment, channel.payer, by=manager(), now=LATER)] == [True, True]
    assert Payment.objects.get().state == PaymentState.RECONCILED
    assert [owed(seven), owed(two), balance_of(study.project).owed_usd] == [Decimal(0)] * 3


def test_a_study_in_pounds_gets_no_bonuses_in_dollars(prolific: ProlificServer, db: None) -> None:
    study = make_crowd_study(make_project(), prolific, currency="GBP")
    prolific.studies[STUDY]["presentment_currency_code"] = "GBP"
    arrived(study, prolific, "2", answers=2, state=State.ACTIVE)
    [channel] = channels_of(study.project)
    with pytest.raises(PayRefused, match="pays in GBP, and people here are owed USD"):
        set_up(confirmed(study), channel.payer, by=manager(), now=NOW)
    assert (Payment.objects.get().state, prolific.bonuses) == (PaymentState.FAILED, {})


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_certain_refusal_ends_the_payment_and_the_money_is_owed_again(
    study: CrowdStudy, prolific: ProlificServer, status: int
) -> None:
    two = arrived(study, prolific, "2", answers=2, state=State.ACTIVE)
    payment = confirmed(study)
    prolific.faults[SET_UP] = status
    with pytest.raises(PayRefused):
        set_up(payment, channels_of(study.project)[0].payer, by=manager(), now=NOW)
    assert (Payment.objects.get().state, owed(two)) == (PaymentState.FAILED, Decimal("0.60"))


@pytest.mark.parametrize("status", [408, 409, 429])
def test_a_refusal_after_which_people_may_have_been_paid_is_unclear(
    study: CrowdStudy, prolific: ProlificServer, status: int
) -> None:
    two = arrived(study, prolific, "2", answers=2, state=State.ACTIVE)
    [channel] = channels_of(study.project)
    payment = set_up(confirmed(study), channel.payer, by=manager(), now=NOW)
    prolific.faults[PAY] = status
    payment = send(payment, channel.payer, by=manager(), cost_usd=payment.total_usd + payment.fees_usd, now=NOW)
    assert (payment.state, owed(two)) == (PaymentState.UNCLEAR, Decimal(0))
    with pytest.raises(PlatformRefused):
        channel.payer.pay_bonuses("bonus1")


def test_ways_to_pay_are_studies_that_prolific_knows(
    study: CrowdStudy, prolific: ProlificServer, settings: Settings
) -> None:
    two = arrived(study, prolific, "2", answers=2, state=State.ACTIVE)
    [channel] = channels_in(study.project)
    assert (channel.payer.name, channel.study_id) == ("prolific", STUDY)
    assert channel.recipients == {two.guest.rater_id: "p2"}
    CrowdStudy.objects.update(external_id="")
    assert channels_in(study.project) == []
    CrowdStudy.objects.update(external_id=STUDY)
    settings.PROLIFIC_TOKEN = ""
    assert channels_in(study.project) == []
