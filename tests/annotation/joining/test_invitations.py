"""Invitations and open sign-up: who has a valid link joins, once each, and nobody else does."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from annotation.joining.errors import JoiningError
from annotation.joining.invitations import Invited, invite, join_by, revoke, set_sign_up
from annotation.models import Invitation, Membership, Project, User
from tests.builders import make_project, make_user

ACCOUNT = {"username": "fay", "password": "four plain words here", "email": ""}


@pytest.fixture
def project(db: None) -> Project:
    return make_project()


def invited(project: Project, **values: Any) -> Invited:
    ada = User.objects.get(username="ada")
    return invite(project, **{"role": "annotator", "by": ada, "now": timezone.now(), **values})


def test_an_invitation_makes_an_account_a_member_and_signs_in(client: Client, project: Project) -> None:
    token = invited(project, role="expert").token
    page = client.get(f"/join/{token}/")
    assert "Helpfulness study" in page.text
    assert "as an expert" in page.text
    response = client.post(f"/join/{token}/", ACCOUNT)
    assert response["Location"] == "/annotate/helpfulness/"
    member = Membership.objects.get(user__username="fay")
    assert (member.role, member.project) == ("expert", project)
    assert client.session["_auth_user_id"] == str(member.user.pk)
    assert Client().login(username="fay", password=ACCOUNT["password"])
    assert Client().get(f"/join/{token}/").status_code == 404  # it was for one


def test_only_a_hash_of_the_token_is_kept(project: Project) -> None:
    made = invited(project)
    stored = str(Invitation.objects.values().get())
    assert made.token not in stored
    assert len(made.token) == 43


def test_an_account_that_is_signed_in_joins_by_a_click(client: Client, project: Project) -> None:
    client.login(username="eve", password="eve-password")
    token = invited(project, role="manager").token
    assert "Join as eve" in client.get(f"/join/{token}/").text
    assert not Membership.objects.filter(user__username="eve").exists()  # to look joins nobody
    assert client.post(f"/join/{token}/")["Location"] == "/"
    assert client.get("/projects/helpfulness/").status_code == 200


@pytest.mark.parametrize("over", ["revoked", "expired", "used", "unknown"])
def test_what_is_over_and_what_never_was_look_alike(client: Client, project: Project, over: str) -> None:
    made = invited(project)
    if over == "revoked":
        assert revoke(made.invitation, now=timezone.now())
        assert not revoke(made.invitation, now=timezone.now())
    elif over == "expired":
        Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    elif over == "used":
        Invitation.objects.update(used=1)
    token = "unknown" if over == "unknown" else made.token
    page, refused = client.get(f"/join/{token}/"), client.post(f"/join/{token}/", ACCOUNT)
    assert (page.status_code, refused.status_code) == (404, 404)
    assert "not valid, or not any more" in page.text
    assert "Helpfulness" not in page.text
    assert not User.objects.filter(username="fay").exists()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"username": "BEN"}, "This name is taken"),
        ({"username": "two words"}, "Enter a valid username"),
        ({"username": ""}, "This field is required"),
        ({"password": "short"}, "too short"),
        ({"password": "password1"}, "too common"),
        ({"username": "fayfayfay", "password": "fayfayfay"}, "too similar"),
        ({"email": "no address"}, "valid email address"),
    ],
)
def test_an_account_that_cannot_be_uses_nothing_up(
    client: Client, project: Project, changed: dict[str, str], sentence: str
) -> None:
    token = invited(project).token
    before = User.objects.count()
    response = client.post(f"/join/{token}/", {**ACCOUNT, **changed})
    assert response.status_code == 422
    assert sentence in response.text
    assert ACCOUNT["password"] not in response.text
    assert User.objects.count() == before
    assert Invitation.objects.get().used == 0


def test_a_member_does_not_use_an_invitation_up(client: Client, project: Project) -> None:
    client.login(username="ben", password="ben-password")
    token = invited(project, role="manager").token
    response = client.post(f"/join/{token}/")
    assert response.status_code == 409
    assert "You are in this project already." in response.text
    assert Invitation.objects.get().used == 0
    assert Membership.objects.get(user__username="ben").role == "annotator"


@pytest.mark.parametrize(
    "values", [{"role": "owner"}, {"limit": 0}, {"limit": 1001}, {"days": 91}, {"role": "manager", "limit": 2}], ids=str
)
def test_an_invitation_that_cannot_be_is_refused(project: Project, values: dict[str, Any]) -> None:
    with pytest.raises(JoiningError):
        invited(project, **values)


def test_open_sign_up_is_there_only_while_a_manager_opened_it(client: Client, project: Project) -> None:
    assert client.get("/join/project/helpfulness/").status_code == 404
    assert client.post("/join/project/helpfulness/", ACCOUNT).status_code == 404
    set_sign_up(project, is_open=True)
    assert client.get("/join/project/helpfulness/").status_code == 200
    # What a form adds changes nothing: whoever comes answers.
    client.post("/join/project/helpfulness/", {**ACCOUNT, "role": "manager", "is_superuser": "1", "is_staff": "1"})
    member = Membership.objects.get(user__username="fay")
    assert (member.role, member.user.is_superuser, member.user.is_staff) == ("annotator", False, False)
    set_sign_up(project, is_open=False)
    assert Client().get("/join/project/helpfulness/").status_code == 404


def test_new_accounts_of_one_address_are_limited(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annotation.views.joining.MADE", 3)
    set_sign_up(project, is_open=True)
    codes = [
        Client().post("/join/project/helpfulness/", {**ACCOUNT, "username": f"fay{number}"}).status_code
        for number in range(4)
    ]
    assert codes == [302] * 3 + [429]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_of_many_who_reach_for_the_last_use_one_joins() -> None:
    project = make_project()
    made = invited(project, limit=2)
    people = [make_user(f"person{number}") for number in range(8)]
    start, joined, refused = threading.Barrier(8), [], []

    def reach(user: User) -> None:
        start.wait()
        try:
            joined.append(join_by(made.invitation, user, now=timezone.now()))
        except JoiningError as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=reach, args=[user]) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(joined), len(refused)) == (2, 6)
    assert Membership.objects.filter(user__in=people).count() == Invitation.objects.get().used == 2
