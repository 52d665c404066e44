"""One question to a judge and its answer: what travels between running, asking, prompting and parsing."""

import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from django.db.models import TextChoices

from judges.models import JudgeVersion, Order


class Protocol(TextChoices):
    """How a model is asked."""

    PAIRWISE = "pairwise", "Reasons, then a choice with a confidence"
    LETTER = "letter", "One letter, with its probability"
    RATING = "rating", "A score of each response alone"
    DECISIONS = "decisions", "A probability per option, no text"
    REWARD = "reward", "A reward model's score of each response alone"


# Each response is judged alone, so there is no order to be biased by: two verdicts of one score each make the answer.
SCORED_ALONE = frozenset({Protocol.RATING, Protocol.REWARD})


def orders_of(version: JudgeVersion) -> tuple[str, ...]:
    """Return the orders in which a version is asked about a pair: its answer needs all of them."""
    if version.protocol in SCORED_ALONE:
        return Order.ONLY_A.value, Order.ONLY_B.value
    return (Order.AB.value, Order.BA.value) if version.asks_both_orders else (Order.NONE.value,)


def shown(order: str, a: str, b: str) -> tuple[str, str]:
    """Return what an order shows first and second of the two responses.

    A response rated alone has no second; a question about the prompt shows neither.
    """
    if order == Order.TAGS:
        return "", ""
    if order == Order.BA:
        return b, a
    return (a if order != Order.ONLY_B else b), ("" if order in {Order.ONLY_A, Order.ONLY_B} else b)


class Question(NamedTuple):
    """A pair in one order, as texts. `attempt` counts how often this verdict was claimed (1, 2, ...).

    A rating shows one response: `first`, and `second` is empty. A question for a reason (`order` is 'why') shows a
    first and carries the `choice` that was made, in the stored order. One for tags (`order` is 'tag') shows the prompt.
    """

    verdict_id: uuid.UUID | None
    # Chat messages {role, content}.
    prompt: Sequence[Mapping[str, Any]]
    first: str
    second: str
    # An `Order`: which stored response is first; '' for rules, which get a as first.
    order: str
    pair_id: uuid.UUID | None = None
    context: str = ""
    reference: str = ""
    attempt: int = 1
    # The prompt's group: the learned baseline answers with the fit that has not seen its labels.
    group: str = ""
    # The choice that a reason is asked for: a, b, tie.
    choice: str = ""


class Answer(NamedTuple):
    """What came of a question. `choice` and `prob_a` are in the stored order; `rationale` and `raw` as written.

    One of `choice`, `score` (a rating), `meta["tags"]` (of a prompt) or `error` is set. `distribution` and `criteria`
    are as in `Verdict`, in the stored order. `samples` calls are summed up in it. `rate_limits` and `server_errors`
    count what its tries met. `request_key` and `replies` are what the cache keeps of it. With `retry`, the same
    question may succeed later.
    `whole_judge`: the cause is the judge or its server, not this pair. `maybe_billed`: the server may charge although
    no usage is known. `cost_usd` is None where the price or the usage is unknown.
    """

    verdict_id: uuid.UUID | None
    choice: str = ""
    prob_a: float | None = None
    score: float | None = None
    distribution: Mapping[str, float] = {}
    label_mass: float | None = None
    criteria: Mapping[str, Any] = {}
    samples: int = 1
    from_cache: bool = False
    rationale: str = ""
    raw: str = ""
    error: str = ""
    answered_by: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cost_usd: Decimal | None = None
    seconds: float | None = None
    meta: Mapping[str, Any] = {}
    retry: bool = False
    whole_judge: bool = False
    maybe_billed: bool = False
    rate_limits: int = 0
    server_errors: int = 0
    request_key: str = ""
    replies: Sequence[Mapping[str, Any]] = ()
