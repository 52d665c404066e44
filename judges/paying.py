"""A run's money: reserve before a call, settle after it, so that spent and reserved together never pass the cap."""

import uuid
from decimal import Decimal

from django.db.models import F, Q
from django.db.models.functions import Round

from annotation.models import Project
from judges.errors import JudgeError
from judges.models import JudgeRun, JudgeVersion, RunState

# SQLite adds sums of money in binary; a millionth of a dollar below the cap keeps its rounding off the constraint.
EDGE = Decimal("0.000001")


def reserve(run_id: uuid.UUID, amount: Decimal) -> bool:
    """Set money aside for one call, in one conditional update; False when the run is not running or has too little."""
    promised = F("spent_usd") + F("reserved_usd") + amount
    room = Q(budget_usd__isnull=True) | Q(budget_usd__gte=promised + EDGE)
    running = JudgeRun.objects.filter(pk=run_id, state=RunState.RUNNING)
    if not amount:
        # Nothing to set aside: no write, so that free judges do not queue for one row.
        return running.exists()
    return running.filter(room).update(reserved_usd=Round(F("reserved_usd") + amount, precision=6)) == 1


def hold(run_id: uuid.UUID) -> None:
    """Lock a run's row. Caller holds a transaction and no verdict: run, then verdicts, so that nobody deadlocks."""
    JudgeRun.objects.select_for_update(no_key=True).filter(pk=run_id).values_list("pk").first()


def settle(run_id: uuid.UUID, *, reserved: Decimal, booked: Decimal) -> None:
    """Turn a reservation into what was paid (at most what was reserved). Caller holds a transaction."""
    if not reserved and not booked:
        return
    JudgeRun.objects.filter(pk=run_id).update(
        spent_usd=Round(F("spent_usd") + booked, precision=6),
        reserved_usd=Round(F("reserved_usd") - reserved, precision=6),
    )


def cap_for(project: Project, version: JudgeVersion, budget_usd: Decimal | None) -> Decimal | None:
    """Return a new run's cap: the smaller of its own budget and what is left of the project's, or None for no cap.

    Raises `JudgeError` when a cap is wanted and the price is unknown, or nothing is left. Caller holds the project's
    row, so that two runs cannot be promised the same money.
    """
    if budget_usd is not None and not (budget_usd.is_finite() and 0 <= budget_usd < 1_000_000):
        raise JudgeError(f"The budget is {budget_usd}; it takes US dollars, from 0 to a million.")
    if is_free(version):
        return budget_usd
    left = _left(project)
    caps = [cap for cap in (budget_usd, left) if cap is not None]
    if not caps:
        return None
    if version.price_input_usd_per_million is None or version.price_output_usd_per_million is None:
        raise JudgeError(
            f"The price of {version} is unknown, so a budget cannot be kept. Add the judge again with --price-in and "
            "--price-out (US dollars per million tokens; 0 for a server of your own)."
        )
    if left is not None and left <= 0:
        raise JudgeError(
            f"The project's budget for models, ${project.models_budget_usd:.2f}, is spent or promised to other runs."
        )
    return min(caps)


def cap_again(project: Project, run: JudgeRun, budget_usd: Decimal | None) -> Decimal | None:
    """Return the cap of a run that goes on: at most `budget_usd` in all, and what it holds with what others left.

    Caller holds the project's row, and the run does not stand against its own cap: it is done, or its stored cap is
    what it holds. Raises `JudgeError` as `cap_for` does.
    """
    held = run.spent_usd + run.reserved_usd
    more = cap_for(project, run.version, None if budget_usd is None else budget_usd - held)
    return None if more is None else held + more


def is_free(version: JudgeVersion) -> bool:
    """Say whether asking this version is known to cost nothing."""
    return version.price_input_usd_per_million == 0 and version.price_output_usd_per_million == 0


def _left(project: Project) -> Decimal | None:
    """Return what no run has spent or been promised of the project's money for models; None without such a budget."""
    if project.models_budget_usd is None:
        return None
    left = Decimal(project.models_budget_usd)
    for run in project.judge_runs.all():
        open_cap = run.budget_usd if run.state != RunState.DONE else None
        left -= open_cap if open_cap is not None else run.spent_usd + run.reserved_usd
    return left
