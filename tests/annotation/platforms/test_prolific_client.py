"""Prolific's API through its client: what it sends, what it makes of answers, and what it never does."""

from collections.abc import Callable
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from annotation.crowd.errors import CrowdError, OutcomeUnclear, PlatformRefused, PlatformUnreachable
from annotation.crowd.prolific.client import BonusLine, BonusSetUp, ProlificClient
from annotation.crowd.prolific.hooks import subscribe
from annotation.crowd.studies import completion_codes, create_on_prolific, differences_on_prolific, set_up_study
from annotation.models import Project
from tests.arrivals import SESSION, TERMS
from tests.prolific_server import STUDY, TOKEN, WORKSPACE, ProlificServer

Call = Callable[[ProlificClient], object]


@pytest.fixture
def client(prolific: ProlificServer) -> ProlificClient:
    prolific.add_study()
    return ProlificClient.configured()


def test_reads_a_study_and_its_submissions_page_by_page(client: ProlificClient, prolific: ProlificServer) -> None:
    for number in range(5):
        prolific.add_submission(f"s{number}", f"p{number}", "AWAITING REVIEW")
    study = client.read_study(STUDY)
    assert (study.state, study.is_signed, study.reward, study.currency) == ("ACTIVE", True, Decimal("1.5"), "USD")
    found = client.list_submissions(STUDY)
    assert [(one.id, one.participant_id, one.study_id) for one in found] == [
        (f"s{number}", f"p{number}", STUDY) for number in range(5)
    ]
    assert client.read_submission("s3").participant_id == "p3"


def test_bonuses_are_set_up_in_dollars_answered_in_cents_and_paid_once(
    client: ProlificClient, prolific: ProlificServer
) -> None:
    prolific.add_submission("s1", "p1")
    prolific.add_submission("s2", "p2")
    set_up = client.set_up_bonuses(STUDY, [BonusLine("s1", Decimal("4.25")), BonusLine("s2", Decimal("4.3"))])
    assert set_up == BonusSetUp("bonus1", Decimal("8.55"), Decimal("2.85"), Decimal(0), Decimal("11.4"))
    assert prolific.asked[-1].body["csv_bonuses"] == "s1,4.25\ns2,4.30"
    assert prolific.paid == []
    client.pay_bonuses(set_up.id)
    assert prolific.paid == ["bonus1"]
    assert client.read_submission("s2").bonuses == (Decimal("4.3"),)


@pytest.mark.parametrize("amount", ["0", "-1", "0.001", "NaN"])
def test_a_bonus_is_whole_cents_and_more_than_nothing(client: ProlificClient, amount: str) -> None:
    with pytest.raises(CrowdError, match="whole cents"):
        client.set_up_bonuses(STUDY, [BonusLine("s1", Decimal(amount))])


def test_a_bonus_for_somebody_who_took_no_part_is_refused_by_name(
    client: ProlificClient, prolific: ProlificServer
) -> None:
    with pytest.raises(PlatformRefused, match="took no part in the study: stranger") as refused:
        client.set_up_bonuses(STUDY, [BonusLine("stranger", Decimal(1))])
    assert refused.value.status == 400
    assert prolific.bonuses == {}


def test_an_id_cannot_add_a_line_or_leave_its_path(client: ProlificClient, prolific: ProlificServer) -> None:
    prolific.add_submission("s1", "p1")
    with pytest.raises(PlatformRefused):
        client.set_up_bonuses(STUDY, [BonusLine("s1,99\ns1", Decimal(1))])
    assert prolific.asked[-1].body["csv_bonuses"] == "s1%2C99%0As1,1.00"
    with pytest.raises(PlatformRefused):
        client.read_submission("../studies/x")
    assert prolific.asked[-1].path == "/api/v1/submissions/..%2Fstudies%2Fx/"


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda client: client.pay_bonuses("bonus1"), "/api/v1/bulk-bonus-payments/bonus1/pay/"),
        (lambda client: client.transition("s1", "APPROVE"), "/api/v1/submissions/s1/transition/"),
        (lambda client: client.bulk_approve(STUDY, ["s1"]), "/api/v1/submissions/bulk-approve/"),
    ],
    ids=["pay", "transition", "bulk-approve"],
)
def test_what_changes_something_is_sent_once_and_an_unclear_answer_is_called_so(
    client: ProlificClient, prolific: ProlificServer, call: Call, path: str
) -> None:
    prolific.add_submission("s1", "p1", "AWAITING REVIEW")
    client.set_up_bonuses(STUDY, [BonusLine("s1", Decimal(1))])
    for fault in (500, 502, "dropped"):
        before = len(prolific.asked)
        prolific.submissions["s1"]["status"] = "AWAITING REVIEW"
        prolific.faults, prolific.drops = ({}, {path}) if fault == "dropped" else ({path: int(fault)}, set())
        with pytest.raises(OutcomeUnclear):
            call(client)
        assert len(prolific.asked) == before + 1


def test_a_payment_that_was_certainly_not_made_is_told_apart(client: ProlificClient, prolific: ProlificServer) -> None:
    with pytest.raises(PlatformRefused) as refused:
        client.pay_bonuses("no-such")
    assert refused.value.status == 404
    nobody = ProlificClient(url="http://127.0.0.1:9/api/v1/", token=TOKEN)
    with pytest.raises(PlatformUnreachable, match="Nothing was sent"):
        nobody.pay_bonuses("bonus1")


def test_a_read_that_fails_may_be_tried_again(client: ProlificClient, prolific: ProlificServer) -> None:
    path = f"/api/v1/studies/{STUDY}/"
    prolific.faults[path] = 503
    with pytest.raises(PlatformUnreachable) as failed:
        client.read_study(STUDY)
    assert failed.value.retryable
    prolific.faults, prolific.drops = {}, {path}
    with pytest.raises(PlatformUnreachable):
        client.read_study(STUDY)


def test_the_token_is_in_no_text_and_goes_to_no_other_host(client: ProlificClient, prolific: ProlificServer) -> None:
    assert TOKEN not in repr(client)
    wrong = ProlificClient(url=client.url, token="sk-CANARY-0123456789")
    with pytest.raises(PlatformRefused) as refused:
        wrong.read_study(STUDY)
    assert "CANARY" not in str(refused.value)
    assert "does not take this site's token" in str(refused.value)
    for number in range(3):
        prolific.add_submission(f"s{number}", f"p{number}")
    prolific.origin = "http://127.0.0.1:9"  # where the next page is said to be
    with pytest.raises(CrowdError, match=r"127\.0\.0\.1:9, where its token is not sent"):
        client.list_submissions(STUDY)


def test_without_a_token_nothing_is_asked(prolific: ProlificServer, settings: Settings) -> None:
    settings.PROLIFIC_TOKEN = ""
    with pytest.raises(CrowdError, match="TIEBREAK_PROLIFIC_TOKEN"):
        ProlificClient.configured()


def test_a_draft_is_made_with_every_code_and_then_known_by_its_id(db: None, project: Project, client: Any) -> None:
    study = set_up_study(
        project,
        platform="prolific",
        name="Wave",
        arrival_check="signed",
        terms=TERMS._replace(screen_out_reward=Decimal("0.14")),
    )
    with pytest.raises(CrowdError, match="https"):
        create_on_prolific(study, "http://testserver")
    made = create_on_prolific(study, "https://tiebreak.example.org")
    study.refresh_from_db()
    assert study.external_id == made.id
    assert (made.is_signed, made.reward, made.places, made.state) == (True, Decimal("1.5"), 10, "UNPUBLISHED")
    assert made.external_study_url == (
        f"https://tiebreak.example.org/study/{study.pk}/?PROLIFIC_PID={{{{%PROLIFIC_PID%}}}}"
        "&STUDY_ID={{%STUDY_ID%}}&SESSION_ID={{%SESSION_ID%}}"
    )
    codes = {code["code_type"]: code for code in completion_codes(study)}
    assert [*codes] == ["COMPLETED", "FAILED_ATTENTION_CHECK", "OTHER", "FIXED_SCREENOUT"]
    assert codes["FIXED_SCREENOUT"]["actions"] == [
        {"action": "FIXED_SCREEN_OUT_PAYMENT", "fixed_screen_out_reward": 14, "slots": 10}
    ]
    assert codes["COMPLETED"]["actions"] == [{"action": "MANUALLY_REVIEW"}]
    assert len({code["code"] for code in codes.values()}) == 4
    assert list(made.codes) == list(codes.values())
    assert differences_on_prolific(study, "https://tiebreak.example.org") == []
    with pytest.raises(CrowdError, match="already"):
        create_on_prolific(study, "https://tiebreak.example.org")


def test_what_prolific_has_otherwise_is_said(study: Any, prolific: ProlificServer) -> None:
    prolific.add_study(is_external_study_url_secure=False, presentment_currency_code="GBP")
    found = differences_on_prolific(study, "https://tiebreak.example.org")
    assert len(found) == 3 + study.codes.count()
    assert "It does not sign arrivals" in found[1]


def test_events_are_subscribed_to_once_and_confirmed(client: ProlificClient, prolific: ProlificServer) -> None:
    assert client.create_hook_secret(WORKSPACE) == "the-signing-secret"
    assert client.list_event_types() == ["study.status.change", "submission.status.change"]
    address = "https://tiebreak.example.org/crowd/prolific/events/"
    for _round in range(2):
        made = subscribe(address)
        assert {(one.event_type, one.is_enabled) for one in made} == {
            ("study.status.change", True),
            ("submission.status.change", True),
        }
    assert len(prolific.subscriptions) == 2
    with pytest.raises(CrowdError, match="https"):
        subscribe("http://tiebreak.example.org/")


def test_the_command_makes_the_secret_and_subscribes(prolific: ProlificServer, settings: Settings) -> None:
    def said(*arguments: str) -> str:
        out = StringIO()
        call_command("prolific_events", *arguments, stdout=out)
        return out.getvalue()

    assert said("--new-secret") == "TIEBREAK_PROLIFIC_HOOK_SECRET=the-signing-secret\n"
    subscribed = said("--site", "https://tiebreak.example.org/")
    assert subscribed.count("https://tiebreak.example.org/crowd/prolific/events/") == 2
    with pytest.raises(CommandError, match="https"):
        said("--site", "http://tiebreak.example.org")
    settings.PROLIFIC_WORKSPACE = ""
    with pytest.raises(CommandError, match="TIEBREAK_PROLIFIC_WORKSPACE"):
        said("--new-secret")


def test_an_unread_submission_is_none_of_ours(client: ProlificClient, prolific: ProlificServer) -> None:
    with pytest.raises(PlatformRefused, match="nothing by that id"):
        client.read_submission(SESSION)
