"""The errors a person may see. Each package has one tree below `TiebreakError`."""


class TiebreakError(Exception):
    """Something went wrong in a way that can be said in a sentence: what happened, where, and what to do.

    `retryable` says whether the same call may succeed later without a change.
    """

    retryable = False


class AnnotationError(TiebreakError):
    """An error in importing, assigning or answering."""
