"""A run's money: reserve before a call, settle after it, so that spent and reserved together never pass the cap."""

import json
import uuid
from collections.abc import Sequence
from decimal import ROUND_UP, Decimal
from typing import Protocol as Shape

from django.db.models import Exists, F, Q, QuerySet
from django.db.models.functions import Round

from annotation.models import Project
from judges.errors import JudgeError
from judges.models import COMBINED, JudgeRun, JudgeVersion, RunState
from judges.options import read_options
from judges.prompting import answer_schema, decision_input, decision_questions, max_tokens_for, messages_for
from judges.questions import Protocol, Question

# SQLite adds sums of money in binary; a millionth of a dollar below the cap keeps its rounding off the constraint.
EDGE = Decimal("0.000001")
MICRO_DOLLAR = Decimal("0.000001")
# The most of a GPU's time that one question is taken to need. Its share of a batch is milliseconds; a long text takes
# seconds. What needed more pauses a run with a cap, as a server's odd figures do.
GPU_SECONDS = Decimal(5)
# What chat templates add around each message, generously.
TOKENS_PER_MESSAGE = 16


class Usage(Shape):
    """The tokens of a call, as a reply or an answer has them. `cached_tokens` are some of the prompt's."""

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens read."""

    @property
    def completion_tokens(self) -> int | None:
        """Tokens written."""

    @property
    def cached_tokens(self) -> int | None:
        """Of those read, the ones the server had in its cache."""


def cost_of(version: JudgeVersion, reply: Usage) -> Decimal | None:
    """Return the price of one call in US dollars, rounded up to a millionth; None where anything is unknown.

    Input that the server had in its cache costs its own price where the version has one.
    """
    price_in, price_out = version.price_input_usd_per_million, version.price_output_usd_per_million
    if price_in is None or price_out is None or reply.prompt_tokens is None or reply.completion_tokens is None:
        return None
    price_cached = version.price_cached_usd_per_million
    cached = 0 if price_cached is None else min(reply.cached_tokens or 0, reply.prompt_tokens)
    cost = price_in * (reply.prompt_tokens - cached) + price_out * reply.completion_tokens
    if cached and price_cached is not None:
        cost += price_cached * cached
    return (cost / 1_000_000).quantize(MICRO_DOLLAR, rounding=ROUND_UP)


def cost_of_time(version: JudgeVersion, seconds: float) -> Decimal:
    """Return the price of a GPU's seconds in US dollars, rounded up to a millionth; 0 for a version without a price."""
    return _of_an_hour(version.price_gpu_usd_per_hour or Decimal(0), Decimal(seconds))


def largest_cost(version: JudgeVersion, question: Question) -> Decimal | None:
    """Return the most a question can cost in US dollars (all its samples, rounded up), or None: the price is unknown.

    Every token of a byte-level tokenizer covers at least one byte, so the bytes of the prompt bound its tokens.
    """
    price_in, price_out = version.price_input_usd_per_million, version.price_output_usd_per_million
    if version.price_gpu_usd_per_hour:
        return _of_an_hour(version.price_gpu_usd_per_hour, GPU_SECONDS)
    if price_in is None or price_out is None:
        return None
    if not price_in and not price_out:
        return Decimal(0)
    tokens = prompt_bytes(version, question)
    # A cached token may have the higher price, whatever the sense of that.
    price_in = max(price_in, version.price_cached_usd_per_million or price_in)
    cost = (price_in * tokens + price_out * max_tokens_for(version, question)) / 1_000_000
    return cost.quantize(MICRO_DOLLAR, rounding=ROUND_UP) * read_options(version.options).samples


def prompt_bytes(version: JudgeVersion, question: Question) -> int:
    """Return how many bytes one call sends as its prompt: what it cannot have more tokens than."""
    if version.protocol == Protocol.DECISIONS:
        asked = decision_input(version, question) + json.dumps(decision_questions(version, question))
        return _bytes(asked) + TOKENS_PER_MESSAGE
    schema = json.dumps(answer_schema(version, question))
    messages = messages_for(question, version)
    return _bytes(schema) + sum(_bytes(message["content"]) + TOKENS_PER_MESSAGE for message in messages)


def reserve(run: JudgeRun, amounts: Sequence[Decimal]) -> int:
    """Set money aside for calls, in one conditional update; return for how many of the amounts, from the first.

    0 when the run (or its parent) is not running, or has too little for the first. Caller holds a transaction.
    """
    running = running_payer(run)
    total = sum(amounts, Decimal(0))
    if not total:
        # Nothing to set aside: no write, so that free judges do not queue for one row.
        return len(amounts) if running.exists() else 0
    if _set_aside(running, total):
        return len(amounts)
    payer = running.select_for_update(no_key=True).first()
    if payer is None or payer.budget_usd is None:
        return 0
    room = payer.budget_usd - payer.spent_usd - payer.reserved_usd - EDGE
    number, total = 0, Decimal(0)
    while number < len(amounts) and total + amounts[number] <= room:
        total += amounts[number]
        number += 1
    return number if not total or _set_aside(running, total) else 0


def running_payer(run: JudgeRun) -> QuerySet[JudgeRun]:
    """Return a query of the row that pays for a run: one row while both are running, else none."""
    payer = JudgeRun.objects.filter(pk=run.payer_id, state=RunState.RUNNING)
    if run.parent_id is None:
        return payer
    return payer.filter(Exists(JudgeRun.objects.filter(pk=run.pk, state=RunState.RUNNING)))


def hold(payer_id: uuid.UUID) -> None:
    """Lock a payer's row. Caller holds a transaction and no verdict: run, then verdicts, so that nobody deadlocks."""
    JudgeRun.objects.select_for_update(no_key=True).filter(pk=payer_id).values_list("pk").first()


def settle(payer_id: uuid.UUID, *, reserved: Decimal, booked: Decimal) -> None:
    """Turn reservations into what was paid (at most what was reserved). Caller holds a transaction."""
    if not reserved and not booked:
        return
    JudgeRun.objects.filter(pk=payer_id).update(
        spent_usd=Round(F("spent_usd") + booked, precision=6),
        reserved_usd=Round(F("reserved_usd") - reserved, precision=6),
    )


def cap_for(project: Project, version: JudgeVersion, budget_usd: Decimal | None) -> Decimal | None:
    """Return a new run's cap: the smaller of its own budget and what is left of the project's, or None for no cap.

    Raises `JudgeError` when a cap is wanted and a price is unknown, or nothing is left. Caller holds the project's
    row, so that two runs cannot be promised the same money.
    """
    if budget_usd is not None and not (budget_usd.is_finite() and 0 <= budget_usd < 1_000_000):
        raise JudgeError(f"The budget is {budget_usd}; it takes US dollars, from 0 to a million.")
    asked = _asked(version)
    if all(is_free(one) for one in asked):
        return budget_usd
    if budget_usd == 0:
        raise JudgeError("A budget of $0 buys no answer. Give more, or leave it out.")
    left = _left(project)
    caps = [cap for cap in (budget_usd, left) if cap is not None]
    if not caps:
        return None
    for one in asked:
        if one.price_input_usd_per_million is None or one.price_output_usd_per_million is None:
            raise JudgeError(
                f"The price of {one} is unknown, so a budget cannot be kept. Add the judge again with --price-in and "
                "--price-out (US dollars per million tokens; 0 for a server of your own)."
            )
    if left is not None and left <= 0:
        raise JudgeError(
            f"The project's budget for models, ${project.models_budget_usd:.2f}, is spent or promised to other runs."
        )
    return min(caps)


def cap_again(project: Project, run: JudgeRun, budget_usd: Decimal | None) -> Decimal | None:
    """Return the cap of a run that goes on: at most `budget_usd` in all, and what it holds with what others left.

    Caller holds the project's row, and the run does not stand against its own cap: it is done, or has no
    stored cap now. Raises `JudgeError` as `cap_for` does.
    """
    held = run.spent_usd + run.reserved_usd
    more = cap_for(project, run.version, None if budget_usd is None else budget_usd - held)
    return None if more is None else held + more


def is_free(version: JudgeVersion) -> bool:
    """Say whether asking this version is known to cost nothing."""
    no_tokens_price = version.price_input_usd_per_million == 0 and version.price_output_usd_per_million == 0
    return no_tokens_price and not version.price_gpu_usd_per_hour


def _asked(version: JudgeVersion) -> list[JudgeVersion]:
    """Return the versions that cost money when this one is asked."""
    if version.judge.kind not in COMBINED:
        return [version]
    # A combined judge starts runs, and runs have money.
    from judges.combining import asked_versions

    return asked_versions(version)


def _of_an_hour(price: Decimal, seconds: Decimal) -> Decimal:
    return (price * seconds / 3600).quantize(MICRO_DOLLAR, rounding=ROUND_UP)


def _set_aside(running: QuerySet[JudgeRun], total: Decimal) -> bool:
    promised = F("spent_usd") + F("reserved_usd") + total
    room = Q(budget_usd__isnull=True) | Q(budget_usd__gte=promised + EDGE)
    return running.filter(room).update(reserved_usd=Round(F("reserved_usd") + total, precision=6)) == 1


def _left(project: Project) -> Decimal | None:
    """Return what no run has spent or been promised of the project's money for models; None without such a budget."""
    if project.models_budget_usd is None:
        return None
    left = Decimal(project.models_budget_usd)
    for run in project.judge_runs.all():
        open_cap = run.budget_usd if run.state != RunState.DONE else None
        left -= open_cap if open_cap is not None else run.spent_usd + run.reserved_usd
    return left


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
