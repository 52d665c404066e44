"""Who is signed in: Django's sessions and accounts, read by prepared queries."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from annotation.models import User
from annotation.sessions import SessionStore

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
