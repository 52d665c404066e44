"""One question to a judge and its answer: what travels between running, asking, prompting and parsing."""

import uuid
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from django.db.models import TextChoices


class Protocol(TextChoices):
    """How a model is asked."""

    PAIRWISE = "pairwise", "Reasons, then a choice with a confidence"
    LETTER = "letter", "One letter, with its probability"


class Question(NamedTuple):
    """A pair in one order, as texts. `attempt` counts how often this verdict was claimed (1, 2, ...)."""

    verdict_id: uuid.UUID | None
    # Chat messages {role, content}.
    prompt: Sequence[Mapping[str, Any]]
    first: str
    second: str
    # Which stored response is first: 'ab' or 'ba'; '' for rules, which get a as first.
    order: str
    context: str = ""
    reference: str = ""
    attempt: int = 1
    # The prompt's group: the learned baseline answers with the fit that has not seen its labels.
    group: str = ""


class Answer(NamedTuple):
    """What came of a question. `choice` and `prob_a` are in the stored order; `rationale` and `raw` as written.

    Either `choice` or `error` is set. With `retry`, the same question may succeed later. `whole_judge`: the cause is
    the judge or its server, not this pair. `maybe_billed`: the server may charge although no usage is known.
    `cost_usd` is None where the price or the usage is unknown.
    """

    verdict_id: uuid.UUID | None
    choice: str = ""
    prob_a: float | None = None
    rationale: str = ""
    raw: str = ""
    error: str = ""
    answered_by: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: Decimal | None = None
    seconds: float | None = None
    meta: Mapping[str, Any] = {}
    retry: bool = False
    whole_judge: bool = False
    maybe_billed: bool = False
