"""Signing in by password, by a link that works once, and with the second step; tries are limited."""

from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pyotp
import pytest
import time_machine
from django.core import mail
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from annotation.joining import second_step
from annotation.joining.errors import CodeWrong, JoiningError
from annotation.joining.links import link_for, mail_link
from annotation.models import Membership, Project, SecondStep, SignInLink, Throttle, User
from annotation.tasks import forget_old
from annotation.tasks import mail_link as mail_link_task
from tests.builders import make_project

NOON = datetime.fromisoformat("2026-12-01T12:00:00+00:00")
BEN = {"username": "ben", "password": "ben-password"}


@pytest.fixture
def project(db: None) -> Project:
    return make_project()


@pytest.fixture
def ada(project: Project) -> User:
    return User.objects.get(username="ada")


@pytest.fixture
def ben(project: Project) -> User:
    return User.objects.get(username="ben")


def is_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


# --- Passwords ------------------------------------------------------------------------------------------------------


def test_passwords_of_an_account_are_tried_ten_times_in_a_quarter_of_an_hour(client: Client, project: Project) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        wrong = {**BEN, "password": "wrong"}
        # Neither another spelling nor what a browser says of its address begins anew.
        names = ["ben", "BEN"] * 5
        for number, name in enumerate(names):
            said = {"X-Forwarded-For": f"10.0.0.{number}"}
            assert client.post("/sign-in/", {**wrong, "username": name}, headers=said).status_code == 200
        refused = client.post("/sign-in/", BEN)
        assert refused.status_code == 429
        assert "quarter of an hour" in refused.text
        assert client.post("/sign-in/", {"username": "cyd", "password": "cyd-password"}).status_code == 302
        clock.shift(15 * 60 + 1)
        assert Client().post("/sign-in/", BEN).status_code == 302
        clock.shift(15 * 60 + 1)
        assert Throttle.objects.exists()
        forget_old()
        assert not Throttle.objects.exists()


def test_a_success_begins_the_count_anew(client: Client, project: Project) -> None:
    for _round in range(3):
        for _try in range(6):
            Client().post("/sign-in/", {**BEN, "password": "wrong"})
        assert Client().post("/sign-in/", BEN).status_code == 302


def test_tries_of_one_address_are_limited_over_all_accounts(
    client: Client, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotation.views.signing_in.ADDRESS_TRIES", 6)
    codes = {client.post("/sign-in/", {"username": f"n{n}", "password": "x"}).status_code for n in range(6)}
    assert codes == {200}
    assert client.post("/sign-in/", BEN).status_code == 429


def test_behind_a_proxy_its_own_word_on_the_address_counts(
    client: Client, project: Project, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotation.views.signing_in.ADDRESS_TRIES", 6)
    settings.BEHIND_TLS_PROXY = True
    for number in range(6):
        forged = f"10.0.0.{number}, 192.0.2.7"
        client.post("/sign-in/", {"username": f"n{number}", "password": "x"}, headers={"X-Forwarded-For": forged})
    assert client.post("/sign-in/", BEN, headers={"X-Forwarded-For": "1.1.1.1, 192.0.2.7"}).status_code == 429
    assert client.post("/sign-in/", BEN, headers={"X-Forwarded-For": "192.0.2.7, 192.0.2.8"}).status_code == 302


@pytest.mark.parametrize("to", ["//127.0.0.1:9999", "https:evil", "\\\\evil", "/%09/evil", "https://evil.example.org/"])
def test_nobody_is_led_to_another_host_after_signing_in(client: Client, project: Project, to: str) -> None:
    response = client.post("/sign-in/", {**BEN, "next": to})
    assert response["Location"] in ("/", "/%09/evil")


# --- Links ----------------------------------------------------------------------------------------------------------


def test_a_managers_link_signs_a_member_in_once(client: Client, project: Project, ada: User, ben: User) -> None:
    token = link_for(project, ben, by=ada, now=timezone.now())
    assert token not in str(SignInLink.objects.values().get())
    for _round in range(2):
        assert "signs you in as ben, once" in client.get(f"/sign-in/link/{token}/").text  # to look uses nothing
    assert not is_in(client)
    assert client.post(f"/sign-in/link/{token}/")["Location"] == "/"
    assert is_in(client)
    thief = Client()
    assert thief.post(f"/sign-in/link/{token}/").status_code == 404
    assert thief.get(f"/sign-in/link/{token}/").status_code == 404
    assert not is_in(thief)


def test_a_link_ends_after_its_time_and_with_another_that_was_used(project: Project, ada: User, ben: User) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        first, second = (link_for(project, ben, by=ada, now=timezone.now()) for _ in range(2))
        assert Client().post(f"/sign-in/link/{first}/").status_code == 302
        assert Client().post(f"/sign-in/link/{second}/").status_code == 404
        third = link_for(project, ben, by=ada, now=timezone.now())
        clock.shift(24 * 3600 + 1)
        assert Client().post(f"/sign-in/link/{third}/").status_code == 404
        fourth = link_for(project, ben, by=ada, now=timezone.now())
        User.objects.filter(pk=ben.pk).update(is_active=False)
        assert Client().post(f"/sign-in/link/{fourth}/").status_code == 404


def test_no_manager_makes_a_link_into_what_they_do_not_manage(project: Project, ada: User, ben: User) -> None:
    now = timezone.now()
    other = make_project("other", with_people=False)
    eve = User.objects.get(username="eve")
    with pytest.raises(JoiningError, match="no such member"):
        link_for(project, eve, by=ada, now=now)
    membership = Membership.objects.create(project=other, user=ben, role="annotator")
    with pytest.raises(JoiningError, match="projects that you do not manage"):
        link_for(project, ben, by=ada, now=now)
    Membership.objects.create(project=other, user=ada, role="manager")
    assert link_for(project, ben, by=ada, now=now)
    membership.role = "manager"
    membership.save()
    with pytest.raises(JoiningError, match="manages a project"):
        link_for(project, ben, by=ada, now=now)
    membership.delete()
    User.objects.filter(pk=ben.pk).update(is_superuser=True)
    ben.refresh_from_db()
    with pytest.raises(JoiningError, match="manages a project"):
        link_for(project, ben, by=ada, now=now)
    with pytest.raises(JoiningError, match="manages a project"):
        link_for(project, ada, by=ada, now=now)


def test_a_link_is_mailed_to_the_account_that_was_named(client: Client, ben: User) -> None:
    User.objects.filter(pk=ben.pk).update(email="ben@example.org")
    now = timezone.now()
    assert mail_link("ben", site="https://t.example.org", now=now)
    assert mail_link("BEN@example.org", site="https://t.example.org", now=now)
    assert [message.to for message in mail.outbox] == [["ben@example.org"]] * 2
    link = next(line for line in mail.outbox[1].body.splitlines() if line.startswith("https://"))
    assert client.post(link.removeprefix("https://t.example.org")).status_code == 302
    assert is_in(client)
    for named in ("cyd", "nobody", "nobody@example.org", ""):
        assert not mail_link(named, site="https://t.example.org", now=now)
    # An address that two accounts gave is nobody's to sign in by.
    User.objects.filter(username="cyd").update(email="Ben@example.org")
    assert not mail_link("ben@example.org", site="https://t.example.org", now=now)
    User.objects.filter(pk=ben.pk).update(is_active=False)
    assert not mail_link("ben", site="https://t.example.org", now=now)
    assert len(mail.outbox) == 2


def test_who_asks_for_a_link_is_told_the_same_whoever_they_named(
    client: Client, ben: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []

    def wake(tasks: list[str], payload: dict[str, Any]) -> bool:
        assert tasks == ["annotation.tasks.mail_link"]
        told.append(payload)
        return True

    monkeypatch.setattr("annotation.joining.links.wake", wake)
    assert client.get("/sign-in/link/").status_code == 404  # no mail server, no offer
    assert "Sign in by a link" not in client.get("/sign-in/").text
    settings.MAIL_IS_SENT = True
    assert "Sign in by a link" in client.get("/sign-in/").text
    pages = [client.post("/sign-in/link/", {"named": named}).text for named in ("ben", "nobody")]
    assert pages[0] == pages[1]
    assert "a link is on its way" in pages[0]
    assert told == [{"named": named, "site": "http://testserver", "language": "en"} for named in ("ben", "nobody")]
    User.objects.filter(pk=ben.pk).update(email="ben@example.org")
    mail_link_task(**{**told[0], "language": "de"})
    assert mail.outbox[0].subject == "Ihr Link zum Anmelden"
    for _try in range(2):
        client.post("/sign-in/link/", {"named": "ben"})
    assert client.post("/sign-in/link/", {"named": "BEN"}).status_code == 429
    monkeypatch.setattr("annotation.joining.links.wake", lambda tasks, payload: False)
    assert client.post("/sign-in/link/", {"named": "cyd"}).status_code == 503


# --- The second step ------------------------------------------------------------------------------------------------


def with_second_step(user: User) -> tuple[pyotp.TOTP, list[str]]:
    """Return an app of somebody's, as of a minute ago, and their recovery codes."""
    app = pyotp.TOTP(second_step.begin(user).secret)
    before = timezone.now() - timedelta(minutes=1)
    return app, second_step.confirm(user, app.at(before), now=before)


def test_signing_in_asks_for_the_second_step_by_every_way(project: Project, ada: User, ben: User) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        app, _codes = with_second_step(ben)
        link = link_for(project, ben, by=ada, now=timezone.now())
        ways: list[tuple[str, dict[str, str]]] = [
            ("/sign-in/", {**BEN, "next": "/annotate/helpfulness/"}),
            (f"/sign-in/link/{link}/", {}),
        ]
        for address, values in ways:
            browser = Client()
            assert browser.post(address, values)["Location"] == "/sign-in/code/"
            assert not is_in(browser)
            assert browser.get("/annotate/helpfulness/").status_code == 302
            assert browser.post("/sign-in/code/", {"code": "000000"}).status_code == 422
            response = browser.post("/sign-in/code/", {"code": app.now()})
            assert response["Location"] == values.get("next", "/")
            assert is_in(browser)
            clock.shift(30)


def test_a_code_works_once_and_a_recovery_code_once(project: Project, ben: User) -> None:
    with time_machine.travel(NOON, tick=False):
        app, codes = with_second_step(ben)
        assert len(set(codes)) == 10
        now = timezone.now()
        second_step.check(ben, app.now(), now=now)
        with pytest.raises(CodeWrong):
            second_step.check(ben, app.now(), now=now)
        second_step.check(ben, codes[3].upper(), now=now)
        with pytest.raises(CodeWrong):
            second_step.check(ben, codes[3], now=now)
        with pytest.raises(CodeWrong):
            second_step.check(ben, app.at(now - timedelta(minutes=5)), now=now)
    stored = SecondStep.objects.get()
    assert app.secret not in stored.secret
    assert not set(codes) & set(stored.recovery_digests)


def test_codes_are_tried_eight_times(client: Client, ben: User) -> None:
    app, _codes = with_second_step(ben)
    client.post("/sign-in/", BEN)
    codes = [client.post("/sign-in/code/", {"code": f"{n:06}"}).status_code for n in range(8)]
    assert codes == [422] * 8
    assert client.post("/sign-in/code/", {"code": app.now()}).status_code == 429
    assert not is_in(client)


def test_the_first_step_is_good_for_ten_minutes(client: Client, ben: User) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        app, _codes = with_second_step(ben)
        client.post("/sign-in/", BEN)
        clock.shift(601)
        assert client.post("/sign-in/code/", {"code": app.now()})["Location"] == "/sign-in/"
        assert client.get("/sign-in/code/")["Location"] == "/sign-in/"
        assert not is_in(client)


def test_a_second_step_is_not_in_force_before_a_code_was_right(client: Client, ben: User) -> None:
    client.force_login(ben)
    assert second_step.begin(ben).secret in client.get("/account/second-step/").text
    assert Client().post("/sign-in/", BEN)["Location"] == "/"
    assert client.post("/account/second-step/", {"code": "000000"}).status_code == 422
    app = pyotp.TOTP(second_step.begin(ben).secret)
    page = client.post("/account/second-step/", {"code": app.now()})
    assert page.text.count("<li><code>") == 10
    assert app.secret not in client.get("/account/second-step/").text
    assert Client().post("/sign-in/", BEN)["Location"] == "/sign-in/code/"
    assert client.post("/account/second-step/", {"code": "000000"}).status_code == 422
    following = app.at(timezone.now() + timedelta(seconds=30))
    assert client.post("/account/second-step/", {"code": following}).status_code == 302
    assert Client().post("/sign-in/", BEN)["Location"] == "/"


def test_the_operator_ends_a_second_step_that_was_lost(ben: User) -> None:
    with_second_step(ben)
    call_command("end_second_step", "ben", stdout=StringIO())
    assert not second_step.has_second_step(ben)
    for nobody in ("ben", "nobody"):
        with pytest.raises(CommandError, match="has no second step"):
            call_command("end_second_step", nobody)


def test_managers_need_a_second_step_where_the_operator_says_so(
    client: Client, project: Project, ada: User, ben: User, settings: Settings
) -> None:
    client.force_login(ada)
    assert client.get("/projects/helpfulness/").status_code == 200
    settings.REQUIRE_SECOND_STEP = True
    for address in ("/", "/projects/helpfulness/", "/projects/helpfulness/people/", "/new-project/"):
        assert client.get(address)["Location"] == "/account/second-step/", address
    assert "Set it up to go on." in client.get("/account/second-step/").text
    app = pyotp.TOTP(second_step.begin(ada).secret)
    client.post("/account/second-step/", {"code": app.now()})
    assert client.get("/projects/helpfulness/").status_code == 200
    other = Client()
    other.force_login(ben)
    assert other.get("/annotate/helpfulness/").status_code == 200
    assert Client().get("/account/second-step/")["Location"].startswith("/sign-in/")
