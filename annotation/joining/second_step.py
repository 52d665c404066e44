"""The second step of signing in: a code from an app (TOTP, RFC 6238), or one of ten recovery codes."""

import base64
import hashlib
import secrets
from datetime import datetime
from typing import NamedTuple

import pyotp
from cryptography.fernet import Fernet, InvalidToken
from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from annotation.joining.errors import CodeWrong
from annotation.joining.throttling import count_try, forget_tries
from annotation.joining.tokens import digest_of
from annotation.models import Membership, Role, SecondStep, User

ISSUER = "Tiebreak"
STEP_SECONDS = 30
# A code of the step before or after is taken too: clocks differ.
DRIFT_STEPS = 1
RECOVERY_CODES = 10
TRIES = 8
# What a session holds whose second step a trusted provider asked for.
PROVEN = "second_step_proven"


class SetUp(NamedTuple):
    """What somebody puts into their app: the secret, and the address that says all of it (for a QR code)."""

    secret: str
    uri: str


def has_second_step(user: User) -> bool:
    """Say whether signing in asks this person for a code."""
    return SecondStep.objects.filter(user=user, confirmed_at__isnull=False).exists()


def needs_second_step(user: User) -> bool:
    """Say whether this person has to set the second step up before they manage anything here."""
    if not settings.REQUIRE_SECOND_STEP:
        return False
    manages = user.is_superuser or Membership.objects.filter(user=user, role=Role.MANAGER).exists()
    return manages and not has_second_step(user)


def begin(user: User) -> SetUp:
    """Return a secret to put into an app; it is in force once `confirm` saw a code. One that is not stays the same."""
    row, _made = SecondStep.objects.get_or_create(user=user, defaults={"secret": _sealed(pyotp.random_base32())})
    if row.confirmed_at is not None:
        raise CodeWrong("The second step is in force already. End it first.")
    secret = _opened(row.secret)
    return SetUp(secret, pyotp.TOTP(secret).provisioning_uri(name=user.get_username(), issuer_name=ISSUER))


def confirm(user: User, code: str, *, now: datetime) -> list[str]:
    """Put the second step in force with a first code, and return the recovery codes, which are kept nowhere.

    Raises `CodeWrong` and `TriedTooOften`.
    """
    count_try("second step", str(user.pk), limit=TRIES, now=now)
    with transaction.atomic():
        row = SecondStep.objects.select_for_update().filter(user=user, confirmed_at=None).first()
        counter = None if row is None else _counter(row, code, now)
        if row is None or counter is None:
            raise CodeWrong("That code is not right. Take the one that the app shows now.")
        codes = [f"{secrets.token_hex(3)}-{secrets.token_hex(3)}" for _number in range(RECOVERY_CODES)]
        row.confirmed_at, row.last_counter = now, counter
        row.recovery_digests = [digest_of(code) for code in codes]
        row.save()
    forget_tries("second step", str(user.pk))
    return codes


def check(user: User, code: str, *, now: datetime) -> None:
    """Take a code of the app, or a recovery code; none works twice. Raises `CodeWrong` and `TriedTooOften`."""
    count_try("second step", str(user.pk), limit=TRIES, now=now)
    with transaction.atomic():
        row = SecondStep.objects.select_for_update().get(user=user, confirmed_at__isnull=False)
        digest = digest_of(code.strip().lower())
        if digest in row.recovery_digests:
            row.recovery_digests = [one for one in row.recovery_digests if one != digest]
        else:
            counter = _counter(row, code, now)
            if counter is None:
                raise CodeWrong(_("That code is not right, or was used before. Take the one that the app shows now."))
            row.last_counter = counter
        row.save()
    forget_tries("second step", str(user.pk))


def end_second_step(user: User) -> bool:
    """End the second step of somebody; say whether they had one."""
    return bool(SecondStep.objects.filter(user=user).delete()[0])


def _counter(row: SecondStep, code: str, now: datetime) -> int | None:
    """Return the time step whose code this is, if it is later than the last that was used."""
    code = "".join(code.split())
    totp, current = pyotp.TOTP(_opened(row.secret)), int(now.timestamp()) // STEP_SECONDS
    for counter in range(current - DRIFT_STEPS, current + DRIFT_STEPS + 1):
        if counter > row.last_counter and secrets.compare_digest(totp.generate_otp(counter).encode(), code.encode()):
            return counter
    return None


def _box() -> Fernet:
    key = hashlib.sha256(f"annotation.joining.second_step\n{settings.SECRET_KEY}".encode()).digest()
    return Fernet(base64.urlsafe_b64encode(key))


def _sealed(secret: str) -> str:
    return _box().encrypt(secret.encode()).decode()


def _opened(sealed: str) -> str:
    try:
        return _box().decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        # The site has another SECRET_KEY than when this was set up.
        raise CodeWrong(
            _("Your second step cannot be read any more. Ask the operator of this site to end it.")
        ) from error
