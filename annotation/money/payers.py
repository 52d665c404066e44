"""Who carries money to people: a platform that takes orders, or a file that a person uploads."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol
from uuid import UUID

from annotation.models import Project, Rater

# A catalogue of Prolific's API says that one request takes so many people (docs/operating.md).
MOST_LINES = 200


class SetUp(NamedTuple):
    """What a platform answers to an order that it has taken down and not carried out.

    `total_usd` is what people get, `fees_usd` what the platform takes on top.
    """

    id: str
    total_usd: Decimal
    fees_usd: Decimal


class Payer(Protocol):
    """A platform that pays. Calls are sent once: an adapter repeats none of them by itself, whatever went wrong.

    It raises `PayRefused` where the platform refused and certainly did nothing (an answer such as 400, 401, 403, 404);
    any other error, below `TiebreakError` and in words, leaves open what happened.
    """

    @property
    def name(self) -> str:
        """The platform's name, such as "prolific"."""

    def set_up_bonuses(self, study_id: str, lines: Sequence[tuple[str, Decimal]]) -> SetUp:
        """Have an order of (recipient, US dollars) lines taken down. Nobody is paid by that."""

    def pay_bonuses(self, bonus_id: str) -> None:
        """Have an order carried out. Not to be repeated; when it returns the platform has begun."""

    def bonuses_paid(self, study_id: str) -> Mapping[str, Decimal]:
        """Return the platform's own record: US dollars paid as bonuses so far, by recipient."""


class Channel(NamedTuple):
    """A way to pay some of a project's people: who of them is called what in which study of a platform."""

    payer: Payer
    study_id: str
    recipients: Mapping[UUID, str]


Finder = Callable[[Project], Sequence[Channel]]
_finders: list[Finder] = []


def register_channels(find: Finder) -> None:
    """Have payments ask `find(project)` for ways to pay, beside the file that there always is."""
    if find not in _finders:
        _finders.append(find)


def channels_of(project: Project) -> list[Channel]:
    """Return the ways to pay a project's people by a platform."""
    return [channel for find in _finders for channel in find(project)]


def channel_for(project: Project, platform: str, study_id: str) -> Channel | None:
    """Return the way to pay by this platform's study, or None: it is not connected any more."""
    found = (one for one in channels_of(project) if (one.payer.name, one.study_id) == (platform, study_id))
    return next(found, None)


def recipients_of(project: Project, raters: Sequence[Rater]) -> dict[UUID, str]:
    """Return what each person is called in a file: as their platform does, else by their name here."""
    known = {rater: name for channel in channels_of(project) for rater, name in channel.recipients.items()}
    return {rater.pk: known.get(rater.pk, rater.name) for rater in raters}
