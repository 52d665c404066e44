"""The manager's page for joining: links are shown once, and what is not theirs is not touched."""

import re

import pytest
from django.test import Client
from django.utils import timezone

from annotation.joining.invitations import invite
from annotation.models import Invitation, Project, SignInLink, User
from tests.builders import make_project

HERE = "/projects/helpfulness/people/joining/"
INVITE = {"act": "invite", "role": "annotator", "limit": "3", "days": "7", "note": "the lab"}


def link_in(text: str) -> str:
    found = re.search(r'id="link" value="http://testserver([^"]+)"', text)
    assert found is not None
    return found[1]


def test_an_invitation_is_made_shown_once_and_withdrawn(ada: Client, project: Project) -> None:
    assert HERE in ada.get("/projects/helpfulness/people/").text
    page = ada.post(HERE, INVITE)
    link = link_in(page.text)
    assert "no-store" in page["Cache-Control"]
    assert Client().get(link).status_code == 200
    listed = ada.get(HERE).text
    assert link not in listed
    assert "the lab" in listed
    assert "0 of 3" in listed
    invitation = Invitation.objects.get()
    assert invitation.created_by == User.objects.get(username="ada")
    ada.post(HERE, {"act": "revoke", "invitation": invitation.pk})
    assert "withdrawn" in ada.get(HERE).text
    assert Client().get(link).status_code == 404


@pytest.mark.parametrize(
    "changed",
    [{"role": "owner"}, {"limit": "0"}, {"limit": "1001"}, {"days": "91"}, {"role": "manager"}, {"note": "x" * 121}],
)
def test_an_invitation_that_cannot_be_says_why(ada: Client, project: Project, changed: dict[str, str]) -> None:
    assert ada.post(HERE, {**INVITE, **changed}).status_code == 422
    assert not Invitation.objects.exists()


def test_sign_up_is_opened_and_closed(ada: Client, project: Project) -> None:
    ada.post(HERE, {"act": "sign_up", "open": "yes"})
    assert "http://testserver/join/project/helpfulness/" in ada.get(HERE).text
    assert Client().get("/join/project/helpfulness/").status_code == 200
    ada.post(HERE, {"act": "sign_up", "open": "no"})
    assert Client().get("/join/project/helpfulness/").status_code == 404


def test_a_link_to_sign_in_is_shown_once_and_works(ada: Client, project: Project) -> None:
    ben = User.objects.get(username="ben")
    page = ada.post(HERE, {"act": "link", "member": ben.pk})
    assert Client().post(link_in(page.text)).status_code == 302
    eve = User.objects.get(username="eve")
    for member in (eve.pk, "x", "00000000-0000-0000-0000-000000000000"):
        refused = ada.post(HERE, {"act": "link", "member": member}, follow=True)
        assert "notice--error" in refused.text
    assert SignInLink.objects.count() == 1


def test_another_projects_invitation_is_not_withdrawn(ada: Client, project: Project) -> None:
    other = make_project("other", with_people=False)
    theirs = invite(other, role="annotator", by=None, now=timezone.now()).invitation
    for named in (theirs.pk, "x"):
        ada.post(HERE, {"act": "revoke", "invitation": named})
    theirs.refresh_from_db()
    assert theirs.revoked_at is None
    assert ada.post(HERE, {"act": "delete"}).status_code == 404
