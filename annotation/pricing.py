"""What an answer pays."""

from decimal import Decimal

from annotation.models import Origin, Project, Rater, Tier


def pay_usd(project: Project, tier: Tier) -> Decimal:
    """Return what an answer to a task of this tier pays now, in US dollars. No query.

    Whatever this says when a pair is leased is what its answer earns (`Assignment.promised_usd`).
    """
    return Decimal(project.pay_per_answer_usd)


def pay_for(project: Project, rater: Rater, tier: Tier) -> Decimal:
    """Return what an answer of this person pays, in US dollars: simulated people are paid nothing."""
    return pay_usd(project, tier) if rater.origin == Origin.LIVE else Decimal(0)
