"""Sessions and their people, each found by a query that is compiled once: every request of a person asks both.

Django's own stores and backend in all else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.sessions.backends import db
from django.contrib.sessions.models import Session
from django.utils import timezone

from annotation.models import User
from annotation.preparing import Prepared

_SESSION = Prepared(lambda *, key: Session.objects.filter(session_key=key))
_USER = Prepared(lambda *, user: User.objects.filter(pk=user))
_at_hand: ContextVar[User | None] = ContextVar("user_at_hand", default=None)


@contextmanager
def at_hand(user: User | None) -> Iterator[None]:
    """Spare the query for who is signed in while their row, read in this request, is here.

    Whether the session is that person's is checked as ever; another's row is passed over.
    """
    token = _at_hand.set(user)
    try:
        yield
    finally:
        _at_hand.reset(token)


class SessionStore(db.SessionStore):
    """Django's sessions in the database."""

    def load(self) -> dict[str, Any]:
        """Return what the session holds; of one that is unknown or over, nothing, and its key is forgotten."""
        found = _SESSION.fetch(key=self.session_key or "")
        if found and found[0].expire_date > timezone.now():
            return self.decode(found[0].session_data)
        self._session_key = None
        return {}


class UserBackend(ModelBackend):
    """Django's accounts."""

    def get_user(self, user_id: object) -> User | None:
        """Return who is signed in, None where the account is gone or closed."""
        key = User._meta.pk.to_python(user_id)
        user = _at_hand.get()
        if user is None or user.pk != key:
            found = _USER.fetch(user=key)
            user = found[0] if found else None
        return user if user is not None and self.user_can_authenticate(user) else None
