"""Invitations and open sign-up: who may join a project, and how somebody becomes a member."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from annotation.joining.errors import JoiningError, NotInvited
from annotation.joining.tokens import digest_of, new_token
from annotation.models import Invitation, Membership, Project, Role, User

MOST_DAYS = 90
MOST_PEOPLE = 1000


class Invited(NamedTuple):
    """A new invitation, and its token, which is kept nowhere."""

    invitation: Invitation
    token: str


class AccountInvalid(JoiningError):
    """An account that cannot be made: what is wrong, by field."""

    def __init__(self, problems: dict[str, list[str]]) -> None:
        super().__init__(" ".join(said for lines in problems.values() for said in lines))
        self.problems = problems


def invite(
    project: Project, *, role: str, limit: int = 1, days: int = 7, note: str = "", by: User | None, now: datetime
) -> Invited:
    """Make an invitation for so many people and so many days. Raises `JoiningError`."""
    if role not in Role.values:
        raise JoiningError(f"There is no role {role!r}; choose one of {', '.join(Role.values)}.")
    if not 1 <= limit <= MOST_PEOPLE or not 1 <= days <= MOST_DAYS:
        raise JoiningError(f"An invitation is for 1 to {MOST_PEOPLE} people and 1 to {MOST_DAYS} days.")
    if role == Role.MANAGER and limit > 1:
        raise JoiningError("An invitation to manage is for one person: whoever has the link could do everything.")
    token = new_token()
    invitation = Invitation.objects.create(
        project=project,
        role=role,
        limit=limit,
        note=note.strip()[:120],
        digest=token.digest,
        expires_at=now + timedelta(days=days),
        created_by=by,
    )
    return Invited(invitation, token.text)


def revoke(invitation: Invitation, *, now: datetime) -> bool:
    """Withdraw an invitation: nobody joins by it from here on. Says whether that changed anything."""
    return bool(Invitation.objects.filter(pk=invitation.pk, revoked_at=None).update(revoked_at=now))


def invitation_by(token: str, *, now: datetime) -> Invitation:
    """Return the invitation of a link. Raises `NotInvited`."""
    found = Invitation.objects.valid(now).select_related("project").filter(digest=digest_of(token)).first()
    if found is None:
        raise NotInvited(_("This invitation is not valid, or not any more. Ask who gave it to you for another."))
    return found


def make_account(username: str, password: str, *, email: str = "") -> User:
    """Make an account. Raises `AccountInvalid` in words, by field."""
    user = User(username=User.normalize_username(username.strip()), email=User.objects.normalize_email(email.strip()))
    problems: dict[str, list[str]] = {}
    try:
        user.clean_fields(exclude=["password"])
    except ValidationError as error:
        problems = dict(error.message_dict)
    if "username" not in problems and User.objects.filter(username__iexact=user.username).exists():
        problems["username"] = [_("This name is taken. Choose another, or sign in if it is yours.")]
    try:
        validate_password(password, user)
    except ValidationError as error:
        problems["password"] = list(error.messages)
    if problems:
        raise AccountInvalid(problems)
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError as error:
        raise AccountInvalid(
            {"username": [_("This name is taken. Choose another, or sign in if it is yours.")]}
        ) from error
    return user


def join_by(invitation: Invitation, user: User, *, now: datetime) -> Membership:
    """Make somebody a member by an invitation, and count it. Raises `NotInvited`, and `JoiningError` for a member.

    One conditional update and one insert in a transaction: of two who reach for the last use one joins.
    """
    with transaction.atomic():
        membership = _member(invitation.project, user, invitation.role)
        if not Invitation.objects.valid(now).filter(pk=invitation.pk).update(used=F("used") + 1):
            raise NotInvited(_("This invitation is not valid, or not any more. Ask who gave it to you for another."))
    return membership


def join_open(project: Project, user: User) -> Membership:
    """Make somebody an annotator of a project whose manager opened it to all. Raises `NotInvited`, `JoiningError`."""
    with transaction.atomic():
        if not Project.objects.select_for_update(no_key=True).filter(pk=project.pk, sign_up_open=True).exists():
            raise NotInvited(_("This project takes nobody by itself. Ask its manager for an invitation."))
        return _member(project, user, Role.ANNOTATOR)


def _member(project: Project, user: User, role: str) -> Membership:
    membership, joined = Membership.objects.get_or_create(project=project, user=user, defaults={"role": role})
    if not joined:
        raise JoiningError(_("You are in this project already."))
    return membership


def set_sign_up(project: Project, *, is_open: bool) -> None:
    """Open a project to whoever comes, as annotators, or close it again."""
    Project.objects.filter(pk=project.pk).update(sign_up_open=is_open)
    project.sign_up_open = is_open
