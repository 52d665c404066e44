"""Arrivals from Prolific: the genuine are let in once, and forged, replayed and expired ones are not."""

import base64
import threading
import time
from datetime import timedelta
from typing import Any

import jwt
import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from annotation.crowd import arriving
from annotation.crowd.arriving import arrive as let_in
from annotation.crowd.errors import ArrivalRefused, CrowdError
from annotation.crowd.prolific.signing import read_signed
from annotation.crowd.studies import set_up_study
from annotation.models import Assignment, CrowdStudy, Guest, Project, Rater, Submission, UsedArrival, User
from tests.arrivals import PERSON, SESSION, TERMS, UNSIGNED, arrive, make_crowd_study
from tests.prolific_server import STUDY, ProlificServer, Signer

HERE = "/annotate/helpfulness/"


def rows() -> tuple[int, ...]:
    return tuple(model.objects.count() for model in (Guest, Submission, UsedArrival, Rater, Assignment))


def test_a_signed_arrival_becomes_a_guest_without_account_name_or_address(
    client: Client, study: CrowdStudy, prolific: ProlificServer
) -> None:
    users = User.objects.count()
    response = arrive(client, study, prolific.signer.token())
    assert (response.status_code, response["Location"]) == (302, HERE)
    submission = Submission.objects.get()
    assert (submission.external_id, submission.guest.external_id) == (SESSION, PERSON)
    assert (submission.checked_by, submission.state) == ("signed", "active")
    rater = submission.guest.rater
    assert rater.user is None
    assert rater.name.startswith("guest-")
    assert PERSON not in rater.name
    assert User.objects.count() == users
    page = client.get(HERE)
    assert page.status_code == 200
    assert Assignment.objects.filter(rater=rater, state="leased").exists()
    assert PERSON not in page.text
    assert SESSION not in page.text


@pytest.mark.parametrize(
    "changed",
    [
        {"seconds_left": -60},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 10**30},
        {"aud": "elsewhere.example.org"},
        {"aud": None},
        {"prolific": None},
        {"prolific": "a text"},
        {"prolific__workspace_id": "another"},
        {"prolific__workspace_id": None},
        {"prolific__STUDY_ID": "another"},
        {"prolific__SESSION_ID": ""},
        {"prolific__PROLIFIC_PID": "two words"},
        {"prolific__PROLIFIC_PID": 5},
        {"kid": "unknown"},
    ],
    ids=str,
)
def test_a_signed_arrival_that_is_not_for_here_and_now_is_refused(
    client: Client, study: CrowdStudy, prolific: ProlificServer, changed: dict[str, Any]
) -> None:
    if seconds_left := changed.get("seconds_left"):
        changed = {"exp": int(time.time()) + seconds_left}
    before = rows()
    response = arrive(client, study, prolific.signer.token(**changed))
    assert response.status_code == 403
    assert rows() == before
    assert client.get(HERE)["Location"].startswith("/sign-in/")


def test_forged_arrivals_are_refused(client: Client, study: CrowdStudy, prolific: ProlificServer) -> None:
    genuine = prolific.signer.token()
    head, body, signature = genuine.split(".")
    other_body = prolific.signer.token(prolific__PROLIFIC_PID="person0000000000000000002").split(".")[1]
    claims = jwt.decode(genuine, options={"verify_signature": False})
    public = str(prolific.keys[0]["n"])
    forged = [
        Signer(kid="key-1", number=1).token(),  # another's key under our platform's name
        f"{head}.{other_body}.{signature}",  # another's claims under this signature
        f"{head}.{body}.",
        jwt.encode(claims, "", algorithm="none", headers={"kid": "key-1"}),
        jwt.encode(claims, public, algorithm="HS256", headers={"kid": "key-1"}),  # the public key as a secret
        "not a token",
        "a.b.c",
        "x" * 9000,
    ]
    before = rows()
    assert [arrive(client, study, token).status_code for token in forged] == [403] * len(forged)
    # What the address says beside a token is worth nothing, nor is an address without one.
    assert arrive(client, study, forged[0], **UNSIGNED).status_code == 403
    assert arrive(client, study, **UNSIGNED).status_code == 403
    assert arrive(client, study).status_code == 403
    assert rows() == before


def test_a_token_lets_in_one_browser_once_and_may_be_reloaded_there(
    client: Client, study: CrowdStudy, prolific: ProlificServer
) -> None:
    token = prolific.signer.token()
    assert arrive(client, study, token).status_code == 302
    assert arrive(client, study, token).status_code == 302  # a reload
    thief = Client()
    response = arrive(thief, study, token)
    assert response.status_code == 403
    assert "used before" in response.text
    assert thief.get(HERE)["Location"].startswith("/sign-in/")
    # The same person's next token is a new one, and it is the same visit.
    assert arrive(Client(), study, prolific.signer.token(exp=int(time.time()) + 301)).status_code == 302
    assert Submission.objects.count() == 1


def test_a_token_is_refused_for_its_age_when_it_is_no_longer_remembered(
    client: Client, study: CrowdStudy, prolific: ProlificServer
) -> None:
    token = prolific.signer.token()
    arrive(client, study, token)
    with time_machine.travel(timezone.now() + timedelta(minutes=6), tick=False):
        assert "expired" in arrive(Client(), study, token).text
        assert arrive(Client(), study, prolific.signer.token()).status_code == 302
        assert UsedArrival.objects.count() == 1


def test_a_submission_is_one_persons(client: Client, study: CrowdStudy, prolific: ProlificServer) -> None:
    arrive(client, study, prolific.signer.token())
    other = prolific.signer.token(prolific__PROLIFIC_PID="person0000000000000000002")
    assert arrive(Client(), study, other).status_code == 403
    assert Guest.objects.count() == 1


def test_the_same_person_in_a_second_study_is_the_same_rater(
    client: Client, project: Project, study: CrowdStudy, prolific: ProlificServer
) -> None:
    arrive(client, study, prolific.signer.token())
    second = set_up_study(
        project, platform="prolific", name="Second", arrival_check="signed", terms=TERMS, external_id="second"
    )
    token = prolific.signer.token(prolific__STUDY_ID="second", prolific__SESSION_ID="again")
    assert arrive(Client(), second, token).status_code == 302
    assert (Guest.objects.count(), Submission.objects.count()) == (1, 2)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_of_many_browsers_with_one_token_one_is_let_in(study: CrowdStudy, prolific: ProlificServer) -> None:
    token = prolific.signer.token()
    read_signed(token, host="testserver", now=timezone.now())  # the keys are there
    start, let, refused = threading.Barrier(6), [], []

    def reach() -> None:
        start.wait()
        try:
            let.append(let_in(study, {"prolific_token": token}, host="testserver", address="", now=timezone.now()))
        except ArrivalRefused as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=reach) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(let), len(refused)) == (1, 5)
    assert (Guest.objects.count(), Submission.objects.count(), UsedArrival.objects.count()) == (1, 1, 1)
    assert Rater.objects.filter(name__startswith="guest-").count() == 1


# --- Keys -----------------------------------------------------------------------------------------------------------


def keys_asked(prolific: ProlificServer) -> int:
    return sum(one.path.endswith("jwks.json") for one in prolific.asked)


def test_keys_are_kept_a_day_and_fetched_again_for_a_new_name(study: CrowdStudy, prolific: ProlificServer) -> None:
    with time_machine.travel("2026-12-01T08:00Z", tick=False) as clock:
        for number in range(3):
            token = prolific.signer.token(prolific__SESSION_ID=f"s{number}", prolific__PROLIFIC_PID=f"p{number}")
            assert arrive(Client(), study, token).status_code == 302
        assert keys_asked(prolific) == 1
        rotated = Signer(kid="key-2", number=1)
        prolific.keys.append(rotated.public())
        clock.shift(120)
        token = rotated.token(prolific__SESSION_ID="s9", prolific__PROLIFIC_PID="p9")
        assert arrive(Client(), study, token).status_code == 302
        assert keys_asked(prolific) == 2
        clock.shift(25 * 3600)
        assert arrive(Client(), study, rotated.token(prolific__SESSION_ID="s10")).status_code == 302
        assert keys_asked(prolific) == 3


def test_unknown_names_of_keys_make_nobody_ask_more_than_once_a_minute(
    study: CrowdStudy, prolific: ProlificServer
) -> None:
    with time_machine.travel("2026-12-01T08:00Z", tick=False) as clock:
        for number in range(20):
            assert arrive(Client(), study, prolific.signer.token(kid=f"k{number}")).status_code == 403
        assert keys_asked(prolific) == 1
        clock.shift(61)
        assert arrive(Client(), study, prolific.signer.token(kid="k20")).status_code == 403
        assert keys_asked(prolific) == 2


def test_a_published_key_of_another_kind_opens_nothing(study: CrowdStudy, prolific: ProlificServer) -> None:
    secret = "a secret that everybody can read in the list of keys"
    encoded = base64.urlsafe_b64encode(secret.encode()).decode().rstrip("=")
    prolific.keys.append({"kty": "oct", "kid": "shared", "k": encoded, "alg": "HS256"})
    claims = jwt.decode(prolific.signer.token(), options={"verify_signature": False})
    token = jwt.encode(claims, secret, algorithm="HS256", headers={"kid": "shared"})
    assert arrive(Client(), study, token).status_code == 403


# --- Asking Prolific ------------------------------------------------------------------------------------------------


def test_without_keys_prolific_is_asked_about_the_submission(
    client: Client, study: CrowdStudy, prolific: ProlificServer
) -> None:
    prolific.faults["/.well-known/study/jwks.json"] = 503
    token = prolific.signer.token()
    response = arrive(client, study, token)
    assert (response.status_code, response["Retry-After"]) == (503, "60")
    prolific.add_submission()
    assert arrive(client, study, token, **UNSIGNED).status_code == 302
    assert Submission.objects.get().checked_by == "api"


@pytest.mark.parametrize(
    ("there", "said", "status"),
    [
        ({}, {}, 302),
        ({"status": "RESERVED"}, {}, 302),
        ({"status": "AWAITING REVIEW"}, {}, 302),
        ({"status": "RETURNED"}, {}, 403),
        ({"status": "TIMED-OUT"}, {}, 403),
        ({"participant": "somebody"}, {}, 403),
        ({"study_id": "another"}, {}, 403),
        ({}, {"SESSION_ID": "nothing"}, 403),
        ({}, {"PROLIFIC_PID": "somebody"}, 403),
        ({}, {"STUDY_ID": "another"}, 403),
        ({}, {"SESSION_ID": "../studies/x"}, 403),
        ({}, {"SESSION_ID": ""}, 403),
        ({}, {"PROLIFIC_PID": "{{%PROLIFIC_PID%}}"}, 403),
    ],
    ids=str,
)
def test_an_unsigned_arrival_is_what_prolific_says_it_is(
    project: Project, prolific: ProlificServer, there: dict[str, str], said: dict[str, str], status: int
) -> None:
    study = make_crowd_study(project, prolific, "api")
    prolific.add_submission(**there)
    assert arrive(Client(), study, **{**UNSIGNED, **said}).status_code == status
    assert Submission.objects.count() == (status == 302)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_prolific_that_cannot_be_asked_lets_nobody_in_and_says_so(
    project: Project, prolific: ProlificServer, status: int
) -> None:
    study = make_crowd_study(project, prolific, "api")
    prolific.add_submission()
    prolific.faults[f"/api/v1/submissions/{SESSION}/"] = status
    response = arrive(Client(), study, **UNSIGNED)
    assert response.status_code == 503
    assert "Try again in a minute" in response.text
    assert Submission.objects.count() == 0


def test_links_that_anybody_can_write_ask_prolific_only_so_often(
    project: Project, prolific: ProlificServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving, "ADDRESS_TRIES", 3)
    study = make_crowd_study(project, prolific, "api")
    prolific.add_submission()
    for number in range(3):
        assert arrive(Client(), study, **{**UNSIGNED, "SESSION_ID": f"guess{number}"}).status_code == 403
    asked = len(prolific.asked)
    response = arrive(Client(), study, **UNSIGNED)
    assert (response.status_code, "Wait a quarter of an hour" in response.text) == (429, True)
    assert len(prolific.asked) == asked
    # Elsewhere, and by a signed link, people come in as before.
    assert arrive(Client(REMOTE_ADDR="192.0.2.7"), study, **UNSIGNED).status_code == 302
    assert arrive(Client(), study, prolific.signer.token()).status_code == 302


def test_a_site_without_a_token_lets_nobody_in_and_fails_in_words(
    project: Project, prolific: ProlificServer, settings: Settings
) -> None:
    study = make_crowd_study(project, prolific, "api")
    settings.PROLIFIC_TOKEN = ""
    assert arrive(Client(), study, **UNSIGNED).status_code == 503


# --- The study ------------------------------------------------------------------------------------------------------


def test_a_closed_study_takes_nobody_new_and_keeps_who_is_in(
    client: Client, study: CrowdStudy, prolific: ProlificServer
) -> None:
    arrive(client, study, prolific.signer.token())
    CrowdStudy.objects.update(state="closed")
    token = prolific.signer.token(prolific__SESSION_ID="s2", prolific__PROLIFIC_PID="p2")
    assert "has ended" in arrive(Client(), study, token).text
    assert arrive(Client(), study, prolific.signer.token(exp=int(time.time()) + 200)).status_code == 302


def test_a_study_that_prolific_does_not_know_yet_takes_nobody(project: Project, prolific: ProlificServer) -> None:
    study = set_up_study(project, platform="prolific", name="New", arrival_check="api", terms=TERMS)
    assert arrive(Client(), study, **{**UNSIGNED, "STUDY_ID": ""}).status_code == 403


def test_prolific_is_never_set_up_without_a_check(project: Project, settings: Settings) -> None:
    with pytest.raises(CrowdError, match="always checked"):
        set_up_study(project, platform="prolific", name="x", arrival_check="none", terms=TERMS)
    settings.PROLIFIC_WORKSPACE = ""
    with pytest.raises(CrowdError, match="TIEBREAK_PROLIFIC_WORKSPACE"):
        set_up_study(project, platform="prolific", name="x", arrival_check="signed", terms=TERMS)


def test_a_token_for_another_host_is_refused_here(study: CrowdStudy, prolific: ProlificServer) -> None:
    token = prolific.signer.token(aud="https://testserver")
    assert (
        let_in(study, {"prolific_token": token}, host="testserver", address="", now=timezone.now()).external_id
        == SESSION
    )
    token = prolific.signer.token(aud="https://testserver", exp=int(time.time()) + 400)
    assert STUDY in str(jwt.decode(token, options={"verify_signature": False}))
    with pytest.raises(CrowdError, match="not from Prolific"):
        let_in(study, {"prolific_token": token}, host="other.example.org", address="", now=timezone.now())
