"""The pages that people see who come from outside: from a crowd platform, by an invitation, or by a link."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Protocol

import pyotp
from django.core.cache import cache
from django.test import Client, override_settings
from django.utils import timezone

from annotation.crowd.studies import ProlificTerms, set_up_study
from annotation.joining import second_step
from annotation.joining.invitations import invite, set_sign_up
from annotation.joining.links import link_for
from annotation.joining.throttling import ADDRESS_TRIES
from annotation.models import CompletionCode, CrowdStudy, Invitation, Project, Rater, Submission, Throttle, User
from tests.annotation.joining.provider_visits import Visit, configured
from tests.builders import make_user
from tests.oidc_server import OIDCServer

MTURK = {"assignmentId": "1", "hitId": "2", "workerId": "3", "turkSubmitTo": "https://www.mturk.com"}


class Visits(Protocol):
    """A browser that keeps what it got."""

    client: Client

    def get(self, name: str, path: str, **headers: str) -> str: ...

    def post(self, name: str, path: str, data: dict[str, Any] | None = None, **headers: str) -> str: ...


def visit_crowd(browser: Callable[[], Visits], project: Project) -> None:
    """Arrive from each platform, wrongly and rightly, and come to every end."""
    asked = {"id_parameter": "p", "visit_parameter": "v", "return_url": "https://connect.cloudresearch.com/{code}"}
    study = set_up_study(project, platform="generic", name="1", answers_wanted=1, generic=asked)
    here = f"/study/{study.pk}/"
    stranger = browser()
    stranger.get("arriving as nobody", here)
    guest = browser()
    guest.client.get(f"{here}?p=1&v=1")
    submission = Submission.objects.get(study=study)
    Rater.objects.filter(pk=submission.guest.rater_id).update(name="\uc790")
    guest.get("a guest's screen", f"/annotate/{project.slug}/")
    stranger.get("arriving as another", f"{here}?p=2&v=1")
    CrowdStudy.objects.filter(pk=study.pk).update(state="closed")
    stranger.get("arriving at a closed study", f"{here}?p=3&v=3")
    Submission.objects.filter(pk=submission.pk).update(state="returned")
    stranger.get("arriving after returning", f"{here}?p=1&v=1")
    Submission.objects.filter(pk=submission.pk).update(state="active")
    held = guest.client.get(f"/annotate/{project.slug}/").context["screen"].assignment_id
    guest.post("a guest's last answer", f"/annotate/{project.slug}/{held}/submit/", {"answer": "tie"})
    guest.post("the end of a visit", f"/annotate/{project.slug}/end/")
    terms = ProlificTerms(minutes=10, reward=Decimal(1), places=1)
    there = set_up_study(project, platform="prolific", name="2", arrival_check="api", terms=terms)
    prolific = f"/study/{there.pk}/"
    stranger.get("a study that is not ready", prolific)
    CrowdStudy.objects.filter(pk=there.pk).update(external_id="9")
    stranger.get("Prolific, as nobody", prolific)
    stranger.get("Prolific, another study", f"{prolific}?PROLIFIC_PID=1&SESSION_ID=2&STUDY_ID=3")
    stranger.get("Prolific, forged", f"{prolific}?prolific_token=1")
    stranger.get("Prolific, not to be asked", f"{prolific}?PROLIFIC_PID=1&SESSION_ID=2&STUDY_ID=9")
    for which in (study, there):
        for kind in CompletionCode.Kind.values:
            Submission.objects.filter(pk=submission.pk).update(study=which, ended_as=kind)
            guest.get(f"an end: {kind} of {which}", f"/annotate/{project.slug}/end/")
    CrowdStudy.objects.filter(pk=study.pk).update(settings={**study.settings, "return_url": ""})
    Submission.objects.filter(pk=submission.pk).update(study=study, ended_as="completed")
    guest.get("an end with a code to copy", f"/annotate/{project.slug}/end/")
    visit_mturk(browser(), project)


def visit_mturk(visits: Visits, project: Project) -> None:
    turk, other = (set_up_study(project, platform="mturk", name=name) for name in ("3", "4"))
    CrowdStudy.objects.filter(pk=other.pk).update(answers_wanted=1)
    visits.get("a preview", f"/study/{turk.pk}/mturk/")
    visits.get("a preview of one", f"/study/{other.pk}/mturk/")
    query = "&".join(f"{name}={value}" for name, value in MTURK.items())
    accepted = visits.get("an accepted task", f"/study/{turk.pk}/mturk/?{query}")
    visits.get("a frame of nobody", f"/study/{turk.pk}/mturk/?assignmentId=1")
    visits.get("an old link", f"/study/{turk.pk}/?arrival=1")
    token = accepted.split("?arrival=", 1)[1].split('"', 1)[0]
    visits.get("a link of another study", f"/study/{other.pk}/?arrival={token}")


def visit_joining(browser: Callable[[], Visits], signed_in: Visits, project: Project) -> None:
    """Join by invitations and by open sign-up, and sign in by a link and with a second step."""
    now, ada, reader = timezone.now(), User.objects.get(username="ada"), User.objects.get(username="ben")
    stranger = browser()
    stranger.get("an invitation that is none", "/join/1/")
    for role in ("annotator", "expert", "manager"):
        token = invite(project, role=role, by=ada, now=now).token
        stranger.get(f"an invitation as {role}", f"/join/{token}/")
    stranger.post("an account that cannot be", f"/join/{token}/", {"username": "ben", "password": "1234567z"})
    signed_in.get("an invitation for who is signed in", f"/join/{token}/")
    signed_in.post("joining twice", f"/join/{token}/")
    set_sign_up(project, is_open=True)
    signed_in.get("open sign-up", f"/join/project/{project.slug}/")
    fay = make_user("fay", interface=reader.interface)
    joining = browser()
    joining.client.force_login(fay)
    visit_provider(browser, signed_in, project)
    joining.post("joining", f"/join/project/{project.slug}/")
    Invitation.objects.all().delete()
    link = link_for(project, fay, by=ada, now=now)
    stranger.get("a link to sign in", f"/sign-in/link/{link}/")
    stranger.get("a link that is none", "/sign-in/link/1/")
    visit_second_step(browser(), fay)
    stranger.get("no mail", "/sign-in/link/")
    with override_settings(MAIL_IS_SENT=True):
        stranger.get("asking for a link", "/sign-in/link/")
        stranger.post("having asked for a link", "/sign-in/link/", {"named": "1"})
        stranger.get("signing in where mail is sent", "/sign-in/")
    signed_in.get("an end for no guest", f"/annotate/{project.slug}/end/")
    Throttle.objects.update(tries=ADDRESS_TRIES)
    stranger.post("trying too often", "/sign-in/", {"username": "ben", "password": "1"})


def visit_second_step(visits: Visits, user: User) -> None:
    app = pyotp.TOTP(second_step.begin(user).secret)
    second_step.confirm(user, app.now(), now=timezone.now())
    visits.post("the second step", "/sign-in/", {"username": user.username, "password": f"{user.username}-password"})
    visits.post("a wrong code", "/sign-in/code/", {"code": "1"})


def visit_provider(browser: Callable[[], Visits], signed_in: Visits, project: Project) -> None:
    """Leave for an OpenID Connect provider and come back in every way; its name has no letters."""
    cache.clear()
    with OIDCServer() as server, override_settings(OIDC=configured(server.issuer, label="1")):
        stranger = browser()
        stranger.get("signing in where there is a provider", "/sign-in/")
        stranger.get("joining where there is a provider", f"/join/project/{project.slug}/")
        there = Visit(server, stranger.client)
        stranger.post("leaving", "/sign-in/openid/")
        stranger.get("coming back from nowhere", "/sign-in/openid/return/")
        stranger.get("coming back unknown", there.at_provider(there.leave()))
        for denies in ("access_denied", "server_error", "else"):
            server.denies = denies
            stranger.get(f"coming back with {denies}", there.at_provider(there.leave()))
        server.denies = ""
        server.claims = {"exp": 1}
        stranger.get("coming back late", there.at_provider(there.leave()))
        server.claims = {"aud": "1"}
        stranger.get("coming back for another", there.at_provider(there.leave()))
        server.claims = {}
        server.answers = {"/token": (400, b'{"error": "invalid_grant"}')}
        stranger.get("coming back again", there.at_provider(there.leave()))
        server.answers = {"/token": (500, b"")}
        stranger.get("coming back at a bad time", there.at_provider(there.leave()))
        server.answers = {}
        account, mine = "/sign-in/openid/account/", Visit(server, signed_in.client)
        signed_in.get("projects where there is a provider", "/annotate/")
        signed_in.get("an account that is not connected", account)
        signed_in.get("connecting", mine.at_provider(mine.leave(account, act="connect")))
        server.person = {"sub": "person-2", "preferred_username": "fay"}
        signed_in.get("connecting another", mine.at_provider(mine.leave(account, act="connect")))
        signed_in.post("disconnecting", account, {"act": "disconnect"})
        there.go(f"/join/project/{project.slug}/", by_provider="yes")
        signed_in.get("connecting somebody else's", mine.at_provider(mine.leave(account, act="connect")))
        stranger.post("disconnecting the last way in", account, {"act": "disconnect"})
        back = there.at_provider(there.leave(account, act="connect"))
        session = stranger.client.session
        del session["_auth_user_id"]
        session.save()
        stranger.get("signed out meanwhile", back)
        User.objects.filter(identities__subject="person-2").update(is_active=False)
        stranger.client.logout()
        stranger.get("a closed account", there.at_provider(there.leave()))
        with override_settings(OIDC=configured(server.issuer, label="1", domains="1.11")):
            stranger.get("an address of elsewhere", there.at_provider(there.leave()))
