"""Links that sign somebody in, once: made by a manager to hand over, or mailed to who asks for one."""

from datetime import datetime, timedelta

from django.core.mail import send_mail
from django.db import transaction
from django.db.models import Q
from django.urls import reverse
from django.utils import translation
from django.utils.translation import gettext as _

from annotation.joining.errors import JoiningError, NotInvited
from annotation.joining.tokens import digest_of, new_token
from annotation.models import Membership, Project, Role, SignInLink, User
from annotation.publishing import wake

MAILED_FOR = timedelta(minutes=15)
HANDED_OVER_FOR = timedelta(hours=24)


def link_for(project: Project, user: User, *, by: User, now: datetime) -> str:
    """Return the token of a link that a manager hands to a member. Raises `JoiningError`.

    Whoever has it is that person, so it is made only for somebody who is in no project but those that the manager
    manages, and manages none.
    """
    managed = Project.objects.managed_by(by)
    theirs = Membership.objects.filter(user=user)
    if not theirs.filter(project=project).exists():
        raise JoiningError("There is no such member in this project.")
    if user.is_superuser or user.is_staff or theirs.filter(role=Role.MANAGER).exists():
        raise JoiningError(f"{user} manages a project; only they can ask for a link, by mail.")
    if theirs.exclude(project__in=managed).exists():
        raise JoiningError(f"{user} is also in projects that you do not manage; only they can ask for a link, by mail.")
    return _make(user, for_=HANDED_OVER_FOR, by=by, now=now)


def ask_for_link(named: str, *, site: str) -> None:
    """Have a worker mail a link to who is named, if there is such a person: the same work here either way.

    Raises `JoiningError` where no worker can be told.
    """
    told = {"named": named, "site": site, "language": translation.get_language()}
    if not wake(["annotation.tasks.mail_link"], told):
        raise JoiningError(_("No mail can be sent right now. Try again in a minute."))


def mail_link(named: str, *, site: str, now: datetime) -> bool:
    """Mail a link to who is named by user name or address; say whether there is such a person with an address."""
    by_name = User.objects.filter(username=named, is_active=True).exclude(email="")
    user = by_name.first()
    if user is None and "@" in named:
        by_address = list(User.objects.filter(email__iexact=named, is_active=True)[:2])
        # An address that two accounts gave is nobody's to sign in by.
        user = by_address[0] if len(by_address) == 1 else None
    if user is None:
        return False
    link = site + reverse("sign_in_by_link", args=[_make(user, for_=MAILED_FOR, by=None, now=now)])
    body = _(
        "Hello %(name)s,\n\nthis link signs you in, once, within a quarter of an hour:\n\n%(link)s\n\n"
        "If you did not ask for it, do nothing: without the link nobody gets in."
    ) % {"name": user.get_username(), "link": link}
    send_mail(_("Your link to sign in"), body, None, [user.email])
    return True


def _make(user: User, *, for_: timedelta, by: User | None, now: datetime) -> str:
    token = new_token()
    SignInLink.objects.create(user=user, digest=token.digest, expires_at=now + for_, created_by=by)
    return token.text


def whose(token: str, *, now: datetime) -> User:
    """Return whom a link would sign in, without using it: programs that look at mails open it too. Raises."""
    return _valid(token, now).user


def use_link(token: str, *, now: datetime) -> User:
    """Use a link and return whom it signs in; their other links end with it. Raises `NotInvited`.

    One conditional update: of two clicks one counts.
    """
    with transaction.atomic():
        link = _valid(token, now)
        if not SignInLink.objects.filter(pk=link.pk, used_at=None).update(used_at=now):
            raise NotInvited(_("This link is not valid, or not any more. Ask for another."))
        SignInLink.objects.filter(user=link.user, used_at=None).update(used_at=now)
    return link.user


def forget_old(now: datetime) -> int:
    """Delete links that open nothing any more; return how many."""
    return SignInLink.objects.filter(Q(expires_at__lte=now) | Q(used_at__isnull=False)).delete()[0]


def _valid(token: str, now: datetime) -> SignInLink:
    links = SignInLink.objects.select_related("user").filter(used_at=None, expires_at__gt=now, user__is_active=True)
    link = links.filter(digest=digest_of(token)).first()
    if link is None:
        raise NotInvited(_("This link is not valid, or not any more. Ask for another."))
    return link
