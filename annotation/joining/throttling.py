"""How often something may be tried: counted in the database, so that every process and restart counts along."""

import hashlib
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.http import HttpRequest
from django.utils.translation import gettext as _

from annotation.joining.errors import TriedTooOften
from annotation.models import Throttle

WINDOW = timedelta(minutes=15)
# Failures of one account, and tries of one address, in a window. No account is locked for longer than a window.
ACCOUNT_TRIES = 10
ADDRESS_TRIES = 100
# New accounts and mailed links of one address in a window.
MADE = 20


def count_try(what: str, who: str, *, limit: int, now: datetime, window: timedelta = WINDOW) -> None:
    """Count a try at something; raise `TriedTooOften` where it is one too many. Three queries in a transaction."""
    key = _key(what, who)
    with transaction.atomic():
        Throttle.objects.get_or_create(key=key, defaults={"until": now + window})
        Throttle.objects.filter(key=key, until__lte=now).update(tries=0, until=now + window)
        if Throttle.objects.filter(key=key, tries__lt=limit).update(tries=F("tries") + 1):
            return
    raise TriedTooOften(_("That was tried too often. Wait a quarter of an hour, then try again."))


def forget_tries(what: str, who: str) -> None:
    """Begin the count anew, after a success."""
    Throttle.objects.filter(key=_key(what, who)).delete()


def forget_old(now: datetime) -> int:
    """Delete counts that are over; return how many."""
    return Throttle.objects.filter(until__lte=now).delete()[0]


def _key(what: str, who: str) -> str:
    return hashlib.sha256(f"{what}\n{who}".encode()).hexdigest()


def address_of(request: HttpRequest) -> str:
    """Return the address that asks. What a browser says of itself counts only where a proxy of ours appended to it."""
    if settings.BEHIND_TLS_PROXY:
        forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        if forwarded:
            return forwarded[:64]
    return str(request.META.get("REMOTE_ADDR", ""))
