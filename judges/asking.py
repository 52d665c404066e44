"""Ask a judge version questions and yield its answers as they arrive, whatever kind of judge it is.

An error is data: an `Answer` with its reason. Only the caller's thread touches the database; the network thread asks.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from decimal import ROUND_UP, Decimal
from functools import partial
from queue import SimpleQueue
from typing import Any

from django.conf import settings

from judges.capabilities import Capabilities, capabilities_of
from judges.clients import Endpoint, Reply, backoff, complete, rest, scrub, submit
from judges.defining import check_address, key_of
from judges.errors import CallFailed, JudgeError
from judges.local import local_server
from judges.models import JudgeKind, JudgeVersion, Order
from judges.parsing import parse_verdict, storable
from judges.prompting import messages_for
from judges.questions import Answer, Question

__all__ = ["Answer", "Question", "ask", "endpoint_of", "largest_cost"]

logger = logging.getLogger(__name__)

MICRO_DOLLAR = Decimal("0.000001")
# What chat templates add around each message, generously.
TOKENS_PER_MESSAGE = 16
Arrival = tuple[Question, "Future[Answer]"]
_FLIPPED = {"first": "second", "second": "first"}


def ask(version: JudgeVersion, questions: Iterable[Question | None], *, concurrency: int) -> Iterator[Answer]:
    """Yield one answer a question, in the order they arrive.

    Questions are drawn one by one on the caller's thread as slots become free, so drawing one may claim it. None says
    "nothing to ask now, come again after an answer". When the caller stops giving questions, those under way are
    still waited for: they may be paid. Raises `JudgeError` where the judge cannot be asked at all.
    """
    kind = version.judge.kind
    if kind == JudgeKind.LENGTH:
        from judges.rules import length_prob_a

        return _by_rule(questions, lambda one: length_prob_a(one.first, one.second))
    if kind == JudgeKind.LEARNED:
        from judges.rules import learned_prob_a

        fitted = version.fitted
        return _by_rule(questions, lambda one: learned_prob_a(fitted, _as_text(one), one.first, one.second, one.group))
    if kind == JudgeKind.LOCAL:
        # One thread serves it: a second question would only wait inside.
        return _by_model(version, questions, concurrency=1)
    if kind == JudgeKind.OPENAI:
        return _by_model(version, questions, concurrency=concurrency)
    raise JudgeError(f"{version} holds imported judgements and cannot be asked.")


def endpoint_of(version: JudgeVersion) -> Endpoint:
    """Return where a version is asked, with its host's key. Raises `JudgeError` when its host is not allowed."""
    timeout = settings.JUDGE_TIMEOUT_SECONDS
    # A question must end before its lease does, or another worker would ask it again.
    deadline = min(2.0 * timeout + 60.0, 0.8 * settings.JUDGE_LEASE_SECONDS)
    if version.judge.kind == JudgeKind.LOCAL:
        server = local_server()
        return Endpoint(server.base_url, server.key, min(timeout, deadline), deadline)
    address = check_address(version.base_url)
    return Endpoint(address, key_of(address), min(timeout, deadline), deadline)


def largest_cost(version: JudgeVersion, question: Question) -> Decimal | None:
    """Return the most one call can cost in US dollars (rounded up), or None where the price is unknown.

    Every token of a byte-level tokenizer covers at least one byte, so the bytes of the prompt bound its tokens.
    """
    if version.price_input_usd_per_million is None or version.price_output_usd_per_million is None:
        return None
    if not version.price_input_usd_per_million and not version.price_output_usd_per_million:
        return Decimal(0)
    messages = messages_for(question, system=version.prompt_template, protocol=version.protocol)
    prompt = sum(len(message["content"].encode("utf-8", "replace")) + TOKENS_PER_MESSAGE for message in messages)
    return cost_of(version, prompt, int(version.sampling["max_tokens"]))


def cost_of(version: JudgeVersion, prompt_tokens: int | None, completion_tokens: int | None) -> Decimal | None:
    """Return the price of one call in US dollars, rounded up to a millionth; None where anything is unknown."""
    price_in, price_out = version.price_input_usd_per_million, version.price_output_usd_per_million
    if price_in is None or price_out is None or prompt_tokens is None or completion_tokens is None:
        return None
    cost = (price_in * prompt_tokens + price_out * completion_tokens) / 1_000_000
    return cost.quantize(MICRO_DOLLAR, rounding=ROUND_UP)


def _by_rule(questions: Iterable[Question | None], prob_a: Callable[[Question], float]) -> Iterator[Answer]:
    for question in questions:
        if question is None:
            return
        probability = prob_a(question)
        choice = "tie" if probability == 0.5 else "a" if probability > 0.5 else "b"
        yield Answer(question.verdict_id, choice=choice, prob_a=probability, cost_usd=Decimal(0))


def _by_model(version: JudgeVersion, questions: Iterable[Question | None], *, concurrency: int) -> Iterator[Answer]:
    endpoint = endpoint_of(version)
    can = capabilities_of(version, endpoint.base_url)
    arrived: SimpleQueue[Arrival] = SimpleQueue()
    source = iter(questions)
    under_way, more = 0, True
    while True:
        while more and under_way < concurrency:
            try:
                question = next(source)
            except StopIteration:
                more = False
                break
            if question is None:
                break
            future = submit(_answer(version, endpoint, can, question))
            future.add_done_callback(partial(_arrive, arrived, question))
            under_way += 1
        if not under_way:
            return
        asked, done = arrived.get()
        under_way -= 1
        yield _result(asked, done)


def _arrive(arrived: "SimpleQueue[Arrival]", question: Question, done: "Future[Answer]") -> None:
    arrived.put((question, done))


def _result(question: Question, done: "Future[Answer]") -> Answer:
    error = done.exception()
    if error is None:
        return done.result()
    # A fault of ours must not cost the other answers under way; it is logged whole and shown on this row.
    logger.error("asking verdict %s failed", question.verdict_id, exc_info=error)
    reason = f"Tiebreak failed while asking ({type(error).__name__}). The log has the details."
    return Answer(question.verdict_id, error=reason, maybe_billed=True)


async def _answer(version: JudgeVersion, endpoint: Endpoint, can: Capabilities, question: Question) -> Answer:
    if question.attempt > 1:
        await rest(backoff(question.attempt))
    messages = messages_for(question, system=version.prompt_template, protocol=version.protocol)
    while True:
        body = can.request(version, messages)
        tried = can.tried()
        try:
            reply = await complete(endpoint, body)
        except CallFailed as failure:
            if can.learn_from(failure, tried):
                continue
            return _unanswered(question, failure)
        return _answered(version, endpoint, question, reply, can.in_words())


def _unanswered(question: Question, failure: CallFailed) -> Answer:
    return Answer(
        question.verdict_id,
        error=storable(str(failure)),
        # Tries that cost nothing were made already; what may have cost is asked again under a new reservation.
        retry=failure.retryable and failure.maybe_billed,
        whole_judge=failure.whole_judge,
        maybe_billed=failure.maybe_billed,
    )


def _answered(
    version: JudgeVersion, endpoint: Endpoint, question: Question, reply: Reply, asked_with: Mapping[str, Any]
) -> Answer:
    raw = storable(scrub(reply.text, endpoint.key))
    answer = Answer(
        question.verdict_id,
        raw=raw,
        answered_by=storable(scrub(reply.model, endpoint.key)),
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        cost_usd=cost_of(version, reply.prompt_tokens, reply.completion_tokens),
        seconds=reply.seconds,
        meta=asked_with,
        maybe_billed=True,
    )
    if reply.refusal:
        return answer._replace(error=storable(f"The judge refused: {scrub(reply.refusal, endpoint.key)[:300]}"))
    verdict = parse_verdict(scrub(reply.text, endpoint.key), protocol=version.protocol, logprobs=reply.logprobs)
    if verdict.error:
        if reply.finish_reason == "length":
            limit = version.sampling["max_tokens"]
            return answer._replace(error=f"The judge's answer was cut off at max_tokens={limit}. Allow it more.")
        return answer._replace(error=verdict.error)
    shown = verdict.choice if question.order == Order.AB else _FLIPPED.get(verdict.choice, verdict.choice)
    prob_first = verdict.prob_first
    prob_a = prob_first if question.order == Order.AB or prob_first is None else 1.0 - prob_first
    return answer._replace(
        choice={"first": "a", "second": "b", "tie": "tie"}[shown],
        prob_a=prob_a,
        rationale=verdict.rationale,
        meta={**asked_with, **verdict.meta},
    )


def _as_text(question: Question) -> str:
    return "\n\n".join(str(message.get("content", "")) for message in question.prompt)
