"""Adding people to a project."""

import secrets
from typing import NamedTuple

from django.db import transaction

from annotation.errors import TiebreakError
from annotation.models import Membership, Project, Role, User

# 96 bits: long enough that nobody guesses it, short enough to read out.
PASSWORD_BYTES = 12


class DashboardError(TiebreakError):
    """A manager asked for something that cannot be done as it was asked."""


class Added(NamedTuple):
    """A new member; `password` is set only where an account was made, and is kept nowhere."""

    membership: Membership
    password: str


def add_member(project: Project, username: str, *, role: str) -> Added:
    """Make a person a member, with an account and a random password if the name has none yet.

    Raises `DashboardError` for a name that cannot be one, an unknown role and somebody who is a member already.
    """
    username = User.normalize_username(username.strip())
    if role not in Role.values:
        raise DashboardError(f"There is no role {role!r}; choose one of {', '.join(Role.values)}.")
    if not username or len(username) > 150 or any(not (c.isalnum() or c in "@.+-_") for c in username):
        raise DashboardError("A user name has 1 to 150 letters, digits or the signs @ . + - _ and no spaces.")
    with transaction.atomic():
        user, is_new = User.objects.get_or_create(username=username)
        password = secrets.token_urlsafe(PASSWORD_BYTES) if is_new else ""
        if is_new:
            user.set_password(password)
            user.save(update_fields=["password"])
        membership, joined = Membership.objects.get_or_create(project=project, user=user, defaults={"role": role})
        if not joined:
            raise DashboardError(f"{username} is in this project already, as {membership.get_role_display().lower()}.")
    return Added(membership, password)
