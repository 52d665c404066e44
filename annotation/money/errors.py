"""What can go wrong with people's money."""

from annotation.errors import AnnotationError


class MoneyError(AnnotationError):
    """Something about the book or a payment that cannot be done, and why."""


class NothingOwed(MoneyError):
    """There is nobody to pay."""


class PaymentChanged(MoneyError):
    """A payment is not any more in the state that an act needs, or its sums are not those that were seen."""


class PayRefused(MoneyError):
    """A platform refused, and it is certain that it paid nobody. Anything else that goes wrong is unclear."""
