"""Ask a judge version questions, whatever kind of judge it is, and give its answers as they arrive.

An error is data: an `Answer` with its reason. Only the caller's thread touches the database; the network thread asks.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings

from judges.arriving import take
from judges.capabilities import capabilities_of
from judges.clients import Endpoint, Reply, backoff, complete, complete_many, decide, network, rest
from judges.defining import check_address, key_of
from judges.errors import CallFailed, JudgeError
from judges.local import local_server
from judges.models import COMBINED, RULES, JudgeKind, JudgeVersion
from judges.options import read_options
from judges.questions import Answer, Protocol, Question
from judges.reading import answer_of

if TYPE_CHECKING:
    from judges.computing import Computing

logger = logging.getLogger(__name__)

# Kinds that are answered in this process, at once.
ANSWERED_HERE = RULES | COMBINED
_ASKED = {JudgeKind.OPENAI, JudgeKind.DECISIONS, JudgeKind.BATCH, JudgeKind.LOCAL}


class _Came(NamedTuple):
    """What the network thread brings back for one question: replies of its samples, or why there are no (more)."""

    question: Question
    replies: Sequence[Reply] = ()
    failure: Exception | None = None
    asked_with: dict[str, Any] = {}


class Asking:
    """Questions under way at a model. Used by one thread, which also may use the database between its methods.

    `most`: how many may be under way where no server's limits say so. `left`, `failure` and `stop` are those of
    `judges.computing.Computing`: what a server was asked is waited for.
    """

    # One thread serves the local model: a second question would only wait inside.
    most = 1
    left: Sequence[Question] = ()
    failure: JudgeError | None = None

    def __init__(self, version: JudgeVersion) -> None:
        """Look up how the version is asked. Raises `JudgeError` where it cannot be asked at all."""
        if version.judge.kind not in _ASKED:
            raise JudgeError(f"{version} holds imported judgements and cannot be asked.")
        self.version = version
        self._samples = read_options(version.options).samples
        endpoint = endpoint_of(version)
        # All samples of a question must end before its lease does.
        deadline = min(endpoint.deadline, 0.8 * settings.JUDGE_LEASE_SECONDS / self._samples)
        self.endpoint = endpoint._replace(deadline=deadline, timeout=min(endpoint.timeout, deadline))
        self.under_way = 0
        self._can = capabilities_of(version, self.endpoint.base_url)
        self._came: SimpleQueue[_Came] = SimpleQueue()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def server(self) -> str:
        """The address whose limits say how many questions may be under way; '' for the model beside this process."""
        return "" if self.version.judge.kind == JudgeKind.LOCAL else self.endpoint.base_url

    @property
    def a_request(self) -> int:
        """How many questions go in one request: several where the server knows that form."""
        known = self._can.many and self.version.protocol != Protocol.DECISIONS
        return max(1, settings.JUDGE_CONVERSATIONS_A_REQUEST) if known else 1

    def begin(self, questions: Sequence[Question]) -> None:
        """Ask these now, all at once."""
        self.under_way += len(questions)
        network().loop.call_soon_threadsafe(self._start, list(questions), self.a_request)

    def arrived(self, *, seconds: float, enough: int = 64) -> list[Answer]:
        """Return what has come, at most `enough` answers; waits for the first, at most so many seconds."""
        came = take(self._came, seconds=seconds, enough=enough, under_way=self.under_way)
        self.under_way -= len(came)
        return [self._answer(one) for one in came]

    def stop(self) -> None:
        """Do nothing: what was asked may be charged, so its answers are waited for."""

    def _start(self, questions: list[Question], a_request: int) -> None:
        """On the network thread."""
        for start in range(0, len(questions), a_request):
            group = questions[start : start + a_request]
            task = network().loop.create_task(self._ask(group))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, group: list[Question]) -> None:
        open_ones = {id(question): question for question in group}

        def came(one: _Came) -> None:
            open_ones.pop(id(one.question))
            self._came.put(one._replace(asked_with=self._can.in_words()))

        try:
            if len(group) > 1:
                await self._ask_together(group, came)
            else:
                came(await self._ask_alone(group[0]))
        except Exception as error:  # noqa: BLE001 (a fault of ours must not cost the other answers under way)
            for question in list(open_ones.values()):
                came(_Came(question, failure=error))

    async def _ask_alone(self, question: Question) -> _Came:
        if question.attempt > 1:
            await rest(backoff(question.attempt))
        ask = decide if self.version.protocol == Protocol.DECISIONS else complete
        replies: list[Reply] = []
        # One after the other: a question is one call under way, however many samples it wants.
        for number in range(self._samples):
            try:
                replies.append(await self._call(ask, question, number))
            except CallFailed as failure:
                return _Came(question, replies, failure)
        return _Came(question, replies)

    async def _call(self, ask: Callable[[Endpoint, dict[str, Any]], Any], question: Question, number: int) -> Reply:
        while True:
            body = self._body(question, number)
            tried = self._can.tried()
            try:
                reply: Reply = await ask(self.endpoint, body)
            except CallFailed as failure:
                if self._can.learn_from(failure, tried):
                    continue
                raise
            return reply

    async def _ask_together(self, group: list[Question], came: Callable[[_Came], None]) -> None:
        tried = self._can.tried()
        bodies = [self._body(question, number) for question in group for number in range(self._samples)]
        results = await complete_many(self.endpoint, bodies)
        for place, question in enumerate(group):
            mine = results[place * self._samples : (place + 1) * self._samples]
            failure = next((one for one in mine if isinstance(one, CallFailed)), None)
            replies = [one for one in mine if isinstance(one, Reply)]
            if failure is not None and self._can.learn_from(failure, tried):
                came(await self._ask_alone(question))
            else:
                came(_Came(question, replies, failure))

    def _body(self, question: Question, number: int) -> dict[str, Any]:
        body = self._can.request(self.version, question)
        # The same seed again would be the same sample again.
        return {**body, "seed": body["seed"] + number} if number and "seed" in body else body

    def _answer(self, one: _Came) -> Answer:
        question, failure = one.question, one.failure
        if failure is not None and not isinstance(failure, CallFailed):
            logger.error("asking verdict %s failed", question.verdict_id, exc_info=failure)
            reason = f"Tiebreak failed while asking ({type(failure).__name__}). The log has the details."
            return Answer(question.verdict_id, error=reason, maybe_billed=True)
        met: list[Reply | CallFailed] = [*one.replies, failure] if failure else [*one.replies]
        rate_limits, server_errors = sum(each.rate_limits for each in met), sum(each.server_errors for each in met)
        if not one.replies:
            if failure is None:
                raise ValueError("a call ends in a reply or a failure")
            answer = _unanswered(question, failure)
            return answer._replace(rate_limits=rate_limits, server_errors=server_errors)
        answer = answer_of(self.version, question, one.replies)
        answer = answer._replace(
            meta={**one.asked_with, **answer.meta}, rate_limits=rate_limits, server_errors=server_errors
        )
        if failure is not None:
            # Fewer samples than wanted are an answer, but not one to keep for others who want all of them.
            return answer._replace(cost_usd=None, maybe_billed=True) if failure.maybe_billed else answer
        return answer if answer.error else answer._replace(replies=[reply.as_json() for reply in one.replies])


def ask(version: JudgeVersion, questions: Iterable[Question], *, concurrency: int = 16) -> Iterator[Answer]:
    """Yield one answer a question, in the order they arrive; nothing is read from the database or stored.

    Raises `JudgeError` where the judge cannot be asked at all.
    """
    if version.judge.kind in ANSWERED_HERE:
        yield from answered_here(version, list(questions))
        return
    if version.judge.kind == JudgeKind.GPU:
        from judges.computing import compute

        yield from compute(version, questions)
        return
    asking, source = Asking(version), iter(questions)
    if version.judge.kind == JudgeKind.LOCAL:
        concurrency = 1
    while True:
        begun = list(islice(source, concurrency - asking.under_way))
        asking.begin(begun)
        if not asking.under_way:
            return
        yield from asking.arrived(seconds=asking.endpoint.deadline)


def answered_here(version: JudgeVersion, questions: Sequence[Question]) -> list[Answer]:
    """Return the answers of a rule, a jury or a cascade, one a question, in order."""
    kind = version.judge.kind
    if kind in COMBINED:
        # A combined judge starts runs, which ask.
        from judges.combining import combined_answers

        return combined_answers(version, questions)
    return [_by_rule(version, question) for question in questions]


def asking_of(version: JudgeVersion) -> "Asking | Computing":
    """Return how questions are put to a version: to its server, or to a model inside this process.

    Raises `JudgeError` where it cannot be asked at all.
    """
    if version.judge.kind != JudgeKind.GPU:
        return Asking(version)
    # Only this kind pays for the module of models.
    from judges.computing import Computing

    return Computing(version)


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


def _by_rule(version: JudgeVersion, question: Question) -> Answer:
    from judges.rules import learned_prob_a, length_prob_a

    if version.judge.kind == JudgeKind.LENGTH:
        probability = length_prob_a(question.first, question.second)
    else:
        probability = learned_prob_a(
            version.fitted, _as_text(question), question.first, question.second, question.group
        )
    choice = "tie" if probability == 0.5 else "a" if probability > 0.5 else "b"
    return Answer(question.verdict_id, choice=choice, prob_a=probability)


def _unanswered(question: Question, failure: CallFailed) -> Answer:
    return Answer(
        question.verdict_id,
        error=str(failure),
        # Tries that cost nothing were made already; what may have cost is asked again under a new reservation.
        retry=failure.retryable and failure.maybe_billed,
        whole_judge=failure.whole_judge,
        maybe_billed=failure.maybe_billed,
    )


def _as_text(question: Question) -> str:
    return "\n\n".join(str(message.get("content", "")) for message in question.prompt)
