"""Signing in by an OpenID Connect provider: the whole way, whose account it is, and what is never written."""

import json
import threading
from datetime import timedelta
from typing import Any

import jwt
import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from annotation.joining.invitations import invite, revoke, set_sign_up
from annotation.joining.links import link_for
from annotation.joining.openid import configuring, matching
from annotation.joining.openid.errors import OpenIDError
from annotation.joining.openid.verifying import Person
from annotation.models import Identity, Invitation, Membership, Project, SignInLink, User
from tests.annotation.joining.provider_visits import (
    ACCOUNT,
    BACK,
    BEGIN,
    FAY,
    Visit,
    configured,
    known,
    named,
    query_of,
    refused,
    stored,
)
from tests.annotation.joining.test_signing_in import with_second_step
from tests.builders import make_project, make_user
from tests.oidc_server import Signer

# --- The whole way --------------------------------------------------------------------------------------------------


def test_somebody_known_signs_in_and_goes_on_where_they_wanted(visit: Visit) -> None:
    known(named("ben"), visit.server)
    page = visit.client.get("/sign-in/?next=/annotate/helpfulness/")
    assert "Sign in with Example University" in page.text
    old_key = visit.client.session.session_key
    address = visit.leave(next="/annotate/helpfulness/")
    asked = query_of(address)
    assert asked["redirect_uri"] == f"http://testserver{BACK}"
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert asked["scope"] == "openid email profile"
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert all(len(asked[name]) == 43 for name in ("state", "nonce", "code_challenge"))
    before = visit.client.session.session_key
    response = visit.come_back(visit.at_provider(address), follow=True)
    assert response.redirect_chain == [("/annotate/helpfulness/", 302)]  # type: ignore[attr-defined]
    assert visit.user_id == str(named("ben").pk)
    assert visit.client.session.session_key not in (old_key, before)
    assert Identity.objects.get().last_used_at is not None
    assert User.objects.count() == 4  # nobody new
    # The keys and the document are asked for once, and nobody is asked for what the token says.
    assert visit.server.asked.count("/keys") == 1
    assert "/userinfo" not in visit.server.asked
    Visit(visit.server).go()
    assert visit.server.asked.count("/keys") == visit.server.asked.count("/.well-known/openid-configuration") == 1


@pytest.mark.parametrize(
    "to", ["//evil.example.org", "https://evil.example.org/", "\\\\evil", "javascript:alert(1)", ""]
)
def test_nobody_is_led_to_another_host(visit: Visit, to: str) -> None:
    known(named("ben"), visit.server)
    assert visit.go(next=to)["Location"] == "/"


def test_signing_out_ends_the_session_here_alone(visit: Visit) -> None:
    known(named("ben"), visit.server)
    visit.go()
    asked = len(visit.server.asked)
    assert visit.client.post("/sign-out/")["Location"] == "/sign-in/"
    assert visit.user_id is None
    assert len(visit.server.asked) == asked


def test_without_configuration_nothing_is_there(client: Client, project: Project) -> None:
    assert "Sign in with" not in client.get("/sign-in/").text
    client.login(username="ada", password="ada-password")
    assert ACCOUNT not in client.get("/").text
    for way, path in (("post", BEGIN), ("get", BACK), ("get", ACCOUNT), ("post", ACCOUNT)):
        assert getattr(client, way)(path).status_code == 404, path
    ada = named("ada")
    token = invite(project, role="annotator", by=ada, now=timezone.now()).token
    assert Client().post(f"/join/{token}/", {"by_provider": "yes"}).status_code == 404


def test_leaving_takes_a_form_of_ours(visit: Visit) -> None:
    assert visit.client.get(BEGIN).status_code == 405
    careful = Client(enforce_csrf_checks=True)
    assert careful.post(BEGIN).status_code == 403
    assert careful.head(BACK).status_code == 405
    assert "openid_under_way" not in careful.session


@pytest.mark.parametrize("algorithm", ["ES256", "RS512", "PS256"])
def test_other_signatures_by_a_private_key_are_taken(visit: Visit, algorithm: str) -> None:
    known(named("ben"), visit.server)
    visit.server.signer = Signer(algorithm=algorithm) if algorithm != "PS256" else _pss()
    assert visit.go().status_code == 302


def _pss() -> Signer:
    class Pss(Signer):
        def public(self) -> dict[str, Any]:
            return {**Signer(number=self.number).public(), "alg": "PS256"}

    return Pss(algorithm="PS256")


def test_the_secret_goes_in_a_form_where_the_provider_wants_that(visit: Visit) -> None:
    known(named("ben"), visit.server)
    visit.server.document = {"token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_post"]}
    assert visit.go().status_code == 302
    assert visit.user_id


def test_new_keys_are_fetched_once_for_a_name_that_is_not_known(visit: Visit) -> None:
    known(named("ben"), visit.server)
    visit.go()
    visit.server.signer = Signer(kid="key-2", number=2)
    again = Visit(visit.server)
    assert again.go().status_code == 302
    assert again.user_id
    assert visit.server.asked.count("/keys") == 2
    visit.server.published = [visit.server.signer.public()]
    visit.server.signer = Signer(kid="key-3", number=1)
    assert Visit(visit.server).go().status_code == 502
    assert visit.server.asked.count("/keys") == 3


def test_a_token_without_a_key_name_is_by_the_only_key(visit: Visit) -> None:
    known(named("ben"), visit.server)
    visit.server.sign = lambda claims: jwt.encode(claims, Signer().key, algorithm="RS256")
    assert visit.go().status_code == 302
    visit.server.published = [Signer().public(), Signer(kid="key-2", number=2).public()]
    cache.clear()
    assert Visit(visit.server).go().status_code == 502


# --- Whose account it is --------------------------------------------------------------------------------------------


def test_somebody_unknown_is_told_how_to_come_in(visit: Visit) -> None:
    # Neither the address nor the name makes it their account.
    User.objects.filter(username="ben").update(email="fay@example.org")
    make_user("fay")
    before = stored()
    refused(visit, visit.go(), 403, "No account here belongs to your account of Example University.")
    assert stored() == before


def test_somebody_unknown_is_given_an_account_where_the_operator_says_so(visit: Visit, configure: Any) -> None:
    configure(sign_up="true")
    make_user("FAY")
    assert visit.go()["Location"] == "/"
    made = named("fay-2")
    assert (made.email, made.has_usable_password(), made.is_staff, made.is_superuser) == (
        "Fay@example.org",
        False,
        False,
        False,
    )
    assert not Membership.objects.filter(user=made).exists()
    assert visit.user_id == str(made.pk)
    # At the provider everything but the subject may change.
    visit.server.person = {"sub": "person-1", "email": "else@example.org", "preferred_username": "else"}
    again = Visit(visit.server)
    again.go()
    assert again.user_id == str(made.pk)
    visit.server.person = {**FAY, "sub": "PERSON-1"}
    other = Visit(visit.server)
    other.go()
    assert other.user_id == str(named("fay-3").pk)


@pytest.mark.parametrize(
    ("said", "username", "email"),
    [
        ({}, "person", ""),
        ({"email": "gus@example.org"}, "person", ""),
        ({"email": "gus@example.org", "email_verified": "true"}, "gus", "gus@example.org"),
        ({"email": "gus@example.org", "email_verified": "false"}, "person", ""),
        ({"email": "no address\0", "email_verified": True}, "person", ""),
        ({"preferred_username": "Gús <b>\0\ud800", "email": 7, "email_verified": True}, "Gúsb", ""),
        ({"preferred_username": "x" * 400}, "x" * 140, ""),
    ],
    ids=str,
)
def test_what_the_provider_says_of_a_name_and_an_address_is_held_to_our_rules(
    visit: Visit, configure: Any, said: dict[str, Any], username: str, email: str
) -> None:
    configure(sign_up="true")
    visit.server.person = {"sub": "person-1", **said}
    visit.server.document = {"userinfo_endpoint": None}
    assert visit.go().status_code == 302
    made = Identity.objects.get().user
    assert (made.username, made.email) == (username, email)


def test_what_a_token_leaves_out_is_asked_for(visit: Visit, configure: Any) -> None:
    configure(sign_up="true")
    visit.server.person = {"sub": "person-1"}
    visit.server.info = {"email": "gus@example.org", "email_verified": True, "iss": "x", "aud": "y"}
    visit.go()
    assert named("gus").email == "gus@example.org"
    before = stored()
    visit.server.info["sub"] = "somebody else"
    other = Visit(visit.server)
    refused(other, other.go(), 502, "cannot use")
    visit.server.answers = {"/userinfo": (500, b"")}
    other = Visit(visit.server)
    refused(other, other.go(), 502, "does not answer right now")
    assert stored() == before


def test_only_verified_addresses_of_the_domains_come_in(visit: Visit, configure: Any) -> None:
    configure(sign_up="true", domains="Example.org, example.net")
    for email, verified in (
        ("fay@evil-example.org", True),
        ("fay@sub.example.org", True),
        ("fay@example.org@evil.org", True),
        ("fay@example.org", False),
        ("", True),
    ):
        visit.server.person = {"sub": "person-1", "email": email, "email_verified": verified}
        before = stored()
        refused(visit, visit.go(), 403, "Only people with a verified mail address of example.net, example.org")
        assert stored() == before
    visit.server.person = dict(FAY)
    assert visit.go().status_code == 302
    # Who is known has to have one too.
    visit.server.person = {"sub": "person-1", "email": "fay@evil.org", "email_verified": True}
    other = Visit(visit.server)
    refused(other, other.go(), 403, "Only people with")


def test_an_address_makes_an_account_theirs_only_where_the_operator_says_so(visit: Visit, configure: Any) -> None:
    ben = named("ben")
    User.objects.filter(pk=ben.pk).update(email="fay@example.org")
    in_already = Client()
    in_already.login(username="ben", password="ben-password")
    link = link_for(Project.objects.get(), ben, by=named("ada"), now=timezone.now())
    configure(link_by_email="true", sign_up="true")
    visit.server.person = {**FAY, "email_verified": False}
    Visit(visit.server).go()
    assert Identity.objects.get().user != ben
    visit.server.person = {**FAY, "sub": "person-2"}
    visit.go()
    assert visit.user_id == str(ben.pk)
    # Whoever made the account may have typed the address of another: they are out.
    assert not Client().login(username="ben", password="ben-password")
    assert in_already.get("/annotate/").status_code == 302
    assert Client().post(f"/sign-in/link/{link}/").status_code == 404
    assert not SignInLink.objects.filter(used_at=None).exists()
    # It has its identity; another person with the address gets none of it.
    visit.server.person = {**FAY, "sub": "person-3"}
    other = Visit(visit.server)
    other.go()
    assert other.user_id not in (None, str(ben.pk))


@pytest.mark.parametrize("who", ["manager", "superuser", "staff", "two", "closed"])
def test_an_address_alone_opens_no_account_that_manages_or_is_not_one(visit: Visit, configure: Any, who: str) -> None:
    configure(link_by_email="true")
    name = "ada" if who == "manager" else "ben"
    User.objects.filter(username__in=[name, *(["cyd"] if who == "two" else [])]).update(
        email="fay@example.org", is_superuser=who == "superuser", is_staff=who == "staff", is_active=who != "closed"
    )
    before = stored()
    refused(visit, visit.go(), 403, "No account here belongs")
    assert stored() == before


def test_a_closed_account_stays_closed(visit: Visit) -> None:
    known(named("ben"), visit.server)
    User.objects.filter(username="ben").update(is_active=False)
    before = stored()
    refused(visit, visit.go(), 403, "Your account here is closed.")
    assert stored() == before


# --- Invitations ----------------------------------------------------------------------------------------------------


def test_an_invitation_is_taken_by_the_provider_with_its_role(visit: Visit, project: Project) -> None:
    made = invite(project, role="expert", by=named("ada"), now=timezone.now())
    path = f"/join/{made.token}/"
    assert "Join with Example University" in visit.client.get(path).text
    address = visit.leave(path, by_provider="yes")
    assert made.token not in json.dumps(visit.client.session["openid_under_way"])
    assert Invitation.objects.get().used == 0
    assert visit.come_back(visit.at_provider(address))["Location"] == "/annotate/helpfulness/"
    member = Membership.objects.get(user__username="fay")
    assert member.role == "expert"
    assert visit.user_id == str(member.user.pk)
    assert Identity.objects.get().user == member.user
    assert Invitation.objects.get().used == 1
    assert Client().get(path).status_code == 404
    # By then they are known, and need no invitation.
    again = Visit(visit.server)
    again.go()
    assert again.user_id == str(member.user.pk)


@pytest.mark.parametrize("over", ["revoked", "expired", "used", "deleted"])
def test_an_invitation_that_ends_meanwhile_makes_nobody(visit: Visit, project: Project, over: str) -> None:
    made = invite(project, role="annotator", by=named("ada"), now=timezone.now())
    back = visit.at_provider(visit.leave(f"/join/{made.token}/", by_provider="yes"))
    if over == "revoked":
        revoke(made.invitation, now=timezone.now())
    elif over == "expired":
        Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    elif over == "used":
        Invitation.objects.update(used=1)
    else:
        Invitation.objects.all().delete()
    before = stored()
    refused(visit, visit.come_back(back), 403, "This invitation is not valid, or not any more.")
    assert stored() == before


def test_a_known_person_joins_another_project_and_a_member_uses_nothing_up(visit: Visit, project: Project) -> None:
    ben = named("ben")
    known(ben, visit.server)
    other = make_project("other", with_people=False)
    made = invite(other, role="manager", by=named("ada"), now=timezone.now())
    assert visit.go(f"/join/{made.token}/", by_provider="yes")["Location"] == "/"
    assert Membership.objects.get(project=other, user=ben).role == "manager"
    again = invite(project, role="expert", by=named("ada"), now=timezone.now())
    member = Visit(visit.server)
    assert member.go(f"/join/{again.token}/", by_provider="yes")["Location"] == "/annotate/helpfulness/"
    assert Membership.objects.get(project=project, user=ben).role == "annotator"
    assert Invitation.objects.get(pk=again.invitation.pk).used == 0


def test_an_open_project_is_joined_by_the_provider(visit: Visit, project: Project) -> None:
    set_sign_up(project, is_open=True)
    back = visit.at_provider(visit.leave("/join/project/helpfulness/", by_provider="yes"))
    assert visit.come_back(back)["Location"] == "/annotate/helpfulness/"
    assert Membership.objects.get(user__username="fay").role == "annotator"
    visit.server.person["sub"] = "person-2"
    other = Visit(visit.server)
    back = other.at_provider(other.leave("/join/project/helpfulness/", by_provider="yes"))
    set_sign_up(project, is_open=False)
    before = stored()
    refused(other, other.come_back(back), 403, "takes nobody by itself")
    assert stored() == before


def test_new_accounts_of_one_address_are_limited(visit: Visit, configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(sign_up="true")
    monkeypatch.setattr("annotation.views.openid.MADE", 2)
    codes = []
    for number in range(3):
        visit.server.person = {"sub": f"person-{number}"}
        codes.append(Visit(visit.server).go().status_code)
    assert codes == [302, 302, 429]
    assert Identity.objects.count() == 2
    visit.server.person = {"sub": "person-0"}
    assert Visit(visit.server).go().status_code == 302  # who is known is not a new account


# --- Groups ---------------------------------------------------------------------------------------------------------


def test_groups_give_roles_and_never_change_or_take_one(visit: Visit, configure: Any, project: Project) -> None:
    roles = {"staff": {"helpfulness": "manager", "nowhere": "expert"}, "students": {"helpfulness": "annotator"}}
    configure(sign_up="true", roles_claim="groups", roles=json.dumps(roles))
    visit.server.person = {**FAY, "groups": ["students", "staff", 7]}
    visit.go()
    fay = named("fay")
    # The first in the configuration's order counts.
    assert [(m.project, m.role) for m in Membership.objects.filter(user=fay)] == [(project, "manager")]
    visit.server.person = {**FAY, "groups": "students"}
    Visit(visit.server).go()
    assert Membership.objects.get(user=fay).role == "manager"
    visit.server.person = {**FAY, "sub": "person-2", "groups": {"staff": True}}
    Visit(visit.server).go()
    assert not Membership.objects.filter(user__username="fay-2").exists()
    # Groups alone make no account.
    configure(roles_claim="groups", roles=json.dumps(roles))
    visit.server.person = {**FAY, "sub": "person-3", "groups": ["staff"]}
    refused(other := Visit(visit.server), other.go(), 403, "No account here belongs")


# --- Connecting an account ------------------------------------------------------------------------------------------


def test_an_account_is_connected_by_its_own_session(visit: Visit) -> None:
    visit.client.login(username="ben", password="ben-password")
    assert ACCOUNT in visit.client.get("/annotate/").text
    assert "Connect your account ben" in visit.client.get(ACCOUNT).text
    assert visit.go(ACCOUNT, act="connect")["Location"] == ACCOUNT
    page = visit.client.get(ACCOUNT).text
    assert "You can sign in by Example University from now on." in page
    assert "Your account ben is connected" in page
    other = Visit(visit.server)
    other.go()
    assert other.user_id == str(named("ben").pk)
    assert visit.go(ACCOUNT, act="connect").status_code == 302  # once more changes nothing
    assert Identity.objects.count() == 1
    assert visit.client.post(ACCOUNT, {"act": "disconnect"})["Location"] == ACCOUNT
    assert not Identity.objects.exists()
    assert visit.client.post(ACCOUNT, {"act": "else"}).status_code == 404


def test_what_is_connected_already_is_not_connected_again(visit: Visit) -> None:
    known(named("cyd"), visit.server)
    visit.client.login(username="ben", password="ben-password")
    before = stored()
    response: Any = visit.go(ACCOUNT, act="connect")
    assert response.status_code == 403
    assert "is connected with another account here" in response.text
    assert stored() == before
    known(named("ben"), visit.server, "person-2")
    visit.server.person = {"sub": "person-3"}
    response = visit.go(ACCOUNT, act="connect")
    assert "Disconnect that one first." in response.text
    assert Identity.objects.count() == 2


def test_a_session_that_changed_hands_connects_nobody(visit: Visit) -> None:
    visit.client.login(username="ben", password="ben-password")
    back = visit.at_provider(visit.leave(ACCOUNT, act="connect"))
    session = visit.client.session
    kept = session["openid_under_way"]
    visit.client.login(username="cyd", password="cyd-password")
    session = visit.client.session
    assert "openid_under_way" not in session
    session["openid_under_way"] = kept
    session.save()
    response: Any = visit.come_back(back)
    assert response.status_code == 400
    assert not Identity.objects.exists()
    assert Visit(visit.server).client.get(ACCOUNT)["Location"].startswith("/sign-in/?next=")


def test_the_last_way_into_an_account_stays(visit: Visit, configure: Any, settings: Settings) -> None:
    configure(sign_up="true")
    visit.go()
    response = visit.client.post(ACCOUNT, {"act": "disconnect"})
    assert response.status_code == 409
    assert "is the only way into it" in response.text
    assert Identity.objects.count() == 1
    settings.MAIL_IS_SENT = True
    assert visit.client.post(ACCOUNT, {"act": "disconnect"}).status_code == 302


# --- The second step ------------------------------------------------------------------------------------------------


def test_the_second_step_is_asked_unless_the_operator_trusts_the_providers(
    visit: Visit, configure: Any, settings: Settings
) -> None:
    known(named("ada"), visit.server)
    visit.server.claims = {"amr": ["pwd", "otp"], "acr": "gold"}
    app, _codes = with_second_step(named("ada"))
    assert visit.go(next="/projects/helpfulness/")["Location"] == "/sign-in/code/"
    assert visit.user_id is None
    response = visit.client.post("/sign-in/code/", {"code": app.now()})
    assert response["Location"] == "/projects/helpfulness/"
    for methods, location in (("hwk, phr", "/sign-in/code/"), ("hwk,otp", "/"), ("gold", "/"), ("", "/sign-in/code/")):
        configure(trusted_methods=methods)
        assert Visit(visit.server).go()["Location"] == location, methods
    visit.server.claims = {}
    configure(trusted_methods="otp")
    assert Visit(visit.server).go()["Location"] == "/sign-in/code/"


def test_a_trusted_second_step_is_enough_for_a_manager_in_that_session(
    visit: Visit, configure: Any, settings: Settings
) -> None:
    settings.REQUIRE_SECOND_STEP = True
    known(named("ada"), visit.server)
    visit.server.claims = {"amr": ["mfa"]}
    visit.go()
    assert visit.client.get("/projects/helpfulness/")["Location"] == "/account/second-step/"
    configure(trusted_methods="mfa")
    trusted = Visit(visit.server)
    trusted.go()
    assert trusted.client.get("/projects/helpfulness/").status_code == 200
    # The same session, once it comes by a password, has proven nothing.
    visit.server.claims = {}
    trusted.go()
    assert trusted.client.get("/projects/helpfulness/")["Location"] == "/account/second-step/"


# --- Races ----------------------------------------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("rounds", "lost"), [(matching.ROUNDS, 0), (1, 5)], ids=["as it is", "one look"])
def test_of_many_first_sign_ins_of_one_person_one_account_comes(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, rounds: int, lost: int
) -> None:
    settings.OIDC = configured("https://id.example.org", sign_up="true")
    provider = configuring.provider()
    assert provider is not None
    person = Person("person-1", "fay", "", frozenset(), frozenset())
    monkeypatch.setattr(matching, "ROUNDS", rounds)
    make, all_looked = matching._make, threading.Barrier(6, timeout=30)

    def make_at_once(person: Person) -> User:
        # All six have seen that there is nobody before the first makes an account.
        all_looked.wait()
        return make(person)

    monkeypatch.setattr(matching, "_make", make_at_once)
    entered: list[Any] = []
    errors: list[OpenIDError] = []

    def reach() -> None:
        try:
            entered.append(matching.enter(provider, person, now=timezone.now()).user.pk)
        except OpenIDError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=reach) for _number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(entered), len(errors)) == (6 - lost, lost)
    assert len(set(entered)) == 1
    assert User.objects.count() == Identity.objects.count() == 1
