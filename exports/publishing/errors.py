"""What goes wrong between this site and a place that datasets are published to."""

from exports.errors import ExportError


class PublishingError(ExportError):
    """A publication that cannot be, or was refused; nothing is sent again by itself."""


class NotConfirmed(PublishingError):
    """Something would become public, and nobody said so a second time."""


class PlaceTaken(PublishingError):
    """The place holds something that this project did not publish there."""


class StaleParent(PublishingError):
    """The place was changed since this site last published there."""


class TagTaken(PublishingError):
    """The tag stands for another state of the place."""


class ReadBackDiffers(PublishingError):
    """What came back is not what was sent."""


class PlaceMissing(PublishingError):
    """There is no such place, or the token may not see it."""


class PlaceBusy(PublishingError):
    """The place asks to wait; what was asked was not done."""

    retryable = True

    def __init__(self, message: str, *, wait_seconds: float | None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class PlaceUnreachable(PublishingError):
    """No clear answer: what was asked may have been done or not."""

    retryable = True
