"""Whose account the provider vouches for: by its name for them (issuer and subject), never by address alone."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from annotation.joining.errors import JoiningError
from annotation.joining.openid.configuring import Provider
from annotation.joining.openid.errors import Refused
from annotation.joining.openid.verifying import Person
from annotation.models import Identity, Membership, Project, Role, SignInLink, User

# Two sign-ins of one new person at the same moment, or two new people of one name: whoever came second looks again.
ROUNDS = 3
LONGEST_NAME = 140


class WayIn(NamedTuple):
    """How somebody becomes a member of a project: by an invitation, or since it is open to all."""

    project: Project
    become: Callable[[User], Membership]


class Entered(NamedTuple):
    """Who came in, and their membership where they came to join a project."""

    user: User
    membership: Membership | None


def check_admitted(provider: Provider, person: Person) -> None:
    """Raise `Refused` for who has no verified address of a domain that the operator allows, where some are named."""
    if provider.domains and person.email.rpartition("@")[2].lower() not in provider.domains:
        raise Refused(
            _(
                "Only people with a verified mail address of %(domains)s sign in by %(provider)s here. "
                "Choose another account there, or sign in another way."
            )
            % {"domains": ", ".join(sorted(provider.domains)), "provider": provider.label},
            why="the domain is not allowed",
        )


def is_known(provider: Provider, person: Person) -> bool:
    """Say whether this person has an account, or would be given one that is there."""
    return _identity(provider, person) is not None or _by_email(provider, person) is not None


def enter(provider: Provider, person: Person, *, way_in: WayIn | None = None, now: datetime) -> Entered:
    """Return whom a person is here, with a new account where they were invited or the operator lets anybody in.

    All of it or nothing: the account, its identity, its membership and what the person's groups give. Raises `Refused`,
    and `JoiningError` for an invitation that is over.
    """
    check_admitted(provider, person)
    for _round in range(ROUNDS):
        try:
            with transaction.atomic():
                return _enter(provider, person, way_in, now)
        except IntegrityError:
            continue
    raise Refused(_("Somebody with this name signs in at the same moment. Try again."), why="lost every race")


def connect(provider: Provider, user: User, person: Person, *, now: datetime) -> None:
    """Let an account be signed in to by a person of the provider, as its own session asked. Raises `Refused`."""
    check_admitted(provider, person)
    identity = _identity(provider, person)
    if identity is not None and identity.user_id == user.pk:
        return
    try:
        with transaction.atomic():
            Identity.objects.create(user=user, issuer=provider.issuer, subject=person.subject, last_used_at=now)
    except IntegrityError as error:
        if identity is None and Identity.objects.filter(user=user, issuer=provider.issuer).exists():
            said = _("Your account is connected with another account of %(provider)s. Disconnect that one first.")
        else:
            said = _("This account of %(provider)s is connected with another account here.")
        raise Refused(said % {"provider": provider.label}, why="connected already") from error


def is_connected(provider: Provider, user: User) -> bool:
    """Say whether an account is signed in to by the provider."""
    return Identity.objects.filter(user=user, issuer=provider.issuer).exists()


def disconnect(provider: Provider, user: User) -> None:
    """End that an account is signed in to by the provider. Raises `JoiningError` where it would be its last way in."""
    if not user.has_usable_password() and not (settings.MAIL_IS_SENT and user.email):
        raise JoiningError(
            _("Your account has no password, so %(provider)s is the only way into it.") % {"provider": provider.label}
        )
    Identity.objects.filter(user=user, issuer=provider.issuer).delete()


def _identity(provider: Provider, person: Person) -> Identity | None:
    identities = Identity.objects.select_related("user")
    return identities.filter(issuer=provider.issuer, subject=person.subject).first()


def _enter(provider: Provider, person: Person, way_in: WayIn | None, now: datetime) -> Entered:
    """Do what `enter` does; the caller holds a transaction."""
    identity = _identity(provider, person)
    if identity is None:
        user = _by_email(provider, person)
        if user is not None:
            _hand_over(user, now)
        elif way_in is not None or provider.sign_up:
            user = _make(person)
        else:
            raise Refused(
                _(
                    "No account here belongs to your account of %(provider)s. Open the invitation that the manager of "
                    "your project gave you, or sign in another way and connect the two in your account."
                )
                % {"provider": provider.label},
                why="unknown",
            )
        Identity.objects.create(user=user, issuer=provider.issuer, subject=person.subject, last_used_at=now)
    else:
        user = identity.user
        if not user.is_active:
            raise Refused(_("Your account here is closed. Ask the operator of this site."), why="closed")
        Identity.objects.filter(pk=identity.pk).update(last_used_at=now)
    membership = None
    if way_in is not None:
        there = Membership.objects.filter(project=way_in.project, user=user).select_related("project").first()
        membership = there or way_in.become(user)
    _grant(provider, person, user)
    return Entered(user, membership)


def _by_email(provider: Provider, person: Person) -> User | None:
    """Return the account with a person's verified address, where the operator lets that decide and one alone has it.

    Never one that manages: nobody checked that an address here is its account's own.
    """
    if not provider.link_by_email or not person.email:
        return None
    found = list(User.objects.filter(email__iexact=person.email, is_active=True)[:2])
    if len(found) != 1 or found[0].is_superuser or found[0].is_staff:
        return None
    manages = Membership.objects.filter(user=found[0], role=Role.MANAGER).exists()
    return None if manages or is_connected(provider, found[0]) else found[0]


def _hand_over(user: User, now: datetime) -> None:
    """End every other way into an account, and its sessions: whoever made it may have typed somebody else's address."""
    user.set_unusable_password()
    user.save(update_fields=["password"])
    SignInLink.objects.filter(user=user, used_at=None).update(used_at=now)


def _make(person: Person) -> User:
    """Make an account without a password. An address is kept only if it is verified: links are mailed to it."""
    user = User(username=_free_name(person), email=User.objects.normalize_email(person.email))
    user.set_unusable_password()
    user.save(force_insert=True)
    return user


def _free_name(person: Person) -> str:
    """Return a name that nobody has, like the person's at the provider, without the domain of an address."""
    said = User.normalize_username((person.username or person.email).partition("@")[0])
    name = re.sub(r"[^\w.+-]", "", said)[:LONGEST_NAME] or "person"
    taken = {
        one.casefold() for one in User.objects.filter(username__istartswith=name).values_list("username", flat=True)
    }
    number, free = 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{name}-{number}"
    return free


def _grant(provider: Provider, person: Person, user: User) -> None:
    """Make somebody a member where their groups say so; a role that they have stays, whatever the groups say."""
    for group, projects in provider.roles.items():
        if group in person.groups:
            for slug, role in projects.items():
                project = Project.objects.filter(slug=slug).first()
                if project is not None:
                    Membership.objects.get_or_create(project=project, user=user, defaults={"role": role})
