"""What can go wrong in routing, in words for a person."""

from annotation.errors import TiebreakError


class RoutingError(TiebreakError):
    """An error in planning, replaying or resolving."""


class TooFewLabels(RoutingError):
    """There is too little data for a number that means something: "too few labels (n of m)"."""
