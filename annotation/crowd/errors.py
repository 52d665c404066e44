"""What goes wrong with a crowd platform."""

from annotation.errors import AnnotationError


class CrowdError(AnnotationError):
    """An error between this site and a crowd platform, or in what a manager asked of it."""


class ArrivalRefused(CrowdError):
    """Somebody arrived and is not let in; the sentence is for them."""


class ArrivalUnchecked(CrowdError):
    """Nobody could be asked whether an arrival is genuine: it may be tried again."""

    retryable = True


class PlatformRefused(CrowdError):
    """The platform answered that it will not do it. `status` is its HTTP status; nothing was done."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PlatformUnreachable(CrowdError):
    """The platform could not be asked, or did not answer. A read may be tried again."""

    retryable = True


class OutcomeUnclear(CrowdError):
    """What was asked may have been done or not: look at the platform before anything is sent again. Never retried."""


class EventRefused(CrowdError):
    """A message that says it is from a platform, and is not, or is too old."""
