"""What goes wrong when somebody joins or signs in; each is a sentence for who tried."""

from annotation.errors import AnnotationError


class JoiningError(AnnotationError):
    """Somebody cannot join or sign in as they asked to."""


class NotInvited(JoiningError):
    """The link is not one of ours, or it was used up, withdrawn or is too old: the four are not told apart."""


class TriedTooOften(JoiningError):
    """Too many tries in too short a time; some minutes later it can be tried again."""


class CodeWrong(JoiningError):
    """The code of the second step is not right, or was used before."""
