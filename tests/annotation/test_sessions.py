"""Who is signed in: Django's sessions and accounts, read by prepared queries."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from annotation.models import Membership, User
from annotation.sessions import SessionStore, UserBackend, at_hand
from tests.builders import make_person, make_project

pytestmark = pytest.mark.django_db


@pytest.fixture
def signed_in(client: Client) -> Client:
    client.force_login(User.objects.create_user("ada", password="a long pass phrase"))
    assert is_known(client)
    return client


def is_known(client: Client) -> bool:
    """Say whether the server takes this browser for somebody's."""
    return client.get("/annotate/").status_code == 200


def test_session_ends_with_its_time(signed_in: Client) -> None:
    Session.objects.update(expire_date=timezone.now() + timedelta(minutes=1))
    assert is_known(signed_in)
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert not is_known(signed_in)


def test_session_ends_with_its_row(signed_in: Client) -> None:
    Session.objects.all().delete()
    assert not is_known(signed_in)


@pytest.mark.parametrize("change", ["closed", "gone", "new password"])
def test_session_ends_with_its_account(signed_in: Client, change: str) -> None:
    user = User.objects.get()
    if change == "closed":
        user.is_active = False
        user.save()
    elif change == "gone":
        user.delete()
    else:
        user.set_password("another pass phrase")
        user.save()
    assert not is_known(signed_in)


@pytest.mark.parametrize("key", ["", "short", "x" * 32, "é" * 32, "' or 1=1 --          "])
def test_unknown_key_is_nobody(client: Client, key: str) -> None:
    client.cookies["sessionid"] = key
    assert not is_known(client)


def test_unknown_session_gets_a_key_of_the_servers_own() -> None:
    session = SessionStore("chosen-by-somebody-else-12345678")
    assert dict(session.items()) == {}
    session["user"] = "ada"
    session.save()
    assert session.session_key not in (None, "chosen-by-somebody-else-12345678")
    assert SessionStore(session.session_key)["user"] == "ada"


def test_row_at_hand_spares_the_query_but_not_the_check(signed_in: Client, client: Client) -> None:
    ada = User.objects.get()
    bob = User.objects.create_user("bob", password="another pass phrase")
    with CaptureQueriesContext(connection) as queries, at_hand(ada):
        assert UserBackend().get_user(str(ada.pk)) == ada
    assert not queries
    with at_hand(ada):
        assert UserBackend().get_user(str(bob.pk)) == bob
        ada.is_active = False
        assert UserBackend().get_user(str(ada.pk)) is None
    # Out of the block everything is asked again.
    known = UserBackend().get_user(str(ada.pk))
    assert known is not None
    assert known.is_active


def test_session_from_before_a_new_password_opens_no_project(client: Client) -> None:
    project = make_project()
    user = make_person(project, "ada").user
    assert user is not None
    client.force_login(user)
    address = f"/annotate/{project.slug}/"
    assert client.get(address).status_code == 200
    user.set_password("another pass phrase")
    user.save()
    assert client.get(address).status_code == 302
    client.force_login(user)
    Membership.objects.all().delete()
    assert client.get(address).status_code == 404
